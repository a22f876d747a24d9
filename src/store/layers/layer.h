/* layer.h - a store that wraps another. Each operation becomes a struct store_call, which one
 * function of the layer is given: it lets the call through with store_call_perform, as often as it
 * wants, and may look at or change what goes in and comes out. Only for src/store/layers.
 *
 * Errors     as in store/object_store.h. -ENOMEM also from a layer's own open and create.
 * Ownership  a layer owns the store that it wraps, once it was made: it closes it.
 * Threads    around is called by many threads at once, as the store is.
 */
#pragma once

#include "store/object_store.h"

enum store_op {
    STORE_PUT,
    STORE_REPLACE,
    STORE_OPEN,
    STORE_READ,
    STORE_REMOVE,
    STORE_LIST,
    STORE_STAT,
    STORE_CREATE,
    STORE_WRITE,
    STORE_SYNC,
    STORE_SEAL,
    STORE_SPACE,
    STORE_GET, /* only where the store that is wrapped has it; else stat, open and read */
    STORE_OPS, /* how many there are */
};

/* "put"; NULL if there is none. */
const char *store_op_name(enum store_op op);

/* What an operation was called with. What it does not use is zeros. */
struct store_call {
    enum store_op op;
    const char *name; /* of the object; the prefix of a listing; "" for space */
    union {           /* the one that is wrapped */
        struct object_store *store;
        struct object *object;        /* read */
        struct object_writer *writer; /* write, sync, seal */
    };
    struct bytes data; /* put, replace, write */
    uint64_t offset;   /* read, write */

    const struct object_look *look; /* read, without to and ret_len then; or NULL */
    uint8_t *to;                    /* read */
    size_t len;                     /* get: at most */
    size_t *ret_len;
    struct buf *ret_buf; /* get */

    object_visit_fn *visit; /* list */
    void *arg;

    uint64_t size;                     /* open: that it is said to have; 0: not known */
    uint64_t *ret_size;                /* stat */
    struct object **ret_object;        /* open: the one that is wrapped */
    struct object_writer **ret_writer; /* create: the one that is wrapped */
    struct object_store_space *ret_space;

    void *own; /* create, write, sync, seal: what the layer keeps for the writer */
};

int store_call_perform(const struct store_call *call, struct error *err);

struct layer;

struct layer_kind {
    int (*around)(struct layer *layer, struct store_call *call, struct error *err);

    /* A read may be one with look, of which it sees neither bytes nor how many there are. */
    bool lets_look;

    /* What the layer keeps for each writer: so many bytes, zeros at first. */
    size_t own_size;
    void (*own_release)(void *own); /* NULL is allowed; also after a create that failed */

    void (*release)(struct layer *layer); /* the layer itself, when the inner store is closed */
};

/* A layer embeds it as its first member. */
struct layer {
    struct object_store base;
    const struct layer_kind *kind;
    struct object_store *inner;
};

void layer_init(struct layer *layer, const struct layer_kind *kind, struct object_store *inner);
/* After that the store says so, whatever the one that is wrapped prefers. */
void layer_prefer_sealing(struct layer *layer);
