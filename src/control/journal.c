#include "control/journal.h"

#include <errno.h>

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

int journal_newest_first(struct registry *registry, const char *kind, uint64_t first,
                         uint64_t before, registry_entry_fn *visit, void *arg, struct error *err)
{
    CLEANUP(window_free) struct window *window = calloc(1, sizeof(*window));

    if (!window)
        return error_set(err, -ENOMEM, "out of memory");
    while (before > first) {
        uint64_t from = before - first > WINDOW ? before - WINDOW : first;
        int r = registry_each_entry(registry, kind, from, before, keep, window, err);
        for (size_t i = window->count; r == 0 && i > 0; i--) {
            r = visit(window->numbers[i - 1], buf_bytes(&window->values[i - 1]), arg);
            if (r > 0)
                return 0;
        }
        if (r < 0)
            return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
        window_empty(window);
        before = from;
    }
    return 0;
}
