/* The life of a volume: made, opened, written, closed, opened again, checked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/cmocka_all.h"
#include "tests/support/volume_case.h"

#define SIZE (3u * 1024 * 1024 + 777)

static uint8_t *pattern(size_t len, unsigned seed)
{
    uint8_t *data = malloc(len);

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
    return data;
}

static void write_all(struct volume_case *c, uint64_t ino, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += 1 << 20) {
        size_t part = len - at < 1 << 20 ? len - at : 1 << 20;
        assert_int_equal(
            volume_write(c->volume, ino, at, (struct bytes){ .data = data + at, .len = part }), 0);
    }
}

static void assert_content(struct volume_case *c, uint64_t ino, const uint8_t *data, size_t len)
{
    uint8_t *found = malloc(len + 1);
    size_t got = 0;

    assert_non_null(found);
    for (size_t at = 0; at < len; at += got) {
        size_t part = len - at < 1 << 20 ? len - at : 1 << 20;
        assert_int_equal(volume_read(c->volume, ino, at, part, found + at, &got), 0);
        assert_int_equal(got, part);
    }
    assert_memory_equal(found, data, len);
    assert_int_equal(volume_read(c->volume, ino, len, 1, found, &got), 0);
    assert_int_equal(got, 0);
    free(found);
}

static void test_what_is_written_is_there_after_reopening(void **state)
{
    struct volume_case c;
    struct volume_attr attr;
    uint8_t *data = pattern(SIZE, 1);

    (void)state;
    volume_case_new(&c, 0);
    uint64_t ino = volume_case_file(&c, "file");
    write_all(&c, ino, data, SIZE);
    assert_content(&c, ino, data, SIZE);
    volume_case_check(&c);
    volume_case_reopen(&c);
    volume_case_check(&c);
    assert_int_equal(volume_lookup(c.volume, VOLUME_ROOT, "file", &attr), 0);
    assert_int_equal(attr.size, SIZE);
    assert_content(&c, attr.ino, data, SIZE);
    volume_case_end(&c);
    free(data);
}

static void test_the_superblock_is_repaired_from_the_other_place(void **state)
{
    struct volume_case c;
    struct error err = { 0 };

    (void)state;
    volume_case_new(&c, 0);
    volume_case_close(&c);
    assert_int_equal(object_store_remove(c.store, SUPERBLOCK_OBJECT, &err), 0);
    volume_case_open(&c);
    volume_case_check(&c);
    volume_case_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_there_after_reopening),
        cmocka_unit_test(test_the_superblock_is_repaired_from_the_other_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
