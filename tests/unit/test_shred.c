/* Filesystems whose wrapped keys are destroyed: what is left of them, and what is told. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/key_list.h"
#include "store/object_store.h"
#include "tests/support/kms_case.h"

static void a_shredding_leaves_nothing_of_the_wrapped_keys_in_the_registry(void **state)
{
    struct servers *servers = *state;
    CLEANUP(shred_report_release) struct shred_report report = { .count = 0 };
    CLEANUP(buf_release) struct buf first = BUF_INIT;
    CLEANUP(buf_release) struct buf second = BUF_INIT;
    CLEANUP(buf_release) struct buf other = BUF_INIT;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    must_have_ring(servers, "one", &first);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must_have_ring(servers, "one", &second);
    must_have_ring(servers, "two", &other);
    assert_true(registry_file_holds(servers, &first));
    must(control_shred(servers->fixture->control, "one", &report, &err), &err);
    assert_false(registry_file_holds(servers, &first));
    assert_false(registry_file_holds(servers, &second));
    assert_true(registry_file_holds(servers, &other));
    reopen_control(servers->fixture);
    must_start(servers->fixture, "two");
    must_stop(servers->fixture, "two");
}

static void the_event_of_a_shredding_that_a_restart_finishes_names_the_keys(void **state)
{
    static const enum control_step steps[] = { STEP_REMOVE_MARKED, STEP_SHRED_REGISTRY,
                                               STEP_SHRED_STORE, STEP_SHRED_SCRUBBED,
                                               STEP_REMOVE_DELETED };
    struct servers *servers = *state;
    struct events_query query = { .journal = { .limit = 1, .type = "keys-shredded" },
                                  .level = LOG_LEVEL_INFO };

    must_set(servers, servers->a);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        CLEANUP(shred_report_release) struct shred_report report = { .count = 0 };
        CLEANUP(free_ptr) struct event *events = NULL;
        size_t count = 0;
        must_add(servers->fixture, "data");
        servers->fixture->crash_at = steps[i];
        assert_int_equal(control_shred(servers->fixture->control, "data", &report, NULL),
                         CONTROL_CRASHED);
        servers->fixture->crash_at = STEP_COUNT;
        reopen_control(servers->fixture);
        assert_int_equal(
            events_list(control_events(servers->fixture->control), &query, &events, &count, NULL),
            0);
        assert_int_equal(count, 1);
        assert_non_null(strstr(events[0].text, "stays in the KMS: vault key " FAKE_KEY));
    }
}

static void a_shredding_destroys_the_wrapped_keys_first_and_tells_what_remains(void **state)
{
    struct servers *servers = *state;
    struct control *control = servers->fixture->control;
    CLEANUP(shred_report_release) struct shred_report report = { .count = 0 };
    CLEANUP(buf_release) struct buf ring = BUF_INIT;
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    struct error err = { .code = 0 };

    must_set(servers, servers->a);
    add_all(servers);
    must_have_ring(servers, "one", &ring); /* version 1 */
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    must_start(servers->fixture, "two"); /* version 2 only, from now on */
    must_stop(servers->fixture, "two");
    must_start(servers->fixture, "one");
    must_stop(servers->fixture, "one");
    struct fs_view view = view_of(servers->fixture, "one");
    must(registry_keep_ring(control->registry, &view.uuid, 's', buf_bytes(&ring), &err), &err);

    fake_transit_seal_after(servers->a, 0); /* it is not asked */
    servers->fixture->crash_at = STEP_SHRED_STORE;
    assert_int_equal(control_shred(control, "one", &report, NULL), CONTROL_CRASHED);
    assert_int_equal(registry_get_ring(control->registry, &view.uuid, &ring, NULL), -ENOENT);
    must(object_store_open(view.store_url, &store, &err), &err);
    assert_int_equal(object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &ring, NULL), -ENOENT);
    assert_int_equal(object_store_get(store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &ring, NULL),
                     -ENOENT);
    servers->fixture->crash_at = STEP_COUNT;
    must(control_shred(control, "one", &report, &err), &err);
    assert_int_equal(report.count, 2); /* as was noted before: its rings are gone */
    assert_int_equal(report.keys[0].key.version, 1);
    assert_int_equal(report.keys[1].key.version, 2);
    shred_report_release(&report);
    assert_int_equal(control_get(control, "one", &view, NULL), -ENOENT);

    must(control_shred(control, "two", &report, &err), &err);
    assert_int_equal(report.count, 1);
    assert_int_equal(report.keys[0].key.version, 2);
    assert_string_equal(report.keys[0].names, "three");
    shred_report_release(&report);
    must(control_shred(control, "three", &report, &err), &err);
    assert_int_equal(report.count, 2); /* what wrapped it before the rewrap, too */
    assert_int_equal(report.keys[0].key.version, 1);
    assert_int_equal(report.keys[0].users + report.keys[1].users, 0);
}

static void a_list_of_keys_of_version_1_is_read(void **state)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    CLEANUP(buf_release) struct buf again = BUF_INIT;
    struct error err = { .code = 0 };

    (void)state;
    must(file_read(FORMATS_FOLDER "/key-list-v1.bin", 4096, &encoded, &err), &err);
    must(key_list_decode(buf_bytes(&encoded), &list, &err), &err);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.keys[0].type, "vault");
    assert_string_equal(list.keys[0].kms_namespace, "ns");
    assert_string_equal(list.keys[0].mount_path, "transit");
    assert_string_equal(list.keys[0].key, "coffer-key");
    assert_int_equal(list.keys[0].version, 3);
    assert_string_equal(list.keys[1].type, "kmip");
    must(key_list_encode(&list, &again, &err), &err);
    assert_int_equal(again.len, encoded.len);
    assert_memory_equal(again.data, encoded.data, encoded.len);
    for (size_t cut = 0; cut < encoded.len; cut++)
        assert_int_equal(key_list_decode((struct bytes){ encoded.data, cut }, &list, NULL),
                         -EBADMSG);
    encoded.data[0] = 2;
    assert_int_equal(key_list_decode(buf_bytes(&encoded), &list, NULL), -EPROTONOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_keys_of_version_1_is_read),
        SERVERS_TEST(a_shredding_leaves_nothing_of_the_wrapped_keys_in_the_registry),
        SERVERS_TEST(the_event_of_a_shredding_that_a_restart_finishes_names_the_keys),
        SERVERS_TEST(a_shredding_destroys_the_wrapped_keys_first_and_tells_what_remains),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("shred", tests, NULL, NULL);
}
