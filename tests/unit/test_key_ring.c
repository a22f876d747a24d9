/* The key ring: what it holds, which ring is believed, how it changes; and the wrapped blob. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_io.h"
#include "keyring/key_blob.h"
#include "tests/support/keyring_samples.h"

/* A filesystem, its ring and superblock encoded, and what the registry knows of it. */
struct fixture {
    struct key_set keys;
    struct key_ring ring;
    struct buf encoded;
    uint8_t superblock[SUPERBLOCK_MAX];
    struct key_check known[2];
    struct key_ring_evidence evidence;
};

static void encode_superblock(const struct superblock *sb, const struct key_set *keys,
                              uint8_t to[static SUPERBLOCK_MAX], struct bytes *ret)
{
    size_t len;

    assert_int_equal(superblock_encode(sb, key_set_find(keys, sb->generation), to, &len, NULL), 0);
    *ret = (struct bytes){ to, len };
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct superblock sb;

    assert_non_null(fixture);
    sample_keys(&fixture->keys);
    sample_ring(&fixture->ring);
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &fixture->encoded, NULL), 0);
    sample_superblock(&sb);
    encode_superblock(&sb, &fixture->keys, fixture->superblock, &fixture->evidence.superblock);
    superblock_release(&sb);
    fixture->evidence.keys = &fixture->keys;
    for (uint32_t i = 0; i < 2; i++) {
        fixture->known[i].generation = i + 1;
        memcpy(fixture->known[i].value, key_ring_find(&fixture->ring, NULL, i + 1)->check,
               KEY_CHECK_LEN);
    }
    fixture->evidence.known = (struct key_checks){ fixture->known, 2 };
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    key_set_release(&fixture->keys);
    key_ring_release(&fixture->ring);
    buf_release(&fixture->encoded);
    free(fixture);
    return 0;
}

static int verify(const struct fixture *fixture, struct error *err)
{
    struct key_ring got = KEY_RING_INIT;

    int r = key_ring_verify(buf_bytes(&fixture->encoded), &fixture->evidence, &got, err);
    key_ring_release(&got);
    return r;
}

static void assert_same_wrapping(const struct key_wrapping *a, const struct key_wrapping *b)
{
    assert_int_equal(a->wrapped_ns, b->wrapped_ns);
    assert_string_equal(a->key.provider, b->key.provider);
    assert_string_equal(a->key.addresses, b->key.addresses);
    assert_string_equal(a->key.kms_namespace, b->key.kms_namespace);
    assert_string_equal(a->key.mount_path, b->key.mount_path);
    assert_string_equal(a->key.key_name, b->key.key_name);
    assert_int_equal(a->key.key_version, b->key.key_version);
    assert_int_equal(a->key.mode, b->key.mode);
    assert_int_equal(a->key.iv_len, b->key.iv_len);
    assert_memory_equal(a->key.iv, b->key.iv, WRAPPED_IV_MAX);
    assert_int_equal(a->key.tag_len, b->key.tag_len);
    assert_memory_equal(a->key.tag, b->key.tag, WRAPPED_TAG_MAX);
    assert_int_equal(a->key.blob_len, b->key.blob_len);
    assert_memory_equal(a->key.blob, b->key.blob, WRAPPED_BLOB_MAX);
}

static void assert_same_ring(const struct key_ring *a, const struct key_ring *b, bool with_names)
{
    assert_true(uuid_equal(&a->uuid, &b->uuid));
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct key_generation *x = &a->generations[i];
        const struct key_generation *y = &b->generations[i];
        assert_int_equal(x->number, y->number);
        assert_true(uuid_equal(&x->origin, &y->origin));
        assert_int_equal(x->state, y->state);
        assert_int_equal(x->created_ns, y->created_ns);
        assert_memory_equal(x->check, y->check, KEY_CHECK_LEN);
        assert_int_equal(x->has_names, y->has_names);
        if (with_names)
            assert_memory_equal(x->names, y->names, SEALED_NAMES_LEN);
        assert_same_wrapping(&x->current, &y->current);
        assert_int_equal(x->has_previous, y->has_previous);
        assert_same_wrapping(&x->previous, &y->previous);
    }
}

static void a_ring_comes_back_whole_and_verifies(void **state)
{
    struct fixture *fixture = *state;
    struct key_ring got = KEY_RING_INIT;

    assert_int_equal(key_ring_verify(buf_bytes(&fixture->encoded), &fixture->evidence, &got, NULL),
                     0);
    assert_int_equal(got.sequence, 42);
    assert_int_equal(got.count, 3);
    assert_same_ring(&got, &fixture->ring, true);
    key_ring_release(&got);
}

static void peek_needs_no_key(void **state)
{
    struct fixture *fixture = *state;
    struct key_ring got = KEY_RING_INIT;

    assert_int_equal(key_ring_peek(buf_bytes(&fixture->encoded), &got, NULL), 0);
    assert_same_ring(&got, &fixture->ring, true);
    key_ring_release(&got);
}

static void every_altered_byte_of_a_ring_is_found(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < fixture->encoded.len; i++) {
        struct error err = { .code = 0 };
        fixture->encoded.data[i] ^= 0x01;
        int r = verify(fixture, &err);
        assert_true(r == -EBADMSG || (i >= 8 && i < 12 && r == -EPROTONOSUPPORT));
        assert_string_not_equal(err.text, "");
        fixture->encoded.data[i] ^= 0x01;
    }
    assert_int_equal(verify(fixture, NULL), 0);
}

static void a_ring_of_any_other_length_is_refused(void **state)
{
    struct fixture *fixture = *state;
    size_t whole = fixture->encoded.len;

    for (size_t len = 0; len < whole; len++) {
        fixture->encoded.len = len;
        assert_int_equal(verify(fixture, NULL), -EBADMSG);
    }
    fixture->encoded.len = whole;
    assert_int_equal(buf_append(&fixture->encoded, (struct bytes){ (const uint8_t *)"", 1 }), 0);
    assert_int_equal(verify(fixture, NULL), -EBADMSG);
}

/* Whoever may encrypt with the master key can wrap a key of his own for this filesystem, and
 * knows that key; but not the key that was there. */
struct forgery {
    struct key_ring ring;
    struct key_set keys;
    struct buf encoded;
    uint8_t superblock[SUPERBLOCK_MAX];
    struct bytes superblock_bytes;
};

static void forge(struct forgery *forgery, const struct fixture *fixture, uint32_t number,
                  bool with_real_ones)
{
    struct secret key = SECRET_INIT;
    struct superblock sb;

    memset(forgery, 0, sizeof(*forgery));
    sample_key(0xe0, &key);
    if (with_real_ones)
        assert_int_equal(key_ring_peek(buf_bytes(&fixture->encoded), &forgery->ring, NULL), 0);
    else
        key_ring_init(&forgery->ring, &sample_uuid);
    forgery->ring.sequence = 1000;
    const struct key_generation_new new = {
        .number = number,
        .key = &key,
        .wrapped = &fixture->ring.generations[0].current.key,
    };
    assert_int_equal(key_ring_add(&forgery->ring, &new, NULL), 0);
    assert_int_equal(key_set_add(&forgery->keys, number, &key), 0);
    sample_superblock(&sb);
    sb.generation = number;
    encode_superblock(&sb, &forgery->keys, forgery->superblock, &forgery->superblock_bytes);
    superblock_release(&sb);
    secret_release(&key);
}

static void encode_forgery(struct forgery *forgery)
{
    assert_int_equal(key_ring_encode(&forgery->ring, &forgery->keys, &forgery->encoded, NULL), 0);
}

static void forgery_release(struct forgery *forgery)
{
    key_ring_release(&forgery->ring);
    key_set_release(&forgery->keys);
    buf_release(&forgery->encoded);
}

static void a_forged_ring_does_not_open_the_real_superblock(void **state)
{
    struct fixture *fixture = *state;
    struct forgery forgery;
    struct key_ring got = KEY_RING_INIT;

    forge(&forgery, fixture, 2, false);
    encode_forgery(&forgery);
    const struct key_ring_evidence evidence = { .superblock = fixture->evidence.superblock,
                                                .keys = &forgery.keys };
    assert_int_equal(key_ring_verify(buf_bytes(&forgery.encoded), &evidence, &got, NULL), -EBADMSG);
    forgery_release(&forgery);
}

static void a_forged_ring_with_a_forged_superblock_contradicts_the_registry(void **state)
{
    struct fixture *fixture = *state;
    struct key_ring got = KEY_RING_INIT;

    /* 2: another key than the one that is known; 9: a generation that nobody knows. */
    for (uint32_t number = 2; number <= 9; number += 7) {
        struct forgery forgery;
        struct error err = { .code = 0 };
        forge(&forgery, fixture, number, false);
        encode_forgery(&forgery);
        const struct key_ring_evidence evidence = { .superblock = forgery.superblock_bytes,
                                                    .keys = &forgery.keys,
                                                    .known = fixture->evidence.known };
        assert_int_equal(key_ring_verify(buf_bytes(&forgery.encoded), &evidence, &got, &err),
                         -EBADMSG);
        assert_non_null(strstr(err.text, "forged"));
        forgery_release(&forgery);
    }
}

/* Even without a registry: the real keys are in the ring, so they are unwrapped, and the MACs
 * under them cannot be right. */
static void a_forged_generation_beside_the_real_ones_lacks_their_macs(void **state)
{
    struct fixture *fixture = *state;
    struct forgery forgery;
    struct key_set guessed = { .count = 0 };
    struct key_set all = { .count = 0 };
    struct key_ring got = KEY_RING_INIT;
    struct secret key = SECRET_INIT;

    forge(&forgery, fixture, 3, true);
    assert_int_equal(key_set_copy(&guessed, &forgery.keys), 0);
    sample_key(0x01, &key);
    for (uint32_t number = 1; number <= 2; number++)
        assert_int_equal(key_set_add(&guessed, number, &key), 0);
    assert_int_equal(key_ring_encode(&forgery.ring, &guessed, &forgery.encoded, NULL), 0);

    assert_int_equal(key_set_copy(&all, &fixture->keys), 0);
    assert_int_equal(key_set_add(&all, 3, key_set_find(&forgery.keys, 3)), 0);
    const struct key_ring_evidence evidence = { .superblock = forgery.superblock_bytes,
                                                .keys = &all };
    assert_int_equal(key_ring_verify(buf_bytes(&forgery.encoded), &evidence, &got, NULL), -EBADMSG);
    secret_release(&key);
    key_set_release(&guessed);
    key_set_release(&all);
    forgery_release(&forgery);
}

static void a_superblock_of_another_filesystem_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct superblock sb;

    sample_superblock(&sb);
    sb.uuid = sample_origin;
    encode_superblock(&sb, &fixture->keys, fixture->superblock, &fixture->evidence.superblock);
    assert_int_equal(verify(fixture, NULL), -EBADMSG);
    superblock_release(&sb);
}

static void a_ring_with_another_name_key_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct superblock sb;
    struct error err = { .code = 0 };

    sample_superblock(&sb);
    sb.name_key.data[0] ^= 1;
    encode_superblock(&sb, &fixture->keys, fixture->superblock, &fixture->evidence.superblock);
    assert_int_equal(verify(fixture, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "name key"));
    superblock_release(&sb);
}

/* The two copies and what is chosen of them. */
static int choose(const struct fixture *fixture, struct bytes registry, struct bytes store,
                  struct key_ring_choice *ret, struct error *err)
{
    const struct key_ring_copy copies[KEY_RING_PLACES] = {
        [KEY_RING_IN_REGISTRY] = { registry, &fixture->evidence },
        [KEY_RING_IN_STORE] = { store, &fixture->evidence },
    };

    return key_ring_choose(copies, ret, err);
}

static void two_equal_copies_need_no_repair(void **state)
{
    struct fixture *fixture = *state;
    struct bytes encoded = buf_bytes(&fixture->encoded);
    struct key_ring_choice choice;

    assert_int_equal(choose(fixture, encoded, encoded, &choice, NULL), 0);
    assert_int_equal(choice.ring.sequence, 42);
    assert_false(choice.must_repair);
    assert_false(choice.keep_aside);
    key_ring_choice_release(&choice);
}

static void the_higher_sequence_number_wins_wherever_it_is(void **state)
{
    struct fixture *fixture = *state;
    struct key_ring_choice choice;
    struct buf newer = BUF_INIT;

    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &newer, NULL), 0);
    assert_int_equal(
        choose(fixture, buf_bytes(&newer), buf_bytes(&fixture->encoded), &choice, NULL), 0);
    assert_int_equal(choice.place, KEY_RING_IN_REGISTRY);
    assert_int_equal(choice.ring.sequence, 43);
    assert_true(choice.must_repair);
    assert_false(choice.keep_aside);
    key_ring_choice_release(&choice);
    assert_int_equal(
        choose(fixture, buf_bytes(&fixture->encoded), buf_bytes(&newer), &choice, NULL), 0);
    assert_int_equal(choice.place, KEY_RING_IN_STORE);
    assert_int_equal(choice.ring.sequence, 43);
    assert_true(choice.must_repair);
    key_ring_choice_release(&choice);
    buf_release(&newer);
}

static void a_damaged_or_lost_copy_is_repaired_from_the_other(void **state)
{
    struct fixture *fixture = *state;
    struct bytes good = buf_bytes(&fixture->encoded);
    struct key_ring_choice choice;
    struct buf damaged = BUF_INIT;

    assert_int_equal(buf_assign(&damaged, good), 0);
    damaged.data[damaged.len / 2] ^= 0x40;
    assert_int_equal(choose(fixture, buf_bytes(&damaged), good, &choice, NULL), 0);
    assert_int_equal(choice.place, KEY_RING_IN_STORE);
    assert_true(choice.must_repair);
    assert_true(choice.keep_aside);
    assert_int_equal(choice.other.code, -EBADMSG);
    key_ring_choice_release(&choice);

    assert_int_equal(choose(fixture, good, (struct bytes){ NULL, 0 }, &choice, NULL), 0);
    assert_int_equal(choice.place, KEY_RING_IN_REGISTRY);
    assert_true(choice.must_repair);
    assert_false(choice.keep_aside);
    assert_int_equal(choice.other.code, -ENOENT);
    key_ring_choice_release(&choice);
    buf_release(&damaged);
}

static void a_forged_copy_with_a_high_sequence_number_loses_and_is_kept_aside(void **state)
{
    struct fixture *fixture = *state;
    struct forgery forgery;
    struct key_ring_choice choice;

    forge(&forgery, fixture, 2, false);
    encode_forgery(&forgery);
    const struct key_ring_evidence forged = { .superblock = forgery.superblock_bytes,
                                              .keys = &forgery.keys,
                                              .known = fixture->evidence.known };
    const struct key_ring_copy copies[KEY_RING_PLACES] = {
        [KEY_RING_IN_REGISTRY] = { buf_bytes(&fixture->encoded), &fixture->evidence },
        [KEY_RING_IN_STORE] = { buf_bytes(&forgery.encoded), &forged },
    };
    assert_int_equal(key_ring_choose(copies, &choice, NULL), 0);
    assert_int_equal(choice.place, KEY_RING_IN_REGISTRY);
    assert_int_equal(choice.ring.sequence, 42);
    assert_true(choice.must_repair);
    assert_true(choice.keep_aside);
    key_ring_choice_release(&choice);
    forgery_release(&forgery);
}

static void without_a_ring_that_verifies_both_reasons_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct key_ring_choice choice;
    struct error err = { .code = 0 };

    assert_int_equal(choose(fixture, (struct bytes){ NULL, 0 },
                            (struct bytes){ (const uint8_t *)"nonsense", 8 }, &choice, &err),
                     -EBADMSG);
    assert_non_null(strstr(err.text, "there is no key ring"));
    assert_non_null(strstr(err.text, "its beginning is altered"));
}

static void the_old_blob_stays_as_previous_until_it_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct key_generation *generation = key_ring_find(&fixture->ring, NULL, 2);
    const struct wrapped_key proved = generation->current.key;
    struct wrapped_key second = proved;
    struct wrapped_key third = proved;

    second.key_version = 2;
    third.key_version = 3;
    key_generation_replace(generation, &second, 5);
    assert_true(generation->has_previous);
    assert_int_equal(generation->previous.key.key_version, proved.key_version);
    assert_int_equal(generation->current.key.key_version, 2);
    /* The second was never proved, so the first one stays in reserve. */
    key_generation_replace(generation, &third, 6);
    assert_int_equal(generation->previous.key.key_version, proved.key_version);
    assert_int_equal(generation->current.key.key_version, 3);
    key_generation_drop_previous(generation);
    assert_false(generation->has_previous);
    assert_int_equal(generation->current.key.key_version, 3);
}

static void adding_a_generation_retires_the_older_ones(void **state)
{
    struct fixture *fixture = *state;
    struct secret key = SECRET_INIT;

    sample_key(0x70, &key);
    struct key_generation_new new = { .number = 3,
                                      .key = &key,
                                      .wrapped = &fixture->ring.generations[1].current.key };
    assert_int_equal(key_ring_add(&fixture->ring, &new, NULL), 0);
    assert_int_equal(key_ring_own_count(&fixture->ring), 3);
    assert_int_equal(key_ring_find(&fixture->ring, NULL, 2)->state, KEY_STATE_RETIRED);
    assert_int_equal(key_ring_find(&fixture->ring, NULL, 3)->state, KEY_STATE_ACTIVE);
    assert_non_null(key_ring_find(&fixture->ring, &sample_origin, 7));
    new.number = 2;
    assert_int_equal(key_ring_add(&fixture->ring, &new, NULL), -EEXIST);

    /* The superblock is still sealed under generation 2, and the ring with 3 verifies. */
    assert_int_equal(key_set_add(&fixture->keys, 3, &key), 0);
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &fixture->encoded, NULL), 0);
    assert_int_equal(verify(fixture, NULL), 0);
    secret_release(&key);
}

static void only_what_is_not_the_newest_can_be_removed(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(key_ring_remove(&fixture->ring, NULL, 2, NULL), -EBUSY);
    assert_int_equal(key_ring_remove(&fixture->ring, NULL, 5, NULL), -ENOENT);
    assert_int_equal(key_ring_remove(&fixture->ring, &sample_origin, 7, NULL), 0);
    assert_int_equal(key_ring_remove(&fixture->ring, NULL, 1, NULL), 0);
    assert_int_equal(fixture->ring.count, 1);
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &fixture->encoded, NULL), 0);
    assert_int_equal(verify(fixture, NULL), 0);
}

static void a_ring_is_not_written_without_every_own_key(void **state)
{
    struct fixture *fixture = *state;
    struct key_set one = { .count = 0 };
    struct buf encoded = BUF_INIT;

    assert_int_equal(key_set_add(&one, 2, key_set_find(&fixture->keys, 2)), 0);
    assert_int_equal(key_ring_encode(&fixture->ring, &one, &encoded, NULL), -ENOKEY);
    assert_int_equal(fixture->ring.sequence, 42);
    key_set_release(&one);
}

static void a_ring_that_would_be_too_long_is_not_written(void **state)
{
    struct fixture *fixture = *state;
    struct wrapped_key wrapped = fixture->ring.generations[0].current.key;
    struct secret key = SECRET_INIT;
    struct buf encoded = BUF_INIT;

    sample_key(0x70, &key);
    wrapped.blob_len = WRAPPED_BLOB_MAX;
    for (uint32_t number = 3; number <= 62; number++) {
        const struct key_generation_new new = { .number = number,
                                                .key = &key,
                                                .wrapped = &wrapped };
        assert_int_equal(key_ring_add(&fixture->ring, &new, NULL), 0);
        assert_int_equal(key_set_add(&fixture->keys, number, &key), 0);
    }
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &encoded, NULL), -ENOSPC);
    secret_release(&key);
}

static void a_ring_has_room_only_if_all_of_it_can_be_wrapped_anew(void **state)
{
    struct fixture *fixture = *state;
    struct wrapped_key wrapped = fixture->ring.generations[0].current.key;
    const struct uuid origin = { { 1 } };
    struct secret key = SECRET_INIT;
    struct buf encoded = BUF_INIT;
    uint32_t number = 0;
    int r = 0;

    sample_key(0x70, &key);
    wrapped.blob_len = WRAPPED_BLOB_MAX;
    while (r == 0) {
        const struct key_generation_new new = {
            .number = ++number, .origin = &origin, .key = &key, .wrapped = &wrapped
        };
        assert_int_equal(key_ring_add(&fixture->ring, &new, NULL), 0);
        r = key_ring_check_room(&fixture->ring, NULL);
    }
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &encoded, NULL), 0);
    buf_release(&encoded);
    for (uint32_t i = 0; i < fixture->ring.count; i++)
        key_generation_replace(&fixture->ring.generations[i],
                               &fixture->ring.generations[i].current.key, 1);
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &encoded, NULL), -ENOSPC);
    assert_int_equal(key_ring_remove(&fixture->ring, &origin, number, NULL), 0);
    assert_int_equal(key_ring_check_room(&fixture->ring, NULL), 0);
    assert_int_equal(key_ring_encode(&fixture->ring, &fixture->keys, &encoded, NULL), 0);
    buf_release(&encoded);
    secret_release(&key);
}

static void the_names_of_a_generation_open_with_its_key_only(void **state)
{
    struct fixture *fixture = *state;
    const struct key_generation *generation = key_ring_find(&fixture->ring, NULL, 1);
    struct secret name_key = SECRET_INIT, chunk_key = SECRET_INIT;

    assert_int_equal(key_generation_open_names(generation, key_set_find(&fixture->keys, 2),
                                               &name_key, &chunk_key, NULL),
                     -EBADMSG);
    assert_int_equal(key_generation_open_names(generation, key_set_find(&fixture->keys, 1),
                                               &name_key, &chunk_key, NULL),
                     0);
    assert_int_equal(name_key.data[0], 0x90);
    assert_int_equal(chunk_key.data[0], 0xb0);
    secret_release(&name_key);
    secret_release(&chunk_key);
}

static void an_unwrapped_blob_is_checked_against_its_generation(void **state)
{
    struct fixture *fixture = *state;
    const struct secret *key = key_set_find(&fixture->keys, 1);
    struct secret blob = SECRET_INIT, got = SECRET_INIT;

    assert_int_equal(key_blob_encode(&sample_uuid, 1, key, &blob, NULL), 0);
    assert_int_equal(key_generation_open(key_ring_find(&fixture->ring, NULL, 1), &blob, &got, NULL),
                     0);
    assert_true(secret_equal(secret_bytes(&got), secret_bytes(key)));
    secret_release(&got);
    /* Of another generation, of another filesystem, and another key of the right generation. */
    assert_int_equal(key_generation_open(key_ring_find(&fixture->ring, NULL, 2), &blob, &got, NULL),
                     -EBADMSG);
    assert_int_equal(
        key_generation_open(key_ring_find(&fixture->ring, &sample_origin, 7), &blob, &got, NULL),
        -EBADMSG);
    assert_int_equal(key_blob_encode(&sample_uuid, 2, key, &blob, NULL), 0);
    assert_int_equal(key_generation_open(key_ring_find(&fixture->ring, NULL, 2), &blob, &got, NULL),
                     -EBADMSG);
    assert_null(got.data);
    secret_release(&blob);
}

static void every_altered_byte_of_a_blob_is_found(void **state)
{
    struct fixture *fixture = *state;
    struct secret blob = SECRET_INIT, got = SECRET_INIT;
    struct error err = { .code = 0 };

    assert_int_equal(key_blob_encode(&sample_uuid, 1, key_set_find(&fixture->keys, 1), &blob, NULL),
                     0);
    assert_int_equal(blob.len, KEY_BLOB_LEN);
    for (size_t i = 0; i < blob.len; i++) {
        blob.data[i] ^= 0x80;
        assert_int_equal(key_blob_decode(&blob, &sample_uuid, 1, &got, &err), -EBADMSG);
        blob.data[i] ^= 0x80;
    }
    assert_int_equal(key_blob_decode(&blob, &sample_uuid, 1, &got, NULL), 0);
    secret_release(&got);
    secret_truncate(&blob, KEY_BLOB_LEN - 1);
    assert_int_equal(key_blob_decode(&blob, &sample_uuid, 1, &got, NULL), -EBADMSG);
    secret_release(&blob);
}

static void no_key_stands_in_clear_in_a_ring(void **state)
{
    struct fixture *fixture = *state;
    const struct buf *encoded = &fixture->encoded;
    static const uint8_t firsts[] = { 0x10, 0x50, 0x90, 0xb0, 0xd0 };

    for (size_t i = 0; i < sizeof(firsts); i++) {
        struct secret key = SECRET_INIT;
        sample_key(firsts[i], &key);
        assert_null(memmem(encoded->data, encoded->len, key.data, 8));
        secret_release(&key);
    }
}

static void the_ring_of_version_1_can_still_be_read(void **state)
{
    struct fixture *fixture = *state;
    struct key_ring got = KEY_RING_INIT;
    struct buf saved = BUF_INIT;

    assert_int_equal(file_read(FORMATS_FOLDER "/key-ring-v1.bin", KEY_RING_MAX, &saved, NULL), 0);
    assert_int_equal(key_ring_verify(buf_bytes(&saved), &fixture->evidence, &got, NULL), 0);
    assert_same_ring(&got, &fixture->ring, false);
    key_ring_release(&got);
    buf_release(&saved);
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
        WITH_FIXTURE(a_ring_comes_back_whole_and_verifies),
        WITH_FIXTURE(peek_needs_no_key),
        WITH_FIXTURE(every_altered_byte_of_a_ring_is_found),
        WITH_FIXTURE(a_ring_of_any_other_length_is_refused),
        WITH_FIXTURE(a_forged_ring_does_not_open_the_real_superblock),
        WITH_FIXTURE(a_forged_ring_with_a_forged_superblock_contradicts_the_registry),
        WITH_FIXTURE(a_forged_generation_beside_the_real_ones_lacks_their_macs),
        WITH_FIXTURE(a_superblock_of_another_filesystem_is_refused),
        WITH_FIXTURE(a_ring_with_another_name_key_is_refused),
        WITH_FIXTURE(two_equal_copies_need_no_repair),
        WITH_FIXTURE(the_higher_sequence_number_wins_wherever_it_is),
        WITH_FIXTURE(a_damaged_or_lost_copy_is_repaired_from_the_other),
        WITH_FIXTURE(a_forged_copy_with_a_high_sequence_number_loses_and_is_kept_aside),
        WITH_FIXTURE(without_a_ring_that_verifies_both_reasons_are_told),
        WITH_FIXTURE(the_old_blob_stays_as_previous_until_it_is_dropped),
        WITH_FIXTURE(adding_a_generation_retires_the_older_ones),
        WITH_FIXTURE(only_what_is_not_the_newest_can_be_removed),
        WITH_FIXTURE(a_ring_is_not_written_without_every_own_key),
        WITH_FIXTURE(a_ring_that_would_be_too_long_is_not_written),
        WITH_FIXTURE(a_ring_has_room_only_if_all_of_it_can_be_wrapped_anew),
        WITH_FIXTURE(the_names_of_a_generation_open_with_its_key_only),
        WITH_FIXTURE(an_unwrapped_blob_is_checked_against_its_generation),
        WITH_FIXTURE(every_altered_byte_of_a_blob_is_found),
        WITH_FIXTURE(no_key_stands_in_clear_in_a_ring),
        WITH_FIXTURE(the_ring_of_version_1_can_still_be_read),
    };
    return cmocka_run_group_tests(tests, set_up_all, NULL);
}
