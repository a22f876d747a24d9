/* underlay.h - a metadata engine with the records of somewhere else underneath, as long as they
 * have not been brought in: of a snapshot that was downloaded, which is of use before it is here.
 *
 *     get, scan:  engine's own record, else, if its key was not reached yet, the source's
 *     remove:     where the source may have one, an empty value takes its place (a whiteout)
 *     import:     chunk by chunk, by ascending keys: what is not overlaid is put, whiteouts go,
 *                 and the cursor (a record of the engine) moves on, all in one transaction
 *
 * So a transaction sees the one or the other state of an import, and a crash leaves it. What the
 * source holds counts as written in epoch 0 until it is imported, and in the importing group's
 * then: while an import is not complete no snapshot may be taken.
 *
 * Only kinds that the source may hold (underlay_has_kind()) are looked for in it. They never have
 * empty values of their own.
 *
 * A source may be slow. A write transaction that needs what is not at hand ends with -EAGAIN, and
 * its abort waits for the source, so that nobody else does; the same thread then finds it. After
 * some of these in a row it waits with the transaction open.
 *
 * Errors     as meta_engine.h; -EBADMSG: the source's records were altered; -EIO: it is away.
 * Threads    as the engine; a source is called by any number at once.
 */
#pragma once

#include "meta/meta_engine.h"
#include "meta/record_kinds.h"

/* Records that lie together, in the order of their keys; at least one. */
struct underlay_chunk {
    uint32_t index;      /* from 0; the next chunk has the next one */
    struct bytes first;  /* its first key */
    struct bytes behind; /* the first key of the next chunk; no data: it is the last one */
    struct bytes body;   /* for next() */
};

struct underlay_source;

struct underlay_source_ops {
    /* The last chunk that does not begin behind key, or the first one; the caller gives it back.
     * -ENOENT: the source has no record at all. may_wait false: -EAGAIN if it is not at hand. */
    int (*take)(struct underlay_source *source, struct bytes key, bool may_wait,
                struct underlay_chunk **ret, struct error *err);
    void (*give)(struct underlay_source *source, struct underlay_chunk *chunk);
    /* Takes the first record off a body; false: it is empty. */
    bool (*next)(struct bytes *body, struct bytes *ret_key, struct bytes *ret_value);
};

struct underlay_source {
    const struct underlay_source_ops *ops;
};

bool underlay_has_kind(uint8_t kind);
/* Of keys, as memcmp; one that is the beginning of another one comes first. */
int underlay_order(struct bytes a, struct bytes b);

struct underlay_config {
    struct record_key cursor; /* under which the cursor is kept: of a kind that is not imported */
    struct meta_hooks hooks;  /* of the engine */
    struct meta_options options;
    const char *url;
};

/* The engine that config names, with nothing underneath yet. */
int underlay_open(const struct underlay_config *config, struct meta_engine **ret,
                  struct error *err);

/* Before the first transaction that needs it. The source stays the caller's, until the engine is
 * closed. The import goes on where the cursor stands; without one it is complete. */
int underlay_set_source(struct meta_engine *engine, struct underlay_source *source,
                        struct error *err);
/* For a new filesystem: the cursor in front of all records. In its first transaction. */
int underlay_put_cursor(struct meta_txn *txn, const struct record_key *cursor, struct error *err);

/* True until the last chunk was imported. */
bool underlay_is_importing(struct meta_engine *engine);

/* For each record of the chunk that is in the engine afterwards, in the same transaction; it may
 * put records of other kinds. NULL is allowed. May be called again for the same ones. */
typedef int underlay_imported_fn(struct meta_txn *txn, struct bytes key, struct bytes value,
                                 void *arg);

/* One chunk. *ret_next: how many are imported. 1: that was the last one, or none was left; -EAGAIN
 * does not happen. */
int underlay_import(struct meta_engine *engine, underlay_imported_fn *imported, void *arg,
                    uint32_t *ret_next, struct error *err);
