/* The index of saved records by epoch. */
#include "fs/history.h"

#include <errno.h>
#include <string.h>

static int add_entry(struct bytes key, struct bytes value, void *arg)
{
    struct index_batch *batch = arg;
    struct index_entry *entry = &batch->entries[batch->count];

    (void)value; /* empty */
    if (history_index_decode(key, &entry->key, &entry->epoch, &entry->what) < 0)
        return error_set(batch->err, -EBADMSG,
                         "an index entry of saved records cannot be understood");
    batch->count++;
    memcpy(batch->next.data, key.data, key.len);
    batch->next.data[key.len] = 0;
    batch->next.len = key.len + 1;
    return batch->count == INDEX_BATCH;
}

/* Every index entry of an epoch sorts behind this, those of the epochs before it in front. */
void history_index_start(uint64_t epoch, struct record_key *ret)
{
    static const uint8_t live[] = { RECORD_TREE_LIVE, 0 };

    (void)history_index_encode((struct bytes){ .data = live, .len = sizeof(live) }, epoch,
                               (enum history_what)0, ret);
}

int history_index_read(struct volume_txn *txn, const struct record_key *from, uint64_t end,
                       struct index_batch *ret)
{
    struct record_key end_key;

    ret->count = 0;
    ret->err = &txn->err;
    history_index_start(end, &end_key);
    int r = meta_scan(txn->meta, record_key_bytes(from), record_key_bytes(&end_key), add_entry, ret,
                      &txn->err);
    ret->has_more = r > 0;
    return r < 0 ? r : 0;
}
