/* The LMDB engine: one file in the folder that the URL names, written by the overlay's committer
 * alone, a group in each LMDB transaction.
 *
 * Room: LMDB writes changed pages to free pages or behind the last used one, so the file's blocks
 * are allocated ahead of that one for all that waits in memory. What cannot be given room is
 * refused before it is acknowledged, not lost at its commit. */
#include "meta/engines/engines.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "base/thread.h"
#include "meta/engines/lmdb_copy.h"
#include "meta/engines/lmdb_free.h"
#include "meta/engines/overlay.h"

#define FILE_NAME "metadata.mdb"
/* While it is written anew: first the copy, then what it has replaced. */
#define COPY_NAME "metadata.mdb.copy"

/* Address space, not storage. Where there is less, a smaller one is tried. */
#define MAP_SIZE_MAX ((size_t)1 << 40)
#define MAP_SIZE_MIN ((size_t)1 << 30)
#define READERS_MAX 512u

#define ROOM_STEP ((uint64_t)4 * 1024 * 1024)

/* What the file of a filesystem leaves of its disk as it grows for ordinary writers. The object
 * store may have the same disk, where files that are removed give back room only if there is some
 * to move blocks together in (fs/room.c keeps a little more of that, so that what is written there
 * last still has its metadata). */
#define LEFT_OF_DISK 12u
#define LEFT_MAX ((uint64_t)68 * 1024 * 1024)

struct lmdb_store {
    struct overlay_store base;
    char *folder;
    char *file;
    char *copy;
    int fd; /* holds the flock; blocks are allocated through it */
    bool read_only;
    bool leaves_room;
    MDB_env *env; /* NULL after a reopen that failed */
    MDB_dbi dbi;
    bool is_exchanged; /* file and copy, and that is not yet known to be durable */

    MDB_txn *apply; /* the committer's */
    MDB_cursor *apply_cursor;

    struct mutex room; /* guards all below, and env against reopening */
    uint64_t page_size;
    uint64_t map_size;
    uint64_t used_end;      /* bytes: behind the last page that was ever used */
    uint64_t tree_pages;    /* which a group may have to write anew */
    uint64_t allocated_end; /* bytes that have blocks */
    bool free_is_known;
    struct lmdb_free free;
};

struct overlay_reader {
    struct lmdb_store *store;
    MDB_txn *txn;
};

struct overlay_cursor {
    MDB_cursor *native;
    struct lmdb_store *store;
};

static int errno_of(int mdb)
{
    switch (mdb) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
        return -ENOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return -EBADMSG;
    case MDB_VERSION_MISMATCH:
        return -EPROTONOSUPPORT;
    default:
        return mdb > 0 ? -mdb : -EIO;
    }
}

/* verb: "read", "written". -ENOENT is an answer, not a failure, and has no sentence. */
static int lmdb_result(const struct lmdb_store *store, int mdb, const char *verb, struct error *err)
{
    int r = errno_of(mdb);

    if (r == 0 || r == -ENOENT)
        return r;
    return error_set(err, r, "The metadata in %s could not be %s: %s.", store->folder, verb,
                     mdb > 0 ? strerrordesc_np(mdb) : mdb_strerror(mdb));
}

/* LMDB does not write to what it is given; its type only cannot say so. */
static MDB_val val_of(struct bytes bytes)
{
    union {
        const void *given;
        void *taken;
    } data = { .given = bytes.data };

    return (MDB_val){ .mv_size = bytes.len, .mv_data = data.taken };
}

static struct bytes bytes_of(MDB_val val)
{
    return (struct bytes){ .data = val.mv_data, .len = val.mv_size };
}

static int lmdb_reader_begin(struct overlay_store *base, struct overlay_reader **reader,
                             struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    if (store->env == NULL)
        return error_set(err, -EIO,
                         "The metadata in %s could not be opened again after a failed "
                         "write; it is tried again each second.",
                         store->folder);
    if (*reader != NULL)
        return lmdb_result(store, mdb_txn_renew((*reader)->txn), "read", err);

    CLEANUP(free_ptr) struct overlay_reader *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL)
        return error_set(err, -ENOMEM, "No memory to read the metadata.");
    fresh->store = store;
    int r =
        lmdb_result(store, mdb_txn_begin(store->env, NULL, MDB_RDONLY, &fresh->txn), "read", err);
    if (r == 0)
        *reader = TAKE(fresh);
    return r;
}

static void lmdb_reader_end(struct overlay_reader *reader)
{
    mdb_txn_reset(reader->txn);
}

static void lmdb_reader_free(struct overlay_reader *reader)
{
    if (reader == NULL)
        return;
    mdb_txn_abort(reader->txn);
    free(reader);
}

static int lmdb_get(struct overlay_reader *reader, struct bytes key, struct bytes *ret,
                    struct error *err)
{
    MDB_val native = val_of(key);
    MDB_val value;

    int mdb = mdb_get(reader->txn, reader->store->dbi, &native, &value);
    if (mdb == MDB_SUCCESS)
        *ret = bytes_of(value);
    return lmdb_result(reader->store, mdb, "read", err);
}

static int cursor_result(struct overlay_cursor *cursor, int mdb, const MDB_val *key,
                         const MDB_val *value, struct bytes *ret_key, struct bytes *ret_value,
                         struct error *err)
{
    if (mdb == MDB_SUCCESS) {
        *ret_key = bytes_of(*key);
        *ret_value = bytes_of(*value);
    }
    return lmdb_result(cursor->store, mdb, "read", err);
}

static int lmdb_cursor_seek(struct overlay_reader *reader, struct bytes first,
                            struct overlay_cursor **ret_cursor, struct bytes *ret_key,
                            struct bytes *ret_value, struct error *err)
{
    MDB_val key = val_of(first);
    MDB_val value;

    struct overlay_cursor *cursor = calloc(1, sizeof(*cursor));
    *ret_cursor = cursor;
    if (cursor == NULL)
        return error_set(err, -ENOMEM, "No memory to read the metadata.");
    cursor->store = reader->store;
    int mdb = mdb_cursor_open(reader->txn, reader->store->dbi, &cursor->native);
    /* MDB_SET_RANGE refuses an empty key. */
    if (mdb == MDB_SUCCESS)
        mdb = mdb_cursor_get(cursor->native, &key, &value,
                             first.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    return cursor_result(cursor, mdb, &key, &value, ret_key, ret_value, err);
}

static int lmdb_cursor_next(struct overlay_cursor *cursor, struct bytes *ret_key,
                            struct bytes *ret_value, struct error *err)
{
    MDB_val key;
    MDB_val value;

    int mdb = mdb_cursor_get(cursor->native, &key, &value, MDB_NEXT);
    return cursor_result(cursor, mdb, &key, &value, ret_key, ret_value, err);
}

static void lmdb_cursor_free(struct overlay_cursor *cursor)
{
    if (cursor == NULL)
        return;
    if (cursor->native != NULL)
        mdb_cursor_close(cursor->native);
    free(cursor);
}

static void lmdb_apply_abort(struct overlay_store *base)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    if (store->apply_cursor != NULL)
        mdb_cursor_close(TAKE(store->apply_cursor));
    mdb_txn_abort(TAKE(store->apply));
}

static int lmdb_apply_begin(struct overlay_store *base, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    int mdb = store->env == NULL ? EIO : mdb_txn_begin(store->env, NULL, 0, &store->apply);
    if (mdb == MDB_SUCCESS) {
        mdb = mdb_cursor_open(store->apply, store->dbi, &store->apply_cursor);
        if (mdb != MDB_SUCCESS)
            lmdb_apply_abort(base);
    }
    return lmdb_result(store, mdb, "written", err);
}

static int lmdb_apply_find(struct overlay_store *base, struct bytes key, struct bytes *ret,
                           struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;
    MDB_val native = val_of(key);
    MDB_val value;

    int mdb = mdb_cursor_get(store->apply_cursor, &native, &value, MDB_SET_KEY);
    if (mdb == MDB_SUCCESS)
        *ret = bytes_of(value);
    return lmdb_result(store, mdb, "read", err);
}

static int lmdb_apply_put(struct overlay_store *base, struct bytes key, struct bytes value,
                          struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;
    MDB_val native_key = val_of(key);
    MDB_val native_value = val_of(value);

    return lmdb_result(store, mdb_cursor_put(store->apply_cursor, &native_key, &native_value, 0),
                       "written", err);
}

static int lmdb_apply_remove(struct overlay_store *base, struct bytes key, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    (void)key; /* apply_find has put the cursor there */
    return lmdb_result(store, mdb_cursor_del(store->apply_cursor, 0), "written", err);
}

/* Learns from the environment how large it is. Nobody writes to it meanwhile. */
static void measure(struct lmdb_store *store, const MDB_stat *stat) REQUIRES(store->room)
{
    MDB_envinfo info;

    (void)mdb_env_info(store->env, &info); /* fails only without an environment */
    store->page_size = stat->ms_psize;
    store->map_size = info.me_mapsize;
    store->used_end = (info.me_last_pgno + 1) * store->page_size;
    store->tree_pages = stat->ms_branch_pages + stat->ms_leaf_pages;
    store->free_is_known = false;
}

static int lmdb_apply_commit(struct overlay_store *base, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;
    MDB_stat stat;

    int mdb = mdb_stat(store->apply, store->dbi, &stat);
    mdb_cursor_close(TAKE(store->apply_cursor));
    if (mdb != MDB_SUCCESS)
        mdb_txn_abort(TAKE(store->apply));
    else
        mdb = mdb_txn_commit(TAKE(store->apply));
    if (mdb == MDB_SUCCESS) {
        mutex_lock(&store->room);
        measure(store, &stat);
        mutex_unlock(&store->room);
    }
    return lmdb_result(store, mdb, "written", err);
}

/* An upper bound of what LMDB writes for a group: each page that holds one of its records, with
 * part of the pages above, or the whole tree; new pages half filled; and its list of the pages
 * that become free. */
static uint64_t pages_for(const struct lmdb_store *store, const struct overlay_need *need)
    REQUIRES(store->room)
{
    uint64_t touched = need->records + need->records / 4;

    if (touched > store->tree_pages)
        touched = store->tree_pages;
    touched += 2 * need->bytes / store->page_size;
    return touched + touched / 256 + 16;
}

static int expect_left(const struct lmdb_store *store, uint64_t bytes)
{
    struct statvfs disk;

    if (fstatvfs(store->fd, &disk) < 0)
        return -errno;
    uint64_t left = (uint64_t)disk.f_blocks * disk.f_frsize / LEFT_OF_DISK;
    if (left > LEFT_MAX)
        left = LEFT_MAX;
    return (uint64_t)disk.f_bavail * disk.f_frsize >= bytes + left ? 0 : -ENOSPC;
}

/* Blocks up to end. The file's length stays: LMDB minds that itself. */
static int allocate(struct lmdb_store *store, uint64_t end) REQUIRES(store->room)
{
    uint64_t from = store->allocated_end;
    struct statvfs room;

    if (end > store->map_size)
        return -ENOSPC;
    if (fallocate(store->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from)) < 0) {
        if (errno != EOPNOTSUPP)
            return errno == EINTR ? -ENOSPC : -errno;
        /* Not a promise, but the best that such a filesystem can say. */
        if (fstatvfs(store->fd, &room) < 0)
            return -errno;
        if (room.f_bavail * room.f_frsize < end - from)
            return -ENOSPC;
    }
    store->allocated_end = end;
    return 0;
}

static void count_free(struct lmdb_store *store) REQUIRES(store->room)
{
    if (!store->free_is_known)
        lmdb_free_count(store->env, &store->free);
    store->free_is_known = true;
}

/* On a full disk no other group would come: every writer is refused for want of these pages. One
 * that fails leaves all as it was. */
static void free_resting(struct lmdb_store *store) REQUIRES(store->room)
{
    MDB_stat stat;

    if (!lmdb_write_empty_group(store->env, store->dbi, &stat))
        return;
    measure(store, &stat);
    count_free(store);
}

/* Large values need pages that lie together, so not every free page is of use. */
static uint64_t usable(const struct lmdb_store *store, uint64_t pages)
{
    return pages / 2 * store->page_size;
}

static int grow(struct lmdb_store *store, uint64_t end, bool leave_disk) REQUIRES(store->room)
{
    int r = leave_disk && store->leaves_room ? expect_left(store, end - store->allocated_end) : 0;

    return r < 0 ? r : allocate(store, end);
}

static int reserve_locked(struct lmdb_store *store, const struct overlay_need *need,
                          uint64_t keep_back, bool leave_disk) REQUIRES(store->room)
{
    uint64_t end = store->used_end + pages_for(store, need) * store->page_size + keep_back;

    if (end <= store->allocated_end)
        return 0;
    if (grow(store, (end + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP, leave_disk) == 0)
        return 0;
    int r = grow(store, end, leave_disk);
    if (r == 0)
        return 0;
    uint64_t missing = end - store->allocated_end;
    count_free(store);
    if (usable(store, store->free.pages) < missing &&
        usable(store, store->free.pages + store->free.resting_pages) >= missing)
        free_resting(store);
    return usable(store, store->free.pages) >= missing ? 0 : r;
}

static int lmdb_reserve(struct overlay_store *base, const struct overlay_need *need,
                        uint64_t keep_back, bool leave_disk, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    mutex_lock(&store->room);
    int r = reserve_locked(store, need, keep_back, leave_disk);
    mutex_unlock(&store->room);
    if (r < 0)
        return error_set(err, r,
                         "The metadata in %s could not be given more room: %s. Free some "
                         "on the disk that holds it.",
                         store->folder, strerrordesc_np(-r));
    return 0;
}

static int set_map_size(MDB_env *env, size_t size)
{
    int mdb = mdb_env_set_mapsize(env, size);

    return mdb != MDB_SUCCESS ? mdb : mdb_env_set_maxreaders(env, READERS_MAX);
}

/* One environment, with the largest map that this process may have. */
static int env_open(struct lmdb_store *store, MDB_env **ret)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | (store->read_only ? MDB_RDONLY : 0);
    int mdb = MDB_SUCCESS;

    for (size_t size = MAP_SIZE_MAX; size >= MAP_SIZE_MIN; size /= 4) {
        MDB_env *env = NULL;
        mdb = mdb_env_create(&env);
        if (mdb != MDB_SUCCESS)
            return mdb;
        mdb = set_map_size(env, size);
        if (mdb == MDB_SUCCESS)
            mdb = mdb_env_open(env, store->file, flags, 0600);
        if (mdb == MDB_SUCCESS) {
            *ret = env;
            return 0;
        }
        mdb_env_close(env);
        if (mdb != ENOMEM)
            break;
    }
    return mdb;
}

static int database_open(struct lmdb_store *store, MDB_env *env, MDB_stat *ret_stat)
{
    MDB_txn *txn = NULL;

    int mdb = mdb_txn_begin(env, NULL, store->read_only ? MDB_RDONLY : 0, &txn);
    if (mdb != MDB_SUCCESS)
        return mdb;
    mdb = mdb_dbi_open(txn, NULL, 0, &store->dbi);
    if (mdb == MDB_SUCCESS)
        mdb = mdb_stat(txn, store->dbi, ret_stat);
    if (mdb != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return mdb;
    }
    return mdb_txn_commit(txn);
}

static int store_open_locked(struct lmdb_store *store, bool must_be_empty, struct error *err)
    REQUIRES(store->room)
{
    MDB_env *env = NULL;
    MDB_stat stat;

    int mdb = env_open(store, &env);
    if (mdb == MDB_SUCCESS)
        mdb = database_open(store, env, &stat);
    if (mdb == MDB_SUCCESS && !store->read_only)
        mdb = mdb_env_sync(env, 1);
    if (mdb != MDB_SUCCESS) {
        if (env != NULL)
            mdb_env_close(env);
        return lmdb_result(store, mdb == MDB_NOTFOUND ? MDB_CORRUPTED : mdb, "opened", err);
    }
    store->env = env;
    measure(store, &stat);
    if (must_be_empty && stat.ms_entries > 0)
        return error_set(err, -EEXIST, "There is metadata in %s already; name another folder.",
                         store->folder);
    return 0;
}

/* What is durable under a name that is not may be gone after a crash: no change before that is
 * known. */
static int reopen_locked(struct lmdb_store *store, struct error *err) REQUIRES(store->room)
{
    if (store->env != NULL)
        mdb_env_close(TAKE(store->env));
    int r = store->is_exchanged ? folder_sync(store->folder, err) : 0;
    if (r < 0)
        return r;
    store->is_exchanged = false;
    return store_open_locked(store, false, err);
}

static int lmdb_reopen(struct overlay_store *base, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    mutex_lock(&store->room);
    int r = reopen_locked(store, err);
    mutex_unlock(&store->room);
    return r;
}

static int copy_failed(const struct lmdb_store *store, int r, struct error *err)
{
    return error_set(err, r, "The metadata in %s could not be written anew: %s.", store->folder,
                     strerrordesc_np(-r));
}

/* LMDB says EIO where a disk takes only a part of a write, as a full one does. */
static int copy_error(const char *file, int r)
{
    CLEANUP(close_fd) int fd = r == -EIO ? open(file, O_RDWR | O_CLOEXEC) : -1;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return r;
    bool is_full = fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, (off_t)ROOM_STEP) < 0 &&
                   (errno == ENOSPC || errno == EDQUOT);
    return is_full ? -ENOSPC : r;
}

static int lmdb_copy(struct overlay_store *base, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    if (store->env == NULL)
        return copy_failed(store, -EIO, err);
    int r = file_shred(store->copy, err);
    if (r < 0)
        return r;
    mutex_lock(&store->room);
    uint64_t room = 2 * store->used_end + ROOM_STEP;
    mutex_unlock(&store->room);
    r = copy_error(store->copy,
                   errno_of(lmdb_copy_records(store->env, store->dbi, store->copy, room)));
    return r < 0 ? copy_failed(store, r, err) : 0;
}

static uint64_t blocks_ahead(const struct lmdb_store *store) REQUIRES(store->room)
{
    return store->allocated_end > store->used_end ? store->allocated_end - store->used_end : 0;
}

/* What was promised room in the file has it in the copy. */
static int allocate_ahead(int copy_fd, uint64_t ahead)
{
    struct stat st;

    if (fstat(copy_fd, &st) < 0)
        return -errno;
    if (ahead == 0 || fallocate(copy_fd, FALLOC_FL_KEEP_SIZE, 0, st.st_size + (off_t)ahead) == 0)
        return 0;
    return errno == EOPNOTSUPP ? 0 : -errno;
}

/* Where the names cannot be exchanged, the old file's blocks are freed, and not overwritten. */
static int exchange(const struct lmdb_store *store)
{
    if (renameat2(AT_FDCWD, store->copy, AT_FDCWD, store->file, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return -errno;
    return rename(store->copy, store->file) < 0 ? -errno : 0;
}

static int adopt_locked(struct lmdb_store *store, struct error *err) REQUIRES(store->room)
{
    CLEANUP(close_fd) int fd = open(store->copy, O_RDWR | O_CLOEXEC);

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return copy_failed(store, -errno, err);
    uint64_t ahead = blocks_ahead(store);
    int r = allocate_ahead(fd, ahead);
    if (r < 0)
        return copy_failed(store, r, err);
    mdb_env_close(TAKE(store->env));
    r = exchange(store);
    if (r < 0) {
        (void)copy_failed(store, r, err);
        (void)reopen_locked(store, NULL); /* what fails is tried again */
        return r;
    }
    store->is_exchanged = true;
    int old = store->fd;
    store->fd = fd;
    fd = old;
    r = reopen_locked(store, err);
    store->allocated_end = r < 0 ? 0 : store->used_end + ahead;
    return r;
}

static int lmdb_adopt_copy(struct overlay_store *base, bool *ret_is_open, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    mutex_lock(&store->room);
    int r = adopt_locked(store, err);
    *ret_is_open = store->env != NULL;
    mutex_unlock(&store->room);
    return r;
}

/* As long as it is not known which file will be opened, both stay. */
static int lmdb_drop_copy(struct overlay_store *base, struct error *err)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    return store->env == NULL ? 0 : file_shred(store->copy, err);
}

static void lmdb_close(struct overlay_store *base)
{
    struct lmdb_store *store = (struct lmdb_store *)base;

    if (store->env != NULL)
        mdb_env_close(store->env);
    close_fd(&store->fd);
    (void)pthread_mutex_destroy(&store->room.native);
    free(store->folder);
    free(store->file);
    free(store->copy);
    free(store);
}

static const struct overlay_store_ops lmdb_ops = {
    .type = "lmdb",
    .reader_begin = lmdb_reader_begin,
    .reader_end = lmdb_reader_end,
    .reader_free = lmdb_reader_free,
    .get = lmdb_get,
    .cursor_seek = lmdb_cursor_seek,
    .cursor_next = lmdb_cursor_next,
    .cursor_free = lmdb_cursor_free,
    .apply_begin = lmdb_apply_begin,
    .apply_find = lmdb_apply_find,
    .apply_put = lmdb_apply_put,
    .apply_remove = lmdb_apply_remove,
    .apply_commit = lmdb_apply_commit,
    .apply_abort = lmdb_apply_abort,
    .reserve = lmdb_reserve,
    .reopen = lmdb_reopen,
    .copy = lmdb_copy,
    .adopt_copy = lmdb_adopt_copy,
    .drop_copy = lmdb_drop_copy,
    .close = lmdb_close,
};

/* Shorter than LMDB's two first pages: a crash in the middle of a first opening left it. */
#define UNFINISHED_MAX 8191

/* Who waited for the lock may have got that of a file that another has taken the place of. */
static bool is_named(const struct lmdb_store *store, const struct stat *opened)
{
    struct stat named;

    return stat(store->file, &named) == 0 && named.st_dev == opened->st_dev &&
           named.st_ino == opened->st_ino;
}

/* LMDB takes an empty file for a new one, and so do we. */
static int file_open(struct lmdb_store *store, const struct meta_options *options,
                     struct error *err)
{
    int flags = store->read_only ? O_RDONLY : O_RDWR;
    struct stat stat;

    store->fd = open(store->file, flags | O_CLOEXEC | (options->create ? O_CREAT : 0), 0600);
    if (store->fd < 0)
        return error_set(err, -errno, "The metadata file %s could not be opened: %s.", store->file,
                         strerrordesc_np(errno));
    if (flock(store->fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno,
                         "The metadata in %s is in use by another process; stop that first.",
                         store->folder);
    if (fstat(store->fd, &stat) < 0)
        return error_set(err, -errno, "The metadata file %s could not be read: %s.", store->file,
                         strerrordesc_np(errno));
    if (stat.st_nlink == 0 || !is_named(store, &stat))
        return error_set(err, -EBUSY,
                         "The metadata in %s was just written anew by another process; try again.",
                         store->folder);
    if (options->create && stat.st_size <= UNFINISHED_MAX && ftruncate(store->fd, 0) < 0)
        return error_set(err, -errno, "The metadata file %s could not be emptied: %s.", store->file,
                         strerrordesc_np(errno));
    if (!options->create && stat.st_size <= UNFINISHED_MAX)
        return error_set(err, -ENOENT, "The metadata file %s is empty: it was never completed.",
                         store->file);
    return 0;
}

static struct lmdb_store *store_new(const char *folder, const struct meta_options *options)
{
    struct lmdb_store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return NULL;
    store->base.ops = &lmdb_ops;
    store->room = MUTEX_INIT;
    store->fd = -1;
    store->read_only = options->read_only;
    store->leaves_room = options->leaves_room;
    store->folder = strdup(folder);
    if (asprintf(&store->file, "%s/" FILE_NAME, folder) < 0)
        store->file = NULL;
    if (asprintf(&store->copy, "%s/" COPY_NAME, folder) < 0)
        store->copy = NULL;
    if (!store->folder || !store->file || !store->copy) {
        lmdb_close(&store->base);
        return NULL;
    }
    return store;
}

/* A crash while it was written anew left a part of a copy, or what the copy had replaced. */
static int drop_leftover(struct lmdb_store *store, struct error *err)
{
    struct stat st;

    if (stat(store->copy, &st) < 0)
        return 0;
    int r = folder_sync(store->folder, err);
    return r < 0 ? r : file_shred(store->copy, err);
}

static int store_open(struct lmdb_store *store, const struct meta_options *options,
                      struct error *err)
{
    int r = file_open(store, options, err);
    if (r < 0)
        return r;
    mutex_lock(&store->room);
    r = store_open_locked(store, options->create, err);
    if (r == 0 && !store->read_only && allocate(store, store->used_end) < 0)
        store->allocated_end = store->used_end; /* it has been written, so blocks are there */
    mutex_unlock(&store->room);
    if (r == 0 && !store->read_only)
        r = drop_leftover(store, err);
    return r == 0 && options->create ? folder_sync(store->folder, err) : r;
}

int lmdb_engine_open(const char *path, const struct meta_options *options,
                     const struct meta_hooks *hooks, struct meta_engine **ret, struct error *err)
{
    int r = 0;

    if (path[0] != '/')
        return error_set(err, -EINVAL, "The metadata folder '%s' must be an absolute path.", path);
    if (options->create)
        r = folder_make(path, 0700, err);
    if (r < 0)
        return r;
    struct lmdb_store *store = store_new(path, options);
    if (store == NULL)
        return error_set(err, -ENOMEM, "No memory for a metadata engine.");
    r = store_open(store, options, err);
    if (r < 0) {
        lmdb_close(&store->base);
        return r;
    }
    return overlay_open(&store->base, options, hooks, ret, err);
}
