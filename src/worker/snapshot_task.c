/* Orders about snapshots. Taking one first has the kernel hand over what programs have written into
 * its cache; no lock is held meanwhile, as the pages come in as requests of their own. */
#include <errno.h>
#include <string.h>

#include "worker/snapshots.h"
#include "worker/task.h"

void snapshot_describe(const struct volume_snapshot *snapshot, struct worker_snapshot *ret)
{
    *ret = (struct worker_snapshot){ .id = snapshot->epoch,
                                     .created_ns = snapshot->created_ns,
                                     .is_removing = snapshot->is_removing };
    memcpy(ret->name, snapshot->name, sizeof(ret->name));
    memcpy(ret->access_point, snapshot->access_point, sizeof(ret->access_point));
}

int snapshot_take_task(struct task *task, struct error *err)
{
    const struct worker_snapshot_order *order = &task->order.snapshot;
    struct volume_snapshot taken;

    if (task->session)
        mount_session_write_back(task->session);
    int r = volume_snapshot_take(task->volume, order->name, order->access_point, &taken, err);
    if (r < 0)
        return r;
    if (task->session)
        mount_session_snapshots_changed(task->session, NULL);
    task->reply.type = WORKER_SNAPSHOTS_REPLY;
    memset(&task->reply.snapshots, 0, sizeof(task->reply.snapshots));
    task->reply.snapshots.count = 1;
    snapshot_describe(&taken, &task->reply.snapshots.items[0]);
    return 0;
}

/* change: what volume.h does to the snapshot that the order names. */
static int change_one(struct task *task, int (*change)(struct task *task, struct error *err),
                      struct error *err)
{
    struct volume_snapshot before = { .access_point = "" };

    (void)volume_snapshot_find(task->volume, task->order.snapshot.name, &before);
    int r = change(task, err);
    if (r == 0 && task->session)
        mount_session_snapshots_changed(task->session, before.access_point);
    return r;
}

static const char *text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static int update(struct task *task, struct error *err)
{
    const struct worker_snapshot_order *order = &task->order.snapshot;

    return volume_snapshot_update(task->volume, order->name, text_or_null(order->new_name),
                                  text_or_null(order->access_point), err);
}

int snapshot_update_task(struct task *task, struct error *err)
{
    return change_one(task, update, err);
}

static int drop(struct task *task, struct error *err)
{
    return volume_snapshot_remove(task->volume, task->order.snapshot.name, err);
}

int snapshot_remove_task(struct task *task, struct error *err)
{
    return change_one(task, drop, err);
}

int restore_task(struct task *task, struct error *err)
{
    const struct worker_snapshot_order *order = &task->order.snapshot;
    struct volume_restored restored;

    int r = volume_restore(task->volume, order->name, text_or_null(order->new_name),
                           order->access_point, &restored, err);
    if (r < 0)
        return r;
    task->reply.type = WORKER_RESTORE_REPLY;
    task->reply.restored.inodes = restored.inodes;
    return 0;
}

static int add_to_reply(const struct volume_snapshot *snapshot, void *arg)
{
    struct worker_snapshots_reply *reply = arg;

    reply->has_more = reply->count == WORKER_SNAPSHOTS_MAX;
    if (reply->has_more)
        return 1;
    snapshot_describe(snapshot, &reply->items[reply->count++]);
    return 0;
}

void snapshots_reply(struct volume *volume, uint64_t behind, struct worker_snapshots_reply *ret)
{
    memset(ret, 0, sizeof(*ret));
    (void)volume_snapshot_list_behind(volume, behind, add_to_reply, ret);
}

void snapshot_find_reply(struct volume *volume, const struct worker_snapshot_find *find,
                         struct worker_snapshots_reply *ret)
{
    struct volume_snapshot snapshot;

    memset(ret, 0, sizeof(*ret));
    int r = find->id != 0 ? volume_snapshot_find_epoch(volume, find->id, &snapshot)
                          : volume_snapshot_find(volume, find->name, &snapshot);
    if (r == 0)
        snapshot_describe(&snapshot, &ret->items[ret->count++]);
}
