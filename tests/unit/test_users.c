/* Who may log in: the form of a record, what changes leave behind, and what guessing meets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/users.h"
#include "crypto/random.h"

#define RIGHT "correct horse battery"
#define WRONG "wrong horse battery"

struct fixture {
    struct registry *registry;
    struct audit *audit;
    struct events events;
    struct users *users;
};

static void must(int r, const struct error *err)
{
    if (r < 0)
        fail_msg("%s: %s", strerrordesc_np(-r), err->text);
}

static void reopen(struct fixture *fixture)
{
    struct error err = { .code = 0 };

    users_close(fixture->users);
    fixture->users = NULL;
    must(users_open(fixture->registry, fixture->audit, &fixture->events, &fixture->users, &err),
         &err);
    users_set_cost(fixture->users, PASSWORD_MEMORY_KIB_MIN, 1);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    char damage[AUDIT_TEXT_SIZE];
    struct error err = { .code = 0 };

    assert_non_null(fixture);
    must(registry_open("memory:", &fixture->registry, &err), &err);
    must(events_open(&fixture->events, fixture->registry, &err), &err);
    must(audit_open(fixture->registry, &fixture->audit, damage, &err), &err);
    reopen(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    users_close(fixture->users);
    audit_close(fixture->audit);
    registry_close(fixture->registry);
    free(fixture);
    return 0;
}

static void set_secret(struct secret *secret, const char *text)
{
    assert_int_equal(
        secret_assign(secret, (struct bytes){ .data = (const uint8_t *)text, .len = strlen(text) }),
        0);
}

static int add(struct fixture *fixture, const char *name, const char *password, struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;

    set_secret(&secret, password);
    return users_add(fixture->users, name, USER_KEY_ADMIN, &secret, err);
}

static int log_in(struct fixture *fixture, const char *name, const char *password, int64_t now_ms,
                  struct user_view *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    struct user_view view;
    struct user_login login = {
        .name = name, .password = &secret, .from = "192.0.2.1", .now_ms = now_ms
    };

    set_secret(&secret, password);
    return users_login(fixture->users, &login, ret ? ret : &view, err);
}

/* The newest event's type and text, and how many of this type there are. */
static size_t count_events(struct fixture *fixture, const char *type, char *ret_text)
{
    CLEANUP(free_ptr) struct event *items = NULL;
    struct events_query query = { .journal = { .limit = 100, .type = type },
                                  .level = LOG_LEVEL_INFO };
    size_t count = 0;

    assert_int_equal(events_list(&fixture->events, &query, &items, &count, NULL), 0);
    if (count > 0)
        memcpy(ret_text, items[count - 1].text, sizeof(items[0].text));
    return count;
}

/* ------------------------------------------------------------------ records */

static void fill(struct user_record *record)
{
    memset(record, 0, sizeof(*record));
    (void)snprintf(record->name, sizeof(record->name), "alice@example.org");
    record->role = USER_REGULAR;
    record->created_ns = 1795788001000000000;
    record->password_set_ns = 1795788002000000000;
    record->password.memory_kib = PASSWORD_MEMORY_KIB;
    record->password.passes = PASSWORD_PASSES;
    random_bytes(record->password.salt, PASSWORD_SALT_LEN);
    random_bytes(record->password.hash, PASSWORD_HASH_LEN);
}

static void a_record_is_read_as_it_was_written(void **state)
{
    struct user_record records[2];
    uint8_t encoded[USER_RECORD_MAX];
    size_t len = 0;

    (void)state;
    memset(&records[1], 0, sizeof(records[1]));
    fill(&records[0]);
    assert_int_equal(user_record_encode(&records[0], encoded, &len, NULL), 0);
    assert_int_equal(
        user_record_decode((struct bytes){ .data = encoded, .len = len }, &records[1], NULL), 0);
    assert_string_equal(records[0].name, records[1].name);
    assert_int_equal(records[0].role, records[1].role);
    assert_int_equal(records[0].created_ns, records[1].created_ns);
    assert_int_equal(records[0].password_set_ns, records[1].password_set_ns);
    assert_memory_equal(&records[0].password, &records[1].password, sizeof(records[0].password));
    for (size_t cut = 0; cut < len; cut++)
        assert_true(user_record_decode((struct bytes){ .data = encoded, .len = cut }, &records[1],
                                       NULL) < 0);
}

static void a_record_that_makes_no_sense_is_refused(void **state)
{
    struct user_record good;
    struct user_record bad[6];
    uint8_t encoded[USER_RECORD_MAX];
    size_t len = 0;

    (void)state;
    fill(&good);
    for (size_t i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].role = USER_ROLE_COUNT;
    bad[1].role = (enum user_role)0;
    bad[2].name[0] = '.';
    bad[3].password.memory_kib = PASSWORD_MEMORY_KIB_MAX + 1;
    bad[4].password.passes = PASSWORD_PASSES_MAX + 1;
    bad[5].password.passes = 0;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(user_record_encode(&bad[i], encoded, &len, NULL), 0);
        assert_int_equal(
            user_record_decode((struct bytes){ .data = encoded, .len = len }, &good, NULL),
            -EBADMSG);
    }
}

/* Written by version 1, and to be read for ever. */
static void a_record_of_version_1_is_read(void **state)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct user_record record;

    (void)state;
    assert_int_equal(
        file_read(FORMATS_FOLDER "/user-record-v1.bin", USER_RECORD_MAX, &encoded, NULL), 0);
    assert_int_equal(user_record_decode(buf_bytes(&encoded), &record, NULL), 0);
    assert_string_equal(record.name, "alice");
    assert_int_equal(record.role, USER_KEY_ADMIN);
    assert_int_equal(record.password.memory_kib, 65536);
    assert_int_equal(record.password.passes, 3);
    struct bytes password = { .data = (const uint8_t *)RIGHT, .len = strlen(RIGHT) };
    assert_int_equal(password_verify(password, &record.password), 0);
    password.len--;
    assert_int_equal(password_verify(password, &record.password), -EKEYREJECTED);
}

static void names_and_roles_are_checked(void **state)
{
    static const char *const good[] = { "a", "alice", "a.b-c_d@e", "1st",
                                        "abcdefghijklmnopqrstuvwxyz012345" };
    static const char *const bad[] = {
        "", ".a", "-a", "a b", "a/b", "a\n", "\xc3\xa4", "abcdefghijklmnopqrstuvwxyz0123456"
    };
    enum user_role role;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(user_name_check(good[i], NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(user_name_check(bad[i], NULL), -EINVAL);
    assert_int_equal(user_role_parse("keyadmin", &role, NULL), 0);
    assert_int_equal(role, USER_KEY_ADMIN);
    assert_string_equal(user_role_name(role), "KeyAdmin");
    assert_int_equal(user_role_parse("Root", &role, NULL), -EINVAL);
}

/* ------------------------------------------------------------------ changing */

static void users_are_added_listed_and_found_again(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) struct user_view *list = NULL;
    struct user_view view;
    struct error err = { .code = 0 };
    size_t count = 0;

    must(add(fixture, "bob", RIGHT, &err), &err);
    must(add(fixture, "alice", RIGHT, &err), &err);
    assert_int_equal(add(fixture, "alice", RIGHT, &err), -EEXIST);
    must(users_set_role(fixture->users, "bob", USER_READ_ONLY, &err), &err);
    reopen(fixture);
    must(users_list(fixture->users, &list, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "alice");
    assert_int_equal(list[0].role, USER_KEY_ADMIN);
    assert_int_equal(list[1].role, USER_READ_ONLY);
    must(users_remove(fixture->users, "alice", &err), &err);
    assert_int_equal(users_remove(fixture->users, "alice", &err), -ENOENT);
    assert_int_equal(users_get(fixture->users, "alice", &view, &err), -ENOENT);
    reopen(fixture);
    assert_int_equal(users_get(fixture->users, "alice", &view, &err), -ENOENT);
    must(users_get(fixture->users, "bob", &view, &err), &err);
}

static void a_password_is_kept_as_a_hash_and_changes(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(secret_release) struct secret other = SECRET_INIT;
    CLEANUP(buf_release) struct buf stored = BUF_INIT;
    struct user_view before;
    struct user_view after;
    struct error err = { .code = 0 };

    must(add(fixture, "alice", RIGHT, &err), &err);
    must(registry_get_value(fixture->registry, "user/alice", &stored, &err), &err);
    assert_null(memmem(stored.data, stored.len, "horse", 5));
    must(log_in(fixture, "alice", RIGHT, 1, &before, &err), &err);
    set_secret(&other, "another good password");
    must(users_set_password(fixture->users, "alice", &other, &after, &err), &err);
    assert_true(before.epoch != after.epoch);
    assert_int_equal(log_in(fixture, "alice", RIGHT, 1, NULL, &err), -EKEYREJECTED);
    reopen(fixture);
    must(log_in(fixture, "alice", "another good password", 1, NULL, &err), &err);
}

static void weak_passwords_are_refused(void **state)
{
    static const char *const weak[] = { "", "short", "123456789", "Administrator" };
    char long_one[USERS_PASSWORD_MAX + 2];
    struct fixture *fixture = *state;

    memset(long_one, 'x', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = '\0';
    for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++)
        assert_int_equal(add(fixture, "administrator", weak[i], NULL), -EINVAL);
    assert_int_equal(add(fixture, "administrator", long_one, NULL), -EINVAL);
}

static void changes_are_in_the_audit_log_with_who_made_them(void **state)
{
    static const char *const operations[] = { "user-add", "user-role", "user-password",
                                              "user-remove" };
    struct fixture *fixture = *state;
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    CLEANUP(secret_release) struct secret other = SECRET_INIT;
    struct journal_query query = { .limit = 10 };
    struct user_view view;
    struct error err = { .code = 0 };
    size_t count = 0;

    audit_act_for((struct audit_actor){ .is_user = true, .name = "root-of-all" });
    must(add(fixture, "alice", RIGHT, &err), &err);
    must(users_set_role(fixture->users, "alice", USER_REGULAR, &err), &err);
    set_secret(&other, "another good password");
    must(users_set_password(fixture->users, "alice", &other, &view, &err), &err);
    must(users_remove(fixture->users, "alice", &err), &err);
    audit_act_for((struct audit_actor){ .is_user = false });
    must(audit_list(fixture->audit, &query, &items, &count, &err), &err);
    assert_int_equal(count, 4);
    for (size_t i = 0; i < 4; i++) {
        char who[AUDIT_WHO_SIZE];
        audit_entry_who(&items[i].entry, who);
        assert_string_equal(who, "user root-of-all");
        assert_string_equal(items[i].entry.operation, operations[i]);
        assert_non_null(strstr(items[i].entry.text, "user alice"));
    }
}

/* ------------------------------------------------------------------ guessing */

static void five_wrong_passwords_lock_a_user_for_two_minutes(void **state)
{
    struct fixture *fixture = *state;
    char text[512] = "";
    struct error err = { .code = 0 };
    int64_t now = 1000000;

    must(add(fixture, "alice", RIGHT, &err), &err);
    for (unsigned i = 0; i < USERS_FAILURES; i++)
        assert_int_equal(log_in(fixture, "alice", WRONG, now + i, NULL, &err), -EKEYREJECTED);
    assert_int_equal(count_events(fixture, "user-locked", text), 1);
    assert_non_null(strstr(text, "user alice, the last from 192.0.2.1"));
    now += USERS_FAILURES - 1; /* the last one */
    assert_int_equal(log_in(fixture, "alice", RIGHT, now + 1, NULL, &err), -EUSERS);
    assert_int_equal(log_in(fixture, "alice", RIGHT, now + USERS_LOCKED_MS - 1, NULL, &err),
                     -EUSERS);
    must(log_in(fixture, "alice", RIGHT, now + USERS_LOCKED_MS, NULL, &err), &err);
}

static void a_login_forgets_the_failures_before(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };

    must(add(fixture, "alice", RIGHT, &err), &err);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 1; i < USERS_FAILURES; i++)
            assert_int_equal(log_in(fixture, "alice", WRONG, 5, NULL, &err), -EKEYREJECTED);
        must(log_in(fixture, "alice", RIGHT, 5, NULL, &err), &err);
    }
}

static void a_new_password_unlocks(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(secret_release) struct secret other = SECRET_INIT;
    struct user_view view;
    struct error err = { .code = 0 };

    must(add(fixture, "alice", RIGHT, &err), &err);
    for (unsigned i = 0; i < USERS_FAILURES; i++)
        (void)log_in(fixture, "alice", WRONG, 5, NULL, &err);
    set_secret(&other, "another good password");
    must(users_set_password(fixture->users, "alice", &other, &view, &err), &err);
    must(log_in(fixture, "alice", "another good password", 5, NULL, &err), &err);
}

/* The same answers, so that nobody learns which names there are; and a name is not told, since it
 * may be a password in the wrong field. */
static void a_name_that_nobody_has_gets_the_answers_of_one_that_exists(void **state)
{
    struct fixture *fixture = *state;
    struct error known = { .code = 0 };
    struct error unknown = { .code = 0 };
    char text[512] = "";

    must(add(fixture, "alice", RIGHT, &known), &known);
    for (unsigned i = 0; i <= USERS_FAILURES; i++) {
        int r = log_in(fixture, "alice", WRONG, 5, NULL, &known);
        assert_int_equal(log_in(fixture, "mallory-secret", WRONG, 5, NULL, &unknown), r);
        assert_string_equal(known.text, unknown.text);
    }
    assert_int_equal(count_events(fixture, "user-locked", text), 2);
    assert_null(strstr(text, "mallory-secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(a_record_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_record_of_version_1_is_read),
        cmocka_unit_test(names_and_roles_are_checked),
        cmocka_unit_test_setup_teardown(users_are_added_listed_and_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_password_is_kept_as_a_hash_and_changes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(weak_passwords_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_are_in_the_audit_log_with_who_made_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(five_wrong_passwords_lock_a_user_for_two_minutes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_login_forgets_the_failures_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_password_unlocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_that_nobody_has_gets_the_answers_of_one_that_exists,
                                        set_up, tear_down),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
