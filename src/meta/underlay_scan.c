/* What lies in a range: the engine's records and the source's, as one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "meta/underlay_internal.h"

struct merge {
    struct underlay_txn *txn;
    struct record_key at; /* the source's records in front of it are done */
    struct bytes end;
    struct underlay_chunk *chunk; /* NULL: the next one is not read yet */
    struct bytes body;
    bool is_over;    /* the source has nothing more */
    bool has_record; /* the source's next one, which is not done */
    struct bytes key, value;
    meta_visit_fn *visit;
    void *arg;
    struct error *err;
    int result; /* what visit or the source ended it with */
};

/* What a visitor kept of the chunk stays valid: it is pinned when the scan ends in it. */
static void leave_chunk(struct merge *merge, bool keeps)
{
    struct underlay_source *source = underlay_of(&merge->txn->base)->source;
    struct underlay_chunk *chunk = TAKE(merge->chunk);

    if (!chunk)
        return;
    if (!keeps || underlay_pin(merge->txn, chunk, 0, NULL) < 0)
        source->ops->give(source, chunk);
}

static int enter_chunk(struct merge *merge)
{
    int r = underlay_take(merge->txn, record_key_bytes(&merge->at), &merge->chunk, merge->err);

    if (r == -ENOENT) {
        merge->is_over = true;
        return 0;
    }
    if (r == 0)
        merge->body = merge->chunk->body;
    return r;
}

static void end_chunk(struct merge *merge)
{
    if (merge->chunk->behind.data == NULL)
        merge->is_over = true;
    else if (underlay_order(merge->chunk->behind, record_key_bytes(&merge->at)) > 0)
        underlay_set_key(&merge->at, merge->chunk->behind);
    leave_chunk(merge, false);
}

/* The source's next record that is not in front of at, nor behind the end. */
static int next_under(struct merge *merge)
{
    struct underlay_source *source = underlay_of(&merge->txn->base)->source;

    while (!merge->has_record && !merge->is_over) {
        int r = merge->chunk ? 0 : enter_chunk(merge);
        if (r < 0 || merge->is_over)
            return r;
        if (!source->ops->next(&merge->body, &merge->key, &merge->value)) {
            end_chunk(merge);
            continue;
        }
        if (underlay_order(merge->key, merge->end) >= 0)
            merge->is_over = true;
        else
            merge->has_record = underlay_order(merge->key, record_key_bytes(&merge->at)) >= 0 &&
                                underlay_is_key(merge->key);
    }
    return 0;
}

/* Those in front of key; one of that key is skipped. */
static int visit_under(struct merge *merge, struct bytes key)
{
    int r = next_under(merge);

    while (r == 0 && merge->has_record) {
        int at = underlay_order(merge->key, key);
        if (at > 0)
            break;
        merge->has_record = false;
        if (at == 0)
            break;
        merge->txn->base.found = 0;
        r = merge->visit(merge->key, merge->value, merge->arg);
        if (r == 0)
            r = next_under(merge);
    }
    return r;
}

static int visit_own(struct bytes key, struct bytes value, void *arg)
{
    struct merge *merge = arg;
    struct underlay_txn *txn = merge->txn;
    uint64_t found = txn->inner->found;

    merge->result = visit_under(merge, key);
    if (merge->result != 0)
        return 1;
    if (value.len == 0 && underlay_is_key(key))
        return 0;
    txn->base.found = found;
    merge->result = merge->visit(key, value, merge->arg);
    return merge->result != 0;
}

/* Whether the source may have any record in a range, from where on. */
static int open_range(struct underlay_txn *txn, struct bytes first, struct bytes end,
                      struct record_key *ret_from, struct error *err)
{
    if (!txn->is_under || first.len < 1 || first.data[0] != RECORD_TREE_LIVE)
        return 0;
    int r = underlay_find_cursor(txn, err);
    if (r < 0 || !txn->is_under)
        return r;
    underlay_set_key(ret_from, first);
    if (underlay_order(record_key_bytes(&txn->cursor), first) > 0)
        *ret_from = txn->cursor;
    return underlay_order(record_key_bytes(ret_from), end) < 0;
}

struct plain_scan {
    struct underlay_txn *txn;
    meta_visit_fn *visit;
    void *arg;
};

/* Without the source a whiteout is met only by who scans beside an import. */
static int visit_plain(struct bytes key, struct bytes value, void *arg)
{
    struct plain_scan *scan = arg;

    scan->txn->base.found = scan->txn->inner->found;
    return value.len == 0 && underlay_is_key(key) ? 0 : scan->visit(key, value, scan->arg);
}

static int scan_merged(struct merge *merge, struct bytes first, struct error *err)
{
    int r = meta_scan(merge->txn->inner, first, merge->end, visit_own, merge, err);

    if (r == 1)
        r = merge->result;
    else if (r == 0)
        r = visit_under(merge, merge->end);
    leave_chunk(merge, r != 0);
    return r;
}

int underlay_scan(struct meta_txn *base, struct bytes first, struct bytes end, meta_visit_fn *visit,
                  void *arg, struct error *err)
{
    struct underlay_txn *txn = (struct underlay_txn *)base;
    struct plain_scan plain = { .txn = txn, .visit = visit, .arg = arg };
    struct merge *merge = calloc(1, sizeof(*merge));

    if (!merge)
        return underlay_no_memory(err);
    int r = open_range(txn, first, end, &merge->at, err);
    if (r == 0) {
        r = meta_scan(txn->inner, first, end, visit_plain, &plain, err);
    } else if (r > 0) {
        merge->txn = txn;
        merge->end = end;
        merge->visit = visit;
        merge->arg = arg;
        merge->err = err;
        r = scan_merged(merge, first, err);
    }
    free(merge);
    return r;
}
