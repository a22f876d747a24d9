/* mortal_store.h - a store through which one of several users of a shared store sees it, who dies
 * after so many operations: each later one fails with -EOWNERDEAD and does nothing. The last one
 * that changes something may be done although it is answered with that, as when a process is killed
 * while it waits for the answer.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/object_store.h"

struct mortal_store {
    struct object_store base;
    struct object_store *shared;
    atomic_uint_fast64_t left; /* operations */
    bool dies_unanswered;
    bool lists_nothing;              /* a store that does not list what was put */
    atomic_uint_fast64_t operations; /* so far */
    atomic_uint_fast64_t put_bytes;  /* of those that were answered */
    atomic_uint_fast64_t puts;
    /* NULL is allowed: in front of each operation; r < 0 is its answer. */
    int (*before)(const char *operation, const char *name, void *arg);
    void *arg;
};

#define MORTAL_FOREVER UINT64_MAX

/* The caller's storage; closing it does nothing, and the shared store is not closed by it. */
void mortal_store_init(struct mortal_store *mortal, struct object_store *shared, uint64_t lives);
