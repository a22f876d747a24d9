/* foreign_keys_drop.c - keys of other filesystems that nothing of a filesystem is sealed under any
 * more leave its key ring, so that nobody need keep what wraps them.
 *
 *   1. the ring is opened and verified, as for a start
 *   2. the worker makes all durable, and says which of them its data needs: no crash brings back
 *      what it does not name
 *   3. it is noted in the audit log, and the ring without them is written to the registry, then
 *      to the store
 *
 * Nobody brings a snapshot in meanwhile: who does says so before he looks at the ring, for which he
 * holds it, and until his task is in the list (keys_wanted). A crash leaves the ring as it was, or
 * one that has all that is needed. The worker keeps in memory what it has: it needs none of it.
 *
 * Only who asks for it drops them: a backup of the metadata from before may need what the
 * filesystem does not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/foreign_keys.h"
#include "control/key_list.h"
#include "control/tasks.h"

#define USES_TIMEOUT_MS 120000

static int ask_uses(struct filesystem *fs, struct foreign_key_ids *ret, struct error *err)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    CLEANUP(free_ptr) struct worker_message *messages = calloc(2, sizeof(*messages));

    if (!messages)
        return error_set(err, -ENOMEM, "out of memory");
    if (!worker)
        return error_set(err, -EBUSY,
                         "filesystem %s is not started, and only then can be told which keys its "
                         "data needs; mount it first (coffer fs mount)",
                         fs->record.name);
    messages[0].type = WORKER_KEY_USES;
    int r = worker_ask(worker, &messages[0], -1, USES_TIMEOUT_MS, &messages[1], err);
    if (r < 0)
        return r;
    if (messages[1].type == WORKER_KEY_USES_REPLY)
        *ret = messages[1].key_uses;
    else
        r = error_set(err, -EPROTO, "the worker does not say which keys it needs");
    worker_message_release(&messages[1]);
    return r;
}

static int expect_quiet(struct filesystem *fs, const struct fs_record *record, struct error *err)
{
    mutex_lock(&fs->lock);
    bool are_wanted = fs->keys_wanted > 0;
    mutex_unlock(&fs->lock);
    uint64_t task = tasks_find(fs->control, &import_kind, &record->uuid);

    if (fs_record_is_going(record))
        return error_set(err, -ENOENT, "filesystem %s is being removed", record->name);
    if (record->has_origin)
        return error_set(err, -EBUSY,
                         "not all of filesystem %s, which was downloaded, is here yet, and what is "
                         "not may need any key of its ring; try again when its download is done",
                         record->name);
    if (task != 0 || are_wanted)
        return error_set(err, -EBUSY,
                         "a snapshot is being brought into filesystem %s (coffer task), which may "
                         "need keys of its ring; try again when that has ended",
                         record->name);
    return 0;
}

static void list_keys(const struct key_ring *ring, const struct foreign_key_ids *uses,
                      struct foreign_keys_report *ret)
{
    for (uint32_t i = key_ring_own_count(ring); i < ring->count; i++) {
        const struct key_generation *generation = &ring->generations[i];
        struct foreign_key_view *view = &ret->items[ret->count++];
        *view = (struct foreign_key_view){ .origin = generation->origin,
                                           .generation = generation->number,
                                           .is_used = foreign_key_ids_have(
                                               uses, &generation->origin, generation->number) };
        key_list_describe(&generation->current.key, &view->wrapped_by);
    }
}

/* Before the ring is written. */
static int audit_drops(struct filesystem *fs, const struct key_ring *ring,
                       const struct foreign_keys_report *report, struct error *err)
{
    char texts[KEY_GENERATIONS_MAX][UUID_TEXT_SIZE + 96];
    struct audit_note notes[KEY_GENERATIONS_MAX];
    char id[UUID_TEXT_SIZE];
    size_t count = 0;

    for (uint32_t i = 0; i < report->count; i++) {
        const struct foreign_key_view *view = &report->items[i];
        const struct key_generation *dropped = key_ring_find(ring, &view->origin, view->generation);
        if (view->is_used || !dropped)
            continue;
        uuid_format(&view->origin, id);
        (void)snprintf(texts[count], sizeof(texts[count]),
                       "generation %u of the key of %s, which nothing of it is sealed under",
                       view->generation, id);
        notes[count] = (struct audit_note){ .operation = AUDIT_DROP,
                                            .uuid = &fs->record.uuid,
                                            .filesystem = fs->record.name,
                                            .key = audit_key_of(&dropped->current.key),
                                            .text = texts[count] };
        count++;
    }
    return audit_add(fs->control->audit, notes, count, err);
}

/* Those behind it move one place forward, and so do their bits. */
static int remove_one(struct rings_opened *rings, const struct foreign_key_view *view,
                      struct error *err)
{
    const struct key_generation *found =
        key_ring_find(&rings->ring, &view->origin, view->generation);
    uint64_t unopened = rings->outcome.unopened;

    if (!found)
        return 0;
    uint64_t before = (UINT64_C(1) << (found - rings->ring.generations)) - 1;
    int r = key_ring_remove(&rings->ring, &view->origin, view->generation, err);
    if (r == 0)
        rings->outcome.unopened = (unopened & before) | (unopened >> 1 & ~before);
    return r;
}

static int drop(struct filesystem *fs, const struct fs_record *record, struct rings_opened *rings,
                struct foreign_keys_report *report, struct error *err)
{
    uint32_t unused = 0;
    int r = 0;

    for (uint32_t i = 0; i < report->count; i++)
        unused += !report->items[i].is_used;
    if (unused == 0)
        return 0;
    r = audit_drops(fs, &rings->ring, report, err);
    for (uint32_t i = 0; i < report->count && r == 0; i++)
        if (!report->items[i].is_used)
            r = remove_one(rings, &report->items[i], err);
    if (r == 0)
        r = rings_write(fs->control, record, false, rings, err);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < report->count; i++)
        report->items[i].is_dropped = !report->items[i].is_used;
    events_add(&fs->control->events, LOG_LEVEL_INFO, "keys-dropped", fs->record.name,
               "%u key%s of other filesystems, which nothing of it is sealed under any more, left "
               "its key ring; it has %u of at most %u",
               unused, unused == 1 ? "" : "s", rings->ring.count, KEY_GENERATIONS_MAX);
    return 0;
}

/* Nobody else touches its rings. */
static int drop_held(struct filesystem *fs, bool is_dry, struct rings_opened *rings,
                     struct foreign_keys_report *ret, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    const struct rings_options options = { .may_repair = !is_dry, .may_lack_foreign = true };
    struct foreign_key_ids uses = { .count = 0 };
    bool is_kms = false;

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = expect_quiet(fs, record, err);
    if (r == 0)
        r = rings_open(fs->control, record, &options, rings, &is_kms, err);
    if (r == 0)
        r = filesystem_learn(fs, record, rings_newest(&rings->ring), err);
    if (r == 0)
        r = ask_uses(fs, &uses, err);
    if (r < 0)
        return r;
    list_keys(&rings->ring, &uses, ret);
    return is_dry ? 0 : drop(fs, record, rings, ret, err);
}

/* The registry may have the shorter ring already: which of it are missing is not known any more. */
static void forget_places(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    fs->missing = 0;
    mutex_unlock(&fs->lock);
}

int control_key_drop_unused(struct control *control, const char *name, bool is_dry,
                            struct foreign_keys_report *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    CLEANUP(rings_opened_release) struct rings_opened rings = RINGS_OPENED_INIT;
    struct error why = { .code = 0 };

    ret->count = 0;
    if (!fs)
        return -ENOENT;
    filesystem_hold_rings(fs);
    int r = drop_held(fs, is_dry, &rings, ret, &why);
    filesystem_let_rings(fs);
    if (r == CONTROL_CRASHED)
        return r;
    if (r < 0) {
        forget_places(fs);
        if (!is_dry)
            filesystem_audit_failure(fs, AUDIT_DROP, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    if (!is_dry)
        foreign_keys_pass_on(fs, &rings);
    return 0;
}
