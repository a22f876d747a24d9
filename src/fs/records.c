/* Values of the filesystem's records. What may not be stored and what may not be read is decided
 * by the same functions, so that nothing is written that is refused later. */
#include "fs/records.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/wire.h"

#define MODE_BITS ((uint32_t)(S_IFMT | 07777))
#define INODE_FLAGS ((uint8_t)(INODE_UNTRIMMED | INODE_XATTRS))
#define SYMLINK_MAX (INODE_BODY_MAX - 1)
#define XATTR_SIZE_MAX (48u * 1024u)

static struct writer begin_value(uint8_t *to, size_t size)
{
    struct writer writer = writer_init(to, size);

    writer_u8(&writer, RECORD_VALUE_VERSION);
    return writer;
}

static int written(const struct writer *writer, size_t *ret_len)
{
    if (writer_done(writer) < 0)
        return -EINVAL;
    *ret_len = writer->len;
    return 0;
}

static int begin_read(struct bytes value, struct reader *ret)
{
    *ret = reader_init(value);
    uint8_t version = reader_u8(ret);

    if (version > RECORD_VALUE_VERSION)
        return -EPROTONOSUPPORT;
    return version == RECORD_VALUE_VERSION ? 0 : -EBADMSG;
}

static bool is_type(uint32_t type)
{
    return type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFCHR ||
           type == S_IFBLK || type == S_IFIFO || type == S_IFSOCK;
}

static bool is_inode_number(uint64_t ino)
{
    return ino > 0 && ino <= INODE_NUMBER_MAX;
}

/* Of one type: what the other members may be. */
static bool suits_type(const struct inode *inode)
{
    uint32_t type = inode->mode & S_IFMT;

    switch (type) {
    case S_IFREG:
        return inode->body_len <= INLINE_MAX && inode->body_len <= inode->size;
    case S_IFLNK:
        return inode->body_len > 0 && inode->body_len <= SYMLINK_MAX &&
               inode->size == inode->body_len && inode->stored == 0 &&
               !memchr(inode->body, '\0', inode->body_len);
    default:
        return is_type(type) && inode->body_len == 0 && inode->stored == 0;
    }
}

static bool is_inode(const struct inode *inode)
{
    uint32_t type = inode->mode & S_IFMT;

    return !(inode->flags & ~INODE_FLAGS) && !(inode->mode & ~MODE_BITS) &&
           inode->size <= INT64_MAX && suits_type(inode) &&
           (type == S_IFDIR ? is_inode_number(inode->parent) : inode->parent == 0) &&
           (type == S_IFCHR || type == S_IFBLK || inode->rdev == 0) &&
           (type == S_IFREG || !(inode->flags & INODE_UNTRIMMED));
}

int inode_encode(const struct inode *inode, uint8_t ret[static INODE_VALUE_MAX], size_t *ret_len)
{
    struct writer writer = begin_value(ret, INODE_VALUE_MAX);

    if (!is_inode(inode))
        return -EINVAL;
    writer_u8(&writer, inode->flags);
    writer_u32(&writer, inode->mode);
    writer_u32(&writer, inode->nlink);
    writer_u32(&writer, inode->uid);
    writer_u32(&writer, inode->gid);
    writer_u64(&writer, inode->rdev);
    writer_u64(&writer, inode->size);
    writer_u64(&writer, inode->stored);
    writer_u64(&writer, inode->parent);
    writer_u64(&writer, (uint64_t)inode->atime_ns);
    writer_u64(&writer, (uint64_t)inode->mtime_ns);
    writer_u64(&writer, (uint64_t)inode->ctime_ns);
    writer_string(&writer, (struct bytes){ inode->body, inode->body_len });
    return written(&writer, ret_len);
}

int inode_decode(struct bytes value, struct inode *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->flags = reader_u8(&reader);
    ret->mode = reader_u32(&reader);
    ret->nlink = reader_u32(&reader);
    ret->uid = reader_u32(&reader);
    ret->gid = reader_u32(&reader);
    ret->rdev = reader_u64(&reader);
    ret->size = reader_u64(&reader);
    ret->stored = reader_u64(&reader);
    ret->parent = reader_u64(&reader);
    ret->atime_ns = (int64_t)reader_u64(&reader);
    ret->mtime_ns = (int64_t)reader_u64(&reader);
    ret->ctime_ns = (int64_t)reader_u64(&reader);
    struct bytes body = reader_string(&reader, INODE_BODY_MAX);
    ret->body_len = (uint32_t)body.len;
    if (reader_done(&reader) < 0)
        return -EBADMSG;
    if (body.len)
        memcpy(ret->body, body.data, body.len);
    return is_inode(ret) ? 0 : -EBADMSG;
}

/* A u8 length, then so many bytes: 1 to 255 without NUL. */
static void read_name(struct reader *reader, char ret[static NAME_MAX_LEN + 1], uint8_t *ret_len)
{
    uint8_t len = reader_u8(reader);
    struct bytes name = reader_bytes(reader, len);

    if (len == 0 || !name.data || memchr(name.data, '\0', len)) {
        reader_fail(reader);
        return;
    }
    memcpy(ret, name.data, len);
    ret[len] = '\0';
    *ret_len = len;
}

static void write_name(struct writer *writer, const char *name, uint8_t len)
{
    writer_u8(writer, len);
    writer_bytes(writer, name, len);
}

static bool is_dirent(const struct dirent_record *dirent)
{
    size_t len = strnlen(dirent->name, sizeof(dirent->name));

    return is_inode_number(dirent->ino) && is_type((uint32_t)dirent->type << 12) && len > 0 &&
           len == dirent->name_len && !strchr(dirent->name, '/') &&
           strcmp(dirent->name, ".") != 0 && strcmp(dirent->name, "..") != 0;
}

int dirent_encode(const struct dirent_record *dirent, uint8_t ret[static DIRENT_VALUE_MAX],
                  size_t *ret_len)
{
    struct writer writer = begin_value(ret, DIRENT_VALUE_MAX);

    if (!is_dirent(dirent))
        return -EINVAL;
    writer_u8(&writer, dirent->type);
    writer_u64(&writer, dirent->ino);
    write_name(&writer, dirent->name, dirent->name_len);
    return written(&writer, ret_len);
}

int dirent_decode(struct bytes value, struct dirent_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->type = reader_u8(&reader);
    ret->ino = reader_u64(&reader);
    read_name(&reader, ret->name, &ret->name_len);
    return reader_done(&reader) == 0 && is_dirent(ret) ? 0 : -EBADMSG;
}

static void write_extent(struct writer *writer, const struct extent *extent)
{
    writer_u32(writer, extent->offset);
    writer_u32(writer, extent->len);
    writer_bytes(writer, extent->segment.bytes, sizeof(extent->segment.bytes));
    writer_u32(writer, extent->address);
    writer_u32(writer, extent->block_len);
    writer_u32(writer, extent->skip);
}

int extents_encode(const struct extents *list, uint8_t *ret, size_t *ret_len)
{
    struct writer writer = begin_value(ret, EXTENTS_VALUE_MAX);

    if (list->count == 0 || list->count > EXTENTS_MAX)
        return -EINVAL;
    writer_u16(&writer, (uint16_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct extent *extent = &list->items[i];

        if (!extent_is_possible(extent))
            return -EINVAL;
        write_extent(&writer, extent);
    }
    return written(&writer, ret_len);
}

static struct extent read_extent(struct reader *reader)
{
    struct extent extent;

    extent.offset = reader_u32(reader);
    extent.len = reader_u32(reader);
    reader_copy(reader, extent.segment.bytes, sizeof(extent.segment.bytes));
    extent.address = reader_u32(reader);
    extent.block_len = reader_u32(reader);
    extent.skip = reader_u32(reader);
    return extent;
}

#define EXTENTS_AT 3u /* behind the version and their number */

static size_t stored_at(unsigned index)
{
    return EXTENTS_AT + (size_t)index * EXTENT_LEN;
}

/* That it is a record of a version that is known, with as many extents as it says. */
static int begin_extents(const struct spliced *value, unsigned *ret_count)
{
    uint8_t header[EXTENTS_AT] = { 0 };
    struct reader reader;

    if (!spliced_read(value, 0, 1, header))
        return -EBADMSG;
    bool has_count = spliced_read(value, 1, EXTENTS_AT - 1, header + 1);
    int r = begin_read((struct bytes){ .data = header, .len = sizeof(header) }, &reader);
    if (r < 0)
        return r;
    *ret_count = reader_u16(&reader);
    bool is_whole = has_count && *ret_count > 0 && *ret_count <= EXTENTS_MAX &&
                    value->len == stored_at(*ret_count);
    return is_whole ? 0 : -EBADMSG;
}

/* begin_extents() has seen that it is there. */
static struct extent extent_at(const struct spliced *value, unsigned index)
{
    uint8_t stored[EXTENT_LEN] = { 0 };

    (void)spliced_read(value, stored_at(index), sizeof(stored), stored);
    struct reader reader = reader_init((struct bytes){ .data = stored, .len = sizeof(stored) });
    return read_extent(&reader);
}

/* Where in the chunk the extent at index starts and ends; that is in front of all else. */
static void extent_place(const struct spliced *value, unsigned index, uint64_t *ret_start,
                         uint64_t *ret_end)
{
    uint8_t stored[8] = { 0 };

    (void)spliced_read(value, stored_at(index), sizeof(stored), stored);
    struct reader reader = reader_init((struct bytes){ .data = stored, .len = sizeof(stored) });
    *ret_start = reader_u32(&reader);
    *ret_end = *ret_start + reader_u32(&reader);
}

/* The first one that ends behind offset. */
static unsigned find_stored(const struct spliced *value, unsigned count, uint32_t offset)
{
    unsigned low = 0;
    unsigned high = count;
    uint64_t start;
    uint64_t end;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        extent_place(value, middle, &start, &end);
        if (end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int decode_range(const struct spliced *value, unsigned first, unsigned count, uint32_t end,
                        struct extents *ret)
{
    int r = 0;

    ret->count = 0;
    for (unsigned i = first; r == 0 && i < count; i++) {
        const struct extent extent = extent_at(value, i);
        if (extent_is_possible(&extent) && extent.offset >= end)
            break;
        r = extents_append(ret, &extent);
    }
    if (r < 0)
        ret->count = 0;
    return r;
}

int extents_decode(struct bytes value, struct extents *ret)
{
    const struct spliced whole = spliced_of(value);
    unsigned count;
    int r = begin_extents(&whole, &count);

    ret->count = 0;
    if (r == 0)
        r = extents_reserve(ret, count);
    return r < 0 ? r : decode_range(&whole, 0, count, UINT32_MAX, ret);
}

int extents_decode_part(const struct spliced *value, uint32_t offset, uint32_t end,
                        struct extents *ret)
{
    unsigned count;
    int r = begin_extents(value, &count);

    ret->count = 0;
    return r < 0 ? r : decode_range(value, find_stored(value, count, offset), count, end, ret);
}

static bool is_whole_block(const struct extent *extent)
{
    return extent->skip == 0 && extent->len == extent->block_len;
}

/* The same run goes on from left to right. */
static bool continues(const struct extent *left, const struct extent *right)
{
    if (left->offset + left->len != right->offset || left->block_len != right->block_len ||
        !uuid_equal(&left->segment, &right->segment))
        return false; /* and one of them, so both, has blocks of some length */
    uint64_t blocks = ((uint64_t)left->skip + left->len) / right->block_len;
    return left->address + blocks * (right->block_len + BLOCK_OVERHEAD) == right->address;
}

/* The extent in front of and behind the block at with, and that block. -ENOENT: the extent does not
 * show exactly one block there. */
static int split_extent(const struct extent *extent, const struct extent *with,
                        struct extent *ret_left, struct extent *ret_block, struct extent *ret_right)
{
    uint32_t distance = with->offset - extent->offset;
    uint32_t in_run = extent->skip + distance;

    if (with->offset < extent->offset || distance >= extent->len ||
        with->len > extent->len - distance || with->len != extent->block_len ||
        in_run % extent->block_len != 0)
        return -ENOENT;
    uint32_t stride = extent->block_len + BLOCK_OVERHEAD;
    *ret_left = *extent;
    ret_left->len = distance;
    *ret_block = *extent;
    ret_block->offset = with->offset;
    ret_block->len = with->len;
    ret_block->address += in_run / extent->block_len * stride;
    ret_block->skip = 0;
    *ret_right = *ret_block;
    ret_right->offset += with->len;
    ret_right->len = extent->len - distance - with->len;
    ret_right->address += stride;
    return 0;
}

/* In the place of the extent at index: what is left of it on both sides, and with. */
static void write_exchange(unsigned count, unsigned index, const struct extent items[3],
                           struct block_exchange *ret)
{
    struct writer extents = writer_init(ret->extent_bytes, sizeof(ret->extent_bytes));
    struct writer number = writer_init(ret->count_bytes, sizeof(ret->count_bytes));
    unsigned written = 0;

    for (unsigned i = 0; i < 3; i++) {
        if (items[i].len == 0)
            continue;
        write_extent(&extents, &items[i]);
        written++;
    }
    writer_u16(&number, (uint16_t)(count + written - 1));
    size_t changed = written == 1 ? 0 : sizeof(ret->count_bytes);
    ret->count = (struct splice){ .at = EXTENTS_AT - sizeof(ret->count_bytes),
                                  .removed = changed,
                                  .added = { ret->count_bytes, changed } };
    ret->extents = (struct splice){ .at = stored_at(index),
                                    .removed = EXTENT_LEN,
                                    .added = { ret->extent_bytes, extents.len } };
}

int extents_exchange(const struct spliced *value, const struct extent *with,
                     struct block_exchange *ret)
{
    struct extent items[3]; /* left of it, itself, right of it */
    unsigned count;
    int r = begin_extents(value, &count);

    if (r < 0)
        return r;
    unsigned index = find_stored(value, count, with->offset);
    if (index == count || count + 2 > EXTENTS_MAX || !is_whole_block(with))
        return -ENOENT;
    const struct extent old = extent_at(value, index);
    if (!extent_is_possible(&old))
        return -EBADMSG;
    r = split_extent(&old, with, &items[0], &ret->replaced, &items[2]);
    if (r < 0)
        return r;
    items[1] = *with;
    struct extent left = items[0].len > 0 || index == 0 ? items[0] : extent_at(value, index - 1);
    struct extent right =
        items[2].len > 0 || index + 1 == count ? items[2] : extent_at(value, index + 1);
    if ((left.len > 0 && continues(&left, with)) || (right.len > 0 && continues(with, &right)))
        return -ENOENT;
    write_exchange(count, index, items, ret);
    return 0;
}

int xattr_encode(const struct xattr_record *xattr, uint8_t *ret, size_t *ret_len)
{
    struct writer writer = begin_value(ret, XATTR_VALUE_MAX);
    size_t name_len = strnlen(xattr->name, sizeof(xattr->name));

    if (name_len == 0 || name_len != xattr->name_len || xattr->value.len > XATTR_SIZE_MAX)
        return -EINVAL;
    write_name(&writer, xattr->name, xattr->name_len);
    writer_string(&writer, xattr->value);
    return written(&writer, ret_len);
}

int xattr_decode(struct bytes value, struct xattr_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    read_name(&reader, ret->name, &ret->name_len);
    ret->value = reader_string(&reader, XATTR_SIZE_MAX);
    return reader_done(&reader);
}

int orphan_encode(uint8_t ret[static 1], size_t *ret_len)
{
    struct writer writer = begin_value(ret, 1);

    return written(&writer, ret_len);
}

int orphan_decode(struct bytes value)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    return r < 0 ? r : reader_done(&reader);
}

static bool is_usage(const struct usage_record *usage)
{
    if (usage->state == SEGMENT_ANNOUNCED)
        return usage->generation == 0 && usage->size == 0 && usage->live == 0;
    return usage->state > SEGMENT_ANNOUNCED && usage->state <= SEGMENT_DEAD;
}

int usage_encode(const struct usage_record *usage, uint8_t ret[static USAGE_VALUE_LEN],
                 size_t *ret_len)
{
    struct writer writer = begin_value(ret, USAGE_VALUE_LEN);

    if (!is_usage(usage))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)usage->state);
    writer_u32(&writer, usage->generation);
    writer_u32(&writer, usage->size);
    writer_u64(&writer, usage->live);
    return written(&writer, ret_len);
}

int usage_decode(struct bytes value, struct usage_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->state = (enum segment_state)reader_u8(&reader);
    ret->generation = reader_u32(&reader);
    ret->size = reader_u32(&reader);
    ret->live = reader_u64(&reader);
    return reader_done(&reader) == 0 && is_usage(ret) ? 0 : -EBADMSG;
}

static bool is_location(const struct location_record *location)
{
    return location->len > 0 && location->live <= location->len &&
           location->len <= UINT32_MAX - location->offset &&
           location->len <= UINT32_MAX - location->identity.address;
}

int location_encode(const struct location_record *location, uint8_t ret[static LOCATION_VALUE_LEN],
                    size_t *ret_len)
{
    struct writer writer = begin_value(ret, LOCATION_VALUE_LEN);
    const struct block_identity *identity = &location->identity;

    if (!is_location(location))
        return -EINVAL;
    writer_u32(&writer, location->len);
    writer_u32(&writer, location->live);
    writer_bytes(&writer, location->object.bytes, sizeof(location->object.bytes));
    writer_u32(&writer, location->offset);
    writer_bytes(&writer, identity->fs.bytes, sizeof(identity->fs.bytes));
    writer_u32(&writer, identity->generation);
    writer_bytes(&writer, identity->segment.bytes, sizeof(identity->segment.bytes));
    writer_u32(&writer, identity->address);
    return written(&writer, ret_len);
}

int location_decode(struct bytes value, struct location_record *ret)
{
    struct reader reader;
    struct block_identity *identity = &ret->identity;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->len = reader_u32(&reader);
    ret->live = reader_u32(&reader);
    reader_copy(&reader, ret->object.bytes, sizeof(ret->object.bytes));
    ret->offset = reader_u32(&reader);
    reader_copy(&reader, identity->fs.bytes, sizeof(identity->fs.bytes));
    identity->generation = reader_u32(&reader);
    reader_copy(&reader, identity->segment.bytes, sizeof(identity->segment.bytes));
    identity->address = reader_u32(&reader);
    return reader_done(&reader) == 0 && is_location(ret) ? 0 : -EBADMSG;
}

/* All numbers may be used up: then the next one is behind the last. */
static bool is_counters(const struct counters_record *counters)
{
    return counters->next_ino > 0 && counters->next_ino <= INODE_NUMBER_MAX + 1;
}

int counters_encode(const struct counters_record *counters, uint8_t ret[static COUNTERS_VALUE_LEN],
                    size_t *ret_len)
{
    struct writer writer = begin_value(ret, COUNTERS_VALUE_LEN);

    if (!is_counters(counters))
        return -EINVAL;
    writer_u64(&writer, counters->next_ino);
    writer_u64(&writer, counters->files);
    writer_u64(&writer, counters->stored);
    return written(&writer, ret_len);
}

int counters_decode(struct bytes value, struct counters_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->next_ino = reader_u64(&reader);
    ret->files = reader_u64(&reader);
    ret->stored = reader_u64(&reader);
    return reader_done(&reader) == 0 && is_counters(ret) ? 0 : -EBADMSG;
}

#define HELD_WITH_BRANCHES 2u /* the version */

int held_encode(uint64_t held, bool has_branches, uint8_t ret[static HELD_VALUE_LEN],
                size_t *ret_len)
{
    struct writer writer = begin_value(ret, HELD_VALUE_LEN);

    if (has_branches)
        ret[0] = HELD_WITH_BRANCHES;
    writer_u64(&writer, held);
    return written(&writer, ret_len);
}

int held_decode(struct bytes value, uint64_t *ret)
{
    struct reader reader = reader_init(value);
    uint8_t version = reader_u8(&reader);

    if (version > HELD_WITH_BRANCHES)
        return -EPROTONOSUPPORT;
    if (version == 0)
        return -EBADMSG;
    *ret = reader_u64(&reader);
    return reader_done(&reader);
}

static bool is_origin(const struct origin_record *origin)
{
    return (origin->state == ORIGIN_NEEDED || origin->state == ORIGIN_DONE) &&
           origin->generation != 0;
}

int origin_encode(const struct origin_record *origin, uint8_t ret[static ORIGIN_VALUE_LEN],
                  size_t *ret_len)
{
    struct writer writer = begin_value(ret, ORIGIN_VALUE_LEN);

    if (!is_origin(origin))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)origin->state);
    writer_bytes(&writer, origin->fs.bytes, UUID_LEN);
    writer_u32(&writer, origin->generation);
    writer_bytes(&writer, origin->reference.bytes, UUID_LEN);
    writer_bytes(&writer, origin->manifest, MANIFEST_HASH_LEN);
    writer_u64(&writer, origin->data_len);
    return written(&writer, ret_len);
}

int origin_decode(struct bytes value, struct origin_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->state = (enum origin_state)reader_u8(&reader);
    reader_copy(&reader, ret->fs.bytes, UUID_LEN);
    ret->generation = reader_u32(&reader);
    reader_copy(&reader, ret->reference.bytes, UUID_LEN);
    reader_copy(&reader, ret->manifest, MANIFEST_HASH_LEN);
    ret->data_len = reader_u64(&reader);
    return reader_done(&reader) == 0 && is_origin(ret) ? 0 : -EBADMSG;
}

bool snapshot_name_is_possible(const char *name)
{
    size_t len = strnlen(name, NAME_MAX_LEN + 1);

    if (len == 0 || len > NAME_MAX_LEN || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

static bool is_snapshot(const struct snapshot_record *snapshot)
{
    return snapshot->slot > 0 && snapshot->slot < UINT16_MAX && snapshot->state >= SNAPSHOT_KEPT &&
           snapshot->state <= SNAPSHOT_ARRIVING && snapshot_name_is_possible(snapshot->name) &&
           snapshot_name_is_possible(snapshot->access_point);
}

static void write_text(struct writer *writer, const char *text)
{
    size_t len = strlen(text);

    writer_u8(writer, (uint8_t)len);
    writer_bytes(writer, text, len);
}

/* A NUL inside would make it shorter than it is: refused. */
static int read_text(struct reader *reader, char ret[static NAME_MAX_LEN + 1])
{
    size_t len = reader_u8(reader);

    reader_copy(reader, ret, len);
    ret[len] = '\0';
    return strnlen(ret, len) == len ? 0 : -EBADMSG;
}

int snapshot_encode(const struct snapshot_record *snapshot, uint8_t ret[static SNAPSHOT_VALUE_MAX],
                    size_t *ret_len)
{
    struct writer writer = begin_value(ret, SNAPSHOT_VALUE_MAX);

    if (!is_snapshot(snapshot))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)snapshot->state);
    writer_u16(&writer, snapshot->slot);
    writer_u64(&writer, (uint64_t)snapshot->created_ns);
    write_text(&writer, snapshot->name);
    write_text(&writer, snapshot->access_point);
    return written(&writer, ret_len);
}

int snapshot_decode(struct bytes value, struct snapshot_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    ret->state = (enum snapshot_state)reader_u8(&reader);
    ret->slot = reader_u16(&reader);
    ret->created_ns = (int64_t)reader_u64(&reader);
    r = read_text(&reader, ret->name);
    if (r == 0)
        r = read_text(&reader, ret->access_point);
    if (r < 0 || reader_done(&reader) < 0)
        return -EBADMSG;
    return is_snapshot(ret) ? 0 : -EBADMSG;
}

#define RESTORE_MIXED 0x80u /* beside the state */

static bool is_restore(const struct restore_record *restore)
{
    if (restore->state == RESTORE_OUTSIDE) /* which may be the very first epoch */
        return !restore->is_mixed;
    return (restore->state == RESTORE_RUNNING || restore->state == RESTORE_DONE) &&
           restore->target != 0;
}

int restore_encode(const struct restore_record *restore, uint8_t ret[static RESTORE_VALUE_LEN],
                   size_t *ret_len)
{
    struct writer writer = begin_value(ret, RESTORE_VALUE_LEN);

    if (!is_restore(restore))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)(restore->state | (restore->is_mixed ? RESTORE_MIXED : 0)));
    writer_u64(&writer, restore->target);
    return written(&writer, ret_len);
}

int restore_decode(struct bytes value, struct restore_record *ret)
{
    struct reader reader;
    int r = begin_read(value, &reader);

    if (r < 0)
        return r;
    uint8_t state = reader_u8(&reader);
    ret->state = (enum restore_state)(state & ~RESTORE_MIXED);
    ret->is_mixed = (state & RESTORE_MIXED) != 0;
    ret->target = reader_u64(&reader);
    if (reader_done(&reader) < 0)
        return -EBADMSG;
    return is_restore(ret) ? 0 : -EBADMSG;
}
