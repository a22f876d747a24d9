/* The keeper: publishes the superblock, deletes dead objects, sees to it that ids are announced,
 * makes the account anew after a rescue, compacts. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fs/commit.h"
#include "fs/snapshot.h"

#define PUBLISH_MS ((int64_t)60 * 1000)
#define POLL_MS 1000
#define COLLECT_MS 100 /* of removed snapshots, before the rest has its turn */
#define RECOUNT_REST_MS ((int64_t)60 * 1000) /* after one that failed */

struct keeper {
    pthread_t thread;
    struct mutex lock;
    pthread_cond_t work;
    bool is_awake;
    bool is_stopping;
    uint64_t room_asked; /* how often somebody asked for room */
    uint64_t room_tried; /* up to which of these it was tried */
    bool has_won_room;   /* at the last try */
    pthread_cond_t room;
    int64_t published_ms;
    int64_t recount_rests_until_ms;
    uint64_t appended; /* when it looked last */
    bool is_trimmed;
};

static void ids_failed(struct volume *volume, const struct error *err)
{
    segments_ids_failed(volume->segments, err);
}

/* The superblock knows the last commit at the latest a minute after it. */
static void publish(struct volume *volume, struct keeper *keeper)
{
    struct error err = { 0 };
    bool must = segments_announced(volume->segments) > 0 || atomic_load(&volume->must_publish);
    bool is_due =
        atomic_load(&volume->has_news) && clock_monotonic_ms() - keeper->published_ms > PUBLISH_MS;

    if (!must && !is_due)
        return;
    atomic_store(&volume->has_news, false);
    if (commit_publish(volume, false, &err) < 0) {
        atomic_store(&volume->has_news, true);
        ids_failed(volume, &err);
        return;
    }
    atomic_store(&volume->must_publish, false);
    keeper->published_ms = clock_monotonic_ms();
}

static void announce(struct volume *volume)
{
    struct segments_space space;
    struct error err = { 0 };

    segments_space(volume->segments, &space);
    if (!space.wants_ids && !space.waits_for_ids)
        return;
    if (segments_announced(volume->segments) == 0 && commit_group(volume, &err) < 0)
        ids_failed(volume, &err);
}

/* What heavy work needed goes back to the system when it is over: a worker is small at rest. */
static void trim(struct volume *volume, struct keeper *keeper)
{
    struct segments_space space;

    segments_space(volume->segments, &space);
    bool is_resting = space.appended == keeper->appended;
    if (is_resting && !keeper->is_trimmed) {
        segments_trim(volume->segments);
        (void)malloc_trim(0);
    }
    keeper->is_trimmed = is_resting;
    keeper->appended = space.appended;
}

/* One try is for all who asked before it began. */
static void make_room(struct volume *volume, struct keeper *keeper)
{
    mutex_lock(&keeper->lock);
    uint64_t asked = keeper->room_asked;
    bool is_wanted = asked != keeper->room_tried;
    mutex_unlock(&keeper->lock);
    if (!is_wanted)
        return;
    bool has_won = volume_make_room(volume);
    mutex_lock(&keeper->lock);
    keeper->room_tried = asked;
    keeper->has_won_room = has_won;
    (void)pthread_cond_broadcast(&keeper->room);
    mutex_unlock(&keeper->lock);
}

/* Until it succeeds nothing is given up for dead. A record that was altered is reported by each
 * try, so that these are far apart. */
static void recount(struct volume *volume, struct keeper *keeper)
{
    int64_t now_ms = clock_monotonic_ms();

    if (!segments_need_recount(volume->segments) || now_ms < keeper->recount_rests_until_ms ||
        origin_is_importing(volume))
        return;
    int r = volume_recount(volume, NULL);
    if (r < 0 && r != -EBUSY)
        keeper->recount_rests_until_ms = now_ms + RECOUNT_REST_MS;
}

static void collect(struct volume *volume, struct keeper *keeper)
{
    int64_t until_ms = clock_monotonic_ms() + COLLECT_MS;
    bool has_more = snapshots_collect(volume);
    bool has_worked = has_more;

    while (has_more && clock_monotonic_ms() < until_ms)
        has_more = snapshots_collect(volume);
    if (has_more)
        keeper_wake(volume);
    else if (has_worked) /* what stood in the way of a recount may be gone */
        keeper->recount_rests_until_ms = 0;
}

static void work(struct volume *volume, struct keeper *keeper)
{
    reap_waiting(volume);
    collect(volume, keeper);
    recount(volume, keeper);
    announce(volume);
    (void)segments_delete_dead(volume->segments); /* the superblock may need the room */
    publish(volume, keeper);
    make_room(volume, keeper);
    (void)volume_compact(volume, NULL);
    trim(volume, keeper);
}

static bool wait_for_work(struct keeper *keeper)
{
    mutex_lock(&keeper->lock);
    int64_t until_ms = clock_monotonic_ms() + POLL_MS;
    while (!keeper->is_awake && !keeper->is_stopping &&
           cond_wait_until(&keeper->work, &keeper->lock, until_ms))
        ;
    keeper->is_awake = false;
    bool goes_on = !keeper->is_stopping;
    mutex_unlock(&keeper->lock);
    return goes_on;
}

static void *keeper_main(void *arg)
{
    struct volume *volume = arg;

    while (wait_for_work(volume->keeper))
        work(volume, volume->keeper);
    return NULL;
}

int keeper_start(struct volume *volume, struct error *err)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));

    if (keeper == NULL)
        return error_set(err, -ENOMEM, "no memory for the keeper of a volume");
    keeper->lock = MUTEX_INIT;
    keeper->work = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    keeper->room = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    keeper->published_ms = clock_monotonic_ms();
    volume->keeper = keeper;
    int r = thread_start(&keeper->thread, keeper_main, volume);
    if (r < 0) {
        volume->keeper = NULL;
        free(keeper);
        return error_set(err, r, "the keeper of a volume could not be started: %s",
                         strerrordesc_np(-r));
    }
    atomic_store(&volume->has_keeper, true);
    return 0;
}

void keeper_wake(struct volume *volume)
{
    if (!atomic_load(&volume->has_keeper))
        return;
    struct keeper *keeper = volume->keeper;
    mutex_lock(&keeper->lock);
    keeper->is_awake = true;
    (void)pthread_cond_signal(&keeper->work);
    mutex_unlock(&keeper->lock);
}

bool keeper_make_room(struct volume *volume)
{
    if (!atomic_load(&volume->has_keeper))
        return false;
    struct keeper *keeper = volume->keeper;
    mutex_lock(&keeper->lock);
    uint64_t mine = ++keeper->room_asked;
    keeper->is_awake = true;
    (void)pthread_cond_signal(&keeper->work);
    while (keeper->room_tried < mine && !keeper->is_stopping)
        cond_wait(&keeper->room, &keeper->lock);
    bool has_won = keeper->room_tried >= mine && keeper->has_won_room;
    mutex_unlock(&keeper->lock);
    return has_won;
}

/* The engine's committer may still wake it: the struct is freed with the volume. */
void keeper_stop(struct volume *volume)
{
    struct keeper *keeper = volume->keeper;

    if (keeper == NULL || keeper->is_stopping)
        return;
    mutex_lock(&keeper->lock);
    keeper->is_stopping = true;
    (void)pthread_cond_signal(&keeper->work);
    (void)pthread_cond_broadcast(&keeper->room);
    mutex_unlock(&keeper->lock);
    (void)pthread_join(keeper->thread, NULL);
}
