/* uploads_rewrap.c - the key rings in the heads of uploaded snapshots wrapped anew: by the newest
 * version of the key that would wrap those filesystems here, or for another key server.
 *
 * For each:
 *   1 its ring is unwrapped by what wraps it now, and the head verified
 *   2 every generation is wrapped by the target, which then unwraps it: it must be the same key
 *   3 an entry in the audit log
 *   4 the head with the changed ring, and what wrapped before as previous, takes the place of the
 *     old one, atomically; then it is looked whether the snapshot was removed meanwhile
 * A crash leaves the one head or the other, and both open.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/bucket_session.h"
#include "control/key_list.h"
#include "control/key_needs.h"
#include "control/own_key.h"
#include "control/rings.h"
#include "control/upload_keys.h"
#include "control/uploads.h"
#include "transfer/sharing.h"

#define PROVED_AFTER_NS (3600LL * 1000000000)

struct run {
    struct control *control;
    const char *store;
    const struct upload_rewrap_options *options;
    const struct bucket *bucket;
    struct key_provider *target; /* another server, or the configured one */
    uint32_t target_version;     /* the newest of its key */
    upload_rewrap_visit_fn *visit;
    void *arg;
};

/* One head. */
struct item {
    struct upload_opened opened;
    struct key_provider *own; /* of a filesystem with a key of its own; else NULL */
    struct key_provider *provider;
    uint32_t version;
    bool is_wrapped_there; /* by the other server already ... */
    uint64_t left;         /* ... but for these generations, which the one in use opens */
};

static void item_release(struct item *item)
{
    upload_opened_release(&item->opened);
    key_provider_close(item->own);
}

/* --- what wraps --- */

static int latest_version(struct key_provider *provider, uint32_t *ret, struct error *err)
{
    struct key_description seen = { .algorithm = "" };

    int r = key_provider_describe(provider, &seen, err);
    if (r == 0)
        *ret = seen.latest_version;
    return r;
}

/* A filesystem of this instance that has a key of its own keeps that. */
static int choose_provider(const struct run *run, struct item *item, struct error *err)
{
    const struct fs_record *owner = item->opened.owner;

    item->provider = run->target;
    item->version = run->target_version;
    if (run->options->target || !owner || owner->own.key[0] == '\0')
        return 0;
    int r = own_key_provider(run->control, owner, &item->own, err);
    item->provider = item->own;
    return r < 0 ? r : latest_version(item->own, &item->version, err);
}

static bool is_as_wanted(const struct item *item, const struct wrapped_key *wrapped)
{
    return key_provider_names(item->provider, wrapped) && wrapped->key_version == item->version;
}

static bool must_wrap(const struct run *run, const struct item *item, uint32_t generation)
{
    const struct key_ring *ring = &item->opened.ring;

    if (rings_lacks(&item->opened.outcome, generation))
        return false; /* it stays as it is, until what wrapped it opens it again */
    if (run->options->target && (!item->is_wrapped_there || item->left >> generation & 1))
        return true; /* equal names and versions mean nothing */
    return item->opened.outcome.used_previous ||
           !is_as_wanted(item, &ring->generations[generation].current.key);
}

/* That the server in use has no time says more than what the other one refused it with. */
static bool opens_now(const struct run *run, struct item *item,
                      const struct key_generation *generation, const struct wrapped_key *wrapped,
                      struct secret *ret)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    struct error why = { .code = 0 };

    int r = kms_try_unwrap(run->control->kms, NULL, item->opened.owner, wrapped, 1, &plain, &why);
    if (r == -EAGAIN)
        item->opened.outcome.why = why;
    if (r < 0 || key_generation_open(generation, &plain, &key, NULL) < 0)
        return false;
    secret_move(ret, &plain);
    return true;
}

/* Foreign ones that stayed wrapped as before, because the server in use refused them when the
 * others went to the other server: it may open them by now. */
static void open_left(const struct run *run, struct item *item)
{
    struct upload_opened *opened = &item->opened;

    for (uint32_t i = 0; i < opened->ring.count; i++) {
        const struct key_generation *generation = &opened->ring.generations[i];
        bool is_open =
            rings_lacks(&opened->outcome, i) &&
            (opens_now(run, item, generation, &generation->current.key, &opened->plains[i]) ||
             (generation->has_previous &&
              opens_now(run, item, generation, &generation->previous.key, &opened->plains[i])));
        if (!is_open)
            continue;
        opened->outcome.unopened &= ~(UINT64_C(1) << i);
        item->left |= UINT64_C(1) << i;
    }
}

/* Of another server: what an earlier run wrapped, only that one opens. */
static int open_item(struct run *run, struct item *item, const struct locator *locator,
                     struct error *err)
{
    struct upload_opening opening = { .server = run->target,
                                      .purpose = "rewrap of an uploaded snapshot",
                                      .may_lack_foreign = true };
    struct error why = { .code = 0 };

    int r = upload_read(run->control, run->bucket, locator, &item->opened, err);
    if (r == 0)
        r = choose_provider(run, item, err);
    if (r == 0 && run->options->target) {
        item->is_wrapped_there = upload_open(run->control, &opening, &item->opened, &why) == 0 &&
                                 !item->opened.outcome.used_previous;
        if (item->is_wrapped_there) {
            open_left(run, item);
            return 0;
        }
        upload_opened_release(&item->opened);
        r = upload_read(run->control, run->bucket, locator, &item->opened, err);
    }
    opening.server = NULL;
    return r < 0 ? r : upload_open(run->control, &opening, &item->opened, err);
}

static int wrap_one(const struct item *item, uint32_t i, struct wrapped_key *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    int r = key_provider_wrap(item->provider, secret_bytes(&item->opened.plains[i]), ret, err);
    if (r == 0)
        r = key_provider_unwrap(item->provider, ret, 1, &plain, err);
    if (r < 0)
        return r;
    r = key_generation_open(&item->opened.ring.generations[i], &plain, &key, err);
    return r < 0 ? error_prefix(err, r,
                                "the KMS unwraps something else than it had wrapped, and the "
                                "snapshot stays wrapped as it was")
                 : 0;
}

static int audit_one(const struct run *run, const struct item *item, const struct wrapped_key *made,
                     const struct wrapped_key *old, const char *locator, struct error *err)
{
    char text[AUDIT_TEXT_SIZE];
    const struct audit_note note = {
        .operation = AUDIT_REWRAP,
        .uuid = &item->opened.ring.uuid,
        .filesystem = item->opened.owner ? item->opened.owner->name : NULL,
        .key = audit_key_of(made),
        .old_key = audit_key_of(old),
        .text = text,
    };

    (void)snprintf(text, sizeof(text), "uploaded snapshot %s in object store %s", locator,
                   run->store);
    return audit_add(run->control->audit, &note, 1, err);
}

/* The change in memory; *ret_count tells of how many generations. What was wrapped an hour ago has
 * been proved by having opened now. */
static int change(const struct run *run, struct item *item, const char *locator,
                  uint32_t *ret_count, struct error *err)
{
    CLEANUP(free_ptr) struct wrapped_key *made = calloc(1, sizeof(*made));
    struct key_ring *ring = &item->opened.ring;
    uint64_t now = (uint64_t)clock_wall_ns();
    int r = made ? 0 : error_set(err, -ENOMEM, "out of memory");

    for (uint32_t i = 0; r == 0 && i < ring->count; i++) {
        struct key_generation *generation = &ring->generations[i];
        if (!must_wrap(run, item, i))
            continue;
        r = wrap_one(item, i, made, err);
        if (r == 0)
            r = audit_one(run, item, made, &generation->current.key, locator, err);
        if (r < 0)
            return r;
        if (!item->opened.outcome.used_previous && !(item->left >> i & 1) &&
            generation->current.wrapped_ns + (uint64_t)PROVED_AFTER_NS < now)
            key_generation_drop_previous(generation);
        key_generation_replace(generation, made, now);
        ++*ret_count;
    }
    return r;
}

/* --- writing --- */

static int write_head(const struct run *run, struct item *item, struct error *err)
{
    CLEANUP(buf_release) struct buf ring = BUF_INIT;
    CLEANUP(buf_release) struct buf changed = BUF_INIT;

    int r = key_ring_encode(&item->opened.ring, &item->opened.keys, &ring, err);
    if (r == 0)
        r = head_exchange_ring(buf_bytes(&item->opened.encoded), buf_bytes(&ring), &changed, err);
    if (r == 0)
        r = reference_exchange_head(run->bucket, &item->opened.head.upload,
                                    item->opened.head.manifest, buf_bytes(&changed), err);
    return r;
}

/* Of what opened. */
static uint32_t count_previous(const struct upload_opened *opened)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < opened->ring.count; i++)
        count += opened->ring.generations[i].has_previous && !rings_lacks(&opened->outcome, i);
    return count;
}

/* Only what opens by what wraps it now, as it stands in the store. */
static int drop_previous(const struct run *run, const struct locator *locator, const char *text,
                         uint32_t *ret_dropped, struct error *err)
{
    CLEANUP(item_release) struct item item = { .opened = UPLOAD_OPENED_INIT };
    const struct upload_opening opening = { .server = run->options->target ? run->target : NULL,
                                            .purpose =
                                                "proof of an uploaded snapshot's new wrapping",
                                            .may_lack_foreign = true };
    char what[AUDIT_TEXT_SIZE];

    int r = upload_read(run->control, run->bucket, locator, &item.opened, err);
    if (r == 0)
        r = choose_provider(run, &item, err);
    if (r == 0)
        r = upload_open(run->control, &opening, &item.opened, err);
    if (r == 0 && item.opened.outcome.used_previous)
        r = error_set(err, -EBADMSG, "what wraps it now does not open, and what did before stays");
    uint32_t count = count_previous(&item.opened);
    if (r < 0 || count == 0)
        return r;
    (void)snprintf(what, sizeof(what), "uploaded snapshot %s in object store %s", text, run->store);
    const struct audit_note note = { .operation = AUDIT_DROP,
                                     .uuid = &item.opened.ring.uuid,
                                     .key = audit_key_of(rings_newest(&item.opened.ring)),
                                     .text = what };
    r = audit_add(run->control->audit, &note, 1, err);
    for (uint32_t i = 0; r == 0 && i < item.opened.ring.count; i++)
        if (!rings_lacks(&item.opened.outcome, i))
            key_generation_drop_previous(&item.opened.ring.generations[i]);
    if (r == 0)
        r = write_head(run, &item, err);
    if (r == 0)
        *ret_dropped = count;
    return r;
}

/* --- a head --- */

static int rewrap_item(struct run *run, struct item *item, const struct locator *locator,
                       struct upload_rewrap_row *row, struct error *err)
{
    uint32_t changed = 0;

    int r = open_item(run, item, locator, err);
    if (r < 0)
        return r;
    const struct wrapped_key *newest = rings_newest(&item->opened.ring);
    memcpy(row->filesystem, item->opened.head.about.filesystem, sizeof(row->filesystem));
    memcpy(row->snapshot, item->opened.head.about.snapshot, sizeof(row->snapshot));
    if (newest)
        key_list_describe(newest, &row->from);
    (void)rings_tell_unopened(&item->opened.outcome, row->text, sizeof(row->text));
    row->result = REWRAP_UNCHANGED;
    if (run->options->is_dry) {
        for (uint32_t i = 0; i < item->opened.ring.count; i++)
            if (must_wrap(run, item, i))
                row->result = REWRAP_PLANNED;
        return 0;
    }
    r = change(run, item, row->locator, &changed, err);
    if (r == 0 && changed > 0)
        r = control_step(run->control, STEP_UPLOAD_WRAPPED);
    if (r == 0 && changed > 0)
        r = write_head(run, item, err);
    if (r == 0 && changed > 0)
        row->result = REWRAP_DONE;
    if (r == 0 && run->options->drop_previous)
        r = drop_previous(run, locator, row->locator, &row->dropped, err);
    newest = rings_newest(&item->opened.ring);
    if (r == 0 && newest)
        key_list_describe(newest, &row->to);
    return r;
}

static bool may_pass(int r)
{
    return r == -EIO || r == -EAGAIN || r == -ETIMEDOUT || r == -ECONNREFUSED || r == -EHOSTUNREACH;
}

static int rewrap_one(struct run *run, const struct locator *locator, struct error *err)
{
    CLEANUP(free_ptr) struct upload_rewrap_row *row = calloc(1, sizeof(*row));
    CLEANUP(item_release) struct item item = { .opened = UPLOAD_OPENED_INIT };
    struct error why = { .code = 0 };

    if (!row)
        return error_set(err, -ENOMEM, "out of memory");
    int r = locator_format(locator, row->locator, err);
    if (r < 0)
        return r;
    r = rewrap_item(run, &item, locator, row, &why);
    if (r == CONTROL_CRASHED || r == -ENOMEM || r == -ENOTCONN)
        return error_set(err, r, "%s", why.text);
    if (r < 0) {
        row->result = REWRAP_FAILED;
        row->may_pass = may_pass(r);
        (void)snprintf(row->text, sizeof(row->text), "%s", why.text);
    } else if (row->text[0] != '\0' && !run->options->is_dry) {
        events_add(&run->control->events, LOG_LEVEL_WARNING, "keys-left",
                   item.opened.owner ? item.opened.owner->name : "",
                   "uploaded snapshot %s in object store %s: %s", row->locator, run->store,
                   row->text);
    }
    return run->visit(row, run->arg);
}

static int rewrap_all(struct run *run, const struct locator *locators, size_t count,
                      struct error *err)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    struct locator locator;
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = rewrap_one(run, &locators[i], err);
    if (r < 0 || !run->options->is_all)
        return r;
    r = bucket_list(run->bucket, BUCKET_HEAD, &heads, err);
    for (size_t i = 0; r == 0 && i < heads.count; i++) {
        memcpy(locator.manifest, heads.items[i].name.id, HASH_LEN);
        r = rewrap_one(run, &locator, err);
    }
    return r;
}

/* Proved to wrap and unwrap before any head is touched. */
static int open_target(struct run *run, struct error *err)
{
    const struct upload_rewrap_options *options = run->options;
    struct key_description seen = { .algorithm = "" };

    int r = options->target ? key_provider_open(options->target, &run->target, err)
                            : kms_provider(run->control->kms, &run->target, err);
    if (r == 0)
        r = options->is_dry ? key_provider_describe(run->target, &seen, err)
                            : key_provider_verify(run->target, &seen, err);
    run->target_version = seen.latest_version;
    return r;
}

static int run_on(struct run *run, const struct locator *locators, size_t count, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct bucket bucket;

    int r = bucket_session_open(run->control, run->store, &opened, err);
    if (r == 0)
        r = bucket_init(&bucket, opened, "", err);
    if (r < 0)
        return r;
    run->bucket = &bucket;
    mutex_lock(&run->control->uploads_changing);
    r = rewrap_all(run, locators, count, err);
    mutex_unlock(&run->control->uploads_changing);
    run->bucket = NULL;
    return r;
}

/* That it cannot be told must not hide what was done. */
static void look_for_unneeded(struct control *control)
{
    struct error err = { .code = 0 };

    if (key_needs_scan(control, &err) < 0)
        events_add(&control->events, LOG_LEVEL_WARNING, "needed-keys-unknown", "",
                   "which keys no uploaded snapshot needs cannot be told: %s", err.text);
}

int control_uploads_rewrap(struct control *control, const char *store,
                           const struct upload_rewrap_options *options,
                           upload_rewrap_visit_fn *visit, void *arg, struct error *err)
{
    struct run run = {
        .control = control, .store = store, .options = options, .visit = visit, .arg = arg
    };
    struct locator locator;

    if ((options->locator != NULL) == options->is_all)
        return error_set(err, -EINVAL, "give one locator, or say that all are meant (--all)");
    int r = options->locator ? locator_parse(options->locator, &locator, err) : 0;
    if (r == 0)
        r = open_target(&run, err);
    if (r == 0)
        r = run_on(&run, &locator, options->locator ? 1 : 0, err);
    key_provider_close(run.target);
    if (r == 0 && !options->is_dry)
        look_for_unneeded(control);
    return r;
}
