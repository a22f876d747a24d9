/* The superblock and the set of keys that opens it. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_io.h"
#include "crypto/random.h"
#include "tests/support/keyring_samples.h"

struct fixture {
    struct key_set keys;
    struct superblock sb;
    uint8_t encoded[SUPERBLOCK_MAX];
    size_t len;
};

static struct bytes encoded_of(const struct fixture *fixture)
{
    return (struct bytes){ fixture->encoded, fixture->len };
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    sample_keys(&fixture->keys);
    sample_superblock(&fixture->sb);
    assert_int_equal(superblock_encode(&fixture->sb, key_set_find(&fixture->keys, 2),
                                       fixture->encoded, &fixture->len, NULL),
                     0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    key_set_release(&fixture->keys);
    superblock_release(&fixture->sb);
    free(fixture);
    return 0;
}

static void assert_same(const struct superblock *a, const struct superblock *b)
{
    assert_true(uuid_equal(&a->uuid, &b->uuid));
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->block_size, b->block_size);
    assert_int_equal(a->created_ns, b->created_ns);
    assert_true(uuid_equal(&a->owner, &b->owner));
    assert_int_equal(a->owner_count, b->owner_count);
    assert_int_equal(a->commit, b->commit);
    assert_int_equal(a->written_ns, b->written_ns);
    assert_int_equal(a->is_clean, b->is_clean);
}

static void assert_same_secret(const struct secret *a, const struct secret *b)
{
    assert_true(secret_equal(secret_bytes(a), secret_bytes(b)));
}

static void a_superblock_comes_back_with_its_keys(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };

    assert_int_equal(superblock_decode(encoded_of(fixture), &fixture->keys, &got, NULL), 0);
    assert_same(&got, &fixture->sb);
    assert_same_secret(&got.name_key, &fixture->sb.name_key);
    assert_same_secret(&got.chunk_key, &fixture->sb.chunk_key);
    superblock_release(&got);
}

static void peek_needs_no_key_and_gives_none(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };

    assert_int_equal(superblock_peek(encoded_of(fixture), &got, NULL), 0);
    assert_same(&got, &fixture->sb);
    assert_null(got.name_key.data);
    assert_null(got.chunk_key.data);
}

static void every_altered_byte_of_a_superblock_is_found(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };

    for (size_t i = 0; i < fixture->len; i++) {
        struct error err = { .code = 0 };
        fixture->encoded[i] ^= 0x01;
        int r = superblock_decode(encoded_of(fixture), &fixture->keys, &got, &err);
        /* 8 to 11 is the version; 28 to 31 the generation, which then is another one. */
        if (i >= 8 && i < 12)
            assert_int_equal(r, -EPROTONOSUPPORT);
        else if (i >= 28 && i < 32)
            assert_true(r == -ENOKEY || r == -EBADMSG);
        else
            assert_int_equal(r, -EBADMSG);
        assert_string_not_equal(err.text, "");
        assert_null(got.name_key.data);
        fixture->encoded[i] ^= 0x01;
    }
}

static void a_superblock_of_any_other_length_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };

    for (size_t len = 0; len < fixture->len; len++) {
        struct bytes cut = { fixture->encoded, len };
        assert_int_equal(superblock_decode(cut, &fixture->keys, &got, NULL), -EBADMSG);
    }
    fixture->len++;
    assert_int_equal(superblock_decode(encoded_of(fixture), &fixture->keys, &got, NULL), -EBADMSG);
}

static void another_key_of_the_same_generation_does_not_open_a_superblock(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };

    fixture->keys.keys[1].data[31] ^= 0x80;
    assert_int_equal(superblock_decode(encoded_of(fixture), &fixture->keys, &got, NULL), -EBADMSG);
}

static void a_missing_key_is_named_by_its_generation(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };
    struct key_set none = { .count = 0 };
    struct error err = { .code = 0 };

    assert_int_equal(superblock_decode(encoded_of(fixture), &none, &got, &err), -ENOKEY);
    assert_non_null(strstr(err.text, "generation 2"));
}

static void no_byte_of_the_name_key_stands_in_clear(void **state)
{
    struct fixture *fixture = *state;

    assert_null(memmem(fixture->encoded, fixture->len, fixture->sb.name_key.data, 8));
    assert_null(memmem(fixture->encoded, fixture->len, fixture->sb.chunk_key.data, 8));
    assert_null(memmem(fixture->encoded, fixture->len, fixture->keys.keys[1].data, 8));
}

static void a_block_size_that_is_no_power_of_two_is_refused(void **state)
{
    struct fixture *fixture = *state;

    fixture->sb.block_size = 10000;
    assert_int_equal(superblock_encode(&fixture->sb, key_set_find(&fixture->keys, 2),
                                       fixture->encoded, &fixture->len, NULL),
                     -EINVAL);
}

static void the_superblock_of_version_1_can_still_be_read(void **state)
{
    struct fixture *fixture = *state;
    struct superblock got = { .name_key = SECRET_INIT };
    struct buf saved = BUF_INIT;

    assert_int_equal(file_read(FORMATS_FOLDER "/superblock-v1.bin", SUPERBLOCK_MAX, &saved, NULL),
                     0);
    assert_int_equal(superblock_decode(buf_bytes(&saved), &fixture->keys, &got, NULL), 0);
    assert_same(&got, &fixture->sb);
    assert_same_secret(&got.name_key, &fixture->sb.name_key);
    assert_same_secret(&got.chunk_key, &fixture->sb.chunk_key);
    superblock_release(&got);
    buf_release(&saved);
}

static void a_key_set_keeps_foreign_keys_apart(void **state)
{
    struct key_set keys = { .count = 0 }, copy = { .count = 0 };
    const struct uuid one = { { 1 } }, other = { { 2 } };
    struct secret key = SECRET_INIT;
    (void)state;

    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    key.data[0] = 7;
    assert_int_equal(key_set_add_foreign(&keys, &one, 3, &key), 0);
    assert_int_equal(key_set_add_foreign(&keys, &one, 3, &key), -EEXIST);
    assert_int_equal(key_set_add_foreign(&keys, &one, 0, &key), -EINVAL);
    key.data[0] = 8;
    assert_int_equal(key_set_add_foreign(&keys, &other, 3, &key), 0);
    assert_int_equal(key_set_newest(&keys), 0);
    assert_null(key_set_find(&keys, 3));
    assert_null(key_set_find_foreign(&keys, &one, 2));
    assert_int_equal(key_set_copy(&copy, &keys), 0);
    key_set_release(&keys);
    assert_null(key_set_find_foreign(&keys, &one, 3));
    assert_int_equal(key_set_find_foreign(&copy, &one, 3)->data[0], 7);
    assert_int_equal(key_set_find_foreign(&copy, &other, 3)->data[0], 8);
    key_set_release(&copy);
    secret_release(&key);
}

static void add_foreign(struct key_set *keys, const struct uuid *origin, uint32_t generation,
                        uint8_t first)
{
    struct secret key = SECRET_INIT;

    sample_key(first, &key);
    assert_int_equal(key_set_add_foreign(keys, origin, generation, &key), 0);
    secret_release(&key);
}

static void foreign_keys_join_a_set_that_lacks_them_all_or_none(void **state)
{
    struct key_set keys = { .count = 0 }, more = { .count = 0 }, many = { .count = 0 };
    const struct uuid one = { { 1 } }, other = { { 2 } };
    (void)state;

    add_foreign(&keys, &one, 1, 7);
    add_foreign(&more, &other, 1, 8);
    add_foreign(&more, &one, 1, 7);
    assert_int_equal(key_set_join_foreign(&keys, &more), 0);
    assert_int_equal(keys.foreign_count, 2);
    assert_int_equal(key_set_find_foreign(&keys, &other, 1)->data[0], 8);
    assert_int_equal(key_set_join_foreign(&keys, &more), 0);
    assert_int_equal(keys.foreign_count, 2);

    /* The one that is missing comes first, and one that contradicts after it. */
    key_set_release(&more);
    add_foreign(&more, &other, 2, 9);
    add_foreign(&more, &one, 1, 6);
    assert_int_equal(key_set_join_foreign(&keys, &more), -EBADMSG);
    for (uint32_t i = 1; i < KEY_GENERATIONS_MAX; i++)
        add_foreign(&many, &other, i, i == 1 ? 8 : (uint8_t)i);
    add_foreign(&many, &one, 2, 1);
    assert_int_equal(key_set_join_foreign(&keys, &many), -ENOSPC);
    assert_int_equal(keys.foreign_count, 2);
    key_set_release(&keys);
    key_set_release(&more);
    key_set_release(&many);
}

static void *look_up(void *arg)
{
    static const struct uuid origin = { { 1 } };
    const struct key_set *keys = arg;
    size_t wrong = 0;

    for (uint32_t seen = 0; seen < KEY_GENERATIONS_MAX;) {
        const struct secret *key = key_set_find_foreign(keys, &origin, seen + 1);
        if (!key)
            continue;
        seen++;
        wrong += key->len != FS_KEY_LEN || key->data[0] != (uint8_t)seen;
    }
    return (void *)wrong;
}

static void foreign_keys_are_looked_up_while_others_are_added(void **state)
{
    struct key_set *keys = calloc(1, sizeof(*keys));
    const struct uuid origin = { { 1 } };
    pthread_t thread;
    void *wrong = NULL;
    (void)state;

    assert_non_null(keys);
    assert_int_equal(pthread_create(&thread, NULL, look_up, keys), 0);
    for (uint32_t i = 1; i <= KEY_GENERATIONS_MAX; i++) {
        struct key_set one = { .count = 0 };
        add_foreign(&one, &origin, i, (uint8_t)i);
        assert_int_equal(key_set_join_foreign(keys, &one), 0);
        key_set_release(&one);
    }
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    key_set_release(keys);
    free(keys);
}

static void a_key_set_keeps_its_generations_in_order(void **state)
{
    struct key_set keys = { .count = 0 };
    struct secret key = SECRET_INIT;
    (void)state;

    assert_int_equal(key_set_newest(&keys), 0);
    for (uint32_t generation = 3; generation > 0; generation--) {
        sample_key((uint8_t)generation, &key);
        assert_int_equal(key_set_add(&keys, generation, &key), 0);
    }
    assert_int_equal(key_set_add(&keys, 2, &key), -EEXIST);
    assert_int_equal(key_set_newest(&keys), 3);
    for (uint32_t generation = 1; generation <= 3; generation++) {
        assert_int_equal(keys.generations[generation - 1], generation);
        assert_int_equal(key_set_find(&keys, generation)->data[0], generation);
    }
    assert_null(key_set_find(&keys, 4));
    secret_release(&key);
    key_set_release(&keys);
}

static void a_copied_key_set_is_one_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    struct key_set copy = { .count = 0 };

    assert_int_equal(key_set_copy(&copy, &fixture->keys), 0);
    key_set_release(&fixture->keys);
    assert_int_equal(copy.count, 2);
    assert_int_equal(key_set_find(&copy, 2)->data[0], 0x50);
    key_set_release(&copy);
}

static void a_key_set_takes_no_more_than_its_maximum(void **state)
{
    struct key_set keys = { .count = 0 };
    struct secret key = SECRET_INIT;
    (void)state;

    sample_key(1, &key);
    for (uint32_t generation = 1; generation <= KEY_GENERATIONS_MAX; generation++)
        assert_int_equal(key_set_add(&keys, generation, &key), 0);
    assert_int_equal(key_set_add(&keys, KEY_GENERATIONS_MAX + 1, &key), -ENOSPC);
    secret_release(&key);
    key_set_release(&keys);
}

static int set_up_all(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_superblock_comes_back_with_its_keys),
        WITH_FIXTURE(peek_needs_no_key_and_gives_none),
        WITH_FIXTURE(every_altered_byte_of_a_superblock_is_found),
        WITH_FIXTURE(a_superblock_of_any_other_length_is_refused),
        WITH_FIXTURE(another_key_of_the_same_generation_does_not_open_a_superblock),
        WITH_FIXTURE(a_missing_key_is_named_by_its_generation),
        WITH_FIXTURE(no_byte_of_the_name_key_stands_in_clear),
        WITH_FIXTURE(a_block_size_that_is_no_power_of_two_is_refused),
        WITH_FIXTURE(the_superblock_of_version_1_can_still_be_read),
        cmocka_unit_test(a_key_set_keeps_its_generations_in_order),
        cmocka_unit_test(a_key_set_keeps_foreign_keys_apart),
        cmocka_unit_test(foreign_keys_join_a_set_that_lacks_them_all_or_none),
        cmocka_unit_test(foreign_keys_are_looked_up_while_others_are_added),
        WITH_FIXTURE(a_copied_key_set_is_one_of_its_own),
        cmocka_unit_test(a_key_set_takes_no_more_than_its_maximum),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
