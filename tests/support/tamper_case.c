#include "tests/support/tamper_case.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/random.h"
#include "store/layers/fault.h"
#include "tests/support/cmocka_all.h"

static void start_random(struct tamper_case *tamper)
{
    const char *given = getenv("COFFER_SEED");

    tamper->is_deep = getenv("COFFER_DEEP") != NULL;
    if (given != NULL)
        tamper->random = strtoull(given, NULL, 10);
    else
        random_bytes(&tamper->random, sizeof(tamper->random));
    print_message("# COFFER_SEED=%llu\n", (unsigned long long)tamper->random);
}

/* splitmix64 */
uint32_t tamper_draw(struct tamper_case *tamper, uint32_t below)
{
    uint64_t mixed = tamper->random += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((mixed ^ (mixed >> 31)) % below);
}

static void make_file(struct tamper_case *tamper, unsigned number, const char *name, size_t len)
{
    struct tamper_file *file = &tamper->files[number];

    *file = (struct tamper_file){ .name = name, .len = len, .data = malloc(len) };
    assert_non_null(file->data);
    random_bytes(file->data, len);
    file->ino = volume_case_file(&tamper->volume, name);
    assert_int_equal(volume_write(tamper->volume.volume, file->ino, 0,
                                  (struct bytes){ .data = file->data, .len = len }),
                     0);
}

static void overwrite(struct tamper_case *tamper, struct tamper_file *file, size_t offset,
                      size_t len)
{
    random_bytes(file->data + offset, len);
    assert_int_equal(volume_write(tamper->volume.volume, file->ino, offset,
                                  (struct bytes){ .data = file->data + offset, .len = len }),
                     0);
}

/* One sync of the store fails; what it did not make durable goes into another segment. */
static void sync_with_a_failure(struct tamper_case *tamper, struct fault_store *fault)
{
    struct error err = { 0 };

    fault_arm(fault, FAULT_SYNC_LOSE, "segments/", 0, 1, -EIO);
    assert_int_equal(volume_sync(tamper->volume.volume, &err), 0);
    fault_disarm(fault);
    assert_int_equal(tamper->volume.events[VOLUME_EVENT_WRITE_LOST], 1);
}

static void make_others(struct tamper_case *tamper)
{
    struct volume *volume = tamper->volume.volume;
    const struct volume_owner owner = { .uid = 0 };
    struct volume_attr attr;

    assert_int_equal(volume_symlink(volume, VOLUME_ROOT, "link", "first", &owner, &attr), 0);
    assert_int_equal(volume_mknod(volume, VOLUME_ROOT, "folder", 0040755, 0, &owner, &attr), 0);
    assert_int_equal(volume_setxattr(volume, tamper->files[0].ino, "user.some",
                                     (struct bytes){ .data = (const uint8_t *)"value", .len = 5 },
                                     0),
                     0);
}

/* Its reference is still held when the volume is closed, so that it stays in ORPHAN. */
static void make_unlinked(struct tamper_case *tamper)
{
    uint8_t data[4 * TAMPER_BLOCK + 512];

    random_bytes(data, sizeof(data));
    tamper->unlinked = volume_case_file(&tamper->volume, "unlinked");
    assert_int_equal(volume_write(tamper->volume.volume, tamper->unlinked, 0,
                                  (struct bytes){ .data = data, .len = sizeof(data) }),
                     0);
    assert_int_equal(volume_unlink(tamper->volume.volume, VOLUME_ROOT, "unlinked"), 0);
}

void tamper_case_new(struct tamper_case *ret)
{
    struct volume_case *c = &ret->volume;
    struct volume_snapshot snapshot;
    struct fault_store *fault = NULL;
    struct object_store *layer = NULL;

    memset(ret, 0, sizeof(*ret));
    start_random(ret);
    volume_case_new(c, TAMPER_BLOCK);
    volume_case_close(c);
    assert_int_equal(fault_store_new(c->store, &layer, &fault), 0);
    c->store = layer;
    volume_case_open(c);
    make_file(ret, 0, "first", 7 * TAMPER_BLOCK + 100);
    assert_int_equal(volume_snapshot_take(c->volume, "snapshot", "shown", &snapshot, NULL), 0);
    overwrite(ret, &ret->files[0], TAMPER_BLOCK, TAMPER_BLOCK);
    make_others(ret);
    volume_case_reopen(c);
    make_file(ret, 1, "second", 9 * TAMPER_BLOCK);
    make_file(ret, 3, "inline", 100);
    volume_case_reopen(c);
    make_file(ret, 2, "moved", 5 * TAMPER_BLOCK + 3);
    sync_with_a_failure(ret, fault);
    volume_case_reopen(c); /* which also gives up the object that failed */
    make_unlinked(ret);
    volume_case_close(c);
    c->read_only = true;
}

void tamper_close(struct tamper_case *tamper)
{
    if (tamper->volume.volume != NULL)
        volume_case_close(&tamper->volume);
}

int tamper_try_reopen(struct tamper_case *tamper)
{
    tamper_close(tamper);
    return volume_case_try_open(&tamper->volume);
}

void tamper_reopen(struct tamper_case *tamper)
{
    tamper_close(tamper);
    volume_case_open(&tamper->volume);
}

void tamper_case_end(struct tamper_case *tamper)
{
    for (unsigned i = 0; i < TAMPER_FILES; i++)
        free(tamper->files[i].data);
    volume_case_end(&tamper->volume);
}

int tamper_read_part(struct tamper_case *tamper, const struct tamper_file *file, uint64_t offset,
                     size_t len)
{
    const unsigned *events = &tamper->volume.events[VOLUME_EVENT_CORRUPTION];
    unsigned before = *events;
    uint8_t *found = malloc(len);
    size_t got = 0;

    assert_non_null(found);
    int r = volume_read(tamper->volume.volume, file->ino, offset, len, found, &got);
    if (r == 0) {
        assert_int_equal(got, len);
        assert_memory_equal(found, file->data + offset, len);
    } else {
        assert_int_equal(r, -EIO);
        assert_true(*events > before);
    }
    free(found);
    return r;
}

int tamper_read(struct tamper_case *tamper, const struct tamper_file *file)
{
    return tamper_read_part(tamper, file, 0, file->len);
}

static void ignore_fault(const char *text, void *arg)
{
    (void)arg;
    assert_true(text[0] != '\0');
}

uint64_t tamper_faults(struct tamper_case *tamper, bool read_data)
{
    struct error err = { 0 };
    uint64_t faults = 0;

    int r = volume_check(tamper->volume.volume, read_data, ignore_fault, NULL, &faults, &err);
    if (r < 0)
        print_error("check: %s\n", err.text);
    assert_int_equal(r, 0);
    return faults;
}

void tamper_object_path(const struct tamper_case *tamper, const char *name,
                        char ret[static TAMPER_PATH_MAX])
{
    int len = snprintf(ret, TAMPER_PATH_MAX, "%s/store/%s", tamper->volume.folder, name);

    assert_true(len > 0 && (unsigned)len < TAMPER_PATH_MAX);
}

void tamper_flip(const char *path, uint64_t offset, uint8_t mask)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= mask;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    assert_int_equal(close(fd), 0);
}

static void copy_folder(const struct tamper_case *tamper, const char *from, const char *from_name,
                        const char *to, const char *to_name)
{
    const char *folder = tamper->volume.folder;
    char command[512];

    (void)snprintf(command, sizeof(command),
                   "rm -rf %s/%s%s && cp -a --sparse=always %s/%s%s %s/%s%s", folder, to, to_name,
                   folder, from, from_name, folder, to, to_name);
    assert_int_equal(system(command), 0);
}

void tamper_keep_metadata(const struct tamper_case *tamper, const char *name)
{
    copy_folder(tamper, "meta", "", "meta-", name);
}

void tamper_keep(const struct tamper_case *tamper, const char *name)
{
    assert_null(tamper->volume.volume);
    tamper_keep_metadata(tamper, name);
    copy_folder(tamper, "store", "", "store-", name);
}

void tamper_put_back_metadata(struct tamper_case *tamper, const char *name)
{
    tamper_close(tamper);
    copy_folder(tamper, "meta-", name, "meta", "");
}

void tamper_put_back(struct tamper_case *tamper, const char *name)
{
    struct error err = { 0 };

    tamper_put_back_metadata(tamper, name);
    object_store_close(tamper->volume.store);
    copy_folder(tamper, "store-", name, "store", "");
    assert_int_equal(object_store_open(tamper->volume.store_url, &tamper->volume.store, &err), 0);
}
