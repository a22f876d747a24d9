#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "transfer/dump.h"

struct dump_writer {
    const struct transfer_keys *keys;
    dump_cut_fn *on_cut;
    void *arg;
    uint32_t records;    /* in this chunk */
    uint64_t all;        /* records in all chunks */
    struct set_hash set; /* over them */
    size_t last_len;     /* length of the last key; it is in front of anything else in last */
    uint8_t last[META_KEY_MAX];
    size_t len; /* plain bytes of this chunk */
    uint8_t chunk[DUMP_CHUNK_MAX];
};

int dump_writer_new(const struct transfer_keys *keys, dump_cut_fn *on_cut, void *arg,
                    struct dump_writer **ret)
{
    struct dump_writer *writer = calloc(1, sizeof(*writer));

    if (!writer)
        return -ENOMEM;
    writer->keys = keys;
    writer->on_cut = on_cut;
    writer->arg = arg;
    writer->len = DUMP_CHUNK_HEAD_LEN;
    *ret = writer;
    return 0;
}

void dump_writer_free(struct dump_writer *writer)
{
    free(writer);
}

/* The first record begins behind the head of the chunk. */
static struct bytes first_key(const struct dump_writer *writer)
{
    const uint8_t *record = writer->chunk + DUMP_CHUNK_HEAD_LEN;
    size_t len = (size_t)record[0] | (size_t)record[1] << 8;

    return (struct bytes){ record + DUMP_RECORD_HEAD_LEN, len };
}

static int cut(struct dump_writer *writer, struct error *err)
{
    struct writer head = writer_init(writer->chunk, DUMP_CHUNK_HEAD_LEN);
    struct dump_cut made = { .plain = { writer->chunk, writer->len },
                             .records = writer->records,
                             .first_key = first_key(writer) };

    dump_chunk_write_head(&head, writer->records);
    if (chunk_name(writer->keys, made.plain, made.name) < 0)
        return error_set(err, -ENOMEM, "cannot name a chunk: out of memory");
    int r = writer->on_cut(&made, writer->arg, err);
    writer->len = DUMP_CHUNK_HEAD_LEN;
    writer->records = 0;
    return r;
}

/* By its key alone, but for the length: another value of the same length changes nothing. */
static int ends_chunk(const struct dump_writer *writer, const struct dump_record *record,
                      bool *ret_does)
{
    const uint64_t one = UINT64_MAX / (DUMP_CHUNK_MEAN - DUMP_CHUNK_MIN); /* chance of a byte */
    uint8_t hash[HASH_LEN];

    *ret_does = false;
    if (writer->len < DUMP_CHUNK_MIN)
        return 0;
    int r = hmac_sha256(writer->keys->cuts, &record->key, 1, hash);
    struct reader reader = reader_init((struct bytes){ hash, sizeof(hash) });
    if (r == 0)
        *ret_does = reader_u64(&reader) < one * dump_record_len(record);
    return r;
}

int dump_set_add(const struct transfer_keys *keys, struct set_hash *set,
                 const struct dump_record *record)
{
    const struct bytes pieces[] = { record->key, record->value };

    return set_hash_add(set, keys->set, pieces, 2);
}

static int check_record(const struct dump_writer *writer, const struct dump_record *record,
                        struct error *err)
{
    const struct bytes last = { writer->last, writer->last_len };

    if (record->key.len == 0 || record->key.len > META_KEY_MAX ||
        record->value.len > META_VALUE_MAX)
        return error_set(err, -EINVAL, "a record of the snapshot is longer than any can be");
    if (dump_key_compare(last, record->key) >= 0)
        return error_set(err, -EINVAL, "the records of the snapshot are not in order");
    return 0;
}

int dump_writer_add(struct dump_writer *writer, const struct dump_record *record, struct error *err)
{
    bool ends = false;

    int r = check_record(writer, record, err);
    if (r == 0 && writer->len + dump_record_len(record) > DUMP_CHUNK_MAX)
        r = cut(writer, err);
    if (r < 0)
        return r;
    struct writer to = writer_init(writer->chunk + writer->len, DUMP_CHUNK_MAX - writer->len);
    dump_record_write(&to, record);
    assert(writer_done(&to) == 0);
    writer->len += to.len;
    writer->records++;
    writer->all++;
    memcpy(writer->last, record->key.data, record->key.len);
    writer->last_len = record->key.len;
    if (dump_set_add(writer->keys, &writer->set, record) < 0 ||
        ends_chunk(writer, record, &ends) < 0)
        return error_set(err, -ENOMEM, "cannot hash a record of the snapshot: out of memory");
    return ends ? cut(writer, err) : 0;
}

int dump_writer_finish(struct dump_writer *writer, uint64_t *ret_records, struct set_hash *ret_set,
                       struct error *err)
{
    int r = writer->records > 0 ? cut(writer, err) : 0;

    if (r == 0) {
        *ret_records = writer->all;
        *ret_set = writer->set;
    }
    return r;
}
