/* The set of snapshots, against a plain list of them that is gone through; and that it does not go
 * through its own. */
#include "tests/support/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/snapshot_set.h"

#define MODEL_MAX 64u
#define MANY 3000u

struct model {
    struct snapshot_set set;
    struct snapshot_entry items[MODEL_MAX]; /* epoch 0: nothing */
    uint64_t next;
    uint64_t random;
};

static unsigned draw(struct model *model)
{
    model->random = model->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(model->random >> 33);
}

static struct snapshot_record record_of(unsigned number, enum snapshot_state state)
{
    struct snapshot_record record = { .slot = (uint16_t)(number % SNAPSHOT_SLOT_MAX + 1),
                                      .state = state };

    (void)snprintf(record.name, sizeof(record.name), "name %u", number);
    (void)snprintf(record.access_point, sizeof(record.access_point), "@%u", 7 * number % 1000);
    return record;
}

typedef bool matches_fn(const struct snapshot_entry *entry, const void *arg);

static const struct snapshot_entry *model_first(const struct model *model, matches_fn *matches,
                                                const void *arg)
{
    const struct snapshot_entry *found = NULL;

    for (unsigned i = 0; i < MODEL_MAX; i++) {
        const struct snapshot_entry *item = &model->items[i];
        if (item->epoch != 0 && matches(item, arg) && (!found || item->epoch < found->epoch))
            found = item;
    }
    return found;
}

static bool is_removing(const struct snapshot_entry *entry, const void *arg)
{
    (void)arg;
    return entry->record.state == SNAPSHOT_REMOVING;
}

static bool arrives(const struct snapshot_entry *entry, const void *arg)
{
    (void)arg;
    return entry->record.state == SNAPSHOT_ARRIVING;
}

static bool is_kept_behind(const struct snapshot_entry *entry, const void *epoch)
{
    return !is_removing(entry, NULL) && entry->epoch > *(const uint64_t *)epoch;
}

static bool has_slot(const struct snapshot_entry *entry, const void *slot)
{
    return entry->record.slot == *(const unsigned *)slot;
}

static uint64_t epoch_of(const struct snapshot_entry *entry, uint64_t otherwise)
{
    return entry ? entry->epoch : otherwise;
}

static void expect_names(struct model *model, const struct snapshot_entry *item)
{
    bool is_seen = item->record.state == SNAPSHOT_KEPT;
    struct snapshot_entry found;

    assert_int_equal(snapshot_set_find(&model->set, item->record.name, &found), is_seen);
    if (is_seen)
        assert_memory_equal(&found, item, sizeof(found));
    assert_int_equal(snapshot_set_find_epoch(&model->set, item->epoch, &found), is_seen);
    if (is_seen)
        assert_memory_equal(&found, item, sizeof(found));
    if (snapshot_set_find_access(&model->set, item->record.access_point, &found))
        assert_string_equal(found.record.access_point, item->record.access_point);
    else
        assert_false(is_seen);
    assert_true(snapshot_set_at_slot(&model->set, item->record.slot) ==
                (is_seen ? item->epoch : 0));
}

static void expect_epochs(struct model *model)
{
    for (uint64_t epoch = 0; epoch <= model->next; epoch++) {
        uint64_t behind = epoch_of(model_first(model, is_kept_behind, &epoch), UINT64_MAX);
        assert_true(snapshot_set_kept_behind(&model->set, epoch) == behind);
        assert_int_equal(snapshot_set_has_kept(&model->set, epoch + 1, epoch + 3),
                         behind <= epoch + 3);
        if (behind == UINT64_MAX)
            continue;
        assert_true(snapshot_set_kept_before(&model->set, behind) <= epoch);
        assert_true(snapshot_set_kept_before(&model->set, behind + 1) == behind);
    }
}

static void expect_same(struct model *model)
{
    struct snapshot_entry entry = { .epoch = 0 };
    size_t seen = 0;
    size_t count = 0;

    for (unsigned i = 0; i < MODEL_MAX; i++) {
        if (model->items[i].epoch == 0)
            continue;
        count++;
        seen += model->items[i].record.state == SNAPSHOT_KEPT;
        expect_names(model, &model->items[i]);
    }
    assert_int_equal(snapshot_set_seen(&model->set), seen);
    assert_int_equal(snapshot_set_is_empty(&model->set), count == 0);
    assert_true(snapshot_set_removing(&model->set) ==
                epoch_of(model_first(model, is_removing, NULL), 0));
    assert_int_equal(snapshot_set_arriving(&model->set, &entry),
                     model_first(model, arrives, NULL) != NULL);
    unsigned slot = snapshot_set_free_slot(&model->set);
    assert_true(slot > 0 && slot <= SNAPSHOT_SLOT_MAX);
    assert_null(model_first(model, has_slot, &slot));
    assert_false(snapshot_set_find(&model->set, "name", &entry));
    expect_epochs(model);
    for (entry.epoch = 0; snapshot_set_next(&model->set, entry.epoch, &entry);)
        count--;
    assert_int_equal(count, 0);
}

static void put(struct model *model, struct snapshot_entry *item)
{
    assert_int_equal(snapshot_set_put(&model->set, item->epoch, &item->record), 0);
}

static void change_one(struct model *model, struct snapshot_entry *item)
{
    unsigned number = draw(model);
    bool one_arrives = model_first(model, arrives, NULL) != NULL;

    if (item->epoch == 0) {
        item->epoch = model->next;
        model->next += 1 + number % 3;
        item->record = record_of((unsigned)item->epoch,
                                 one_arrives || number % 5 > 0 ? SNAPSHOT_KEPT : SNAPSHOT_ARRIVING);
        item->record.slot = snapshot_set_free_slot(&model->set);
        put(model, item);
    } else if (item->record.state == SNAPSHOT_REMOVING) {
        snapshot_set_drop(&model->set, item->epoch);
        item->epoch = 0;
    } else if (number % 2 == 0) {
        item->record.state = SNAPSHOT_REMOVING;
        put(model, item);
    } else {
        item->record.state = SNAPSHOT_KEPT;
        (void)snprintf(item->record.name, sizeof(item->record.name), "new %u of %llu", number,
                       (unsigned long long)item->epoch);
        put(model, item);
    }
}

static void the_set_answers_as_a_plain_list_does(void **state)
{
    struct model *model = calloc(1, sizeof(*model));

    (void)state;
    assert_non_null(model);
    model->next = 1;
    snapshot_set_init(&model->set);
    expect_same(model);
    for (unsigned i = 0; i < 2000; i++) {
        change_one(model, &model->items[draw(model) % MODEL_MAX]);
        expect_same(model);
    }
    snapshot_set_drop(&model->set, model->next); /* which is not there */
    expect_same(model);
    snapshot_set_release(&model->set);
    free(model);
}

static void fill(struct snapshot_set *set, unsigned count)
{
    snapshot_set_init(set);
    for (unsigned i = 1; i <= count; i++) {
        struct snapshot_record record = record_of(i, SNAPSHOT_KEPT);
        (void)snprintf(record.access_point, sizeof(record.access_point), "@GMT-%u", i);
        assert_int_equal(snapshot_set_put(set, i, &record), 0);
    }
}

/* As a listing of all access points asks for each, and as their removal does. */
static void no_question_goes_through_all_snapshots(void **state)
{
    struct snapshot_set set;
    struct snapshot_entry found;
    char text[64];

    (void)state;
    fill(&set, MANY);
    uint64_t before = snapshot_set_compared(&set);
    for (unsigned i = 1; i <= MANY; i++) {
        (void)snprintf(text, sizeof(text), "@GMT-%u", i);
        assert_true(snapshot_set_find_access(&set, text, &found));
        assert_int_equal(found.epoch, i);
        (void)snprintf(text, sizeof(text), "name %u", i);
        assert_true(snapshot_set_find(&set, text, &found));
        assert_int_equal(found.epoch, i);
    }
    assert_in_range(snapshot_set_compared(&set) - before, MANY, UINT64_C(2) * MANY * 12);

    before = snapshot_set_compared(&set);
    for (unsigned i = 1; i < MANY; i++) {
        const struct snapshot_record record = record_of(i, SNAPSHOT_REMOVING);
        assert_int_equal(snapshot_set_put(&set, i, &record), 0);
    }
    for (unsigned i = 1; i < MANY; i++) {
        assert_int_equal(snapshot_set_removing(&set), 1);
        assert_int_equal(snapshot_set_kept_behind(&set, i), MANY);
        assert_int_equal(snapshot_set_kept_before(&set, i), 0);
        assert_false(snapshot_set_has_kept(&set, 1, i));
    }
    assert_in_range(snapshot_set_compared(&set) - before, MANY, UINT64_C(8) * MANY * 12);
    snapshot_set_release(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_answers_as_a_plain_list_does),
        cmocka_unit_test(no_question_goes_through_all_snapshots),
    };

    return cmocka_run_group_tests_name("snapshot set", tests, NULL, NULL);
}
