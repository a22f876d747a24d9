/* Key rings and superblocks in their two places: damaged, forged and lost, and how the control
 * plane repairs, refuses and adopts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "control/rings.h"
#include "crypto/random.h"
#include "keyring/key_blob.h"
#include "store/object_store.h"
#include "tests/support/control_case.h"

static struct object_store *store_of(struct fixture *fixture, const char *name)
{
    struct fs_view view = view_of(fixture, name);
    struct object_store *store = NULL;

    assert_int_equal(object_store_open(view.store_url, &store, NULL), 0);
    return store;
}

static void flip(struct fixture *fixture, const char *name, const char *object)
{
    CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, name);
    CLEANUP(buf_release) struct buf bytes = BUF_INIT;

    assert_int_equal(object_store_get(store, object, KEY_RING_MAX, &bytes, NULL), 0);
    bytes.data[bytes.len / 2] ^= 1;
    assert_int_equal(object_store_replace(store, object, buf_bytes(&bytes), NULL), 0);
}

static void get_object(struct fixture *fixture, const char *name, const char *object,
                       struct buf *ret)
{
    CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, name);

    assert_int_equal(object_store_get(store, object, KEY_RING_MAX, ret, NULL), 0);
}

static void assert_start_repairs(struct fixture *fixture, const char *object, const char *event)
{
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;

    must_add(fixture, "data");
    get_object(fixture, "data", object, &before);
    flip(fixture, "data", object);
    must_start(fixture, "data");
    get_object(fixture, "data", object, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_event(fixture, event);
}

static void a_ring_damaged_in_the_store_is_repaired_from_the_registry(void **state)
{
    assert_start_repairs(*state, KEY_RING_OBJECT, "ring-repaired");
}

/* Writes ring into the registry while the control plane is closed. */
static void set_registry_ring(struct fixture *fixture, const char *name, struct bytes ring)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, name, NULL);

    assert_non_null(fs);
    assert_int_equal(registry_put(fixture->control->registry, &fs->record, ring, NULL), 0);
}

static void get_registry_ring(struct fixture *fixture, const char *name, struct buf *ret)
{
    struct fs_view view = view_of(fixture, name);

    assert_int_equal(registry_get_ring(fixture->control->registry, &view.uuid, ret, NULL), 0);
}

static void a_ring_damaged_in_the_registry_is_repaired_from_the_store(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;

    must_add(fixture, "data");
    get_registry_ring(fixture, "data", &before);
    set_registry_ring(fixture, "data",
                      (struct bytes){ .data = before.data, .len = before.len / 2 });
    must_start(fixture, "data");
    get_registry_ring(fixture, "data", &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_event(fixture, "ring-repaired");
}

static void a_crash_during_a_repair_leaves_a_ring_that_opens(void **state)
{
    struct fixture *fixture = *state;
    struct fs_view view;

    must_add(fixture, "data");
    flip(fixture, "data", KEY_RING_OBJECT);
    fixture->crash_at = STEP_RING_REGISTRY;
    assert_int_equal(control_start(fixture->control, "data", NULL, &view, NULL), CONTROL_CRASHED);
    fixture->crash_at = STEP_COUNT;
    reopen_control(fixture);
    must_start(fixture, "data");
}

static void a_repair_is_in_the_audit_log(void **state)
{
    struct fixture *fixture = *state;
    struct journal_query query = { .limit = 2, .type = "repair" };
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    size_t count = 0;

    must_add(fixture, "data");
    flip(fixture, "data", KEY_RING_OBJECT);
    must_start(fixture, "data");
    assert_audited(fixture, "unwrap", "ok");
    assert_int_equal(audit_list(control_audit(fixture->control), &query, &items, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_string_equal(items[0].entry.filesystem, "data");
    assert_string_equal(items[0].entry.key.provider, "local");
    assert_non_null(strstr(items[0].entry.text, "the key ring in the store"));
}

static void a_superblock_damaged_in_the_store_is_repaired_from_the_metadata(void **state)
{
    assert_start_repairs(*state, SUPERBLOCK_OBJECT, "superblock-repaired");
}

static void a_ring_and_superblock_of_another_filesystem_in_the_store_are_not_believed(void **state)
{
    struct fixture *fixture = *state;
    static const char *const objects[] = { KEY_RING_OBJECT, SUPERBLOCK_OBJECT };
    struct fs_view view;

    must_add(fixture, "data");
    must_add(fixture, "other");
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        get_object(fixture, "other", objects[i], &bytes);
        assert_int_equal(object_store_replace(store, objects[i], buf_bytes(&bytes), NULL), 0);
    }
    /* The metadata's superblock and the registry's ring agree: both of the store are repaired. */
    assert_int_equal(control_start(fixture->control, "data", NULL, &view, NULL), 0);
    assert_event(fixture, "ring-repaired");
    assert_event(fixture, "superblock-repaired");
}

static void move_away(struct fixture *fixture, const char *object, struct buf *ret)
{
    CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");

    assert_int_equal(object_store_get(store, object, KEY_RING_MAX, ret, NULL), 0);
    assert_int_equal(object_store_remove(store, object, NULL), 0);
}

static int visit_any(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    (void)arg;
    return 1;
}

static void assert_bare(struct fixture *fixture)
{
    CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");

    assert_int_equal(object_store_list(store, "", visit_any, NULL, NULL), 0);
}

/* As when its disk is not mounted. */
static void a_store_that_holds_nothing_of_the_filesystem_is_not_written_to(void **state)
{
    static const char *const objects[] = { KEY_RING_OBJECT, SUPERBLOCK_OBJECT };
    const struct rings_options options = { .may_repair = false };
    const struct start_options salvaging = { .salvage = true };
    struct buf kept[2] = { BUF_INIT, BUF_INIT };
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view view;
    bool is_kms;

    must_add(fixture, "data");
    for (size_t i = 0; i < 2; i++)
        move_away(fixture, objects[i], &kept[i]);
    assert_int_equal(control_start(fixture->control, "data", NULL, &view, &err), -ENXIO);
    assert_non_null(strstr(err.text, "mount its disk"));
    assert_bare(fixture);
    assert_true(control_start(fixture->control, "data", &salvaging, &view, NULL) < 0);
    assert_bare(fixture); /* the worker was asked, and read-only */

    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find(fixture->control, "data", NULL);
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    must(rings_open(fixture->control, record, &options, &opened, &is_kms, &err), &err);
    assert_int_equal(rings_write_store(fixture->control, record, &opened, NULL), -ENXIO);
    assert_int_equal(rings_restore(fixture->control, record, buf_bytes(&opened.encoded),
                                   &opened.keys, "a test", NULL),
                     -ENXIO);
    assert_bare(fixture);

    for (size_t i = 0; i < 2; i++) {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_put(store, objects[i], buf_bytes(&kept[i]), NULL), 0);
        buf_release(&kept[i]);
    }
    must_start(fixture, "data");
}

/* A ring of the same filesystem, with a higher number, by somebody who has the wrapping key but
 * not the filesystem's: its own key in the place of the first generation. */
static void forge(struct fixture *fixture, const char *name, struct buf *ret)
{
    CLEANUP(rings_opened_release) struct rings_opened forged = RINGS_OPENED_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(secret_release) struct secret blob = SECRET_INIT;
    struct fs_view view = view_of(fixture, name);
    struct wrapped_key wrapped;
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&view.uuid, uuid);
    assert_int_equal(kms_local_provider(fixture->control->kms, uuid, false, &provider, NULL), 0);
    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(key_blob_encode(&view.uuid, 1, &key, &blob, NULL), 0);
    assert_int_equal(key_provider_wrap(provider, secret_bytes(&blob), &wrapped, NULL), 0);
    uuid_format(&view.uuid, wrapped.key_name);
    struct key_generation_new generation = { .number = 1, .key = &key, .wrapped = &wrapped };
    key_ring_init(&forged.ring, &view.uuid);
    assert_int_equal(key_ring_add(&forged.ring, &generation, NULL), 0);
    assert_int_equal(key_set_add(&forged.keys, 1, &key), 0);
    forged.ring.sequence = 1000;
    assert_int_equal(key_ring_encode(&forged.ring, &forged.keys, ret, NULL), 0);
}

static void a_forged_ring_in_the_store_is_refused_and_replaced(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf before = BUF_INIT;
    CLEANUP(buf_release) struct buf after = BUF_INIT;
    CLEANUP(buf_release) struct buf forged = BUF_INIT;

    must_add(fixture, "data");
    get_object(fixture, "data", KEY_RING_OBJECT, &before);
    forge(fixture, "data", &forged);
    {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&forged), NULL), 0);
    }
    must_start(fixture, "data");
    get_object(fixture, "data", KEY_RING_OBJECT, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
}

static void a_forged_ring_in_both_places_is_refused(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf forged = BUF_INIT;
    struct fs_view view;

    must_add(fixture, "data");
    forge(fixture, "data", &forged);
    {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&forged), NULL), 0);
    }
    set_registry_ring(fixture, "data", buf_bytes(&forged));
    assert_true(control_start(fixture->control, "data", NULL, &view, NULL) < 0);
    assert_int_equal(view_of(fixture, "data").state, FS_STOPPED);
}

/* Forgets a filesystem as a lost registry does; its data stays. */
static struct fs_view lose(struct fixture *fixture, const char *name)
{
    struct fs_view view = view_of(fixture, name);

    assert_int_equal(registry_remove(fixture->control->registry, &view.uuid, NULL), 0);
    reopen_control(fixture);
    return view;
}

static int adopt_again(struct fixture *fixture, const char *name, const struct fs_view *lost,
                       struct fs_view *ret, struct error *err)
{
    const struct fs_adopt adopt = { .name = name,
                                    .meta_url = lost->meta_url,
                                    .store_url = lost->store_url };

    return control_adopt(fixture->control, &adopt, ret, err);
}

static void a_filesystem_whose_registry_was_lost_is_adopted(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view adopted;

    must_add(fixture, "data");
    struct fs_view lost = lose(fixture, "data");
    must(adopt_again(fixture, "again", &lost, &adopted, &err), &err);
    assert_true(uuid_equal(&adopted.uuid, &lost.uuid));
    must_start(fixture, "again");
    assert_int_equal(adopt_again(fixture, "twice", &lost, &adopted, NULL), -EEXIST);
}

static void a_filesystem_with_a_forged_ring_is_not_adopted(void **state)
{
    struct fixture *fixture = *state;
    CLEANUP(buf_release) struct buf forged = BUF_INIT;
    struct fs_view adopted;

    must_add(fixture, "data");
    forge(fixture, "data", &forged);
    {
        CLEANUP(object_store_closep) struct object_store *store = store_of(fixture, "data");
        assert_int_equal(object_store_replace(store, KEY_RING_OBJECT, buf_bytes(&forged), NULL), 0);
    }
    struct fs_view lost = lose(fixture, "data");
    assert_int_equal(adopt_again(fixture, "again", &lost, &adopted, NULL), -EBADMSG);
    assert_int_equal(control_get(fixture->control, "again", &adopted, NULL), -ENOENT);
}

static void an_adopted_filesystem_may_have_a_damaged_superblock_in_its_store(void **state)
{
    struct fixture *fixture = *state;
    struct error err = { .code = 0 };
    struct fs_view adopted;

    must_add(fixture, "data");
    flip(fixture, "data", SUPERBLOCK_OBJECT);
    struct fs_view lost = lose(fixture, "data");
    must(adopt_again(fixture, "again", &lost, &adopted, &err), &err);
    must_start(fixture, "again");
    assert_event(fixture, "superblock-repaired");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATE_TEST(a_ring_damaged_in_the_store_is_repaired_from_the_registry),
        STATE_TEST(a_ring_damaged_in_the_registry_is_repaired_from_the_store),
        STATE_TEST(a_crash_during_a_repair_leaves_a_ring_that_opens),
        STATE_TEST(a_repair_is_in_the_audit_log),
        STATE_TEST(a_superblock_damaged_in_the_store_is_repaired_from_the_metadata),
        STATE_TEST(a_ring_and_superblock_of_another_filesystem_in_the_store_are_not_believed),
        STATE_TEST(a_store_that_holds_nothing_of_the_filesystem_is_not_written_to),
        STATE_TEST(a_forged_ring_in_the_store_is_refused_and_replaced),
        STATE_TEST(a_forged_ring_in_both_places_is_refused),
        STATE_TEST(a_filesystem_whose_registry_was_lost_is_adopted),
        STATE_TEST(a_filesystem_with_a_forged_ring_is_not_adopted),
        STATE_TEST(an_adopted_filesystem_may_have_a_damaged_superblock_in_its_store),
    };
    struct error err = { .code = 0 };

    if (secret_heap_init(&err) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
