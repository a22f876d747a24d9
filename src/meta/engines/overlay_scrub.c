/* What is stored written anew, so that nothing that was removed is left of it: by the committer,
 * which alone writes to the store. */
#include "meta/engines/overlay_internal.h"

#include <errno.h>

#include "base/clock.h"

#define DRAIN_SECONDS 10

/* What was committed before is to be in the store, and what it replaced is not. */
static int flush_all(struct overlay_engine *engine, struct error *err)
{
    mutex_lock(&engine->state);
    bool has_work = engine->frozen != NULL || engine->is_dirty;
    bool is_retry = engine->refused.code != 0;
    mutex_unlock(&engine->state);
    for (int i = 0; has_work && i < 2; i++) { /* what is frozen, and what is active */
        overlay_flush(engine, is_retry);
        mutex_lock(&engine->state);
        *err = engine->refused;
        has_work = engine->frozen != NULL || engine->is_dirty;
        mutex_unlock(&engine->state);
        if (err->code < 0)
            return err->code;
    }
    return 0;
}

/* The store is closed now. A change that changes nothing has it opened again in a while. */
static void reopen_later(struct overlay_engine *engine, const struct error *why)
    REQUIRES(engine->state)
{
    int64_t now = clock_monotonic_ms();

    engine->refused = *why;
    engine->failures++;
    engine->retry_ms = now + OVERLAY_RETRY_MS;
    if (!engine->is_dirty)
        engine->dirty_ms = now;
    engine->is_dirty = true;
}

static int adopt_copy(struct overlay_engine *engine, struct error *err)
{
    const struct overlay_store_ops *ops = engine->store->ops;
    bool is_open = true;
    int r = -EBUSY;

    mutex_lock(&engine->state);
    bool is_alone = overlay_drain_begin(engine, DRAIN_SECONDS);
    if (is_alone) {
        r = ops->adopt_copy(engine->store, &is_open, err);
        if (!is_open)
            reopen_later(engine, err);
    }
    overlay_drain_end(engine);
    mutex_unlock(&engine->state);
    if (!is_alone)
        (void)error_set(err, r, "The metadata is being read all the time; try again later.");
    return r;
}

static int rewrite(struct overlay_engine *engine, struct error *err)
{
    const struct overlay_store_ops *ops = engine->store->ops;
    int r = flush_all(engine, err);

    if (r < 0 || ops->copy == NULL)
        return r;
    r = ops->copy(engine->store, err);
    if (r == 0)
        r = adopt_copy(engine, err);
    int dropped = ops->drop_copy(engine->store, r < 0 ? NULL : err);
    return r < 0 ? r : dropped;
}

void overlay_scrub_run(struct overlay_engine *engine)
{
    struct error err = { .code = 0 };

    mutex_lock(&engine->state);
    uint64_t wanted = engine->scrubs_wanted;
    mutex_unlock(&engine->state);
    int r = rewrite(engine, &err);
    mutex_lock(&engine->state);
    engine->scrubs_done = wanted;
    engine->scrub_failed = r < 0 ? err : (struct error){ .code = 0 };
    (void)pthread_cond_broadcast(&engine->changed);
    mutex_unlock(&engine->state);
}

int overlay_scrub(struct meta_engine *base, struct error *err)
{
    struct overlay_engine *engine = (struct overlay_engine *)base;

    if (engine->read_only)
        return error_set(err, -EROFS, "The metadata was opened read-only.");
    mutex_lock(&engine->state);
    uint64_t mine = ++engine->scrubs_wanted;
    (void)pthread_cond_signal(&engine->work);
    while (engine->scrubs_done < mine)
        cond_wait(&engine->changed, &engine->state);
    struct error why = engine->scrub_failed;
    mutex_unlock(&engine->state);
    return why.code < 0 ? error_set(err, why.code, "%s", why.text) : 0;
}
