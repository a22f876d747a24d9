/* volume.h - one started filesystem: POSIX operations on inodes, over a metadata engine and an
 * object store. It knows nothing of FUSE; mount/ is its face there.
 *
 * Every operation is atomic: it is visible whole or not at all, and after a crash the volume is
 * as it was after one of its operations, no more than about a second ago, with everything that
 * volume_sync() answered for. Permissions are checked by the kernel, not here.
 * But for a hole in more than 64 chunks that have data, which is made in several steps.
 *
 * Units      sizes, offsets: bytes. Times: nanoseconds since 1970. Inode numbers: below 2^48,
 *            never used again; VOLUME_ROOT is the root. In a snapshot its slot is in the 16 bits
 *            above: slot << 48 | VOLUME_ROOT is its root.
 * Errors     0 or the negative errno that the system call reports. -EIO: data or metadata was
 *            altered or cannot be read; the event callback has the particulars. -ENOSPC: the
 *            capacity is used up or the disk is full. -EROFS: the volume is read-only, or what is
 *            to be changed is in a snapshot. -ESTALE: the snapshot is gone.
 * Ownership  inputs stay the caller's.
 * Threads    any number at once, except open and close.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "fs/origin.h"
#include "keyring/superblock.h"
#include "meta/meta_engine.h"
#include "store/object_store.h"

#define VOLUME_ROOT 1u
/* The folder of all snapshots: ".snapshots" in the root directory, where it is not listed. */
#define VOLUME_SNAPSHOTS (UINT64_C(0xffff000000000001))
#define VOLUME_NAME_MAX 255u
#define VOLUME_SYMLINK_MAX 4095u
#define VOLUME_XATTR_MAX (48u * 1024u) /* the longest value of one extended attribute */

struct volume;

enum volume_event {
    VOLUME_EVENT_CORRUPTION,  /* a block or record failed authentication */
    VOLUME_EVENT_WRITE_LOST,  /* the store failed; data written since the last sync may be lost */
    VOLUME_EVENT_FULL,        /* a commit found no room; changes are refused until there is some */
    VOLUME_EVENT_ROOM_AGAIN,  /* and now there is */
    VOLUME_EVENT_READ_ONLY,   /* opened read-only: the store knows a later commit or owner, or to
                                 salvage files */
    VOLUME_EVENT_ORIGIN_AWAY, /* what was not fetched yet of a downloaded snapshot cannot be read */
    VOLUME_EVENT_CACHE_OFF,   /* of who opened the store: its cache of copies turned itself off */
    VOLUME_EVENT_ORIGIN_DONE, /* all of it is here */
    VOLUME_EVENT_ARRIVING_DROPPED, /* of who opened it: a snapshot that nobody brings in any more */
    VOLUME_EVENT_KEY_MISSING, /* data cannot be read: its key is not at hand; once a minute at most
                               */
};

/* text names inode and segment, never a file name. Called from any thread; must not call back. */
typedef void volume_event_fn(enum volume_event event, const char *text, void *arg);

/* To whom a new file belongs. */
struct volume_owner {
    uint32_t uid;
    uint32_t gid;
};

struct volume_config {
    struct uuid uuid;
    struct object_store *store; /* stays the caller's, and open until the volume is closed */
    const char *meta_url;
    const struct key_set *keys; /* every generation in use; copied */
    struct uuid owner;          /* who opens it: this instance of cofferd */
    uint64_t capacity;          /* bytes; 0: as much as the store has */
    struct volume_owner root;   /* volume_format(): to whom the root directory belongs */
    bool read_only;
    /* Go on although the store knows a later commit or another owner. What only that other history
     * holds is lost: objects of ids that this metadata had announced are deleted, others reported
     * by each check. */
    bool take_over;
    /* Read-only, and records that are altered do not keep it from being opened, so that files can
     * be copied out of it: those by which it is told whether it is the newest state, and where data
     * lies. What is read still verifies, record by record and block by block. -EOPNOTSUPP: it is
     * not all here, but in a bucket. */
    bool salvage;
    volume_event_fn *on_event; /* may be NULL */
    void *event_arg;
    /* Of a filesystem that was downloaded (fs/origin.h), as long as not all of it is here; for any
     * other it is not called. NULL: one that is not all here is not opened, -ENODATA. */
    origin_open_fn *open_origin;
    void *origin_arg;
};

/* Makes an empty filesystem: its metadata, with its root directory, and its
 * superblock in both places. A crash in the middle leaves no superblock in the store, and a
 * second call starts again. */
int volume_format(const struct volume_config *config, uint32_t block_size, struct error *err);

int volume_open(const struct volume_config *config, struct volume **ret, struct error *err);

/* From now on who uses the volume stamps regular files himself: a kernel that caches their content
 * knows when it was changed, and tells their times by volume_setattr(). Changes of content, size
 * and attributes leave them. */
void volume_leave_times(struct volume *volume);

/* Makes everything durable and writes the superblock. Frees the volume whatever it returns. */
int volume_close(struct volume *volume, struct error *err);

bool volume_is_read_only(const struct volume *volume);
/* Its keys, and those of what it came from; as long as it is open. */
const struct key_set *volume_keys(const struct volume *volume);
/* Foreign ones that joined its ring since it was opened, before anything is stored that needs them.
 * Those it has already do no harm. One thread at a time; who reads meanwhile is not disturbed.
 * -EBADMSG: one of them is another key than it has; -ENOSPC. Then nothing was added. */
int volume_add_keys(struct volume *volume, const struct key_set *keys, struct error *err);
/* The foreign ones under which something of it is sealed, be it in a snapshot or not given up yet.
 * Makes all durable: of what the metadata is after it, whatever crash comes, nothing needs another
 * key, unless a snapshot is brought in. -EBUSY: not all that it was made of is here, or no change
 * is durable at present; -EROFS; -ENOSPC: more than a key ring can have. */
int volume_foreign_keys(struct volume *volume, struct foreign_key_ids *ret, struct error *err);

struct volume_attr {
    uint64_t ino;
    uint64_t size;
    uint64_t blocks; /* of 512 bytes, really stored */
    int64_t atime_ns;
    int64_t mtime_ns;
    int64_t ctime_ns;
    uint32_t mode; /* type and permissions, as st_mode */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint64_t rdev;
};

/* lookup, and everything that returns a volume_attr of a name, counts one reference to the inode,
 * which keeps an unlinked one alive, until volume_forget() gives so many back. It ends soon after
 * that: volume_statfs() and volume_check() see it gone, and its room is there when it is needed. */
int volume_lookup(struct volume *volume, uint64_t parent, const char *name,
                  struct volume_attr *ret);
void volume_forget(struct volume *volume, uint64_t ino, uint64_t references);

int volume_getattr(struct volume *volume, uint64_t ino, struct volume_attr *ret);

enum volume_set {
    VOLUME_SET_MODE = 1 << 0,
    VOLUME_SET_UID = 1 << 1,
    VOLUME_SET_GID = 1 << 2,
    VOLUME_SET_SIZE = 1 << 3,
    VOLUME_SET_ATIME = 1 << 4,
    VOLUME_SET_MTIME = 1 << 5,
    VOLUME_SET_CTIME = 1 << 6,
};

/* Sets the members of *attr that which (enum volume_set) names. ctime becomes now unless set. */
int volume_setattr(struct volume *volume, uint64_t ino, const struct volume_attr *attr,
                   unsigned which, struct volume_attr *ret);

/* Any type of file that has no target: mode says which. */
int volume_mknod(struct volume *volume, uint64_t parent, const char *name, uint32_t mode,
                 uint64_t rdev, const struct volume_owner *owner, struct volume_attr *ret);
int volume_symlink(struct volume *volume, uint64_t parent, const char *name, const char *target,
                   const struct volume_owner *owner, struct volume_attr *ret);
/* A file without a name (O_TMPFILE); it goes when it is forgotten, unless linked before. */
int volume_tmpfile(struct volume *volume, uint64_t parent, uint32_t mode,
                   const struct volume_owner *owner, struct volume_attr *ret);
int volume_link(struct volume *volume, uint64_t ino, uint64_t parent, const char *name,
                struct volume_attr *ret);
int volume_unlink(struct volume *volume, uint64_t parent, const char *name);
int volume_rmdir(struct volume *volume, uint64_t parent, const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE or 0. */
int volume_rename(struct volume *volume, uint64_t parent, const char *name, uint64_t new_parent,
                  const char *new_name, unsigned flags);

/* ret has room for VOLUME_SYMLINK_MAX + 1. */
int volume_readlink(struct volume *volume, uint64_t ino, char *ret);

/* One entry of a directory. next is the position behind it. attr is complete only if asked for
 * (else ino and the type in mode). Returns 0 to go on. */
typedef int volume_dirent_fn(const char *name, const struct volume_attr *attr, uint64_t next,
                             void *arg);

/* Visits the entries behind position, 0 at first. "." and ".." come first. An entry that stays
 * during the whole reading is seen exactly once. with_attr does not count references: the visitor
 * does so with volume_reference() for those that it took. */
int volume_readdir(struct volume *volume, uint64_t ino, uint64_t position, bool with_attr,
                   volume_dirent_fn *visit, void *arg);
void volume_reference(struct volume *volume, uint64_t ino);

/* Reads up to len bytes; *ret_len is less only at the end of the file. Holes read as zeros.
 * atime changes as by volume_touch_atime(). */
int volume_read(struct volume *volume, uint64_t ino, uint64_t offset, size_t len, uint8_t *to,
                size_t *ret_len);
/* All of data or an error and nothing. */
int volume_write(struct volume *volume, uint64_t ino, uint64_t offset, struct bytes data);
/* mode: FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE as in fallocate(2). */
int volume_fallocate(struct volume *volume, uint64_t ino, int mode, uint64_t offset, uint64_t len);
/* whence: SEEK_DATA or SEEK_HOLE. */
int volume_seek(struct volume *volume, uint64_t ino, uint64_t offset, int whence,
                uint64_t *ret_offset);
/* Sets atime to now if relatime asks for it, and the next does not forbid it. */
int volume_touch_atime(struct volume *volume, uint64_t ino);
/* Whether reading changes no times; false at first. */
void volume_set_noatime(struct volume *volume, bool is_noatime);

/* Everything that returned before the call is durable after 0. After a failed write to the store
 * it says so once, for each inode that lost data, and never claims that the lost data is safe. */
int volume_sync(struct volume *volume, struct error *err);

/* The same for who cannot wait: done is told, once, what volume_sync() would have returned, by
 * whatever thread makes it durable, or by the caller's before this returns. It must not block, nor
 * call the volume. Until then the waiter stays where it is, and the volume open. May take as long
 * as storing an object that is full. */
struct volume_waiter {
    struct meta_waiter base;
    struct volume *volume;
    void (*done)(struct volume_waiter *waiter, int result); /* the caller sets only this one */
};

void volume_sync_later(struct volume *volume, struct volume_waiter *waiter);

/* flags: XATTR_CREATE, XATTR_REPLACE or 0. */
int volume_setxattr(struct volume *volume, uint64_t ino, const char *name, struct bytes value,
                    int flags);
/* *ret_len is the value's length; -ERANGE if size is less and not 0. */
int volume_getxattr(struct volume *volume, uint64_t ino, const char *name, uint8_t *to, size_t size,
                    size_t *ret_len);
/* Names, each ended with NUL. */
int volume_listxattr(struct volume *volume, uint64_t ino, char *to, size_t size, size_t *ret_len);
int volume_removexattr(struct volume *volume, uint64_t ino, const char *name);

struct volume_statfs {
    uint64_t total; /* bytes */
    uint64_t free;  /* bytes that can still be written */
    uint64_t used;  /* bytes of file data, without what waits for collection */
    uint64_t files; /* inodes in use */
    uint64_t files_free;
};

int volume_statfs(struct volume *volume, struct volume_statfs *ret);
void volume_set_capacity(struct volume *volume, uint64_t capacity);

/* A snapshot shows, read-only, what the volume was at one moment. */
struct volume_snapshot {
    uint64_t epoch; /* which it closed: its number, ascending in time, never used again */
    uint16_t slot;  /* the upper 16 bits of its inode numbers */
    int64_t created_ns;
    bool is_removing; /* not seen any more; its room comes back in the background */
    char name[VOLUME_NAME_MAX + 1];
    char access_point[VOLUME_NAME_MAX + 1]; /* its folder in .snapshots */
};

/* Of inode numbers: those in a snapshot, their folder included; the folder and each one's root. */
static inline bool volume_is_in_snapshot(uint64_t ino)
{
    return ino >> 48 != 0;
}

static inline bool volume_is_snapshot_root(uint64_t ino)
{
    return volume_is_in_snapshot(ino) && (ino & ((UINT64_C(1) << 48) - 1)) == VOLUME_ROOT;
}

/* The inode of its root directory. */
static inline uint64_t volume_snapshot_root(const struct volume_snapshot *snapshot)
{
    return (uint64_t)snapshot->slot << 48 | VOLUME_ROOT;
}

/* Holds everything that returned before the call, durable when it returns. -EEXIST: the name or
 * the access point is in use. */
int volume_snapshot_take(struct volume *volume, const char *name, const char *access_point,
                         struct volume_snapshot *ret, struct error *err);
/* The oldest first. Returns 0 to go on. */
typedef int volume_snapshot_fn(const struct volume_snapshot *snapshot, void *arg);
int volume_snapshot_list(struct volume *volume, volume_snapshot_fn *visit, void *arg);
/* Those behind that number. */
int volume_snapshot_list_behind(struct volume *volume, uint64_t epoch, volume_snapshot_fn *visit,
                                void *arg);
/* One that is seen, without looking at all of them. -ENOENT. */
int volume_snapshot_find(struct volume *volume, const char *name, struct volume_snapshot *ret);
int volume_snapshot_find_epoch(struct volume *volume, uint64_t epoch, struct volume_snapshot *ret);
/* NULL: stays. */
int volume_snapshot_update(struct volume *volume, const char *name, const char *new_name,
                           const char *access_point, struct error *err);
/* Durable when it returns. */
int volume_snapshot_remove(struct volume *volume, const char *name, struct error *err);

/* Puts all back to what a snapshot sees; every snapshot stays as it is. Nobody else may use the
 * volume meanwhile. keep_as (NULL: nothing) is the name of a snapshot that shows from then on what
 * was overwritten. Once begun it ends: volume_open() goes on with it. -ENOENT: no such snapshot;
 * -EIO: a record that is needed was altered, and nothing was changed. */
struct volume_restored {
    uint64_t inodes; /* that differed */
};

int volume_restore(struct volume *volume, const char *snapshot, const char *keep_as,
                   const char *keep_access_point, struct volume_restored *ret, struct error *err);
/* It was begun, and the volume, which is read-only, is neither the one nor the other. */
bool volume_is_restoring(const struct volume *volume);

/* Compares everything with everything: each record opens, the set hash is right, links, sizes
 * and counts agree, every block that an extent names is there and opens (if read_data). report
 * gets one sentence for each fault. Returns 0 even if there are faults, and their number. */
typedef void volume_report_fn(const char *text, void *arg);
int volume_check(struct volume *volume, bool read_data, volume_report_fn *report, void *arg,
                 uint64_t *ret_faults, struct error *err);
