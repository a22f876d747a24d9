/* What every metadata engine promises to threads that use it at the same time (meta/meta_engine.h),
 * tried on each. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "meta/meta_engine.h"
#include "tests/support/meta_case.h"

/* Several threads move amounts between accounts, others add all up: the sum is always right. */
#define ACCOUNTS 32u
#define MOVES 400u

struct bank {
    struct engine_case *c;
    unsigned seed;
    atomic_bool *stop;
};

static uint64_t balance(struct meta_txn *txn, unsigned account)
{
    char key[16];
    struct bytes found;
    uint64_t value = 0;

    (void)snprintf(key, sizeof(key), "acc%02u", account);
    assert_int_equal(meta_get(txn, text(key), &found, NULL), 0);
    memcpy(&value, found.data, sizeof(value));
    return value;
}

static int set_balance(struct meta_txn *txn, unsigned account, uint64_t value)
{
    char key[16];

    (void)snprintf(key, sizeof(key), "acc%02u", account);
    return meta_put(txn, text(key), (struct bytes){ (uint8_t *)&value, 8 }, NULL);
}

static int move(struct meta_txn *txn, unsigned from, unsigned to)
{
    uint64_t amount = balance(txn, from) / 3;

    (void)balance(txn, to);
    int r = set_balance(txn, from, balance(txn, from) - amount);
    return r < 0 ? r : set_balance(txn, to, balance(txn, to) + amount);
}

static void *mover(void *arg)
{
    struct bank *bank = arg;
    unsigned random = bank->seed;

    for (unsigned i = 0; i < MOVES; i++) {
        random = random * 1103515245u + 12345u;
        unsigned from = (random >> 8) % ACCOUNTS;
        unsigned to = (random >> 16) % ACCOUNTS;
        struct meta_txn *txn = begin(bank->c, i % 2 ? META_WRITE : META_OPTIMISTIC);
        int r = move(txn, from, to);
        if (r == -EAGAIN) {
            meta_abort(txn);
            txn = begin(bank->c, META_WRITE);
            r = move(txn, from, to);
        }
        assert_int_equal(r, 0);
        if (random >> 29 == 0)
            meta_abort(txn);
        else
            commit(txn);
        if (i % 50 == 0)
            sync_now(bank->c);
    }
    return NULL;
}

static int add_up(struct bytes key, struct bytes value, void *arg)
{
    uint64_t amount;

    (void)key;
    memcpy(&amount, value.data, sizeof(amount));
    *(uint64_t *)arg += amount;
    return 0;
}

static void *auditor(void *arg)
{
    struct bank *bank = arg;

    while (!atomic_load(bank->stop)) {
        struct meta_txn *txn = begin(bank->c, META_READ);
        uint64_t scanned = 0;
        uint64_t summed = 0;
        assert_int_equal(meta_scan(txn, text("acc"), text("acd"), add_up, &scanned, NULL), 0);
        for (unsigned i = 0; i < ACCOUNTS; i++)
            summed += balance(txn, i);
        assert_int_equal(scanned, 1000 * ACCOUNTS);
        assert_int_equal(summed, 1000 * ACCOUNTS);
        meta_abort(txn);
    }
    return NULL;
}

static void concurrent_transactions_are_atomic(void **state)
{
    struct engine_case *c = *state;
    atomic_bool stop = false;
    struct bank banks[4];
    pthread_t movers[3];
    pthread_t reader;

    struct meta_txn *txn = begin(c, META_WRITE);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        assert_int_equal(set_balance(txn, i, 1000), 0);
    commit(txn);
    for (unsigned i = 0; i < 4; i++)
        banks[i] = (struct bank){ .c = c, .seed = i + 1, .stop = &stop };
    assert_int_equal(pthread_create(&reader, NULL, auditor, &banks[3]), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&movers[i], NULL, mover, &banks[i]), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_join(movers[i], NULL), 0);
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(reader, NULL), 0);
}

static void *scrubber(void *arg)
{
    struct bank *bank = arg;

    while (!atomic_load(bank->stop)) {
        struct error err = { 0 };
        if (meta_scrub(bank->c->engine, &err) < 0) {
            (void)fprintf(stderr, "%s\n", err.text);
            fail();
        }
    }
    return NULL;
}

static void transactions_go_on_through_scrubs(void **state)
{
    struct engine_case *c = *state;
    atomic_bool stop = false;
    struct bank banks[3];
    pthread_t threads[3];

    struct meta_txn *txn = begin(c, META_WRITE);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        assert_int_equal(set_balance(txn, i, 1000), 0);
    commit(txn);
    for (unsigned i = 0; i < 3; i++)
        banks[i] = (struct bank){ .c = c, .seed = i + 1, .stop = &stop };
    assert_int_equal(pthread_create(&threads[0], NULL, mover, &banks[0]), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, auditor, &banks[1]), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, scrubber, &banks[2]), 0);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    atomic_store(&stop, true);
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* --- who waits without a thread --- */

struct waiting {
    struct meta_waiter waiter;
    struct mutex lock; /* of all below */
    pthread_cond_t changed;
    unsigned told;
    int result;
    struct error why;
};

static void on_told(struct meta_waiter *waiter, int result, const struct error *why)
{
    struct waiting *waiting = (struct waiting *)waiter;

    mutex_lock(&waiting->lock);
    waiting->told++;
    waiting->result = result;
    if (why != NULL)
        waiting->why = *why;
    (void)pthread_cond_signal(&waiting->changed);
    mutex_unlock(&waiting->lock);
}

static void wait_later(struct engine_case *c, struct waiting *waiting)
{
    *waiting = (struct waiting){ .waiter.done = on_told,
                                 .lock = MUTEX_INIT,
                                 .changed = PTHREAD_COND_INITIALIZER };
    meta_sync_later(c->engine, meta_last_group(c->engine), &waiting->waiter);
}

static unsigned times_told(struct waiting *waiting)
{
    mutex_lock(&waiting->lock);
    unsigned told = waiting->told;
    mutex_unlock(&waiting->lock);
    return told;
}

static int result_of(struct waiting *waiting)
{
    mutex_lock(&waiting->lock);
    while (waiting->told == 0)
        cond_wait(&waiting->changed, &waiting->lock);
    int result = waiting->result;
    mutex_unlock(&waiting->lock);
    return result;
}

/* Until the group with all that was put before is being written. */
static void stall(struct engine_case *c)
{
    atomic_store(&c->owner.stalled, false);
    atomic_store(&c->owner.stall, true);
    while (!atomic_load(&c->owner.stalled))
        clock_sleep_ms(1);
}

static void who_waits_without_a_thread_is_told_once_when_it_is_durable(void **state)
{
    struct engine_case *c = *state;
    struct waiting of_first[2];
    struct waiting of_second[2];
    struct waiting of_none;

    put_one(c, "a", "1");
    stall(c);
    for (unsigned i = 0; i < 2; i++)
        wait_later(c, &of_first[i]);
    put_one(c, "b", "1");
    for (unsigned i = 0; i < 2; i++)
        wait_later(c, &of_second[i]);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(times_told(&of_first[i]) + times_told(&of_second[i]), 0);
    atomic_store(&c->owner.stall, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(result_of(&of_first[i]), 0);
        assert_int_equal(result_of(&of_second[i]), 0);
    }
    mutex_lock(&c->owner.lock);
    unsigned durable = c->owner.durable;
    mutex_unlock(&c->owner.lock);
    assert_int_equal(durable, 2);

    wait_later(c, &of_none); /* nothing is left to wait for */
    assert_int_equal(times_told(&of_none), 1);
    assert_int_equal(result_of(&of_none), 0);
    meta_case_reopen(c, &(struct meta_options){ 0 });
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(times_told(&of_first[i]) + times_told(&of_second[i]), 2);
}

static void a_failure_is_told_to_all_who_wait_without_a_thread(void **state)
{
    struct engine_case *c = *state;
    struct waiting waiting[4];

    atomic_store(&c->owner.fail_before, -EIO);
    put_one(c, "a", "1");
    stall(c);
    wait_later(c, &waiting[0]);
    put_one(c, "b", "1");
    wait_later(c, &waiting[1]); /* of a later group, which cannot be durable before */
    atomic_store(&c->owner.stall, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(result_of(&waiting[i]), -EIO);
        assert_string_equal(waiting[i].why.text, "The test says so.");
    }
    wait_later(c, &waiting[2]); /* and again: it is tried once more */
    assert_int_equal(result_of(&waiting[2]), -EIO);
    atomic_store(&c->owner.fail_before, 0);
    wait_later(c, &waiting[3]);
    assert_int_equal(result_of(&waiting[3]), 0);
    sync_now(c);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(times_told(&waiting[i]), 1);
    expect_one(c, "a", "1");
    expect_one(c, "b", "1");
}

#define WAITINGS 200u

static void *put_and_wait_later(void *arg)
{
    struct waiting *waiting = calloc(WAITINGS, sizeof(*waiting));
    struct bank *bank = arg;
    char key[16];

    assert_non_null(waiting);
    for (unsigned i = 0; i < WAITINGS; i++) {
        (void)snprintf(key, sizeof(key), "w%u-%u", bank->seed, i);
        put_one(bank->c, key, "1");
        wait_later(bank->c, &waiting[i]);
        if (i % 16 == 0)
            assert_int_equal(result_of(&waiting[i]), 0);
    }
    for (unsigned i = 0; i < WAITINGS; i++)
        assert_int_equal(result_of(&waiting[i]), 0);
    sync_now(bank->c);
    for (unsigned i = 0; i < WAITINGS; i++)
        assert_int_equal(times_told(&waiting[i]), 1);
    free(waiting);
    return NULL;
}

static void many_wait_without_a_thread(void **state)
{
    struct engine_case *c = *state;
    struct bank banks[4];
    pthread_t threads[4];

    for (unsigned i = 0; i < 4; i++) {
        banks[i] = (struct bank){ .c = c, .seed = i + 1 };
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_wait_later, &banks[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

#define EVERY(test)                                                                                \
    {                                                                                              \
#test, test, meta_case_setup, meta_case_teardown, NULL                                     \
    }

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {
        EVERY(concurrent_transactions_are_atomic),
        EVERY(transactions_go_on_through_scrubs),
        EVERY(who_waits_without_a_thread_is_told_once_when_it_is_durable),
        EVERY(a_failure_is_told_to_all_who_wait_without_a_thread),
        EVERY(many_wait_without_a_thread),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]);

    if (argc != 2)
        return 2;
    for (size_t i = 0; i < count; i++)
        tests[i].initial_state = argv[1];
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
