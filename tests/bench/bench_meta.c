/* bench_meta.c - what the metadata engine costs: bench_meta [FOLDER] [RECORDS]. Sealed, over LMDB
 * in FOLDER (a new one; in /dev/shm if none is given), with so many live records of 200 bytes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "meta/meta_engine.h"
#include "meta/ordered_map.h"
#include "meta/record_kinds.h"
#include "meta/sealer.h"

#define VALUE_LEN 200u

struct bench {
    struct meta_engine *engine;
    struct sealer *sealer;
    unsigned records;
};

static void must(int r, const struct error *err, const char *what)
{
    if (r == 0)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, err != NULL ? err->text : "failed");
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static unsigned mix(unsigned i)
{
    return i * 2654435761u;
}

static struct bytes key_of(uint8_t ret[static 18], uint8_t kind, uint64_t a, uint64_t b)
{
    ret[0] = RECORD_TREE_LIVE;
    ret[1] = kind;
    for (unsigned i = 0; i < 8; i++) {
        ret[2 + i] = (uint8_t)(a >> (56 - 8 * i));
        ret[10 + i] = (uint8_t)(b >> (56 - 8 * i));
    }
    return (struct bytes){ ret, kind == RECORD_INODE ? 10 : 18 };
}

static void put(struct meta_txn *txn, uint8_t kind, uint64_t a, uint64_t b)
{
    static const uint8_t value[VALUE_LEN];
    uint8_t key[18];

    must(meta_put(txn, key_of(key, kind, a, b), (struct bytes){ value, VALUE_LEN }, NULL), NULL,
         "put");
}

static struct meta_txn *begin(struct bench *bench, enum meta_access access)
{
    struct meta_txn *txn = NULL;
    struct error err = { 0 };
    must(meta_begin(bench->engine, access, &txn, &err), &err, "begin");
    return txn;
}

static void sync_now(struct bench *bench)
{
    struct error err = { 0 };
    must(meta_sync(bench->engine, &err), &err, "sync");
}

static void report(const char *what, double from, unsigned count)
{
    (void)printf("%-52s %8.2f us\n", what, (now_us() - from) / count);
    (void)fflush(stdout);
}

/* As a create: a new inode, its name, its parent. */
static void creates(struct bench *bench, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        struct meta_txn *txn = begin(bench, META_WRITE);
        put(txn, RECORD_INODE, i, 0);
        put(txn, RECORD_DIRENT, 1, (uint64_t)mix(i) << 32 | i);
        put(txn, RECORD_INODE, 1, 0);
        must(meta_commit(txn, NULL), NULL, "commit");
    }
}

static void get_many(struct bench *bench, unsigned count, unsigned per_txn)
{
    uint8_t key[18];
    struct bytes value;

    for (unsigned i = 0; i < count; i += per_txn) {
        struct meta_txn *txn = begin(bench, META_READ);
        for (unsigned j = 0; j < per_txn; j++) {
            uint64_t number = 1 + mix(i + j) % bench->records;
            must(meta_get(txn, key_of(key, RECORD_INODE, number, 0), &value, NULL), NULL, "get");
        }
        meta_abort(txn);
    }
}

static int count_one(struct bytes key, struct bytes value, void *arg)
{
    (void)key;
    (void)value;
    (*(unsigned *)arg)++;
    return 0;
}

static void *get_thread(void *arg)
{
    get_many(arg, 200000, 1);
    return NULL;
}

static void measure_map(void)
{
    struct ordered_map *map = NULL;
    struct ordered_map_change change;
    static const uint8_t value[VALUE_LEN];
    struct spliced found;
    uint8_t key[18];
    unsigned count = 100000;

    must(ordered_map_new(&map), NULL, "map");
    double from = now_us();
    for (unsigned i = 0; i < count; i++)
        must(ordered_map_put(map, key_of(key, RECORD_DIRENT, 1, (uint64_t)mix(i) << 32),
                             (struct bytes){ value, VALUE_LEN }, false, 1, &change),
             NULL, "put");
    report("map: put of 200 bytes, random key, up to 100,000", from, count);
    from = now_us();
    for (unsigned i = 0; i < count; i++)
        (void)ordered_map_get(map, key_of(key, RECORD_DIRENT, 1, (uint64_t)mix(i) << 32), 1,
                              &found);
    report("map: get of 100,000", from, count);
    (void)printf("%-52s %8.2f bytes\n", "map: memory for an entry besides key and value",
                 (double)ordered_map_memory(map) / count - VALUE_LEN - 18);
    ordered_map_free(map);
}

static void measure(struct bench *bench)
{
    unsigned seen = 0;
    static const uint8_t end[] = { RECORD_TREE_NONE };
    pthread_t threads[2];

    double from = now_us();
    creates(bench, 2, bench->records);
    report("filling: transaction of 3 puts", from, bench->records);
    sync_now(bench);
    from = now_us();
    creates(bench, bench->records + 2, 20000);
    report("transaction of 3 puts", from, 20000);
    from = now_us();
    sync_now(bench);
    report("sync after 20,000 of them, for each put", from, 60000);
    from = now_us();
    for (unsigned i = 0; i < 200; i++) {
        creates(bench, bench->records + 30000 + i, 1);
        sync_now(bench);
    }
    report("transaction of 3 puts and sync", from, 200);
    from = now_us();
    get_many(bench, 200000, 1);
    report("read transaction of one stored record", from, 200000);
    from = now_us();
    get_many(bench, 200000, 1000);
    report("get of a stored record", from, 200000);
    from = now_us();
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_create(&threads[i], NULL, get_thread, bench);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_join(threads[i], NULL);
    report("the same by two threads, transactions of one", from, 400000);
    from = now_us();
    struct meta_txn *txn = begin(bench, META_READ);
    must(meta_scan(txn, (struct bytes){ 0 }, (struct bytes){ end, 1 }, count_one, &seen, NULL),
         NULL, "scan");
    meta_abort(txn);
    report("scan, for each record", from, seen);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "/dev/shm/coffer-bench-meta";
    struct bench bench = { .records = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100000 };
    struct key_set keys = { .count = 1, .generations = { 1 } };
    struct secret name_key = SECRET_INIT;
    struct meta_options options = { .create = true };
    struct meta_hooks hooks = { 0 };
    struct error err = { 0 };
    char text[256];

    must(secret_heap_init(&err), &err, "secret heap");
    must(secret_new(&keys.keys[0], FS_KEY_LEN), NULL, "key");
    must(secret_new(&name_key, 32), NULL, "key");
    struct sealer_config config = { .keys = &keys, .name_key = &name_key };
    must(sealer_new(&config, &bench.sealer, &err), &err, "sealer");
    sealer_hooks(bench.sealer, &hooks);
    (void)snprintf(text, sizeof(text), "lmdb:%s", folder);
    must(meta_engine_open(text, &options, &hooks, &bench.engine, &err), &err, "open");
    must(sealer_load(bench.sealer, bench.engine, &err), &err, "load");

    measure_map();
    measure(&bench);
    must(meta_close(bench.engine, &err), &err, "close");
    sealer_free(bench.sealer);
    secret_release(&keys.keys[0]);
    secret_release(&name_key);
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof(text), "%s/metadata.mdb%s", folder, i == 0 ? "" : "-lock");
        (void)unlink(text);
    }
    return rmdir(folder) < 0;
}
