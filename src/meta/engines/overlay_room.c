/* Room in the store: a group is never begun that could not be written. */
#include "meta/engines/overlay_internal.h"

static uint64_t keep_back(enum meta_access access)
{
    if (access == META_RECLAIM)
        return OVERLAY_KEEP_CLOSE;
    return OVERLAY_KEEP_CLOSE + (access == META_FREE ? OVERLAY_KEEP_RECLAIM : OVERLAY_KEEP_FREE);
}

int overlay_reserve(struct overlay_engine *engine, enum meta_access access, uint64_t extra,
                    struct error *err)
{
    if (engine->store->ops->reserve == NULL)
        return 0;

    mutex_lock(&engine->state);
    struct overlay_need need = engine->frozen_need;
    mutex_unlock(&engine->state);
    need.records += engine->active->need.records;
    need.bytes += engine->active->need.bytes + extra;
    bool leave_disk = access == META_WRITE || access == META_OPTIMISTIC;
    return engine->store->ops->reserve(engine->store, &need, keep_back(access), leave_disk, err);
}

int overlay_expect(struct meta_txn *base, uint64_t records, uint64_t len, struct error *err)
    THREAD_CHECK(no_thread_safety_analysis)
{
    struct overlay_engine *engine = (struct overlay_engine *)base->engine;
    struct overlay_need *need = &((struct overlay_txn *)base)->active->need;

    need->records += records;
    need->bytes += len;
    int r = overlay_reserve(engine, base->access, 0, err);
    if (r < 0) {
        need->records -= records;
        need->bytes -= len;
    }
    return r;
}
