/* Values of the filesystem's records. What may not be stored and what may not be read is decided
 * by the same functions, so that nothing is written that is refused later. */
#include "fs/records.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/wire.h"
#include "fs/record_value.h"

#define MODE_BITS ((uint32_t)(S_IFMT | 07777))
#define INODE_FLAGS ((uint8_t)(INODE_UNTRIMMED | INODE_XATTRS))
#define SYMLINK_MAX (INODE_BODY_MAX - 1)
#define XATTR_SIZE_MAX (48u * 1024u)

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
    struct writer writer = record_value_begin(ret, INODE_VALUE_MAX);

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
    return record_value_end(&writer, ret_len);
}

int inode_decode(struct bytes value, struct inode *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, DIRENT_VALUE_MAX);

    if (!is_dirent(dirent))
        return -EINVAL;
    writer_u8(&writer, dirent->type);
    writer_u64(&writer, dirent->ino);
    write_name(&writer, dirent->name, dirent->name_len);
    return record_value_end(&writer, ret_len);
}

int dirent_decode(struct bytes value, struct dirent_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

    if (r < 0)
        return r;
    ret->type = reader_u8(&reader);
    ret->ino = reader_u64(&reader);
    read_name(&reader, ret->name, &ret->name_len);
    return reader_done(&reader) == 0 && is_dirent(ret) ? 0 : -EBADMSG;
}

int xattr_encode(const struct xattr_record *xattr, uint8_t *ret, size_t *ret_len)
{
    struct writer writer = record_value_begin(ret, XATTR_VALUE_MAX);
    size_t name_len = strnlen(xattr->name, sizeof(xattr->name));

    if (name_len == 0 || name_len != xattr->name_len || xattr->value.len > XATTR_SIZE_MAX)
        return -EINVAL;
    write_name(&writer, xattr->name, xattr->name_len);
    writer_string(&writer, xattr->value);
    return record_value_end(&writer, ret_len);
}

int xattr_decode(struct bytes value, struct xattr_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

    if (r < 0)
        return r;
    read_name(&reader, ret->name, &ret->name_len);
    ret->value = reader_string(&reader, XATTR_SIZE_MAX);
    return reader_done(&reader);
}

int orphan_encode(uint8_t ret[static 1], size_t *ret_len)
{
    struct writer writer = record_value_begin(ret, 1);

    return record_value_end(&writer, ret_len);
}

int orphan_decode(struct bytes value)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, USAGE_VALUE_LEN);

    if (!is_usage(usage))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)usage->state);
    writer_u32(&writer, usage->generation);
    writer_u32(&writer, usage->size);
    writer_u64(&writer, usage->live);
    return record_value_end(&writer, ret_len);
}

int usage_decode(struct bytes value, struct usage_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, LOCATION_VALUE_LEN);
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
    return record_value_end(&writer, ret_len);
}

int location_decode(struct bytes value, struct location_record *ret)
{
    struct reader reader;
    struct block_identity *identity = &ret->identity;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, COUNTERS_VALUE_LEN);

    if (!is_counters(counters))
        return -EINVAL;
    writer_u64(&writer, counters->next_ino);
    writer_u64(&writer, counters->files);
    writer_u64(&writer, counters->stored);
    return record_value_end(&writer, ret_len);
}

int counters_decode(struct bytes value, struct counters_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, HELD_VALUE_LEN);

    if (has_branches)
        ret[0] = HELD_WITH_BRANCHES;
    writer_u64(&writer, held);
    return record_value_end(&writer, ret_len);
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
    struct writer writer = record_value_begin(ret, ORIGIN_VALUE_LEN);

    if (!is_origin(origin))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)origin->state);
    writer_bytes(&writer, origin->fs.bytes, UUID_LEN);
    writer_u32(&writer, origin->generation);
    writer_bytes(&writer, origin->reference.bytes, UUID_LEN);
    writer_bytes(&writer, origin->manifest, MANIFEST_HASH_LEN);
    writer_u64(&writer, origin->data_len);
    return record_value_end(&writer, ret_len);
}

int origin_decode(struct bytes value, struct origin_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, SNAPSHOT_VALUE_MAX);

    if (!is_snapshot(snapshot))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)snapshot->state);
    writer_u16(&writer, snapshot->slot);
    writer_u64(&writer, (uint64_t)snapshot->created_ns);
    write_text(&writer, snapshot->name);
    write_text(&writer, snapshot->access_point);
    return record_value_end(&writer, ret_len);
}

int snapshot_decode(struct bytes value, struct snapshot_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
    struct writer writer = record_value_begin(ret, RESTORE_VALUE_LEN);

    if (!is_restore(restore))
        return -EINVAL;
    writer_u8(&writer, (uint8_t)(restore->state | (restore->is_mixed ? RESTORE_MIXED : 0)));
    writer_u64(&writer, restore->target);
    return record_value_end(&writer, ret_len);
}

int restore_decode(struct bytes value, struct restore_record *ret)
{
    struct reader reader;
    int r = record_value_read(value, &reader);

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
