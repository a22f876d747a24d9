#include "tests/support/volume_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/thread.h"
#include "crypto/random.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/s3_case.h"

/* Of the text: any thread of a volume may have something to tell. */
static struct mutex telling = { .native = PTHREAD_MUTEX_INITIALIZER };

static void on_event(enum volume_event event, const char *text, void *arg)
{
    struct volume_case *volume_case = arg;

    __atomic_fetch_add(&volume_case->events[event], 1, __ATOMIC_RELAXED);
    mutex_lock(&telling);
    (void)snprintf(volume_case->last_event, sizeof(volume_case->last_event), "%s", text);
    mutex_unlock(&telling);
}

static void make_folder(struct volume_case *volume_case)
{
    const char *parent = getenv("TMPDIR");
    char path[96];

    (void)snprintf(volume_case->folder, sizeof(volume_case->folder), "%.40s/coffer-volume-XXXXXX",
                   parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(volume_case->folder));
    (void)snprintf(path, sizeof(path), "%s/meta", volume_case->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(volume_case->meta_url, sizeof(volume_case->meta_url), "lmdb:%s/meta",
                   volume_case->folder);
    (void)snprintf(path, sizeof(path), "%s/store", volume_case->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(volume_case->store_url, sizeof(volume_case->store_url), "dir:%s/store",
                   volume_case->folder);
}

static void make_key(struct volume_case *volume_case)
{
    struct secret key = SECRET_INIT;

    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    random_bytes(key.data, key.len);
    assert_int_equal(key_set_add(&volume_case->keys, 1, &key), 0);
    secret_release(&key);
}

void volume_case_config(struct volume_case *volume_case, struct volume_config *ret)
{
    *ret = (struct volume_config){
        .uuid = volume_case->uuid,
        .store = volume_case->store,
        .meta_url = volume_case->meta_url,
        .keys = &volume_case->keys,
        .owner = volume_case->owner,
        .capacity = volume_case->capacity,
        .read_only = volume_case->read_only,
        .take_over = volume_case->take_over,
        .salvage = volume_case->salvage,
        .on_event = on_event,
        .event_arg = volume_case,
        .open_origin = volume_case->open_origin,
        .origin_arg = volume_case->origin_arg,
    };
}

static void assert_done(int r, const struct error *err)
{
    if (r != 0)
        print_error("%d: %s\n", r, err->text);
    assert_int_equal(r, 0);
}

void volume_case_prepare(struct volume_case *ret, uint32_t block_size, struct object_store *store)
{
    struct error err = { 0 };

    static bool has_heap;
    if (!has_heap)
        assert_done(secret_heap_init(&err), &err);
    has_heap = true;
    memset(ret, 0, sizeof(*ret));
    random_uuid(&ret->uuid);
    random_uuid(&ret->owner);
    make_folder(ret);
    make_key(ret);
    ret->block_size = block_size != 0 ? block_size : 4096;
    ret->store = store;
    if (store == NULL && s3_case_is_there())
        ret->store = s3_case_open(NULL);
    else if (store == NULL)
        assert_done(object_store_open(ret->store_url, &ret->store, &err), &err);
}

void volume_case_new_on(struct volume_case *ret, uint32_t block_size, struct object_store *store)
{
    struct volume_config config;
    struct error err = { 0 };

    volume_case_prepare(ret, block_size, store);
    volume_case_config(ret, &config);
    assert_done(volume_format(&config, ret->block_size, &err), &err);
    volume_case_open(ret);
}

void volume_case_new(struct volume_case *ret, uint32_t block_size)
{
    volume_case_new_on(ret, block_size, NULL);
}

int volume_case_try_open(struct volume_case *volume_case)
{
    struct volume_config config;
    struct error err = { 0 };

    volume_case_config(volume_case, &config);
    int r = volume_open(&config, &volume_case->volume, &err);
    if (r < 0)
        (void)snprintf(volume_case->last_event, sizeof(volume_case->last_event), "%s", err.text);
    return r;
}

void volume_case_open(struct volume_case *volume_case)
{
    struct volume_config config;
    struct error err = { 0 };

    volume_case_config(volume_case, &config);
    assert_done(volume_open(&config, &volume_case->volume, &err), &err);
}

void volume_case_close(struct volume_case *volume_case)
{
    struct error err = { 0 };

    assert_done(volume_close(volume_case->volume, &err), &err);
    volume_case->volume = NULL;
}

void volume_case_reopen(struct volume_case *volume_case)
{
    volume_case_close(volume_case);
    volume_case_open(volume_case);
}

static void print_fault(const char *text, void *arg)
{
    (void)arg;
    print_message("# fault: %s\n", text);
}

uint64_t volume_case_faults(struct volume_case *volume_case, bool read_data)
{
    struct error err = { 0 };
    uint64_t faults = 0;

    assert_done(volume_check(volume_case->volume, read_data, print_fault, NULL, &faults, &err),
                &err);
    return faults;
}

void volume_case_check(struct volume_case *volume_case)
{
    assert_int_equal(volume_case_faults(volume_case, true), 0);
}

void volume_case_end(struct volume_case *volume_case)
{
    char command[128];

    if (volume_case->volume != NULL)
        volume_case_close(volume_case);
    object_store_close(volume_case->store);
    key_set_release(&volume_case->keys);
    (void)snprintf(command, sizeof(command), "rm -rf %s", volume_case->folder);
    assert_int_equal(system(command), 0);
}

uint64_t volume_case_used(struct volume_case *volume_case)
{
    struct volume_statfs st;

    assert_int_equal(volume_statfs(volume_case->volume, &st), 0);
    return st.used;
}

uint64_t volume_case_file(struct volume_case *volume_case, const char *name)
{
    const struct volume_owner owner = { .uid = 0 };
    struct volume_attr attr;

    assert_int_equal(
        volume_mknod(volume_case->volume, VOLUME_ROOT, name, S_IFREG | 0644, 0, &owner, &attr), 0);
    return attr.ino;
}
