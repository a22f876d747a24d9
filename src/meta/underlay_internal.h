/* underlay_internal.h - what underlay.c (transactions, the engine), underlay_scan.c and
 * underlay_import.c share. */
#pragma once

#include <stdatomic.h>

#include "meta/underlay.h"

struct underlay {
    struct meta_engine base;
    struct meta_engine_ops ops;
    struct meta_engine *inner;
    struct meta_hooks hooks; /* the owner's */
    struct record_key cursor;
    struct underlay_source *source;
    atomic_bool is_importing;
};

/* A chunk that something which was returned points into. */
struct underlay_pin {
    struct underlay_pin *next;
    struct underlay_chunk *chunk;
    uint8_t value[]; /* or a value that was put together, without a chunk */
};

struct underlay_txn {
    struct meta_txn base;
    struct meta_txn *inner;
    bool is_under; /* the source counts, behind cursor */
    bool has_cursor;
    bool has_changed;
    struct record_key cursor;
    struct underlay_pin *pins;
    bool has_wanted; /* what its end has to wait for */
    struct record_key wanted;
};

static inline struct underlay *underlay_of(const struct meta_txn *txn)
{
    return (struct underlay *)txn->engine;
}

bool underlay_is_key(struct bytes key); /* one that the source may have */
void underlay_set_key(struct record_key *to, struct bytes key);
int underlay_no_memory(struct error *err);

/* The cursor as a transaction of the engine sees it; -ENOENT: the import is complete. */
int underlay_cursor_get(struct meta_txn *inner, const struct record_key *at, struct record_key *ret,
                        struct error *err);
int underlay_cursor_put(struct meta_txn *txn, const struct record_key *cursor, struct bytes key,
                        struct error *err);
/* Into the transaction; is_under is false then, if there is none. */
int underlay_find_cursor(struct underlay_txn *txn, struct error *err);

/* The chunk of a key, or -EAGAIN. The caller pins it or gives it back. */
int underlay_take(struct underlay_txn *txn, struct bytes key, struct underlay_chunk **ret,
                  struct error *err);
/* Until the transaction ends; with room for a value. */
int underlay_pin(struct underlay_txn *txn, struct underlay_chunk *chunk, size_t room,
                 struct underlay_pin **ret);
void underlay_unpin(struct underlay_txn *txn);

/* Around a transaction of the engine. */
void underlay_wrap(struct underlay *underlay, struct meta_txn *inner, struct underlay_txn *ret);

int underlay_scan(struct meta_txn *base, struct bytes first, struct bytes end, meta_visit_fn *visit,
                  void *arg, struct error *err);
