/* Brings the source's records into the engine, one chunk in one transaction. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "meta/underlay_internal.h"

struct import {
    struct underlay *underlay;
    struct underlay_chunk *chunk;
    struct underlay_txn txn; /* around the engine's, for imported */
    struct record_key *whiteouts;
    size_t count, room;
    underlay_imported_fn *imported;
    void *arg;
    struct error *err;
};

static int note_whiteout(struct bytes key, struct bytes value, void *arg)
{
    struct import *import = arg;

    if (value.len > 0 || !underlay_is_key(key))
        return 0;
    if (import->count == import->room) {
        size_t room = import->room ? 2 * import->room : 16;
        struct record_key *grown = reallocarray(import->whiteouts, room, sizeof(*grown));
        if (!grown)
            return underlay_no_memory(import->err);
        import->whiteouts = grown;
        import->room = room;
    }
    underlay_set_key(&import->whiteouts[import->count++], key);
    return 0;
}

static int import_record(struct import *import, struct bytes key, struct bytes value)
{
    struct meta_txn *inner = import->txn.inner;
    struct bytes there;

    int r = meta_get(inner, key, &there, import->err);
    if (r == -ENOENT) {
        there = value;
        r = meta_put(inner, key, value, import->err);
    }
    if (r < 0 || there.len == 0 || !import->imported)
        return r;
    return import->imported(&import->txn.base, key, there, import->arg);
}

/* All that is in front of the next chunk. */
static int import_records(struct import *import)
{
    static const uint8_t first_kind[] = { RECORD_TREE_LIVE, RECORD_INODE };
    static const uint8_t past[] = { RECORD_TREE_LIVE, RECORD_LOCATION + 1 };
    struct underlay_source *source = import->underlay->source;
    struct bytes body = import->chunk->body, key, value;
    struct bytes first = record_key_bytes(&import->txn.cursor), end = import->chunk->behind;
    int r = 0;

    while (r == 0 && source->ops->next(&body, &key, &value))
        r = underlay_is_key(key) ? import_record(import, key, value) : 0;
    if (end.data == NULL)
        end = (struct bytes){ .data = past, .len = sizeof(past) };
    if (first.len == 0)
        first = (struct bytes){ .data = first_kind, .len = sizeof(first_kind) };
    if (r == 0)
        r = meta_scan(import->txn.inner, first, end, note_whiteout, import, import->err);
    for (size_t i = 0; i < import->count && r == 0; i++)
        r = meta_remove(import->txn.inner, record_key_bytes(&import->whiteouts[i]), import->err);
    return r;
}

static int move_cursor(struct import *import)
{
    const struct record_key *cursor = &import->underlay->cursor;

    if (import->chunk->behind.data == NULL)
        return meta_remove(import->txn.inner, record_key_bytes(cursor), import->err);
    return underlay_cursor_put(import->txn.inner, cursor, import->chunk->behind, import->err);
}

static int import_chunk(struct import *import)
{
    struct meta_txn *inner = NULL;

    int r = meta_begin(import->underlay->inner, META_WRITE, &inner, import->err);
    if (r < 0)
        return r;
    struct record_key cursor = import->txn.cursor;
    underlay_wrap(import->underlay, inner, &import->txn);
    import->txn.cursor = cursor;
    import->txn.has_cursor = true;
    import->count = 0;
    r = import_records(import);
    if (r == 0)
        r = move_cursor(import);
    underlay_unpin(&import->txn);
    if (r < 0) {
        meta_abort(inner);
        return r;
    }
    return meta_commit(inner, import->err);
}

static int find_chunk(struct import *import)
{
    struct underlay_source *source = import->underlay->source;
    CLEANUP(meta_abortp) struct meta_txn *txn = NULL;

    int r = meta_begin(import->underlay->inner, META_READ, &txn, import->err);
    if (r == 0)
        r = underlay_cursor_get(txn, &import->underlay->cursor, &import->txn.cursor, import->err);
    meta_abort(TAKE(txn));
    return r < 0 ? r
                 : source->ops->take(source, record_key_bytes(&import->txn.cursor), true,
                                     &import->chunk, import->err);
}

int underlay_import(struct meta_engine *engine, underlay_imported_fn *imported, void *arg,
                    uint32_t *ret_next, struct error *err)
{
    struct underlay *underlay = (struct underlay *)engine;
    struct import *import = calloc(1, sizeof(*import));
    int r = 0;

    if (!import)
        return underlay_no_memory(err);
    *import = (struct import){ .underlay = underlay, .imported = imported, .arg = arg, .err = err };
    if (atomic_load(&underlay->is_importing))
        r = find_chunk(import);
    else
        r = 1;
    if (r == 0) {
        do
            r = import_chunk(import);
        while (r == -EAGAIN);
        *ret_next = import->chunk->index + 1;
        if (r == 0 && import->chunk->behind.data == NULL) {
            atomic_store(&underlay->is_importing, false);
            r = 1;
        }
        underlay->source->ops->give(underlay->source, import->chunk);
    }
    free(import->whiteouts);
    free(import);
    return r;
}
