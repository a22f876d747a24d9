#include "control/rings.h"
#include "control/object_stores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "meta/meta_engine.h"
#include "meta/record_kinds.h"
#include "store/object_store.h"

void rings_opened_release(struct rings_opened *opened)
{
    key_ring_release(&opened->ring);
    buf_release(&opened->encoded);
    key_set_release(&opened->keys);
    superblock_release(&opened->superblock);
    *opened = RINGS_OPENED_INIT;
}

/* One of the two copies of a ring, with what could be unwrapped of it. */
struct copy {
    struct buf encoded; /* empty: there is none */
    struct key_set keys;
    int result; /* of unwrapping */
    struct error err;
    bool is_kms;
    struct rings_outcome outcome;
};

struct opening {
    struct control *control;
    struct fs_record *record;
    const struct rings_options *options;
    struct object_store *store;
    struct copy copies[KEY_RING_PLACES];
    struct buf superblock; /* the store's; empty: there is none */
    struct buf spare;      /* the metadata's */
};

static void opening_release(struct opening *opening)
{
    for (int i = 0; i < KEY_RING_PLACES; i++) {
        buf_release(&opening->copies[i].encoded);
        key_set_release(&opening->copies[i].keys);
    }
    buf_release(&opening->superblock);
    buf_release(&opening->spare);
    object_store_close(opening->store);
}

bool rings_tell_unopened(const struct rings_outcome *outcome, char *ret, size_t size)
{
    int count = __builtin_popcountll(outcome->unopened);

    ret[0] = '\0';
    if (count > 0)
        (void)snprintf(ret, size,
                       "%d key%s of other filesystems in its key ring do%s not open, and stay%s "
                       "wrapped as before: %.300s",
                       count, count == 1 ? "" : "s", count == 1 ? "es" : "", count == 1 ? "s" : "",
                       outcome->why.text);
    return count > 0;
}

const struct wrapped_key *rings_newest(const struct key_ring *ring)
{
    const struct wrapped_key *newest = NULL;

    for (uint32_t i = 0; i < ring->count; i++)
        if (key_generation_is_own(ring, &ring->generations[i]))
            newest = &ring->generations[i].current.key;
    return newest;
}

void rings_drop_previous(struct rings_opened *opened)
{
    for (uint32_t i = 0; i < opened->ring.count; i++)
        if (!rings_lacks(&opened->outcome, i))
            key_generation_drop_previous(&opened->ring.generations[i]);
}

void rings_learn(const struct key_ring *ring, struct fs_record *record)
{
    for (uint32_t i = 0; i < ring->count; i++) {
        const struct key_generation *generation = &ring->generations[i];
        bool is_known = !key_generation_is_own(ring, generation);
        for (uint32_t k = 0; k < record->check_count && !is_known; k++)
            is_known = record->checks[k].generation == generation->number;
        if (is_known || record->check_count == KEY_GENERATIONS_MAX)
            continue;
        struct key_check *check = &record->checks[record->check_count++];
        check->generation = generation->number;
        memcpy(check->value, generation->check, KEY_CHECK_LEN);
    }
}

static int add_key(const struct key_ring *ring, const struct key_generation *generation,
                   const struct secret *key, struct key_set *ret)
{
    if (key_generation_is_own(ring, generation))
        return key_set_add(ret, generation->number, key);
    return key_set_add_foreign(ret, &generation->origin, generation->number, key);
}

static int collect_keys(const struct key_ring *ring, const struct secret *plains, struct copy *ret,
                        struct error *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < ring->count; i++) {
        const struct key_generation *generation = &ring->generations[i];
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        if (rings_lacks(&ret->outcome, i))
            continue;
        r = key_generation_open(generation, &plains[i], &key, err);
        if (r == 0 && (r = add_key(ring, generation, &key, &ret->keys)) < 0)
            (void)error_set(err, r, "out of secret memory");
    }
    return r;
}

/* The keys of the generations of a ring. */
static int unwrap_ring(struct opening *opening, const struct key_ring *ring, struct copy *ret,
                       struct error *err)
{
    struct secret plains[KEY_GENERATIONS_MAX] = { { .data = NULL } };

    if (key_ring_own_count(ring) == 0)
        return error_set(err, -EBADMSG, "the key ring has no key");
    int r = rings_unwrap_all(opening->control, ring, opening->options, plains, &ret->outcome, err);
    /* A blob that is not the server's own is the ring's fault. */
    ret->is_kms = r < 0 && r != -EBADMSG && r != -EINVAL && r != -ENOMEM;
    if (r == 0)
        r = collect_keys(ring, plains, ret, err);
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&plains[i]);
    return r;
}

static void unwrap_copy(struct opening *opening, struct copy *copy)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;

    if (copy->encoded.len == 0) {
        copy->result = error_set(&copy->err, -ENOENT, "there is no key ring");
        return;
    }
    copy->result = key_ring_peek(buf_bytes(&copy->encoded), &ring, &copy->err);
    if (copy->result == 0 && !uuid_equal(&ring.uuid, &opening->record->uuid))
        copy->result =
            error_set(&copy->err, -EBADMSG, "the key ring is that of another filesystem");
    if (copy->result == 0)
        copy->result = unwrap_ring(opening, &ring, copy, &copy->err);
}

static int read_places(struct opening *opening, struct error *err)
{
    struct copy *mine = &opening->copies[KEY_RING_IN_REGISTRY];
    struct copy *theirs = &opening->copies[KEY_RING_IN_STORE];
    const struct fs_record *record = opening->record;
    int r = registry_get_ring(opening->control->registry, &record->uuid, &mine->encoded, err);

    if (r < 0 && r != -ENOENT)
        return r;
    r = place_open(opening->control, record->store_url, &opening->store, err);
    if (r < 0)
        return r;
    r = object_store_get(opening->store, KEY_RING_OBJECT, KEY_RING_MAX, &theirs->encoded, err);
    if (r < 0 && r != -ENOENT && r != -EFBIG)
        return r;
    r = object_store_get(opening->store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &opening->superblock,
                         err);
    return r < 0 && r != -ENOENT && r != -EFBIG ? r : 0;
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static int unwrap_copies(struct opening *opening, bool *ret_is_kms, struct error *err)
{
    struct copy *mine = &opening->copies[KEY_RING_IN_REGISTRY];
    struct copy *theirs = &opening->copies[KEY_RING_IN_STORE];

    unwrap_copy(opening, mine);
    if (same_bytes(&mine->encoded, &theirs->encoded)) {
        theirs->result = mine->result;
        theirs->err = mine->err;
        theirs->outcome = mine->outcome;
        if (mine->result == 0 && key_set_copy(&theirs->keys, &mine->keys) < 0)
            return error_set(err, -ENOMEM, "out of secret memory");
    } else {
        unwrap_copy(opening, theirs);
    }
    /* While the server cannot be asked, nobody knows which ring is right, and none may be taken
     * for damaged. That it does not have a key does not matter if the other ring opens: whoever
     * forged the one may have named anything. */
    for (int i = 0; i < KEY_RING_PLACES; i++) {
        const struct copy *copy = &opening->copies[i];
        bool is_passing = copy->result == -EAGAIN || copy->result == -EACCES;
        if (!copy->is_kms || (!is_passing && opening->copies[1 - i].result == 0))
            continue;
        *ret_is_kms = true;
        return error_set(err, copy->result, "%s", copy->err.text);
    }
    if (mine->result == 0 || theirs->result == 0)
        return 0;
    /* Neither opens: say why, of the one that is ours if there is one. */
    const struct copy *told = mine->encoded.len > 0 ? mine : theirs;
    return error_set(err, told->result, "%s", told->err.text);
}

static int choose(struct opening *opening, struct bytes superblock, struct key_ring_choice *ret,
                  struct error *err)
{
    struct key_checks known = { .items = opening->record->checks,
                                .count = opening->record->check_count };
    struct key_ring_evidence evidence[KEY_RING_PLACES];
    struct key_ring_copy copies[KEY_RING_PLACES];

    for (int i = 0; i < KEY_RING_PLACES; i++) {
        struct copy *copy = &opening->copies[i];
        evidence[i] = (struct key_ring_evidence){ .superblock = superblock,
                                                  .keys = &copy->keys,
                                                  .known = known };
        copies[i] = (struct key_ring_copy){ .encoded = buf_bytes(&copy->encoded),
                                            .evidence = copy->result == 0 ? &evidence[i] : NULL };
    }
    return key_ring_choose(copies, ret, err);
}

static int visit_superblock(struct bytes key, struct bytes value, void *arg)
{
    (void)key;
    int r = buf_assign(arg, value);
    return r < 0 ? r : 1;
}

/* The copy in the metadata stands there in clear, under its own MAC; no worker runs meanwhile. */
static int read_metadata_superblock(const char *meta_url, struct buf *ret, struct error *err)
{
    static const uint8_t first[] = { RECORD_TREE_LIVE, RECORD_SUPERBLOCK };
    static const uint8_t end[] = { RECORD_TREE_LIVE, RECORD_SUPERBLOCK + 1 };
    struct meta_options options = { .read_only = true };
    struct meta_hooks hooks = { .arg = NULL };
    struct meta_engine *engine = NULL;
    int r = meta_engine_open(meta_url, &options, &hooks, &engine, err);

    if (r < 0)
        return r;
    r = meta_scan_stored(engine, (struct bytes){ .data = first, .len = sizeof(first) },
                         (struct bytes){ .data = end, .len = sizeof(end) }, visit_superblock, ret,
                         err);
    (void)meta_close(engine, NULL); /* read-only: nothing can be lost */
    if (r == 0)
        return error_set(err, -ENOENT, "the metadata has no superblock");
    return r < 0 ? r : 0;
}

/* With the store's superblock; if that does not do, with the metadata's. *ret_superblock is the
 * one that did. */
static int choose_with_either(struct opening *opening, struct key_ring_choice *ret,
                              struct bytes *ret_superblock, struct error *err)
{
    struct error spare_err = { .code = 0 };
    int r = choose(opening, buf_bytes(&opening->superblock), ret, err);

    *ret_superblock = buf_bytes(&opening->superblock);
    if (r == 0)
        return 0;
    if (read_metadata_superblock(opening->record->meta_url, &opening->spare, &spare_err) < 0)
        return r;
    if (choose(opening, buf_bytes(&opening->spare), ret, &spare_err) < 0)
        return r;
    *ret_superblock = buf_bytes(&opening->spare);
    return 0;
}

/* 1: it is not there. */
static int is_missing(struct object_store *store, const char *name, struct error *err)
{
    struct error why = { .code = 0 };
    uint64_t size;

    int r = object_store_stat(store, name, &size, &why);
    return r == -ENOENT ? 1 : r < 0 ? error_set(err, r, "%s", why.text) : 0;
}

static int visit_segment(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    (void)arg;
    return 1;
}

/* Not one object of the filesystem is there: the folder that its disk leaves behind while it is not
 * mounted looks like that. What was written there would be out of sight when the disk is back. */
static int expect_store(struct object_store *store, const struct fs_record *record,
                        struct error *err)
{
    int missing = is_missing(store, KEY_RING_OBJECT, err);

    if (missing > 0)
        missing = is_missing(store, SUPERBLOCK_OBJECT, err);
    if (missing <= 0)
        return missing;
    int r = object_store_list(store, "segments/", visit_segment, NULL, err);
    if (r != 0)
        return r < 0 ? r : 0;
    return error_set(
        err, -ENXIO,
        "the store of filesystem %s holds nothing of it, neither key ring nor "
        "superblock nor data (%.300s): mount its disk there, or bring the folder back; "
        "if all of it is lost, names, attributes and small files can be copied after "
        "a mount with --salvage",
        record->name, record->store_url);
}

static int repair_ring(struct opening *opening, const struct key_ring_choice *choice,
                       struct error *err)
{
    struct control *control = opening->control;
    const char *name = opening->record->name;
    enum key_ring_place other =
        choice->place == KEY_RING_IN_REGISTRY ? KEY_RING_IN_STORE : KEY_RING_IN_REGISTRY;
    struct bytes winner = buf_bytes(&opening->copies[choice->place].encoded);
    bool is_store = other == KEY_RING_IN_STORE;
    int r = 0;

    if (choice->keep_aside)
        r = registry_keep_ring(control->registry, &opening->record->uuid, is_store ? 's' : 'r',
                               buf_bytes(&opening->copies[other].encoded), err);
    if (r == 0)
        r = control_step(control, is_store ? STEP_RING_REGISTRY : STEP_RING_STORE);
    if (r == 0 && is_store)
        r = object_store_replace(opening->store, KEY_RING_OBJECT, winner, err);
    else if (r == 0)
        r = registry_put_ring(control->registry, &opening->record->uuid, winner, err);
    if (r < 0)
        return r;
    events_add(&control->events, LOG_LEVEL_WARNING, "ring-repaired", name,
               "the key ring in the %s was repaired from the one in the %s%s%s",
               is_store ? "store" : "registry", is_store ? "registry" : "store",
               choice->other.code < 0 ? ": " : "",
               choice->other.code < 0 ? choice->other.text : "");
    return 0;
}

static int audit_repair(struct opening *opening, const struct key_ring_choice *choice,
                        const char *what, struct error *err)
{
    struct audit_note note = { .operation = AUDIT_REPAIR,
                               .uuid = &opening->record->uuid,
                               .filesystem = opening->record->name,
                               .key = audit_key_of(rings_newest(&choice->ring)),
                               .text = what };

    return audit_add(opening->control->audit, &note, 1, err);
}

static int repair(struct opening *opening, const struct key_ring_choice *choice,
                  struct bytes superblock, struct error *err)
{
    bool is_whole = superblock.data == opening->superblock.data;
    int r = is_whole ? 0 : expect_store(opening->store, opening->record, err);

    if (r == -ENXIO && opening->options->may_be_bare)
        return 0;
    if (r == 0 && choice->must_repair)
        r = audit_repair(opening, choice,
                         choice->place == KEY_RING_IN_REGISTRY
                             ? "the key ring in the store, from the one in the registry"
                             : "the key ring in the registry, from the one in the store",
                         err);
    if (r == 0 && choice->must_repair)
        r = repair_ring(opening, choice, err);
    if (r < 0 || is_whole)
        return r;
    r = audit_repair(opening, choice, "the superblock in the store, from the metadata's copy", err);
    if (r < 0)
        return r;
    r = object_store_replace(opening->store, SUPERBLOCK_OBJECT, superblock, err);
    if (r == 0)
        events_add(&opening->control->events, LOG_LEVEL_WARNING, "superblock-repaired",
                   opening->record->name,
                   "the superblock in the store was repaired from the metadata's copy");
    return r;
}

static int open_all(struct opening *opening, struct rings_opened *ret, bool *ret_is_kms,
                    struct error *err)
{
    struct key_ring_choice choice = { .ring = KEY_RING_INIT };
    struct bytes superblock = { .len = 0 };
    int r = read_places(opening, err);

    if (r == 0)
        r = unwrap_copies(opening, ret_is_kms, err);
    if (r == 0)
        r = choose_with_either(opening, &choice, &superblock, err);
    if (r < 0)
        return r;
    struct copy *winner = &opening->copies[choice.place];
    rings_learn(&choice.ring, opening->record);
    if (opening->options->may_repair)
        r = repair(opening, &choice, superblock, err);
    if (r == 0)
        r = superblock_decode(superblock, &winner->keys, &ret->superblock, err);
    if (r == 0 && !uuid_equal(&ret->superblock.uuid, &opening->record->uuid))
        r = error_set(err, -EBADMSG, "the superblock is that of another filesystem");
    if (r == 0) {
        ret->ring = choice.ring;
        choice.ring = KEY_RING_INIT;
        buf_move(&ret->encoded, &winner->encoded);
        ret->outcome = winner->outcome;
        ret->keys = winner->keys;
        winner->keys = (struct key_set){ .count = 0 };
    }
    key_ring_choice_release(&choice);
    return r;
}

int rings_open(struct control *control, struct fs_record *record,
               const struct rings_options *options, struct rings_opened *ret, bool *ret_is_kms,
               struct error *err)
{
    struct rings_options owned = *options;
    CLEANUP(opening_release)
    struct opening opening = { .control = control, .record = record, .options = &owned };

    owned.owner = record;
    *ret_is_kms = false;
    int r = open_all(&opening, ret, ret_is_kms, err);
    if (r < 0)
        rings_opened_release(ret);
    return r;
}

/* --- from an uploaded snapshot --- */

/* With the store's superblock, or the metadata's, as every ring must. */
static int verify_restored(struct opening *opening, struct bytes ring, const struct key_set *keys,
                           struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring verified = KEY_RING_INIT;
    struct key_ring_evidence evidence = { .superblock = buf_bytes(&opening->superblock),
                                          .keys = keys,
                                          .known = { .items = opening->record->checks,
                                                     .count = opening->record->check_count } };
    struct error why = { .code = 0 };

    int r = key_ring_verify(ring, &evidence, &verified, err);
    if (r < 0 && read_metadata_superblock(opening->record->meta_url, &opening->spare, &why) == 0) {
        evidence.superblock = buf_bytes(&opening->spare);
        r = key_ring_verify(ring, &evidence, &verified, err);
    }
    if (r == 0 && !uuid_equal(&verified.uuid, &opening->record->uuid))
        r = error_set(err, -EBADMSG, "the key ring is that of another filesystem");
    if (r == 0)
        rings_learn(&verified, opening->record);
    return r;
}

static int keep_copy(struct opening *opening, enum key_ring_place place, struct bytes ring,
                     struct error *err)
{
    const struct buf *copy = &opening->copies[place].encoded;

    if (copy->len == 0 || (copy->len == ring.len && memcmp(copy->data, ring.data, ring.len) == 0))
        return 0;
    return registry_keep_ring(opening->control->registry, &opening->record->uuid,
                              place == KEY_RING_IN_STORE ? 's' : 'r', buf_bytes(copy), err);
}

static int write_restored(struct opening *opening, struct bytes ring, struct error *err)
{
    struct control *control = opening->control;
    int r = keep_copy(opening, KEY_RING_IN_REGISTRY, ring, err);

    if (r == 0)
        r = keep_copy(opening, KEY_RING_IN_STORE, ring, err);
    if (r == 0)
        r = control_step(control, STEP_RING_STORE);
    if (r == 0)
        r = registry_put_ring(control->registry, &opening->record->uuid, ring, err);
    if (r == 0)
        r = control_step(control, STEP_RING_REGISTRY);
    if (r == 0)
        r = object_store_replace(opening->store, KEY_RING_OBJECT, ring, err);
    return r;
}

int rings_restore(struct control *control, struct fs_record *record, struct bytes ring,
                  const struct key_set *keys, const char *from, struct error *err)
{
    const struct rings_options options = { .owner = record };
    CLEANUP(opening_release)
    struct opening opening = { .control = control, .record = record, .options = &options };
    CLEANUP(key_ring_release) struct key_ring peeked = KEY_RING_INIT;
    struct audit_note note = {
        .operation = AUDIT_REPAIR, .uuid = &record->uuid, .filesystem = record->name, .text = from
    };

    int r = read_places(&opening, err);
    if (r == 0)
        r = expect_store(opening.store, record, err);
    if (r == 0)
        r = verify_restored(&opening, ring, keys, err);
    if (r == 0)
        r = key_ring_peek(ring, &peeked, err);
    if (r < 0)
        return r;
    note.key = audit_key_of(rings_newest(&peeked));
    r = audit_add(control->audit, &note, 1, err);
    return r < 0 ? r : write_restored(&opening, ring, err);
}

int rings_open_new(struct control *control, const struct fs_record *record,
                   struct rings_opened *ret, bool *ret_is_kms, struct error *err)
{
    const struct rings_options options = { .owner = record };
    struct opening opening = { .control = control, .options = &options };
    struct copy copy = { .is_kms = false };
    int r = registry_get_ring(control->registry, &record->uuid, &ret->encoded, err);

    if (r == 0)
        r = key_ring_peek(buf_bytes(&ret->encoded), &ret->ring, err);
    if (r == 0)
        r = unwrap_ring(&opening, &ret->ring, &copy, err);
    *ret_is_kms = copy.is_kms;
    ret->outcome = copy.outcome;
    ret->keys = copy.keys;
    if (r < 0)
        rings_opened_release(ret);
    return r;
}

int rings_write_store(struct control *control, const struct fs_record *record,
                      const struct rings_opened *opened, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf back = BUF_INIT;
    int r = place_open(control, record->store_url, &store, err);

    if (r == 0)
        r = expect_store(store, record, err);
    if (r == 0)
        r = object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&opened->encoded), err);
    if (r == 0)
        r = object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &back, err);
    if (r == 0 && !same_bytes(&back, &opened->encoded))
        r = error_set(err, -EIO, "the store does not give back the key ring that it was given");
    return r;
}

int rings_check_registry(struct control *control, const struct fs_record *record,
                         const struct rings_opened *opened, struct error *err)
{
    CLEANUP(buf_release) struct buf back = BUF_INIT;
    int r = registry_get_ring(control->registry, &record->uuid, &back, err);

    if (r == 0 && !same_bytes(&back, &opened->encoded))
        r = error_set(err, -EIO, "the registry does not give back the key ring that it was given");
    return r < 0 ? r : control_step(control, STEP_RING_WRITTEN);
}

int rings_write(struct control *control, const struct fs_record *record, bool is_new,
                struct rings_opened *opened, struct error *err)
{
    int r = key_ring_encode(&opened->ring, &opened->keys, &opened->encoded, err);

    if (r == 0)
        r = registry_put_ring(control->registry, &record->uuid, buf_bytes(&opened->encoded), err);
    if (r == 0)
        r = rings_check_registry(control, record, opened, err);
    return r < 0 || is_new ? r : rings_write_store(control, record, opened, err);
}
