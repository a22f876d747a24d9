/* key_requests.h - how many operations key servers were asked for, and how those ended, since the
 * process began: for the metrics. An operation on several keys at once is one; keys that local
 * files wrap do not count.
 *
 * Threads    any.
 */
#pragma once

#include <stdint.h>

enum key_operation {
    KEY_DESCRIBE,
    KEY_WRAP,
    KEY_UNWRAP,
    KEY_REWRAP,
    KEY_OPERATION_COUNT,
};

/* As key_provider.h sorts its errors. */
enum key_outcome {
    KEY_DONE,
    KEY_UNAVAILABLE, /* -EAGAIN */
    KEY_DENIED,      /* -EACCES */
    KEY_MISSING,     /* -ENOENT */
    KEY_INACTIVE,    /* -EKEYREVOKED */
    KEY_FAILED,      /* all else */
    KEY_OUTCOME_COUNT,
};

/* "unwrap", "denied", ... */
const char *key_operation_name(enum key_operation operation);
const char *key_outcome_name(enum key_outcome outcome);

/* r: what the operation returned, which this returns. */
int key_requests_note(enum key_operation operation, const char *provider, int r);
uint64_t key_requests_count(enum key_operation operation, enum key_outcome outcome);
