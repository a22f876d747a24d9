#include "meta/meta_engine.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "meta/engines/engines.h"

static const struct {
    const char *prefix;
    meta_engine_open_fn *open;
} engines[] = {
    { "lmdb:", lmdb_engine_open },
    { "memory:", memory_engine_open },
};

int meta_engine_open(const char *url, const struct meta_options *options,
                     const struct meta_hooks *hooks, struct meta_engine **ret, struct error *err)
{
    assert(hooks == NULL || (hooks->seal == NULL) == (hooks->open == NULL));
    for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++) {
        size_t len = strlen(engines[i].prefix);
        if (strncmp(url, engines[i].prefix, len) == 0)
            return engines[i].open(url + len, options, hooks, ret, err);
    }
    return error_set(err, -EINVAL,
                     "The metadata URL '%s' is of no known kind; give lmdb:/absolute/folder.", url);
}

int meta_begin(struct meta_engine *engine, enum meta_access access, struct meta_txn **ret_txn,
               struct error *err)
{
    return engine->ops->begin(engine, access, ret_txn, err);
}

int meta_get(struct meta_txn *txn, struct bytes key, struct bytes *ret, struct error *err)
{
    assert(key.len <= META_KEY_MAX);
    return txn->engine->ops->get(txn, key, ret, err);
}

int meta_view(struct meta_txn *txn, struct bytes key, struct spliced *ret, struct error *err)
{
    assert(key.len <= META_KEY_MAX);
    return txn->engine->ops->view(txn, key, ret, err);
}

int meta_put(struct meta_txn *txn, struct bytes key, struct bytes value, struct error *err)
{
    assert(txn->access != META_READ);
    assert(key.len > 0 && key.len <= META_KEY_MAX && value.len <= META_VALUE_MAX);
    return txn->engine->ops->put(txn, key, value, err);
}

int meta_patch(struct meta_txn *txn, struct bytes key, const struct splice *patch,
               struct error *err)
{
    assert(txn->access != META_READ);
    assert(key.len > 0 && key.len <= META_KEY_MAX);
    return txn->engine->ops->patch(txn, key, patch, err);
}

int meta_remove(struct meta_txn *txn, struct bytes key, struct error *err)
{
    assert(txn->access != META_READ);
    assert(key.len > 0 && key.len <= META_KEY_MAX);
    return txn->engine->ops->remove(txn, key, err);
}

int meta_expect(struct meta_txn *txn, uint64_t records, uint64_t len, struct error *err)
{
    assert(txn->access != META_READ && txn->access != META_OPTIMISTIC);
    const struct meta_engine_ops *ops = txn->engine->ops;
    return ops->expect != NULL ? ops->expect(txn, records, len, err) : 0;
}

int meta_scan(struct meta_txn *txn, struct bytes first, struct bytes end, meta_visit_fn *visit,
              void *arg, struct error *err)
{
    return txn->engine->ops->scan(txn, first, end, visit, arg, err);
}

int meta_commit(struct meta_txn *txn, struct error *err)
{
    return txn->engine->ops->commit(txn, err);
}

void meta_abort(struct meta_txn *txn)
{
    if (txn != NULL)
        txn->engine->ops->abort(txn);
}

int meta_sync(struct meta_engine *engine, struct error *err)
{
    return meta_sync_group(engine, meta_last_group(engine), err);
}

uint64_t meta_last_group(struct meta_engine *engine)
{
    return engine->ops->last_group(engine);
}

int meta_sync_group(struct meta_engine *engine, uint64_t group, struct error *err)
{
    return engine->ops->sync(engine, group, err);
}

void meta_sync_later(struct meta_engine *engine, uint64_t group, struct meta_waiter *waiter)
{
    engine->ops->sync_later(engine, group, waiter);
}

int meta_scrub(struct meta_engine *engine, struct error *err)
{
    return engine->ops->scrub(engine, err);
}

int meta_scan_stored(struct meta_engine *engine, struct bytes first, struct bytes end,
                     meta_visit_fn *visit, void *arg, struct error *err)
{
    return engine->ops->scan_stored(engine, first, end, visit, arg, err);
}

int meta_close(struct meta_engine *engine, struct error *err)
{
    return engine == NULL ? 0 : engine->ops->close(engine, err);
}
