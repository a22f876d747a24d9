/* Snapshots of a filesystem, which its worker takes and keeps: their names are in its metadata, and
 * neither in the registry nor in events. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/filesystem.h"
#include "control/snapshot_mount.h"
#include "control/tasks.h"

#define ACCESS_POINT_TRIES 1000u
#define ACCESS_POINT_SIZE 64u /* of one by the time */

struct snapshot_list {
    struct control_snapshot *items;
    size_t count;
};

static void view_of(const struct worker_snapshot *from, struct control_snapshot *ret)
{
    *ret = (struct control_snapshot){ .id = from->id,
                                      .created_ns = from->created_ns,
                                      .is_removing = from->is_removing };
    (void)snprintf(ret->name, sizeof(ret->name), "%s", from->name);
    (void)snprintf(ret->access_point, sizeof(ret->access_point), "%s", from->access_point);
}

static int append(struct snapshot_list *list, const struct worker_snapshots_reply *reply,
                  struct error *err)
{
    struct control_snapshot *items =
        reallocarray(list->items, list->count + reply->count + 1, sizeof(*items));

    if (!items)
        return error_set(err, -ENOMEM, "out of memory");
    list->items = items;
    for (uint32_t i = 0; i < reply->count; i++)
        view_of(&reply->items[i], &items[list->count++]);
    return 0;
}

/* The answer must be of that type. */
static int ask(struct worker *worker, struct worker_message *message,
               enum worker_message_type expected, struct error *err)
{
    int r = worker_ask(worker, &message[0], -1, -1, &message[1], err);

    if (r < 0)
        return r;
    bool is_expected = message[1].type == expected;
    worker_message_release(&message[1]); /* holds nothing but itself */
    return is_expected ? 0 : error_set(err, -EPROTO, "the filesystem's worker answers nonsense");
}

/* A page at a time. */
static int ask_list(struct worker *worker, void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    struct snapshot_list *list = arg;
    bool has_more = true;
    int r = message ? 0 : error_set(err, -ENOMEM, "out of memory");

    while (r == 0 && has_more) {
        uint64_t behind = list->count > 0 ? list->items[list->count - 1].id : 0;
        message[0] = (struct worker_message){ .type = WORKER_SNAPSHOT_LIST };
        message[0].snapshot_list.behind = behind;
        r = ask(worker, message, WORKER_SNAPSHOTS_REPLY, err);
        if (r == 0)
            r = append(list, &message[1].snapshots, err);
        has_more = r == 0 && message[1].snapshots.has_more && message[1].snapshots.count > 0;
    }
    return r;
}

int control_snapshot_list(struct control *control, const char *name, struct control_snapshot **ret,
                          size_t *ret_count, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    struct snapshot_list list = { .items = NULL };

    if (!fs)
        return -ENOENT;
    int r = filesystem_ask(fs, "is being looked at", ask_list, &list, err);
    if (r < 0) {
        free(list.items);
        return r;
    }
    *ret = list.items;
    *ret_count = list.count;
    return 0;
}

int filesystem_running_worker(struct filesystem *fs, struct worker **ret, struct error *err)
{
    *ret = filesystem_worker(fs);
    if (*ret)
        return 0;
    return error_set(err, -EBUSY, "filesystem %s is not started; mount it first", fs->record.name);
}

static int put_name(char to[static WORKER_NAME_SIZE], const char *text, struct error *err)
{
    if (text && strlen(text) >= WORKER_NAME_SIZE)
        return error_set(err, -EINVAL, "'%.40s...' is too long; 255 bytes are allowed", text);
    (void)snprintf(to, WORKER_NAME_SIZE, "%s", text ? text : "");
    return 0;
}

/* Only one of before has to be asked for all of them. */
static int find_in_list(struct worker *worker, const struct worker_snapshot_find *find,
                        struct control_snapshot *ret, struct error *err)
{
    struct snapshot_list list = { .items = NULL };
    int r = ask_list(worker, &list, err);
    int found = -ENOENT;

    for (size_t i = 0; r == 0 && i < list.count && found < 0; i++) {
        const struct control_snapshot *item = &list.items[i];
        if (item->is_removing ||
            (find->id != 0 ? item->id != find->id : strcmp(item->name, find->name) != 0))
            continue;
        *ret = *item;
        found = 0;
    }
    free(list.items);
    return r < 0 ? r : found;
}

/* One that is there: by its number or, with id 0, by its name. */
static int ask_find(struct worker *worker, uint64_t id, const char *name,
                    struct control_snapshot *ret, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    struct error why = { .code = 0 };

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_SNAPSHOT_FIND;
    message[0].snapshot_find.id = id;
    int r = put_name(message[0].snapshot_find.name, name, err);
    if (r < 0)
        return r;
    r = ask(worker, message, WORKER_SNAPSHOTS_REPLY, &why);
    if (r == -ENOSYS)
        r = find_in_list(worker, &message[0].snapshot_find, ret, err);
    else if (r < 0)
        return error_set(err, r, "%s", why.text);
    else if (message[1].snapshots.count == 0)
        r = -ENOENT;
    else
        view_of(&message[1].snapshots.items[0], ret);
    return r == -ENOENT ? error_set(err, r, "there is no snapshot of that name") : r;
}

struct search {
    const char *name;
    struct control_snapshot *ret;
    bool is_found;
};

static int ask_search(struct worker *worker, void *arg, struct error *err)
{
    struct search *search = arg;
    struct error why = { .code = 0 };
    int r = ask_find(worker, 0, search->name, search->ret, &why);

    search->is_found = r == 0;
    return r == 0 || r == -ENOENT ? 0 : error_set(err, r, "%s", why.text);
}

int filesystem_look_for_snapshot(struct filesystem *fs, const char *name,
                                 struct control_snapshot *ret, bool *ret_is_there,
                                 struct error *err)
{
    struct search search = { .name = name, .ret = ret };
    int r = filesystem_ask(fs, "is being looked at", ask_search, &search, err);

    if (r == 0)
        *ret_is_there = search.is_found;
    return r;
}

static bool has_access_point(const struct snapshot_list *list, const char *access_point)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].access_point, access_point) == 0)
            return true;
    return false;
}

static void access_point_of_now(char ret[static ACCESS_POINT_SIZE])
{
    time_t now = (time_t)(clock_wall_ns() / 1000000000);
    struct tm parts;

    ret[0] = '\0';
    if (gmtime_r(&now, &parts))
        (void)strftime(ret, ACCESS_POINT_SIZE, "@GMT_%Y.%m.%d-%H.%M.%S", &parts);
}

/* By the time; with a number behind it if there is one of this second already. */
static int free_access_point(struct worker *worker, char ret[static WORKER_NAME_SIZE],
                             struct error *err)
{
    struct snapshot_list list = { .items = NULL };
    char stamp[ACCESS_POINT_SIZE];

    int r = ask_list(worker, &list, err);
    access_point_of_now(stamp);
    (void)snprintf(ret, WORKER_NAME_SIZE, "%s", stamp);
    for (unsigned i = 2; r == 0 && has_access_point(&list, ret) && i < ACCESS_POINT_TRIES; i++)
        (void)snprintf(ret, WORKER_NAME_SIZE, "%s.%u", stamp, i);
    free(list.items);
    return r;
}

/* As a rule nothing has the access point of this second, and nobody looks at all of them. */
static int ask_take_now(struct worker *worker, struct worker_message message[static 2],
                        struct error *err)
{
    struct error why = { .code = 0 };

    access_point_of_now(message[0].snapshot.access_point);
    int r = ask(worker, message, WORKER_SNAPSHOTS_REPLY, &why);
    if (r != -EEXIST)
        return r < 0 ? error_set(err, r, "%s", why.text) : 0;
    r = free_access_point(worker, message[0].snapshot.access_point, err);
    return r < 0 ? r : ask(worker, message, WORKER_SNAPSHOTS_REPLY, err);
}

static int ask_take(struct worker *worker, const char *name, const char *access_point,
                    struct control_snapshot *ret, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_SNAPSHOT_TAKE;
    int r = put_name(message[0].snapshot.name, name, err);
    if (r == 0)
        r = put_name(message[0].snapshot.access_point, access_point, err);
    if (r == 0)
        r = access_point ? ask(worker, message, WORKER_SNAPSHOTS_REPLY, err)
                         : ask_take_now(worker, message, err);
    if (r == 0 && message[1].snapshots.count != 1)
        r = error_set(err, -EPROTO, "the filesystem's worker answers nonsense");
    if (r == 0)
        view_of(&message[1].snapshots.items[0], ret);
    return r;
}

int filesystem_take_snapshot(struct filesystem *fs, const char *name, const char *access_point,
                             struct control_snapshot *ret, struct error *err)
{
    CLEANUP(worker_unrefp) struct worker *worker = NULL;

    mutex_lock(&fs->snapshots);
    int r = filesystem_running_worker(fs, &worker, err);
    if (r == 0)
        r = ask_take(worker, name, access_point, ret, err);
    mutex_unlock(&fs->snapshots);
    if (r == 0)
        events_add(&fs->control->events, LOG_LEVEL_INFO, "snapshot-added", fs->record.name,
                   "snapshot %llu was taken", (unsigned long long)ret->id);
    return r;
}

int control_snapshot_add(struct control *control, const char *fs_name, const char *name,
                         const char *access_point, struct control_snapshot *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);
    struct error why = { .code = 0 };

    if (!fs)
        return -ENOENT;
    int r = filesystem_take_snapshot(fs, name, access_point, ret, &why);
    if (r == 0)
        return 0;
    /* Who asked for what cannot be knows; that a disk failed concerns others too. */
    if (r != -EINVAL && r != -EEXIST && r != -EBUSY)
        events_add(&control->events, LOG_LEVEL_ERROR, "snapshot-not-added", fs_name, "%s",
                   why.text);
    return error_set(err, r, "%s", why.text);
}

/* One that is being uploaded stays. Which one has that name is looked at only if there is a task.
 */
static int expect_no_upload(struct filesystem *fs, struct worker *worker, const char *name,
                            struct error *err)
{
    struct task_use use = { .fs = &fs->record.uuid };
    struct control_snapshot snapshot;

    int r = tasks_expect_none(fs->control, &use, NULL);
    if (r == 0)
        return 0;
    r = ask_find(worker, 0, name, &snapshot, err);
    if (r < 0)
        return r;
    use.snapshot = snapshot.id;
    return tasks_expect_none(fs->control, &use, err);
}

static int ask_change_locked(struct filesystem *fs, enum worker_message_type type, const char *name,
                             const char *new_name, const char *access_point, struct error *err)
    REQUIRES(fs->snapshots)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    CLEANUP(worker_unrefp) struct worker *worker = NULL;

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = type;
    int r = put_name(message[0].snapshot.name, name, err);
    if (r == 0)
        r = put_name(message[0].snapshot.new_name, new_name, err);
    if (r == 0)
        r = put_name(message[0].snapshot.access_point, access_point, err);
    if (r == 0)
        r = filesystem_running_worker(fs, &worker, err);
    if (r == 0 && type == WORKER_SNAPSHOT_REMOVE)
        r = expect_no_upload(fs, worker, name, err);
    return r < 0 ? r : ask(worker, message, WORKER_DONE, err);
}

static int ask_change(struct filesystem *fs, enum worker_message_type type, const char *name,
                      const char *new_name, const char *access_point, struct error *err)
{
    mutex_lock(&fs->snapshots);
    int r = ask_change_locked(fs, type, name, new_name, access_point, err);
    mutex_unlock(&fs->snapshots);
    return r;
}

int control_snapshot_update(struct control *control, const char *fs_name, const char *name,
                            const char *new_name, const char *access_point, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);

    if (!fs)
        return -ENOENT;
    return ask_change(fs, WORKER_SNAPSHOT_UPDATE, name, new_name, access_point, err);
}

static void tell_removed(struct filesystem *fs)
{
    events_add(&fs->control->events, LOG_LEVEL_INFO, "snapshot-removed", fs->record.name,
               "a snapshot was removed; what only it held is given back");
}

/* --- one of them --- */

/* One that is there, of a filesystem that is started. */
static int find_one(struct filesystem *fs, uint64_t id, const char *name,
                    struct control_snapshot *ret, struct error *err)
{
    CLEANUP(worker_unrefp) struct worker *worker = NULL;
    int r = filesystem_running_worker(fs, &worker, err);

    return r < 0 ? r : ask_find(worker, id, name, ret, err);
}

int filesystem_find_snapshot(struct filesystem *fs, const char *name, struct control_snapshot *ret,
                             struct error *err)
{
    return find_one(fs, 0, name, ret, err);
}

/* Who looks into a mounted one would lose it, and see another one in its place some day. */
static int remove_locked(struct filesystem *fs, const struct control_snapshot *snapshot,
                         struct error *err) REQUIRES(fs->snapshots)
{
    char at[FS_MOUNTPOINT_SIZE];

    if (snapshot_mounts_find(fs, snapshot->id, at))
        return error_set(err, -EBUSY, "the snapshot is mounted at %s; unmount it first", at);
    return ask_change_locked(fs, WORKER_SNAPSHOT_REMOVE, snapshot->name, NULL, NULL, err);
}

int control_snapshot_remove(struct control *control, const char *fs_name, const char *name,
                            struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);
    struct control_snapshot snapshot;

    if (!fs)
        return -ENOENT;
    mutex_lock(&fs->snapshots);
    int r = find_one(fs, 0, name, &snapshot, err);
    if (r == 0)
        r = remove_locked(fs, &snapshot, err);
    mutex_unlock(&fs->snapshots);
    if (r == 0)
        tell_removed(fs);
    return r;
}

int filesystem_remove_unchanged(struct filesystem *fs, uint64_t id, const char *name,
                                struct error *err)
{
    struct control_snapshot snapshot;

    mutex_lock(&fs->snapshots);
    int r = find_one(fs, id, NULL, &snapshot, err);
    if (r == 0 && (strcmp(snapshot.name, name) != 0 || strcmp(snapshot.access_point, name) != 0))
        r = error_set(err, -ESTALE, "the snapshot was changed");
    if (r == 0)
        r = remove_locked(fs, &snapshot, err);
    mutex_unlock(&fs->snapshots);
    if (r == 0)
        tell_removed(fs);
    return r;
}

struct restore_request {
    struct filesystem *fs;
    const struct control_restore *order;
    bool is_noted; /* in the audit log */
    uint64_t inodes;
};

static int ask_restore(struct worker *worker, void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    struct restore_request *request = arg;
    const struct control_restore *order = request->order;

    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_RESTORE;
    char *access_point = message[0].snapshot.access_point;
    int r = put_name(message[0].snapshot.name, order->snapshot, err);
    if (r == 0)
        r = put_name(message[0].snapshot.new_name, order->keep_as, err);
    if (r == 0 && order->keep_as)
        r = order->keep_access_point ? put_name(access_point, order->keep_access_point, err)
                                     : free_access_point(worker, access_point, err);
    if (r == 0)
        r = filesystem_audit(request->fs, AUDIT_RESTORE, 0, "to one of its snapshots", err);
    request->is_noted = r == 0;
    if (r == 0)
        r = ask(worker, message, WORKER_RESTORE_REPLY, err);
    if (r == 0)
        request->inodes = message[1].restored.inodes;
    return r;
}

/* Who asked for what cannot be knows; that it cannot be done, or begun and did not end, concerns
 * others too. */
static void note_restore(struct filesystem *fs, int r, const struct restore_request *request,
                         const struct error *why)
{
    struct events *events = &fs->control->events;

    if (r == 0)
        events_add(events, LOG_LEVEL_INFO, "restored", fs->record.name,
                   "the filesystem was put back to a snapshot; %llu files and folders differed",
                   (unsigned long long)request->inodes);
    else if (r != -EINVAL && r != -EEXIST && r != -EBUSY && r != -ENOENT)
        events_add(events, LOG_LEVEL_ERROR, "not-restored", fs->record.name, "%s", why->text);
}

int control_restore(struct control *control, const char *fs_name,
                    const struct control_restore *order, uint64_t *ret_inodes, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);
    struct restore_request request = { .fs = fs, .order = order };
    struct error why = { .code = 0 };

    if (!fs)
        return -ENOENT;
    int r = filesystem_ask_stopped(fs, "is being put back to a snapshot", false, ask_restore,
                                   &request, &why);
    if (r < 0 && request.is_noted)
        filesystem_audit_failure(fs, AUDIT_RESTORE, r, &why);
    note_restore(fs, r, &request, &why);
    if (r == -EPIPE)
        return error_set(err, -EIO,
                         "the worker ended before filesystem %s was put back; if that had begun, "
                         "the next start goes on with it",
                         fs_name);
    if (r < 0)
        return error_set(err, r, "%s", why.text);
    *ret_inodes = request.inodes;
    return 0;
}
