/* aesbench.c - how fast AES-256-GCM is: aesbench BLOCK THREADS seal|open|check [SECONDS]. Each
 * thread works on the blocks of its own 1 MiB, as on a request. Prints MiB/s of all threads
 * together. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/aead.h"

#define WORK_LEN (1024u * 1024u)
#define THREADS_MAX 64u

struct bench {
    struct aead *aead; /* one for all, as in a volume */
    size_t block;
    const char *what;
    pthread_barrier_t start;
    atomic_bool stop;
};

struct worker {
    struct bench *bench;
    pthread_t thread;
    uint8_t *plain;  /* WORK_LEN bytes */
    uint8_t *sealed; /* WORK_LEN bytes, and a tag for each block */
    uint64_t done;   /* bytes of plaintext */
};

static void must(bool is_good, const char *what)
{
    if (is_good)
        return;
    (void)fprintf(stderr, "aesbench: %s\n", what);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seals all blocks, or opens or checks them. The nonce is the block's number: what comes out is
 * thrown away. */
static void pass(struct worker *worker, const char *what)
{
    struct bench *bench = worker->bench;
    size_t sealed_len = bench->block + AEAD_TAG_LEN;
    uint8_t nonce[AEAD_NONCE_LEN] = { 0 };

    for (uint32_t i = 0; i < WORK_LEN / bench->block; i++) {
        uint8_t *plain = worker->plain + i * bench->block;
        uint8_t *sealed = worker->sealed + i * sealed_len;
        struct bytes aad = { nonce, sizeof(nonce) };
        memcpy(nonce, &i, sizeof(i));
        const struct bytes all = { sealed, sealed_len };
        int r = *what == 'o'   ? aead_open(bench->aead, nonce, aad, all, plain)
                : *what == 'c' ? aead_check(bench->aead, nonce, aad, all)
                               : aead_seal(bench->aead, nonce, aad,
                                           (struct bytes){ plain, bench->block }, sealed);
        must(r == 0, "the cipher failed");
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct bench *bench = worker->bench;

    pass(worker, "seal"); /* so that there is something to open, and all is warm */
    (void)pthread_barrier_wait(&bench->start);
    while (!atomic_load_explicit(&bench->stop, memory_order_relaxed)) {
        pass(worker, bench->what);
        worker->done += WORK_LEN;
    }
    return NULL;
}

static double measure(struct bench *bench, unsigned threads, double seconds)
{
    struct worker workers[THREADS_MAX];
    struct timespec pause = { .tv_sec = (time_t)seconds,
                              .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };
    uint64_t done = 0;

    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){ .bench = bench,
                                      .plain = calloc(1, WORK_LEN),
                                      .sealed = malloc(WORK_LEN / bench->block *
                                                       (bench->block + AEAD_TAG_LEN)) };
        must(workers[i].plain && workers[i].sealed, "out of memory");
        must(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "no thread");
    }
    (void)pthread_barrier_wait(&bench->start);
    double from = now_s();
    (void)nanosleep(&pause, NULL);
    atomic_store(&bench->stop, true);
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        done += workers[i].done;
        free(workers[i].plain);
        free(workers[i].sealed);
    }
    return (double)done / (now_s() - from);
}

int main(int argc, char **argv)
{
    struct bench bench = { .block = argc > 1 ? strtoul(argv[1], NULL, 10) : 0 };
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    double seconds = argc > 4 ? strtod(argv[4], NULL) : 1;
    struct secret key = SECRET_INIT;

    bench.what = argc > 3 ? argv[3] : "";
    bool is_known = strcmp(bench.what, "seal") == 0 || strcmp(bench.what, "open") == 0 ||
                    strcmp(bench.what, "check") == 0;
    must(is_known && bench.block > 0 && bench.block <= WORK_LEN && threads > 0 &&
             threads <= THREADS_MAX && seconds > 0,
         "usage: aesbench BLOCK THREADS seal|open|check [SECONDS]");
    must(secret_heap_init(NULL) == 0, "no locked memory");
    must(secret_new(&key, AEAD_KEY_LEN) == 0 && aead_new(&key, &bench.aead) == 0, "no key");
    must(pthread_barrier_init(&bench.start, NULL, threads + 1) == 0, "no barrier");
    (void)printf("%.1f\n", measure(&bench, threads, seconds) / (1024 * 1024));
    (void)pthread_barrier_destroy(&bench.start);
    aead_free(bench.aead);
    secret_release(&key);
    return 0;
}
