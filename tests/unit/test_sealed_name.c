/* A name that waits in the registry for its worker: only the filesystem's key opens it, for what it
 * was sealed for, and its length does not show. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "keyring/sealed_name.h"
#include "tests/support/keyring_samples.h"

static uint8_t context_bytes[32];
static struct key_set keys;

static struct bytes context(uint8_t fill)
{
    memset(context_bytes, fill, sizeof(context_bytes));
    return (struct bytes){ context_bytes, sizeof(context_bytes) };
}

static void what_was_sealed_is_opened_whatever_its_length(void **state)
{
    uint8_t sealed[SEALED_NAME_LEN];
    char name[SEALED_NAME_PLAIN_LEN], opened[SEALED_NAME_PLAIN_LEN];
    (void)state;

    for (size_t len = 0; len < sizeof(name); len++) {
        memset(name, 'n', len);
        name[len] = '\0';
        assert_int_equal(sealed_name_seal(&keys, context(7), name, sealed), 0);
        assert_true(len < 4 || memmem(sealed, sizeof(sealed), name, len) == NULL);
        assert_int_equal(sealed_name_open(&keys, context(7), sealed, opened), 0);
        assert_string_equal(opened, name);
    }
    char longer[SEALED_NAME_PLAIN_LEN + 1];
    memset(longer, 'n', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(sealed_name_seal(&keys, context(7), longer, sealed), -ENAMETOOLONG);
}

static void two_of_one_name_are_not_alike(void **state)
{
    uint8_t one[SEALED_NAME_LEN], other[SEALED_NAME_LEN];
    (void)state;

    assert_int_equal(sealed_name_seal(&keys, context(7), "monday", one), 0);
    assert_int_equal(sealed_name_seal(&keys, context(7), "monday", other), 0);
    assert_memory_not_equal(one + 4 + AEAD_NONCE_LEN, other + 4 + AEAD_NONCE_LEN,
                            SEALED_NAME_PLAIN_LEN);
}

static void another_key_context_or_byte_opens_nothing(void **state)
{
    struct key_set other = { .count = 0 }, older = { .count = 0 };
    struct secret key = SECRET_INIT;
    uint8_t sealed[SEALED_NAME_LEN];
    char opened[SEALED_NAME_PLAIN_LEN] = "untouched";
    (void)state;

    sample_key(0x99, &key);
    assert_int_equal(key_set_add(&other, 2, &key), 0);
    assert_int_equal(key_set_add(&older, 1, &key), 0);
    assert_int_equal(sealed_name_seal(&keys, context(7), "monday", sealed), 0);
    assert_int_equal(sealed_name_open(&other, context(7), sealed, opened), -EBADMSG);
    assert_int_equal(sealed_name_open(&older, context(7), sealed, opened), -ENOKEY);
    assert_int_equal(sealed_name_open(&keys, context(8), sealed, opened), -EBADMSG);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 1;
        int r = sealed_name_open(&keys, context(7), sealed, opened);
        assert_int_equal(r, i < 4 ? -ENOKEY : -EBADMSG); /* first the generation */
        sealed[i] ^= 1;
    }
    assert_string_equal(opened, "untouched");
    assert_int_equal(sealed_name_open(&keys, context(7), sealed, opened), 0);
    secret_release(&key);
    key_set_release(&other);
    key_set_release(&older);
}

static void what_an_earlier_version_sealed_is_opened(void **state)
{
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    char opened[SEALED_NAME_PLAIN_LEN];
    (void)state;

    assert_int_equal(file_read(FORMATS_FOLDER "/sealed-name-v1.bin", 4096, &sealed, NULL), 0);
    assert_int_equal(sealed.len, SEALED_NAME_LEN);
    assert_int_equal(sealed_name_open(&keys, context(7), sealed.data, opened), 0);
    assert_string_equal(opened, "monday");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_is_opened_whatever_its_length),
        cmocka_unit_test(two_of_one_name_are_not_alike),
        cmocka_unit_test(another_key_context_or_byte_opens_nothing),
        cmocka_unit_test(what_an_earlier_version_sealed_is_opened),
    };

    if (secret_heap_init(NULL) < 0)
        return 77;
    sample_keys(&keys);
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    key_set_release(&keys);
    return r;
}
