/* chunk.h - the plain bytes of a chunk: records of a snapshot in the order of their keys; byte for
 * byte in docs/formats/snap-to-object.md. Nothing here knows a key.
 *
 * Units      bytes.
 * Errors     -EBADMSG: not such bytes; -EPROTONOSUPPORT: of a later version.
 * Ownership  records point into the bytes given.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/wire.h"
#include "meta/meta_engine.h"

#define DUMP_CHUNK_HEAD_LEN 5u  /* version, number of records */
#define DUMP_RECORD_HEAD_LEN 6u /* length of the key, length of the value */
#define DUMP_CHUNK_MIN (32u * 1024u)
#define DUMP_CHUNK_MEAN (96u * 1024u)
#define DUMP_CHUNK_MAX (256u * 1024u) /* plain; the largest record fits many times */

struct dump_record {
    struct bytes key;
    struct bytes value;
};

static inline size_t dump_record_len(const struct dump_record *record)
{
    return DUMP_RECORD_HEAD_LEN + record->key.len + record->value.len;
}

void dump_chunk_write_head(struct writer *writer, uint32_t records);
void dump_record_write(struct writer *writer, const struct dump_record *record);

/* A chunk is read whole first: its records are all there, keys ascend, none is too long. */
struct dump_chunk {
    uint32_t records;
    struct bytes first_key;
    struct bytes last_key;
    struct bytes body; /* the records */
};

int dump_chunk_decode(struct bytes plain, struct dump_chunk *ret);

/* Takes the next one off the body of a chunk that was decoded; false: there is none. */
bool dump_record_next(struct bytes *body, struct dump_record *ret);

/* As memcmp, a key that is the beginning of another one first. */
int dump_key_compare(struct bytes a, struct bytes b);
