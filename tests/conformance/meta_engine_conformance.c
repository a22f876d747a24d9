/* What every metadata engine promises (meta/meta_engine.h), tried on each. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "meta/meta_engine.h"
#include "tests/support/meta_case.h"

struct listing {
    char text[4096];
    unsigned stop_after;
    unsigned seen;
};

static int list_one(struct bytes key, struct bytes value, void *arg)
{
    struct listing *listing = arg;
    size_t len = strlen(listing->text);

    (void)snprintf(listing->text + len, sizeof(listing->text) - len, "%.*s=%.*s ", (int)key.len,
                   (const char *)key.data, (int)value.len, (const char *)value.data);
    listing->seen++;
    return listing->seen == listing->stop_after ? 77 : 0;
}

static void expect_scan(struct meta_txn *txn, const char *first, const char *end,
                        const char *expected)
{
    struct listing listing = { 0 };

    assert_int_equal(meta_scan(txn, text(first), text(end), list_one, &listing, NULL), 0);
    assert_string_equal(listing.text, expected);
}

static void a_committed_transaction_is_seen_whole_and_an_aborted_one_not_at_all(void **state)
{
    struct engine_case *c = *state;

    struct meta_txn *txn = begin(c, META_WRITE);
    put(txn, "a", "1");
    put(txn, "b", "2");
    commit(txn);
    txn = begin(c, META_WRITE);
    put(txn, "a", "other");
    put(txn, "c", "3");
    assert_int_equal(meta_remove(txn, text("b"), NULL), 0);
    meta_abort(txn);

    txn = begin(c, META_READ);
    expect_scan(txn, "", "z", "a=1 b=2 ");
    expect(txn, "c", NULL);
    meta_abort(txn);
}

static void a_transaction_sees_its_own_writes(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    put_one(c, "b", "2");
    struct meta_txn *txn = begin(c, META_WRITE);
    put(txn, "a", "new");
    put(txn, "a", "newer");
    assert_int_equal(meta_remove(txn, text("b"), NULL), 0);
    put(txn, "c", "");
    expect(txn, "a", "newer");
    expect(txn, "b", NULL);
    expect(txn, "c", "");
    expect_scan(txn, "", "z", "a=newer c= ");
    commit(txn);
    expect_one(c, "a", "newer");
}

static void what_get_returned_stays_until_the_transaction_ends(void **state)
{
    struct engine_case *c = *state;
    struct bytes stored;
    struct bytes fresh;

    put_one(c, "a", "stored");
    sync_now(c);
    struct meta_txn *txn = begin(c, META_WRITE);
    assert_int_equal(meta_get(txn, text("a"), &stored, NULL), 0);
    put(txn, "a", "fresh1");
    assert_int_equal(meta_get(txn, text("a"), &fresh, NULL), 0);
    put(txn, "a", "fresh2");
    assert_memory_equal(stored.data, "stored", 6);
    assert_memory_equal(fresh.data, "fresh1", 6);
    commit(txn);
}

static void a_reader_stays_at_its_moment_through_commits_and_flushes(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "old");
    put_one(c, "gone", "here");
    struct meta_txn *early = begin(c, META_READ);
    put_one(c, "a", "new");
    remove_one(c, "gone");
    put_one(c, "b", "new");
    sync_now(c);
    put_one(c, "a", "newest");
    struct meta_txn *late = begin(c, META_READ);
    sync_now(c);
    sync_now(c);

    expect_scan(early, "", "z", "a=old gone=here ");
    expect(early, "b", NULL);
    expect_scan(late, "", "z", "a=newest b=new ");
    meta_abort(early);
    meta_abort(late);
}

static void a_scan_merges_all_sources_in_byte_order(void **state)
{
    struct engine_case *c = *state;

    static const char *const keys[] = { "k1", "k2", "k3", "k4", "k5", "k55", "k6" };
    for (size_t i = 0; i < 7; i++)
        put_one(c, keys[i], "stored");
    sync_now(c);
    put_one(c, "k1", "frozen");
    remove_one(c, "k2");
    put_one(c, "k3", "frozen");
    remove_one(c, "k4");
    put_one(c, "k22", "frozen");
    remove_one(c, "never");

    /* The flush stops with this group frozen. */
    atomic_store(&c->owner.stall, true);
    while (!atomic_load(&c->owner.stalled))
        clock_sleep_ms(1);
    remove_one(c, "k1");
    put_one(c, "k4", "active");
    put_one(c, "k7", "active");
    remove_one(c, "k22");
    put_one(c, "k5", "active");

    struct meta_txn *txn = begin(c, META_READ);
    expect_scan(txn, "", "z", "k3=frozen k4=active k5=active k55=stored k6=stored k7=active ");
    expect_scan(txn, "k4", "k6", "k4=active k5=active k55=stored ");
    expect_scan(txn, "k55", "k55", "");
    struct listing listing = { .stop_after = 2 };
    assert_int_equal(meta_scan(txn, text("k"), text("l"), list_one, &listing, NULL), 77);
    assert_string_equal(listing.text, "k3=frozen k4=active ");
    meta_abort(txn);
    atomic_store(&c->owner.stall, false);
    sync_now(c);

    txn = begin(c, META_READ);
    expect_scan(txn, "", "z", "k3=frozen k4=active k5=active k55=stored k6=stored k7=active ");
    meta_abort(txn);
}

static void readers_and_writers_go_on_during_a_flush(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    atomic_store(&c->owner.stall, true);
    while (!atomic_load(&c->owner.stalled))
        clock_sleep_ms(1);
    put_one(c, "b", "2");
    expect_one(c, "a", "1");
    expect_one(c, "b", "2");
    atomic_store(&c->owner.stall, false);
}

static void hooks_are_called_once_for_each_group_and_record(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    put_one(c, "a", "2");
    put_one(c, "b", "1");
    put_one(c, "c", "1");
    remove_one(c, "c");
    sync_now(c);
    unsigned seals = c->owner.seals;
    unsigned groups = c->owner.durable;
    assert_true(seals >= 3);
    assert_int_equal(c->owner.removals, 0);
    remove_one(c, "a");
    put_one(c, "b", "2");
    sync_now(c);
    assert_int_equal(c->owner.durable, groups + 1);
    assert_int_equal(c->owner.removals, 1);
    assert_int_equal(c->owner.seals, seals + 3) /* b, ~closed, ~group */;
    sync_now(c);

    assert_int_equal(c->owner.durable, groups + 1);
    assert_int_equal(c->owner.closed, c->owner.durable);
    assert_int_equal(c->owner.before, c->owner.durable);
    assert_int_equal(c->owner.ended, c->owner.durable);
    assert_false(c->owner.order_is_wrong);
    struct meta_txn *txn = begin(c, META_READ);
    char group[16];
    (void)snprintf(group, sizeof(group), "%u", c->owner.durable);
    expect(txn, "~closed", group);
    meta_abort(txn);
}

static void a_group_becomes_durable_without_a_sync(void **state)
{
    struct engine_case *c = *state;
    unsigned groups = 0;

    put_one(c, "a", "1");
    for (int i = 0; i < 10000 && groups == 0; i++) {
        clock_sleep_ms(1);
        mutex_lock(&c->owner.lock);
        groups = c->owner.durable;
        mutex_unlock(&c->owner.lock);
    }
    assert_int_equal(groups, 1);
}

static void a_sync_waits_for_its_group_and_not_for_later_ones(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    uint64_t group = meta_last_group(c->engine);
    assert_int_equal(meta_sync_group(c->engine, group, NULL), 0);
    assert_int_equal(meta_last_group(c->engine), group);
    atomic_store(&c->owner.fail_before, -EIO);
    put_one(c, "b", "2");
    assert_int_equal(meta_last_group(c->engine), group + 1);
    assert_int_equal(meta_sync_group(c->engine, group, NULL), 0);
    assert_int_equal(meta_sync_group(c->engine, group + 1, NULL), -EIO);
    atomic_store(&c->owner.fail_before, 0);
    assert_int_equal(meta_sync_group(c->engine, group + 1, NULL), 0);
}

static int count_sealed(struct bytes key, struct bytes value, void *arg)
{
    (void)key;
    assert_true(value.len > 0 && value.data[0] == 'S');
    (*(unsigned *)arg)++;
    return 0;
}

static void scan_stored_gives_what_is_stored_sealed(void **state)
{
    struct engine_case *c = *state;
    unsigned count = 0;
    struct listing listing = { 0 };

    put_one(c, "a", "1");
    put_one(c, "b", "2");
    sync_now(c);
    assert_int_equal(
        meta_scan_stored(c->engine, text(""), text("\xff"), count_sealed, &count, NULL), 0);
    assert_int_equal(count, 4); /* a, b, ~closed, ~group */
    assert_int_equal(
        meta_scan_stored(c->engine, text("~group"), text("\xff"), list_one, &listing, NULL), 0);
    assert_string_equal(listing.text, "~group=S\xce\x01 "); /* not '1', epoch 1 */
}

/* By get, view and scan, all of which tell of it. */
static void expect_found(struct engine_case *c, const char *key, uint64_t epoch)
{
    struct meta_txn *txn = begin(c, META_READ);
    struct listing listing = { .stop_after = 1 };
    struct spliced view;
    struct bytes value;

    assert_int_equal(meta_get(txn, text(key), &value, NULL), 0);
    assert_int_equal(txn->found, epoch);
    txn->found = 0;
    assert_int_equal(meta_view(txn, text(key), &view, NULL), 0);
    assert_int_equal(txn->found, epoch);
    txn->found = 0;
    assert_int_equal(meta_scan(txn, text(key), text("~"), list_one, &listing, NULL), 77);
    assert_int_equal(txn->found, epoch);
    meta_abort(txn);
}

static void a_record_tells_in_which_epoch_it_was_put_wherever_it_lies(void **state)
{
    struct engine_case *c = *state;

    atomic_store(&c->owner.epoch, 5);
    put_one(c, "a", "1");
    expect_found(c, "a", 5);
    sync_now(c);
    expect_found(c, "a", 5);

    atomic_store(&c->owner.epoch, 6); /* of the next group: it is asked once for each */
    put_one(c, "b", "1");
    atomic_store(&c->owner.epoch, 7);
    put_one(c, "c", "1");
    expect_found(c, "c", 6);
    atomic_store(&c->owner.stall, true);
    while (!atomic_load(&c->owner.stalled))
        clock_sleep_ms(1);
    struct meta_txn *txn = begin(c, META_WRITE);
    assert_int_equal(txn->epoch, 7);
    put(txn, "d", "1");
    commit(txn);
    expect_found(c, "a", 5); /* stored */
    expect_found(c, "b", 6); /* frozen */
    expect_found(c, "d", 7); /* active */
    atomic_store(&c->owner.stall, false);
    sync_now(c);
    expect_found(c, "c", 6);
    expect_found(c, "d", 7);
}

static void a_failed_group_is_kept_and_goes_out_when_it_can(void **state)
{
    struct engine_case *c = *state;
    struct error err = { 0 };
    struct meta_txn *txn = NULL;

    put_one(c, "a", "1");
    sync_now(c);
    atomic_store(&c->owner.fail_before, -EIO);
    put_one(c, "b", "kept");
    assert_int_equal(meta_sync(c->engine, &err), -EIO);
    assert_string_equal(err.text, "The test says so.");
    assert_int_equal(meta_begin(c->engine, META_WRITE, &txn, &err), -EIO);
    expect_one(c, "b", "kept");
    assert_int_equal(meta_sync(c->engine, &err), -EIO);

    atomic_store(&c->owner.fail_before, 0);
    sync_now(c);
    put_one(c, "c", "again");
    sync_now(c);
    expect_one(c, "b", "kept");
    expect_one(c, "c", "again");
    assert_true(c->owner.not_durable >= 2);
    assert_false(c->owner.order_is_wrong);
}

static void a_group_that_cannot_be_closed_is_tried_again(void **state)
{
    struct engine_case *c = *state;
    struct error err = { 0 };

    atomic_store(&c->owner.fail_close, -ENOSPC);
    put_one(c, "a", "1");
    assert_int_equal(meta_sync(c->engine, &err), -ENOSPC);
    expect_one(c, "a", "1");
    atomic_store(&c->owner.fail_close, 0);
    sync_now(c);
    put_one(c, "b", "1");
    sync_now(c);
    assert_false(c->owner.order_is_wrong);
}

static void a_refused_engine_accepts_changes_again_by_itself(void **state)
{
    struct engine_case *c = *state;
    struct meta_txn *txn = NULL;
    int r = -EIO;

    atomic_store(&c->owner.fail_before, -EIO);
    put_one(c, "a", "1");
    assert_int_equal(meta_sync(c->engine, NULL), -EIO);
    atomic_store(&c->owner.fail_before, 0);
    for (int i = 0; i < 10000 && r != 0; i++) {
        clock_sleep_ms(1);
        r = meta_begin(c->engine, META_WRITE, &txn, NULL);
    }
    assert_int_equal(r, 0);
    meta_abort(txn);
}

static void long_keys_and_values_are_kept(void **state)
{
    struct engine_case *c = *state;
    uint8_t *value = malloc(META_VALUE_MAX);
    uint8_t key[META_KEY_MAX];
    struct bytes found = { 0 };

    assert_non_null(value);
    for (size_t i = 0; i < META_VALUE_MAX; i++)
        value[i] = (uint8_t)(i * 7);
    memset(key, 0xfe, sizeof(key));
    for (int round = 0; round < 2; round++) {
        struct meta_txn *txn = begin(c, META_WRITE);
        assert_int_equal(meta_put(txn, (struct bytes){ key, sizeof(key) },
                                  (struct bytes){ value, META_VALUE_MAX }, NULL),
                         0);
        commit(txn);
        sync_now(c);
        txn = begin(c, META_READ);
        assert_int_equal(meta_get(txn, (struct bytes){ key, sizeof(key) }, &found, NULL), 0);
        assert_int_equal(found.len, META_VALUE_MAX);
        assert_memory_equal(found.data, value, META_VALUE_MAX);
        meta_abort(txn);
        value[0]++;
    }
    free(value);
}

static int patch(struct meta_txn *txn, const char *key, size_t at, size_t removed,
                 const char *added)
{
    const struct splice splice = { .at = at, .removed = removed, .added = text(added) };

    return meta_patch(txn, text(key), &splice, NULL);
}

static void patch_one(struct engine_case *c, const char *key, size_t at, size_t removed,
                      const char *added)
{
    struct meta_txn *txn = begin(c, META_WRITE);

    assert_int_equal(patch(txn, key, at, removed, added), 0);
    commit(txn);
}

static void a_patch_changes_a_part_of_a_value_wherever_it_lies(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "hello world");
    patch_one(c, "a", 0, 5, "bye"); /* of a value that was put just now */
    expect_one(c, "a", "bye world");
    sync_now(c);
    expect_one(c, "a", "bye world");
    patch_one(c, "a", 3, 0, " bye"); /* of a stored one */
    patch_one(c, "a", 13, 0, "!");
    expect_one(c, "a", "bye bye world!");
    struct meta_txn *early = begin(c, META_READ);
    for (int i = 0; i < 26; i++) { /* more than lie upon one another */
        const char added[] = { (char)('a' + i), '\0' };
        patch_one(c, "a", 0, i == 0 ? 14 : 0, added);
    }
    struct meta_txn *txn = begin(c, META_READ);
    expect_scan(txn, "", "z", "a=zyxwvutsrqponmlkjihgfedcba ");
    meta_abort(txn);
    sync_now(c);
    expect_one(c, "a", "zyxwvutsrqponmlkjihgfedcba");
    expect(early, "a", "bye bye world!");
    meta_abort(early);
}

static void a_patch_needs_a_value_that_is_long_enough(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "stored", "12345");
    sync_now(c);
    put_one(c, "fresh", "12345");
    struct meta_txn *txn = begin(c, META_WRITE);
    assert_int_equal(patch(txn, "none", 0, 0, "x"), -ENOENT);
    assert_int_equal(patch(txn, "stored", 6, 0, "x"), -EINVAL);
    assert_int_equal(patch(txn, "stored", 4, 2, "x"), -EINVAL);
    assert_int_equal(patch(txn, "fresh", 4, 2, "x"), -EINVAL);
    assert_int_equal(patch(txn, "fresh", 5, 0, "x"), 0);
    assert_int_equal(meta_remove(txn, text("fresh"), NULL), 0);
    assert_int_equal(patch(txn, "fresh", 0, 0, "x"), -ENOENT);
    meta_abort(txn);
    expect_one(c, "fresh", "12345");
    expect_one(c, "stored", "12345");
}

/* get, somebody else's change, change of one's own. */
static int change_after(struct engine_case *c, const char *read, const char *other)
{
    struct meta_txn *txn = begin(c, META_OPTIMISTIC);
    struct bytes found;

    (void)meta_get(txn, text(read), &found, NULL);
    if (other != NULL)
        put_one(c, other, "theirs");
    int r = meta_put(txn, text("mine"), text("written"), NULL);
    if (r == 0)
        commit(txn);
    else
        meta_abort(txn);
    return r;
}

static void an_optimistic_transaction_fails_if_what_it_got_was_changed(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "fresh", "1");
    put_one(c, "removed", "1");
    assert_int_equal(change_after(c, "fresh", NULL), 0);
    assert_int_equal(change_after(c, "fresh", "another"), 0);
    assert_int_equal(change_after(c, "fresh", "fresh"), -EAGAIN);
    assert_int_equal(change_after(c, "absent", "another"), 0);
    assert_int_equal(change_after(c, "absent", "absent"), -EAGAIN);
    remove_one(c, "removed");
    assert_int_equal(change_after(c, "removed", "removed"), -EAGAIN);
    sync_now(c);
    assert_int_equal(change_after(c, "fresh", "another"), 0);
    assert_int_equal(change_after(c, "fresh", "fresh"), -EAGAIN);
    expect_one(c, "mine", "written");
}

static void an_optimistic_transaction_holds_nobody_up_before_its_first_change(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    struct meta_txn *first = begin(c, META_OPTIMISTIC);
    struct meta_txn *second = begin(c, META_OPTIMISTIC);
    expect(first, "a", "1");
    expect(second, "a", "1");
    put(first, "b", "first");
    expect(first, "b", "first");
    commit(first);
    expect(second, "b", NULL); /* it is as of its own moment */
    assert_int_equal(meta_put(second, text("c"), text("second"), NULL), -EAGAIN);
    meta_abort(second);

    first = begin(c, META_OPTIMISTIC); /* gets, and changes nothing */
    expect(first, "b", "first");
    put_one(c, "b", "changed");
    assert_int_equal(meta_commit(first, NULL), 0);
    first = begin(c, META_OPTIMISTIC);
    put(first, "b", "given up");
    meta_abort(first);
    expect_one(c, "b", "changed");
}

static void an_optimistic_transaction_that_looked_at_much_is_run_again(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    struct meta_txn *txn = begin(c, META_OPTIMISTIC);
    expect_scan(txn, "", "z", "a=1 ");
    assert_int_equal(meta_remove(txn, text("a"), NULL), -EAGAIN);
    meta_abort(txn);
    txn = begin(c, META_OPTIMISTIC);
    for (unsigned i = 0; i < 20; i++)
        expect(txn, "a", "1");
    assert_int_equal(patch(txn, "a", 0, 1, "2"), -EAGAIN);
    meta_abort(txn);
    expect_one(c, "a", "1");
    txn = begin(c, META_OPTIMISTIC);
    expect(txn, "a", "1");
    sync_now(c); /* "a" lies elsewhere now */
    put_one(c, "b", "1");
    sync_now(c);
    int r = patch(txn, "a", 0, 1, "2");
    assert_true(r == 0 || r == -EAGAIN);
    if (r == 0)
        commit(txn);
    else
        meta_abort(txn);
    expect_one(c, "a", r == 0 ? "2" : "1");
}

static const char *text_of(unsigned number)
{
    static char text[12];

    (void)snprintf(text, sizeof(text), "%u", number);
    return text;
}

static void random_changes_agree_with_a_plain_table(void **state)
{
    struct engine_case *c = *state;
    static char table[512][16];
    unsigned random = 12345;

    memset(table, 0, sizeof(table));
    for (unsigned i = 0; i < 6000; i++) {
        char key[16];
        random = random * 1103515245u + 12345u;
        unsigned slot = (random >> 8) % 512;
        (void)snprintf(key, sizeof(key), "key%03u", slot);
        if (random >> 30 == 0) {
            remove_one(c, key);
            table[slot][0] = '\0';
        } else if (random >> 30 == 1 && table[slot][0] != '\0') {
            patch_one(c, key, 1, strlen(table[slot]) - 1, text_of(i));
            (void)snprintf(table[slot], sizeof(table[slot]), "v%s", text_of(i));
        } else {
            (void)snprintf(table[slot], sizeof(table[slot]), "v%u", i);
            put_one(c, key, table[slot]);
        }
        if (i % 700 == 699)
            sync_now(c);
        if (i % 100 == 99)
            expect_one(c, key, table[slot][0] == '\0' ? NULL : table[slot]);
    }
    char *all = calloc(512, 32);
    assert_non_null(all);
    struct meta_txn *txn = begin(c, META_READ);
    for (unsigned slot = 0; slot < 512; slot++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key%03u", slot);
        expect(txn, key, table[slot][0] == '\0' ? NULL : table[slot]);
    }
    meta_abort(txn);
    free(all);
}

static void a_scrub_keeps_all_that_is_there(void **state)
{
    struct engine_case *c = *state;
    char key[16];

    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof(key), "k%05u", i);
        put_one(c, key, key);
    }
    sync_now(c);
    remove_one(c, "k00001");
    put_one(c, "k00002", "changed");
    assert_int_equal(meta_scrub(c->engine, NULL), 0);
    assert_int_equal(meta_scrub(c->engine, NULL), 0);
    put_one(c, "later", "too");
    sync_now(c);
    struct meta_txn *txn = begin(c, META_READ);
    expect(txn, "k00001", NULL);
    expect(txn, "k00002", "changed");
    expect(txn, "later", "too");
    for (unsigned i = 3; i < 5000; i++) {
        (void)snprintf(key, sizeof(key), "k%05u", i);
        expect(txn, key, key);
    }
    meta_abort(txn);
    assert_false(c->owner.order_is_wrong);
}

static void a_scrub_fails_as_long_as_changes_cannot_be_stored(void **state)
{
    struct engine_case *c = *state;
    struct error err = { 0 };

    put_one(c, "a", "1");
    atomic_store(&c->owner.fail_before, -EIO);
    assert_int_equal(meta_scrub(c->engine, &err), -EIO);
    assert_string_equal(err.text, "The test says so.");
    expect_one(c, "a", "1");
    atomic_store(&c->owner.fail_before, 0);
    assert_int_equal(meta_scrub(c->engine, NULL), 0);
    expect_one(c, "a", "1");
}

#define EVERY(test)                                                                                \
    {                                                                                              \
#test, test, meta_case_setup, meta_case_teardown, NULL                                     \
    }

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {
        EVERY(a_committed_transaction_is_seen_whole_and_an_aborted_one_not_at_all),
        EVERY(a_transaction_sees_its_own_writes),
        EVERY(what_get_returned_stays_until_the_transaction_ends),
        EVERY(a_reader_stays_at_its_moment_through_commits_and_flushes),
        EVERY(a_scan_merges_all_sources_in_byte_order),
        EVERY(readers_and_writers_go_on_during_a_flush),
        EVERY(hooks_are_called_once_for_each_group_and_record),
        EVERY(a_group_becomes_durable_without_a_sync),
        EVERY(a_sync_waits_for_its_group_and_not_for_later_ones),
        EVERY(scan_stored_gives_what_is_stored_sealed),
        EVERY(a_record_tells_in_which_epoch_it_was_put_wherever_it_lies),
        EVERY(a_failed_group_is_kept_and_goes_out_when_it_can),
        EVERY(a_group_that_cannot_be_closed_is_tried_again),
        EVERY(a_refused_engine_accepts_changes_again_by_itself),
        EVERY(long_keys_and_values_are_kept),
        EVERY(a_patch_changes_a_part_of_a_value_wherever_it_lies),
        EVERY(a_patch_needs_a_value_that_is_long_enough),
        EVERY(an_optimistic_transaction_fails_if_what_it_got_was_changed),
        EVERY(an_optimistic_transaction_holds_nobody_up_before_its_first_change),
        EVERY(an_optimistic_transaction_that_looked_at_much_is_run_again),
        EVERY(random_changes_agree_with_a_plain_table),
        EVERY(a_scrub_keeps_all_that_is_there),
        EVERY(a_scrub_fails_as_long_as_changes_cannot_be_stored),
    };
    size_t count = sizeof(tests) / sizeof(tests[0]);

    if (argc != 2)
        return 2;
    for (size_t i = 0; i < count; i++)
        tests[i].initial_state = argv[1];
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
