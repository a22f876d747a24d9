/* Entries of the audit log that were taken into an archive: the chain goes on, here and there, and
 * each way to tamper with that shows. And what a full disk leaves possible. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/audit.h"
#include "crypto/secret.h"
#include "host/audit_archive.h"

#define ENTRIES 2500u
#define LAST 2100u

struct fixture {
    struct registry *registry;
    struct audit *audit;
    char damage[AUDIT_TEXT_SIZE];
    char faults[8192];
    struct buf archive;
    struct audit_head last; /* that was archived */
    uint64_t visited;
};

static void must(int r, const struct error *err)
{
    if (r < 0)
        fail_msg("%s: %s", strerrordesc_np(-r), err->text);
}

static int add(struct audit *audit, enum audit_operation operation, size_t count, struct error *err)
{
    struct audit_note notes[50];

    assert_in_range(count, 1, 50);
    for (size_t i = 0; i < count; i++)
        notes[i] = (struct audit_note){ .operation = operation,
                                        .filesystem = "data",
                                        .text = "to fill the log with something of some length" };
    return audit_add(audit, notes, count, err);
}

static void open_log(struct fixture *fixture)
{
    struct error err = { .code = 0 };

    audit_close(fixture->audit);
    fixture->audit = NULL;
    must(audit_open(fixture->registry, &fixture->audit, fixture->damage, &err), &err);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct error err = { .code = 0 };

    assert_non_null(fixture);
    must(registry_open("memory:", &fixture->registry, &err), &err);
    open_log(fixture);
    for (unsigned i = 0; i < ENTRIES; i += 50)
        must(add(fixture->audit, AUDIT_CREATE, 50, &err), &err);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    audit_close(fixture->audit);
    registry_close(fixture->registry);
    buf_release(&fixture->archive);
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

static void append(struct buf *to, struct bytes more)
{
    uint8_t *data = realloc(to->data, to->len + more.len);

    assert_non_null(data);
    memcpy(data + to->len, more.data, more.len);
    *to = (struct buf){ .data = data, .len = to->len + more.len };
}

static int take(uint64_t number, struct bytes stored, void *arg)
{
    struct fixture *fixture = arg;
    const uint8_t len[4] = { (uint8_t)stored.len, (uint8_t)(stored.len >> 8) };
    struct audit_entry entry;

    append(&fixture->archive, (struct bytes){ len, sizeof(len) });
    append(&fixture->archive, stored);
    assert_int_equal(audit_entry_decode(stored, &entry, fixture->last.hash, NULL), 0);
    fixture->last.number = number;
    fixture->visited++;
    return 0;
}

/* What coffer audit archive does, up to the entry before end. */
static void archive(struct fixture *fixture, uint64_t end)
{
    uint8_t begin[AUDIT_ARCHIVE_BEGIN_LEN];
    uint8_t tail[AUDIT_ARCHIVE_END_LEN];
    struct audit_archive head = { .entries = 0 };
    struct error err = { .code = 0 };

    buf_release(&fixture->archive);
    fixture->archive = BUF_INIT;
    registry_instance(fixture->registry, &head.instance);
    audit_base(fixture->audit, &head.begin);
    audit_archive_begin(&head, begin);
    append(&fixture->archive, (struct bytes){ begin, sizeof(begin) });
    fixture->visited = 0;
    must(audit_each_stored(fixture->audit, 0, INT64_MAX, end - head.begin.number, take, fixture,
                           &err),
         &err);
    head.end = fixture->last;
    audit_archive_end(&head, tail);
    append(&fixture->archive, (struct bytes){ tail, sizeof(tail) });
}

static int verify_archive(struct fixture *fixture, const struct audit_head *kept,
                          struct audit_archive *ret)
{
    fixture->faults[0] = '\0';
    return audit_archive_verify(buf_bytes(&fixture->archive), kept, on_fault, fixture, ret, NULL);
}

static void forget(struct fixture *fixture)
{
    struct error err = { .code = 0 };

    must(audit_forget(fixture->audit, &fixture->last, &err), &err);
}

static void the_chain_goes_on_behind_an_archive(void **state)
{
    struct fixture *fixture = *state;
    struct audit_archive read;
    struct error err = { .code = 0 };

    archive(fixture, LAST);
    assert_int_equal(fixture->visited, LAST);
    forget(fixture);
    for (int i = 0; i < 2; i++) {
        struct audit_verdict verdict = verify(fixture, &fixture->last);
        assert_string_equal(fixture->faults, "");
        assert_int_equal(verdict.base.number, LAST);
        assert_memory_equal(verdict.base.hash, fixture->last.hash, HASH_LEN);
        assert_int_equal(verdict.entries, ENTRIES - LAST + 1);
        assert_int_equal(verdict.newest.number, ENTRIES + 1);
        open_log(fixture);
        assert_string_equal(fixture->damage, "");
    }
    assert_int_equal(verify_archive(fixture, &fixture->last, &read), 0);
    assert_int_equal(read.faults, 0);
    assert_int_equal(read.entries, LAST);
    assert_int_equal(read.begin.number, 0);
    assert_memory_equal(read.end.hash, fixture->last.hash, HASH_LEN);

    /* The entry about it is archived in its turn, and a second archive follows the first. */
    must(add(fixture->audit, AUDIT_CREATE, 5, &err), &err);
    archive(fixture, ENTRIES + 3);
    forget(fixture);
    struct audit_verdict verdict = verify(fixture, NULL);
    assert_string_equal(fixture->faults, "");
    assert_int_equal(verdict.entries, 4);
    assert_int_equal(verify_archive(fixture, NULL, &read), 0);
    assert_int_equal(read.faults, 0);
    assert_int_equal(read.begin.number, LAST);
}

static void what_is_listed_begins_behind_the_archive(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    struct journal_query query = { .limit = ENTRIES };
    struct error err = { .code = 0 };
    size_t count = 0;

    archive(fixture, LAST);
    forget(fixture);
    must(audit_list(fixture->audit, &query, &items, &count, &err), &err);
    assert_int_equal(count, ENTRIES - LAST + 1);
    assert_int_equal(items[0].entry.number, LAST + 1);
    assert_string_equal(items[count - 1].entry.operation, "archive");
    struct audit_head last;
    assert_true(audit_anchor_read(&items[count - 1].entry, &last));
    assert_int_equal(last.number, LAST);
    assert_memory_equal(last.hash, fixture->last.hash, HASH_LEN);
}

static void only_what_is_there_and_whole_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };

    archive(fixture, LAST);
    fixture->last.hash[0] ^= 1;
    assert_int_equal(audit_forget(fixture->audit, &fixture->last, &err), -EINVAL);
    fixture->last.hash[0] ^= 1;
    const struct audit_head beyond = { .number = ENTRIES + 1 };
    assert_int_equal(audit_forget(fixture->audit, &beyond, &err), -EINVAL);
    forget(fixture);
    assert_int_equal(audit_forget(fixture->audit, &fixture->last, &err), -EINVAL);

    struct registry_entries gap = { .kind = "audit/", .forget_below = LAST + 5 };
    must(registry_append(fixture->registry, &gap, &err), &err);
    archive(fixture, ENTRIES);
    assert_int_equal(audit_forget(fixture->audit, &fixture->last, &err), -EUCLEAN);
    assert_true(verify(fixture, NULL).faults > 0);
}

/* Removed without an archive, with the note changed so that it fits. */
static void a_note_of_an_archive_without_its_entry_shows(void **state)
{
    struct fixture *fixture = *state;
    uint8_t bytes[AUDIT_HEAD_LEN];
    struct error err = { .code = 0 };

    archive(fixture, LAST);
    audit_head_encode(&fixture->last, bytes);
    must(registry_put_value(fixture->registry, "audit-base", (struct bytes){ bytes, sizeof(bytes) },
                            &err),
         &err);
    open_log(fixture); /* which removes the entries, as it would after a crash */
    assert_true(verify(fixture, NULL).faults > 0);
    assert_non_null(strstr(fixture->faults, "does not agree with the entry about it"));
}

static void a_note_of_an_archive_that_is_lost_or_put_back_shows(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf first = BUF_INIT;
    struct error err = { .code = 0 };

    archive(fixture, 100);
    forget(fixture);
    must(registry_get_value(fixture->registry, "audit-base", &first, &err), &err);
    archive(fixture, LAST);
    forget(fixture);
    assert_int_equal(verify(fixture, NULL).faults, 0);
    must(registry_put_value(fixture->registry, "audit-base", buf_bytes(&first), &err), &err);
    assert_true(verify(fixture, NULL).faults > 0);
    must(registry_put_value(fixture->registry, "audit-base", (struct bytes){ .len = 0 }, &err),
         &err);
    assert_true(verify(fixture, NULL).faults > 0);
    assert_non_null(strstr(fixture->faults, "entries 1 to 2100 are missing"));
}

/* A crash right behind the entry about it leaves entries that a start removes. */
static void what_a_crash_left_of_forgotten_entries_goes_at_the_next_start(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf old = BUF_INIT;
    struct error err = { .code = 0 };
    static const uint8_t leftover[] = "an entry";
    const struct bytes value = { leftover, sizeof(leftover) };

    archive(fixture, LAST);
    forget(fixture);
    struct registry_entries entries = {
        .kind = "audit/", .first = LAST, .values = &value, .count = 1
    };
    must(registry_append(fixture->registry, &entries, &err), &err);
    assert_int_equal(verify(fixture, NULL).faults, 0);
    open_log(fixture);
    assert_string_equal(fixture->damage, "");
    assert_int_equal(verify(fixture, NULL).faults, 0);
    assert_int_equal(verify(fixture, NULL).entries, ENTRIES - LAST + 1);
}

static void every_altered_byte_of_an_archive_shows(void **state)
{
    struct fixture *fixture = *state;
    struct audit_archive read;

    archive(fixture, 20);
    assert_int_equal(verify_archive(fixture, NULL, &read), 0);
    assert_int_equal(read.faults, 0);
    for (size_t i = 0; i < fixture->archive.len; i++) {
        fixture->archive.data[i] ^= 1;
        read.faults = 0;
        int r = verify_archive(fixture, &fixture->last, &read);
        if (r == 0 && read.faults == 0)
            fail_msg("byte %zu", i);
        fixture->archive.data[i] ^= 1;
    }
    size_t len = fixture->archive.len;
    for (fixture->archive.len = 0; fixture->archive.len < len; fixture->archive.len++)
        assert_int_equal(verify_archive(fixture, NULL, &read), -EBADMSG);
    struct audit_head other = { .number = 5 };
    assert_int_equal(verify_archive(fixture, &other, &read), 0);
    assert_int_equal(read.faults, 1);
}

static void an_archive_of_version_1_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct audit_archive read;
    struct error err = { .code = 0 };

    must(file_read(FORMATS_FOLDER "/audit-archive-v1.bin", 65536, &fixture->archive, &err), &err);
    assert_int_equal(verify_archive(fixture, NULL, &read), 0);
    assert_string_equal(fixture->faults, "");
    assert_int_equal(read.entries, 2);
    assert_int_equal(read.instance.bytes[15], 16);
    assert_int_equal(read.end.number, 2);
    fixture->archive.data[8] = 2;
    assert_int_equal(verify_archive(fixture, NULL, &read), -EPROTONOSUPPORT);
}

/* What there is can be unwrapped and removed; new keys wait for room. */
static void a_full_disk_leaves_room_for_entries_about_what_is_there(void **state)
{
    char folder[] = "/tmp/coffer-audit-XXXXXX";
    char url[64];
    struct registry *registry = NULL;
    struct audit *audit = NULL;
    char damage[AUDIT_TEXT_SIZE];
    struct error err = { .code = 0 };
    int r = 0;

    (void)state;
    assert_non_null(mkdtemp(folder));
    if (mount("none", folder, "tmpfs", 0, "size=16m") < 0) {
        print_message("mounting a tmpfs is not allowed here: the full disk was not tried\n");
        assert_int_equal(rmdir(folder), 0);
        return;
    }
    (void)snprintf(url, sizeof(url), "lmdb:%s/registry", folder);
    must(registry_open(url, &registry, &err), &err);
    must(audit_open(registry, &audit, damage, &err), &err);
    for (unsigned i = 0; i < 5000 && r == 0; i++)
        r = add(audit, AUDIT_CREATE, 50, &err);
    assert_int_equal(r, -ENOSPC);
    for (unsigned i = 0; i < 1000; i++) {
        must(add(audit, AUDIT_UNWRAP, 1, &err), &err);
        assert_int_equal(add(audit, AUDIT_CREATE, 50, NULL), -ENOSPC);
    }
    must(add(audit, AUDIT_SHRED, 1, &err), &err);
    audit_close(audit);
    registry_close(registry);
    assert_int_equal(umount2(folder, MNT_DETACH), 0);
    assert_int_equal(rmdir(folder), 0);
}

#define LOG_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(the_chain_goes_on_behind_an_archive),
        LOG_TEST(what_is_listed_begins_behind_the_archive),
        LOG_TEST(only_what_is_there_and_whole_is_forgotten),
        LOG_TEST(a_note_of_an_archive_without_its_entry_shows),
        LOG_TEST(a_note_of_an_archive_that_is_lost_or_put_back_shows),
        LOG_TEST(what_a_crash_left_of_forgotten_entries_goes_at_the_next_start),
        LOG_TEST(every_altered_byte_of_an_archive_shows),
        LOG_TEST(an_archive_of_version_1_is_read),
        cmocka_unit_test(a_full_disk_leaves_room_for_entries_about_what_is_there),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
