/* journal.h - the numbered entries of the registry, read backwards: whoever looks at a log wants
 * the newest.
 *
 * Units      times are nanoseconds since 1970.
 * Errors     negative errno and a sentence.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/registry.h"

/* Which entries are wanted. */
struct journal_query {
    uint64_t before;        /* only those with smaller numbers; 0: all */
    size_t limit;           /* the newest so many */
    const char *filesystem; /* NULL: any, or none */
    const char *type;       /* what the entries tell: an event's type, an operation; NULL: any */
    int64_t from_ns;        /* 0: since ever */
    int64_t until_ns;       /* 0: up to now */
};

bool journal_wants(const struct journal_query *query, const char *filesystem, const char *type,
                   int64_t time_ns);

/* Makes an item of what is stored; false: it is not wanted. */
typedef bool journal_take_fn(const struct journal_query *query, uint64_t number, struct bytes value,
                             void *ret_item);

/* A log: the entries of one kind (such as "event/"), from the number first on, up to newest. */
struct journal {
    struct registry *registry;
    const char *kind;
    uint64_t first;
    uint64_t newest;
    size_t item_size;
    journal_take_fn *take;
};

/* The items in the order of their numbers. *ret is the caller's to free. */
int journal_list(const struct journal *journal, const struct journal_query *query, void **ret,
                 size_t *ret_count, struct error *err);
