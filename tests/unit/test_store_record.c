/* The record of an object store, and the file with its secret key: what is stored is read again,
 * also what earlier versions stored, and nothing else. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/store_record.h"

static char folder[] = "/tmp/coffer-store-record-XXXXXX";

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void set(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
}

/* What tests/formats/store-record-v3.bin holds; v1 has no site, and neither v1 nor v2 a mark. */
static void fill(struct store_record *record)
{
    struct s3_settings *s3 = &record->s3;

    record->kind = STORE_KIND_S3;
    record->site = STORE_SITE_REMOTE;
    record->created_ns = 1795774860123456789;
    set(record->name, sizeof(record->name), "backup");
    set(s3->hostname, sizeof(s3->hostname), "s3.example.org");
    s3->port = 9000;
    s3->is_plain_http = true;
    set(s3->bucket, sizeof(s3->bucket), "bucket");
    set(s3->region, sizeof(s3->region), "eu-west-1");
    set(s3->prefix, sizeof(s3->prefix), "host/one");
    set(s3->access_key_id, sizeof(s3->access_key_id), "AKIAEXAMPLE");
    s3->concurrency = 8;
    assert_int_equal(buf_assign(&s3->ca_cert_pem, text("a certificate")), 0);
    for (unsigned i = 0; i < UUID_LEN; i++) {
        record->secret_id.bytes[i] = (uint8_t)(i + 1);
        record->mark.bytes[i] = (uint8_t)(i + 0x21);
    }
    record->rates = (struct limit_rates){ .sent = 1000, .received = 2000, .removals = 3 };
}

static void must_be_filled(const struct store_record *record)
{
    CLEANUP(store_record_release) struct store_record wanted = STORE_RECORD_INIT;
    const struct s3_settings *s3 = &record->s3;

    fill(&wanted);
    assert_int_equal(record->kind, wanted.kind);
    assert_int_equal(record->created_ns, wanted.created_ns);
    assert_string_equal(record->name, wanted.name);
    assert_string_equal(record->path, "");
    assert_string_equal(s3->hostname, wanted.s3.hostname);
    assert_int_equal(s3->port, wanted.s3.port);
    assert_true(s3->is_plain_http);
    assert_string_equal(s3->bucket, wanted.s3.bucket);
    assert_string_equal(s3->region, wanted.s3.region);
    assert_string_equal(s3->prefix, wanted.s3.prefix);
    assert_string_equal(s3->access_key_id, wanted.s3.access_key_id);
    assert_int_equal(s3->concurrency, wanted.s3.concurrency);
    assert_int_equal(s3->ca_cert_pem.len, wanted.s3.ca_cert_pem.len);
    assert_memory_equal(s3->ca_cert_pem.data, wanted.s3.ca_cert_pem.data, s3->ca_cert_pem.len);
    assert_int_equal(s3->secret_key.len, 0);
    assert_true(uuid_equal(&record->secret_id, &wanted.secret_id));
    assert_memory_equal(&record->rates, &wanted.rates, sizeof(record->rates));
}

static void must_be_marked(const struct store_record *record, bool has_mark)
{
    CLEANUP(store_record_release) struct store_record wanted = STORE_RECORD_INIT;

    if (has_mark)
        fill(&wanted);
    assert_true(uuid_equal(&record->mark, &wanted.mark));
}

static void what_is_written_is_read_again_without_the_secret(void **state)
{
    CLEANUP(store_record_release) struct store_record written = STORE_RECORD_INIT;
    CLEANUP(store_record_release) struct store_record read = STORE_RECORD_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    (void)state;

    fill(&written);
    assert_int_equal(secret_assign(&written.s3.secret_key, text("not-to-be-written")), 0);
    assert_int_equal(store_record_encode(&written, &encoded, NULL), 0);
    assert_null(memmem(encoded.data, encoded.len, "not-to-be-written", 17));
    assert_int_equal(store_record_decode(buf_bytes(&encoded), &read, NULL), 0);
    must_be_filled(&read);
    must_be_marked(&read, true);
    assert_int_equal(read.site, STORE_SITE_REMOTE);
}

static void must_read(const char *fixture, enum store_site site, bool has_mark)
{
    CLEANUP(store_record_release) struct store_record read = STORE_RECORD_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    assert_int_equal(file_read(fixture, 65536, &encoded, NULL), 0);
    assert_int_equal(store_record_decode(buf_bytes(&encoded), &read, NULL), 0);
    must_be_filled(&read);
    assert_int_equal(read.site, site);
    must_be_marked(&read, has_mark);
}

static void each_version_is_read_and_the_first_is_of_the_local_site(void **state)
{
    (void)state;
    must_read(FORMATS_FOLDER "/store-record-v1.bin", STORE_SITE_LOCAL, false);
    must_read(FORMATS_FOLDER "/store-record-v2.bin", STORE_SITE_REMOTE, false);
    must_read(FORMATS_FOLDER "/store-record-v3.bin", STORE_SITE_REMOTE, true);
}

static void a_site_is_read_in_any_case_and_nothing_else_is_one(void **state)
{
    enum store_site site = STORE_SITE_LOCAL;
    struct error err = { .code = 0 };
    (void)state;

    assert_int_equal(store_site_parse("REMOTE", &site, NULL), 0);
    assert_int_equal(site, STORE_SITE_REMOTE);
    assert_int_equal(store_site_parse("local", &site, NULL), 0);
    assert_int_equal(site, STORE_SITE_LOCAL);
    assert_int_equal(store_site_parse("", &site, NULL), -EINVAL);
    assert_int_equal(store_site_parse("remote ", &site, &err), -EINVAL);
    assert_non_null(strstr(err.text, "give local or remote"));
}

static void what_is_cut_or_longer_or_newer_is_refused(void **state)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    (void)state;

    fill(&record);
    assert_int_equal(store_record_encode(&record, &encoded, NULL), 0);
    for (size_t len = 0; len < encoded.len; len++) {
        struct bytes cut = { encoded.data, len };
        int r = store_record_decode(cut, &record, NULL);
        assert_true(r == -EBADMSG || r == -EPROTONOSUPPORT);
    }
    assert_int_equal(buf_append(&encoded, text("x")), 0);
    assert_int_equal(store_record_decode(buf_bytes(&encoded), &record, NULL), -EBADMSG);
    encoded.len--;
    encoded.data[6] = 3; /* the type */
    assert_int_equal(store_record_decode(buf_bytes(&encoded), &record, NULL), -EBADMSG);
    encoded.data[6] = STORE_KIND_S3;
    encoded.data[8] = 2; /* the site */
    assert_int_equal(store_record_decode(buf_bytes(&encoded), &record, NULL), -EBADMSG);
    encoded.data[4] = 4; /* the version */
    assert_int_equal(store_record_decode(buf_bytes(&encoded), &record, NULL), -EPROTONOSUPPORT);
    must_be_filled(&record);
}

static void a_new_secret_is_a_new_file_and_files_without_a_record_go(void **state)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    struct uuid ids[2];
    char path[128];
    struct stat st;
    (void)state;

    fill(&record);
    for (unsigned i = 0; i < 2; i++) {
        char id[UUID_TEXT_SIZE];
        assert_int_equal(secret_assign(&record.s3.secret_key, text(i == 0 ? "old" : "new")), 0);
        assert_int_equal(store_secret_save(folder, &record, NULL), 0);
        ids[i] = record.secret_id;
        uuid_format(&ids[i], id);
        (void)snprintf(path, sizeof(path), "%s/object-stores/%s", folder, id);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    for (unsigned i = 0; i < 2; i++) {
        record.secret_id = ids[i];
        assert_int_equal(store_secret_load(folder, &record, NULL), 0);
        assert_true(
            secret_equal(secret_bytes(&record.s3.secret_key), text(i == 0 ? "old" : "new")));
    }
    assert_int_equal(store_secrets_tidy(folder, &ids[1], 1, NULL), 0);
    assert_int_equal(store_secret_load(folder, &record, NULL), 0);
    record.secret_id = ids[0];
    struct error err = { 0 };
    assert_int_equal(store_secret_load(folder, &record, &err), -ENOENT);
    assert_non_null(strstr(err.text, "give it again"));
    assert_int_equal(store_secret_remove(folder, &ids[0], NULL), 0); /* it need not be there */
    assert_int_equal(store_secret_remove(folder, &ids[1], NULL), 0);
}

static void names_and_paths_that_cannot_be_are_refused(void **state)
{
    static const char *const names[] = { "", "-a", ".a", "a b", "a/b", "\xc3\xa4" };
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    (void)state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        set(record.name, sizeof(record.name), names[i]);
        set(record.path, sizeof(record.path), "/srv");
        assert_int_equal(store_record_check(&record, NULL), -EINVAL);
    }
    set(record.name, sizeof(record.name), "a-b.c_D9");
    assert_int_equal(store_record_check(&record, NULL), 0);
    set(record.path, sizeof(record.path), "srv");
    assert_int_equal(store_record_check(&record, NULL), -EINVAL);
}

static int setup(void **state)
{
    char path[128];
    (void)state;

    if (secret_heap_init(NULL) < 0 || !mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/object-stores", folder);
    return folder_make(path, 0700, NULL);
}

static int teardown(void **state)
{
    char path[128];
    (void)state;

    (void)snprintf(path, sizeof(path), "%s/object-stores", folder);
    return rmdir(path) < 0 || rmdir(folder) < 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again_without_the_secret),
        cmocka_unit_test(each_version_is_read_and_the_first_is_of_the_local_site),
        cmocka_unit_test(a_site_is_read_in_any_case_and_nothing_else_is_one),
        cmocka_unit_test(what_is_cut_or_longer_or_newer_is_refused),
        cmocka_unit_test(a_new_secret_is_a_new_file_and_files_without_a_record_go),
        cmocka_unit_test(names_and_paths_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
