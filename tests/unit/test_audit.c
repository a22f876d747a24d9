/* The audit log: what is added, and that each way to tamper with it shows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/clean_text.h"
#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/audit.h"
#include "crypto/random.h"
#include "crypto/secret.h"

#define KIND "audit/"
#define HEAD "audit-head"
#define ENTRIES 6u

struct fixture {
    struct registry *registry;
    struct audit *audit;
    char damage[AUDIT_TEXT_SIZE];
    char faults[4096]; /* what the last verification reported */
};

static void must(int r, const struct error *err)
{
    if (r < 0)
        fail_msg("%s: %s", strerrordesc_np(-r), err->text);
}

static void reopen(struct fixture *fixture)
{
    struct error err = { .code = 0 };

    audit_close(fixture->audit);
    fixture->audit = NULL;
    must(audit_open(fixture->registry, &fixture->audit, fixture->damage, &err), &err);
}

static void add(struct fixture *fixture, const char *filesystem, int result)
{
    static const struct wrapped_key wrapped = { .provider = "vault",
                                                .addresses = "https://vault:8200",
                                                .mount_path = "transit",
                                                .key_name = "master",
                                                .key_version = 3 };
    struct audit_note note = { .operation = AUDIT_CREATE,
                               .filesystem = filesystem,
                               .key = audit_key_of(&wrapped),
                               .result = result,
                               .text = result < 0 ? "the KMS is sealed" : NULL };
    struct error err = { .code = 0 };

    must(audit_add(fixture->audit, &note, 1, &err), &err);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct error err = { .code = 0 };

    assert_non_null(fixture);
    must(registry_open("memory:", &fixture->registry, &err), &err);
    reopen(fixture);
    *state = fixture;
    return 0;
}

static int set_up_with_entries(void **state)
{
    (void)set_up(state);
    for (unsigned i = 0; i < ENTRIES; i++)
        add(*state, "data", 0);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    audit_close(fixture->audit);
    registry_close(fixture->registry);
    free(fixture);
    return 0;
}

static void on_fault(uint64_t number, const char *text, void *arg)
{
    struct fixture *fixture = arg;
    size_t used = strlen(fixture->faults);

    (void)snprintf(fixture->faults + used, sizeof(fixture->faults) - used, "%llu: %s\n",
                   (unsigned long long)number, text);
}

static struct audit_verdict verify(struct fixture *fixture, const struct audit_head *kept)
{
    struct audit_verdict verdict;
    struct error err = { .code = 0 };

    fixture->faults[0] = '\0';
    must(audit_verify(fixture->audit, kept, on_fault, fixture, &verdict, &err), &err);
    return verdict;
}

static void must_find(struct fixture *fixture, uint64_t faults, const char *text)
{
    struct audit_verdict verdict = verify(fixture, NULL);

    if (verdict.faults != faults || !strstr(fixture->faults, text))
        fail_msg("%llu faults: %s", (unsigned long long)verdict.faults, fixture->faults);
}

/* ------------------------------------------------------------------ access to what is stored */

static int copy_value(uint64_t number, struct bytes value, void *arg)
{
    (void)number;
    return buf_assign(arg, value);
}

static void get_stored(struct fixture *fixture, uint64_t number, struct buf *ret)
{
    assert_int_equal(
        registry_each_entry(fixture->registry, KIND, number, number + 1, copy_value, ret, NULL), 0);
    assert_true(ret->len > 0);
}

static void put_stored(struct fixture *fixture, uint64_t number, struct bytes value)
{
    struct registry_entries entries = {
        .kind = KIND, .first = number, .values = &value, .count = 1
    };

    assert_int_equal(registry_append(fixture->registry, &entries, NULL), 0);
}

/* Leaves entries first to last only. */
static void keep_stored(struct fixture *fixture, uint64_t first, uint64_t last)
{
    struct registry_entries entries = { .kind = KIND, .forget_below = UINT64_MAX };
    struct buf kept[ENTRIES + 1] = { BUF_INIT };

    for (uint64_t n = first; n <= last; n++)
        get_stored(fixture, n, &kept[n]);
    assert_int_equal(registry_append(fixture->registry, &entries, NULL), 0);
    for (uint64_t n = first; n <= last; n++) {
        put_stored(fixture, n, buf_bytes(&kept[n]));
        buf_release(&kept[n]);
    }
}

static void delete_stored(struct fixture *fixture, uint64_t number)
{
    struct buf after[ENTRIES + 1] = { BUF_INIT };

    for (uint64_t n = number + 1; n <= ENTRIES; n++)
        get_stored(fixture, n, &after[n]);
    if (number > 1)
        keep_stored(fixture, 1, number - 1);
    for (uint64_t n = number + 1; n <= ENTRIES; n++) {
        put_stored(fixture, n, buf_bytes(&after[n]));
        buf_release(&after[n]);
    }
}

/* A forger who knows the format: another text, and the right hash over it. */
static void forge(struct fixture *fixture, uint64_t number)
{
    CLEANUP(buf_release) struct buf stored = BUF_INIT;
    CLEANUP(free_ptr) struct audit_entry *entry = calloc(1, sizeof(*entry));
    uint8_t forged[AUDIT_ENTRY_MAX];
    uint8_t hash[HASH_LEN];
    size_t len = 0;

    get_stored(fixture, number, &stored);
    assert_int_equal(audit_entry_decode(buf_bytes(&stored), entry, hash, NULL), 0);
    (void)snprintf(entry->result, sizeof(entry->result), "EACCES");
    assert_int_equal(audit_entry_encode(entry, forged, &len, hash, NULL), 0);
    put_stored(fixture, number, (struct bytes){ .data = forged, .len = len });
}

/* ------------------------------------------------------------------ the tests */

static void an_entry_survives_encoding_and_no_altered_length_is_read(void **state)
{
    CLEANUP(free_ptr) struct audit_entry *entries = calloc(2, sizeof(*entries));
    uint8_t encoded[AUDIT_ENTRY_MAX];
    uint8_t hash[2][HASH_LEN];
    size_t len = 0;

    (void)state;
    entries[0].number = 7;
    entries[0].time_ns = -1;
    entries[0].is_user = true;
    entries[0].uid = 1000;
    random_uuid(&entries[0].uuid);
    random_bytes(entries[0].previous, HASH_LEN);
    (void)snprintf(entries[0].operation, sizeof(entries[0].operation), "rewrap");
    (void)snprintf(entries[0].filesystem, sizeof(entries[0].filesystem), "data");
    (void)snprintf(entries[0].key.key_name, sizeof(entries[0].key.key_name), "new");
    (void)snprintf(entries[0].old_key.key_name, sizeof(entries[0].old_key.key_name), "old");
    entries[0].key.version = 2;
    entries[0].old_key.version = 1;
    (void)snprintf(entries[0].result, sizeof(entries[0].result), "ok");
    assert_int_equal(audit_entry_encode(&entries[0], encoded, &len, hash[0], NULL), 0);
    assert_int_equal(audit_entry_decode((struct bytes){ .data = encoded, .len = len }, &entries[1],
                                        hash[1], NULL),
                     0);
    assert_memory_equal(&entries[0], &entries[1], sizeof(entries[0]));
    assert_memory_equal(hash[0], hash[1], HASH_LEN);
    size_t unnamed_len = len;
    (void)snprintf(entries[0].user, sizeof(entries[0].user), "alice");
    assert_int_equal(audit_entry_encode(&entries[0], encoded, &len, hash[0], NULL), 0);
    assert_int_equal(len, unnamed_len + 2 + strlen("alice"));
    assert_int_equal(audit_entry_decode((struct bytes){ .data = encoded, .len = len }, &entries[1],
                                        hash[1], NULL),
                     0);
    assert_memory_equal(&entries[0], &entries[1], sizeof(entries[0]));
    for (size_t cut = 0; cut < len; cut++)
        assert_true(audit_entry_decode((struct bytes){ .data = encoded, .len = cut }, &entries[1],
                                       hash[1], NULL) < 0);
}

/* Written by versions 1 and 2, and to be read for ever. */
static void entries_of_all_versions_are_read_and_are_a_chain(void **state)
{
    static const struct uuid instance = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                            16 } };
    static const char *const files[] = { FORMATS_FOLDER "/audit-entry-1-v1.bin",
                                         FORMATS_FOLDER "/audit-entry-2-v1.bin",
                                         FORMATS_FOLDER "/audit-entry-3-v2.bin" };
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) struct audit_entry *entries = calloc(3, sizeof(*entries));
    struct audit_chain chain = { .number = 0 };
    uint8_t hash[HASH_LEN];

    assert_int_equal(audit_chain_begin(&instance, chain.hash), 0);
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(buf_release) struct buf encoded = BUF_INIT;
        assert_int_equal(file_read(files[i], AUDIT_ENTRY_MAX, &encoded, NULL), 0);
        audit_chain_step(&chain, i + 1, buf_bytes(&encoded), on_fault, fixture);
        assert_int_equal(audit_entry_decode(buf_bytes(&encoded), &entries[i], hash, NULL), 0);
    }
    assert_int_equal(chain.faults, 0);
    assert_true(entries[2].is_user);
    assert_string_equal(entries[2].user, "alice");
    assert_string_equal(entries[2].operation, "user-role");
    const struct audit_entry *entry = &entries[1];
    assert_string_equal(entry->user, "");
    assert_string_equal(entry->operation, "rewrap");
    assert_string_equal(entry->filesystem, "data");
    assert_string_equal(entry->key.key_name, "42");
    assert_string_equal(entry->old_key.key_name, "master");
    assert_int_equal(entry->old_key.version, 3);
    assert_string_equal(entry->result, "EACCES");
    assert_string_equal(entry->text, "permission denied");
    assert_int_equal(entry->time_ns, 1795788001000000000);
}

static void the_largest_entry_fits(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) char *text = malloc(2000);
    struct error err = { .code = 0 };

    memset(text, 'x', 1999);
    text[1999] = '\0';
    struct audit_key key = { .provider = text,
                             .addresses = text,
                             .kms_namespace = text,
                             .mount_path = text,
                             .key_name = text };
    struct audit_note note = {
        .operation = AUDIT_REWRAP, .filesystem = text, .key = key, .old_key = key, .text = text
    };
    must(audit_add(fixture->audit, &note, 1, &err), &err);
    assert_int_equal(verify(fixture, NULL).faults, 0);
}

static void what_was_added_is_listed_in_order_with_who_and_what(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    struct journal_query query = { .limit = 10 };
    size_t count = 0;

    audit_act_for((struct audit_actor){ .is_user = true, .uid = 1234 });
    add(fixture, "one", 0);
    audit_act_for((struct audit_actor){ .is_user = false });
    add(fixture, "two", -EAGAIN);
    assert_int_equal(audit_list(fixture->audit, &query, &items, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_int_equal(items[0].entry.number, 1);
    assert_string_equal(items[0].entry.filesystem, "one");
    assert_string_equal(items[0].entry.operation, "create");
    assert_string_equal(items[0].entry.result, "ok");
    assert_string_equal(items[0].entry.key.key_name, "master");
    assert_int_equal(items[0].entry.key.version, 3);
    assert_true(items[0].entry.is_user);
    assert_int_equal(items[0].entry.uid, 1234);
    assert_false(items[1].entry.is_user);
    assert_string_equal(items[1].entry.result, "EAGAIN");
    assert_string_equal(items[1].entry.text, "the KMS is sealed");
    assert_memory_equal(items[1].entry.previous, items[0].hash, HASH_LEN);
}

static void the_newest_are_listed_and_filters_choose(void **state)
{
    struct fixture *fixture = *state;
    struct journal_query queries[] = {
        { .limit = 3 },
        { .limit = 2, .before = 5 },
        { .limit = 1000, .filesystem = "rare" },
        { .limit = 1000, .type = "rewrap" },
    };
    static const struct {
        size_t count;
        uint64_t first;
    } expected[] = { { 3, 998 }, { 2, 3 }, { 2, 1 }, { 0, 0 } };

    for (unsigned i = 1; i <= 1000; i++)
        add(fixture, i == 1 || i == 600 ? "rare" : "data", 0);
    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        CLEANUP(free_ptr) struct audit_listed *items = NULL;
        size_t count = 0;
        assert_int_equal(audit_list(fixture->audit, &queries[i], &items, &count, NULL), 0);
        assert_int_equal(count, expected[i].count);
        if (count > 0)
            assert_int_equal(items[0].entry.number, expected[i].first);
    }
}

static void many_notes_at_once_are_one_chain(void **state)
{
    struct fixture *fixture = *state;
    struct audit_note notes[20];
    struct error err = { .code = 0 };

    for (size_t i = 0; i < 20; i++)
        notes[i] = (struct audit_note){ .operation = AUDIT_REWRAP, .filesystem = "data" };
    must(audit_add(fixture->audit, notes, 20, &err), &err);
    must(audit_add(fixture->audit, notes, 1, &err), &err);
    struct audit_verdict verdict = verify(fixture, NULL);
    assert_int_equal(verdict.entries, 21);
    assert_int_equal(verdict.faults, 0);
}

static void an_untouched_log_is_intact_also_after_it_was_opened_again(void **state)
{
    struct fixture *fixture = *state;
    struct audit_head newest;

    assert_int_equal(verify(fixture, NULL).faults, 0);
    reopen(fixture);
    assert_string_equal(fixture->damage, "");
    add(fixture, "more", 0);
    struct audit_verdict verdict = verify(fixture, NULL);
    assert_int_equal(verdict.faults, 0);
    assert_int_equal(verdict.entries, ENTRIES + 1);
    audit_newest(fixture->audit, &newest);
    assert_memory_equal(&newest, &verdict.newest, sizeof(newest));
}

static void every_altered_byte_shows(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf stored = BUF_INIT;

    get_stored(fixture, 3, &stored);
    for (size_t i = 0; i < stored.len; i++) {
        stored.data[i] ^= 1;
        put_stored(fixture, 3, buf_bytes(&stored));
        if (verify(fixture, NULL).faults == 0)
            fail_msg("byte %zu", i);
        stored.data[i] ^= 1;
    }
    put_stored(fixture, 3, buf_bytes(&stored));
    assert_int_equal(verify(fixture, NULL).faults, 0);
}

static void a_forged_entry_with_a_right_hash_shows(void **state)
{
    forge(*state, 3);
    must_find(*state, 1, "entry 4 does not follow what stands before it");
}

static void a_forged_newest_entry_shows(void **state)
{
    forge(*state, ENTRIES);
    must_find(*state, 1, "is not the one that the registry notes as the newest");
}

static void a_forged_first_entry_of_another_instance_shows(void **state)
{
    struct fixture *fixture = *state;
    struct fixture *other = NULL;
    CLEANUP(buf_release) struct buf first = BUF_INIT;

    assert_int_equal(set_up_with_entries((void **)&other), 0);
    get_stored(other, 1, &first);
    (void)tear_down((void **)&other);
    put_stored(fixture, 1, buf_bytes(&first));
    must_find(fixture, 2, "1: entry 1 does not follow what stands before it");
}

static void exchanged_entries_show(void **state)
{
    CLEANUP(buf_release) struct buf second = BUF_INIT;
    CLEANUP(buf_release) struct buf fourth = BUF_INIT;

    get_stored(*state, 2, &second);
    get_stored(*state, 4, &fourth);
    put_stored(*state, 2, buf_bytes(&fourth));
    put_stored(*state, 4, buf_bytes(&second));
    must_find(*state, 4, "entry 4 stands in the place of entry 2");
}

static void a_gap_shows(void **state)
{
    delete_stored(*state, 3);
    must_find(*state, 1, "entries 3 to 3 are missing: they were deleted");
}

static void a_missing_beginning_shows(void **state)
{
    keep_stored(*state, 4, ENTRIES);
    must_find(*state, 1, "entries 1 to 3 are missing: they were deleted");
}

static void a_cut_at_the_end_shows_and_does_so_for_ever(void **state)
{
    struct fixture *fixture = *state;

    keep_stored(fixture, 1, 4);
    must_find(fixture, 1, "entries 5 to 6 are missing: the end of the log was cut off");
    reopen(fixture);
    assert_non_null(strstr(fixture->damage, "entry 6, the newest, was missing"));
    must_find(fixture, 1, "entries 5 to 6 are missing");
    add(fixture, "data", 0);
    reopen(fixture);
    assert_string_equal(fixture->damage, "");
    must_find(fixture, 1, "entries 5 to 6 are missing");
}

static void a_lost_note_of_the_newest_entry_shows(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    struct journal_query query = { .limit = 1 };
    size_t count = 0;

    assert_int_equal(
        registry_put_value(fixture->registry, HEAD, (struct bytes){ .data = NULL }, NULL), 0);
    must_find(fixture, 1, "note of the newest entry is missing");
    reopen(fixture);
    assert_string_not_equal(fixture->damage, "");
    assert_int_equal(audit_list(fixture->audit, &query, &items, &count, NULL), 0);
    assert_int_equal(items[0].entry.number, ENTRIES + 1);
    assert_string_equal(items[0].entry.operation, "log-damaged");
}

static void a_note_that_was_put_back_shows(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf head = BUF_INIT;

    assert_int_equal(registry_get_value(fixture->registry, HEAD, &head, NULL), 0);
    add(fixture, "data", 0);
    assert_int_equal(registry_put_value(fixture->registry, HEAD, buf_bytes(&head), NULL), 0);
    must_find(fixture, 1, "there are entries up to 7");
}

static void something_among_the_entries_that_is_none_shows(void **state)
{
    put_stored(*state, 0, (struct bytes){ .data = (const uint8_t *)"x", .len = 1 });
    must_find(*state, 1, "something among the entries that is none");
}

static void a_kept_hash_shows_a_log_that_was_begun_anew(void **state)
{
    struct fixture *fixture = *state;
    struct audit_head kept;

    audit_newest(fixture->audit, &kept);
    assert_int_equal(verify(fixture, &kept).faults, 0);
    add(fixture, "data", 0);
    assert_int_equal(verify(fixture, &kept).faults, 0);

    keep_stored(fixture, 2, 1);
    assert_int_equal(
        registry_put_value(fixture->registry, HEAD, (struct bytes){ .data = NULL }, NULL), 0);
    reopen(fixture);
    for (unsigned i = 0; i < ENTRIES; i++)
        add(fixture, "data", 0);
    assert_int_equal(verify(fixture, NULL).faults, 0); /* so keep one */
    assert_int_equal(verify(fixture, &kept).faults, 1);
    assert_non_null(strstr(fixture->faults, "is not there with the hash that was kept"));
}

static void texts_from_elsewhere_are_stored_clean(void **state)
{
    static const struct {
        const char *from;
        const char *clean;
    } cases[] = {
        { "plain", "plain" },
        { "a\033[31mb\n\x7f", "a?[31mb??" },
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\xc2\x9b", "??" },                     /* a control character */
        { "\xc0\xaf", "??" },                     /* longer than it need be */
        { "\xed\xa0\x80", "???" },                /* half of a pair */
        { "\xf4\x90\x80\x80", "????" },           /* behind the last character */
        { "a\xe2\x82", "a??" },                   /* cut */
        { "123456789012345", "123456789012345" }, /* just fits */
        { "12345678901234\xc3\xa4", "12345678901234" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char clean[16];
        clean_text(cases[i].from, clean, sizeof(clean));
        assert_string_equal(clean, cases[i].clean);
    }
}

#define LOG_TEST(function) cmocka_unit_test_setup_teardown(function, set_up_with_entries, tear_down)

static void every_operation_is_on_the_page_about_the_log(void **state)
{
    CLEANUP(buf_release) struct buf page = BUF_INIT;
    const struct bytes nul = { .data = (const uint8_t *)"", .len = 1 };

    (void)state;
    assert_int_equal(file_read(FORMATS_FOLDER "/../../docs/formats/audit.md", 1 << 20, &page, NULL),
                     0);
    assert_int_equal(buf_append(&page, nul), 0);
    for (int i = 0; i < AUDIT_OPERATION_COUNT; i++) {
        char quoted[64];
        (void)snprintf(quoted, sizeof(quoted), "`%s`",
                       audit_operation_name((enum audit_operation)i));
        if (!strstr((const char *)page.data, quoted))
            fail_msg("docs/formats/audit.md has no operation %s", quoted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_on_the_page_about_the_log),
        cmocka_unit_test(texts_from_elsewhere_are_stored_clean),
        cmocka_unit_test(an_entry_survives_encoding_and_no_altered_length_is_read),
        cmocka_unit_test_setup_teardown(entries_of_all_versions_are_read_and_are_a_chain, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_largest_entry_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_added_is_listed_in_order_with_who_and_what, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_newest_are_listed_and_filters_choose, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(many_notes_at_once_are_one_chain, set_up, tear_down),
        LOG_TEST(an_untouched_log_is_intact_also_after_it_was_opened_again),
        LOG_TEST(every_altered_byte_shows),
        LOG_TEST(a_forged_entry_with_a_right_hash_shows),
        LOG_TEST(a_forged_newest_entry_shows),
        LOG_TEST(a_forged_first_entry_of_another_instance_shows),
        LOG_TEST(exchanged_entries_show),
        LOG_TEST(a_gap_shows),
        LOG_TEST(a_missing_beginning_shows),
        LOG_TEST(a_cut_at_the_end_shows_and_does_so_for_ever),
        LOG_TEST(a_lost_note_of_the_newest_entry_shows),
        LOG_TEST(a_note_that_was_put_back_shows),
        LOG_TEST(something_among_the_entries_that_is_none_shows),
        LOG_TEST(a_kept_hash_shows_a_log_that_was_begun_anew),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
