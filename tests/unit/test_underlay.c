/* An engine with a source underneath, against a model of both: everything that a transaction can
 * ask, at each stage of the import. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "meta/underlay.h"

#define KEYS 60u
#define PER_CHUNK 4u
#define VALUE_MAX 24u

/* The value of each key; "" for none. */
struct model {
    char values[KEYS][VALUE_MAX];
};

struct source {
    struct underlay_source base;
    struct model model;
    struct chunk {
        struct underlay_chunk base;
        struct record_key first, behind;
        uint32_t keys[PER_CHUNK];
        uint8_t count;
        bool is_at_hand;
    } chunks[KEYS];
    uint32_t chunk_count;
    unsigned given, taken, waited;
    int fails; /* what take ends with */
};

struct fixture {
    struct source source;
    struct meta_engine *engine;
    struct model model;
    uint64_t random;
};

static unsigned draw(struct fixture *f, unsigned below)
{
    f->random = f->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(f->random >> 33) % below;
}

/* Of all kinds that a source has, in order, and of three that it never has. */
static void key_of(unsigned number, struct record_key *ret)
{
    static const uint8_t kinds[] = {
        RECORD_STATE,  RECORD_INODE, RECORD_DIRENT,   RECORD_EXTENTS,
        RECORD_ORPHAN, RECORD_QUOTA, RECORD_LOCATION, RECORD_SNAPSHOT
    };
    const unsigned each = KEYS / sizeof(kinds) + 1;

    ret->data[0] = RECORD_TREE_LIVE;
    ret->data[1] = kinds[number / each];
    ret->data[2] = (uint8_t)(number % each);
    ret->len = 3;
}

static bool is_under(unsigned number)
{
    struct record_key key;

    key_of(number, &key);
    return underlay_has_kind(key.data[1]);
}

static int order(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int found = common ? memcmp(a.data, b.data, common) : 0;

    return found ? found : (a.len > b.len) - (a.len < b.len);
}

static int take(struct underlay_source *base, struct bytes key, bool may_wait,
                struct underlay_chunk **ret, struct error *err)
{
    struct source *source = (struct source *)base;
    uint32_t index = 0;

    if (source->chunk_count == 0)
        return -ENOENT;
    while (index + 1 < source->chunk_count &&
           order(record_key_bytes(&source->chunks[index + 1].first), key) <= 0)
        index++;
    struct chunk *chunk = &source->chunks[index];
    if (!may_wait && !chunk->is_at_hand)
        return -EAGAIN;
    if (source->fails < 0)
        return error_set(err, source->fails, "the source fails");
    source->waited += !chunk->is_at_hand;
    chunk->is_at_hand = true;
    source->taken++;
    *ret = &chunk->base;
    return 0;
}

static void give(struct underlay_source *base, struct underlay_chunk *chunk)
{
    (void)chunk;
    ((struct source *)base)->given++;
}

/* A body is what is left of the numbers of keys; the model is found through the first of them. */
static struct source *the_source;

static bool next(struct bytes *body, struct bytes *ret_key, struct bytes *ret_value)
{
    static _Thread_local struct record_key keys[8];
    static _Thread_local unsigned at;
    uint32_t number;

    if (body->len == 0)
        return false;
    memcpy(&number, body->data, sizeof(number));
    body->data += sizeof(number);
    body->len -= sizeof(number);
    struct record_key *key = &keys[at++ % 8];
    key_of(number, key);
    *ret_key = record_key_bytes(key);
    const char *value = the_source->model.values[number];
    *ret_value = (struct bytes){ (const uint8_t *)value, strlen(value) };
    return true;
}

static const struct underlay_source_ops source_ops = { take, give, next };

static void forget_all(struct source *source)
{
    for (uint32_t i = 0; i < source->chunk_count; i++)
        source->chunks[i].is_at_hand = false;
}

static void make_chunks(struct source *source)
{
    for (unsigned i = 0; i < KEYS; i++) {
        if (source->model.values[i][0] == '\0')
            continue;
        struct chunk *chunk = &source->chunks[source->chunk_count];
        if (source->chunk_count == 0 || chunk[-1].count == PER_CHUNK) {
            key_of(i, &chunk->first);
            chunk->base.index = source->chunk_count++;
        } else {
            chunk--;
        }
        chunk->keys[chunk->count++] = i;
    }
    for (uint32_t i = 0; i < source->chunk_count; i++) {
        struct chunk *chunk = &source->chunks[i];
        chunk->base.first = record_key_bytes(&chunk->first);
        chunk->base.body =
            (struct bytes){ (const uint8_t *)chunk->keys, chunk->count * sizeof(chunk->keys[0]) };
        if (i + 1 < source->chunk_count)
            chunk->base.behind = record_key_bytes(&chunk[1].first);
    }
}

static const struct record_key cursor_key = { { RECORD_TREE_LIVE, RECORD_STATE, 99 }, 3 };

static void put_cursor(struct fixture *f)
{
    struct meta_txn *txn;

    assert_int_equal(meta_begin(f->engine, META_WRITE, &txn, NULL), 0);
    assert_int_equal(underlay_put_cursor(txn, &cursor_key, NULL), 0);
    assert_int_equal(meta_commit(txn, NULL), 0);
}

static void fixture_new(struct fixture *f, uint64_t seed)
{
    const struct underlay_config config = { .cursor = cursor_key,
                                            .options = { .create = true },
                                            .url = "memory:" };

    memset(f, 0, sizeof(*f));
    f->random = seed;
    f->source.base.ops = &source_ops;
    the_source = &f->source;
    for (unsigned i = 0; i < KEYS; i++)
        if (is_under(i) && draw(f, 3) > 0)
            (void)snprintf(f->source.model.values[i], VALUE_MAX, "under-%u", i);
    f->model = f->source.model;
    make_chunks(&f->source);
    assert_int_equal(underlay_open(&config, &f->engine, NULL), 0);
    put_cursor(f);
    assert_int_equal(underlay_set_source(f->engine, &f->source.base, NULL), 0);
    assert_true(underlay_is_importing(f->engine));
}

static void fixture_end(struct fixture *f)
{
    assert_int_equal(meta_close(f->engine, NULL), 0);
    assert_int_equal(f->source.taken, f->source.given);
}

/* --- looking --- */

static void expect_get(struct fixture *f, struct meta_txn *txn, unsigned number)
{
    struct record_key key;
    struct bytes value = { .data = NULL };

    key_of(number, &key);
    int r = meta_get(txn, record_key_bytes(&key), &value, NULL);
    if (f->model.values[number][0] == '\0') {
        assert_int_equal(r, -ENOENT);
        return;
    }
    assert_int_equal(r, 0);
    assert_int_equal(value.len, strlen(f->model.values[number]));
    assert_memory_equal(value.data, f->model.values[number], value.len);
}

struct scan {
    struct fixture *f;
    unsigned number; /* the next that may come */
    unsigned end;
    unsigned left; /* before it ends the scan */
};

static void skip_absent(struct scan *scan)
{
    while (scan->number < scan->end && scan->f->model.values[scan->number][0] == '\0')
        scan->number++;
}

static int expect_next(struct bytes key, struct bytes value, void *arg)
{
    struct scan *scan = arg;
    struct record_key wanted;

    if (key.data[2] == 99)
        return 0; /* the cursor */
    skip_absent(scan);
    assert_true(scan->number < scan->end);
    key_of(scan->number, &wanted);
    assert_int_equal(order(key, record_key_bytes(&wanted)), 0);
    assert_int_equal(value.len, strlen(scan->f->model.values[scan->number]));
    assert_memory_equal(value.data, scan->f->model.values[scan->number], value.len);
    scan->number++;
    return --scan->left == 0 ? 7 : 0;
}

static void expect_scan(struct fixture *f, struct meta_txn *txn, unsigned first, unsigned end,
                        unsigned most)
{
    struct scan scan = { .f = f, .number = first, .end = end, .left = most };
    struct record_key first_key, end_key;

    key_of(first, &first_key);
    key_of(end - 1, &end_key);
    end_key.data[2]++; /* behind the last one */
    int r = meta_scan(txn, record_key_bytes(&first_key), record_key_bytes(&end_key), expect_next,
                      &scan, NULL);
    if (scan.left == 0) {
        assert_int_equal(r, 7);
        return;
    }
    assert_int_equal(r, 0);
    skip_absent(&scan);
    assert_int_equal(scan.number, end);
}

static void expect_all(struct fixture *f)
{
    struct meta_txn *txn;

    assert_int_equal(meta_begin(f->engine, META_READ, &txn, NULL), 0);
    for (unsigned i = 0; i < KEYS; i++)
        expect_get(f, txn, i);
    expect_scan(f, txn, 0, KEYS, KEYS + 1);
    for (unsigned i = 0; i < 10; i++) {
        unsigned first = draw(f, KEYS);
        expect_scan(f, txn, first, first + 1 + draw(f, KEYS - first), 1 + draw(f, 9));
    }
    meta_abort(txn);
}

/* --- changing --- */

static int patch_one(struct fixture *f, struct meta_txn *txn, unsigned number, char *value)
{
    const struct splice patch = { .at = 0, .removed = 1, .added = { (const uint8_t *)"xy", 2 } };
    struct record_key key;
    char before[VALUE_MAX];

    (void)f;
    key_of(number, &key);
    int r = meta_patch(txn, record_key_bytes(&key), &patch, NULL);
    if (r == 0 && value[0] != '\0' && strlen(value) + 2 < VALUE_MAX) {
        memcpy(before, value, sizeof(before));
        (void)snprintf(value, VALUE_MAX, "xy%.20s", before + 1);
    }
    return r;
}

static int change_one(struct fixture *f, struct meta_txn *txn, struct model *model)
{
    unsigned number = draw(f, KEYS);
    char *value = model->values[number];
    struct record_key key;
    int r = 0;

    key_of(number, &key);
    switch (draw(f, 4)) {
    case 0:
        r = meta_remove(txn, record_key_bytes(&key), NULL);
        value[0] = '\0';
        break;
    case 1:
        r = strlen(value) + 2 < VALUE_MAX - 1 ? patch_one(f, txn, number, value) : 0;
        if (r == -ENOENT) {
            assert_int_equal(value[0], '\0');
            r = 0;
        }
        break;
    default:
        (void)snprintf(value, VALUE_MAX, "own-%u-%u", number, draw(f, 1000));
        r = meta_put(txn, record_key_bytes(&key),
                     (struct bytes){ (const uint8_t *)value, strlen(value) }, NULL);
    }
    return r;
}

/* Runs it until it need not be run again. */
static void change(struct fixture *f, enum meta_access access)
{
    uint64_t before = f->random;
    struct meta_txn *txn;
    struct model model;
    bool commits = draw(f, 5) > 0;
    unsigned count = 1 + draw(f, 6), tries = 0;
    uint64_t random = f->random;
    int r;

    (void)before;
    do {
        f->random = random;
        model = f->model;
        assert_int_equal(meta_begin(f->engine, access, &txn, NULL), 0);
        r = 0;
        for (unsigned i = 0; i < count && r == 0; i++)
            r = change_one(f, txn, &model);
        assert_true(r == 0 || r == -EAGAIN);
        if (r < 0)
            meta_abort(txn);
        access = access == META_OPTIMISTIC ? META_WRITE : access;
        assert_true(++tries < 100);
    } while (r < 0);
    if (commits) {
        assert_int_equal(meta_commit(txn, NULL), 0);
        f->model = model;
    } else {
        meta_abort(txn);
    }
}

static void import_some(struct fixture *f)
{
    uint32_t next = 0;

    int r = underlay_import(f->engine, NULL, NULL, &next, NULL);
    assert_true(r == 0 || r == 1);
    assert_int_equal(r == 1, !underlay_is_importing(f->engine));
}

static void whatever_is_asked_is_answered_as_if_all_were_here(void **state)
{
    static struct fixture f;
    (void)state;

    for (uint64_t seed = 1; seed < 60; seed++) {
        fixture_new(&f, seed * 7919);
        expect_all(&f);
        for (unsigned i = 0; i < 60; i++) {
            change(&f, i % 3 == 0 ? META_OPTIMISTIC : i % 3 == 1 ? META_WRITE : META_FREE);
            if (draw(&f, 3) == 0)
                import_some(&f);
            if (draw(&f, 3) == 0)
                forget_all(&f.source);
            expect_all(&f);
        }
        while (underlay_is_importing(f.engine))
            import_some(&f);
        f.source.fails = -EIO; /* it is not asked any more */
        expect_all(&f);
        change(&f, META_WRITE);
        expect_all(&f);
        fixture_end(&f);
    }
}

static int see_empty(struct bytes key, struct bytes value, void *arg)
{
    (void)key;
    (void)arg;
    assert_true(value.len > 0);
    return 0;
}

static void no_whiteout_is_left(void **state)
{
    static const uint8_t first[] = { 0 }, end[] = { 255 };
    static struct fixture f;
    struct meta_txn *txn;
    struct record_key key;
    (void)state;

    fixture_new(&f, 5);
    assert_int_equal(meta_begin(f.engine, META_WRITE, &txn, NULL), 0);
    for (unsigned i = 0; i < KEYS; i++) {
        key_of(i, &key);
        assert_int_equal(meta_remove(txn, record_key_bytes(&key), NULL), 0);
        f.model.values[i][0] = '\0';
    }
    assert_int_equal(meta_commit(txn, NULL), 0);
    expect_all(&f);
    while (underlay_is_importing(f.engine))
        import_some(&f);
    expect_all(&f);
    assert_int_equal(meta_sync(f.engine, NULL), 0);
    assert_int_equal(meta_scan_stored(f.engine, (struct bytes){ first, 1 },
                                      (struct bytes){ end, 1 }, see_empty, NULL, NULL),
                     0);
    fixture_end(&f);
}

static void a_failing_source_fails_what_needs_it_and_nothing_else(void **state)
{
    static struct fixture f;
    struct error err = { .code = 0 };
    struct record_key key;
    struct meta_txn *txn;
    struct bytes value;
    unsigned number = 0;
    int r;
    (void)state;

    fixture_new(&f, 3);
    while (f.model.values[number][0] == '\0')
        number++;
    key_of(number, &key);
    f.source.fails = -EIO;
    assert_int_equal(meta_begin(f.engine, META_READ, &txn, NULL), 0);
    assert_int_equal(meta_get(txn, record_key_bytes(&key), &value, &err), -EIO);
    assert_string_equal(err.text, "the source fails");
    meta_abort(txn);
    unsigned tries = 0;
    do {
        assert_int_equal(meta_begin(f.engine, META_WRITE, &txn, NULL), 0);
        r = meta_get(txn, record_key_bytes(&key), &value, &err);
        meta_abort(txn);
    } while (r == -EAGAIN && ++tries < 10);
    assert_int_equal(r, -EIO);
    assert_int_equal(meta_begin(f.engine, META_WRITE, &txn, NULL), 0);
    assert_int_equal(
        meta_put(txn, record_key_bytes(&key), (struct bytes){ (const uint8_t *)"new", 3 }, NULL),
        0);
    (void)snprintf(f.model.values[number], VALUE_MAX, "new");
    assert_int_equal(meta_commit(txn, NULL), 0);
    assert_int_equal(underlay_import(f.engine, NULL, NULL, &(uint32_t){ 0 }, &err), -EIO);
    f.source.fails = 0;
    expect_all(&f);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_asked_is_answered_as_if_all_were_here),
        cmocka_unit_test(no_whiteout_is_left),
        cmocka_unit_test(a_failing_source_fails_what_needs_it_and_nothing_else),
    };

    return cmocka_run_group_tests_name("underlay", tests, NULL, NULL);
}
