#include "meta/underlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "meta/underlay_internal.h"

#define CURSOR_VERSION 1u
/* Before a write transaction waits for the source with others waiting for it. */
#define RESTARTS_MAX 16u

/* What a thread had to end a transaction for. It runs it again. */
static _Thread_local struct {
    unsigned restarts;
    struct error failed; /* code 0: what it waited for is there */
} again;

int underlay_order(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int found = common == 0 ? 0 : memcmp(a.data, b.data, common);

    return found != 0 ? found : (a.len > b.len) - (a.len < b.len);
}

bool underlay_has_kind(uint8_t kind)
{
    return kind == RECORD_INODE || kind == RECORD_DIRENT || kind == RECORD_EXTENTS ||
           kind == RECORD_XATTR || kind == RECORD_QUOTA || kind == RECORD_LOCATION;
}

bool underlay_is_key(struct bytes key)
{
    return key.len >= 2 && key.data[0] == RECORD_TREE_LIVE && underlay_has_kind(key.data[1]);
}

void underlay_set_key(struct record_key *to, struct bytes key)
{
    memcpy(to->data, key.data, key.len);
    to->len = key.len;
}

int underlay_no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "No memory for a metadata transaction.");
}

/* --- the cursor --- */

static int cursor_decode(struct bytes value, struct record_key *ret)
{
    if (value.len == 0 || value.len - 1 > META_KEY_MAX)
        return -EBADMSG;
    if (value.data[0] != CURSOR_VERSION)
        return value.data[0] > CURSOR_VERSION ? -EPROTONOSUPPORT : -EBADMSG;
    memcpy(ret->data, value.data + 1, value.len - 1);
    ret->len = value.len - 1;
    return 0;
}

int underlay_cursor_put(struct meta_txn *txn, const struct record_key *cursor, struct bytes key,
                        struct error *err)
{
    uint8_t value[1 + META_KEY_MAX] = { CURSOR_VERSION };

    if (key.len > 0)
        memcpy(value + 1, key.data, key.len);
    return meta_put(txn, record_key_bytes(cursor),
                    (struct bytes){ .data = value, .len = 1 + key.len }, err);
}

int underlay_put_cursor(struct meta_txn *txn, const struct record_key *cursor, struct error *err)
{
    return underlay_cursor_put(txn, cursor, (struct bytes){ .data = NULL }, err);
}

/* As it is in this transaction: an import may be going on. */
int underlay_cursor_get(struct meta_txn *inner, const struct record_key *at, struct record_key *ret,
                        struct error *err)
{
    struct bytes value;

    int r = meta_get(inner, record_key_bytes(at), &value, err);
    if (r < 0)
        return r;
    r = cursor_decode(value, ret);
    return r < 0 ? error_set(err, r, "the record of what was imported cannot be understood") : 0;
}

int underlay_find_cursor(struct underlay_txn *txn, struct error *err)
{
    if (txn->has_cursor || !txn->is_under)
        return 0;
    int r = underlay_cursor_get(txn->inner, &underlay_of(&txn->base)->cursor, &txn->cursor, err);
    if (r < 0 && r != -ENOENT)
        return r;
    txn->is_under = r == 0;
    txn->has_cursor = true;
    return 0;
}

/* Whether the source may have something of this key that was not imported. */
static int is_open_key(struct underlay_txn *txn, struct bytes key, struct error *err)
{
    if (!txn->is_under || !underlay_is_key(key))
        return 0;
    int r = underlay_find_cursor(txn, err);
    return r < 0 ? r : txn->is_under && underlay_order(key, record_key_bytes(&txn->cursor)) >= 0;
}

/* --- the source --- */

int underlay_pin(struct underlay_txn *txn, struct underlay_chunk *chunk, size_t room,
                 struct underlay_pin **ret)
{
    struct underlay_pin *pin = malloc(sizeof(*pin) + room);

    if (!pin)
        return -ENOMEM;
    pin->chunk = chunk;
    pin->next = txn->pins;
    txn->pins = pin;
    if (ret)
        *ret = pin;
    return 0;
}

static bool may_wait(const struct underlay_txn *txn)
{
    return txn->base.access == META_READ || again.restarts >= RESTARTS_MAX ||
           (txn->base.access == META_OPTIMISTIC && !txn->has_changed);
}

/* The caller pins it or gives it back. */
int underlay_take(struct underlay_txn *txn, struct bytes key, struct underlay_chunk **ret,
                  struct error *err)
{
    struct underlay_source *source = underlay_of(&txn->base)->source;
    bool waits = may_wait(txn);

    if (!waits && again.failed.code < 0) {
        struct error failed = again.failed;
        again.failed = (struct error){ .code = 0 };
        return error_set(err, failed.code, "%s", failed.text);
    }
    int r = source->ops->take(source, key, waits, ret, err);
    if (r == -EAGAIN && !waits && key.len <= META_KEY_MAX) {
        txn->has_wanted = true;
        memcpy(txn->wanted.data, key.data, key.len);
        txn->wanted.len = key.len;
    }
    return r;
}

static int under_get(struct underlay_txn *txn, struct bytes key, struct bytes *ret,
                     struct error *err)
{
    struct underlay_chunk *chunk = NULL;
    struct underlay_source *source = underlay_of(&txn->base)->source;
    struct bytes found_key, found;

    int r = underlay_take(txn, key, &chunk, err);
    if (r < 0)
        return r;
    struct bytes body = chunk->body;
    while (source->ops->next(&body, &found_key, &found)) {
        int at = underlay_order(found_key, key);
        if (at > 0)
            break;
        if (at < 0)
            continue;
        if (underlay_pin(txn, chunk, 0, NULL) < 0) {
            source->ops->give(source, chunk);
            return underlay_no_memory(err);
        }
        txn->base.found = 0;
        *ret = found;
        return 0;
    }
    source->ops->give(source, chunk);
    return -ENOENT;
}

/* --- transactions --- */

/* Of the hooks' transactions it has its storage itself. */
void underlay_wrap(struct underlay *underlay, struct meta_txn *inner, struct underlay_txn *ret)
{
    *ret = (struct underlay_txn){
        .base = { .engine = &underlay->base, .access = inner->access, .epoch = inner->epoch },
        .inner = inner,
        .is_under = atomic_load(&underlay->is_importing)
    };
}

void underlay_unpin(struct underlay_txn *txn)
{
    struct underlay_source *source = underlay_of(&txn->base)->source;

    while (txn->pins) {
        struct underlay_pin *next = txn->pins->next;
        if (txn->pins->chunk)
            source->ops->give(source, txn->pins->chunk);
        free(txn->pins);
        txn->pins = next;
    }
}

static int under_begin(struct meta_engine *engine, enum meta_access access, struct meta_txn **ret,
                       struct error *err)
{
    struct underlay *underlay = (struct underlay *)engine;
    struct underlay_txn *txn = malloc(sizeof(*txn));
    /* Before the transaction: one that began earlier may still see records missing. */
    bool is_importing = atomic_load(&underlay->is_importing);
    struct meta_txn *inner = NULL;

    if (!txn)
        return underlay_no_memory(err);
    int r = meta_begin(underlay->inner, access, &inner, err);
    if (r < 0) {
        free(txn);
        return r;
    }
    underlay_wrap(underlay, inner, txn);
    txn->is_under = is_importing;
    *ret = &txn->base;
    return 0;
}

static int under_view(struct meta_txn *base, struct bytes key, struct spliced *ret,
                      struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;
    struct bytes under;

    int r = meta_view(txn->inner, key, ret, err);
    txn->base.found = txn->inner->found;
    if (r == 0 && ret->len == 0 && underlay_is_key(key))
        return -ENOENT;
    if (r != -ENOENT)
        return r;
    r = is_open_key(txn, key, err);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    r = under_get(txn, key, &under, err);
    if (r == 0)
        *ret = spliced_of(under);
    return r;
}

static int under_get_value(struct meta_txn *base, struct bytes key, struct bytes *ret,
                           struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;

    int r = meta_get(txn->inner, key, ret, err);
    txn->base.found = txn->inner->found;
    if (r == 0 && ret->len == 0 && underlay_is_key(key))
        return -ENOENT;
    if (r != -ENOENT)
        return r;
    r = is_open_key(txn, key, err);
    return r < 0 ? r : r == 0 ? -ENOENT : under_get(txn, key, ret, err);
}

static int changed(struct underlay_txn *txn, int r)
{
    txn->has_changed = true;
    txn->base.epoch = txn->inner->epoch;
    return r;
}

static int under_put(struct meta_txn *base, struct bytes key, struct bytes value, struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;

    if (value.len == 0 && underlay_is_key(key))
        return error_set(err, -EINVAL, "a record of this kind has no empty value");
    return changed(txn, meta_put(txn->inner, key, value, err));
}

/* The source's value, with the part in it, is an own one from now on. */
static int patch_under(struct underlay_txn *txn, struct bytes key, const struct splice *patch,
                       struct error *err)
{
    struct bytes before;
    struct underlay_pin *room = NULL;

    int r = under_get_value(&txn->base, key, &before, err);
    if (r < 0)
        return r;
    if (!splice_fits(patch, before.len))
        return -EINVAL;
    size_t len = splice_len(patch, before.len);
    if (underlay_pin(txn, NULL, len > before.len ? len : before.len, &room) < 0)
        return underlay_no_memory(err);
    memcpy(room->value, before.data, before.len);
    splice_apply(patch, room->value, before.len);
    return changed(
        txn, meta_put(txn->inner, key, (struct bytes){ .data = room->value, .len = len }, err));
}

static int under_patch(struct meta_txn *base, struct bytes key, const struct splice *patch,
                       struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;
    struct spliced there = { .len = 0 };

    int r = is_open_key(txn, key, err);
    if (r < 0)
        return r;
    if (r > 0) {
        r = meta_view(txn->inner, key, &there, err);
        if (r == -ENOENT || (r == 0 && there.len == 0))
            return patch_under(txn, key, patch, err);
    }
    return r < 0 ? r : changed(txn, meta_patch(txn->inner, key, patch, err));
}

static int under_remove(struct meta_txn *base, struct bytes key, struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;

    int r = is_open_key(txn, key, err);
    if (r < 0)
        return r;
    r = r == 0 ? meta_remove(txn->inner, key, err)
               : meta_put(txn->inner, key, (struct bytes){ .data = NULL }, err);
    return changed(txn, r);
}

/* --- the end of one --- */

static int under_commit(struct meta_txn *base, struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;

    again.restarts = 0;
    again.failed = (struct error){ .code = 0 };
    int r = meta_commit(txn->inner, err);
    underlay_unpin(txn);
    free(txn);
    return r;
}

/* What it did not find at hand is there when it is run again. */
static void wait_for_wanted(struct underlay *underlay, const struct record_key *wanted)
{
    struct underlay_chunk *chunk = NULL;
    struct error err = { .code = 0 };

    again.restarts++;
    int r =
        underlay->source->ops->take(underlay->source, record_key_bytes(wanted), true, &chunk, &err);
    if (r == 0)
        underlay->source->ops->give(underlay->source, chunk);
    else if (r != -ENOENT)
        again.failed = err.code < 0 ? err : (struct error){ .code = r };
}

static void under_abort(struct meta_txn *base)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;
    bool has_wanted = txn->has_wanted;

    meta_abort(txn->inner);
    underlay_unpin(txn);
    if (has_wanted)
        wait_for_wanted(underlay_of(base), &txn->wanted);
    else if (txn->base.access != META_READ)
        again.restarts = 0;
    free(txn);
}

/* --- the engine --- */

static uint64_t under_last_group(struct meta_engine *engine)
{
    return meta_last_group(((struct underlay *)engine)->inner);
}

static int under_sync(struct meta_engine *engine, uint64_t group, struct error *err)
{
    return meta_sync_group(((struct underlay *)engine)->inner, group, err);
}

static void under_sync_later(struct meta_engine *engine, uint64_t group, struct meta_waiter *waiter)
{
    meta_sync_later(((struct underlay *)engine)->inner, group, waiter);
}

static int under_scrub(struct meta_engine *engine, struct error *err)
{
    return meta_scrub(((struct underlay *)engine)->inner, err);
}

static int under_scan_stored(struct meta_engine *engine, struct bytes first, struct bytes end,
                             meta_visit_fn *visit, void *arg, struct error *err)
{
    return meta_scan_stored(((struct underlay *)engine)->inner, first, end, visit, arg, err);
}

static int under_close(struct meta_engine *engine, struct error *err)
{
    struct underlay *underlay = (struct underlay *)engine;

    int r = meta_close(underlay->inner, err);
    free(underlay);
    return r;
}

static int under_expect(struct meta_txn *base, uint64_t records, uint64_t len, struct error *err)
{
    return meta_expect(((struct underlay_txn *)base)->inner, records, len, err);
}

static const struct meta_engine_ops underlay_ops = {
    .begin = under_begin,
    .get = under_get_value,
    .view = under_view,
    .put = under_put,
    .patch = under_patch,
    .remove = under_remove,
    .expect = under_expect,
    .scan = underlay_scan,
    .commit = under_commit,
    .abort = under_abort,
    .last_group = under_last_group,
    .sync = under_sync,
    .sync_later = under_sync_later,
    .scrub = under_scrub,
    .scan_stored = under_scan_stored,
    .close = under_close,
};

static uint64_t hook_epoch(void *arg)
{
    struct underlay *underlay = arg;

    return underlay->hooks.epoch(underlay->hooks.arg);
}

/* The engine's own transaction, which the owner is to see as all others. */
static int hook_close_group(void *arg, struct meta_txn *inner, struct error *err)
{
    struct underlay *underlay = arg;
    struct underlay_txn txn;

    underlay_wrap(underlay, inner, &txn);
    int r = underlay->hooks.close_group(underlay->hooks.arg, &txn.base, err);
    underlay_unpin(&txn);
    return r;
}

static int hook_before_durable(void *arg, uint64_t group, struct error *err)
{
    struct underlay *underlay = arg;

    return underlay->hooks.before_durable(underlay->hooks.arg, group, err);
}

static void hook_durable(void *arg, uint64_t group)
{
    struct underlay *underlay = arg;

    underlay->hooks.durable(underlay->hooks.arg, group);
}

static void hook_not_durable(void *arg, uint64_t group, const struct error *err)
{
    struct underlay *underlay = arg;

    underlay->hooks.not_durable(underlay->hooks.arg, group, err);
}

static void redirect(struct underlay *underlay, struct meta_hooks *hooks)
{
    hooks->arg = underlay;
    hooks->epoch = hooks->epoch ? hook_epoch : NULL;
    hooks->close_group = hooks->close_group ? hook_close_group : NULL;
    hooks->before_durable = hooks->before_durable ? hook_before_durable : NULL;
    hooks->durable = hooks->durable ? hook_durable : NULL;
    hooks->not_durable = hooks->not_durable ? hook_not_durable : NULL;
}

int underlay_open(const struct underlay_config *config, struct meta_engine **ret, struct error *err)
{
    struct underlay *underlay = calloc(1, sizeof(*underlay));
    struct meta_hooks hooks = config->hooks;

    if (!underlay)
        return error_set(err, -ENOMEM, "No memory for a metadata engine.");
    underlay->hooks = config->hooks;
    underlay->cursor = config->cursor;
    underlay->ops = underlay_ops;
    underlay->base.ops = &underlay->ops;
    redirect(underlay, &hooks);
    int r = meta_engine_open(config->url, &config->options, &hooks, &underlay->inner, err);
    if (r < 0) {
        free(underlay);
        return r;
    }
    underlay->ops.type = underlay->inner->ops->type;
    *ret = &underlay->base;
    return 0;
}

int underlay_set_source(struct meta_engine *engine, struct underlay_source *source,
                        struct error *err)
{
    struct underlay *underlay = (struct underlay *)engine;
    CLEANUP(meta_abortp) struct meta_txn *txn = NULL;
    struct record_key cursor;

    int r = meta_begin(underlay->inner, META_READ, &txn, err);
    if (r == 0)
        r = underlay_cursor_get(txn, &underlay->cursor, &cursor, err);
    if (r < 0 && r != -ENOENT)
        return r;
    underlay->source = source;
    atomic_store(&underlay->is_importing, r == 0);
    return 0;
}

bool underlay_is_importing(struct meta_engine *engine)
{
    return atomic_load(&((struct underlay *)engine)->is_importing);
}
