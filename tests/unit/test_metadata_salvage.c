/* Records were altered or deleted without which it is not known which state this is, or where data
 * lies: files are salvaged, and nothing is written. And what keeps a damaged file from being
 * removed.
 */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "fs/export.h"
#include "fs/volume_internal.h"
#include "meta/record_kinds.h"
#include "tests/support/snapshot_case.h"
#include "tests/support/tamper_records.h"

/* There are some dozens of announced ids: a few of them stand for all. */
static bool is_chosen(struct tamper_case *tamper, const struct record *record)
{
    return tamper->is_deep || record_kind(record) != RECORD_USAGE || tamper_draw(tamper, 12) == 0;
}

static int setup(void **state)
{
    struct tamper_case *tamper = calloc(1, sizeof(*tamper));

    assert_non_null(tamper);
    tamper_case_new(tamper);
    *state = tamper;
    return 0;
}

static int teardown(void **state)
{
    tamper_case_end(*state);
    free(*state);
    return 0;
}

static bool can_be_spared(const struct record *record)
{
    uint8_t kind = record_kind(record);

    return kind == RECORD_COMMIT || kind == RECORD_USAGE || kind == RECORD_LOCATION ||
           kind == RECORD_STATE || kind == RECORD_SNAPSHOT || kind == RECORD_RESTORE;
}

static void alter(struct tamper_case *tamper, const struct record *record)
{
    struct buf value = BUF_INIT;

    assert_int_equal(buf_append(&value, buf_bytes(&record->value)), 0);
    value.data[value.len - 1] ^= 1;
    record_set(tamper, record, &value);
    buf_release(&value);
}

/* What only a LOCATION record leads to may be refused. */
static void assert_salvaged(struct tamper_case *tamper, bool are_located)
{
    const struct bytes data = { .data = tamper->files[0].data, .len = 5 };
    struct volume_case *c = &tamper->volume;
    unsigned told = c->events[VOLUME_EVENT_READ_ONLY];

    c->salvage = true;
    tamper_reopen(tamper);
    c->salvage = false;
    assert_true(volume_is_read_only(c->volume));
    assert_int_equal(c->events[VOLUME_EVENT_READ_ONLY], told + 1);
    assert_non_null(strstr(c->last_event, "salvage"));
    assert_int_equal(volume_write(c->volume, tamper->files[0].ino, 0, data), -EROFS);
    for (unsigned i = 0; i < TAMPER_FILES; i++) {
        int r = tamper_read(tamper, &tamper->files[i]); /* never anything wrong */
        assert_true(r == 0 || (i == 2 && !are_located));
    }
}

/* Names, attributes and what lies in inodes are in the metadata. */
static void what_is_not_in_the_store_can_be_salvaged_when_all_of_that_is_lost(void **state)
{
    struct tamper_case *tamper = *state;
    struct volume_case *c = &tamper->volume;
    char command[160];

    c->read_only = false;
    (void)snprintf(command, sizeof(command), "rm -rf %s/store/*", c->folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(tamper_try_reopen(tamper), -ENOENT);
    assert_non_null(strstr(c->last_event, "--salvage"));
    c->salvage = true;
    tamper_reopen(tamper);
    assert_int_equal(tamper_read(tamper, &tamper->files[3]), 0); /* which is inline */
    (void)snprintf(command, sizeof(command), "test -z \"$(ls %s/store)\"", c->folder);
    assert_int_equal(system(command), 0);
}

static void files_can_be_salvaged_whatever_says_where_they_are(void **state)
{
    struct tamper_case *tamper = *state;
    struct records records;
    struct volume_case *c = &tamper->volume;

    records_read(tamper, &records);
    c->read_only = false; /* of the option itself */
    for (unsigned i = 0; i < records.count; i++) {
        const struct record *record = &records.items[i];
        if (!can_be_spared(record) || !is_chosen(tamper, record))
            continue;
        bool are_located = record_kind(record) != RECORD_LOCATION;
        alter(tamper, record);
        if (record_kind(record) == RECORD_COMMIT) {
            assert_int_equal(tamper_try_reopen(tamper), -EBADMSG);
            assert_non_null(strstr(c->last_event, "--salvage"));
        }
        assert_salvaged(tamper, are_located);
        record_set(tamper, record, NULL);
        assert_salvaged(tamper, are_located);
        record_set(tamper, record, &record->value);
    }
    for (unsigned i = 0; i < records.count; i++)
        if (can_be_spared(&records.items[i]))
            alter(tamper, &records.items[i]);
    assert_salvaged(tamper, false);

    /* Nothing was written: it is as it was when its records are. */
    for (unsigned i = 0; i < records.count; i++)
        if (can_be_spared(&records.items[i]))
            record_set(tamper, &records.items[i], &records.items[i].value);
    c->read_only = true;
    tamper_reopen(tamper);
    for (unsigned i = 0; i < TAMPER_FILES; i++)
        assert_int_equal(tamper_read(tamper, &tamper->files[i]), 0);
    assert_int_equal(tamper_faults(tamper, true), 0);
    records_release(&records);
}

/* --- a file whose list of extents was altered is removed --- */

static void alter_lists_of(struct tamper_case *tamper, uint64_t ino)
{
    struct records records;
    struct record_key first, end;

    extents_key(ino, 0, &first);
    extents_key(ino, UINT32_MAX, &end);
    records_read(tamper, &records);
    for (unsigned i = 0; i < records.count; i++) {
        const struct buf *key = &records.items[i].key;
        if (key->len == first.len && memcmp(key->data, first.data, first.len) >= 0 &&
            memcmp(key->data, end.data, end.len) <= 0)
            alter(tamper, &records.items[i]);
    }
    records_release(&records);
}

static void a_removed_file_takes_altered_lists_along(void **state)
{
    struct tamper_case *tamper = *state;
    struct volume_case *c = &tamper->volume;
    const struct tamper_file *file = &tamper->files[1];
    uint8_t room[16 * TAMPER_BLOCK];
    size_t got = 0;

    c->read_only = false;
    tamper_reopen(tamper);
    struct volume_snapshot kept = snapshot_case_take(c, "kept");
    tamper_close(tamper);
    alter_lists_of(tamper, file->ino);
    tamper_reopen(tamper);
    assert_int_equal(tamper_read(tamper, file), -EIO);
    uint64_t before = volume_case_used(c);
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, file->name), 0);
    (void)volume_case_used(c); /* ends it */
    assert_non_null(strstr(c->last_event, "removed"));

    /* What the snapshot showed is not a hole now. */
    uint64_t then = snapshot_case_root(&kept) - VOLUME_ROOT + file->ino;
    assert_int_equal(volume_read(c->volume, then, 0, sizeof(room), room, &got), -EIO);
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);

    snapshot_case_drop(c, "kept");
    snapshot_case_drop(c, "snapshot");
    snapshot_case_settle(c);
    tamper_reopen(tamper); /* which counts anew, if the keeper has not */
    assert_true(volume_case_used(c) < before);
    assert_false(segments_need_recount(c->volume->segments));
    volume_case_check(c);
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);
    assert_int_equal(tamper_read(tamper, &tamper->files[2]), 0);
}

static void remove_damaged(struct tamper_case *tamper, const struct tamper_file *file)
{
    struct volume_case *c = &tamper->volume;

    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, file->name), 0);
    (void)volume_case_used(c); /* ends it */
    assert_non_null(strstr(c->last_event, "removed"));
}

/* Counting anew is not kept from what is lost for good. */
static void what_is_in_use_is_counted_while_a_snapshot_shows_lost_lists(void **state)
{
    struct tamper_case *tamper = *state;
    struct volume_case *c = &tamper->volume;

    c->read_only = false;
    tamper_reopen(tamper);
    (void)snapshot_case_take(c, "kept");
    tamper_close(tamper);
    alter_lists_of(tamper, tamper->files[1].ino);
    tamper_reopen(tamper);
    remove_damaged(tamper, &tamper->files[1]);

    tamper_reopen(tamper);
    assert_false(segments_need_recount(c->volume->segments));
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);
    assert_int_equal(tamper_read(tamper, &tamper->files[2]), 0);
}

/* Nothing half comes back; and the way to the rest is told. One without the file is whole. */
static void what_shows_a_lost_list_is_refused_with_what_to_do(void **state)
{
    struct tamper_case *tamper = *state;
    struct volume_case *c = &tamper->volume;
    CLEANUP(run_list_release) struct run_list blocks = RUN_LIST_INIT;
    struct volume_export *export = NULL;
    struct volume_restored restored;
    struct error err = { .code = 0 };

    c->read_only = false;
    tamper_reopen(tamper);
    (void)snapshot_case_take(c, "kept");
    tamper_close(tamper);
    alter_lists_of(tamper, tamper->files[1].ino);
    tamper_reopen(tamper);
    remove_damaged(tamper, &tamper->files[1]);

    assert_int_equal(volume_restore(c->volume, "kept", NULL, NULL, &restored, &err), -EIO);
    assert_non_null(strstr(err.text, "copied out of the snapshot's folder"));
    err.code = 0;
    assert_int_equal(volume_export_open(c->volume, "kept", &export, &err), 0);
    assert_true(is_altered(volume_export_blocks(export, &blocks, &err)));
    assert_null(strstr(err.text, "kept")); /* which is kept in the registry */
    assert_non_null(strstr(err.text, "take another snapshot"));
    volume_export_close(export);

    err.code = 0;
    (void)snapshot_case_take(c, "without it");
    assert_int_equal(volume_export_open(c->volume, "without it", &export, &err), 0);
    assert_int_equal(volume_export_blocks(export, &blocks, &err), 0);
    volume_export_close(export);
}

/* What is in use cannot be counted then; nothing is given up, and it is opened all the same. */
static void it_opens_with_another_damaged_file(void **state)
{
    struct tamper_case *tamper = *state;
    struct volume_case *c = &tamper->volume;

    c->read_only = false;
    tamper_reopen(tamper);
    snapshot_case_drop(c, "snapshot");
    snapshot_case_settle(c);
    tamper_close(tamper);
    alter_lists_of(tamper, tamper->files[1].ino);
    alter_lists_of(tamper, tamper->files[2].ino);
    tamper_reopen(tamper);
    remove_damaged(tamper, &tamper->files[1]);

    tamper_reopen(tamper);
    assert_true(segments_need_recount(c->volume->segments));
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);
    assert_int_equal(tamper_read(tamper, &tamper->files[2]), -EIO);
    remove_damaged(tamper, &tamper->files[2]);
    tamper_reopen(tamper);
    assert_false(segments_need_recount(c->volume->segments));
    assert_int_equal(tamper_read(tamper, &tamper->files[0]), 0);
    volume_case_check(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_can_be_salvaged_whatever_says_where_they_are, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            what_is_not_in_the_store_can_be_salvaged_when_all_of_that_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removed_file_takes_altered_lists_along, setup, teardown),
        cmocka_unit_test_setup_teardown(what_shows_a_lost_list_is_refused_with_what_to_do, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_in_use_is_counted_while_a_snapshot_shows_lost_lists,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(it_opens_with_another_damaged_file, setup, teardown),
    };

    return cmocka_run_group_tests_name("metadata_salvage", tests, NULL, NULL);
}
