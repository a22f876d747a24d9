#include "fs/origin.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/commit.h"
#include "fs/volume_internal.h"

#define REST_MIN_MS 200
#define REST_MAX_MS 30000
#define REPORT_REST_MS ((int64_t)60 * 1000)

struct origin_work {
    struct volume_origin *origin;
    struct origin_record record;
    pthread_t thread;
    bool has_thread;
    struct fetch_cursor cursor;
    int64_t reported_ms; /* when altered data was last told of */

    struct mutex lock; /* guards all below */
    pthread_cond_t changed;
    bool is_stopping;
    bool is_over;
    bool goes_on_now; /* whatever it waits for, it tries at once */
    struct origin_progress progress;
};

int origin_put(struct meta_txn *txn, const struct origin_record *record, struct error *err)
{
    uint8_t value[ORIGIN_VALUE_LEN];
    struct record_key key;
    size_t len;

    state_key(STATE_ORIGIN, &key);
    int r = origin_encode(record, value, &len);
    if (r < 0)
        return error_set(err, r, "the record of the origin cannot be stored");
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = value, .len = len }, err);
}

static int read_record(struct volume *volume, struct origin_record *ret, struct error *err)
{
    CLEANUP(meta_abortp) struct meta_txn *txn = NULL;
    struct bytes value = { .data = NULL };
    struct record_key key;

    state_key(STATE_ORIGIN, &key);
    int r = meta_begin(volume->engine, META_READ, &txn, err);
    if (r == 0)
        r = meta_get(txn, record_key_bytes(&key), &value, err);
    if (r < 0)
        return r;
    r = origin_decode(value, ret);
    return r < 0 ? error_set(err, r, "the record of the origin cannot be understood") : 0;
}

static void report_done(struct volume *volume)
{
    volume_report(volume, VOLUME_EVENT_ORIGIN_DONE,
                  "All of the downloaded snapshot is here; its object store is needed no more.");
}

/* For each read that waited in vain; the particulars are of the last one. */
static void on_trouble(const char *text, void *arg)
{
    volume_report(arg, VOLUME_EVENT_ORIGIN_AWAY,
                  "What was not fetched yet of the downloaded snapshot cannot be read: %s.", text);
}

static int open_origin(struct volume *volume, const struct volume_config *config,
                       struct origin_work *work, struct error *err)
{
    const struct origin_opening opening = { .record = &work->record,
                                            .superblock = &volume->superblock,
                                            .keys = &volume->keys,
                                            .on_trouble = on_trouble,
                                            .trouble_arg = volume };

    if (config->open_origin == NULL)
        return error_set(err, -ENODATA,
                         "the filesystem was downloaded, and not all of it is here yet: it needs "
                         "the object store with its snapshot (coffer fs update NAME --object-store "
                         "STORE)");
    int r = config->open_origin(&opening, config->origin_arg, &work->origin, err);
    if (r < 0)
        return r;
    work->progress.is_paused = work->origin->starts_paused;
    if (work->record.state == ORIGIN_DONE)
        return 0;
    work->progress.chunks = work->origin->chunk_count;
    work->progress.data = work->record.data_len;
    return underlay_set_source(volume->engine, work->origin->records, err);
}

int origin_load(struct volume *volume, const struct volume_config *config, struct error *err)
{
    struct origin_record record;

    int r = read_record(volume, &record, err);
    if (r == -ENOENT) {
        if (config->open_origin != NULL) /* who opens it has not heard of it */
            report_done(volume);
        return 0;
    }
    if (r < 0)
        return r;
    struct origin_work *work = calloc(1, sizeof(*work));
    if (work == NULL)
        return error_set(err, -ENOMEM, "no memory for a volume");
    work->lock = MUTEX_INIT;
    work->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    work->record = record;
    volume->origin = work;
    volume->has_underlay = config->open_origin != NULL;
    return open_origin(volume, config, work, err);
}

const struct segment_packs *origin_packs(struct volume *volume)
{
    struct origin_work *work = volume->origin;

    return work != NULL && work->record.state == ORIGIN_NEEDED ? &work->origin->packs : NULL;
}

bool origin_is_importing(struct volume *volume)
{
    return volume->origin != NULL && volume->has_underlay && underlay_is_importing(volume->engine);
}

bool origin_goes_on(struct volume *volume)
{
    struct origin_work *work = volume->origin;

    mutex_lock(&work->lock);
    bool goes_on = !work->is_stopping && !work->progress.is_paused;
    mutex_unlock(&work->lock);
    return goes_on;
}

/* --- the thread --- */

/* An inode with something left behind its end has an ORPHAN record, which is not in a dump. */
static int imported(struct meta_txn *txn, struct bytes key, struct bytes value, void *arg)
{
    static _Thread_local struct inode inode;
    struct volume *volume = arg;
    uint8_t orphan[1];
    struct record_key orphan_at;
    uint64_t ino;
    size_t len;

    if (record_kind_of(key) != RECORD_INODE)
        return 0;
    int r = record_key_inode(key, RECORD_INODE, &ino, NULL);
    if (r == 0)
        r = inode_decode(value, &inode);
    if (r < 0 || !(inode.flags & INODE_UNTRIMMED))
        return r;
    orphan_key(ino, &orphan_at);
    r = orphan_encode(orphan, &len);
    if (r == 0)
        r = meta_put(txn, record_key_bytes(&orphan_at),
                     (struct bytes){ .data = orphan, .len = len }, NULL);
    if (r == 0)
        reap_later(volume, ino);
    return r;
}

static void note_chunks(struct origin_work *work, uint32_t done)
{
    mutex_lock(&work->lock);
    work->progress.chunks_done = done;
    mutex_unlock(&work->lock);
}

static int import_some(struct volume *volume, struct origin_work *work, struct error *err)
{
    uint32_t next = 0;

    int r = underlay_import(volume->engine, imported, volume, &next, err);
    if (r >= 0 && next > 0)
        note_chunks(work, next);
    return r < 0 ? r : 0;
}

static int fetch_some(struct volume *volume, struct origin_work *work, struct error *err)
{
    uint64_t bytes = 0;

    int r = origin_fetch(volume, &work->cursor, &bytes, err);
    mutex_lock(&work->lock);
    work->progress.fetched += bytes;
    mutex_unlock(&work->lock);
    return r < 0 ? r : 0;
}

/* That all is here. */
struct record_change {
    struct origin_record *record; /* NULL: it goes */
};

static int change_record(struct volume_txn *txn, void *arg)
{
    struct record_change *change = arg;
    struct record_key key;

    /* For ever: so while no other transaction is under way, by an account that is relied on. During
     * a recount, and after one that failed, the sum says nothing. */
    if (change->record != NULL && !segments_are_here(txn->volume->segments))
        return error_set(&txn->err, -EBUSY, "what is in use is not known for certain");
    if (change->record != NULL)
        return origin_put(txn->meta, change->record, &txn->err);
    state_key(STATE_ORIGIN, &key);
    return meta_remove(txn->meta, record_key_bytes(&key), &txn->err);
}

static int store_record(struct volume *volume, struct origin_record *record, struct error *err)
{
    struct record_change change = { .record = record };

    int r = volume_change(volume, META_FREE, change_record, &change);
    if (r == 0)
        r = volume_sync(volume, err);
    return r < 0 && err->code == 0
               ? error_set(err, r, "it cannot be noted that all is here: %s", strerrordesc_np(-r))
               : r;
}

/* Nothing is needed of the bucket any more: that is durable before the reference is dropped. */
static int finish(struct volume *volume, struct origin_work *work, struct error *err)
{
    struct origin_record done = work->record;
    int r = 0;

    segments_end_fetched(volume->segments);
    done.state = ORIGIN_DONE;
    if (work->record.state != ORIGIN_DONE)
        r = store_record(volume, &done, err);
    if (r == 0)
        r = work->origin->ops->done(work->origin, err);
    if (r == 0)
        r = store_record(volume, NULL, err);
    if (r < 0)
        return r;
    report_done(volume);
    return 1;
}

/* Returns 1 when nothing is left to do. */
static int step(struct volume *volume, struct origin_work *work, struct error *err)
{
    if (work->record.state == ORIGIN_DONE)
        return finish(volume, work, err);
    if (origin_is_importing(volume))
        return import_some(volume, work, err);
    if (segments_in_packs(volume->segments) > 0)
        return fetch_some(volume, work, err);
    if (segments_need_recount(volume->segments))
        return error_set(
            err, -EBUSY,
            "what is in use has to be counted again; if that does not end, coffer fs check "
            "tells what is wrong");
    return finish(volume, work, err);
}

static void rest(struct origin_work *work, int64_t ms) REQUIRES(work->lock)
{
    int64_t until_ms = clock_monotonic_ms() + ms;

    while (!work->is_stopping && !work->goes_on_now &&
           cond_wait_until(&work->changed, &work->lock, until_ms))
        ;
}

static void tell(struct volume *volume, struct origin_work *work, const struct error *err)
{
    int64_t now_ms = clock_monotonic_ms();
    bool has_told = work->reported_ms != 0 && now_ms - work->reported_ms < REPORT_REST_MS;

    if (!is_altered(err->code) || has_told)
        return;
    work->reported_ms = now_ms;
    volume_report(volume, VOLUME_EVENT_CORRUPTION, "The downloaded snapshot: %s.", err->text);
}

/* Until there is work to do, or the end. */
static bool may_work(struct origin_work *work)
{
    mutex_lock(&work->lock);
    while (work->progress.is_paused && !work->is_stopping)
        cond_wait(&work->changed, &work->lock);
    bool goes_on = !work->is_stopping;
    work->progress.waits_for = (struct error){ .code = 0 };
    mutex_unlock(&work->lock);
    return goes_on;
}

static void note_step(struct origin_work *work, int r, const struct error *err, int64_t *rest_ms)
{
    mutex_lock(&work->lock);
    work->is_over = r > 0;
    *rest_ms = work->goes_on_now ? REST_MIN_MS : *rest_ms;
    work->goes_on_now = false;
    if (r >= 0) {
        work->progress.failures = 0;
        *rest_ms = REST_MIN_MS;
    } else {
        work->progress.waits_for = *err;
        work->progress.waits_for.code = r;
        work->progress.failures++;
        rest(work, *rest_ms);
        *rest_ms = 2 * *rest_ms < REST_MAX_MS ? 2 * *rest_ms : REST_MAX_MS;
    }
    mutex_unlock(&work->lock);
}

static void *origin_main(void *arg)
{
    struct volume *volume = arg;
    struct origin_work *work = volume->origin;
    int64_t rest_ms = REST_MIN_MS;
    int r = 0;

    while (r <= 0 && may_work(work)) {
        struct error err = { .code = 0 };
        r = step(volume, work, &err);
        if (r < 0)
            tell(volume, work, &err);
        note_step(work, r, &err, &rest_ms);
    }
    (void)malloc_trim(0);
    return NULL;
}

int origin_start(struct volume *volume, struct error *err)
{
    struct origin_work *work = volume->origin;

    if (work == NULL)
        return 0;
    int r = thread_start(&work->thread, origin_main, volume);
    work->has_thread = r == 0;
    return r < 0 ? error_set(err, r, "the download could not be started: %s", strerrordesc_np(-r))
                 : 0;
}

void volume_origin_stop(struct volume *volume)
{
    struct origin_work *work = volume->origin;

    if (work == NULL)
        return;
    mutex_lock(&work->lock);
    work->is_stopping = true;
    (void)pthread_cond_broadcast(&work->changed);
    mutex_unlock(&work->lock);
    if (work->origin != NULL)
        work->origin->ops->stop(work->origin);
    if (work->has_thread)
        (void)pthread_join(work->thread, NULL);
    work->has_thread = false;
}

void origin_close(struct volume *volume)
{
    struct origin_work *work = TAKE(volume->origin);

    if (work == NULL)
        return;
    if (work->origin != NULL)
        work->origin->ops->close(work->origin);
    free(work);
}

bool volume_origin_progress(struct volume *volume, struct origin_progress *ret)
{
    struct origin_work *work = volume->origin;

    if (work == NULL)
        return false;
    mutex_lock(&work->lock);
    *ret = work->progress;
    bool is_over = work->is_over;
    mutex_unlock(&work->lock);
    ret->data_left = segments_in_packs(volume->segments);
    if (!origin_is_importing(volume))
        ret->chunks_done = ret->chunks;
    return !is_over;
}

void volume_origin_pause(struct volume *volume, bool is_paused)
{
    struct origin_work *work = volume->origin;

    if (work == NULL)
        return;
    mutex_lock(&work->lock);
    work->progress.is_paused = is_paused;
    if (!is_paused) {
        work->progress.waits_for = (struct error){ .code = 0 };
        work->progress.failures = 0;
        work->goes_on_now = true;
    }
    (void)pthread_cond_broadcast(&work->changed);
    mutex_unlock(&work->lock);
}
