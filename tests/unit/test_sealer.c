/* The sealer over real engines: what it stores, and what it notices. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file_io.h"
#include "crypto/secret.h"
#include "meta/record_kinds.h"
#include "meta/sealer.h"
#include "tests/support/meta_samples.h"

struct volume {
    char folder[64];
    char url[80];
    struct key_set keys;
    struct secret name_key;
    struct uuid owner;
    uint32_t batches_max;
    struct sealer *sealer;
    struct meta_engine *engine;
};

static void add_key(struct key_set *keys, uint32_t generation)
{
    struct secret *key = &keys->keys[keys->count];

    assert_int_equal(secret_new(key, FS_KEY_LEN), 0);
    memset(key->data, (int)generation, FS_KEY_LEN);
    keys->generations[keys->count++] = generation;
}

static void start(struct volume *v, bool create)
{
    struct sealer_config config = {
        .keys = &v->keys,
        .name_key = &v->name_key,
        .owner = v->owner,
        .batches_max = v->batches_max,
    };
    struct meta_options options = { .create = create };
    struct meta_hooks hooks = { 0 };
    struct error err = { 0 };

    assert_int_equal(sealer_new(&config, &v->sealer, NULL), 0);
    sealer_hooks(v->sealer, &hooks);
    if (meta_engine_open(v->url, &options, &hooks, &v->engine, &err) != 0)
        fail_msg("%s", err.text);
    if (sealer_load(v->sealer, v->engine, &err) != 0)
        fail_msg("%s", err.text);
}

static void stop(struct volume *v)
{
    assert_int_equal(meta_close(v->engine, NULL), 0);
    sealer_free(v->sealer);
    v->engine = NULL;
    v->sealer = NULL;
}

static int setup(void **state)
{
    struct volume *v = calloc(1, sizeof(*v));

    assert_non_null(v);
    (void)snprintf(v->folder, sizeof(v->folder), "/tmp/coffer-sealer-XXXXXX");
    assert_non_null(mkdtemp(v->folder));
    (void)snprintf(v->url, sizeof(v->url), "lmdb:%s", v->folder);
    add_key(&v->keys, 1);
    assert_int_equal(secret_new(&v->name_key, 32), 0);
    memset(v->name_key.data, 0x77, 32);
    memset(v->owner.bytes, 0x0a, UUID_LEN);
    start(v, true);
    *state = v;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = { "metadata.mdb", "metadata.mdb-lock" };
    struct volume *v = *state;
    char path[128];

    stop(v);
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", v->folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(v->folder);
    for (uint32_t i = 0; i < v->keys.count; i++)
        secret_release(&v->keys.keys[i]);
    secret_release(&v->name_key);
    free(v);
    return 0;
}

struct key {
    uint8_t data[10];
};

static struct bytes inode(struct key *key, unsigned number)
{
    *key = (struct key){ { RECORD_TREE_LIVE, RECORD_INODE } };
    key->data[8] = (uint8_t)(number >> 8);
    key->data[9] = (uint8_t)number;
    return (struct bytes){ key->data, sizeof(key->data) };
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static struct meta_txn *begin(struct volume *v, enum meta_access access)
{
    struct meta_txn *txn = NULL;
    struct error err = { 0 };

    if (meta_begin(v->engine, access, &txn, &err) != 0)
        fail_msg("%s", err.text);
    return txn;
}

static void put(struct volume *v, unsigned number, const char *value)
{
    struct meta_txn *txn = begin(v, META_WRITE);
    struct key key;

    assert_int_equal(meta_put(txn, inode(&key, number), text(value), NULL), 0);
    assert_int_equal(meta_commit(txn, NULL), 0);
}

static void drop(struct volume *v, unsigned number)
{
    struct meta_txn *txn = begin(v, META_WRITE);
    struct key key;

    assert_int_equal(meta_remove(txn, inode(&key, number), NULL), 0);
    assert_int_equal(meta_commit(txn, NULL), 0);
}

static void sync_now(struct volume *v)
{
    struct error err = { 0 };
    if (meta_sync(v->engine, &err) != 0)
        fail_msg("%s", err.text);
}

static int get(struct volume *v, unsigned number, const char *value)
{
    struct meta_txn *txn = begin(v, META_READ);
    struct bytes found = { 0 };
    struct key key;

    int r = meta_get(txn, inode(&key, number), &found, NULL);
    if (r == 0) {
        assert_int_equal(found.len, strlen(value));
        assert_memory_equal(found.data, value, found.len);
    }
    meta_abort(txn);
    return r;
}

static void keep_text(const char *sentence, void *arg)
{
    (void)snprintf(arg, 512, "%s", sentence);
}

static uint64_t check(struct volume *v, char report[static 512])
{
    struct error err = { 0 };
    uint64_t faults = 99;

    report[0] = '\0';
    if (sealer_check(v->sealer, v->engine, keep_text, report, &faults, &err) != 0)
        fail_msg("%s", err.text);
    return faults;
}

static void expect_sound(struct volume *v)
{
    char report[512];
    if (check(v, report) != 0)
        fail_msg("%s", report);
}

/* What is stored, seen and changed by somebody who has the file only. */
struct intruder {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static struct intruder intrude(struct volume *v)
{
    struct intruder in = { 0 };
    char path[128];

    stop(v);
    (void)snprintf(path, sizeof(path), "%s/metadata.mdb", v->folder);
    assert_int_equal(mdb_env_create(&in.env), 0);
    assert_int_equal(mdb_env_set_mapsize(in.env, (size_t)1 << 30), 0);
    assert_int_equal(mdb_env_open(in.env, path, MDB_NOSUBDIR, 0600), 0);
    assert_int_equal(mdb_txn_begin(in.env, NULL, 0, &in.txn), 0);
    assert_int_equal(mdb_dbi_open(in.txn, NULL, 0, &in.dbi), 0);
    return in;
}

static void leave(struct volume *v, struct intruder *in)
{
    assert_int_equal(mdb_txn_commit(in->txn), 0);
    mdb_env_close(in->env);
    start(v, false);
}

static MDB_val val(struct bytes bytes)
{
    return (MDB_val){ .mv_size = bytes.len, .mv_data = (void *)(uintptr_t)bytes.data };
}

static struct buf intruder_get(struct intruder *in, struct bytes key)
{
    struct buf copy = BUF_INIT;
    MDB_val native = val(key);
    MDB_val value;

    assert_int_equal(mdb_get(in->txn, in->dbi, &native, &value), 0);
    assert_int_equal(buf_assign(&copy, (struct bytes){ value.mv_data, value.mv_size }), 0);
    return copy;
}

static void intruder_put(struct intruder *in, struct bytes key, const struct buf *value)
{
    MDB_val native = val(key);
    MDB_val data = val(buf_bytes(value));

    assert_int_equal(mdb_put(in->txn, in->dbi, &native, &data, 0), 0);
}

static void intruder_remove(struct intruder *in, struct bytes key)
{
    MDB_val native = val(key);

    assert_int_equal(mdb_del(in->txn, in->dbi, &native, NULL), 0);
}

static void records_come_back_after_a_restart_and_the_set_is_sound(void **state)
{
    struct volume *v = *state;

    assert_int_equal(sealer_commit_number(v->sealer), 0);
    expect_sound(v);
    for (unsigned i = 0; i < 300; i++)
        put(v, i, "value");
    sync_now(v);
    uint64_t commit = sealer_commit_number(v->sealer);
    assert_true(commit >= 1);
    for (unsigned i = 0; i < 300; i += 3)
        drop(v, i);
    for (unsigned i = 1; i < 300; i += 3)
        put(v, i, "changed");
    expect_sound(v);
    stop(v);
    start(v, false);
    assert_true(sealer_commit_number(v->sealer) > commit);
    assert_int_equal(get(v, 0, ""), -ENOENT);
    assert_int_equal(get(v, 1, "changed"), 0);
    assert_int_equal(get(v, 2, "value"), 0);
    put(v, 0, "after the restart");
    expect_sound(v);
    assert_true(sealer_uses_generation(v->sealer, 1));
    assert_false(sealer_uses_generation(v->sealer, 2));
}

static void the_shares_of_two_owners_add_up(void **state)
{
    struct volume *v = *state;

    for (unsigned i = 0; i < 50; i++)
        put(v, i, "of the first");
    stop(v);
    memset(v->owner.bytes, 0x0b, UUID_LEN);
    start(v, false);
    uint64_t commit = sealer_commit_number(v->sealer);
    for (unsigned i = 0; i < 40; i++)
        drop(v, i);
    put(v, 45, "of the second");
    expect_sound(v);
    assert_true(sealer_commit_number(v->sealer) > commit);
    stop(v);
    memset(v->owner.bytes, 0x0a, UUID_LEN);
    start(v, false);
    put(v, 46, "of the first again");
    expect_sound(v);
    assert_true(sealer_commit_number(v->sealer) > commit + 1);
}

static void a_new_run_is_named_when_its_batches_are_used_up(void **state)
{
    struct volume *v = *state;

    stop(v);
    v->batches_max = 2;
    start(v, false);
    for (unsigned i = 0; i < 9; i++) {
        put(v, i, "value");
        sync_now(v);
    }
    expect_sound(v);
    stop(v);
    start(v, false);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(get(v, i, "value"), 0);
    expect_sound(v);
}

static void records_of_older_generations_open_while_their_key_is_given(void **state)
{
    struct volume *v = *state;
    char report[512];

    put(v, 1, "of generation 1");
    stop(v);
    add_key(&v->keys, 2);
    start(v, false);
    put(v, 2, "of generation 2");
    expect_sound(v);
    assert_true(sealer_uses_generation(v->sealer, 2));
    assert_int_equal(get(v, 1, "of generation 1"), 0);
    stop(v);

    /* The commit record is of generation 2 now, so the database opens without 1. */
    struct key_set both = v->keys;
    v->keys.count = 1;
    v->keys.generations[0] = 2;
    v->keys.keys[0] = both.keys[1];
    start(v, false);
    assert_int_equal(get(v, 1, ""), -EBADMSG);
    assert_int_equal(get(v, 2, "of generation 2"), 0);
    assert_true(check(v, report) > 0);
    v->keys = both;
}

static void every_altered_byte_of_a_record_is_noticed(void **state)
{
    struct volume *v = *state;
    struct key key;
    char report[512];

    put(v, 7, "a value of some length");
    struct intruder in = intrude(v);
    struct buf stored = intruder_get(&in, inode(&key, 7));
    leave(v, &in);
    assert_int_equal(stored.len, 1 + 16 + 12 + 8 + 22 + 16);
    for (size_t i = 0; i < stored.len; i++) {
        in = intrude(v);
        stored.data[i] ^= 0x10;
        intruder_put(&in, inode(&key, 7), &stored);
        stored.data[i] ^= 0x10;
        leave(v, &in);
        int r = get(v, 7, "");
        assert_true(r == -EBADMSG || r == -EPROTONOSUPPORT);
        assert_true(check(v, report) > 0);
    }
    for (size_t len = stored.len; len-- > 0;) {
        struct buf cut = { stored.data, len };
        in = intrude(v);
        intruder_put(&in, inode(&key, 7), &cut);
        leave(v, &in);
        assert_int_equal(get(v, 7, ""), -EBADMSG);
    }
    buf_release(&stored);
}

static void a_record_under_another_key_does_not_open(void **state)
{
    struct volume *v = *state;
    struct key key;

    put(v, 7, "seven");
    put(v, 8, "eight");
    struct intruder in = intrude(v);
    struct buf stored = intruder_get(&in, inode(&key, 7));
    intruder_put(&in, inode(&key, 8), &stored);
    leave(v, &in);
    assert_int_equal(get(v, 8, ""), -EBADMSG);
    buf_release(&stored);
}

static void a_deleted_record_is_noticed(void **state)
{
    struct volume *v = *state;
    struct key key;
    char report[512];

    put(v, 7, "seven");
    put(v, 8, "eight");
    struct intruder in = intrude(v);
    intruder_remove(&in, inode(&key, 7));
    leave(v, &in);
    assert_int_equal(check(v, report), 1);
    assert_non_null(strstr(report, "deleted or added"));
}

static void a_record_put_back_from_an_older_copy_is_noticed(void **state)
{
    struct volume *v = *state;
    struct key key;
    char report[512];

    put(v, 7, "old");
    struct intruder in = intrude(v);
    struct buf old = intruder_get(&in, inode(&key, 7));
    leave(v, &in);
    put(v, 7, "new");
    in = intrude(v);
    intruder_put(&in, inode(&key, 7), &old);
    leave(v, &in);
    assert_int_equal(get(v, 7, "old"), 0); /* each record alone is right */
    assert_int_equal(check(v, report), 1);
    assert_non_null(strstr(report, "put back"));
    buf_release(&old);
}

struct found {
    enum record_kind kind;
    struct buf key;
    struct buf value;
};

static int find_kind(struct bytes key, struct bytes value, void *arg)
{
    struct found *found = arg;

    if (record_kind_of(key) == found->kind && found->key.data == NULL) {
        assert_int_equal(buf_assign(&found->key, key), 0);
        assert_int_equal(buf_assign(&found->value, value), 0);
    }
    return 0;
}

static struct found stored_of_kind(struct volume *v, enum record_kind kind)
{
    static const uint8_t end[] = { 0xff };
    struct found found = { .kind = kind };

    assert_int_equal(meta_scan_stored(v->engine, (struct bytes){ 0 }, (struct bytes){ end, 1 },
                                      find_kind, &found, NULL),
                     0);
    assert_non_null(found.key.data);
    return found;
}

static void an_altered_or_missing_run_record_is_noticed_and_its_records_open(void **state)
{
    struct volume *v = *state;
    char report[512];

    put(v, 7, "seven");
    sync_now(v);
    struct found run = stored_of_kind(v, RECORD_INCARNATION);
    for (size_t i = 0; i < run.value.len; i++) {
        struct intruder in = intrude(v);
        run.value.data[i] ^= 1;
        intruder_put(&in, buf_bytes(&run.key), &run.value);
        run.value.data[i] ^= 1;
        leave(v, &in);
        assert_int_equal(get(v, 7, "seven"), 0);
        assert_true(check(v, report) > 0);
    }
    struct intruder in = intrude(v);
    intruder_remove(&in, buf_bytes(&run.key));
    leave(v, &in);
    assert_int_equal(get(v, 7, "seven"), 0);
    assert_int_equal(check(v, report), 1);
    buf_release(&run.key);
    buf_release(&run.value);
}

static void an_altered_commit_record_is_refused(void **state)
{
    struct volume *v = *state;
    struct error err = { 0 };

    put(v, 7, "seven");
    sync_now(v);
    struct found commit = stored_of_kind(v, RECORD_COMMIT);
    struct intruder in = intrude(v);
    commit.value.data[commit.value.len / 2] ^= 1;
    intruder_put(&in, buf_bytes(&commit.key), &commit.value);
    assert_int_equal(mdb_txn_commit(in.txn), 0);
    mdb_env_close(in.env);

    struct sealer_config config = { &v->keys, &v->name_key, v->owner, 0 };
    struct meta_hooks hooks = { 0 };
    assert_int_equal(sealer_new(&config, &v->sealer, NULL), 0);
    sealer_hooks(v->sealer, &hooks);
    assert_int_equal(
        meta_engine_open(v->url, &(struct meta_options){ 0 }, &hooks, &v->engine, NULL), 0);
    assert_int_equal(sealer_load(v->sealer, v->engine, &err), -EBADMSG);
    assert_true(err.text[0] != '\0');
    buf_release(&commit.key);
    buf_release(&commit.value);
}

static void the_superblock_copy_is_stored_as_given(void **state)
{
    struct volume *v = *state;
    static const uint8_t key[] = { RECORD_TREE_LIVE, RECORD_SUPERBLOCK };
    struct bytes found = { 0 };

    for (int i = 0; i < 2; i++) {
        struct meta_txn *txn = begin(v, META_WRITE);
        assert_int_equal(meta_put(txn, (struct bytes){ key, 2 }, text("in clear"), NULL), 0);
        assert_int_equal(meta_commit(txn, NULL), 0);
        sync_now(v);
    }
    struct found stored = stored_of_kind(v, RECORD_SUPERBLOCK);
    assert_int_equal(stored.value.len, 8);
    assert_memory_equal(stored.value.data, "in clear", 8);
    struct meta_txn *txn = begin(v, META_READ);
    assert_int_equal(meta_get(txn, (struct bytes){ key, 2 }, &found, NULL), 0);
    assert_memory_equal(found.data, "in clear", 8);
    meta_abort(txn);
    expect_sound(v);
    buf_release(&stored.key);
    buf_release(&stored.value);
}

static void values_carry_the_epoch_in_which_they_were_sealed(void **state)
{
    struct volume *v = *state;
    uint8_t plain[128];
    uint64_t epoch = 0;
    size_t len = 0;

    put(v, 1, "one");
    sync_now(v);
    sealer_set_epoch(v->sealer, 42);
    put(v, 1, "two");
    sync_now(v);
    struct found stored = stored_of_kind(v, RECORD_INODE);
    assert_int_equal(sealer_open_record(v->sealer, buf_bytes(&stored.key), buf_bytes(&stored.value),
                                        &epoch, plain, &len, NULL),
                     0);
    assert_int_equal(epoch, 42);
    assert_memory_equal(plain, "two", 3);
    stop(v);
    start(v, false);
    assert_int_equal(sealer_epoch(v->sealer), 42);
    buf_release(&stored.key);
    buf_release(&stored.value);
}

/* Records that version 1 wrote, under keys that are fixed. */
static void records_of_format_version_1_are_read(void **state)
{
    struct volume *v = *state;
    struct buf file = BUF_INIT;
    struct key_set keys = v->keys;
    struct secret name_key = v->name_key;
    struct bytes key;
    struct bytes stored;

    meta_sample_keys(&v->keys, &v->name_key);
    meta_sample_owner(&v->owner);
    struct intruder in = intrude(v);
    assert_int_equal(file_read(FORMATS_FOLDER "/metadata-v1.bin", 65536, &file, NULL), 0);
    for (struct bytes left = buf_bytes(&file); left.len > 0;) {
        assert_int_equal(meta_sample_next(&left, &key, &stored), 0);
        struct buf value = { (uint8_t *)(uintptr_t)stored.data, stored.len };
        intruder_put(&in, key, &value);
    }
    leave(v, &in);
    assert_int_equal(sealer_commit_number(v->sealer), 1);
    assert_int_equal(sealer_epoch(v->sealer), 5);
    struct meta_txn *txn = begin(v, META_READ);
    for (unsigned i = 0; i < META_SAMPLES; i++) {
        struct bytes found = { 0 };
        assert_int_equal(meta_get(txn, meta_sample(i).key, &found, NULL), 0);
        assert_int_equal(found.len, meta_sample(i).value.len);
        assert_memory_equal(found.data, meta_sample(i).value.data, found.len);
    }
    meta_abort(txn);
    expect_sound(v);
    buf_release(&file);
    for (uint32_t i = 0; i < v->keys.count; i++)
        secret_release(&v->keys.keys[i]);
    secret_release(&v->name_key);
    v->keys = keys;
    v->name_key = name_key;
}

#define EVERY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY(records_come_back_after_a_restart_and_the_set_is_sound),
        EVERY(the_shares_of_two_owners_add_up),
        EVERY(a_new_run_is_named_when_its_batches_are_used_up),
        EVERY(records_of_older_generations_open_while_their_key_is_given),
        EVERY(every_altered_byte_of_a_record_is_noticed),
        EVERY(a_record_under_another_key_does_not_open),
        EVERY(a_deleted_record_is_noticed),
        EVERY(a_record_put_back_from_an_older_copy_is_noticed),
        EVERY(an_altered_or_missing_run_record_is_noticed_and_its_records_open),
        EVERY(an_altered_commit_record_is_refused),
        EVERY(the_superblock_copy_is_stored_as_given),
        EVERY(records_of_format_version_1_are_read),
        EVERY(values_carry_the_epoch_in_which_they_were_sealed),
    };
    if (secret_heap_init(NULL) < 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
