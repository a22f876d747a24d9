#include "keys/key_requests.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static atomic_uint_fast64_t counts[KEY_OPERATION_COUNT][KEY_OUTCOME_COUNT];

const char *key_operation_name(enum key_operation operation)
{
    static const char *const names[KEY_OPERATION_COUNT] = {
        [KEY_DESCRIBE] = "describe",
        [KEY_WRAP] = "wrap",
        [KEY_UNWRAP] = "unwrap",
        [KEY_REWRAP] = "rewrap",
    };

    return names[operation];
}

const char *key_outcome_name(enum key_outcome outcome)
{
    static const char *const names[KEY_OUTCOME_COUNT] = {
        [KEY_DONE] = "ok",         [KEY_UNAVAILABLE] = "unavailable", [KEY_DENIED] = "denied",
        [KEY_MISSING] = "missing", [KEY_INACTIVE] = "inactive",       [KEY_FAILED] = "failed",
    };

    return names[outcome];
}

static enum key_outcome outcome_of(int r)
{
    switch (r) {
    case -EAGAIN:
        return KEY_UNAVAILABLE;
    case -EACCES:
        return KEY_DENIED;
    case -ENOENT:
        return KEY_MISSING;
    case -EKEYREVOKED:
        return KEY_INACTIVE;
    default:
        return r < 0 ? KEY_FAILED : KEY_DONE;
    }
}

int key_requests_note(enum key_operation operation, const char *provider, int r)
{
    if (strcmp(provider, "local") != 0)
        atomic_fetch_add_explicit(&counts[operation][outcome_of(r)], 1, memory_order_relaxed);
    return r;
}

uint64_t key_requests_count(enum key_operation operation, enum key_outcome outcome)
{
    return atomic_load_explicit(&counts[operation][outcome], memory_order_relaxed);
}
