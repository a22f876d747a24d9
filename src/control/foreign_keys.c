#include "control/foreign_keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/download.h"
#include "control/missing_keys.h"
#include "control/own_key.h"

#define TELL_TIMEOUT_MS 30000

/* The key of this generation of the head, and that as it is to be wrapped in the ring. */
static int wrap_anew(const struct upload_opened *from, uint32_t index,
                     struct key_provider *provider, const struct key_ring *to,
                     struct wrapped_key *ret_wrapped, struct secret *ret_key, struct error *err)
{
    int r = key_generation_open(&from->ring.generations[index], &from->plains[index], ret_key, err);

    if (r == 0)
        r = create_wrap(provider, &from->plains[index], ret_wrapped, err);
    if (r == 0 && strcmp(ret_wrapped->provider, "local") == 0)
        uuid_format(&to->uuid, ret_wrapped->key_name);
    return r;
}

/* lacking: one that the ring has, but that does not open, and which is the same key; NULL: it
 * joins. */
static int take_key(const struct upload_opened *from, uint32_t index, struct key_provider *provider,
                    struct rings_opened *to, struct key_generation *lacking, struct error *err)
{
    const struct key_generation *generation = &from->ring.generations[index];
    CLEANUP(free_ptr) struct wrapped_key *wrapped = calloc(1, sizeof(*wrapped));
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    const struct key_generation_new new = { .number = generation->number,
                                            .origin = &generation->origin,
                                            .key = &key,
                                            .wrapped = wrapped,
                                            .now_ns = (uint64_t)clock_wall_ns() };

    if (!wrapped)
        return error_set(err, -ENOMEM, "out of memory");
    int r = wrap_anew(from, index, provider, &to->ring, wrapped, &key, err);
    if (r == 0 && !lacking)
        r = key_ring_add(&to->ring, &new, err);
    if (r < 0)
        return r;
    if (lacking) {
        key_generation_replace(lacking, wrapped, new.now_ns);
        to->outcome.unopened &= ~(UINT64_C(1) << (lacking - to->ring.generations));
    }
    r = key_set_add_foreign(&to->keys, &generation->origin, generation->number, &key);
    return r < 0 ? error_set(err, r, "out of secret memory") : 0;
}

int foreign_key_inherit(const struct upload_opened *from, uint32_t index,
                        struct key_provider *provider, struct rings_opened *to, struct error *err)
{
    return take_key(from, index, provider, to, NULL, err);
}

/* --- what is missing --- */

/* One that counts as the filesystem's own comes from no other: it was lost here. */
static int check_missing(const struct filesystem *fs, const struct key_needed *needed,
                         struct error *err)
{
    if (!uuid_equal(&needed->origin, &fs->record.uuid))
        return 0;
    return error_set(err, -ENOKEY,
                     "the snapshot needs generation %u of the key of filesystem %s itself, which "
                     "its key ring does not have; 'coffer fs download' makes a new filesystem of "
                     "the snapshot",
                     needed->generation, fs->record.name);
}

static int check_room(const struct filesystem *fs, const struct key_ring *ring, uint32_t missing,
                      struct error *err)
{
    if (ring->count + missing <= KEY_GENERATIONS_MAX)
        return 0;
    return error_set(err, -ENOSPC,
                     "the key ring of filesystem %s has %u keys, of at most %u, and the snapshot "
                     "needs %u that are not among them; nothing was changed. 'coffer fs key "
                     "drop-unused' takes out those that nothing needs any more; 'coffer fs "
                     "download' makes a new filesystem of the snapshot",
                     fs->record.name, ring->count, KEY_GENERATIONS_MAX, missing);
}

/* Whether it is in the ring of the registry, and opened when that was looked at last, if anybody
 * knows. */
static bool is_at_hand(struct filesystem *fs, const struct key_ring *ring,
                       const struct key_generation *found)
{
    mutex_lock(&fs->lock);
    bool is_lacking = found && fs->record.lacks_keys &&
                      (fs->missing == 0 || (fs->missing >> (found - ring->generations) & 1));
    mutex_unlock(&fs->lock);
    return found && !is_lacking;
}

static bool is_same_key(const struct key_generation *a, const struct key_generation *b)
{
    return secret_equal((struct bytes){ a->check, KEY_CHECK_LEN },
                        (struct bytes){ b->check, KEY_CHECK_LEN });
}

/* Of what head and registry say, neither of which is believed yet: to refuse early, and to ask no
 * key server without need. One that is another key there is looked at, too. */
static int count_missing(struct filesystem *fs, const struct upload_opened *head, uint32_t *ret,
                         struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    const struct snapshot_about *about = &head->head.about;
    uint32_t missing = 0, lacking = 0;

    filesystem_hold_rings(fs);
    int r = registry_peek_ring(fs->control->registry, &fs->record.uuid, &ring, err);
    filesystem_let_rings(fs);
    for (uint32_t i = 0; r == 0 && i < about->needed_count; i++) {
        const struct key_needed *needed = &about->needed[i];
        const struct key_generation *found =
            key_ring_find(&ring, &needed->origin, needed->generation);
        const struct key_generation *theirs =
            key_ring_find(&head->ring, &needed->origin, needed->generation);
        if (found) {
            lacking += (theirs && !is_same_key(theirs, found)) ||
                       (!key_generation_is_own(&ring, found) && !is_at_hand(fs, &ring, found));
            continue;
        }
        r = check_missing(fs, needed, err);
        missing++;
    }
    if (r == 0)
        r = check_room(fs, &ring, missing, err);
    if (r == 0)
        *ret = missing + lacking;
    return r;
}

/* --- the head --- */

/* Where the filesystem has a login of its own, and its key wraps those of the head, too, that is to
 * ask: the instance's may not use it. */
static int own_login(struct filesystem *fs, const struct key_ring *ring, struct key_provider **ret,
                     struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    const struct wrapped_key *newest = rings_newest(ring);

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    if (!newest || !fs_record_has_own_login(record) ||
        !kms_key_names(fs->control->kms, &record->own, newest))
        return 0;
    return own_key_provider(fs->control, record, ret, err);
}

static int open_head(struct filesystem *fs, struct upload_opened *head, struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *login = NULL;
    char purpose[64 + FS_NAME_MAX];

    (void)snprintf(purpose, sizeof(purpose), "download of its snapshot into filesystem %s",
                   fs->record.name);
    int r = own_login(fs, &head->ring, &login, err);
    const struct upload_opening opening = { .server = login, .purpose = purpose };
    return r < 0 ? r : upload_open(fs->control, &opening, head, err);
}

/* Whoever has the same name key descends from the same filesystem: it is drawn once and inherited.
 */
static int expect_same_origin(const struct upload_opened *head, const struct rings_opened *rings,
                              struct error *err)
{
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    char id[UUID_TEXT_SIZE];

    int r = superblock_decode(head->head.superblock, &head->keys, &superblock, err);
    if (r < 0)
        return r;
    if (secret_equal(secret_bytes(&superblock.name_key), secret_bytes(&rings->superblock.name_key)))
        return 0;
    uuid_format(&superblock.uuid, id);
    return error_set(err, -EXDEV,
                     "the snapshot is of filesystem %s, which is of another origin; 'coffer fs "
                     "download' makes a new filesystem of it",
                     id);
}

/* Both verify, and claim to be of one origin: then a number means one key, or somebody lies. */
static int expect_no_contradiction(const struct upload_opened *head, const struct key_ring *ring,
                                   struct error *err)
{
    char id[UUID_TEXT_SIZE];

    for (uint32_t i = 0; i < head->ring.count; i++) {
        const struct key_generation *theirs = &head->ring.generations[i];
        const struct key_generation *ours = key_ring_find(ring, &theirs->origin, theirs->number);
        if (!ours || is_same_key(ours, theirs))
            continue;
        uuid_format(&theirs->origin, id);
        return error_set(err, -EBADMSG,
                         "generation %u of the key of filesystem %s is another key in the head of "
                         "the snapshot than in the filesystem's own key ring: one of them is "
                         "forged, and nothing was changed. If nothing of the filesystem is sealed "
                         "under its own, 'coffer fs key drop-unused' takes that out of its ring",
                         theirs->number, id);
    }
    return 0;
}

static bool contradicts(const struct fs_record *record, const struct key_generation *generation)
{
    for (uint32_t i = 0; i < record->check_count; i++)
        if (record->checks[i].generation == generation->number)
            return !secret_equal((struct bytes){ record->checks[i].value, KEY_CHECK_LEN },
                                 (struct bytes){ generation->check, KEY_CHECK_LEN });
    return false;
}

/* Of filesystems that this instance has, it knows what their keys are: a false one must not take
 * the place of theirs, which could not join any more. */
static int expect_as_known(struct control *control, const struct key_ring *ring, struct error *err)
{
    char id[UUID_TEXT_SIZE];

    for (uint32_t i = 0; i < ring->count; i++) {
        const struct key_generation *theirs = &ring->generations[i];
        CLEANUP(filesystem_unrefp)
        struct filesystem *origin = filesystem_find_uuid(control, &theirs->origin);
        if (!origin)
            continue;
        mutex_lock(&origin->lock);
        bool is_false = contradicts(&origin->record, theirs);
        mutex_unlock(&origin->lock);
        if (!is_false)
            continue;
        uuid_format(&theirs->origin, id);
        return error_set(err, -EBADMSG,
                         "generation %u of the key of filesystem %s (%s) is another key in the "
                         "head of the snapshot than it is known to be here: the head is forged, "
                         "and nothing was changed",
                         theirs->number, origin->record.name, id);
    }
    return 0;
}

/* --- into the ring --- */

/* As the ring is wrapped now: by its local key, or by the key server, with its own key if it has
 * one. */
static int open_wrapper(struct control *control, const struct fs_record *record,
                        const struct key_ring *ring, struct key_provider **ret, struct error *err)
{
    const struct wrapped_key *newest = rings_newest(ring);
    char id[UUID_TEXT_SIZE];

    if (!newest || strcmp(newest->provider, "local") != 0)
        return own_key_provider(control, record, ret, err);
    uuid_format(&record->uuid, id);
    return kms_local_provider(control->kms, id, false, ret, err);
}

static int take_one(struct filesystem *fs, const struct upload_opened *head,
                    const struct key_needed *needed, struct key_provider *provider,
                    struct rings_opened *rings, struct error *err)
{
    const struct key_generation *theirs =
        key_ring_find(&head->ring, &needed->origin, needed->generation);
    struct key_generation *ours = key_ring_find(&rings->ring, &needed->origin, needed->generation);
    uint32_t index = theirs ? (uint32_t)(theirs - head->ring.generations) : 0;
    char id[UUID_TEXT_SIZE];

    int r = ours ? 0 : check_missing(fs, needed, err);
    if (r == 0 && !ours)
        r = check_room(fs, &rings->ring, 1, err);
    if (r == 0 && !theirs) {
        uuid_format(&needed->origin, id);
        return error_set(err, -EBADMSG,
                         "the head of the snapshot says that it needs generation %u of the key of "
                         "filesystem %s, and its key ring does not have that",
                         needed->generation, id);
    }
    return r < 0 ? r : take_key(head, index, provider, rings, ours, err);
}

static bool is_open(const struct rings_opened *rings, const struct key_needed *needed)
{
    const struct key_generation *found =
        key_ring_find(&rings->ring, &needed->origin, needed->generation);

    return found && !rings_lacks(&rings->outcome, (uint32_t)(found - rings->ring.generations));
}

/* *ret: a bit for each of the ring's generations that is changed or new. */
static int take_missing(struct filesystem *fs, const struct upload_opened *head,
                        struct key_provider *provider, struct rings_opened *rings, uint64_t *ret,
                        struct error *err)
{
    const struct snapshot_about *about = &head->head.about;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < about->needed_count; i++) {
        const struct key_needed *needed = &about->needed[i];
        if (is_open(rings, needed))
            continue;
        r = take_one(fs, head, needed, provider, rings, err);
        const struct key_generation *taken =
            key_ring_find(&rings->ring, &needed->origin, needed->generation);
        if (taken)
            *ret |= UINT64_C(1) << (taken - rings->ring.generations);
    }
    if (r == 0 && (r = key_ring_check_room(&rings->ring, err)) < 0)
        (void)error_prefix(err, r, "the snapshot cannot come into filesystem %s", fs->record.name);
    return r;
}

/* Before the ring is written. */
static int audit_taken(struct filesystem *fs, const struct upload_opened *head,
                       const struct key_ring *ring, uint64_t taken, struct error *err)
{
    char texts[KEY_GENERATIONS_MAX][UUID_TEXT_SIZE + 64];
    struct audit_note notes[KEY_GENERATIONS_MAX];
    char id[UUID_TEXT_SIZE];
    size_t count = 0;

    for (uint32_t i = 0; i < ring->count; i++) {
        const struct key_generation *added = &ring->generations[i];
        const struct key_generation *from =
            key_ring_find(&head->ring, &added->origin, added->number);
        if (!(taken >> i & 1))
            continue;
        uuid_format(&added->origin, id);
        (void)snprintf(texts[count], sizeof(texts[count]),
                       "a snapshot brings generation %u of the key of %s", added->number, id);
        notes[count] =
            (struct audit_note){ .operation = AUDIT_REWRAP,
                                 .uuid = &fs->record.uuid,
                                 .filesystem = fs->record.name,
                                 .key = audit_key_of(&added->current.key),
                                 .old_key = audit_key_of(from ? &from->current.key : NULL),
                                 .text = texts[count] };
        count++;
    }
    return audit_add(fs->control->audit, notes, count, err);
}

static int write_taken(struct filesystem *fs, const struct fs_record *record,
                       const struct upload_opened *head, uint64_t taken, struct rings_opened *rings,
                       struct error *err)
{
    int count = __builtin_popcountll(taken);
    int r = audit_taken(fs, head, &rings->ring, taken, err);

    if (r == 0)
        r = rings_write(fs->control, record, false, rings, err);
    if (r == 0)
        events_add(&fs->control->events, LOG_LEVEL_INFO, "keys-joined", fs->record.name,
                   "%d key%s of other filesystems joined its key ring, or did not open in it, and "
                   "came with a snapshot that is downloaded into it; it has %u of at most %u. "
                   "Recovery copies and uploads from before do not have the new ones",
                   count, count == 1 ? "" : "s", rings->ring.count, KEY_GENERATIONS_MAX);
    return r;
}

static int take_into(struct filesystem *fs, const struct fs_record *record,
                     const struct upload_opened *head, struct rings_opened *rings,
                     struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    uint64_t taken = 0;

    int r = expect_same_origin(head, rings, err);
    if (r == 0)
        r = expect_no_contradiction(head, &rings->ring, err);
    if (r == 0)
        r = expect_as_known(fs->control, &head->ring, err);
    if (r == 0)
        r = open_wrapper(fs->control, record, &rings->ring, &provider, err);
    if (r == 0)
        r = take_missing(fs, head, provider, rings, &taken, err);
    return r < 0 || taken == 0 ? r : write_taken(fs, record, head, taken, rings, err);
}

/* The key of its own that is being changed: both rings are the same by now, and say which one it
 * is. What joins must not be wrapped with the one that is given up. */
static int settle(struct filesystem *fs, struct fs_record **record, struct error *err)
{
    if (!(*record)->has_next)
        return 0;
    int r = own_key_settle(fs, err);
    if (r < 0)
        return r;
    struct fs_record *settled = filesystem_copy_record(fs);
    if (!settled)
        return error_set(err, -ENOMEM, "out of memory");
    free(*record);
    *record = settled;
    return !settled->has_next ? 0
                              : error_set(err, -EBUSY,
                                          "the key of filesystem %s is being changed; try again "
                                          "when that has ended",
                                          fs->record.name);
}

/* Nobody else touches its rings. */
static int take_held(struct filesystem *fs, const struct upload_opened *head,
                     struct rings_opened *rings, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    const struct rings_options options = { .may_repair = true, .may_lack_foreign = true };
    bool is_kms = false;

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    if (fs_record_is_going(record))
        return error_set(err, -ENOENT, "filesystem %s is being removed", fs->record.name);
    /* The others are wrapped by both servers then, and it would be by one. */
    if (kms_is_staged(fs->control->kms))
        return error_set(err, -EBUSY,
                         "a change of the KMS is half done, so no key joins the key ring of "
                         "filesystem %s, and nothing was changed; it goes on by itself when both "
                         "servers answer, or 'coffer security kms set' ends it. Try again then",
                         fs->record.name);
    int r = rings_open(fs->control, record, &options, rings, &is_kms, err);
    if (r == 0)
        r = filesystem_learn(fs, record, rings_newest(&rings->ring), err);
    if (r == 0)
        r = settle(fs, &record, err);
    return r < 0 ? r : take_into(fs, record, head, rings, err);
}

/* --- to the worker --- */

static int tell(struct filesystem *fs, const struct key_set *keys, struct error *err)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    CLEANUP(free_ptr) struct worker_message *messages = calloc(2, sizeof(*messages));

    if (!messages)
        return error_set(err, -ENOMEM, "out of memory");
    if (!worker)
        return error_set(err, -EAGAIN, "filesystem %s is not started", fs->record.name);
    messages[0].type = WORKER_ADD_KEYS;
    int r = key_set_join_foreign(&messages[0].add_keys.keys, keys);
    if (r < 0)
        (void)error_set(err, r, "out of secret memory");
    else
        r = worker_ask(worker, &messages[0], -1, TELL_TIMEOUT_MS, &messages[1], err);
    if (r == 0)
        worker_message_release(&messages[1]);
    worker_message_release(&messages[0]);
    return r;
}

int foreign_keys_tell(struct filesystem *fs, struct error *err)
{
    CLEANUP(key_set_release) struct key_set keys = { .count = 0 };

    int r = filesystem_unlock_again(fs, &keys, err);
    if (r == 0)
        r = tell(fs, &keys, err);
    if (r == 0)
        missing_keys_told(fs);
    return r;
}

void foreign_keys_pass_on(struct filesystem *fs, const struct rings_opened *rings)
{
    struct error why = { .code = 0 };

    mutex_lock(&fs->lock);
    bool was_lacking = fs->record.lacks_keys;
    mutex_unlock(&fs->lock);
    if (was_lacking)
        missing_keys_note_running(fs, rings);
    if (tell(fs, &rings->keys, &why) == 0)
        missing_keys_told(fs);
    else
        log_warning("filesystem %s is told of its keys later: %s", fs->record.name, why.text);
}

int foreign_keys_take(struct filesystem *fs, struct upload_opened *head, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened rings = RINGS_OPENED_INIT;
    struct error why = { .code = 0 };
    uint32_t missing = 0;

    int r = count_missing(fs, head, &missing, err);
    if (r < 0 || missing == 0)
        return r;
    r = open_head(fs, head, err);
    if (r < 0)
        return r;
    mutex_lock(&fs->control->kms_changing);
    filesystem_hold_rings(fs);
    r = take_held(fs, head, &rings, &why);
    filesystem_let_rings(fs);
    mutex_unlock(&fs->control->kms_changing);
    if (r == CONTROL_CRASHED)
        return r;
    if (r < 0) {
        filesystem_audit_failure(fs, AUDIT_REWRAP, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    foreign_keys_pass_on(fs, &rings);
    return 0;
}
