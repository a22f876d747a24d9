#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/wire.h"
#include "control/bucket_session.h"
#include "control/filesystem.h"
#include "control/left_references.h"
#include "control/locators.h"
#include "control/object_stores.h"
#include "control/tasks.h"
#include "control/uploads.h"
#include "control/uploads_removal.h"
#include "crypto/random.h"
#include "transfer/sharing.h"

#define KIND "removal/"
#define KEY_SIZE (sizeof(KIND) + STORE_NAME_MAX)
#define VERSION 1u
#define RETRY_MS (10 * 60 * 1000)

static const uint8_t magic[4] = { 'C', 'R', 'M', 'V' };

/* --- the note --- */

int removal_record_encode(const struct removal_record *record, struct buf *ret)
{
    uint8_t bytes[REMOVAL_RECORD_MAX];
    struct writer writer = writer_init(bytes, sizeof(bytes));

    writer_bytes(&writer, magic, sizeof(magic));
    writer_u16(&writer, VERSION);
    writer_bytes(&writer, record->mark.mark.bytes, UUID_LEN);
    writer_u64(&writer, record->mark.written_ns);
    writer_u8(&writer, record->has_snapshot ? 1 : 0);
    if (record->has_snapshot)
        writer_bytes(&writer, record->snapshot.manifest, HASH_LEN);
    return buf_assign(ret, writer_written(&writer));
}

int removal_record_decode(struct bytes encoded, struct removal_record *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct removal_record record = { .has_snapshot = false };
    uint8_t found[sizeof(magic)];

    reader_copy(&reader, found, sizeof(found));
    uint16_t version = reader_u16(&reader);
    if (reader.failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG, "the registry's note of a removal is damaged");
    if (version != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the registry's note of a removal is of a later version of coffer");
    reader_copy(&reader, record.mark.mark.bytes, UUID_LEN);
    record.mark.written_ns = reader_u64(&reader);
    uint8_t has_snapshot = reader_u8(&reader);
    record.has_snapshot = has_snapshot == 1;
    if (has_snapshot > 1)
        reader_fail(&reader);
    if (record.has_snapshot)
        reader_copy(&reader, record.snapshot.manifest, HASH_LEN);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "the registry's note of a removal is damaged");
    *ret = record;
    return 0;
}

static void key_of(const char *store, char ret[static KEY_SIZE])
{
    (void)snprintf(ret, KEY_SIZE, "%s%.*s", KIND, (int)STORE_NAME_MAX, store);
}

static int note_load(struct control *control, const char *store, struct removal_record *ret,
                     struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];

    key_of(store, key);
    int r = registry_get_value(control->registry, key, &encoded, err);
    if (r == 0)
        r = removal_record_decode(buf_bytes(&encoded), ret, err);
    if (r == 0)
        control_instance(control, &ret->mark.instance);
    return r;
}

static int note_save(struct control *control, const char *store,
                     const struct removal_record *record, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];

    key_of(store, key);
    if (removal_record_encode(record, &encoded) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    return registry_put_value(control->registry, key, buf_bytes(&encoded), err);
}

static int note_remove(struct control *control, const char *store, struct error *err)
{
    char key[KEY_SIZE];

    key_of(store, key);
    return registry_put_value(control->registry, key, (struct bytes){ .len = 0 }, err);
}

bool uploads_removal_is(struct control *control, const char *store, const struct uuid *mark)
{
    struct removal_record record;

    return note_load(control, store, &record, NULL) == 0 && uuid_equal(&record.mark.mark, mark);
}

/* --- a removal --- */

struct removing {
    struct control *control;
    const char *store;
    struct bucket bucket;
    struct removal removal;
    struct removal_record record;
    removal_watch_fn *watch; /* may be NULL */
    void *watch_arg;
};

/* That of the note; the list of our own snapshots does not name it any more. */
static int drop_snapshot(struct removing *removing, struct error *err)
{
    const struct locator *snapshot = &removing->record.snapshot;
    char text[LOCATOR_SIZE];

    int r = removal_snapshot(&removing->removal, snapshot->manifest, err);
    if (r == 0)
        r = locator_format(snapshot, text, err);
    return r == 0 ? locators_forget(removing->control, removing->store, text, err) : r;
}

/* One that was interrupted goes on, under its mark. */
static int begin(struct removing *removing, struct error *err)
{
    struct error why = { .code = 0 };
    struct removal_record *record = &removing->record;

    int r = note_load(removing->control, removing->store, record, &why);
    if (r < 0 && r != -ENOENT)
        return error_set(err, r, "%s", why.text);
    if (r == -ENOENT) {
        *record = (struct removal_record){ .has_snapshot = false };
        random_uuid(&record->mark.mark);
        record->mark.written_ns = (uint64_t)clock_wall_ns();
        control_instance(removing->control, &record->mark.instance);
        r = note_save(removing->control, removing->store, record, err);
    }
    if (r == 0)
        r = removal_begin(&removing->removal, &removing->bucket, &record->mark, err);
    return r == 0 && record->has_snapshot ? drop_snapshot(removing, err) : r;
}

static int remove_one(struct removing *removing, const struct locator *locator, struct error *err)
{
    removing->record.has_snapshot = true;
    removing->record.snapshot = *locator;
    int r = note_save(removing->control, removing->store, &removing->record, err);
    if (r == 0)
        r = control_step(removing->control, STEP_UPLOAD_NOTED);
    return r < 0 ? r : drop_snapshot(removing, err);
}

static int finish(struct removing *removing, struct uploads_removed *ret, struct error *err)
{
    struct removal_counts counts = { .objects = 0 };

    int r = removal_sweep(&removing->removal, removing->watch, removing->watch_arg, &counts, err);
    /* Expired by somebody, or not to be done here: the mark is of no use to anybody. */
    if (r == 0 || r == -ECANCELED || r == -EBUSY) {
        int ended = removal_end(&removing->removal, r == 0 ? err : NULL);
        if (ended == 0)
            ended = note_remove(removing->control, removing->store, r == 0 ? err : NULL);
        r = r == 0 ? ended : r;
    }
    if (r == 0) {
        ret->objects += counts.objects;
        ret->bytes += counts.bytes;
        ret->kept = counts.kept;
    }
    return r;
}

static int run(struct removing *removing, const struct locator *locators, size_t count,
               struct uploads_removed *ret, struct error *err)
{
    int r = begin(removing, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        r = remove_one(removing, &locators[i], err);
        ret->snapshots += r == 0;
    }
    if (r == 0)
        r = control_step(removing->control, STEP_UPLOAD_REMOVED);
    return r < 0 ? r : finish(removing, ret, err);
}

static int expect_there(const struct bucket *bucket, const struct locator *locator,
                        struct error *err)
{
    const struct bucket_name name = bucket_name_of(BUCKET_HEAD, locator->manifest);
    struct error why = { .code = 0 };
    char text[LOCATOR_SIZE];
    uint64_t size = 0;

    int r = bucket_stat(bucket, &name, &size, &why);
    if (r == -ENOENT && locator_format(locator, text, err) == 0)
        return error_set(err, r, "the object store holds no snapshot %s", text);
    return r < 0 ? error_set(err, r, "%s", why.text) : 0;
}

static int audit_removal(struct control *control, const char *store, const struct locator *locator,
                         struct error *err)
{
    char name[LOCATOR_SIZE], text[AUDIT_TEXT_SIZE];
    struct audit_note note = { .operation = AUDIT_UPLOAD_REMOVE, .text = text };

    int r = locator_format(locator, name, err);
    if (r < 0)
        return r;
    (void)snprintf(text, sizeof(text), "object store %s, %s", store, name);
    return audit_add(control->audit, &note, 1, err);
}

static int open_bucket(struct removing *removing, struct object_store **ret, struct error *err)
{
    int r = bucket_session_open(removing->control, removing->store, ret, err);

    return r < 0 ? r : bucket_init(&removing->bucket, *ret, "", err);
}

int uploads_removal_check(struct control *control, const char *store,
                          const struct locator *locators, size_t count, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct removing removing = { .control = control, .store = store };

    int r = open_bucket(&removing, &opened, err);
    for (size_t i = 0; i < count && r == 0; i++)
        r = expect_there(&removing.bucket, &locators[i], err);
    for (size_t i = 0; i < count && r == 0; i++)
        r = audit_removal(control, store, &locators[i], err);
    return r;
}

static void tell_removed(struct control *control, const char *store,
                         const struct uploads_removed *removed)
{
    events_add(
        &control->events, LOG_LEVEL_INFO, "uploads-removed", "",
        "object store %s: %llu uploaded snapshot(s) removed, %llu objects of %llu bytes that "
        "nobody needs any more, too",
        store, (unsigned long long)removed->snapshots, (unsigned long long)removed->objects,
        (unsigned long long)removed->bytes);
}

int uploads_removal_run(struct control *control, const char *store, const struct locator *locators,
                        size_t count, removal_watch_fn *watch, void *arg,
                        struct uploads_removed *ret, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct removing removing = {
        .control = control, .store = store, .watch = watch, .watch_arg = arg
    };
    struct uploads_removed removed = { .snapshots = 0 };

    mutex_lock(&control->uploads_changing);
    int r = open_bucket(&removing, &opened, err);
    if (r == 0)
        r = left_references_drop(control, store, &removing.bucket, err);
    if (r == 0)
        r = run(&removing, locators, count, &removed, err);
    mutex_unlock(&control->uploads_changing);
    if (r < 0)
        return r;
    tell_removed(control, store, &removed);
    *ret = removed;
    return 0;
}

int uploads_remove(struct control *control, const char *store, const struct locator *locators,
                   size_t count, struct uploads_removed *ret, struct error *err)
{
    int r = uploads_removal_check(control, store, locators, count, err);

    return r < 0 ? r : uploads_removal_run(control, store, locators, count, NULL, NULL, ret, err);
}

static int end_locked(struct removing *removing, struct error *err)
    REQUIRES(removing->control->uploads_changing)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;

    int r = note_load(removing->control, removing->store, &removing->record, NULL);
    if (r == -ENOENT)
        return 0;
    r = open_bucket(removing, &opened, err);
    if (r == 0)
        r = begin(removing, err);
    if (r == 0)
        r = removal_end(&removing->removal, err);
    if (r == -EBUSY) /* there is no mark: the store would not list it */
        r = 0;
    return r < 0 ? r : note_remove(removing->control, removing->store, err);
}

int uploads_removal_end(struct control *control, const char *store, struct error *err)
{
    struct removing removing = { .control = control, .store = store };

    mutex_lock(&removing.control->uploads_changing);
    int r = end_locked(&removing, err);
    mutex_unlock(&removing.control->uploads_changing);
    return r;
}

/* --- what was interrupted --- */

static int resume_locked(struct removing *removing, struct error *err)
    REQUIRES(removing->control->uploads_changing)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct uploads_removed removed = { .snapshots = 0 };

    /* Somebody else may have finished it meanwhile. */
    if (note_load(removing->control, removing->store, &removing->record, NULL) == -ENOENT)
        return 0;
    int r = open_bucket(removing, &opened, err);
    return r < 0 ? r : run(removing, NULL, 0, &removed, err);
}

static void resume_store(struct control *control, const char *store)
{
    struct removing removing = { .control = control, .store = store };
    struct error err = { .code = 0 };

    mutex_lock(&removing.control->uploads_changing);
    int r = resume_locked(&removing, &err);
    mutex_unlock(&removing.control->uploads_changing);
    if (r < 0 && !atomic_load(&control->is_shutting_down))
        events_add(&control->events, LOG_LEVEL_WARNING, "upload-removal-waits", "",
                   "a removal in object store %s is not finished yet, and uploads there wait for "
                   "it: %s",
                   store, err.text);
}

/* A task goes on by itself. */
static bool is_left_alone(struct control *control, const char *store)
{
    struct removal_record record;

    return note_load(control, store, &record, NULL) != -ENOENT &&
           !tasks_has(control, &removal_kind, store);
}

/* Failures were told when the reference was left. */
static void drop_left(struct control *control, const char *store)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct bucket bucket;

    if (bucket_session_open(control, store, &opened, NULL) == 0 &&
        bucket_init(&bucket, opened, "", NULL) == 0)
        (void)left_references_drop(control, store, &bucket, NULL);
}

/* Of all stores that have a note. */
static void resume_all(void *arg)
{
    CLEANUP(free_ptr) struct store_view *views = NULL;
    struct control *control = arg;
    size_t count = 0;

    if (control_store_list(control, &views, &count, NULL) == 0)
        for (size_t i = 0; i < count && !atomic_load(&control->is_shutting_down); i++) {
            if (left_references_exist(control, views[i].name))
                drop_left(control, views[i].name);
            if (is_left_alone(control, views[i].name))
                resume_store(control, views[i].name);
        }
    mutex_lock(&control->lock);
    control->has_resumer = false;
    mutex_unlock(&control->lock);
}

static int visit_note(struct bytes value, void *arg)
{
    (void)value;
    *(bool *)arg = true;
    return 0;
}

void uploads_resume(struct control *control)
{
    int64_t now = clock_monotonic_ms();
    bool is_wanted = false;

    if (now < control->resume_due_ms)
        return;
    (void)registry_each_value(control->registry, KIND, visit_note, &is_wanted, NULL);
    is_wanted = is_wanted || left_references_exist(control, NULL);
    if (!is_wanted)
        return;
    control->resume_due_ms = now + RETRY_MS;
    mutex_lock(&control->lock);
    is_wanted = !control->has_resumer && !atomic_load(&control->is_shutting_down);
    control->has_resumer |= is_wanted;
    mutex_unlock(&control->lock);
    if (!is_wanted || thread_group_start(&control->keepers, 0, resume_all, control) == 0)
        return;
    mutex_lock(&control->lock);
    control->has_resumer = false;
    mutex_unlock(&control->lock);
}
