#include "keys/address_list.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/random.h"

#define ROUNDS 3u
#define FIRST_PAUSE_MS 200
#define REST_MS 60000
#define LEAST_ATTEMPT_MS 1000

int address_list_init(struct address_list *list, const char *text, struct error *err)
{
    char *save = NULL;

    *list = (struct address_list){ .count = 0 };
    if (strlen(text) >= sizeof(list->text))
        return error_set(err, -EINVAL, "the server's addresses are longer than %zu bytes",
                         sizeof(list->text) - 1);
    memcpy(list->text, text, strlen(text) + 1);
    for (char *word = strtok_r(list->text, ", \t", &save); word;
         word = strtok_r(NULL, ", \t", &save)) {
        if (list->count == ADDRESS_LIST_MAX)
            return error_set(err, -EINVAL, "more than %u addresses are given", ADDRESS_LIST_MAX);
        list->addresses[list->count++] = word;
    }
    return list->count ? 0 : error_set(err, -EINVAL, "the address of the key server is missing");
}

/* Those that do not rest, then those that do. How many they are. */
static size_t order(const struct address_list *list, int64_t now, size_t ret[ADDRESS_LIST_MAX])
{
    size_t placed = 0;

    for (int resting = 0; resting <= 1; resting++)
        for (size_t i = 0; i < list->count; i++)
            if ((list->rests_until_ms[i] > now) == (resting == 1) &&
                (!list->only || list->only == list->addresses[i]))
                ret[placed++] = i;
    return placed;
}

/* What is left of the time is shared by those that were not asked yet. */
static int64_t share(int64_t now, int64_t end, size_t left)
{
    int64_t part = (end - now) / (int64_t)left;

    if (part < LEAST_ATTEMPT_MS)
        part = LEAST_ATTEMPT_MS;
    return now + part < end ? now + part : end;
}

struct round {
    bool is_worth_another;
    int64_t retry_after_ms;
};

static int ask_each(struct address_list *list, address_attempt_fn *attempt, void *arg, int64_t end,
                    struct round *round, struct error *err)
{
    size_t indexes[ADDRESS_LIST_MAX];
    int r = -EAGAIN;

    size_t count = order(list, clock_monotonic_ms(), indexes);
    for (size_t i = 0; i < count; i++) {
        int64_t now = clock_monotonic_ms();
        if (now >= end)
            return r;
        size_t index = indexes[i];
        struct address_attempt asked = {
            .index = index,
            .address = list->addresses[index],
            .deadline_ms = share(now, end, count - i),
        };
        r = attempt(arg, &asked, err);
        if (r != -EAGAIN) {
            list->rests_until_ms[index] = 0;
            return r;
        }
        list->rests_until_ms[index] = clock_monotonic_ms() + REST_MS;
        round->is_worth_another |= !asked.is_futile;
        if (asked.retry_after_ms > round->retry_after_ms)
            round->retry_after_ms = asked.retry_after_ms;
    }
    return r;
}

static int64_t with_jitter(int64_t pause_ms)
{
    uint16_t drawn;

    random_bytes(&drawn, sizeof(drawn));
    return pause_ms / 2 + pause_ms * drawn / UINT16_MAX;
}

int address_list_call(struct address_list *list, address_attempt_fn *attempt, void *arg,
                      struct error *err)
{
    int64_t end = clock_monotonic_ms() + ADDRESS_LIST_LIMIT_MS;
    int64_t pause = FIRST_PAUSE_MS;

    for (unsigned rounds = 1;; rounds++) {
        struct round round = { .is_worth_another = false };
        int r = ask_each(list, attempt, arg, end, &round, err);
        if (r != -EAGAIN || !round.is_worth_another || rounds == ROUNDS)
            return r;
        int64_t wait = with_jitter(pause);
        if (wait < round.retry_after_ms)
            wait = round.retry_after_ms;
        if (clock_monotonic_ms() + wait >= end)
            return r;
        clock_sleep_ms(wait);
        pause *= 4;
    }
}

static int result_class(int r)
{
    switch (r) {
    case -EHOSTUNREACH:
    case -ECONNREFUSED:
    case -ETIMEDOUT:
        return -EAGAIN;
    case -EKEYREJECTED:
        return -EACCES;
    case -EFBIG:
        return -EPROTO;
    default:
        return r;
    }
}

int address_result(int r, struct error *err)
{
    return r < 0 ? error_recode(err, result_class(r)) : r;
}
