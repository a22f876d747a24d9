/* Keys that a snapshot from elsewhere brings into a filesystem's ring: wrapped anew, in both
 * places, told to the worker; with a crash at each step, and refused where the rings contradict
 * each other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/download.h"
#include "control/foreign_keys.h"
#include "control/snapshot_download.h"
#include "crypto/random.h"
#include "keyring/key_blob.h"
#include "tests/support/kms_case.h"
#include "tests/support/upload_case.h"

#define STORE "bucket"
#define NAME "one"

/* --- a filesystem elsewhere --- */

/* Made of a snapshot of ours, as its head shows it. */
struct elsewhere {
    struct rings_opened opened;
    struct buf superblock;
};

static void elsewhere_release(struct elsewhere *elsewhere)
{
    rings_opened_release(&elsewhere->opened);
    buf_release(&elsewhere->superblock);
}

static void open_rings(struct servers *servers, const char *name, struct rings_opened *ret)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(servers->fixture->control, name, NULL);
    const struct rings_options options = { .may_repair = false };
    struct error err = { .code = 0 };
    bool is_kms = false;

    assert_non_null(fs);
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    must(rings_open(servers->fixture->control, record, &options, ret, &is_kms, &err), &err);
}

/* A generation with a key of its own, as a key server wraps it. */
static void add_generation(struct servers *servers, struct rings_opened *to,
                           const struct uuid *origin, uint32_t number)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(secret_release) struct secret blob = SECRET_INIT;
    struct wrapped_key wrapped;
    struct error err = { .code = 0 };

    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    must(key_blob_encode(origin, number, &key, &blob, &err), &err);
    must(kms_provider(servers->fixture->control->kms, &provider, &err), &err);
    must(create_wrap(provider, &blob, &wrapped, &err), &err);
    const struct key_generation_new new = {
        .number = number, .origin = origin, .key = &key, .wrapped = &wrapped
    };
    must(key_ring_add(&to->ring, &new, &err), &err);
    assert_int_equal(uuid_equal(origin, &to->ring.uuid)
                         ? key_set_add(&to->keys, number, &key)
                         : key_set_add_foreign(&to->keys, origin, number, &key),
                     0);
}

/* With the name key of that one, which it inherited. */
static void make_elsewhere(struct servers *servers, const char *name, struct elsewhere *ret)
{
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    struct superblock *superblock = &ret->opened.superblock;
    struct uuid uuid;

    *ret = (struct elsewhere){ .opened = RINGS_OPENED_INIT, .superblock = BUF_INIT };
    open_rings(servers, name, &ours);
    random_uuid(&uuid);
    key_ring_init(&ret->opened.ring, &uuid);
    add_generation(servers, &ret->opened, &uuid, 1);
    *superblock = (struct superblock){ .uuid = uuid, .generation = 1, .block_size = 4096 };
    assert_int_equal(secret_assign(&superblock->name_key, secret_bytes(&ours.superblock.name_key)),
                     0);
    assert_int_equal(
        secret_assign(&superblock->chunk_key, secret_bytes(&ours.superblock.chunk_key)), 0);
}

static void publish(struct servers *servers, struct elsewhere *elsewhere,
                    const struct key_needed *more, char *ret_locator)
{
    struct rings_opened *opened = &elsewhere->opened;
    uint8_t bytes[SUPERBLOCK_MAX];
    struct error err = { .code = 0 };
    size_t len = 0;

    must(key_ring_encode(&opened->ring, &opened->keys, &opened->encoded, &err), &err);
    must(superblock_encode(&opened->superblock, key_set_find(&opened->keys, 1), bytes, &len, &err),
         &err);
    assert_int_equal(buf_assign(&elsewhere->superblock, (struct bytes){ bytes, len }), 0);
    const struct upload_sender sender = { .opened = opened,
                                          .superblock = buf_bytes(&elsewhere->superblock),
                                          .more = more,
                                          .more_count = more ? 1 : 0 };
    must_upload_from(servers->fixture, &sender, STORE, "after", ret_locator);
}

/* --- ours --- */

static void prepare(struct servers *servers, struct elsewhere *ret)
{
    must_set(servers, servers->a);
    must_add(servers->fixture, NAME);
    must_add_folder_store(servers->fixture, STORE);
    make_elsewhere(servers, NAME, ret);
    must_start(servers->fixture, NAME);
}

static int bring(struct servers *servers, const char *locator, struct task_view *ret,
                 struct error *err)
{
    const struct snapshot_download download = { .locator = locator, .store = { .name = STORE } };

    return control_snapshot_download(servers->fixture->control, NAME, &download, ret, err);
}

static struct task_view wait_task_until(struct servers *servers, uint64_t id,
                                        bool (*is_there)(enum task_state state))
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;
    struct task_view view;
    struct error err = { .code = 0 };

    for (;;) {
        must(control_task_get(servers->fixture->control, id, &view, &err), &err);
        if (is_there(view.state))
            return view;
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
}

static struct task_view wait_task(struct servers *servers, uint64_t id)
{
    return wait_task_until(servers, id, task_state_is_end);
}

static bool is_aborting(enum task_state state)
{
    return state == TASK_ABORTING;
}

/* At once: the worker may read it just now. */
static void set_word(struct servers *servers, const char *word)
{
    struct fs_view view = view_of(servers->fixture, NAME);
    char path[FS_URL_SIZE + 8];
    char made[FS_URL_SIZE + 8];

    (void)snprintf(path, sizeof(path), "%s/~task", filesystem_url_folder(view.store_url));
    (void)snprintf(made, sizeof(made), "%s/~made", filesystem_url_folder(view.store_url));
    FILE *file = fopen(made, "w");
    assert_non_null(file);
    (void)fprintf(file, "%s", word);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(made, path), 0);
}

static void read_places(struct servers *servers, struct buf *registry, struct buf *store)
{
    struct fs_view view = view_of(servers->fixture, NAME);
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct error err = { .code = 0 };

    must_have_ring(servers, NAME, registry);
    must(object_store_open(view.store_url, &opened, &err), &err);
    must(object_store_get(opened, KEY_RING_OBJECT, KEY_RING_MAX, store, &err), &err);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Verified, and with the key in both places. */
static void assert_joined(struct servers *servers, const struct elsewhere *elsewhere)
{
    const struct superblock *theirs = &elsewhere->opened.superblock;
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    CLEANUP(buf_release) struct buf registry = BUF_INIT;
    CLEANUP(buf_release) struct buf store = BUF_INIT;

    read_places(servers, &registry, &store);
    assert_true(same(&registry, &store));
    open_rings(servers, NAME, &ours);
    assert_int_equal(ours.ring.count, 2);
    const struct secret *key = key_set_find_foreign(&ours.keys, &theirs->uuid, 1);
    assert_non_null(key);
    assert_true(
        secret_equal(secret_bytes(key), secret_bytes(key_set_find(&elsewhere->opened.keys, 1))));
    assert_int_equal(ours.ring.generations[1].state, KEY_STATE_RETIRED);
}

/* The ring as it was, whatever is tried. */
static void assert_refused(struct servers *servers, const char *locator, int code, const char *text)
{
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf before_store = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;
    CLEANUP(buf_release) struct buf after_store = BUF_INIT;
    struct task_view view;
    struct error err = { .code = 0 };

    read_places(servers, &before, &before_store);
    assert_int_equal(bring(servers, locator, &view, &err), code);
    if (!strstr(err.text, text))
        fail_msg("%s", err.text);
    read_places(servers, &after, &after_store);
    assert_true(same(&before, &after) && same(&before_store, &after_store));
}

static void assert_wrapping_is_audited(struct servers *servers)
{
    const struct journal_query query = { .limit = 2, .type = "rewrap" };
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    size_t count = 0;
    struct error err = { .code = 0 };

    must(audit_list(control_audit(servers->fixture->control), &query, &items, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(items[0].entry.filesystem, NAME);
    assert_string_equal(items[0].entry.result, "ok");
    assert_non_null(strstr(items[0].entry.text, "a snapshot brings"));
}

/* --- tests --- */

static void what_a_snapshot_needs_joins_the_ring_and_the_next_asks_nobody(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    assert_joined(servers, &elsewhere);
    assert_event(servers->fixture, "keys-joined");
    assert_wrapping_is_audited(servers);
    unsigned requests = fake_transit_requests(servers->a);
    fake_transit_seal_after(servers->a, 0);
    must(bring(servers, locator, &view, &err), &err);
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    assert_int_equal(fake_transit_requests(servers->a), requests);
    fake_transit_seal_after(servers->a, -1);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
}

static void a_worker_that_lacks_a_key_of_the_ring_gets_it(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    set_word(servers, "keyless");
    must(bring(servers, locator, &view, &err), &err);
    assert_int_equal(wait_task(servers, view.id).state, TASK_DONE);
    set_word(servers, "locked"); /* which telling does not mend */
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task_until(servers, view.id, is_aborting);
    set_word(servers, "done"); /* what it left is taken away */
    assert_int_equal(wait_task(servers, view.id).state, TASK_FAILED);
}

static void a_crash_at_any_step_leaves_rings_that_open(void **state)
{
    struct servers *servers = *state;
    struct fixture *fixture = servers->fixture;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };
    int crashes = 0;

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "keyless"); /* until it is told */
    for (;; crashes++) {
        atomic_store(&fixture->steps_left, crashes);
        int r = bring(servers, locator, &view, &err);
        atomic_store(&fixture->steps_left, -1);
        if (r != CONTROL_CRASHED) {
            must(r, &err);
            break;
        }
        reopen_control(fixture);
        wait_state(fixture, NAME, FS_STARTED); /* the worker went on, and was told of nothing */
    }
    assert_true(crashes > 0);
    (void)wait_task(servers, view.id);
    assert_joined(servers, &elsewhere);
}

static void a_key_server_that_is_away_changes_nothing(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    char locator[LOCATOR_SIZE];

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    for (int requests = 0; requests < 4; requests++) {
        fake_transit_seal_after(servers->a, requests);
        assert_refused(servers, locator, -EAGAIN, "sealed");
        fake_transit_seal_after(servers->a, -1);
    }
}

static void a_full_ring_takes_no_more_and_asks_nobody(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = NULL;
    struct filesystem *fs = NULL;
    char locator[LOCATOR_SIZE];
    struct error err = { .code = 0 };
    struct uuid origin;

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    open_rings(servers, NAME, &ours);
    while (ours.ring.count < KEY_GENERATIONS_MAX) {
        random_uuid(&origin);
        add_generation(servers, &ours, &origin, 1);
    }
    must(key_ring_check_room(&ours.ring, &err), &err);
    fs = filesystem_find(servers->fixture->control, NAME, NULL);
    record = filesystem_copy_record(fs);
    must(rings_write(servers->fixture->control, record, false, &ours, &err), &err);
    filesystem_unref(fs);
    unsigned requests = fake_transit_requests(servers->a);
    assert_refused(servers, locator, -ENOSPC, "has 64 keys, of at most 64");
    assert_int_equal(fake_transit_requests(servers->a), requests);
    must_stop(servers->fixture, NAME);
    must_start(servers->fixture, NAME);
}

static void a_key_that_is_another_one_in_the_head_is_refused(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(elsewhere_release) struct elsewhere liar;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    /* Of our own key ... */
    prepare(servers, &elsewhere);
    make_elsewhere(servers, NAME, &liar);
    const struct uuid ours = view_of(servers->fixture, NAME).uuid;
    add_generation(servers, &liar.opened, &ours, 1);
    publish(servers, &liar, NULL, locator);
    assert_refused(servers, locator, -EBADMSG, "forged");
    /* ... and of one that came. */
    elsewhere_release(&liar);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    make_elsewhere(servers, NAME, &liar);
    add_generation(servers, &liar.opened, &elsewhere.opened.ring.uuid, 1);
    publish(servers, &liar, NULL, locator);
    assert_refused(servers, locator, -EBADMSG, "forged");
    assert_joined(servers, &elsewhere);
}

static void what_is_of_another_origin_or_of_its_own_lost_key_is_refused(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(elsewhere_release) struct elsewhere stranger;
    char locator[LOCATOR_SIZE];

    prepare(servers, &elsewhere);
    must_add(servers->fixture, "two");
    make_elsewhere(servers, "two", &stranger);
    publish(servers, &stranger, NULL, locator);
    assert_refused(servers, locator, -EXDEV, "another origin");
    const struct key_needed own = { view_of(servers->fixture, NAME).uuid, 9 };
    publish(servers, &elsewhere, &own, locator);
    assert_refused(servers, locator, -ENOKEY, "generation 9");
    /* Of a key that the head names, and does not bring. */
    const struct key_needed none = { { { 5 } }, 1 };
    publish(servers, &elsewhere, &none, locator);
    assert_refused(servers, locator, -EBADMSG, "does not have that");
}

static void what_joined_is_wrapped_anew_with_the_rest(void **state)
{
    struct servers *servers = *state;
    CLEANUP(elsewhere_release) struct elsewhere elsewhere;
    CLEANUP(rings_opened_release) struct rings_opened ours = RINGS_OPENED_INIT;
    char locator[LOCATOR_SIZE];
    struct task_view view;
    struct error err = { .code = 0 };

    prepare(servers, &elsewhere);
    publish(servers, &elsewhere, NULL, locator);
    set_word(servers, "done");
    must(bring(servers, locator, &view, &err), &err);
    (void)wait_task(servers, view.id);
    fake_transit_rotate(servers->a);
    must_rewrap(servers);
    open_rings(servers, NAME, &ours);
    for (uint32_t i = 0; i < ours.ring.count; i++)
        assert_int_equal(ours.ring.generations[i].current.key.key_version, 2);
    assert_joined(servers, &elsewhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVERS_TEST(what_a_snapshot_needs_joins_the_ring_and_the_next_asks_nobody),
        SERVERS_TEST(a_worker_that_lacks_a_key_of_the_ring_gets_it),
        SERVERS_TEST(a_crash_at_any_step_leaves_rings_that_open),
        SERVERS_TEST(a_key_server_that_is_away_changes_nothing),
        SERVERS_TEST(a_full_ring_takes_no_more_and_asks_nobody),
        SERVERS_TEST(a_key_that_is_another_one_in_the_head_is_refused),
        SERVERS_TEST(what_is_of_another_origin_or_of_its_own_lost_key_is_refused),
        SERVERS_TEST(what_joined_is_wrapped_anew_with_the_rest),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests_name("foreign_keys", tests, NULL, NULL);
}
