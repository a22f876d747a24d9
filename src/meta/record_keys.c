#include "meta/record_kinds.h"

#include <errno.h>
#include <string.h>

#include "base/wire.h"

#define HEAD_LEN 2u /* tree, kind */
#define EPOCH_LEN 8u

static int encoded(const struct writer *writer, struct record_key *ret)
{
    ret->len = writer->len;
    return writer_done(writer);
}

/* kind and rest of a live key: all that history keeps of it but the tree, which is its own. */
int history_key_encode(struct bytes live, uint64_t epoch, struct record_key *ret)
{
    struct writer writer = writer_init(ret->data, sizeof(ret->data));

    if (live.len < HEAD_LEN)
        return -EBADMSG;
    writer_u8(&writer, live.data[0]);
    writer_u8(&writer, RECORD_HISTORY);
    writer_bytes(&writer, live.data + 1, live.len - 1);
    writer_u64be(&writer, epoch);
    return encoded(&writer, ret);
}

static void live_key(uint8_t tree, struct bytes kind_and_rest, struct record_key *ret)
{
    ret->data[0] = tree;
    memcpy(ret->data + 1, kind_and_rest.data, kind_and_rest.len);
    ret->len = 1 + kind_and_rest.len;
}

int history_key_decode(struct bytes key, struct record_key *ret_live, uint64_t *ret_epoch)
{
    struct reader reader = reader_init(key);

    if (key.len > META_KEY_MAX || key.len < HEAD_LEN + 1 + EPOCH_LEN)
        return -EBADMSG;
    uint8_t tree = reader_u8(&reader);
    if (reader_u8(&reader) != RECORD_HISTORY)
        return -EBADMSG;
    struct bytes kind_and_rest = reader_bytes(&reader, key.len - HEAD_LEN - EPOCH_LEN);
    uint64_t epoch = reader_u64be(&reader);
    if (reader_done(&reader) < 0)
        return -EBADMSG;
    live_key(tree, kind_and_rest, ret_live);
    *ret_epoch = epoch;
    return 0;
}

int history_index_encode(struct bytes live, uint64_t epoch, enum history_what what,
                         struct record_key *ret)
{
    struct writer writer = writer_init(ret->data, sizeof(ret->data));

    if (live.len < HEAD_LEN)
        return -EBADMSG;
    writer_u8(&writer, live.data[0]);
    writer_u8(&writer, RECORD_HISTORY_INDEX);
    writer_u64be(&writer, epoch);
    writer_u8(&writer, (uint8_t)what);
    writer_bytes(&writer, live.data + 1, live.len - 1);
    return encoded(&writer, ret);
}

int history_index_decode(struct bytes key, struct record_key *ret_live, uint64_t *ret_epoch,
                         enum history_what *ret_what)
{
    struct reader reader = reader_init(key);

    if (key.len > META_KEY_MAX || key.len < HEAD_LEN + EPOCH_LEN + 2)
        return -EBADMSG;
    uint8_t tree = reader_u8(&reader);
    uint8_t kind = reader_u8(&reader);
    uint64_t epoch = reader_u64be(&reader);
    uint8_t what = reader_u8(&reader);
    struct bytes kind_and_rest = reader_bytes(&reader, reader.len);
    if (reader_done(&reader) < 0 || kind != RECORD_HISTORY_INDEX ||
        (what != HISTORY_SAVED && what != HISTORY_CREATED))
        return -EBADMSG;
    live_key(tree, kind_and_rest, ret_live);
    *ret_epoch = epoch;
    *ret_what = (enum history_what)what;
    return 0;
}
