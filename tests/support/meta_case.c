#include "tests/support/meta_case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/cmocka_all.h"

struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void exit_if(struct owner *owner, int step)
{
    if (atomic_load(&owner->exit_at) == step)
        _exit(9);
}

static uint64_t epoch(void *arg)
{
    return atomic_load(&((struct owner *)arg)->epoch);
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
    owner->group_epoch = txn->epoch;
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
    ret[plain.len + 1] = (uint8_t)owner->group_epoch;
    *ret_len = plain.len + 2;
    return 0;
}

static int open_sealed(void *arg, struct bytes key, struct bytes stored, uint8_t *ret,
                       size_t *ret_len, uint64_t *ret_epoch, struct error *err)
{
    (void)arg;
    (void)key;
    if (stored.len < 2 || stored.data[0] != 'S')
        return error_set(err, -EBADMSG, "A record was altered.");
    *ret_len = stored.len - 2;
    for (size_t i = 0; i < *ret_len; i++)
        ret[i] = (uint8_t)~stored.data[i + 1];
    *ret_epoch = stored.data[stored.len - 1];
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

void meta_case_open(struct engine_case *c, const struct meta_options *options)
{
    struct error err = { 0 };
    struct meta_hooks hooks = {
        .arg = &c->owner,
        .epoch = epoch,
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

    c->owner = (struct owner){ .lock = MUTEX_INIT, .epoch = 1 };
    if (meta_engine_open(c->url, options, &hooks, &c->engine, &err) != 0)
        fail_msg("%s", err.text);
}

int meta_case_setup(void **state)
{
    struct engine_case *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->kind = *state;
    (void)snprintf(c->folder, sizeof(c->folder), "/tmp/coffer-meta-XXXXXX");
    assert_non_null(mkdtemp(c->folder));
    (void)snprintf(c->url, sizeof(c->url), "%s:%s", c->kind, c->folder);
    meta_case_open(c, &(struct meta_options){ .create = true });
    *state = c;
    return 0;
}

void meta_case_remove_files(struct engine_case *c)
{
    static const char *const names[] = { "metadata.mdb", "metadata.mdb-lock", "metadata.mdb.copy" };
    char path[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", c->folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(c->folder);
}

int meta_case_teardown(void **state)
{
    struct engine_case *c = *state;
    struct error err = { 0 };

    if (meta_close(c->engine, &err) != 0)
        fail_msg("%s", err.text);
    meta_case_remove_files(c);
    free(c);
    return 0;
}

struct meta_txn *begin(struct engine_case *c, enum meta_access access)
{
    struct meta_txn *txn = NULL;
    struct error err = { 0 };

    if (meta_begin(c->engine, access, &txn, &err) != 0)
        fail_msg("%s", err.text);
    return txn;
}

void put(struct meta_txn *txn, const char *key, const char *value)
{
    assert_int_equal(meta_put(txn, text(key), text(value), NULL), 0);
}

void commit(struct meta_txn *txn)
{
    assert_int_equal(meta_commit(txn, NULL), 0);
}

void put_one(struct engine_case *c, const char *key, const char *value)
{
    struct meta_txn *txn = begin(c, META_WRITE);
    put(txn, key, value);
    commit(txn);
}

void remove_one(struct engine_case *c, const char *key)
{
    struct meta_txn *txn = begin(c, META_WRITE);
    assert_int_equal(meta_remove(txn, text(key), NULL), 0);
    commit(txn);
}

void sync_now(struct engine_case *c)
{
    struct error err = { 0 };
    if (meta_sync(c->engine, &err) != 0)
        fail_msg("%s", err.text);
}

void expect(struct meta_txn *txn, const char *key, const char *value)
{
    struct bytes found = { 0 };
    int r = meta_get(txn, text(key), &found, NULL);

    assert_int_equal(r, value == NULL ? -ENOENT : 0);
    if (value != NULL) {
        assert_int_equal(found.len, strlen(value));
        assert_memory_equal(found.data, value, found.len);
    }
}

void expect_one(struct engine_case *c, const char *key, const char *value)
{
    struct meta_txn *txn = begin(c, META_READ);
    expect(txn, key, value);
    meta_abort(txn);
}

void meta_case_reopen(struct engine_case *c, const struct meta_options *options)
{
    struct error err = { 0 };

    if (meta_close(c->engine, &err) != 0)
        fail_msg("%s", err.text);
    meta_case_open(c, options);
}
