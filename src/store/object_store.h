/* object_store.h - named objects of ciphertext: segments, which are only ever appended to and
 * then read, and a few small objects that are replaced as a whole (superblock, key ring).
 *
 * Everything above this header sees a store only as a struct object_store. To add one, fill in
 * an object_store_ops and list it in store/registry.c. Layers (retry, trace, fault, limit) have the
 * same shape and wrap another store. All pass tests/conformance/object_store_conformance.
 *
 * Names are paths of [a-z0-9._-] parts joined by '/', at most OBJECT_NAME_MAX bytes.
 *
 * Units      sizes and offsets are bytes.
 * Errors     0 or a negative errno. -ENOENT: no such object. -EEXIST: put or a writer found the
 *            name taken. -ENOSPC: full; nothing was stored. -EAGAIN: worth retrying.
 *            -EOPNOTSUPP: this store cannot. Anything else is final.
 * Ownership  names and input bytes stay the caller's. A buf that is returned into is the
 *            caller's to release, and is untouched on failure.
 * Threads    every function may be called on one store from many threads, except close. One
 *            object may be read by many threads at once. One writer may be written by many
 *            threads at once, to ranges that do not overlap; sync, seal and close are called by
 *            one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define OBJECT_NAME_MAX 255u

/* Whether a name that is valid can begin with it. */
bool object_prefix_is_possible(const char *prefix);

struct object_store;
struct object;
struct object_writer;

/* Returns 0 to go on; anything else ends the listing, which returns it. */
typedef int object_visit_fn(const char *name, uint64_t size, void *arg);

/* For who only verifies what he reads. fn is called once, unless the read fails, with what there
 * is: in room, of as many bytes as are read, or where another process could change it meanwhile. So
 * it decides by one look at each byte, and uses none of them later. */
typedef void object_look_fn(struct bytes found, void *arg);

struct object_look {
    object_look_fn *fn;
    void *arg;
    uint8_t *room;
};

struct object_store_space {
    uint64_t total; /* 0: the store has no such limit */
    uint64_t free;
};

struct object_store_ops {
    const char *type; /* as a store's URL spells it: "dir" */

    /* When it returns 0 the object is durable and whole; never overwrites (-EEXIST). */
    int (*put)(struct object_store *store, const char *name, struct bytes data, struct error *err);

    /* Like put, but takes the place of an object of that name, or makes it: a reader, or a
     * crash, finds the old one or the new one. For small objects. */
    int (*replace)(struct object_store *store, const char *name, struct bytes data,
                   struct error *err);

    /* A whole object of at most max bytes, else -EFBIG. NULL: by stat, open and read. */
    int (*get)(struct object_store *store, const char *name, size_t max, struct buf *ret,
               struct error *err);

    /* Opens an object for reading. It can be read until closed, even if it is removed; a store
     * that cannot keep a large one that was removed says -ENOENT then, never other bytes. */
    int (*open)(struct object_store *store, const char *name, struct object **ret,
                struct error *err);

    /* Like open, for who reads all of an object that is said to have size bytes, at least 1: nobody
     * need be asked before it is read, so that -ENOENT may come of that. One that has another size
     * is read as any other. NULL: by open. */
    int (*open_sized)(struct object_store *store, const char *name, uint64_t size,
                      struct object **ret, struct error *err);

    /* An object that is not there counts as removed. */
    int (*remove)(struct object_store *store, const char *name, struct error *err);

    /* Visits, in any order, each name that starts with prefix. visit may call the store. */
    int (*list)(struct object_store *store, const char *prefix, object_visit_fn *visit, void *arg,
                struct error *err);

    int (*stat)(struct object_store *store, const char *name, uint64_t *ret_size,
                struct error *err);

    /* Begins an object that will be appended to. The name is durable with its first sync. A store
     * that prefers sealing may say -EEXIST only then; until it does, what is read by that name is
     * what was written. */
    int (*create)(struct object_store *store, const char *name, struct object_writer **ret,
                  struct error *err);

    int (*space)(struct object_store *store, struct object_store_space *ret, struct error *err);

    void (*close)(struct object_store *store);

    /* Each sync of a writer stores all of the object again: who appends does well to seal it in the
     * place of syncing it, and to begin another one. */
    bool prefers_sealing;
};

struct object_ops {
    /* Reads up to len bytes at offset into to; *ret_len is less than len only at the end of
     * what was written. */
    int (*read)(struct object *object, uint64_t offset, size_t len, uint8_t *to, size_t *ret_len,
                struct error *err);

    /* Like read, but never from a copy on the way to the store, and what copies there are of this
     * range are given up. NULL: there never are any. */
    int (*read_origin)(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                       size_t *ret_len, struct error *err);

    /* Like read, for fn of look. NULL: by read, into its room. */
    int (*look)(struct object *object, uint64_t offset, size_t len, const struct object_look *look,
                struct error *err);

    void (*close)(struct object *object);
};

struct object_writer_ops {
    /* Stores data at offset. Ranges never overlap, and need not be dense: what nothing was
     * written to reads as zeros. What was written can be read at once by an object opened before
     * or after. A failed write leaves its range a hole, of which nothing may be expected; the
     * writer can still be written elsewhere and synced (a full disk that has room again). After
     * a failed sync the writer is only good for close. */
    int (*write)(struct object_writer *writer, uint64_t offset, struct bytes data,
                 struct error *err);

    /* After 0, all that was written before the call, and the name, survive a crash. -EEXIST: there
     * was an object of that name, or somebody else made one meanwhile; it is as it was. */
    int (*sync)(struct object_writer *writer, struct error *err);

    /* sync, and nothing is ever written to it again. */
    int (*seal)(struct object_writer *writer, struct error *err);

    void (*close)(struct object_writer *writer);
};

/* A store, object or writer embeds these as its first member. */
struct object_store {
    const struct object_store_ops *ops;
};
struct object {
    const struct object_ops *ops;
};
struct object_writer {
    const struct object_writer_ops *ops;
};

/* url: "dir:/absolute/path" or "memory:". The folder must exist. A store whose credentials no URL
 * may hold has a function of its own: s3_store.h. */
int object_store_open(const char *url, struct object_store **ret, struct error *err);

int object_store_put(struct object_store *store, const char *name, struct bytes data,
                     struct error *err);
int object_store_replace(struct object_store *store, const char *name, struct bytes data,
                         struct error *err);
int object_store_open_object(struct object_store *store, const char *name, struct object **ret,
                             struct error *err);
/* size 0: it is not known. */
int object_store_open_sized(struct object_store *store, const char *name, uint64_t size,
                            struct object **ret, struct error *err);
int object_store_remove(struct object_store *store, const char *name, struct error *err);
int object_store_list(struct object_store *store, const char *prefix, object_visit_fn *visit,
                      void *arg, struct error *err);
int object_store_stat(struct object_store *store, const char *name, uint64_t *ret_size,
                      struct error *err);
int object_store_create(struct object_store *store, const char *name, struct object_writer **ret,
                        struct error *err);
int object_store_space(struct object_store *store, struct object_store_space *ret,
                       struct error *err);
void object_store_close(struct object_store *store); /* NULL is allowed */

/* Whether who appends should seal in the place of syncing. */
static inline bool object_store_prefers_sealing(const struct object_store *store)
{
    return store->ops->prefers_sealing;
}

/* A whole small object; -EFBIG if it is larger than max. */
int object_store_get(struct object_store *store, const char *name, size_t max, struct buf *ret,
                     struct error *err);

int object_read(struct object *object, uint64_t offset, size_t len, uint8_t *to, size_t *ret_len,
                struct error *err);
/* By who found that what was read does not verify, and by who passes it on unverified.
 * -EOPNOTSUPP: there are no copies, so object_read() reads nothing else. */
int object_read_origin(struct object *object, uint64_t offset, size_t len, uint8_t *to,
                       size_t *ret_len, struct error *err);
int object_look(struct object *object, uint64_t offset, size_t len, const struct object_look *look,
                struct error *err);
/* What it is without a function of the store's own. */
int object_look_by_read(struct object *object, uint64_t offset, size_t len,
                        const struct object_look *look, struct error *err);
void object_close(struct object *object); /* NULL is allowed */

int object_writer_write(struct object_writer *writer, uint64_t offset, struct bytes data,
                        struct error *err);
int object_writer_sync(struct object_writer *writer, struct error *err);
int object_writer_seal(struct object_writer *writer, struct error *err);
void object_writer_close(struct object_writer *writer); /* NULL is allowed */

static inline void object_store_closep(struct object_store **store)
{
    object_store_close(*store);
}

static inline void object_closep(struct object **object)
{
    object_close(*object);
}
