#include "tests/support/volume_case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/cmocka_all.h"

#define BLOCK_SIZE 16384u

static void on_event(enum volume_event event, const char *text, void *arg)
{
    struct volume_case *c = arg;

    if (event == VOLUME_EVENT_CORRUPTION) {
        fprintf(stderr, "%s\n", text);
        atomic_fetch_add(&c->corruptions, 1);
    }
}

static void fill_config(struct volume_case *c)
{
    struct secret key = SECRET_INIT;

    assert_int_equal(secret_new(&key, FS_KEY_LEN), 0);
    memset(key.data, 0x5a, FS_KEY_LEN);
    assert_int_equal(key_set_add(&c->keys, 1, &key), 0);
    secret_release(&key);
    c->config = (struct volume_config){ .uuid = { { 0xf5 } },
                                        .store = c->store,
                                        .meta_url = c->meta_url,
                                        .keys = &c->keys,
                                        .owner = { { 0x0a } },
                                        .on_event = on_event,
                                        .event_arg = c };
}

static void make_folder(struct volume_case *c, char *store_url, size_t size)
{
    char path[96];

    (void)snprintf(c->folder, sizeof(c->folder), "/tmp/coffer-volume-XXXXXX");
    assert_non_null(mkdtemp(c->folder));
    (void)snprintf(path, sizeof(path), "%s/meta", c->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/store", c->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(store_url, size, "dir:%s/store", c->folder);
    (void)snprintf(c->meta_url, sizeof(c->meta_url), "lmdb:%s/meta", c->folder);
}

static void open_volume(struct volume_case *c)
{
    struct error err = { 0 };
    int r = volume_open(&c->config, &c->volume, &err);

    if (r < 0)
        fail_msg("volume_open: %s", err.text);
}

int volume_case_group_setup(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

int volume_case_setup(void **state)
{
    char store_url[96] = "memory:";
    struct error err = { 0 };
    struct volume_case *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    c->kind = *state;
    (void)snprintf(c->meta_url, sizeof(c->meta_url), "memory:");
    if (strcmp(c->kind, "disk") == 0)
        make_folder(c, store_url, sizeof(store_url));
    assert_int_equal(object_store_open(store_url, &c->store, &err), 0);
    fill_config(c);
    int r = volume_format(&c->config, BLOCK_SIZE, &err);
    if (r < 0)
        fail_msg("volume_format: %s", err.text);
    open_volume(c);
    *state = c;
    return 0;
}

int volume_case_teardown(void **state)
{
    struct volume_case *c = *state;
    char command[96];
    struct error err = { 0 };

    assert_int_equal(volume_case_faults(c), 0);
    assert_int_equal(atomic_load(&c->corruptions), 0);
    if (volume_close(c->volume, &err) < 0)
        fail_msg("volume_close: %s", err.text);
    object_store_close(c->store);
    key_set_release(&c->keys);
    if (c->folder[0]) {
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", c->folder);
        assert_int_equal(system(command), 0);
    }
    free(c);
    return 0;
}

void volume_case_reopen(struct volume_case *c, bool read_only)
{
    struct error err = { 0 };

    assert_string_equal(c->kind, "disk");
    if (volume_close(c->volume, &err) < 0)
        fail_msg("volume_close: %s", err.text);
    c->config.read_only = read_only;
    open_volume(c);
}

static void print_fault(const char *text, void *arg)
{
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

uint64_t volume_case_faults(struct volume_case *c)
{
    uint64_t faults = 0;
    struct error err = { 0 };
    int r = volume_check(c->volume, true, print_fault, NULL, &faults, &err);

    if (r < 0)
        fail_msg("volume_check: %s", err.text);
    return faults;
}

uint64_t make(struct volume_case *c, uint64_t parent, const char *name, uint32_t mode)
{
    const struct volume_owner owner = { .uid = 1000, .gid = 1001 };
    struct volume_attr attr = { .ino = 0 };

    assert_int_equal(volume_mknod(c->volume, parent, name, mode, 0, &owner, &attr), 0);
    assert_true(attr.ino > VOLUME_ROOT);
    return attr.ino;
}

uint64_t make_file(struct volume_case *c, uint64_t parent, const char *name)
{
    return make(c, parent, name, S_IFREG | 0644);
}

uint64_t make_dir(struct volume_case *c, uint64_t parent, const char *name)
{
    return make(c, parent, name, S_IFDIR | 0755);
}

uint64_t number_of(struct volume_case *c, uint64_t parent, const char *name)
{
    struct volume_attr attr = { .ino = 0 };
    int r = volume_lookup(c->volume, parent, name, &attr);

    if (r == -ENOENT)
        return 0;
    assert_int_equal(r, 0);
    volume_forget(c->volume, attr.ino, 1);
    return attr.ino;
}

struct volume_attr attr_of(struct volume_case *c, uint64_t ino)
{
    struct volume_attr attr = { .ino = 0 };

    assert_int_equal(volume_getattr(c->volume, ino, &attr), 0);
    assert_int_equal(attr.ino, ino);
    return attr;
}

uint64_t files_in_use(struct volume_case *c)
{
    struct volume_statfs have = { .files = 0 };

    assert_int_equal(volume_statfs(c->volume, &have), 0);
    return have.files;
}
