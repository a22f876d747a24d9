/* The committer: closes groups, writes them to the store, and keeps what could not be written. */
#include "meta/engines/overlay_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* The last transaction of the group: what the owner adds to it. */
static int close_group_locked(struct overlay_engine *engine, struct error *err)
    REQUIRES(engine->writer)
{
    struct overlay_txn *txn = NULL;

    if (engine->hooks.close_group == NULL)
        return 0;
    int r = overlay_txn_begin_locked(engine, META_WRITE, &txn, err);
    if (r < 0)
        return r;
    r = engine->hooks.close_group(engine->hooks.arg, &txn->base, err);
    if (r == 0 && txn->failed < 0)
        r = error_set(err, txn->failed, "No memory for a change of the metadata.");
    if (r < 0) {
        ordered_map_rollback(txn->active->map);
        txn->active->need = txn->need_before;
    } else if (ordered_map_is_changed(txn->active->map)) {
        overlay_txn_publish(txn);
    }
    overlay_txn_end(txn);
    return r;
}

static void swap_layers(struct overlay_engine *engine, struct overlay_layer *fresh)
    REQUIRES(engine->writer)
{
    mutex_lock(&engine->state);
    engine->frozen = engine->active;
    engine->frozen_need = engine->frozen->need;
    engine->active = fresh;
    engine->active_bytes = 0;
    engine->is_dirty = false;
    engine->group++;
    mutex_unlock(&engine->state);
}

/* active becomes frozen: the group is complete. */
static int freeze(struct overlay_engine *engine, struct error *err)
{
    struct overlay_layer *fresh = NULL;

    if (overlay_layer_new(&fresh) < 0)
        return error_set(err, -ENOMEM, "No memory for a metadata commit.");

    mutex_lock(&engine->state);
    engine->is_freezing = true;
    mutex_unlock(&engine->state);
    mutex_lock(&engine->writer);
    int r = close_group_locked(engine, err);
    if (r == 0)
        swap_layers(engine, fresh);
    mutex_unlock(&engine->writer);
    if (r < 0)
        overlay_layer_unref(fresh);

    mutex_lock(&engine->state);
    engine->is_freezing = false;
    (void)pthread_cond_broadcast(&engine->changed);
    mutex_unlock(&engine->state);
    return r;
}

/* What the store is given for a plain value. */
static int seal(struct overlay_engine *engine, struct bytes key, struct bytes plain,
                struct bytes old, struct bytes *ret, struct error *err)
{
    const struct meta_hooks *hooks = &engine->hooks;
    size_t len = 0;

    if (hooks->seal == NULL) {
        *ret = plain;
        return 0;
    }
    int r = hooks->seal(hooks->seal_arg, key, plain, old, engine->seal_room, &len, err);
    *ret = (struct bytes){ .data = engine->seal_room, .len = len };
    return r;
}

static int apply_value(struct overlay_engine *engine, struct bytes key, struct bytes plain,
                       struct bytes old, struct error *err)
{
    struct bytes sealed = { 0 };

    int r = seal(engine, key, plain, old, &sealed, err);
    return r < 0 ? r : engine->store->ops->apply_put(engine->store, key, sealed, err);
}

static int apply_removal(struct overlay_engine *engine, struct bytes key, struct bytes old,
                         struct error *err)
{
    const struct meta_hooks *hooks = &engine->hooks;
    int r = 0;

    if (hooks->removed != NULL)
        r = hooks->removed(hooks->seal_arg, key, old, err);
    return r < 0 ? r : engine->store->ops->apply_remove(engine->store, key, err);
}

static int apply_record(struct overlay_engine *engine, struct bytes key, struct bytes plain,
                        bool is_removed, struct error *err)
{
    struct bytes old = { 0 };

    int r = engine->store->ops->apply_find(engine->store, key, &old, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (!is_removed)
        return apply_value(engine, key, plain, old, err);
    return r == -ENOENT ? 0 : apply_removal(engine, key, old, err);
}

static int apply_group_records(struct overlay_engine *engine, uint64_t group, struct error *err)
{
    const struct meta_hooks *hooks = &engine->hooks;
    struct bytes key;
    struct bytes plain;

    if (hooks->group_record == NULL)
        return 0;
    for (unsigned i = 0;; i++) {
        int r = hooks->group_record(hooks->seal_arg, group, i, &key, &plain, err);
        if (r == -ENOENT)
            return 0;
        if (r == 0)
            r = apply_record(engine, key, plain, false, err);
        if (r < 0)
            return r;
    }
}

/* *ret lives in the map, or in room until the next one. */
static int put_together(const struct ordered_map_cursor *record, struct buf *room,
                        struct bytes *ret)
{
    struct spliced value;

    ordered_map_value(record, &value);
    *ret = value.base;
    if (value.count == 0)
        return 0;
    size_t needed = spliced_room(&value);
    if (needed > room->len) {
        uint8_t *data = realloc(room->data, needed);
        if (data == NULL)
            return -ENOMEM;
        *room = (struct buf){ .data = data, .len = needed };
    }
    spliced_flatten(&value, room->data);
    *ret = (struct bytes){ .data = room->data, .len = value.len };
    return 0;
}

static int apply_changes(struct overlay_engine *engine, struct error *err)
{
    CLEANUP(buf_release) struct buf room = BUF_INIT;
    struct ordered_map_cursor record;
    int r = 0;

    ordered_map_seek(&record, engine->frozen->map, (struct bytes){ 0 }, UINT64_MAX);
    while (record.node != NULL && r == 0) {
        struct bytes plain = { 0 };

        if (!record.removed)
            r = put_together(&record, &room, &plain);
        if (r == 0)
            r = apply_record(engine, record.key, plain, record.removed, err);
        ordered_map_next(&record);
    }
    return r;
}

static int apply(struct overlay_engine *engine, uint64_t group, struct error *err)
{
    const struct overlay_store_ops *ops = engine->store->ops;

    int r = ops->apply_begin(engine->store, err);
    if (r < 0)
        return r;
    r = apply_changes(engine, err);
    if (r == 0)
        r = apply_group_records(engine, group, err);
    if (r < 0) {
        ops->apply_abort(engine->store);
        return r;
    }
    return ops->apply_commit(engine->store, err);
}

bool overlay_drain_begin(struct overlay_engine *engine, int seconds)
{
    struct timespec until;
    int r = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    engine->is_draining = true;
    while (engine->pinned > 0 && r == 0)
        r = pthread_cond_clockwait(&engine->work, &engine->state.native, CLOCK_MONOTONIC, &until);
    if (engine->pinned > 0)
        return false;
    overlay_pool_clear(engine);
    return true;
}

void overlay_drain_end(struct overlay_engine *engine)
{
    engine->is_draining = false;
    (void)pthread_cond_broadcast(&engine->changed);
}

/* Reads go on from frozen and from the store's old pages meanwhile, so the store is reopened only
 * in a moment in which nobody reads; without one, the next attempt does without. */
static int reopen_store(struct overlay_engine *engine, struct error *err)
{
    int r = 0;

    if (engine->store->ops->reopen == NULL)
        return 0;
    mutex_lock(&engine->state);
    if (overlay_drain_begin(engine, 1))
        r = engine->store->ops->reopen(engine->store, err);
    overlay_drain_end(engine);
    mutex_unlock(&engine->state);
    return r;
}

/* Those who wait for this group, or one before. */
static struct meta_waiter *take_waiters(struct overlay_engine *engine, uint64_t group)
    REQUIRES(engine->state)
{
    struct meta_waiter **at = &engine->waiters;
    struct meta_waiter *taken = NULL;

    while (*at != NULL) {
        struct meta_waiter *waiter = *at;
        if (waiter->group > group) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        waiter->next = taken;
        taken = waiter;
    }
    return taken;
}

static void tell_waiters(struct meta_waiter *waiters, const struct error *why)
{
    while (waiters != NULL) {
        struct meta_waiter *next = waiters->next; /* it may be gone once it is told */
        waiters->done(waiters, why != NULL ? why->code : 0, why);
        waiters = next;
    }
}

static void flush_succeeded(struct overlay_engine *engine, uint64_t group)
{
    const struct meta_hooks *hooks = &engine->hooks;
    struct overlay_layer *done;

    if (hooks->group_end != NULL)
        hooks->group_end(hooks->seal_arg, group, true);
    if (hooks->durable != NULL)
        hooks->durable(hooks->arg, group);
    mutex_lock(&engine->state);
    done = TAKE(engine->frozen);
    engine->frozen_need = (struct overlay_need){ 0 };
    engine->durable = group;
    engine->refused.code = 0;
    struct meta_waiter *waiters = take_waiters(engine, group);
    (void)pthread_cond_broadcast(&engine->flushed[group & 1]);
    (void)pthread_cond_broadcast(&engine->changed);
    mutex_unlock(&engine->state);
    tell_waiters(waiters, NULL);
    overlay_layer_unref(done);
}

static void flush_failed(struct overlay_engine *engine, uint64_t group, const struct error *why)
{
    const struct meta_hooks *hooks = &engine->hooks;

    if (hooks->group_end != NULL)
        hooks->group_end(hooks->seal_arg, group, false);
    if (hooks->not_durable != NULL)
        hooks->not_durable(hooks->arg, group, why);
    mutex_lock(&engine->state);
    engine->refused = *why;
    engine->failures++;
    engine->wanted = engine->durable;
    engine->retry_ms = clock_monotonic_ms() + OVERLAY_RETRY_MS;
    struct meta_waiter *waiters = take_waiters(engine, UINT64_MAX);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_cond_broadcast(&engine->flushed[i]);
    (void)pthread_cond_broadcast(&engine->changed);
    mutex_unlock(&engine->state);
    tell_waiters(waiters, why);
}

/* Only the committer changes frozen, so it may look at it without the lock. */
void overlay_flush(struct overlay_engine *engine, bool reopen)
{
    const struct meta_hooks *hooks = &engine->hooks;
    struct error err = { 0 };
    int r = 0;

    mutex_lock(&engine->state);
    uint64_t group = engine->durable + 1;
    mutex_unlock(&engine->state);
    if (reopen)
        r = reopen_store(engine, &err);
    if (r == 0 && engine->frozen == NULL)
        r = freeze(engine, &err);
    if (r == 0 && hooks->before_durable != NULL)
        r = hooks->before_durable(hooks->arg, group, &err);
    if (r == 0)
        r = apply(engine, group, &err);
    if (r == 0) {
        flush_succeeded(engine, group);
        return;
    }
    if (err.code == 0)
        (void)error_set(&err, r, "The metadata could not be written: %s.", strerrordesc_np(-r));
    if (err.code == -EAGAIN) /* a transaction would be run again at once, for ever */
        (void)error_recode(&err, -EIO);
    flush_failed(engine, group, &err);
}

/* When the committer must act next: a time that has passed, or INT64_MAX. */
static int64_t next_flush_ms(const struct overlay_engine *engine) REQUIRES(engine->state)
{
    bool has_work = engine->frozen != NULL || engine->is_dirty;

    if (engine->scrubs_done < engine->scrubs_wanted)
        return 0;
    if (!has_work)
        return INT64_MAX;
    if (engine->is_stopping || engine->wanted > engine->durable)
        return 0;
    if (engine->refused.code != 0)
        return engine->retry_ms;
    if (engine->active_bytes > OVERLAY_FLUSH_BYTES)
        return 0;
    return engine->dirty_ms + OVERLAY_AGE_MS;
}

static void wait_until_ms(struct overlay_engine *engine, int64_t ms) REQUIRES(engine->state)
{
    if (ms == INT64_MAX) {
        cond_wait(&engine->work, &engine->state);
        return;
    }
    struct timespec until = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    (void)pthread_cond_clockwait(&engine->work, &engine->state.native, CLOCK_MONOTONIC, &until);
}

/* Returns true if there is something to flush or to scrub, false to end. */
static bool wait_for_work(struct overlay_engine *engine, bool *ret_is_retry, bool *ret_is_scrub)
{
    mutex_lock(&engine->state);
    for (;;) {
        int64_t due = next_flush_ms(engine);
        if (due == INT64_MAX && engine->is_stopping)
            break;
        if (due <= clock_monotonic_ms()) {
            *ret_is_retry = engine->refused.code != 0;
            *ret_is_scrub = engine->scrubs_done < engine->scrubs_wanted;
            mutex_unlock(&engine->state);
            return true;
        }
        wait_until_ms(engine, due);
    }
    mutex_unlock(&engine->state);
    return false;
}

static bool must_give_up(struct overlay_engine *engine)
{
    mutex_lock(&engine->state);
    bool give_up = engine->is_stopping && engine->refused.code != 0;
    mutex_unlock(&engine->state);
    return give_up;
}

static void *committer_main(void *arg)
{
    struct overlay_engine *engine = arg;
    bool is_retry;
    bool is_scrub;

    while (wait_for_work(engine, &is_retry, &is_scrub)) {
        if (is_scrub)
            overlay_scrub_run(engine);
        else
            overlay_flush(engine, is_retry);
        if (must_give_up(engine))
            break;
    }
    return NULL;
}

int overlay_committer_start(struct overlay_engine *engine, struct error *err)
{
    int r = thread_start(&engine->committer, committer_main, engine);

    if (r < 0)
        return error_set(err, r, "The thread that commits metadata could not be started: %s.",
                         strerrordesc_np(-r));
    return 0;
}

int overlay_committer_stop(struct overlay_engine *engine, struct error *err)
{
    mutex_lock(&engine->state);
    engine->is_stopping = true;
    (void)pthread_cond_signal(&engine->work);
    mutex_unlock(&engine->state);
    (void)pthread_join(engine->committer, NULL);

    mutex_lock(&engine->state);
    assert(engine->waiters == NULL);
    bool is_left = engine->frozen != NULL || engine->is_dirty;
    int r = is_left ? engine->refused.code : 0;
    if (r < 0 && err != NULL)
        *err = engine->refused;
    mutex_unlock(&engine->state);
    return r;
}

/* Has the committer make the group durable now. */
static void want(struct overlay_engine *engine, uint64_t group) REQUIRES(engine->state)
{
    if (engine->wanted < group)
        engine->wanted = group;
    (void)pthread_cond_signal(&engine->work);
}

int overlay_wait_durable(struct overlay_engine *engine, uint64_t group, struct error *err)
{
    uint64_t failures = engine->failures;

    while (engine->durable < group) {
        if (engine->failures != failures && engine->refused.code != 0) {
            if (err != NULL)
                *err = engine->refused;
            return engine->refused.code;
        }
        /* One that failed and has succeeded since says nothing of ours. */
        failures = engine->failures;
        want(engine, group);
        cond_wait(&engine->flushed[group & 1], &engine->state);
    }
    return 0;
}

uint64_t overlay_last_group(struct meta_engine *base)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;

    mutex_lock(&engine->state);
    uint64_t group = engine->is_dirty ? engine->group : engine->group - 1;
    mutex_unlock(&engine->state);
    return group;
}

int overlay_sync(struct meta_engine *base, uint64_t group, struct error *err)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;
    int r = 0;

    if (engine->read_only)
        return 0;
    mutex_lock(&engine->state);
    if (engine->durable < group)
        r = overlay_wait_durable(engine, group, err);
    mutex_unlock(&engine->state);
    return r;
}

/* As there: a failure is told to all who wait, also for a later group. */
void overlay_sync_later(struct meta_engine *base, uint64_t group, struct meta_waiter *waiter)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;

    mutex_lock(&engine->state);
    bool waits = !engine->read_only && engine->durable < group;
    if (waits) {
        waiter->group = group;
        waiter->next = engine->waiters;
        engine->waiters = waiter;
        want(engine, group);
    }
    mutex_unlock(&engine->state);
    if (!waits)
        waiter->done(waiter, 0, NULL);
}
