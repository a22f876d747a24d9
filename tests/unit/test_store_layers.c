/* The layers around object stores: store/layers/fault.h, limit.h, retry.h, trace.h. That they keep
 * the contract while nothing happens is tests/conformance/object_store_conformance.c. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "store/layers/fault.h"
#include "store/layers/fault_rules.h"
#include "store/layers/limit.h"
#include "store/layers/renewable.h"
#include "store/layers/retry.h"
#include "store/layers/trace.h"
#include "store/stores/stores.h"
#include "tests/support/remote_case.h"
#include "tests/support/store_case.h"

/* A memory store in a fault layer. */
struct faulty {
    struct store_case c;
    struct fault_store *fault;
};

static int set_up(void **state)
{
    struct faulty *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->c.kind = "memory";
    f->c.store = store_case_open(&f->c);
    assert_int_equal(fault_store_new(f->c.store, &f->c.store, &f->fault), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct faulty *f = *state;

    object_store_close(f->c.store);
    free(f);
    return 0;
}

static int count_one(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    (*(unsigned *)arg)++;
    return 0;
}

/* Does one operation on object "a", which is there; ret_writer is one of object "w". */
static int do_one(struct faulty *f, enum fault_op op, struct object *object,
                  struct object_writer *writer, struct error *err)
{
    CLEANUP(object_closep) struct object *opened = NULL;
    struct object_store *store = f->c.store;
    struct object_writer *made = NULL;
    struct object_store_space space;
    unsigned count = 0;
    uint64_t size;
    uint8_t to[8];
    size_t len;
    int r = -ENOSYS;

    switch (op) {
    case FAULT_PUT:
        return object_store_put(store, "a", text("x"), err);
    case FAULT_REPLACE:
        return object_store_replace(store, "a", text("x"), err);
    case FAULT_OPEN:
        return object_store_open_object(store, "a", &opened, err);
    case FAULT_READ:
        return object_read(object, 0, 8, to, &len, err);
    case FAULT_REMOVE:
        return object_store_remove(store, "a", err);
    case FAULT_LIST:
        r = object_store_list(store, "a", count_one, &count, err);
        assert_int_equal(count, 0);
        return r;
    case FAULT_STAT:
        return object_store_stat(store, "a", &size, err);
    case FAULT_CREATE:
        return object_store_create(store, "a", &made, err);
    case FAULT_WRITE:
        return object_writer_write(writer, 0, text("x"), err);
    case FAULT_SYNC:
        return object_writer_sync(writer, err);
    case FAULT_SEAL:
        return object_writer_seal(writer, err);
    case FAULT_SPACE:
        return object_store_space(store, &space, err);
    case FAULT_GET: /* a store in memory has none */
    case FAULT_READ_SHORT:
    case FAULT_READ_FLIP:
    case FAULT_WRITE_TORN:
    case FAULT_SYNC_LOSE:
    case FAULT_SYNC_LARGE:
    case FAULT_SYNC_DENSE:
    case FAULT_OPS:
        break;
    }
    return r;
}

static void each_operation_fails_with_its_code_and_does_nothing(void **state)
{
    struct faulty *f = *state;
    struct error err = { 0 };

    store_case_put(&f->c, "a", "old");
    struct object *object = store_case_open_object(&f->c, "a");
    for (unsigned op = 0; op < FAULT_READ_SHORT; op++) {
        char name[16];
        if (op == FAULT_GET)
            continue;
        (void)snprintf(name, sizeof(name), "w%u", op);
        struct object_writer *writer = store_case_create(&f->c, name);
        fault_arm(f->fault, (enum fault_op)op, "", 0, FAULT_ALWAYS, -EUCLEAN);
        int r = do_one(f, (enum fault_op)op, object, writer, &err);
        assert_non_null(strstr(err.text, fault_op_name((enum fault_op)op)));
        store_case_expect_error(r, -EUCLEAN, &err);
        fault_disarm(f->fault);
        object_writer_close(writer);
        store_case_expect_size(&f->c, name, 0);
        store_case_expect(&f->c, "a", "old");
    }
    object_close(object);
}

static void a_rule_passes_some_then_hits_some_and_only_its_names(void **state)
{
    static const int expected[] = { 0, 0, -EIO, -EIO, -EIO, 0, 0 };
    struct faulty *f = *state;

    fault_arm(f->fault, FAULT_PUT, "seg/", 2, 3, -EIO);
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "other/%u", i);
        assert_int_equal(object_store_put(f->c.store, name, text("x"), NULL), 0);
        (void)snprintf(name, sizeof(name), "seg/%u", i);
        assert_int_equal(object_store_replace(f->c.store, "seg/x", text("x"), NULL), 0);
        assert_int_equal(object_store_put(f->c.store, name, text("x"), NULL), expected[i]);
    }
}

static void the_first_rule_that_hits_decides(void **state)
{
    static const int expected[] = { -EIO, -ENOSPC, -ENOSPC, 0 };
    struct faulty *f = *state;
    uint64_t size;

    store_case_put(&f->c, "a", "x");
    fault_arm(f->fault, FAULT_STAT, "a", 0, 1, -EIO);
    fault_arm(f->fault, FAULT_STAT, "", 0, 2, -ENOSPC);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(object_store_stat(f->c.store, "a", &size, NULL), expected[i]);
}

static void a_failed_write_leaves_a_hole_and_the_writer_goes_on(void **state)
{
    struct faulty *f = *state;
    struct object_writer *writer = store_case_create(&f->c, "seg");

    store_case_write(writer, 0, "abcd");
    fault_arm(f->fault, FAULT_WRITE, "seg", 0, 1, -ENOSPC);
    assert_int_equal(object_writer_write(writer, 4, text("lost"), NULL), -ENOSPC);
    fault_arm(f->fault, FAULT_WRITE_TORN, "seg", 0, 1, -EIO);
    assert_int_equal(object_writer_write(writer, 8, text("torn"), NULL), -EIO);
    store_case_write(writer, 12, "efgh");
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    store_case_expect_size(&f->c, "seg", 16);
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    assert_int_equal(object_store_get(f->c.store, "seg", 100, &found, NULL), 0);
    assert_memory_equal(found.data, "abcd\0\0\0\0to\0\0efgh", 16);
}

static void a_read_is_short_or_altered_once(void **state)
{
    struct faulty *f = *state;
    uint8_t found[8];
    size_t len = 0;

    store_case_put(&f->c, "a", "01234567");
    CLEANUP(object_closep) struct object *object = store_case_open_object(&f->c, "a");
    fault_arm(f->fault, FAULT_READ_SHORT, "", 0, 1, 0);
    assert_int_equal(object_read(object, 0, 8, found, &len, NULL), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(found, "0123", 4);
    fault_arm(f->fault, FAULT_READ_FLIP, "a", 0, 1, 0);
    assert_int_equal(object_read(object, 0, 8, found, &len, NULL), 0);
    assert_int_equal(len, 8);
    assert_memory_equal(found,
                        "0123\x24"
                        "567",
                        8);
    assert_int_equal(object_read(object, 0, 8, found, &len, NULL), 0);
    assert_memory_equal(found, "01234567", 8);
}

static void a_sync_that_loses_takes_what_was_not_synced(void **state)
{
    static const uint8_t zeros[100000];
    struct faulty *f = *state;
    struct object_writer *writer = store_case_create(&f->c, "seg");
    uint8_t *big = malloc(sizeof(zeros));
    size_t len = 0;

    assert_non_null(big);
    memset(big, 'x', sizeof(zeros));
    store_case_write(writer, 0, "kept");
    assert_int_equal(object_writer_sync(writer, NULL), 0);
    assert_int_equal(object_writer_write(writer, 8, (struct bytes){ big, sizeof(zeros) }, NULL), 0);
    store_case_write(writer, 4, "lost");
    fault_arm(f->fault, FAULT_SYNC_LOSE, "seg", 0, 1, -EIO);
    assert_int_equal(object_writer_sync(writer, NULL), -EIO);
    assert_int_equal(object_writer_sync(writer, NULL), -EIO); /* the rule is used up */
    assert_int_equal(object_writer_seal(writer, NULL), -EIO);
    object_writer_close(writer);
    store_case_expect_size(&f->c, "seg", 8 + sizeof(zeros));
    CLEANUP(object_closep) struct object *object = store_case_open_object(&f->c, "seg");
    assert_int_equal(object_read(object, 0, 8, big, &len, NULL), 0);
    assert_memory_equal(big, "kept\0\0\0\0", 8);
    assert_int_equal(object_read(object, 8, sizeof(zeros), big, &len, NULL), 0);
    assert_int_equal(len, sizeof(zeros));
    assert_memory_equal(big, zeros, len);
    free(big);
}

/* --- rules in a file --- */

static void write_rules(const struct store_case *c, const char *rules)
{
    char path[128];
    struct error err = { 0 };

    (void)snprintf(path, sizeof(path), "%s/~fault", c->folder);
    if (file_replace(path, text(rules), 0600, &err) < 0)
        fail_msg("%s", err.text);
}

static void rules_in_the_folder_of_a_store_are_read_again(void **state)
{
    struct store_case *c;
    struct error err = { 0 };
    unsigned count = 0;
    char path[128];

    *state = (void *)(uintptr_t) "dir";
    assert_int_equal(store_case_setup(state), 0);
    c = *state;
    object_store_close(c->store);
    assert_int_equal(fault_dir_store_open(c->folder, &c->store, &err), 0);
    store_case_put(c, "a", "1");
    write_rules(c, "# a comment\n\nput b 1 * ENOSPC\nread-flip * 0 1 0");
    store_case_put(c, "b1", "2");
    int r = object_store_put(c->store, "b2", text("3"), &err);
    store_case_expect_error(r, -ENOSPC, &err);
    store_case_expect(c, "a", "!");
    store_case_expect(c, "a", "1");
    assert_int_equal(object_store_list(c->store, "", count_one, &count, NULL), 0);
    assert_int_equal(count, 2);

    write_rules(c, "put b 0 1\n");
    r = object_store_remove(c->store, "a", &err);
    assert_non_null(strstr(err.text, "line 1"));
    assert_non_null(strstr(err.text, "~fault"));
    store_case_expect_error(r, -EINVAL, &err);
    (void)snprintf(path, sizeof(path), "%s/~fault", c->folder);
    assert_int_equal(unlink(path), 0);
    store_case_put(c, "b2", "3");
    assert_int_equal(store_case_teardown(state), 0);
    *state = NULL;
}

static void the_url_is_known_only_to_builds_for_tests(void **state)
{
    struct object_store *store = NULL;
    struct error err = { 0 };
    (void)state;

    int r = object_store_open("fault+dir:/tmp", &store, &err);
#ifdef FAULT_STORE
    assert_int_equal(r, 0);
#else
    store_case_expect_error(r, -EINVAL, &err);
#endif
    object_store_close(store);
}

static void text_that_is_no_rule_is_refused_and_its_line_named(void **state)
{
    static const char *const texts[] = {
        "put",
        "put a 0 1",
        "put a 0 1 EIO more",
        "puts a 0 1 EIO",
        "put a -1 1 EIO",
        "put a 0 1x EIO",
        "put a 0 1234567890 EIO",
        "put a * 1 EIO",
        "put a 0 1 EWHAT",
        "put a 0 1 5",
        "put a 0 1 0",
        "read-flip a 0 1 EIO",
    };
    struct fault_rules rules = { .count = 7 };
    struct error err = { 0 };
    char long_line[600] = "";
    (void)state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char lines[128];
        (void)snprintf(lines, sizeof(lines), "sync * 0 1 EIO\n%s\n", texts[i]);
        int r = fault_rules_parse(text(lines), &rules, &err);
        assert_non_null(strstr(err.text, "line 2"));
        store_case_expect_error(r, -EINVAL, &err);
    }
    memset(long_line, ' ', sizeof(long_line) - 1);
    store_case_expect_error(fault_rules_parse(text(long_line), &rules, &err), -EINVAL, &err);
    const struct bytes with_zero = { (const uint8_t *)"#\0put", 5 };
    store_case_expect_error(fault_rules_parse(with_zero, &rules, &err), -EINVAL, &err);
    assert_int_equal(rules.count, 7);
}

static void every_operation_can_be_named_in_a_rule(void **state)
{
    (void)state;

    for (unsigned op = 0; op < FAULT_OPS; op++) {
        struct fault_rules rules = { .count = 0 };
        bool lies = op == FAULT_READ_SHORT || op == FAULT_READ_FLIP;
        char line[64];
        int code = 1;
        (void)snprintf(line, sizeof(line), " %s\ta/b 0  * %s", fault_op_name((enum fault_op)op),
                       lies ? "0" : "ENOENT");
        assert_int_equal(fault_rules_parse(text(line), &rules, NULL), 0);
        assert_int_equal(rules.count, 1);
        assert_false(fault_rules_hit(&rules, (enum fault_op)op, "a/", &code));
        assert_true(fault_rules_hit(&rules, (enum fault_op)op, "a/bc", &code));
        assert_int_equal(code, lies ? 0 : -ENOENT);
    }
}

static void more_rules_than_there_is_room_for_are_refused(void **state)
{
    char lines[FAULT_RULES_MAX * 16 + 32] = "";
    struct fault_rules rules = { .count = 0 };
    struct error err = { 0 };
    size_t len = 0;
    (void)state;

    for (unsigned i = 0; i < FAULT_RULES_MAX; i++)
        len += (size_t)snprintf(lines + len, sizeof(lines) - len, "put * 0 1 EIO\n");
    assert_int_equal(fault_rules_parse(text(lines), &rules, &err), 0);
    assert_int_equal(rules.count, FAULT_RULES_MAX);
    (void)snprintf(lines + len, sizeof(lines) - len, "put * 0 1 EIO\n");
    store_case_expect_error(fault_rules_parse(text(lines), &rules, &err), -EINVAL, &err);
}

/* --- retry --- */

struct sleeper {
    int64_t slept_ms[16];
    unsigned count;
};

static void sleep_not_at_all(void *arg, int64_t ms)
{
    struct sleeper *sleeper = arg;

    assert_true(sleeper->count < 16);
    sleeper->slept_ms[sleeper->count++] = ms;
}

static void wrap_in_retry(struct faulty *f, struct sleeper *sleeper, unsigned tries)
{
    const struct retry_policy policy = { .tries = tries,
                                         .first_ms = 100,
                                         .longest_ms = 450,
                                         .sleep = sleep_not_at_all,
                                         .sleep_arg = sleeper };

    assert_int_equal(retry_store_new(f->c.store, &policy, &f->c.store), 0);
}

static void what_may_pass_is_asked_again_until_it_does(void **state)
{
    struct faulty *f = *state;
    struct sleeper sleeper = { .count = 0 };
    struct error err = { 0 };

    wrap_in_retry(f, &sleeper, 4);
    store_case_put(&f->c, "b", "value");
    for (unsigned op = 0; op < FAULT_READ_SHORT; op++) {
        struct object *object;
        struct object_writer *writer;
        char name[16];
        if (op == FAULT_SYNC || op == FAULT_SEAL || op == FAULT_LIST || op == FAULT_GET)
            continue;
        assert_int_equal(object_store_remove(f->c.store, "a", NULL), 0);
        object = store_case_open_object(&f->c, "b");
        (void)snprintf(name, sizeof(name), "w%u", op);
        writer = store_case_create(&f->c, name);
        if (op != FAULT_PUT && op != FAULT_CREATE)
            store_case_put(&f->c, "a", "old");
        fault_arm(f->fault, (enum fault_op)op, "", 0, 3, -EAGAIN);
        sleeper.count = 0;
        if (op == FAULT_CREATE) {
            struct object_writer *made = store_case_create(&f->c, "a");
            object_writer_close(made);
        } else {
            assert_int_equal(do_one(f, (enum fault_op)op, object, writer, &err), 0);
        }
        assert_int_equal(sleeper.count, 3);
        fault_disarm(f->fault);
        object_writer_close(writer);
        object_close(object);
    }
    assert_int_equal(err.code, 0); /* nobody is told of tries that were followed by a good one */
}

static void the_tries_are_bounded_and_the_waits_grow(void **state)
{
    static const int64_t longest[] = { 100, 200, 400, 450, 450, 450 };
    struct faulty *f = *state;
    struct sleeper sleeper = { .count = 0 };
    struct error err = { 0 };

    wrap_in_retry(f, &sleeper, 7);
    fault_arm(f->fault, FAULT_PUT, "", 0, FAULT_ALWAYS, -EAGAIN);
    int r = object_store_put(f->c.store, "a", text("x"), &err);
    assert_non_null(strstr(err.text, "after 7 tries"));
    store_case_expect_error(r, -EAGAIN, &err);
    assert_int_equal(sleeper.count, 6);
    for (unsigned i = 0; i < 6; i++)
        assert_in_range(sleeper.slept_ms[i], longest[i] / 2, longest[i]);
    fault_disarm(f->fault);
    store_case_expect(&f->c, "a", NULL);
}

static void what_cannot_pass_is_not_asked_again(void **state)
{
    static const int codes[] = { -EIO, -ENOSPC, -ENOENT, -EEXIST, -EOPNOTSUPP, -ETIMEDOUT };
    struct faulty *f = *state;
    struct sleeper sleeper = { .count = 0 };
    struct error err = { 0 };

    wrap_in_retry(f, &sleeper, 4);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        fault_arm(f->fault, FAULT_PUT, "", 0, 1, codes[i]);
        int r = object_store_put(f->c.store, "a", text("x"), &err);
        store_case_expect_error(r, codes[i], &err);
    }
    assert_int_equal(sleeper.count, 0);
}

static void a_sync_is_never_asked_again(void **state)
{
    struct faulty *f = *state;
    struct sleeper sleeper = { .count = 0 };

    wrap_in_retry(f, &sleeper, 4);
    fault_arm(f->fault, FAULT_SYNC, "1", 0, 1, -EAGAIN);
    fault_arm(f->fault, FAULT_SEAL, "2", 0, 1, -EAGAIN);
    struct object_writer *writer = store_case_create(&f->c, "1");
    assert_int_equal(object_writer_sync(writer, NULL), -EAGAIN);
    object_writer_close(writer);
    writer = store_case_create(&f->c, "2");
    assert_int_equal(object_writer_seal(writer, NULL), -EAGAIN);
    object_writer_close(writer);
    assert_int_equal(sleeper.count, 0);
}

static int end_with_eagain(const char *name, uint64_t size, void *arg)
{
    (void)count_one(name, size, arg);
    return -EAGAIN;
}

static void a_listing_is_asked_again_only_before_its_first_name(void **state)
{
    struct faulty *f = *state;
    struct sleeper sleeper = { .count = 0 };
    unsigned count = 0;

    wrap_in_retry(f, &sleeper, 4);
    store_case_put(&f->c, "a", "x");
    store_case_put(&f->c, "b", "x");
    fault_arm(f->fault, FAULT_LIST, "", 0, 2, -EAGAIN);
    assert_int_equal(object_store_list(f->c.store, "", count_one, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_int_equal(sleeper.count, 2);
    assert_int_equal(object_store_list(f->c.store, "", end_with_eagain, &count, NULL), -EAGAIN);
    assert_int_equal(count, 3);
    assert_int_equal(sleeper.count, 2);
}

/* --- trace --- */

static void expect_counts(struct trace_store *trace, enum store_op op, uint64_t calls,
                          uint64_t errors, uint64_t bytes)
{
    struct trace_counts counts;

    trace_store_counts(trace, op, &counts);
    assert_int_equal(counts.calls, calls);
    assert_int_equal(counts.errors, errors);
    assert_int_equal(counts.bytes, bytes);
    assert_true(counts.max_ns <= counts.total_ns);
    assert_true(counts.total_ns <= calls * counts.max_ns);
}

static void calls_errors_and_bytes_are_counted_for_each_operation(void **state)
{
    struct faulty *f = *state;
    struct trace_store *trace = NULL;
    unsigned count = 0;

    assert_int_equal(trace_store_new(f->c.store, &f->c.store, &trace), 0);
    for (unsigned op = 0; op < STORE_OPS; op++)
        expect_counts(trace, (enum store_op)op, 0, 0, 0);
    store_case_put(&f->c, "a", "12345");
    assert_int_equal(object_store_put(f->c.store, "a", text("678"), NULL), -EEXIST);
    store_case_expect(&f->c, "a", "12345");
    struct object_writer *writer = store_case_create(&f->c, "seg");
    store_case_write(writer, 0, "1234567890");
    fault_arm(f->fault, FAULT_WRITE, "", 0, 1, -ENOSPC);
    assert_int_equal(object_writer_write(writer, 10, text("1234"), NULL), -ENOSPC);
    store_case_write(writer, 10, "12");
    assert_int_equal(object_writer_sync(writer, NULL), 0);
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    assert_int_equal(object_store_replace(f->c.store, "r", text("123"), NULL), 0);
    assert_int_equal(object_store_list(f->c.store, "", count_one, &count, NULL), 0);
    assert_int_equal(object_store_remove(f->c.store, "a", NULL), 0);
    expect_counts(trace, STORE_PUT, 2, 1, 5);
    expect_counts(trace, STORE_READ, 1, 0, 5);
    expect_counts(trace, STORE_OPEN, 1, 0, 0);
    expect_counts(trace, STORE_STAT, 1, 0, 0);
    expect_counts(trace, STORE_CREATE, 1, 0, 0);
    expect_counts(trace, STORE_WRITE, 3, 1, 12);
    expect_counts(trace, STORE_SYNC, 1, 0, 0);
    expect_counts(trace, STORE_SEAL, 1, 0, 0);
    expect_counts(trace, STORE_REPLACE, 1, 0, 3);
    expect_counts(trace, STORE_LIST, 1, 0, 0);
    expect_counts(trace, STORE_REMOVE, 1, 0, 0);
    expect_counts(trace, STORE_SPACE, 0, 0, 0);
}

/* --- limit --- */

/* A time that passes only while somebody sleeps. */
struct slow_time {
    int64_t now_ns;
    int64_t slept_ns;
};

static int64_t slow_now(void *arg)
{
    return ((struct slow_time *)arg)->now_ns;
}

static void slow_sleep(void *arg, int64_t ns)
{
    struct slow_time *time = arg;

    time->now_ns += ns;
    time->slept_ns += ns;
}

static void each_waits_until_those_before_it_are_paid_for(void **state)
{
    struct faulty *f = *state;
    struct slow_time time = { .now_ns = 5000 };
    const struct limit_clock clock = { slow_now, slow_sleep, &time };
    const struct limit_rates rates = { .sent = 10, .received = 5, .removals = 2 };

    assert_int_equal(limit_store_new(f->c.store, &rates, &clock, &f->c.store), 0);
    store_case_put(&f->c, "a", "0123456789"); /* a second */
    assert_int_equal(time.slept_ns, 0);
    assert_int_equal(object_store_replace(f->c.store, "b", text("01234"), NULL), 0);
    assert_int_equal(time.slept_ns, 1000000000);
    struct object_writer *writer = store_case_create(&f->c, "seg");
    store_case_write(writer, 0, "x");
    assert_int_equal(time.slept_ns, 1500000000);
    object_writer_close(writer);
    CLEANUP(object_closep) struct object *object = store_case_open_object(&f->c, "a");
    uint8_t bytes[10];
    size_t len;
    time.slept_ns = 0;
    assert_int_equal(object_read(object, 0, 10, bytes, &len, NULL), 0); /* receiving is apart */
    assert_int_equal(time.slept_ns, 0);
    assert_int_equal(object_read(object, 0, 1, bytes, &len, NULL), 0);
    assert_int_equal(time.slept_ns, 2000000000);
    time.slept_ns = 0;
    assert_int_equal(object_store_remove(f->c.store, "b", NULL), 0);
    assert_int_equal(object_store_remove(f->c.store, "b", NULL), 0);
    assert_int_equal(time.slept_ns, 500000000);
}

static void nothing_is_saved_up_and_no_limit_is_none(void **state)
{
    struct faulty *f = *state;
    struct slow_time time = { .now_ns = 0 };
    const struct limit_clock clock = { slow_now, slow_sleep, &time };
    const struct limit_rates rates = { .sent = 10 };

    assert_int_equal(limit_store_new(f->c.store, &rates, &clock, &f->c.store), 0);
    time.now_ns = 1000000000000;
    store_case_put(&f->c, "a", "0123456789");
    store_case_put(&f->c, "b", "0123456789");
    assert_int_equal(time.slept_ns, 1000000000);
    for (unsigned i = 0; i < 100; i++) {
        store_case_expect(&f->c, "a", "0123456789");
        assert_int_equal(object_store_remove(f->c.store, "c", NULL), 0);
    }
    assert_int_equal(time.slept_ns, 1000000000);
}

#define ON_FAULTY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* --- renewable --- */

static struct object_store *faulty_memory(struct fault_store **ret)
{
    struct object_store *store = NULL;

    assert_int_equal(object_store_open("memory:", &store, NULL), 0);
    assert_int_equal(fault_store_new(store, &store, ret), 0);
    return store;
}

static void expect_read(struct object *object, const char *value, int code)
{
    uint8_t to[16];
    size_t len = 0;

    assert_int_equal(object_read(object, 0, sizeof(to), to, &len, NULL), code);
    if (code == 0) {
        assert_int_equal(len, strlen(value));
        assert_memory_equal(to, value, len);
    }
}

/* The two have different bytes in the same object, so that it shows which one is read. */
static void what_was_opened_in_a_store_that_ended_is_read_in_the_next_one(void **state)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(object_closep) struct object *object = NULL;
    CLEANUP(object_closep) struct object *missing = NULL;
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct fault_store *first_fault = NULL, *next_fault = NULL;
    struct object_store *first = faulty_memory(&first_fault);
    struct object_store *next = faulty_memory(&next_fault);
    struct renewable_store *renewable = NULL;
    struct object_writer *writer = NULL;
    (void)state;

    assert_int_equal(object_store_put(first, "a", text("first"), NULL), 0);
    assert_int_equal(object_store_put(first, "only", text("first"), NULL), 0);
    assert_int_equal(object_store_put(next, "a", text("next"), NULL), 0);
    assert_int_equal(renewable_store_new(first, &store, &renewable), 0);
    assert_int_equal(object_store_open_object(store, "a", &object, NULL), 0);
    assert_int_equal(object_store_open_object(store, "only", &missing, NULL), 0);
    assert_int_equal(object_store_create(store, "w", &writer, NULL), 0);
    expect_read(object, "first", 0);

    fault_arm(first_fault, FAULT_READ, "", 0, FAULT_ALWAYS, -ENOTCONN);
    expect_read(object, NULL, -ENOTCONN);
    fault_arm(next_fault, FAULT_OPEN, "", 0, 1, -EAGAIN);
    assert_int_equal(renewable_store_renew(renewable, next), 0);
    expect_read(object, NULL, -EAGAIN); /* and it is tried again */
    expect_read(object, "next", 0);
    expect_read(object, "next", 0);
    expect_read(missing, NULL, -ENOENT);
    assert_int_equal(object_store_get(store, "a", 100, &found, NULL), 0);
    assert_int_equal(found.len, strlen("next"));
    assert_int_equal(object_writer_write(writer, 0, text("x"), NULL), 0); /* where it began */
    assert_int_equal(object_writer_seal(writer, NULL), 0);
    object_writer_close(writer);
    assert_int_equal(object_store_get(store, "w", 100, &found, NULL), -ENOENT);
}

/* --- what passes through all --- */

/* Notes with which size something is opened, which it never is. */
struct spy {
    struct object_store base;
    uint64_t *noted;
};

static int spy_open_sized(struct object_store *base, const char *name, uint64_t size,
                          struct object **ret, struct error *err)
{
    (void)name;
    (void)ret;
    *((struct spy *)base)->noted = size;
    return error_set(err, -EIO, "it is a spy");
}

static void spy_close(struct object_store *base)
{
    free(base);
}

static const struct object_store_ops spy_ops = {
    .type = "spy",
    .open_sized = spy_open_sized,
    .close = spy_close,
};

static void the_size_that_an_object_is_said_to_have_reaches_the_store(void **state)
{
    struct spy *spy = malloc(sizeof(*spy));
    struct renewable_store *renewable = NULL;
    struct trace_store *trace = NULL;
    struct object_store *store = NULL;
    struct object *object = NULL;
    uint64_t noted = 0;
    (void)state;

    assert_non_null(spy);
    *spy = (struct spy){ { &spy_ops }, &noted };
    assert_int_equal(trace_store_new(&spy->base, &store, &trace), 0);
    assert_int_equal(renewable_store_new(remote_over(store), &store, &renewable), 0);
    assert_int_equal(object_store_open_sized(store, "a", 17, &object, NULL), -EIO);
    object_store_close(store);
    assert_int_equal(noted, 17);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FAULTY(each_operation_fails_with_its_code_and_does_nothing),
        ON_FAULTY(a_rule_passes_some_then_hits_some_and_only_its_names),
        ON_FAULTY(the_first_rule_that_hits_decides),
        ON_FAULTY(a_failed_write_leaves_a_hole_and_the_writer_goes_on),
        ON_FAULTY(a_read_is_short_or_altered_once),
        ON_FAULTY(a_sync_that_loses_takes_what_was_not_synced),
        cmocka_unit_test(rules_in_the_folder_of_a_store_are_read_again),
        cmocka_unit_test(the_url_is_known_only_to_builds_for_tests),
        cmocka_unit_test(text_that_is_no_rule_is_refused_and_its_line_named),
        cmocka_unit_test(every_operation_can_be_named_in_a_rule),
        cmocka_unit_test(more_rules_than_there_is_room_for_are_refused),
        ON_FAULTY(what_may_pass_is_asked_again_until_it_does),
        ON_FAULTY(the_tries_are_bounded_and_the_waits_grow),
        ON_FAULTY(what_cannot_pass_is_not_asked_again),
        ON_FAULTY(a_sync_is_never_asked_again),
        ON_FAULTY(a_listing_is_asked_again_only_before_its_first_name),
        ON_FAULTY(calls_errors_and_bytes_are_counted_for_each_operation),
        ON_FAULTY(each_waits_until_those_before_it_are_paid_for),
        ON_FAULTY(nothing_is_saved_up_and_no_limit_is_none),
        cmocka_unit_test(what_was_opened_in_a_store_that_ended_is_read_in_the_next_one),
        cmocka_unit_test(the_size_that_an_object_is_said_to_have_reaches_the_store),
    };

    return cmocka_run_group_tests_name("store_layers", tests, NULL, NULL);
}
