/* dump.h - all records of a snapshot as a sorted run of chunks: cut while they are written, in
 * bounded memory, and read from any key on.
 *
 * Where a chunk ends depends, by a keyed hash, on the records around only: a record more or less
 * shifts nothing, and chunks that did not change have the names that they had.
 *
 * Errors     -EINVAL: a record that is not behind the one before, or is too long; -EBADMSG: a chunk
 *            was altered, exchanged, or is not what the manifest says; the sentence names it;
 *            -ENOENT: a chunk is missing; -ENODATA: there is no further record; -ENOMEM; what the
 *            store says.
 * Ownership  bucket, keys and manifest stay the caller's, and valid as long as reader or writer.
 *            Records that are returned are valid until the next call.
 * Threads    a reader or writer is used by one thread at a time; dump_chunk_get() by any.
 */
#pragma once

#include "transfer/manifest.h"

/* One whole chunk, which is only valid during the call. */
struct dump_cut {
    uint8_t name[CHUNK_NAME_LEN];
    struct bytes plain;
    uint32_t records;
    struct bytes first_key;
};

typedef int dump_cut_fn(const struct dump_cut *cut, void *arg, struct error *err);

struct dump_writer;

int dump_writer_new(const struct transfer_keys *keys, dump_cut_fn *on_cut, void *arg,
                    struct dump_writer **ret);
void dump_writer_free(struct dump_writer *writer); /* NULL is allowed */

static inline void dump_writer_freep(struct dump_writer **writer)
{
    dump_writer_free(*writer);
}

int dump_writer_add(struct dump_writer *writer, const struct dump_record *record,
                    struct error *err);
/* The last chunk; how many records, and the set hash over them. Once. */
int dump_writer_finish(struct dump_writer *writer, uint64_t *ret_records, struct set_hash *ret_set,
                       struct error *err);

/* A record's share of the set hash. */
int dump_set_add(const struct transfer_keys *keys, struct set_hash *set,
                 const struct dump_record *record);

struct dump_source {
    const struct bucket *bucket;
    const struct transfer_keys *keys;
    const struct manifest *manifest;
};

/* Chunk number so and so, opened and compared with the manifest. ret points into ret_plain. */
int dump_chunk_get(const struct dump_source *source, uint32_t chunk, struct buf *ret_plain,
                   struct dump_chunk *ret, struct error *err);

struct dump_reader {
    struct dump_source source;
    uint32_t next; /* the chunk behind the one that is read */
    struct buf plain;
    struct bytes body; /* what is left of it */
};

/* At the first record. */
void dump_reader_init(struct dump_reader *reader, const struct dump_source *source);
void dump_reader_release(struct dump_reader *reader);
/* To the first record that is not in front of key. */
int dump_reader_seek(struct dump_reader *reader, struct bytes key, struct error *err);
int dump_reader_next(struct dump_reader *reader, struct dump_record *ret, struct error *err);
