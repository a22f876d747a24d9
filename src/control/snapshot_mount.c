#include "control/snapshot_mount.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "control/remount.h"
#include "host/fuse_device.h"

#define MAGIC 0x4d535343u /* "CSSM" */
#define VERSION 1u
#define KEY_SIZE 96u
#define PREFIX "snapshot-mount/"

/* --- the record --- */

int snapshot_mount_encode(const struct snapshot_mount *mount, struct buf *ret, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(SNAPSHOT_MOUNT_MAX);

    if (!room)
        return error_set(err, -ENOMEM, "out of memory");
    struct writer writer = writer_init(room, SNAPSHOT_MOUNT_MAX);
    writer_u32(&writer, MAGIC);
    writer_u16(&writer, VERSION);
    writer_u64(&writer, mount->snapshot);
    writer_u32(&writer, mount->flags);
    writer_text(&writer, mount->mountpoint);
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the record of a mounted snapshot does not fit");
    return buf_assign(ret, writer_written(&writer)) < 0 ? error_set(err, -ENOMEM, "out of memory")
                                                        : 0;
}

int snapshot_mount_decode(struct bytes encoded, struct snapshot_mount *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct snapshot_mount mount = { .next = NULL };

    if (reader_u32(&reader) != MAGIC)
        return error_set(err, -EBADMSG,
                         "a record of the registry is not one of a mounted snapshot");
    if (reader_u16(&reader) != VERSION && !reader.failed)
        return error_set(err, -EPROTONOSUPPORT,
                         "a record of the registry was written by a later version of coffer");
    mount.snapshot = reader_u64(&reader);
    mount.flags = reader_u32(&reader);
    reader_text(&reader, mount.mountpoint, sizeof(mount.mountpoint));
    if (mount.snapshot == 0 || mount.mountpoint[0] != '/')
        reader_fail(&reader);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "a record of a mounted snapshot is damaged");
    *ret = mount;
    return 0;
}

/* "snapshot-mount/UUID/NUMBER" */
static void key_of(const struct filesystem *fs, uint64_t snapshot, char ret[static KEY_SIZE])
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&fs->record.uuid, uuid);
    (void)snprintf(ret, KEY_SIZE, PREFIX "%s/%llu", uuid, (unsigned long long)snapshot);
}

static int store(struct filesystem *fs, const struct snapshot_mount *mount, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];
    int r = snapshot_mount_encode(mount, &encoded, err);

    key_of(fs, mount->snapshot, key);
    return r < 0 ? r : registry_put_value(fs->control->registry, key, buf_bytes(&encoded), err);
}

/* --- the list --- */

static int list(struct filesystem *fs, const struct snapshot_mount *mount)
{
    struct snapshot_mount *copy = malloc(sizeof(*copy));

    if (!copy)
        return -ENOMEM;
    *copy = *mount;
    mutex_lock(&fs->lock);
    copy->next = fs->snapshot_mounts;
    fs->snapshot_mounts = copy;
    mutex_unlock(&fs->lock);
    return 0;
}

static int load_one(struct bytes value, void *arg)
{
    CLEANUP(free_ptr) struct snapshot_mount *mount = malloc(sizeof(*mount));
    struct error err = { .code = 0 };

    if (!mount)
        return -ENOMEM;
    if (snapshot_mount_decode(value, mount, &err) < 0) {
        log_error("a mounted snapshot of the registry is passed over: %s", err.text);
        return 0;
    }
    return list(arg, mount);
}

int snapshot_mounts_load(struct filesystem *fs, struct error *err)
{
    char prefix[KEY_SIZE];
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&fs->record.uuid, uuid);
    (void)snprintf(prefix, sizeof(prefix), PREFIX "%s/", uuid);
    return registry_each_value(fs->control->registry, prefix, load_one, fs, err);
}

void snapshot_mounts_free(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    struct snapshot_mount *mounts = TAKE(fs->snapshot_mounts);
    mutex_unlock(&fs->lock);
    while (mounts) {
        struct snapshot_mount *mount = mounts;
        mounts = mount->next;
        free(mount);
    }
}

/* A copy of the number'th, so that no lock is held while it is used; 0: there is none. */
static uint64_t copy_nth(struct filesystem *fs, unsigned number, struct snapshot_mount *ret)
{
    uint64_t found = 0;

    mutex_lock(&fs->lock);
    const struct snapshot_mount *mount = fs->snapshot_mounts;
    for (; mount && number > 0; number--)
        mount = mount->next;
    if (mount) {
        *ret = *mount;
        found = mount->snapshot;
    }
    mutex_unlock(&fs->lock);
    return found;
}

bool snapshot_mounts_find(struct filesystem *fs, uint64_t snapshot,
                          char ret[static FS_MOUNTPOINT_SIZE])
{
    bool is_found = false;

    mutex_lock(&fs->lock);
    for (const struct snapshot_mount *mount = fs->snapshot_mounts; mount; mount = mount->next) {
        if (mount->snapshot != snapshot)
            continue;
        memcpy(ret, mount->mountpoint, sizeof(mount->mountpoint));
        is_found = true;
    }
    mutex_unlock(&fs->lock);
    return is_found;
}

void snapshot_mounts_ended(struct filesystem *fs, uint64_t snapshot)
{
    struct snapshot_mount *gone = NULL;
    struct error err = { .code = 0 };
    char key[KEY_SIZE];

    mutex_lock(&fs->lock);
    struct snapshot_mount **link = &fs->snapshot_mounts;
    while (*link && (*link)->snapshot != snapshot)
        link = &(*link)->next;
    if (*link) {
        gone = *link;
        *link = gone->next;
    }
    mutex_unlock(&fs->lock);
    if (!gone)
        return;
    free(gone);
    key_of(fs, snapshot, key);
    if (registry_put_value(fs->control->registry, key, (struct bytes){ .len = 0 }, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "registry", fs->record.name,
                   "a snapshot will be mounted again after a restart: %s", err.text);
}

void snapshot_mounts_forget(struct filesystem *fs)
{
    struct snapshot_mount mount;
    uint64_t snapshot;

    while ((snapshot = copy_nth(fs, 0, &mount)) != 0)
        snapshot_mounts_ended(fs, snapshot);
}

/* --- what a keeper does with them --- */

static struct remounting remounting_of(const struct filesystem *fs,
                                       const struct snapshot_mount *mount)
{
    return (struct remounting){ .name = fs->record.name,
                                .mountpoint = mount->mountpoint,
                                .flags = mount->flags,
                                .snapshot = mount->snapshot };
}

void snapshot_mounts_again(struct filesystem *fs)
{
    struct snapshot_mount mount;

    for (unsigned i = 0; copy_nth(fs, i, &mount) != 0; i++) {
        struct remounting remounting = remounting_of(fs, &mount);
        struct error err = { .code = 0 };
        if (remount(&remounting, fs->worker, &err) < 0)
            events_add(&fs->control->events, LOG_LEVEL_ERROR, "mount-failed", fs->record.name,
                       "snapshot %llu cannot be mounted again at %s: %s",
                       (unsigned long long)mount.snapshot, mount.mountpoint, err.text);
    }
}

void snapshot_mounts_clear(struct filesystem *fs)
{
    struct snapshot_mount mount;

    for (unsigned i = 0; copy_nth(fs, i, &mount) != 0; i++) {
        struct remounting remounting = remounting_of(fs, &mount);
        struct error err = { .code = 0 };
        if (remount_clear(&remounting, &err) < 0)
            events_add(&fs->control->events, LOG_LEVEL_WARNING, "mount-stuck", fs->record.name,
                       "%s", err.text);
    }
}

static bool is_among(const struct worker_mounts_reply *reply, uint64_t snapshot)
{
    for (uint32_t i = 0; i < reply->count; i++)
        if (reply->snapshots[i] == snapshot)
            return true;
    return false;
}

static void forget_others(struct filesystem *fs, const struct worker_mounts_reply *reply)
{
    struct snapshot_mount mount;

    for (unsigned i = 0; copy_nth(fs, i, &mount) != 0;) {
        if (is_among(reply, mount.snapshot))
            i++;
        else
            snapshot_mounts_ended(fs, mount.snapshot);
    }
}

int snapshot_mounts_compare(struct filesystem *fs, struct worker *worker, bool *ret_has_ended,
                            struct error *err)
{
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    struct snapshot_mount mount;

    if (copy_nth(fs, 0, &mount) == 0)
        return 0; /* the worker may be older than the question */
    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    message[0].type = WORKER_MOUNTS;
    int r = worker_ask(worker, &message[0], -1, -1, &message[1], err);
    if (r < 0)
        return r;
    bool is_reply = message[1].type == WORKER_MOUNTS_REPLY;
    if (is_reply) {
        *ret_has_ended = message[1].mounts.has_ended;
        forget_others(fs, &message[1].mounts);
    }
    worker_message_release(&message[1]);
    return is_reply ? 0 : error_set(err, -EPROTO, "the filesystem's worker answers nonsense");
}

int snapshot_mounts_none(struct filesystem *fs, struct error *err)
{
    CLEANUP(free_ptr) struct snapshot_mount *mount = malloc(sizeof(*mount));
    int r = mount ? 0 : error_set(err, -ENOMEM, "out of memory");

    for (unsigned i = 0; r == 0 && copy_nth(fs, i, mount) != 0; i++)
        if (fuse_device_is_mounted_as(mount->mountpoint, fs->record.name))
            r = error_set(err, -EBUSY, "a snapshot of %s is mounted at %s; unmount it first",
                          fs->record.name, mount->mountpoint);
    return r;
}

/* --- mounting --- */

static int check_new(struct filesystem *fs, uint64_t snapshot, const char *mountpoint,
                     struct error *err)
{
    char at[FS_MOUNTPOINT_SIZE];

    if (mountpoint[0] != '/' || strlen(mountpoint) >= FS_MOUNTPOINT_SIZE)
        return error_set(err, -EINVAL, "the mount point is not an absolute path");
    if (snapshot_mounts_find(fs, snapshot, at))
        return error_set(err, -EBUSY, "the snapshot is already mounted at %s", at);
    return 0;
}

static int mount_held(struct filesystem *fs, const char *name, const char *mountpoint, int fuse_fd,
                      struct error *err) REQUIRES(fs->snapshots)
{
    CLEANUP(worker_unrefp) struct worker *worker = filesystem_worker(fs);
    CLEANUP(free_ptr) struct snapshot_mount *mount = calloc(1, sizeof(*mount));
    struct control_snapshot snapshot;

    if (!mount)
        return error_set(err, -ENOMEM, "out of memory");
    int r = filesystem_find_snapshot(fs, name, &snapshot, err);
    if (r == -ENOENT)
        return error_set(err, r, "filesystem %s has no snapshot '%.60s'", fs->record.name, name);
    if (r == 0)
        r = check_new(fs, snapshot.id, mountpoint, err);
    if (r < 0)
        return r;
    mount->snapshot = snapshot.id;
    mount->flags = remount_flags_of(mountpoint) | MS_RDONLY;
    (void)snprintf(mount->mountpoint, sizeof(mount->mountpoint), "%s", mountpoint);
    struct remounting remounting = remounting_of(fs, mount);
    /* First the list: an end of the mount finds it there. */
    r = store(fs, mount, err);
    if (r == 0 && list(fs, mount) < 0)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        r = remount_pass(worker, &remounting, fuse_fd, err);
    if (r < 0)
        snapshot_mounts_ended(fs, mount->snapshot);
    return r;
}

int control_snapshot_mount(struct control *control, const char *fs_name, const char *name,
                           const char *mountpoint, int fuse_fd, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);

    if (!fs)
        return -ENOENT;
    mutex_lock(&fs->snapshots);
    int r = mount_held(fs, name, mountpoint, fuse_fd, err);
    mutex_unlock(&fs->snapshots);
    if (r == 0)
        events_add(&control->events, LOG_LEVEL_INFO, "snapshot-mounted", fs_name,
                   "a snapshot was mounted at %s", mountpoint);
    return r;
}

bool control_snapshot_mounted_at(struct control *control, const char *fs_name, uint64_t snapshot,
                                 char ret[static FS_MOUNTPOINT_SIZE])
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, NULL);

    ret[0] = '\0';
    return fs && snapshot_mounts_find(fs, snapshot, ret);
}
