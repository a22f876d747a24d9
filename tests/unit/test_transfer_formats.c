/* The objects of Snap-To-Object, and locators. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "tests/support/transfer_samples.h"
#include "transfer/locator.h"

static const struct key_checks nothing_known = { .items = NULL };

static void expect_error(int r, int code, struct error *err)
{
    assert_int_equal(r, code);
    assert_int_equal(err->code, code);
    assert_true(strlen(err->text) > 20);
    err->text[0] = '\0';
}

/* --- locators --- */

static void sample_locator(struct locator *ret, char text[static LOCATOR_SIZE])
{
    for (unsigned i = 0; i < HASH_LEN; i++)
        ret->manifest[i] = (uint8_t)(7 + 37 * i);
    assert_int_equal(locator_format(ret, text, NULL), 0);
    assert_int_equal(strlen(text), LOCATOR_LEN);
}

static void a_locator_is_read_as_it_was_written(void **state)
{
    struct locator locator, found;
    char text[LOCATOR_SIZE], copied[LOCATOR_SIZE + 8];

    (void)state;
    sample_locator(&locator, text);
    assert_int_equal(locator_parse(text, &found, NULL), 0);
    assert_memory_equal(&found, &locator, sizeof(found));

    (void)snprintf(copied, sizeof(copied), "  %s\n", text);
    for (char *c = copied; *c; c++) {
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
        else if (*c == '0')
            *c = 'O';
    }
    memset(&found, 0, sizeof(found));
    assert_int_equal(locator_parse(copied, &found, NULL), 0);
    assert_memory_equal(&found, &locator, sizeof(found));
}

static void every_wrong_letter_of_a_locator_is_found(void **state)
{
    static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz";
    struct locator locator, found;
    char text[LOCATOR_SIZE];
    struct error err = { .code = 0 };

    (void)state;
    sample_locator(&locator, text);
    for (unsigned i = 0; i < LOCATOR_LEN; i++) {
        const char right = text[i];
        for (unsigned k = 0; k < sizeof(letters) - 1; k++) {
            text[i] = letters[k];
            if (letters[k] != right)
                assert_true(locator_parse(text, &found, &err) < 0);
        }
        text[i] = right;
    }
    for (unsigned i = 8; i + 1 < LOCATOR_LEN; i++) { /* two letters exchanged */
        const char left = text[i];
        if (left == text[i + 1])
            continue;
        text[i] = text[i + 1];
        text[i + 1] = left;
        assert_int_equal(locator_parse(text, &found, &err), -EINVAL);
        text[i + 1] = text[i];
        text[i] = left;
    }
}

static void what_is_no_locator_is_refused_with_a_sentence(void **state)
{
    static const char *const others[] = {
        "", " ", "coffer1-", "coffer0-0", "s3://bucket/locator", "coffer1", "1234abcd/d/s/1/spec/0"
    };
    struct locator locator, found;
    char text[LOCATOR_SIZE], longer[LOCATOR_SIZE + 2];
    struct error err = { .code = 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        expect_error(locator_parse(others[i], &found, &err), -EINVAL, &err);
    sample_locator(&locator, text);
    (void)snprintf(longer, sizeof(longer), "%s0", text);
    expect_error(locator_parse(longer, &found, &err), -EINVAL, &err);
    longer[LOCATOR_LEN - 1] = '\0';
    expect_error(locator_parse(longer, &found, &err), -EINVAL, &err);
    text[6] = '2';
    expect_error(locator_parse(text, &found, &err), -EPROTONOSUPPORT, &err);
}

/* --- names --- */

static void names_of_objects_are_read_as_they_were_written(void **state)
{
    struct bucket bucket;
    char text[OBJECT_NAME_MAX + 1];
    struct bucket_name found;
    uint8_t id[BUCKET_ID_LEN];

    (void)state;
    memset(id, 0x5a, sizeof(id));
    assert_int_equal(bucket_init(&bucket, NULL, "dept/a", NULL), 0);
    for (int kind = BUCKET_PACK; kind <= BUCKET_MARK; kind++) {
        struct bucket_name name = kind == BUCKET_REFERENCE
                                      ? reference_name(&sample_upload, 0x01020304)
                                      : bucket_name_of((enum bucket_kind)kind, id);
        bucket_object_name(&bucket, &name, text);
        assert_int_equal(bucket_object_parse(&bucket, text, &found), 0);
        assert_int_equal(bucket_name_compare(&name, &found), 0);
        text[strlen(text) + 1] = '\0';
        text[strlen(text)] = '0';
        assert_int_equal(bucket_object_parse(&bucket, text, &found), -EINVAL);
        text[strlen(text) - 2] = '\0';
        assert_int_equal(bucket_object_parse(&bucket, text, &found), -EINVAL);
    }
    const struct bucket_name part = reference_name(&sample_upload, 0x01020304);
    assert_int_equal(reference_part(&part), 0x01020304);
    assert_int_equal(bucket_object_parse(&bucket, "dept/b/coffer-1/heads/00", &found), -EINVAL);
}

static void a_prefix_is_checked(void **state)
{
    static const char *const bad[] = { "/", "a//b", "../a", "a/./b", "A", "a b" };
    struct bucket bucket;
    struct error err = { .code = 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error(bucket_init(&bucket, NULL, bad[i], &err), -EINVAL, &err);
    assert_int_equal(bucket_init(&bucket, NULL, "", NULL), 0);
    assert_string_equal(bucket.prefix, "");
    assert_int_equal(bucket_init(&bucket, NULL, "a/b/", NULL), 0);
    assert_string_equal(bucket.prefix, "a/b/");
}

static void a_set_of_names_is_sorted_and_searched(void **state)
{
    CLEANUP(name_set_release) struct name_set set = NAME_SET_INIT;
    uint8_t id[BUCKET_ID_LEN] = { 0 };

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        id[0] = (uint8_t)(i * 7 % 251);
        const struct bucket_name name = bucket_name_of(BUCKET_CHUNK, id);
        assert_int_equal(name_set_add(&set, &name, i), 0);
    }
    name_set_sort(&set);
    assert_int_equal(set.count, 251);
    id[0] = 250;
    struct bucket_name name = bucket_name_of(BUCKET_CHUNK, id);
    assert_non_null(name_set_find(&set, &name));
    name.kind = BUCKET_MANIFEST;
    assert_null(name_set_find(&set, &name));
}

/* --- what was written by version 1 --- */

struct fixture {
    struct transfer_keys *keys;
    struct key_set key_set;
    struct buf head, manifest, reference, mark, chunk, locator;
};

static void load(const char *name, struct buf *ret)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/snapshot-%s-v1.bin", FORMATS_FOLDER, name);
    assert_int_equal(file_read(path, 1 << 20, ret, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    transfer_sample_keys(&fixture->keys);
    sample_keys(&fixture->key_set);
    load("head", &fixture->head);
    load("manifest", &fixture->manifest);
    load("reference", &fixture->reference);
    load("mark", &fixture->mark);
    load("chunk", &fixture->chunk);
    load("locator", &fixture->locator);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    transfer_keys_free(fixture->keys);
    key_set_release(&fixture->key_set);
    buf_release(&fixture->head);
    buf_release(&fixture->manifest);
    buf_release(&fixture->reference);
    buf_release(&fixture->mark);
    buf_release(&fixture->chunk);
    buf_release(&fixture->locator);
    free(fixture);
    return 0;
}

static void fixture_locator(const struct fixture *fixture, struct locator *ret)
{
    char text[LOCATOR_SIZE] = "";

    assert_int_equal(fixture->locator.len, LOCATOR_LEN);
    memcpy(text, fixture->locator.data, LOCATOR_LEN);
    assert_int_equal(locator_parse(text, ret, NULL), 0);
}

static void a_snapshot_of_version_1_is_read(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    CLEANUP(manifest_release) struct manifest expected = MANIFEST_INIT;
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    CLEANUP(transfer_keys_freep) struct transfer_keys *keys = NULL;
    struct snapshot_head head;
    struct locator locator;

    fixture_locator(fixture, &locator);
    assert_int_equal(head_decode(buf_bytes(&fixture->head), &head, NULL), 0);
    assert_memory_equal(head.manifest, locator.manifest, HASH_LEN);
    assert_int_equal(head.manifest_len, fixture->manifest.len);
    assert_string_equal(head.about.filesystem, "projects");
    assert_string_equal(head.about.access_point, "@GMT_2023.11.14-22.13.20");
    assert_int_equal(head.about.needed_count, 2);
    assert_int_equal(head_verify(buf_bytes(&fixture->head), &fixture->key_set, nothing_known,
                                 &superblock, &keys, NULL),
                     0);
    assert_int_equal(
        manifest_open(keys, locator.manifest, buf_bytes(&fixture->manifest), &manifest, NULL), 0);
    transfer_sample_manifest(&expected);
    assert_memory_equal(&manifest.about, &expected.about, sizeof(manifest.about));
    assert_int_equal(manifest.chunk_count, 2);
    assert_int_equal(manifest.pack_count, 3);
    assert_int_equal(manifest.records, 12);
    assert_true(set_hash_equal(&manifest.set, &expected.set));
    assert_int_equal(
        dump_key_compare(manifest_first_key(&manifest, 1), manifest_first_key(&expected, 1)), 0);
}

static void the_small_objects_of_version_1_are_read(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    CLEANUP(buf_release) struct buf expected = BUF_INIT;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    uint8_t name[CHUNK_NAME_LEN];
    struct reference_head reference;
    struct removing_mark mark, expected_mark;

    assert_int_equal(reference_decode(buf_bytes(&fixture->reference), &reference, &names), 0);
    assert_int_equal(reference.kind, REFERENCE_UPLOAD);
    assert_true(uuid_equal(&reference.fs, &sample_uuid));
    assert_int_equal(names.count, 3);
    assert_int_equal(mark_decode(buf_bytes(&fixture->mark), &mark), 0);
    transfer_sample_mark(&expected_mark);
    assert_memory_equal(&mark, &expected_mark, sizeof(mark));

    transfer_sample_chunk(&expected);
    assert_int_equal(chunk_name(fixture->keys, buf_bytes(&expected), name), 0);
    assert_int_equal(chunk_open(fixture->keys, name, buf_bytes(&fixture->chunk), &plain), 0);
    assert_int_equal(plain.len, expected.len);
    assert_memory_equal(plain.data, expected.data, plain.len);
}

/* --- what was altered --- */

static int verify_head(const struct fixture *fixture, struct bytes head)
{
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    CLEANUP(transfer_keys_freep) struct transfer_keys *keys = NULL;

    return head_verify(head, &fixture->key_set, nothing_known, &superblock, &keys, NULL);
}

/* Of a foreign generation nothing is believed before it is unwrapped, but the ring's MACs cover
 * all of it. */
static void every_altered_byte_of_a_head_is_found(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < fixture->head.len; i++) {
        fixture->head.data[i] ^= 0x04;
        assert_true(verify_head(fixture, buf_bytes(&fixture->head)) < 0);
        fixture->head.data[i] ^= 0x04;
    }
    for (size_t len = 0; len < fixture->head.len; len += 7)
        assert_true(verify_head(fixture, (struct bytes){ fixture->head.data, len }) < 0);
    assert_int_equal(verify_head(fixture, buf_bytes(&fixture->head)), 0);
}

static void an_altered_manifest_is_found_by_its_hash_and_by_its_seal(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    struct bytes object = buf_bytes(&fixture->manifest);
    uint8_t name[HASH_LEN];
    struct locator locator;
    struct error err = { .code = 0 };

    fixture_locator(fixture, &locator);
    for (size_t i = 0; i < object.len; i++) {
        fixture->manifest.data[i] ^= 0x80;
        expect_error(manifest_open(fixture->keys, locator.manifest, object, &manifest, &err),
                     -EBADMSG, &err);
        assert_int_equal(hash_sha256(&object, 1, name), 0); /* a forged locator, too */
        assert_true(manifest_open(fixture->keys, name, object, &manifest, &err) < 0);
        fixture->manifest.data[i] ^= 0x80;
    }
    object.len--;
    expect_error(manifest_open(fixture->keys, locator.manifest, object, &manifest, &err), -EBADMSG,
                 &err);
}

static void an_altered_reference_or_mark_is_found(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    struct reference_head reference;
    struct removing_mark mark;

    for (size_t i = 0; i < fixture->reference.len; i++) {
        fixture->reference.data[i] ^= 0x01;
        assert_int_equal(reference_decode(buf_bytes(&fixture->reference), &reference, &names),
                         -EBADMSG);
        fixture->reference.data[i] ^= 0x01;
        assert_int_equal(
            reference_decode((struct bytes){ fixture->reference.data, i }, &reference, &names),
            -EBADMSG);
    }
    for (size_t i = 0; i < fixture->mark.len; i++) {
        fixture->mark.data[i] ^= 0x01;
        assert_int_equal(mark_decode(buf_bytes(&fixture->mark), &mark), -EBADMSG);
        fixture->mark.data[i] ^= 0x01;
    }
}

static void a_chunk_opens_under_its_own_name_and_key_only(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    CLEANUP(buf_release) struct buf again = BUF_INIT;
    uint8_t name[CHUNK_NAME_LEN];

    transfer_sample_chunk(&plain);
    assert_int_equal(chunk_name(fixture->keys, buf_bytes(&plain), name), 0);
    assert_int_equal(chunk_seal(fixture->keys, name, buf_bytes(&plain), &again), 0);
    assert_int_equal(again.len, fixture->chunk.len); /* convergent */
    assert_memory_equal(again.data, fixture->chunk.data, again.len);
    name[5] ^= 1;
    assert_int_equal(chunk_open(fixture->keys, name, buf_bytes(&fixture->chunk), &plain), -EBADMSG);
    /* Sealed under a name that is not that of its content. */
    assert_int_equal(chunk_seal(fixture->keys, name, buf_bytes(&plain), &again), 0);
    assert_int_equal(chunk_open(fixture->keys, name, buf_bytes(&again), &plain), -EBADMSG);
}

/* --- other keys and rings --- */

static void chunks_of_two_generations_or_filesystems_have_nothing_in_common(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(transfer_keys_freep) struct transfer_keys *other = NULL;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct superblock superblock;
    uint8_t name[CHUNK_NAME_LEN], other_name[CHUNK_NAME_LEN];

    sample_superblock(&superblock);
    superblock.generation = 1;
    assert_int_equal(transfer_keys_new(&superblock, key_set_find(&fixture->key_set, 1), &other), 0);
    superblock_release(&superblock);
    transfer_sample_chunk(&plain);
    assert_int_equal(chunk_name(fixture->keys, buf_bytes(&plain), name), 0);
    assert_int_equal(chunk_name(other, buf_bytes(&plain), other_name), 0);
    assert_memory_not_equal(name, other_name, CHUNK_NAME_LEN);
    assert_int_equal(chunk_open(other, name, buf_bytes(&fixture->chunk), &plain), -EBADMSG);
}

static void a_head_takes_a_ring_that_was_wrapped_anew(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf ring_bytes = BUF_INIT;
    CLEANUP(buf_release) struct buf changed = BUF_INIT;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    struct snapshot_head head;

    assert_int_equal(head_decode(buf_bytes(&fixture->head), &head, NULL), 0);
    assert_int_equal(key_ring_peek(head.ring, &ring, NULL), 0);
    struct wrapped_key wrapped = ring.generations[1].current.key;
    wrapped.key_version++;
    key_generation_replace(&ring.generations[1], &wrapped, 5);
    assert_int_equal(key_ring_encode(&ring, &fixture->key_set, &ring_bytes, NULL), 0);
    assert_int_equal(
        head_exchange_ring(buf_bytes(&fixture->head), buf_bytes(&ring_bytes), &changed, NULL), 0);
    assert_int_equal(verify_head(fixture, buf_bytes(&changed)), 0);
}

static void a_head_of_other_keys_is_not_believed(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(key_set_release) struct key_set others = { .count = 0 };
    CLEANUP(superblock_release)
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    CLEANUP(transfer_keys_freep) struct transfer_keys *keys = NULL;
    struct error err = { .code = 0 };

    expect_error(
        head_verify(buf_bytes(&fixture->head), &others, nothing_known, &superblock, &keys, &err),
        -ENOKEY, &err);
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    sample_key(0x77, &key);
    assert_int_equal(key_set_add(&others, 2, &key), 0);
    expect_error(
        head_verify(buf_bytes(&fixture->head), &others, nothing_known, &superblock, &keys, &err),
        -EBADMSG, &err);
}

static void names_with_control_characters_are_not_uploaded(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    uint8_t name[HASH_LEN];
    struct error err = { .code = 0 };

    transfer_sample_manifest(&manifest);
    manifest.about.snapshot[1] = '\n';
    expect_error(manifest_seal(&manifest, fixture->keys, &object, name, &err), -EINVAL, &err);
}

static void a_manifest_sealed_twice_is_the_same_and_another_one_has_another_nonce(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    const size_t nonce_at = MANIFEST_HEAD_LEN - AEAD_NONCE_LEN;
    uint8_t name[HASH_LEN];

    transfer_sample_manifest(&manifest);
    assert_int_equal(manifest_seal(&manifest, fixture->keys, &object, name, NULL), 0);
    assert_int_equal(object.len, fixture->manifest.len);
    assert_memory_equal(object.data, fixture->manifest.data, object.len);
    manifest.about.size++;
    assert_int_equal(manifest_seal(&manifest, fixture->keys, &object, name, NULL), 0);
    assert_memory_not_equal(object.data + nonce_at, fixture->manifest.data + nonce_at,
                            AEAD_NONCE_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_locator_is_read_as_it_was_written),
        cmocka_unit_test(every_wrong_letter_of_a_locator_is_found),
        cmocka_unit_test(what_is_no_locator_is_refused_with_a_sentence),
        cmocka_unit_test(names_of_objects_are_read_as_they_were_written),
        cmocka_unit_test(a_prefix_is_checked),
        cmocka_unit_test(a_set_of_names_is_sorted_and_searched),
        cmocka_unit_test_setup_teardown(a_snapshot_of_version_1_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(the_small_objects_of_version_1_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(every_altered_byte_of_a_head_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(an_altered_manifest_is_found_by_its_hash_and_by_its_seal,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_altered_reference_or_mark_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chunk_opens_under_its_own_name_and_key_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            chunks_of_two_generations_or_filesystems_have_nothing_in_common, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_takes_a_ring_that_was_wrapped_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_of_other_keys_is_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(names_with_control_characters_are_not_uploaded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_manifest_sealed_twice_is_the_same_and_another_one_has_another_nonce, setup, teardown),
    };

    if (secret_heap_init(NULL) < 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
