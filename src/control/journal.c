#include "control/journal.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

/* How many are read at once: a scan goes forward only. */
#define WINDOW 256u

struct window {
    uint64_t numbers[WINDOW];
    struct buf values[WINDOW];
    size_t count;
};

static void window_empty(struct window *window)
{
    for (size_t i = 0; i < window->count; i++)
        buf_release(&window->values[i]);
    window->count = 0;
}

static void window_free(struct window **window)
{
    if (*window)
        window_empty(*window);
    free(*window);
}

static int keep(uint64_t number, struct bytes value, void *arg)
{
    struct window *window = arg;

    if (window->count == WINDOW)
        return 0; /* a key that is not of the form */
    window->numbers[window->count] = number;
    int r = buf_assign(&window->values[window->count], value);
    if (r == 0)
        window->count++;
    return r;
}

bool journal_wants(const struct journal_query *query, const char *filesystem, const char *type,
                   int64_t time_ns)
{
    return (!query->filesystem || strcmp(query->filesystem, filesystem) == 0) &&
           (!query->type || strcmp(query->type, type) == 0) &&
           (query->from_ns == 0 || time_ns >= query->from_ns) &&
           (query->until_ns == 0 || time_ns <= query->until_ns);
}

struct listing {
    const struct journal *journal;
    const struct journal_query *query;
    char *items; /* the newest first; room for one more than the limit */
    size_t count;
};

static void take_window(struct listing *listing, const struct window *window)
{
    size_t size = listing->journal->item_size;

    for (size_t i = window->count; i > 0 && listing->count < listing->query->limit; i--)
        if (listing->journal->take(listing->query, window->numbers[i - 1],
                                   buf_bytes(&window->values[i - 1]),
                                   listing->items + listing->count * size))
            listing->count++;
}

static int fill(struct listing *listing, struct error *err)
{
    CLEANUP(window_free) struct window *window = calloc(1, sizeof(*window));
    const struct journal *journal = listing->journal;
    uint64_t before = journal->newest + 1;

    if (!window)
        return error_set(err, -ENOMEM, "out of memory for the list");
    if (listing->query->before > 0 && listing->query->before < before)
        before = listing->query->before;
    while (before > journal->first && listing->count < listing->query->limit) {
        uint64_t from = before - journal->first > WINDOW ? before - WINDOW : journal->first;
        int r =
            registry_each_entry(journal->registry, journal->kind, from, before, keep, window, err);
        if (r < 0)
            return r == -ENOMEM ? error_set(err, r, "out of memory for the list") : r;
        take_window(listing, window);
        window_empty(window);
        before = from;
    }
    return 0;
}

static void turn_round(char *items, size_t count, size_t size)
{
    for (size_t i = 0; i < count / 2; i++) {
        char *a = items + i * size;
        char *b = items + (count - 1 - i) * size;
        for (size_t k = 0; k < size; k++) {
            char kept = a[k];
            a[k] = b[k];
            b[k] = kept;
        }
    }
}

int journal_list(const struct journal *journal, const struct journal_query *query, void **ret,
                 size_t *ret_count, struct error *err)
{
    struct listing listing = { .journal = journal, .query = query };

    listing.items = calloc(query->limit + 1, journal->item_size);
    if (!listing.items)
        return error_set(err, -ENOMEM, "out of memory for the list");
    int r = fill(&listing, err);
    if (r < 0) {
        free(listing.items);
        return r;
    }
    turn_round(listing.items, listing.count, journal->item_size);
    *ret = listing.items;
    *ret_count = listing.count;
    return 0;
}
