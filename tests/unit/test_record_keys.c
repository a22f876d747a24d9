/* The keys of history: they sort as what they are of, and come back as they went in. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "meta/record_kinds.h"

static const uint8_t inode_key[] = { 0, RECORD_INODE, 0, 0, 0, 0, 0, 0, 1, 2 };
static const struct bytes live = { inode_key, sizeof(inode_key) };

static void a_history_key_is_kind_key_and_epoch(void **state)
{
    static const uint8_t expected[] = {
        0, RECORD_HISTORY, RECORD_INODE, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4
    };
    struct record_key key;
    struct record_key back;
    uint64_t epoch = 0;
    (void)state;

    assert_int_equal(history_key_encode(live, 0x304, &key), 0);
    assert_int_equal(key.len, sizeof(expected));
    assert_memory_equal(key.data, expected, sizeof(expected));
    assert_int_equal(history_key_decode(record_key_bytes(&key), &back, &epoch), 0);
    assert_int_equal(epoch, 0x304);
    assert_int_equal(back.len, live.len);
    assert_memory_equal(back.data, live.data, live.len);
}

static void an_index_key_is_epoch_what_and_key(void **state)
{
    static const uint8_t expected[] = { 0, RECORD_HISTORY_INDEX, 0, 0, 0, 0, 0, 0, 3, 4,
                                        2, RECORD_INODE,         0, 0, 0, 0, 0, 0, 1, 2 };
    struct record_key key;
    struct record_key back;
    enum history_what what = HISTORY_SAVED;
    uint64_t epoch = 0;
    (void)state;

    assert_int_equal(history_index_encode(live, 0x304, HISTORY_CREATED, &key), 0);
    assert_int_equal(key.len, sizeof(expected));
    assert_memory_equal(key.data, expected, sizeof(expected));
    assert_int_equal(history_index_decode(record_key_bytes(&key), &back, &epoch, &what), 0);
    assert_int_equal(epoch, 0x304);
    assert_int_equal(what, HISTORY_CREATED);
    assert_memory_equal(back.data, live.data, live.len);
}

static void other_keys_are_refused(void **state)
{
    struct record_key key;
    struct record_key back;
    enum history_what what;
    uint64_t epoch;
    (void)state;

    assert_int_equal(history_key_decode(live, &back, &epoch), -EBADMSG);
    assert_int_equal(history_index_decode(live, &back, &epoch, &what), -EBADMSG);
    assert_int_equal(history_key_encode((struct bytes){ inode_key, 1 }, 1, &key), -EBADMSG);
    assert_int_equal(history_key_encode(live, 1, &key), 0);
    for (size_t len = 0; len < 11; len++)
        assert_int_equal(history_key_decode((struct bytes){ key.data, len }, &back, &epoch),
                         -EBADMSG);
    assert_int_equal(history_index_encode(live, 1, HISTORY_SAVED, &key), 0);
    key.data[10] = 3;
    assert_int_equal(history_index_decode(record_key_bytes(&key), &back, &epoch, &what), -EBADMSG);
}

static void a_key_that_would_be_too_long_is_refused(void **state)
{
    uint8_t bytes[META_KEY_MAX] = { 0 };
    struct record_key key;
    (void)state;

    assert_int_equal(history_key_encode((struct bytes){ bytes, META_KEY_MAX - 9 }, 1, &key), 0);
    assert_int_equal(history_key_encode((struct bytes){ bytes, META_KEY_MAX - 8 }, 1, &key),
                     -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_history_key_is_kind_key_and_epoch),
        cmocka_unit_test(an_index_key_is_epoch_what_and_key),
        cmocka_unit_test(other_keys_are_refused),
        cmocka_unit_test(a_key_that_would_be_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
