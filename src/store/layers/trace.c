#include "store/layers/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/thread.h"

struct trace_store {
    struct layer base;
    struct mutex lock; /* guards counts */
    struct trace_counts counts[STORE_OPS];
};

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static size_t bytes_of(const struct store_call *call)
{
    if (call->op == STORE_READ)
        return *call->ret_len;
    return call->op == STORE_GET ? call->ret_buf->len : call->data.len;
}

static void count(struct trace_store *trace, const struct store_call *call, int r, uint64_t took_ns)
{
    struct trace_counts *counts = &trace->counts[call->op];

    mutex_lock(&trace->lock);
    counts->calls++;
    counts->total_ns += took_ns;
    if (took_ns > counts->max_ns)
        counts->max_ns = took_ns;
    if (r < 0)
        counts->errors++;
    else
        counts->bytes += bytes_of(call);
    mutex_unlock(&trace->lock);
}

static int trace_around(struct layer *layer, struct store_call *call, struct error *err)
{
    uint64_t start_ns = now_ns();

    int r = store_call_perform(call, err);
    count((struct trace_store *)layer, call, r, now_ns() - start_ns);
    return r;
}

static void trace_release(struct layer *layer)
{
    free(layer);
}

static const struct layer_kind trace_kind = {
    .around = trace_around,
    .release = trace_release,
};

int trace_store_new(struct object_store *inner, struct object_store **ret_store,
                    struct trace_store **ret_trace)
{
    struct trace_store *trace = calloc(1, sizeof(*trace));

    if (trace == NULL)
        return -ENOMEM;
    layer_init(&trace->base, &trace_kind, inner);
    trace->lock = MUTEX_INIT;
    *ret_store = &trace->base.base;
    *ret_trace = trace;
    return 0;
}

void trace_store_counts(struct trace_store *trace, enum store_op op, struct trace_counts *ret)
{
    mutex_lock(&trace->lock);
    *ret = trace->counts[op];
    mutex_unlock(&trace->lock);
}
