/* Keys of the filesystem's records: tree, kind, and what the kind says, big-endian. */
#include "fs/records.h"

#include <errno.h>
#include <string.h>

#include "base/wire.h"

/* A longer key than any of these does not fit a record_key; none of them fails. */
static struct writer begin(enum record_kind kind, struct record_key *ret)
{
    struct writer writer = writer_init(ret->data, sizeof(ret->data));

    writer_u8(&writer, RECORD_TREE_LIVE);
    writer_u8(&writer, (uint8_t)kind);
    return writer;
}

static void plain_key(enum record_kind kind, struct record_key *ret)
{
    ret->len = begin(kind, ret).len;
}

static void number_key(enum record_kind kind, uint64_t number, struct record_key *ret)
{
    struct writer writer = begin(kind, ret);

    writer_u64be(&writer, number);
    ret->len = writer.len;
}

static void named_key(enum record_kind kind, uint64_t ino, const uint8_t *lookup,
                      struct record_key *ret)
{
    struct writer writer = begin(kind, ret);

    writer_u64be(&writer, ino);
    writer_bytes(&writer, lookup, LOOKUP_KEY_LEN);
    ret->len = writer.len;
}

void inode_key(uint64_t ino, struct record_key *ret)
{
    number_key(RECORD_INODE, ino, ret);
}

void dirent_key(uint64_t parent, const uint8_t lookup[static LOOKUP_KEY_LEN],
                struct record_key *ret)
{
    named_key(RECORD_DIRENT, parent, lookup, ret);
}

void extents_key(uint64_t ino, uint32_t chunk, struct record_key *ret)
{
    struct writer writer = begin(RECORD_EXTENTS, ret);

    writer_u64be(&writer, ino);
    writer_u32be(&writer, chunk);
    ret->len = writer.len;
}

void xattr_key(uint64_t ino, const uint8_t lookup[static LOOKUP_KEY_LEN], struct record_key *ret)
{
    named_key(RECORD_XATTR, ino, lookup, ret);
}

void orphan_key(uint64_t ino, struct record_key *ret)
{
    number_key(RECORD_ORPHAN, ino, ret);
}

void usage_key(const struct uuid *segment, struct record_key *ret)
{
    struct writer writer = begin(RECORD_USAGE, ret);

    writer_bytes(&writer, segment->bytes, sizeof(segment->bytes));
    ret->len = writer.len;
}

void location_key(const struct uuid *segment, uint32_t first, struct record_key *ret)
{
    struct writer writer = begin(RECORD_LOCATION, ret);

    writer_bytes(&writer, segment->bytes, sizeof(segment->bytes));
    writer_u32be(&writer, first);
    ret->len = writer.len;
}

void state_key(uint8_t number, struct record_key *ret)
{
    struct writer writer = begin(RECORD_STATE, ret);

    writer_u8(&writer, number);
    ret->len = writer.len;
}

void snapshot_key(uint64_t epoch, struct record_key *ret)
{
    number_key(RECORD_SNAPSHOT, epoch, ret);
}

void restore_key(uint64_t epoch, struct record_key *ret)
{
    number_key(RECORD_RESTORE, epoch, ret);
}

void superblock_key(struct record_key *ret)
{
    plain_key(RECORD_SUPERBLOCK, ret);
}

void kind_range(enum record_kind kind, struct record_key *ret_first, struct record_key *ret_end)
{
    plain_key(kind, ret_first);
    *ret_end = *ret_first;
    ret_end->data[1]++;
}

void inode_range(enum record_kind kind, uint64_t ino, struct record_key *ret_first,
                 struct record_key *ret_end)
{
    number_key(kind, ino, ret_first);
    number_key(kind, ino + 1, ret_end);
}

void chunk_range(uint64_t ino, uint32_t first_chunk, struct record_key *ret_first,
                 struct record_key *ret_end)
{
    extents_key(ino, first_chunk, ret_first);
    number_key(RECORD_EXTENTS, ino + 1, ret_end);
}

static struct reader begin_read(struct bytes key, enum record_kind kind)
{
    struct reader reader = reader_init(key);
    uint8_t tree = reader_u8(&reader);
    uint8_t found = reader_u8(&reader);

    if (tree != RECORD_TREE_LIVE || found != (uint8_t)kind)
        reader_fail(&reader);
    return reader;
}

static uint64_t read_inode_number(struct reader *reader)
{
    uint64_t ino = reader_u64be(reader);

    if (ino == 0 || ino > INODE_NUMBER_MAX)
        reader_fail(reader);
    return ino;
}

int record_key_inode(struct bytes key, enum record_kind kind, uint64_t *ret_ino,
                     uint32_t *ret_chunk)
{
    struct reader reader = begin_read(key, kind);
    uint64_t ino = read_inode_number(&reader);
    uint32_t chunk = kind == RECORD_EXTENTS ? reader_u32be(&reader) : 0;
    int r = reader_done(&reader);

    if (r < 0)
        return r;
    *ret_ino = ino;
    if (ret_chunk)
        *ret_chunk = chunk;
    return 0;
}

int record_key_epoch(struct bytes key, enum record_kind kind, uint64_t *ret_epoch)
{
    struct reader reader = begin_read(key, kind);
    uint64_t epoch = reader_u64be(&reader);

    if (reader_done(&reader) < 0 || epoch == 0)
        return -EBADMSG;
    *ret_epoch = epoch;
    return 0;
}

int record_key_lookup(struct bytes key, enum record_kind kind, uint64_t *ret_ino,
                      uint8_t ret_lookup[static LOOKUP_KEY_LEN])
{
    struct reader reader = begin_read(key, kind);
    uint64_t ino = read_inode_number(&reader);
    struct bytes lookup = reader_bytes(&reader, LOOKUP_KEY_LEN);
    int r = reader_done(&reader);

    if (r < 0)
        return r;
    *ret_ino = ino;
    memcpy(ret_lookup, lookup.data, LOOKUP_KEY_LEN);
    return 0;
}

int record_key_segment(struct bytes key, enum record_kind kind, struct uuid *ret_segment,
                       uint32_t *ret_first)
{
    struct reader reader = begin_read(key, kind);
    struct bytes segment = reader_bytes(&reader, sizeof(ret_segment->bytes));
    uint32_t first = kind == RECORD_LOCATION ? reader_u32be(&reader) : 0;
    int r = reader_done(&reader);

    if (r < 0)
        return r;
    memcpy(ret_segment->bytes, segment.data, segment.len);
    if (ret_first)
        *ret_first = first;
    return 0;
}
