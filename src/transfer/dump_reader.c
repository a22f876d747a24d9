#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "transfer/dump.h"

/* What is in a chunk beside what the manifest says of it. */
static bool is_as_listed(const struct manifest *manifest, uint32_t index,
                         const struct dump_chunk *chunk)
{
    return chunk->records == manifest->chunks[index].records &&
           dump_key_compare(chunk->first_key, manifest_first_key(manifest, index)) == 0 &&
           (index + 1 == manifest->chunk_count ||
            dump_key_compare(chunk->last_key, manifest_first_key(manifest, index + 1)) < 0);
}

static int refused(const struct chunk_entry *entry, int r, struct error *err)
{
    char name[2 * CHUNK_NAME_LEN + 1];

    hex_encode((struct bytes){ entry->name, CHUNK_NAME_LEN }, name);
    switch (r) {
    case -ENOMEM:
        return error_set(err, r, "cannot open chunk %s: out of memory", name);
    case -EPROTONOSUPPORT:
        return error_set(err, r, "chunk %s was written by a later version of coffer: use that",
                         name);
    case -ENOENT:
        return error_set(err, r, "chunk %s of the snapshot is missing in the object store", name);
    default:
        return error_set(err, -EBADMSG,
                         "chunk %s of the snapshot was altered, cut short or exchanged", name);
    }
}

int dump_chunk_get(const struct dump_source *source, uint32_t chunk, struct buf *ret_plain,
                   struct dump_chunk *ret, struct error *err)
{
    const struct chunk_entry *entry = &source->manifest->chunks[chunk];
    const struct bucket_name name = bucket_name_of(BUCKET_CHUNK, entry->name);
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct dump_chunk found = { .records = 0 };

    int r = bucket_get(source->bucket, &name, DUMP_CHUNK_MAX + AEAD_TAG_LEN, &sealed, err);
    if (r == -ENOENT || r == -EFBIG)
        return refused(entry, r, err);
    if (r < 0)
        return r;
    r = sealed.len == entry->len ? chunk_open(source->keys, entry->name, buf_bytes(&sealed), &plain)
                                 : -EBADMSG;
    if (r == 0)
        r = dump_chunk_decode(buf_bytes(&plain), &found);
    if (r == 0 && !is_as_listed(source->manifest, chunk, &found))
        r = -EBADMSG;
    if (r < 0)
        return refused(entry, r, err);
    buf_move(ret_plain, &plain);
    *ret = found;
    return 0;
}

void dump_reader_init(struct dump_reader *reader, const struct dump_source *source)
{
    *reader = (struct dump_reader){ .source = *source };
}

void dump_reader_release(struct dump_reader *reader)
{
    buf_release(&reader->plain);
    reader->body = (struct bytes){ .data = NULL };
}

static int load(struct dump_reader *reader, uint32_t index, struct error *err)
{
    struct dump_chunk chunk = { .records = 0 };

    reader->body = (struct bytes){ .data = NULL };
    int r = dump_chunk_get(&reader->source, index, &reader->plain, &chunk, err);
    if (r < 0)
        return r;
    reader->body = chunk.body;
    reader->next = index + 1;
    return 0;
}

int dump_reader_seek(struct dump_reader *reader, struct bytes key, struct error *err)
{
    struct dump_record record;

    if (reader->source.manifest->chunk_count == 0)
        return 0;
    int r = load(reader, manifest_find_chunk(reader->source.manifest, key), err);
    for (struct bytes rest = reader->body; r == 0 && dump_record_next(&rest, &record);) {
        if (dump_key_compare(record.key, key) >= 0)
            return 0;
        reader->body = rest;
    }
    return r;
}

int dump_reader_next(struct dump_reader *reader, struct dump_record *ret, struct error *err)
{
    while (!dump_record_next(&reader->body, ret)) {
        if (reader->next >= reader->source.manifest->chunk_count)
            return -ENODATA;
        int r = load(reader, reader->next, err);
        if (r < 0)
            return r;
    }
    return 0;
}
