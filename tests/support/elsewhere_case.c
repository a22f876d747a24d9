#include "tests/support/elsewhere_case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cmocka_all.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/download.h"
#include "crypto/random.h"
#include "keyring/key_blob.h"

/* --- a filesystem elsewhere --- */

void elsewhere_release(struct elsewhere *elsewhere)
{
    rings_opened_release(&elsewhere->opened);
    buf_release(&elsewhere->superblock);
}

void open_rings(struct servers *servers, const char *name, struct rings_opened *ret)
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

void add_generation(struct servers *servers, struct rings_opened *to, const struct uuid *origin,
                    uint32_t number)
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

void make_elsewhere(struct servers *servers, const char *name, struct elsewhere *ret)
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

void publish(struct servers *servers, struct elsewhere *elsewhere, const struct key_needed *more,
             char *ret_locator)
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

void prepare(struct servers *servers, struct elsewhere *ret)
{
    must_set(servers, servers->a);
    must_add(servers->fixture, NAME);
    must_add_folder_store(servers->fixture, STORE);
    make_elsewhere(servers, NAME, ret);
    must_start(servers->fixture, NAME);
}

int bring(struct servers *servers, const char *locator, struct task_view *ret, struct error *err)
{
    const struct snapshot_download download = { .locator = locator, .store = { .name = STORE } };

    return control_snapshot_download(servers->fixture->control, NAME, &download, ret, err);
}

struct task_view wait_task_until(struct servers *servers, uint64_t id,
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

struct task_view wait_task(struct servers *servers, uint64_t id)
{
    return wait_task_until(servers, id, task_state_is_end);
}

/* At once: the worker may read it just now. */
void set_word(struct servers *servers, const char *word)
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

void read_places(struct servers *servers, struct buf *registry, struct buf *store)
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

void assert_joined(struct servers *servers, const struct elsewhere *elsewhere)
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

void assert_refused(struct servers *servers, const char *locator, int code, const char *text)
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
