/* address_list.h - the configured addresses of one key server, in order of preference: which one
 * to ask next, and again, within a time limit.
 *
 * An address that failed rests for a minute: it is asked after all others. A call goes through
 * the list a few times, with a growing pause that has a random part, so that many instances do
 * not come back at the same moment.
 *
 * Units      milliseconds.
 * Errors     -EAGAIN from an attempt means "may pass": the next address is asked. Any other
 *            result ends the call.
 * Threads    one list is used by one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "keyring/wrapped_key.h"

#define ADDRESS_LIST_MAX 8u
#define ADDRESS_LIST_LIMIT_MS 10000

struct address_list {
    char text[WRAPPED_ADDRESSES_SIZE]; /* the commas replaced by NUL */
    char *addresses[ADDRESS_LIST_MAX]; /* in text */
    int64_t rests_until_ms[ADDRESS_LIST_MAX];
    size_t count;
    const char *only; /* one of addresses: no other is asked; NULL: all */
};

/* Splits at commas and drops spaces around each. The list must not be moved afterwards. */
int address_list_init(struct address_list *list, const char *text, struct error *err);

/* What one attempt is given and may answer besides its result. */
struct address_attempt {
    size_t index; /* of the address */
    const char *address;
    int64_t deadline_ms;    /* clock_monotonic_ms() */
    int64_t retry_after_ms; /* out: the server asked for this pause */
    bool is_futile;         /* out: with -EAGAIN: asking the same again soon is of no use */
};

typedef int address_attempt_fn(void *arg, struct address_attempt *attempt, struct error *err);

int address_list_call(struct address_list *list, address_attempt_fn *attempt, void *arg,
                      struct error *err);

/* What net/ returned to an attempt, sorted as key_provider.h says: -EAGAIN is what another address
 * may mend. The sentence stays. */
int address_result(int r, struct error *err);
