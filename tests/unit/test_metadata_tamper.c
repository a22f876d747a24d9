/* What lies in the database was altered, exchanged, deleted or put back from an older copy, record
 * by record and all at once; or metadata and store do not belong together. Nothing wrong is read
 * as long as the record did not authenticate, and a check finds everything. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file_io.h"
#include "fs/records.h"
#include "fs/segment_format.h"
#include "meta/record_kinds.h"
#include "tests/support/tamper_records.h"

#define LONGEST ((size_t)1 << 20) /* far beyond what is ever written */

/* There are some dozens of announced ids: a few of them stand for all. */
static bool is_chosen(struct tamper_case *tamper, const struct record *record)
{
    return tamper->is_deep || record_kind(record) != RECORD_USAGE || tamper_draw(tamper, 12) == 0;
}

struct fixture {
    struct tamper_case tamper;
    struct records records;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    tamper_case_new(&fixture->tamper);
    records_read(&fixture->tamper, &fixture->records);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    records_release(&fixture->records);
    tamper_case_end(&fixture->tamper);
    free(fixture);
    return 0;
}

static int count_name(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    (void)name;
    (void)attr;
    (void)next;
    ++*(unsigned *)arg;
    return 0;
}

/* Of the others than the files. */
static void read_names_strictly(struct tamper_case *tamper)
{
    struct volume *volume = tamper->volume.volume;
    char target[VOLUME_SYMLINK_MAX + 1];
    uint8_t value[16];
    size_t len = 0;
    struct volume_attr attr;
    unsigned names = 0;

    int r = volume_readdir(volume, VOLUME_ROOT, 0, false, count_name, &names);
    assert_true((r == 0 && names == 2 + TAMPER_FILES + 2) || r == -EIO);
    r = volume_getxattr(volume, tamper->files[0].ino, "user.some", value, sizeof(value), &len);
    assert_true((r == 0 && len == 5 && memcmp(value, "value", 5) == 0) || r == -EIO);
    r = volume_lookup(volume, VOLUME_ROOT, "link", &attr);
    if (r == 0)
        r = volume_readlink(volume, attr.ino, target);
    assert_true((r == 0 && strcmp(target, "first") == 0) || r == -EIO);
    r = volume_lookup(volume, VOLUME_ROOT, "folder", &attr);
    assert_true((r == 0 && S_ISDIR(attr.mode)) || r == -EIO);
}

/* All is right, or refused. */
static void read_strictly(struct tamper_case *tamper)
{
    for (unsigned i = 0; i < TAMPER_FILES; i++) {
        const struct tamper_file *file = &tamper->files[i];
        struct volume_attr attr;
        int r = volume_lookup(tamper->volume.volume, VOLUME_ROOT, file->name, &attr);
        assert_true(r == 0 || r == -EIO);
        if (r == 0) {
            assert_int_equal(attr.ino, file->ino);
            assert_int_equal(attr.size, file->len);
        }
        (void)tamper_read(tamper, file); /* asserts it itself */
    }
    read_names_strictly(tamper);
}

/* Of records that were deleted: what is there is right. None of the files has holes. */
static void read_what_is_there(struct tamper_case *tamper)
{
    for (unsigned i = 0; i < TAMPER_FILES; i++) {
        const struct tamper_file *file = &tamper->files[i];
        uint8_t room[16 * TAMPER_BLOCK];
        size_t got = 0;
        int r = volume_read(tamper->volume.volume, file->ino, 0, sizeof(room), room, &got);
        assert_true(r == 0 || r == -EIO || r == -ENOENT);
        if (r == 0) {
            assert_int_equal(got, file->len);
            assert_memory_equal(room, file->data, got);
        }
    }
}

/* Who puts back records that are authentic shows older files, until a check. */
static void read_anything(struct tamper_case *tamper)
{
    uint8_t room[16 * TAMPER_BLOCK];
    unsigned names = 0;
    size_t got;

    for (unsigned i = 0; i < TAMPER_FILES; i++) {
        const struct tamper_file *file = &tamper->files[i];
        struct volume_attr attr;
        int r = volume_lookup(tamper->volume.volume, VOLUME_ROOT, file->name, &attr);
        assert_true(r == 0 || r == -EIO || r == -ENOENT);
        r = volume_read(tamper->volume.volume, file->ino, 0, sizeof(room), room, &got);
        assert_true(r == 0 || r == -EIO || r == -ENOENT);
    }
    (void)volume_readdir(tamper->volume.volume, VOLUME_ROOT, 0, true, count_name, &names);
}

/* Opened as it is now stored: that is refused with a reason, or a check finds a fault. */
static void assert_noticed(struct tamper_case *tamper, void (*read)(struct tamper_case *tamper))
{
    int r;

    tamper->volume.last_event[0] = '\0';
    r = tamper_try_reopen(tamper);
    if (r < 0) {
        assert_true(r == -EBADMSG || r == -EPROTONOSUPPORT || r == -ENOENT);
        assert_true(tamper->volume.last_event[0] != '\0');
        return;
    }
    read(tamper);
    assert_true(tamper_faults(tamper, false) > 0);
}

static void assert_sound(struct tamper_case *tamper)
{
    tamper_reopen(tamper);
    read_strictly(tamper);
    for (unsigned i = 0; i < TAMPER_FILES; i++)
        assert_int_equal(tamper_read(tamper, &tamper->files[i]), 0);
    assert_int_equal(tamper_faults(tamper, true), 0);
}

static void there_is_a_record_of_every_kind(void **state)
{
    static const uint8_t kinds[] = { RECORD_SUPERBLOCK, RECORD_INCARNATION, RECORD_COMMIT,
                                     RECORD_STATE,      RECORD_INODE,       RECORD_DIRENT,
                                     RECORD_EXTENTS,    RECORD_XATTR,       RECORD_ORPHAN,
                                     RECORD_USAGE,      RECORD_LOCATION };
    struct fixture *fixture = *state;

    for (unsigned k = 0; k < sizeof(kinds); k++) {
        unsigned found = 0;
        for (unsigned i = 0; i < fixture->records.count; i++)
            found += record_kind(&fixture->records.items[i]) == kinds[k];
        assert_true(found > 0);
    }
    assert_sound(&fixture->tamper);
}

static void an_altered_byte_of_a_record_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;

    for (unsigned i = 0; i < fixture->records.count; i++) {
        struct record *record = &fixture->records.items[i];
        if (!is_chosen(tamper, record))
            continue;
        for (size_t at = 0; at < record->value.len; at++) {
            if (!tamper->is_deep && tamper_draw(tamper, (uint32_t)record->value.len) >= 4)
                continue;
            uint8_t mask = (uint8_t)(1u << tamper_draw(tamper, 8));
            record->value.data[at] ^= mask;
            record_set(tamper, record, &record->value);
            assert_noticed(tamper, read_strictly);
            record->value.data[at] ^= mask;
        }
        record_set(tamper, record, &record->value);
    }
    assert_sound(tamper);
}

static void a_record_of_another_length_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;

    for (unsigned i = 0; i < fixture->records.count; i++) {
        struct record *record = &fixture->records.items[i];
        struct buf longer = BUF_INIT;
        if (!is_chosen(tamper, record))
            continue;
        const struct buf shorter = { record->value.data,
                                     tamper_draw(tamper, (uint32_t)record->value.len) };
        assert_int_equal(buf_assign(&longer, buf_bytes(&record->value)), 0);
        assert_int_equal(buf_append(&longer, (struct bytes){ record->key.data, 1 }), 0);
        record_set(tamper, record, &longer);
        assert_noticed(tamper, read_strictly);
        struct buf longest = { calloc(1, LONGEST), LONGEST };
        assert_non_null(longest.data);
        memcpy(longest.data, record->value.data, record->value.len);
        record_set(tamper, record, &longest);
        assert_noticed(tamper, read_strictly);
        buf_release(&longest);
        record_set(tamper, record, &shorter);
        assert_noticed(tamper, read_strictly);
        record_set(tamper, record, &record->value);
        buf_release(&longer);
    }
    assert_sound(tamper);
}

static void a_deleted_record_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;

    for (unsigned i = 0; i < fixture->records.count; i++) {
        const struct record *record = &fixture->records.items[i];
        if (!is_chosen(tamper, record))
            continue;
        record_set(tamper, record, NULL);
        assert_noticed(tamper, read_what_is_there);
        record_set(tamper, record, &record->value);
    }
    assert_sound(tamper);
}

static void exchanged_values_are_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    struct record *items = fixture->records.items;

    for (unsigned i = 0; i < fixture->records.count; i++)
        for (unsigned k = i + 1; k < fixture->records.count; k++) {
            bool is_pair =
                record_kind(&items[i]) == record_kind(&items[k]) || tamper_draw(tamper, 40) == 0;
            if (!is_pair || !is_chosen(tamper, &items[i]) || !is_chosen(tamper, &items[k]))
                continue;
            if (!tamper->is_deep && tamper_draw(tamper, 4) != 0)
                continue;
            record_set(tamper, &items[i], &items[k].value);
            record_set(tamper, &items[k], &items[i].value);
            assert_noticed(tamper, read_strictly);
            record_set(tamper, &items[i], &items[i].value);
            record_set(tamper, &items[k], &items[k].value);
        }
    assert_sound(tamper);
}

/* A run that changes something of every kind of record. */
static void change_much(struct tamper_case *tamper)
{
    struct volume *volume;
    const struct volume_attr times = { .atime_ns = 1, .mtime_ns = 2 };
    const unsigned which = VOLUME_SET_ATIME | VOLUME_SET_MTIME;
    const struct volume_owner owner = { .uid = 7 };
    struct volume_attr attr;

    tamper->volume.read_only = false;
    tamper_reopen(tamper);
    volume = tamper->volume.volume;
    for (unsigned i = 0; i < TAMPER_FILES; i++) {
        struct tamper_file *file = &tamper->files[i];
        file->data[3] ^= 0xff;
        assert_int_equal(
            volume_write(volume, file->ino, 0, (struct bytes){ .data = file->data, .len = 10 }), 0);
    }
    assert_int_equal(volume_setattr(volume, VOLUME_ROOT, &times, which, &attr), 0);
    assert_int_equal(volume_unlink(volume, VOLUME_ROOT, "link"), 0);
    assert_int_equal(volume_symlink(volume, VOLUME_ROOT, "link", "first", &owner, &attr), 0);
    assert_int_equal(volume_setxattr(volume, tamper->files[0].ino, "user.some",
                                     (struct bytes){ (const uint8_t *)"value", 5 }, 0),
                     0);
    tamper_close(tamper);
    tamper->volume.read_only = true;
}

static const struct record *find_record(const struct records *records, const struct record *like)
{
    for (unsigned i = 0; i < records->count; i++)
        if (records->items[i].key.len == like->key.len &&
            memcmp(records->items[i].key.data, like->key.data, like->key.len) == 0)
            return &records->items[i];
    return NULL;
}

static bool is_same_value(const struct record *a, const struct record *b)
{
    return a->value.len == b->value.len && memcmp(a->value.data, b->value.data, a->value.len) == 0;
}

/* Changed since, or removed since. */
static void a_record_put_back_from_an_older_copy_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    struct records now;
    bool was_changed[256] = { false };
    bool was_removed[256] = { false };

    change_much(tamper);
    assert_sound(tamper);
    tamper_close(tamper);
    records_read(tamper, &now);
    for (unsigned i = 0; i < fixture->records.count; i++) {
        const struct record *old = &fixture->records.items[i];
        const struct record *present = find_record(&now, old);
        if (present != NULL && is_same_value(present, old))
            continue;
        if (present != NULL)
            was_changed[record_kind(old)] = true;
        else
            was_removed[record_kind(old)] = true;
        if (!is_chosen(tamper, old))
            continue;
        record_set(tamper, old, &old->value);
        assert_noticed(tamper, read_anything);
        record_set(tamper, old, present == NULL ? NULL : &present->value);
    }
    assert_true(was_changed[RECORD_INODE] && was_changed[RECORD_EXTENTS] &&
                was_changed[RECORD_COMMIT] && was_changed[RECORD_SUPERBLOCK] &&
                was_changed[RECORD_STATE] && was_changed[RECORD_XATTR]);
    assert_true(was_removed[RECORD_ORPHAN] && was_removed[RECORD_INODE]);
    assert_sound(tamper);
    tamper_close(tamper);
    records_release(&now);
}

/* Whatever comes back: nothing ends the program, what is read is right, and it can be opened or is
 * refused afterwards. */
static void use(struct tamper_case *tamper)
{
    struct volume *volume = tamper->volume.volume;
    const struct volume_owner owner = { .uid = 0 };
    struct volume_attr attr;
    struct error err = { 0 };
    uint8_t data[5 * TAMPER_BLOCK] = { 1 };

    read_strictly(tamper);
    if (volume_mknod(volume, VOLUME_ROOT, "new", S_IFREG | 0644, 0, &owner, &attr) == 0)
        (void)volume_write(volume, attr.ino, 0, (struct bytes){ data, sizeof(data) });
    (void)volume_sync(volume, &err);
    (void)volume_unlink(volume, VOLUME_ROOT, "second");
    (void)volume_sync(volume, &err);
    (void)tamper_faults(tamper, true);
}

static void a_volume_with_altered_records_can_be_written_to_or_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    bool was_tried[256] = { false };

    tamper_keep(tamper, "kept");
    tamper->volume.read_only = false;
    for (unsigned i = 0; i < fixture->records.count; i++) {
        struct record *record = &fixture->records.items[i];
        uint8_t kind = record_kind(record);
        if (was_tried[kind] && !tamper->is_deep && tamper_draw(tamper, 10) != 0)
            continue;
        was_tried[kind] = true;
        size_t at = tamper_draw(tamper, (uint32_t)record->value.len);
        record->value.data[at] ^= 0x20;
        record_set(tamper, record, &record->value);
        record->value.data[at] ^= 0x20;
        if (tamper_try_reopen(tamper) == 0) {
            struct error err = { 0 };
            use(tamper);
            (void)volume_close(tamper->volume.volume, &err);
            tamper->volume.volume = NULL;
        }
        tamper_put_back(tamper, "kept");
    }
    tamper->volume.read_only = true;
    assert_sound(tamper);
}

static bool is_saved(const struct record *record, uint8_t kind, uint64_t ino)
{
    struct record_key live;
    uint64_t found;
    uint64_t last;

    return record_kind(record) == RECORD_HISTORY &&
           history_key_decode(buf_bytes(&record->key), &live, &last) == 0 &&
           record_key_inode(record_key_bytes(&live), kind, &found, NULL) == 0 && found == ino;
}

static struct record *find_saved(struct records *records, uint8_t kind, uint64_t ino)
{
    unsigned i = 0;

    while (!is_saved(&records->items[i], kind, ino))
        assert_true(++i < records->count);
    return &records->items[i];
}

/* Until the snapshot is gone, and what is in use was counted anew. */
static void wait_until_sound(struct tamper_case *tamper)
{
    while (tamper_faults(tamper, true) != 0)
        clock_sleep_ms(10);
}

static void an_altered_saved_record_harms_its_snapshot_alone(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    const struct tamper_file *file = &tamper->files[0];
    struct record *record = find_saved(&fixture->records, RECORD_EXTENTS, file->ino);
    uint64_t past = ((uint64_t)1 << 48) | file->ino;
    uint8_t data[TAMPER_BLOCK];
    size_t len;

    record->value.data[record->value.len - 20] ^= 1;
    record_set(tamper, record, &record->value);
    tamper->volume.read_only = false;
    tamper_reopen(tamper);
    assert_int_equal(volume_read(tamper->volume.volume, past, 0, sizeof(data), data, &len), -EIO);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(
            volume_write(tamper->volume.volume, file->ino, (uint64_t)i * TAMPER_BLOCK,
                         (struct bytes){ file->data + (size_t)i * TAMPER_BLOCK, TAMPER_BLOCK }),
            0);
    assert_int_equal(tamper_read(tamper, file), 0);
    assert_true(tamper_faults(tamper, false) > 0);
    assert_int_equal(volume_snapshot_remove(tamper->volume.volume, "snapshot", NULL), 0);
    wait_until_sound(tamper);
    assert_int_equal(tamper_read(tamper, file), 0);
}

static void the_altered_copy_of_the_superblock_is_repaired(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    struct record *record = fixture->records.items;

    while (record_kind(record) != RECORD_SUPERBLOCK)
        record++;
    tamper->volume.read_only = false;
    record->value.data[100] ^= 1;
    record_set(tamper, record, &record->value);
    assert_sound(tamper);
    record_set(tamper, record, NULL);
    assert_sound(tamper);
}

/* What the old state names and the store no longer has is refused; what the store has besides is
 * reported and stays. */
static void an_old_copy_of_the_metadata_is_read_only_until_taken_over(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    const struct bytes data = { .data = tamper->files[0].data, .len = 5 };
    struct tamper_file later = { .name = "later", .len = 9 * TAMPER_BLOCK };
    struct volume_case *c = &tamper->volume;

    tamper_keep(tamper, "old");
    c->read_only = false;
    tamper_reopen(tamper);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "second"), 0);
    volume_forget(c->volume, tamper->files[1].ino, 1);
    later.data = calloc(1, later.len);
    assert_non_null(later.data);
    later.ino = volume_case_file(c, later.name);
    assert_int_equal(volume_write(c->volume, later.ino, 0, (struct bytes){ later.data, later.len }),
                     0);
    free(later.data);
    tamper_put_back_metadata(tamper, "old");

    tamper_reopen(tamper);
    assert_true(volume_is_read_only(c->volume));
    assert_int_equal(c->events[VOLUME_EVENT_READ_ONLY], 1);
    assert_int_equal(volume_write(c->volume, tamper->files[0].ino, 0, data), -EROFS);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "first"), -EROFS);
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);
    assert_int_equal(tamper_read(tamper, &tamper->files[1]), -EIO);
    assert_true(tamper_faults(tamper, true) > 0);

    c->take_over = true;
    tamper_reopen(tamper);
    c->take_over = false;
    assert_false(volume_is_read_only(c->volume));
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);
    assert_int_equal(tamper_read(tamper, &tamper->files[1]), -EIO);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "second"), 0);
    tamper_reopen(tamper);
    assert_false(volume_is_read_only(c->volume)); /* it was taken over for good */
    assert_int_equal(c->events[VOLUME_EVENT_READ_ONLY], 1);
    for (unsigned i = 0; i < TAMPER_FILES; i++)
        if (i != 1)
            assert_int_equal(tamper_read(tamper, &tamper->files[i]), 0);
    assert_int_equal(tamper_faults(tamper, true), 1); /* the object that nobody knows */
    tamper_reopen(tamper);
    assert_int_equal(tamper_faults(tamper, true), 1); /* and it is still there */
}

static int count_object(const char *name, uint64_t size, void *arg)
{
    (void)name;
    (void)size;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned count_objects(const struct tamper_case *tamper)
{
    unsigned count = 0;

    assert_int_equal(
        object_store_list(tamper->volume.store, SEGMENT_PREFIX, count_object, &count, NULL), 0);
    return count;
}

static void write_later(struct tamper_case *tamper, const char *name)
{
    const struct tamper_file *file = &tamper->files[1];
    struct error err = { 0 };

    uint64_t ino = volume_case_file(&tamper->volume, name);
    assert_int_equal(volume_write(tamper->volume.volume, ino, 0,
                                  (struct bytes){ .data = file->data, .len = file->len }),
                     0);
    assert_int_equal(volume_sync(tamper->volume.volume, &err), 0);
}

/* A backup of a volume in use names the ids that the run used after it. Read-only, nothing is
 * deleted: the newer metadata may come back. Taken over, only the old state counts. */
static void what_the_old_state_had_announced_goes_when_it_is_taken_over(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    struct volume_case *c = &tamper->volume;
    const unsigned before = count_objects(tamper);
    struct volume_attr attr;

    c->read_only = false;
    tamper_reopen(tamper);
    tamper_keep_metadata(tamper, "in-use");
    write_later(tamper, "later");
    tamper_close(tamper);
    tamper_keep_metadata(tamper, "newest");
    const unsigned after = count_objects(tamper);

    tamper_put_back_metadata(tamper, "in-use");
    tamper_reopen(tamper);
    assert_true(volume_is_read_only(c->volume));
    tamper_close(tamper);
    assert_int_equal(count_objects(tamper), after);

    tamper_put_back_metadata(tamper, "newest");
    tamper_reopen(tamper);
    assert_false(volume_is_read_only(c->volume));
    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "later", &attr), 0);
    assert_int_equal(tamper_faults(tamper, true), 0);

    tamper_put_back_metadata(tamper, "in-use");
    c->take_over = true;
    tamper_reopen(tamper);
    c->take_over = false;
    assert_false(volume_is_read_only(c->volume));
    assert_int_equal(volume_lookup(c->volume, VOLUME_ROOT, "later", &attr), -ENOENT);
    tamper_reopen(tamper);
    for (unsigned i = 0; i < TAMPER_FILES; i++)
        assert_int_equal(tamper_read(tamper, &tamper->files[i]), 0);
    assert_int_equal(tamper_faults(tamper, true), 0);
    tamper_close(tamper);
    assert_true(count_objects(tamper) < after);
    assert_true(count_objects(tamper) <= before);
}

static void read_superblock(struct tamper_case *tamper, struct buf *ret)
{
    char path[TAMPER_PATH_MAX];

    tamper_object_path(tamper, SUPERBLOCK_OBJECT, path);
    assert_int_equal(file_read(path, SUPERBLOCK_MAX, ret, NULL), 0);
}

static void write_superblock(struct tamper_case *tamper, const struct buf *superblock)
{
    char path[TAMPER_PATH_MAX];

    tamper_object_path(tamper, SUPERBLOCK_OBJECT, path);
    assert_int_equal(file_replace(path, buf_bytes(superblock), 0600, NULL), 0);
}

static void assert_refused(struct tamper_case *tamper, int wanted)
{
    tamper->volume.last_event[0] = '\0';
    tamper->volume.read_only = false;
    assert_int_equal(tamper_try_reopen(tamper), wanted);
    assert_true(tamper->volume.last_event[0] != '\0');
}

/* Neither is opened, nor changed. */
static void what_belongs_to_another_filesystem_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    struct tamper_case other;
    struct buf own = BUF_INIT;
    struct buf foreign = BUF_INIT;
    struct buf after = BUF_INIT;
    struct object_store *store = tamper->volume.store;

    tamper_case_new(&other);
    read_superblock(tamper, &own);
    read_superblock(&other, &foreign);

    write_superblock(tamper, &foreign);
    assert_refused(tamper, -EBADMSG);
    write_superblock(tamper, &own);

    tamper->volume.store = other.volume.store;
    assert_refused(tamper, -EBADMSG);
    tamper->volume.store = store;
    read_superblock(&other, &after);
    assert_int_equal(after.len, foreign.len);
    assert_memory_equal(after.data, foreign.data, after.len);

    char url[sizeof(tamper->volume.meta_url)];
    memcpy(url, tamper->volume.meta_url, sizeof(url));
    memcpy(tamper->volume.meta_url, other.volume.meta_url, sizeof(url));
    assert_refused(tamper, -EBADMSG);
    memcpy(tamper->volume.meta_url, url, sizeof(url));

    tamper->volume.read_only = true;
    assert_sound(tamper);
    assert_sound(&other);
    tamper_case_end(&other);
    buf_release(&own);
    buf_release(&foreign);
    buf_release(&after);
}

static void an_empty_store_is_not_taken_for_the_lost_one(void **state)
{
    struct fixture *fixture = *state;
    struct tamper_case *tamper = &fixture->tamper;
    struct object_store *store = tamper->volume.store;
    char folder[96];
    char url[128];
    struct error err = { 0 };
    uint64_t size;

    (void)snprintf(folder, sizeof(folder), "%s/empty", tamper->volume.folder);
    (void)snprintf(url, sizeof(url), "dir:%s", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(object_store_open(url, &tamper->volume.store, &err), 0);
    assert_refused(tamper, -ENOENT);
    assert_int_equal(object_store_stat(tamper->volume.store, SUPERBLOCK_OBJECT, &size, &err),
                     -ENOENT);
    object_store_close(tamper->volume.store);
    tamper->volume.store = store;
    tamper->volume.read_only = true;
    assert_sound(tamper);
}

#define EVERY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY(there_is_a_record_of_every_kind),
        EVERY(an_altered_byte_of_a_record_is_noticed),
        EVERY(a_record_of_another_length_is_noticed),
        EVERY(a_deleted_record_is_noticed),
        EVERY(exchanged_values_are_noticed),
        EVERY(a_record_put_back_from_an_older_copy_is_noticed),
        EVERY(a_volume_with_altered_records_can_be_written_to_or_is_refused),
        EVERY(an_altered_saved_record_harms_its_snapshot_alone),
        EVERY(the_altered_copy_of_the_superblock_is_repaired),
        EVERY(an_old_copy_of_the_metadata_is_read_only_until_taken_over),
        EVERY(what_the_old_state_had_announced_goes_when_it_is_taken_over),
        EVERY(what_belongs_to_another_filesystem_is_refused),
        EVERY(an_empty_store_is_not_taken_for_the_lost_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
