/* Records were altered or deleted without which it is not known which state this is, or where data
 * lies: files are salvaged, and nothing is written. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta/record_kinds.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_can_be_salvaged_whatever_says_where_they_are, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("metadata_salvage", tests, NULL, NULL);
}
