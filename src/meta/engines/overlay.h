/* overlay.h - the part of an engine that lives in memory: transactions go into an ordered map
 * above a slower store, which a committer thread brings up to date, a group at a time.
 *
 * An engine for one process is this over an overlay_store: what is stored, and how a group is
 * written to it in one step. The store sees sealed values only.
 *
 * Errors     as meta_engine.h.
 * Threads    apply_*, reopen and *copy: the committer only. The rest: any.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "meta/meta_engine.h"

struct overlay_store;

/* A view of what is stored, of one moment; used by one thread at a time. Each store has its own
 * definition of these two. */
struct overlay_reader;
struct overlay_cursor;

/* What a flush may come to write. */
struct overlay_need {
    uint64_t records;
    uint64_t bytes; /* of keys and values, sealing included */
};

struct overlay_store_ops {
    const char *type;

    /* A view of now. *reader is NULL, or one that was ended before and is used again. */
    int (*reader_begin)(struct overlay_store *store, struct overlay_reader **reader,
                        struct error *err);
    void (*reader_end)(struct overlay_reader *reader);
    void (*reader_free)(struct overlay_reader *reader); /* NULL is allowed */

    /* What is returned lives until reader_end. -ENOENT: nothing there. */
    int (*get)(struct overlay_reader *reader, struct bytes key, struct bytes *ret,
               struct error *err);

    /* To the first key that is not less, and on to the next one. -ENOENT: there is none.
     * *ret_cursor is set in any case and freed by cursor_free. */
    int (*cursor_seek)(struct overlay_reader *reader, struct bytes first,
                       struct overlay_cursor **ret_cursor, struct bytes *ret_key,
                       struct bytes *ret_value, struct error *err);
    int (*cursor_next)(struct overlay_cursor *cursor, struct bytes *ret_key,
                       struct bytes *ret_value, struct error *err);
    void (*cursor_free)(struct overlay_cursor *cursor); /* NULL is allowed */

    /* One durable step. apply_find says what is stored under a key (-ENOENT: nothing), and the
     * put or remove that follows it is of the same key. apply_commit ends it whatever it
     * returns, apply_abort is for the other case. */
    int (*apply_begin)(struct overlay_store *store, struct error *err);
    int (*apply_find)(struct overlay_store *store, struct bytes key, struct bytes *ret,
                      struct error *err);
    int (*apply_put)(struct overlay_store *store, struct bytes key, struct bytes value,
                     struct error *err);
    int (*apply_remove)(struct overlay_store *store, struct bytes key, struct error *err);
    int (*apply_commit)(struct overlay_store *store, struct error *err);
    void (*apply_abort)(struct overlay_store *store);

    /* Sees to it that a group that needs this much, and keep_back bytes besides, can be written,
     * and, with leave_disk, that it takes nothing of the last of the disk, which may be the object
     * store's, too. -ENOSPC: it cannot. Optional. */
    int (*reserve)(struct overlay_store *store, const struct overlay_need *need, uint64_t keep_back,
                   bool leave_disk, struct error *err);

    /* After a failed apply: forgets everything that may not be durable. No reader is begun, and
     * those that were ended have been freed. Optional. */
    int (*reopen)(struct overlay_store *store, struct error *err);

    /* For scrub, which is done without these by a store that keeps no remains. copy writes all that
     * is stored anew beside it, durable, with readers going on; nothing is applied meanwhile.
     * adopt_copy, in a moment without readers as for reopen, exchanges the two; reopen is tried if
     * the store is not open then. drop_copy then destroys the one that is not used. */
    int (*copy)(struct overlay_store *store, struct error *err);
    int (*adopt_copy)(struct overlay_store *store, bool *ret_is_open, struct error *err);
    int (*drop_copy)(struct overlay_store *store, struct error *err);

    void (*close)(struct overlay_store *store);
};

/* A store embeds this as its first member. */
struct overlay_store {
    const struct overlay_store_ops *ops;
};

/* Takes the store over, also when it fails. */
int overlay_open(struct overlay_store *store, const struct meta_options *options,
                 const struct meta_hooks *hooks, struct meta_engine **ret, struct error *err);
