/* Recovery copies of keys: sealed to certificates, read again, and imported with crashes between.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/file_io.h"
#include "crypto/cms.h"
#include "keyring/key_blob.h"
#include "keyring/key_export.h"
#include "tests/support/control_case.h"
#include "tests/support/keyring_samples.h"

struct custodian {
    struct buf key;
    struct buf certificate;
};

static void take_bio(BIO *bio, struct buf *ret)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);

    assert_int_equal(buf_assign(ret, (struct bytes){ (const uint8_t *)data, (size_t)len }), 0);
    (void)BIO_free(bio);
}

/* A self-signed certificate, good from and until so many seconds from now. */
static void custodian_init(struct custodian *ret, const char *name, long from_s, long until_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    BIO *key_pem = BIO_new(BIO_s_mem());
    BIO *pem = BIO_new(BIO_s_mem());

    assert_non_null(key);
    assert_true(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                           (const unsigned char *)name, -1, -1, 0));
    assert_true(X509_set_issuer_name(certificate, X509_get_subject_name(certificate)));
    assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), from_s));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), until_s));
    assert_true(X509_set_pubkey(certificate, key));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_true(PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL));
    assert_true(PEM_write_bio_X509(pem, certificate));
    *ret = (struct custodian){ .key = BUF_INIT, .certificate = BUF_INIT };
    take_bio(key_pem, &ret->key);
    take_bio(pem, &ret->certificate);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void custodian_release(struct custodian *custodian)
{
    buf_release(&custodian->key);
    buf_release(&custodian->certificate);
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static int open_copy(const struct buf *copy, const struct custodian *custodian, struct secret *ret)
{
    return cms_open(buf_bytes(copy), buf_bytes(&custodian->key), 100, ret, NULL);
}

static void what_is_sealed_opens_with_that_key_only(void **state)
{
    CLEANUP(custodian_release) struct custodian one;
    CLEANUP(custodian_release) struct custodian other;
    CLEANUP(buf_release) struct buf copy = BUF_INIT;
    CLEANUP(secret_release) struct secret back = SECRET_INIT;
    char recipients[200];

    (void)state;
    custodian_init(&one, "one", -100, 1000);
    custodian_init(&other, "other", -100, 1000);
    assert_int_equal(
        cms_recipients(buf_bytes(&one.certificate), recipients, sizeof(recipients), NULL), 0);
    assert_non_null(strstr(recipients, "CN=one, SHA-256 "));
    assert_int_equal(cms_seal(buf_bytes(&one.certificate), text("the keys"), &copy, NULL), 0);
    assert_int_equal(open_copy(&copy, &one, &back), 0);
    assert_int_equal(back.len, strlen("the keys"));
    assert_memory_equal(back.data, "the keys", back.len);
    assert_int_equal(open_copy(&copy, &other, &back), -EACCES);
    assert_int_equal(cms_open(buf_bytes(&copy), buf_bytes(&one.key), 7, &back, NULL), -EINVAL);
    assert_int_equal(cms_open(text("x"), buf_bytes(&one.key), 7, &back, NULL), -EINVAL);
    assert_int_equal(cms_open(buf_bytes(&copy), text("x"), 7, &back, NULL), -EINVAL);
}

static void an_altered_copy_does_not_open(void **state)
{
    CLEANUP(custodian_release) struct custodian one;
    CLEANUP(buf_release) struct buf copy = BUF_INIT;

    (void)state;
    custodian_init(&one, "one", -100, 1000);
    assert_int_equal(cms_seal(buf_bytes(&one.certificate), text("the keys"), &copy, NULL), 0);
    for (size_t i = 0; i < copy.len; i++) {
        CLEANUP(secret_release) struct secret back = SECRET_INIT;
        copy.data[i] ^= 1;
        int r = open_copy(&copy, &one, &back);
        copy.data[i] ^= 1;
        /* What is no part of the message, like the form of a line's end, may change. */
        assert_true(r < 0 || (back.len == 8 && memcmp(back.data, "the keys", 8) == 0));
    }
}

static void only_certificates_that_are_valid_now_are_taken(void **state)
{
    static const long times[][2] = { { -1000, -10 }, { 10, 1000 } };
    char recipients[200];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(custodian_release) struct custodian one;
        custodian_init(&one, "one", times[i][0], times[i][1]);
        assert_int_equal(
            cms_recipients(buf_bytes(&one.certificate), recipients, sizeof(recipients), NULL),
            -EINVAL);
    }
    assert_int_equal(cms_recipients(text("x"), recipients, sizeof(recipients), NULL), -EINVAL);
}

/* The keys of "data", as they come out of its copy. */
static void export_keys(struct fixture *fixture, struct secret *ret)
{
    CLEANUP(custodian_release) struct custodian custodian;
    CLEANUP(buf_release) struct buf copy = BUF_INIT;
    char lacking[KEY_LACKING_SIZE] = "not told";
    struct error err = { .code = 0 };

    custodian_init(&custodian, "one", -100, 1000);
    must(control_key_export(fixture->control, "data", buf_bytes(&custodian.certificate), &copy,
                            lacking, &err),
         &err);
    assert_string_equal(lacking, "");
    must(cms_open(buf_bytes(&copy), buf_bytes(&custodian.key), KEY_EXPORT_MAX, ret, &err), &err);
}

static const char *local_key_of(const struct fs_view *view)
{
    static char uuid[UUID_TEXT_SIZE];

    uuid_format(&view->uuid, uuid);
    return uuid;
}

static void no_altered_or_cut_copy_is_imported(void **state)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    struct fixture *fixture = *state;
    struct fs_view view;

    must_add(fixture, "data");
    export_keys(fixture, &keys);
    for (size_t i = 0; i < keys.len; i++) {
        struct bytes cut = { .data = keys.data, .len = i };
        assert_true(control_key_import(fixture->control, "data", cut, true, &view, NULL) < 0);
        keys.data[i] ^= 1;
        assert_true(control_key_import(fixture->control, "data", secret_bytes(&keys), true, &view,
                                       NULL) < 0);
        keys.data[i] ^= 1;
    }
    must_start(fixture, "data");
}

static void lose_local_key(struct fixture *fixture)
{
    char uuid[UUID_TEXT_SIZE];
    struct error err = { .code = 0 };
    struct fs_view view = view_of(fixture, "data");

    uuid_format(&view.uuid, uuid);
    must(kms_remove_local_key(fixture->control->kms, uuid, &err), &err);
}

static void a_lost_key_comes_back_from_its_copy_also_after_a_crash(void **state)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view view;

    must_add(fixture, "data");
    export_keys(fixture, &keys);
    lose_local_key(fixture);
    assert_true(control_start(fixture->control, "data", NULL, &view, NULL) < 0);
    fixture->crash_at = STEP_RING_WRITTEN;
    assert_true(
        control_key_import(fixture->control, "data", secret_bytes(&keys), true, &view, NULL) < 0);
    fixture->crash_at = STEP_COUNT;
    reopen_control(fixture);
    must_start(fixture, "data"); /* what was written opens already */
    must_stop(fixture, "data");
    must(control_key_import(fixture->control, "data", secret_bytes(&keys), true, &view, &err),
         &err);
    must_start(fixture, "data");
    assert_event(fixture, "key-imported");
}

static void an_export_is_refused_where_it_is_not_allowed(void **state)
{
    CLEANUP(custodian_release) struct custodian custodian;
    CLEANUP(buf_release) struct buf copy = BUF_INIT;
    struct fixture *fixture = *state;
    char lacking[KEY_LACKING_SIZE];

    must_add(fixture, "data");
    custodian_init(&custodian, "one", -100, 1000);
    fixture->control->allows_key_export = false;
    assert_int_equal(control_key_export(fixture->control, "data", buf_bytes(&custodian.certificate),
                                        &copy, lacking, NULL),
                     -EPERM);
    assert_int_equal(copy.len, 0);
}

/* The registry and what wraps are lost; a crash between two steps loses neither store nor copy. */
static void a_filesystem_is_adopted_with_a_copy(void **state)
{
    static const enum control_step steps[] = { STEP_ADOPT_RECORDED, STEP_RING_WRITTEN, STEP_COUNT };
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    struct fixture *fixture = *state;

    must_add(fixture, "data");
    export_keys(fixture, &keys);
    const struct fs_view lost = view_of(fixture, "data");
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct fs_adopt adopt = { .name = "data",
                                  .meta_url = lost.meta_url,
                                  .store_url = lost.store_url };
        struct error err = { .code = 0 };
        struct fs_view view;
        must(kms_remove_local_key(fixture->control->kms, local_key_of(&lost), &err), &err);
        must(registry_remove(fixture->control->registry, &lost.uuid, &err), &err);
        reopen_control(fixture);
        assert_true(control_adopt(fixture->control, &adopt, &view, NULL) < 0);
        assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);
        adopt.keys = secret_bytes(&keys);
        assert_int_equal(control_adopt(fixture->control, &adopt, &view, NULL), -ENOKEY);
        assert_int_equal(control_get(fixture->control, "data", &view, NULL), -ENOENT);

        adopt.allow_no_kms = true;
        fixture->crash_at = steps[i];
        int r = control_adopt(fixture->control, &adopt, &view, &err);
        fixture->crash_at = STEP_COUNT;
        if (steps[i] == STEP_COUNT) {
            must(r, &err);
        } else {
            assert_true(r < 0);
            reopen_control(fixture);
            must(control_key_import(fixture->control, "data", adopt.keys, true, &view, &err), &err);
        }
        assert_true(uuid_equal(&view.uuid, &lost.uuid));
        must_start(fixture, "data");
        must_stop(fixture, "data");
    }
}

static void the_copy_of_another_filesystem_adopts_nothing(void **state)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view view;

    must_add(fixture, "other");
    must_add(fixture, "data");
    export_keys(fixture, &keys);
    const struct fs_view lost = view_of(fixture, "other");
    must(registry_remove(fixture->control->registry, &lost.uuid, &err), &err);
    reopen_control(fixture);
    const struct fs_adopt adopt = { .name = "again",
                                    .meta_url = lost.meta_url,
                                    .store_url = lost.store_url,
                                    .keys = secret_bytes(&keys),
                                    .allow_no_kms = true };
    assert_int_equal(control_adopt(fixture->control, &adopt, &view, NULL), -EINVAL);
    assert_int_equal(control_get(fixture->control, "again", &view, NULL), -ENOENT);
}

/* The keys of keyring_samples.h. */
static void assert_is_sample_copy(struct bytes bytes)
{
    static const uint8_t firsts[] = { 0x10, 0x50, 0xd0 };
    static const uint32_t generations[] = { 1, 2, 7 };
    CLEANUP(free_ptr) struct key_export *copy = calloc(1, sizeof(*copy));
    struct error err = { .code = 0 };

    must(key_export_decode(bytes, copy, &err), &err);
    assert_true(uuid_equal(&copy->uuid, &sample_uuid));
    assert_int_equal(copy->count, 3);
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(secret_release) struct secret expected = SECRET_INIT;
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        const struct uuid *origin = i < 2 ? &sample_uuid : &sample_origin;
        const struct secret *blob = key_export_find(copy, origin, generations[i]);
        assert_non_null(blob);
        must(key_blob_decode(blob, origin, generations[i], &key, &err), &err);
        sample_key(firsts[i], &expected);
        assert_true(secret_equal(secret_bytes(&key), secret_bytes(&expected)));
    }
    key_export_release(copy);
}

static void a_copy_of_version_1_is_opened_and_read(void **state)
{
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    CLEANUP(buf_release) struct buf key = BUF_INIT;
    CLEANUP(secret_release) struct secret opened = SECRET_INIT;
    struct error err = { .code = 0 };

    (void)state;
    must(file_read(FORMATS_FOLDER "/key-export-v1.bin", KEY_EXPORT_MAX, &plain, &err), &err);
    assert_is_sample_copy(buf_bytes(&plain));
    must(file_read(FORMATS_FOLDER "/key-export-v1.pem", CMS_MESSAGE_MAX, &sealed, &err), &err);
    must(file_read(FORMATS_FOLDER "/recovery-key.pem", 65536, &key, &err), &err);
    must(cms_open(buf_bytes(&sealed), buf_bytes(&key), KEY_EXPORT_MAX, &opened, &err), &err);
    assert_is_sample_copy(secret_bytes(&opened));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATE_TEST(a_filesystem_is_adopted_with_a_copy),
        STATE_TEST(the_copy_of_another_filesystem_adopts_nothing),
        cmocka_unit_test(a_copy_of_version_1_is_opened_and_read),
        STATE_TEST(what_is_sealed_opens_with_that_key_only),
        STATE_TEST(an_altered_copy_does_not_open),
        STATE_TEST(only_certificates_that_are_valid_now_are_taken),
        STATE_TEST(no_altered_or_cut_copy_is_imported),
        STATE_TEST(a_lost_key_comes_back_from_its_copy_also_after_a_crash),
        STATE_TEST(an_export_is_refused_where_it_is_not_allowed),
    };

    if (secret_heap_init(NULL) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
