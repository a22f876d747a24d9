/* bench_s3.c - puts and gets of whole objects by the S3 store and, in the same run and in turn, by
 * libcurl alone, which signs by itself and does not hash what it sends:
 *
 *     bench_s3 [SECONDS]
 *
 * for several sizes and numbers of threads, against the server that the environment names
 * (tests/support/s3_case.h; tests/bench/s3 starts one). Prints operations per second, and the
 * ratio. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "tests/support/s3_case.h"

#define THREADS_MAX 16u

struct bench {
    struct object_store *store;
    struct s3_settings settings;
    double seconds;
    size_t size;
    uint8_t *data;
    atomic_uint made; /* objects so far: their names */
    unsigned round;
};

struct job {
    struct bench *bench;
    pthread_t thread;
    unsigned number;
    unsigned long done;
    bool is_put, is_curl;
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int r, const struct error *err)
{
    if (r >= 0)
        return;
    (void)fprintf(stderr, "bench_s3: %s\n", err->text);
    exit(1);
}

/* --- the store --- */

static void store_put(struct job *job)
{
    struct error err = { 0 };
    char name[64];

    (void)snprintf(name, sizeof(name), "r%u/%u", job->bench->round,
                   atomic_fetch_add(&job->bench->made, 1));
    must(object_store_put(job->bench->store, name,
                          (struct bytes){ job->bench->data, job->bench->size }, &err),
         &err);
}

static void store_get(struct job *job)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct error err = { 0 };

    must(object_store_get(job->bench->store, "one", job->bench->size, &found, &err), &err);
}

/* --- libcurl --- */

struct room {
    uint8_t *data;
    size_t len;
};

static size_t keep(char *data, size_t size, size_t count, void *arg)
{
    struct room *room = arg;

    memcpy(room->data + room->len, data, size * count);
    room->len += size * count;
    return size * count;
}

static CURL *curl_new(struct curl_slist **headers)
{
    CURL *easy = curl_easy_init();

    *headers = curl_slist_append(NULL, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    *headers = curl_slist_append(*headers, "Expect:");
    *headers = curl_slist_append(*headers, "Content-Type: application/octet-stream");
    return easy;
}

static void curl_once(struct job *job, CURL *easy, struct curl_slist *headers)
{
    const struct s3_settings *settings = &job->bench->settings;
    struct room room = { .data = malloc(job->bench->size + 65536) };
    char url[512], user[512];
    long status = 0;

    if (job->is_put)
        (void)snprintf(url, sizeof(url), "http://%s:%u/%s/bench/c%u/%u", settings->hostname,
                       settings->port, settings->bucket, job->bench->round,
                       atomic_fetch_add(&job->bench->made, 1));
    else
        (void)snprintf(url, sizeof(url), "http://%s:%u/%s/bench/one", settings->hostname,
                       settings->port, settings->bucket);
    (void)snprintf(user, sizeof(user), "%s:%.*s", settings->access_key_id,
                   (int)settings->secret_key.len, (const char *)settings->secret_key.data);
    curl_easy_reset(easy);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, "aws:amz:us-east-1:s3");
    (void)curl_easy_setopt(easy, CURLOPT_USERPWD, user);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &room);
    if (job->is_put) {
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->bench->size);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, job->bench->data);
        (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PUT");
    }
    CURLcode code = curl_easy_perform(easy);
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200) {
        (void)fprintf(stderr, "bench_s3: libcurl: %s, status %ld\n", curl_easy_strerror(code),
                      status);
        exit(1);
    }
    free(room.data);
}

/* --- rounds --- */

static void *run(void *arg)
{
    struct job *job = arg;
    struct curl_slist *headers = NULL;
    CURL *easy = curl_new(&headers);
    double end = now_s() + job->bench->seconds;

    do {
        if (job->is_curl)
            curl_once(job, easy, headers);
        else if (job->is_put)
            store_put(job);
        else
            store_get(job);
        job->done++;
    } while (now_s() < end);
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
    return NULL;
}

static double rate(struct bench *bench, unsigned threads, bool is_put, bool is_curl)
{
    struct job jobs[THREADS_MAX];
    unsigned long done = 0;
    double start = now_s();

    bench->round++;
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = (struct job){ .bench = bench, .number = i, .is_put = is_put, .is_curl = is_curl };
        if (pthread_create(&jobs[i].thread, NULL, run, &jobs[i]) != 0)
            exit(1);
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(jobs[i].thread, NULL);
        done += jobs[i].done;
    }
    return (double)done / (now_s() - start);
}

static void measure(struct bench *bench, size_t size, unsigned threads)
{
    struct error err = { 0 };
    double puts, curl_puts, gets, curl_gets;

    bench->size = size;
    bench->data = calloc(1, size);
    if (bench->data == NULL)
        exit(1);
    must(object_store_replace(bench->store, "one", (struct bytes){ bench->data, size }, &err),
         &err);
    puts = rate(bench, threads, true, false);
    curl_puts = rate(bench, threads, true, true);
    gets = rate(bench, threads, false, false);
    curl_gets = rate(bench, threads, false, true);
    (void)printf("%8zu KiB %3u threads: put %8.0f/s, libcurl %8.0f/s, ratio %4.2f;"
                 "  get %8.0f/s, libcurl %8.0f/s, ratio %4.2f\n",
                 size / 1024, threads, puts, curl_puts, puts / curl_puts, gets, curl_gets,
                 gets / curl_gets);
    (void)fflush(stdout);
    free(bench->data);
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = { 4096, 100 * 1024, 1024 * 1024, 16 * 1024 * 1024 };
    struct bench bench = { .seconds = argc > 1 ? strtod(argv[1], NULL) : 2 };
    struct error err = { 0 };

    must(secret_heap_init(&err), &err);
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    s3_case_settings(&bench.settings);
    (void)snprintf(bench.settings.prefix, S3_PREFIX_SIZE, "bench");
    bench.settings.part_len = 0;
    must(s3_store_open(&bench.settings, &bench.store, &err), &err);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned threads = 1; threads <= THREADS_MAX; threads *= 4)
            measure(&bench, sizes[i], threads);
    object_store_close(bench.store);
    s3_settings_release(&bench.settings);
    return 0;
}
