/* Reading ahead in packs: what is kept, what is not, and who waits for whom. */
#include "tests/support/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "transfer/windows.h"

#define BIT ((size_t)64 * 1024)

static const struct uuid pack_a = { { 1 } }, pack_b = { { 2 } };

static uint8_t byte_at(const struct uuid *pack, uint64_t offset)
{
    return (uint8_t)(offset * 7 + offset / 4096 + pack->bytes[0]);
}

static void fill(struct windows *windows, struct window *window, size_t len)
{
    for (size_t i = 0; i < len; i++)
        window->data[i] = byte_at(&window->pack, window->offset + i);
    windows_filled(windows, window, len);
}

/* 'h': it was there; 'w': a window is to be filled; 'p': it is read by itself. */
static char try(struct windows *windows, const struct uuid *pack, uint64_t offset, size_t len,
                struct window **ret)
{
    static _Thread_local uint8_t to[WINDOW_LEN];

    if (!windows_read(windows, pack, offset, len, to, ret))
        return *ret ? 'w' : 'p';
    for (size_t i = 0; i < len; i++)
        assert_int_equal(to[i], byte_at(pack, offset + i));
    return 'h';
}

static void only_who_goes_on_reads_ahead(void **state)
{
    struct windows windows;
    struct window *window;

    (void)state;
    windows_init(&windows);
    assert_int_equal(try(&windows, &pack_a, 0, BIT, &window), 'p');
    assert_int_equal(try(&windows, &pack_a, 20 * BIT, BIT, &window), 'p');
    assert_int_equal(try(&windows, &pack_b, BIT, BIT, &window), 'p'); /* of another pack */
    assert_int_equal(try(&windows, &pack_a, BIT, BIT, &window), 'w');
    fill(&windows, window, WINDOW_LEN);
    for (uint64_t at = 2 * BIT; at + BIT <= BIT + WINDOW_LEN; at += BIT)
        assert_int_equal(try(&windows, &pack_a, at, BIT, &window), 'h');
    assert_int_equal(try(&windows, &pack_a, BIT + WINDOW_LEN, BIT, &window), 'w'); /* the next */
    fill(&windows, window, 3 * BIT);                                               /* its end */
    assert_int_equal(try(&windows, &pack_a, WINDOW_LEN + 2 * BIT, 2 * BIT, &window), 'h');
    assert_int_equal(try(&windows, &pack_a, 0, WINDOW_LEN, &window), 'p'); /* large already */
    windows_release(&windows);
}

static void what_failed_or_is_not_relied_on_is_not_kept(void **state)
{
    struct windows windows;
    struct window *window;

    (void)state;
    windows_init(&windows);
    (void)try(&windows, &pack_a, 0, BIT, &window);
    assert_int_equal(try(&windows, &pack_a, BIT, BIT, &window), 'w');
    windows_filled(&windows, window, 0);
    assert_int_equal(try(&windows, &pack_a, 2 * BIT, BIT, &window), 'w');
    fill(&windows, window, WINDOW_LEN);
    assert_int_equal(try(&windows, &pack_a, 3 * BIT, BIT, &window), 'h');
    windows_forget(&windows, &pack_b);
    assert_int_equal(try(&windows, &pack_a, 3 * BIT, BIT, &window), 'h');
    windows_forget(&windows, &pack_a);
    assert_int_equal(try(&windows, &pack_a, 3 * BIT, BIT, &window), 'p');
    windows_release(&windows);
}

static void the_last_few_are_kept(void **state)
{
    struct windows windows;
    struct window *window;

    (void)state;
    windows_init(&windows);
    for (uint8_t i = 1; i <= WINDOWS + 1; i++) {
        const struct uuid pack = { { i } };
        (void)try(&windows, &pack, 0, BIT, &window);
        assert_int_equal(try(&windows, &pack, BIT, BIT, &window), 'w');
        fill(&windows, window, WINDOW_LEN);
    }
    assert_int_equal(try(&windows, &pack_b, 9 * BIT, BIT, &window), 'h');
    assert_int_equal(try(&windows, &pack_a, 9 * BIT, BIT, &window), 'p');
    windows_release(&windows);
}

static void read_all(void *arg, size_t index)
{
    struct windows *windows = arg;
    const struct uuid *pack = index % 2 ? &pack_a : &pack_b;
    struct window *window;

    for (uint64_t at = 0; at < 4 * WINDOW_LEN; at += BIT)
        if (try(windows, pack, at, BIT, &window) == 'w')
            fill(windows, window, WINDOW_LEN);
}

static void many_may_read_at_once(void **state)
{
    struct windows windows;

    (void)state;
    windows_init(&windows);
    parallel_each(8, 4, read_all, &windows);
    windows_release(&windows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_goes_on_reads_ahead),
        cmocka_unit_test(what_failed_or_is_not_relied_on_is_not_kept),
        cmocka_unit_test(the_last_few_are_kept),
        cmocka_unit_test(many_may_read_at_once),
    };

    return cmocka_run_group_tests_name("windows", tests, NULL, NULL);
}
