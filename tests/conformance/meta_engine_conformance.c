/* What every metadata engine promises (meta/meta_engine.h), tried on each. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/thread.h"
#include "meta/meta_engine.h"

/* What the hooks were called with, and what they are told to do. Sealing here is an 'S' in front
 * and every byte turned over, so that a value that was not sealed or not opened shows. */
struct owner {
    struct mutex lock;
    unsigned closed, before, durable, not_durable, ended, seals, removals;
    uint64_t last_group;
    bool order_is_wrong;
    atomic_int fail_before; /* errno that before_durable returns */
    atomic_int fail_close;
    atomic_bool stall; /* before_durable waits while set */
    atomic_bool stalled;
    atomic_int exit_at; /* the process ends at this step */
    unsigned commits;
    uint8_t record[16];
};

enum exit_step {
    EXIT_AT_CLOSE = 1,
    EXIT_AT_BEFORE,
    EXIT_AT_SEAL,
    EXIT_AT_RECORD,
    EXIT_AT_DURABLE,
};

struct engine_case {
    const char *kind;
    char folder[64];
    char url[80];
    struct owner owner;
    struct meta_engine *engine;
    bool is_durable;
};

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void exit_if(struct owner *owner, int step)
{
    if (atomic_load(&owner->exit_at) == step)
        _exit(9);
}

static int close_group(void *arg, struct meta_txn *txn, struct error *err)
{
    struct owner *owner = arg;
    char value[16];

    exit_if(owner, EXIT_AT_CLOSE);
    int fail = atomic_load(&owner->fail_close);
    if (fail < 0)
        return error_set(err, fail, "The test says so.");
    mutex_lock(&owner->lock);
    owner->closed++;
    int len = snprintf(value, sizeof(value), "%u", owner->closed);
    mutex_unlock(&owner->lock);
    return meta_put(txn, text("~closed"), (struct bytes){ (uint8_t *)value, (size_t)len }, err);
}

static int before_durable(void *arg, uint64_t group, struct error *err)
{
    struct owner *owner = arg;

    exit_if(owner, EXIT_AT_BEFORE);
    mutex_lock(&owner->lock);
    owner->before++;
    if (group != owner->last_group + 1)
        owner->order_is_wrong = true;
    mutex_unlock(&owner->lock);
    while (atomic_load(&owner->stall)) {
        atomic_store(&owner->stalled, true);
        clock_sleep_ms(1);
    }
    int fail = atomic_load(&owner->fail_before);
    return fail < 0 ? error_set(err, fail, "The test says so.") : 0;
}

static int seal(void *arg, struct bytes key, struct bytes plain, struct bytes old, uint8_t *ret,
                size_t *ret_len, struct error *err)
{
    struct owner *owner = arg;

    (void)key;
    (void)old;
    (void)err;
    exit_if(owner, EXIT_AT_SEAL);
    owner->seals++;
    ret[0] = 'S';
    for (size_t i = 0; i < plain.len; i++)
        ret[i + 1] = (uint8_t)~plain.data[i];
    *ret_len = plain.len + 1;
    return 0;
}

static int open_sealed(void *arg, struct bytes key, struct bytes stored, uint8_t *ret,
                       size_t *ret_len, struct error *err)
{
    (void)arg;
    (void)key;
    if (stored.len == 0 || stored.data[0] != 'S')
        return error_set(err, -EBADMSG, "A record was altered.");
    for (size_t i = 1; i < stored.len; i++)
        ret[i - 1] = (uint8_t)~stored.data[i];
    *ret_len = stored.len - 1;
    return 0;
}

static int removed(void *arg, struct bytes key, struct bytes old, struct error *err)
{
    struct owner *owner = arg;

    (void)key;
    (void)err;
    if (old.len == 0 || old.data[0] != 'S')
        owner->order_is_wrong = true;
    owner->removals++;
    return 0;
}

static int group_record(void *arg, uint64_t group, unsigned index, struct bytes *ret_key,
                        struct bytes *ret_value, struct error *err)
{
    struct owner *owner = arg;

    (void)err;
    exit_if(owner, EXIT_AT_RECORD);
    if (index == 1)
        return -ENOENT;
    snprintf((char *)owner->record, sizeof(owner->record), "%llu", (unsigned long long)group);
    *ret_key = text("~group");
    *ret_value = text((char *)owner->record);
    return 0;
}

static void group_end(void *arg, uint64_t group, bool is_durable)
{
    struct owner *owner = arg;

    (void)group;
    (void)is_durable;
    owner->ended++;
}

static void durable(void *arg, uint64_t group)
{
    struct owner *owner = arg;

    exit_if(owner, EXIT_AT_DURABLE);
    mutex_lock(&owner->lock);
    if (group != owner->last_group + 1)
        owner->order_is_wrong = true;
    owner->last_group = group;
    owner->durable++;
    mutex_unlock(&owner->lock);
}

static void not_durable(void *arg, uint64_t group, const struct error *err)
{
    struct owner *owner = arg;

    mutex_lock(&owner->lock);
    if (group != owner->last_group + 1 || err->code == 0 || err->text[0] == '\0')
        owner->order_is_wrong = true;
    owner->not_durable++;
    mutex_unlock(&owner->lock);
}

static void open_engine(struct engine_case *c, const struct meta_options *options)
{
    struct error err = { 0 };
    struct meta_hooks hooks = {
        .arg = &c->owner,
        .close_group = close_group,
        .before_durable = before_durable,
        .durable = durable,
        .not_durable = not_durable,
        .seal_arg = &c->owner,
        .seal = seal,
        .open = open_sealed,
        .removed = removed,
        .group_record = group_record,
        .group_end = group_end,
    };

    c->owner = (struct owner){ .lock = MUTEX_INIT };
    if (meta_engine_open(c->url, options, &hooks, &c->engine, &err) != 0)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    struct engine_case *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->kind = *state;
    c->is_durable = strcmp(c->kind, "lmdb") == 0;
    (void)snprintf(c->folder, sizeof(c->folder), "/tmp/coffer-meta-XXXXXX");
    assert_non_null(mkdtemp(c->folder));
    (void)snprintf(c->url, sizeof(c->url), "%s:%s", c->kind, c->folder);
    open_engine(c, &(struct meta_options){ .create = true });
    *state = c;
    return 0;
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = { "metadata.mdb", "metadata.mdb-lock" };
    char path[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static int teardown(void **state)
{
    struct engine_case *c = *state;
    struct error err = { 0 };

    if (meta_close(c->engine, &err) != 0)
        fail_msg("%s", err.text);
    remove_folder(c->folder);
    free(c);
    return 0;
}

static struct meta_txn *begin(struct engine_case *c, enum meta_access access)
{
    struct meta_txn *txn = NULL;
    struct error err = { 0 };

    if (meta_begin(c->engine, access, &txn, &err) != 0)
        fail_msg("%s", err.text);
    return txn;
}

static void put(struct meta_txn *txn, const char *key, const char *value)
{
    assert_int_equal(meta_put(txn, text(key), text(value), NULL), 0);
}

static void commit(struct meta_txn *txn)
{
    assert_int_equal(meta_commit(txn, NULL), 0);
}

static void put_one(struct engine_case *c, const char *key, const char *value)
{
    struct meta_txn *txn = begin(c, META_WRITE);
    put(txn, key, value);
    commit(txn);
}

static void remove_one(struct engine_case *c, const char *key)
{
    struct meta_txn *txn = begin(c, META_WRITE);
    assert_int_equal(meta_remove(txn, text(key), NULL), 0);
    commit(txn);
}

static void sync_now(struct engine_case *c)
{
    struct error err = { 0 };
    if (meta_sync(c->engine, &err) != 0)
        fail_msg("%s", err.text);
}

/* value NULL: it must not be there. */
static void expect(struct meta_txn *txn, const char *key, const char *value)
{
    struct bytes found = { 0 };
    int r = meta_get(txn, text(key), &found, NULL);

    assert_int_equal(r, value == NULL ? -ENOENT : 0);
    if (value != NULL) {
        assert_int_equal(found.len, strlen(value));
        assert_memory_equal(found.data, value, found.len);
    }
}

static void expect_one(struct engine_case *c, const char *key, const char *value)
{
    struct meta_txn *txn = begin(c, META_READ);
    expect(txn, key, value);
    meta_abort(txn);
}

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
    assert_string_equal(listing.text, "~group=S\xce "); /* not '1' */
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

/* Several threads move amounts between accounts, others add all up: the sum is always right. */
#define ACCOUNTS 32u
#define MOVES 400u

struct bank {
    struct engine_case *c;
    unsigned seed;
    atomic_bool *stop;
};

static uint64_t balance(struct meta_txn *txn, unsigned account)
{
    char key[16];
    struct bytes found;
    uint64_t value = 0;

    (void)snprintf(key, sizeof(key), "acc%02u", account);
    assert_int_equal(meta_get(txn, text(key), &found, NULL), 0);
    memcpy(&value, found.data, sizeof(value));
    return value;
}

static void set_balance(struct meta_txn *txn, unsigned account, uint64_t value)
{
    char key[16];

    (void)snprintf(key, sizeof(key), "acc%02u", account);
    assert_int_equal(meta_put(txn, text(key), (struct bytes){ (uint8_t *)&value, 8 }, NULL), 0);
}

static void *mover(void *arg)
{
    struct bank *bank = arg;
    unsigned random = bank->seed;

    for (unsigned i = 0; i < MOVES; i++) {
        random = random * 1103515245u + 12345u;
        unsigned from = (random >> 8) % ACCOUNTS;
        unsigned to = (random >> 16) % ACCOUNTS;
        struct meta_txn *txn = begin(bank->c, META_WRITE);
        uint64_t amount = balance(txn, from) / 3;
        set_balance(txn, from, balance(txn, from) - amount);
        set_balance(txn, to, balance(txn, to) + amount);
        if (random >> 29 == 0)
            meta_abort(txn);
        else
            commit(txn);
        if (i % 50 == 0)
            sync_now(bank->c);
    }
    return NULL;
}

static int add_up(struct bytes key, struct bytes value, void *arg)
{
    uint64_t amount;

    (void)key;
    memcpy(&amount, value.data, sizeof(amount));
    *(uint64_t *)arg += amount;
    return 0;
}

static void *auditor(void *arg)
{
    struct bank *bank = arg;

    while (!atomic_load(bank->stop)) {
        struct meta_txn *txn = begin(bank->c, META_READ);
        uint64_t scanned = 0;
        uint64_t summed = 0;
        assert_int_equal(meta_scan(txn, text("acc"), text("acd"), add_up, &scanned, NULL), 0);
        for (unsigned i = 0; i < ACCOUNTS; i++)
            summed += balance(txn, i);
        assert_int_equal(scanned, 1000 * ACCOUNTS);
        assert_int_equal(summed, 1000 * ACCOUNTS);
        meta_abort(txn);
    }
    return NULL;
}

static void concurrent_transactions_are_atomic(void **state)
{
    struct engine_case *c = *state;
    atomic_bool stop = false;
    struct bank banks[4];
    pthread_t movers[3];
    pthread_t reader;

    struct meta_txn *txn = begin(c, META_WRITE);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        set_balance(txn, i, 1000);
    commit(txn);
    for (unsigned i = 0; i < 4; i++)
        banks[i] = (struct bank){ .c = c, .seed = i + 1, .stop = &stop };
    assert_int_equal(pthread_create(&reader, NULL, auditor, &banks[3]), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&movers[i], NULL, mover, &banks[i]), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_join(movers[i], NULL), 0);
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(reader, NULL), 0);
}

/* From here: engines that outlive the process. */

static void reopen(struct engine_case *c, const struct meta_options *options)
{
    struct error err = { 0 };

    if (meta_close(c->engine, &err) != 0)
        fail_msg("%s", err.text);
    open_engine(c, options);
}

static void close_makes_everything_durable(void **state)
{
    struct engine_case *c = *state;

    put_one(c, "a", "1");
    reopen(c, &(struct meta_options){ 0 });
    expect_one(c, "a", "1");
}

static void create_refuses_a_database_and_open_refuses_none(void **state)
{
    struct engine_case *c = *state;
    struct meta_engine *second = NULL;
    struct error err = { 0 };
    char url[96];

    assert_int_equal(meta_engine_open(c->url, &(struct meta_options){ 0 }, NULL, &second, &err),
                     -EBUSY);
    assert_int_equal(meta_close(c->engine, NULL), 0);
    assert_int_equal(
        meta_engine_open(c->url, &(struct meta_options){ .create = true }, NULL, &second, &err),
        -EEXIST);
    (void)snprintf(url, sizeof(url), "%s-none", c->url);
    assert_int_equal(meta_engine_open(url, &(struct meta_options){ 0 }, NULL, &second, &err),
                     -ENOENT);
    open_engine(c, &(struct meta_options){ 0 });
}

static void a_read_only_engine_changes_nothing(void **state)
{
    struct engine_case *c = *state;
    struct meta_txn *txn = NULL;

    put_one(c, "a", "1");
    reopen(c, &(struct meta_options){ .read_only = true });
    assert_int_equal(meta_begin(c->engine, META_WRITE, &txn, NULL), -EROFS);
    expect_one(c, "a", "1");
    sync_now(c);
    assert_int_equal(c->owner.closed, 0);
}

/* Writes numbered transactions, says through the pipe which sync has answered, until it ends. */
static void crash_child(struct engine_case *c, int step, int pipe_fd)
{
    open_engine(c, &(struct meta_options){ 0 });
    for (unsigned i = 1; i <= 300; i++) {
        char value[16];
        if (i == 250)
            atomic_store(&c->owner.exit_at, step);
        (void)snprintf(value, sizeof(value), "%u", i);
        struct meta_txn *txn = begin(c, META_WRITE);
        for (char key[] = "x0"; key[1] < '8'; key[1]++)
            put(txn, key, value);
        commit(txn);
        if (i % 40 == 0) {
            sync_now(c);
            if (write(pipe_fd, &i, sizeof(i)) != sizeof(i))
                _exit(1);
        }
    }
    sync_now(c); /* ends the process at the chosen step */
    _exit(1);
}

static unsigned last_answered(int fd)
{
    unsigned last = 0;
    unsigned number;

    while (read(fd, &number, sizeof(number)) == sizeof(number))
        last = number;
    return last;
}

static void crash_at(struct engine_case *c, int step)
{
    int fds[2];
    int status = 0;
    struct bytes found;

    assert_int_equal(meta_close(c->engine, NULL), 0);
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        crash_child(c, step, fds[1]);
    (void)close(fds[1]);
    unsigned answered = last_answered(fds[0]);
    (void)close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);

    open_engine(c, &(struct meta_options){ 0 });
    struct meta_txn *txn = begin(c, META_READ);
    assert_int_equal(meta_get(txn, text("x0"), &found, NULL), 0);
    char value[16] = { 0 };
    memcpy(value, found.data, found.len);
    assert_true(strtoul(value, NULL, 10) >= answered);
    for (char key[] = "x1"; key[1] < '8'; key[1]++)
        expect(txn, key, value);
    meta_abort(txn);
}

static void a_crash_at_any_step_leaves_whole_groups(void **state)
{
    struct engine_case *c = *state;

    for (int step = EXIT_AT_CLOSE; step <= EXIT_AT_DURABLE; step++)
        crash_at(c, step);
}

/* On a small filesystem of its own: fills it up, and shows that nothing acknowledged is lost. */
static unsigned fill(struct engine_case *c)
{
    static uint8_t value[2000];
    unsigned count = 0;
    int r = 0;

    while (r == 0 && count < 100000) {
        char key[16];
        struct meta_txn *txn = NULL;
        (void)snprintf(key, sizeof(key), "f%06u", count);
        r = meta_begin(c->engine, META_WRITE, &txn, NULL);
        if (r < 0)
            break;
        assert_int_equal(meta_put(txn, text(key), (struct bytes){ value, sizeof(value) }, NULL), 0);
        r = meta_commit(txn, NULL);
        if (r == 0)
            count++;
    }
    assert_int_equal(r, -ENOSPC);
    return count;
}

static int count_all(struct bytes key, struct bytes value, void *arg)
{
    (void)key;
    (void)value;
    (*(unsigned *)arg)++;
    return 0;
}

static void remove_half(struct engine_case *c, unsigned count)
{
    for (unsigned i = 0; i < count; i += 2) {
        struct meta_txn *txn = begin(c, META_FREE);
        char key[16];
        (void)snprintf(key, sizeof(key), "f%06u", i);
        assert_int_equal(meta_remove(txn, text(key), NULL), 0);
        commit(txn);
    }
    sync_now(c);
}

static void a_full_disk_refuses_first_and_loses_nothing(void **state)
{
    struct engine_case *c = *state;

    assert_int_equal(meta_close(c->engine, NULL), 0);
    remove_folder(c->folder);
    assert_int_equal(mkdir(c->folder, 0700), 0);
    bool is_mounted = mount("none", c->folder, "tmpfs", 0, "size=24m") == 0;
    open_engine(c, &(struct meta_options){ .create = true });
    if (is_mounted) {
        unsigned count = fill(c);
        unsigned found = 0;
        sync_now(c); /* what was acknowledged goes out */
        reopen(c, &(struct meta_options){ 0 });
        struct meta_txn *txn = begin(c, META_READ);
        assert_int_equal(meta_scan(txn, text("f"), text("g"), count_all, &found, NULL), 0);
        meta_abort(txn);
        assert_int_equal(found, count);
        assert_true(count > 1000);
        remove_half(c, count);
        assert_int_equal(c->owner.not_durable, 0);
        assert_true(fill(c) > 0);
        sync_now(c);
        assert_int_equal(meta_close(c->engine, NULL), 0);
        assert_int_equal(umount2(c->folder, MNT_DETACH), 0);
        open_engine(c, &(struct meta_options){ .create = true });
    }
    if (!is_mounted)
        print_message("mounting a tmpfs is not allowed here: the full disk was not tried\n");
}

#define EVERY(test)                                                                                \
    {                                                                                              \
#test, test, setup, teardown, NULL                                                         \
    }

#define TESTS_OF_ALL                                                                               \
    EVERY(a_committed_transaction_is_seen_whole_and_an_aborted_one_not_at_all),                    \
        EVERY(a_transaction_sees_its_own_writes),                                                  \
        EVERY(what_get_returned_stays_until_the_transaction_ends),                                 \
        EVERY(a_reader_stays_at_its_moment_through_commits_and_flushes),                           \
        EVERY(a_scan_merges_all_sources_in_byte_order),                                            \
        EVERY(readers_and_writers_go_on_during_a_flush),                                           \
        EVERY(hooks_are_called_once_for_each_group_and_record),                                    \
        EVERY(a_group_becomes_durable_without_a_sync),                                             \
        EVERY(scan_stored_gives_what_is_stored_sealed),                                            \
        EVERY(a_failed_group_is_kept_and_goes_out_when_it_can),                                    \
        EVERY(a_group_that_cannot_be_closed_is_tried_again),                                       \
        EVERY(a_refused_engine_accepts_changes_again_by_itself),                                   \
        EVERY(long_keys_and_values_are_kept), EVERY(random_changes_agree_with_a_plain_table),      \
        EVERY(concurrent_transactions_are_atomic)

static int run(const char *kind)
{
    struct CMUnitTest all[] = {
        TESTS_OF_ALL,
        /* Those of engines that outlive the process come last. */
        EVERY(close_makes_everything_durable),
        EVERY(create_refuses_a_database_and_open_refuses_none),
        EVERY(a_read_only_engine_changes_nothing),
        EVERY(a_crash_at_any_step_leaves_whole_groups),
        EVERY(a_full_disk_refuses_first_and_loses_nothing),
    };
    size_t count = sizeof(all) / sizeof(all[0]);

    if (strcmp(kind, "memory") == 0)
        count -= 5;
    for (size_t i = 0; i < count; i++)
        all[i].initial_state = (void *)(uintptr_t)kind;
    return _cmocka_run_group_tests(kind, all, count, NULL, NULL);
}

int main(int argc, char **argv)
{
    return argc == 2 ? run(argv[1]) : 2;
}
