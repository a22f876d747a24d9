#include "tests/support/fs_samples.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define CREATED_NS INT64_C(1700000000123456789)

#define SAMPLE_FS                                                                                  \
    {                                                                                              \
        {                                                                                          \
            0xf5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15                                \
        }                                                                                          \
    }
#define SAMPLE_ID                                                                                  \
    {                                                                                              \
        {                                                                                          \
            0x5e, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5                                      \
        }                                                                                          \
    }
#define OTHER_ID                                                                                   \
    {                                                                                              \
        {                                                                                          \
            0x07, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7                                      \
        }                                                                                          \
    }

static const struct uuid sample_fs = SAMPLE_FS;
static const struct uuid sample_id = SAMPLE_ID;
static const struct uuid other_id = OTHER_ID;

static struct inode common_inode(uint32_t mode, uint64_t size)
{
    return (struct inode){ .mode = mode,
                           .nlink = 2,
                           .uid = 1000,
                           .gid = 0xfffffffe,
                           .size = size,
                           .atime_ns = CREATED_NS,
                           .mtime_ns = -1,
                           .ctime_ns = INT64_MAX };
}

static void inline_file(struct inode *ret)
{
    *ret = common_inode(S_IFREG | 04755, 70000);
    ret->flags = INODE_UNTRIMMED;
    ret->stored = 5;
    ret->body_len = 5;
    memcpy(ret->body, "hello", 5);
}

static void symbolic_link(struct inode *ret)
{
    *ret = common_inode(S_IFLNK | 0777, 9);
    ret->body_len = 9;
    memcpy(ret->body, "../target", 9);
}

static void some_inode(unsigned number, struct inode *ret)
{
    switch (number) {
    case 0:
        *ret = common_inode(S_IFDIR | S_ISVTX | 0755, 3);
        ret->parent = 0x0102030405;
        break;
    case 1:
        inline_file(ret);
        break;
    case 2:
        symbolic_link(ret);
        break;
    default:
        *ret = common_inode(S_IFBLK | 0600, 0);
        ret->rdev = 0x0807060504030201;
    }
}

static struct extent sample_extents[] = {
    { .offset = 0, .len = 40000, .segment = SAMPLE_ID, .address = 64, .block_len = 16384 },
    { .offset = 65536,
      .len = 100,
      .segment = OTHER_ID,
      .address = 0x01020304,
      .block_len = 4096,
      .skip = 3000 },
};

static void some_usage(unsigned number, struct usage_record *ret)
{
    *ret = number == 0 ? (struct usage_record){ .state = SEGMENT_ANNOUNCED }
                       : (struct usage_record){ .state = SEGMENT_CLOSED,
                                                .generation = 2,
                                                .size = 0x03020100,
                                                .live = 0x02040608 };
}

static const struct location_record sample_location = {
    .len = 120,
    .live = 60,
    .object = SAMPLE_ID,
    .offset = 286,
    .identity = { .fs = SAMPLE_FS, .generation = 1, .segment = OTHER_ID, .address = 4096 },
};

void fs_sample(unsigned number, struct fs_sample *ret)
{
    static const uint8_t kinds[FS_SAMPLES] = {
        RECORD_INODE,    RECORD_INODE,   RECORD_INODE,  RECORD_INODE,    RECORD_DIRENT,
        RECORD_EXTENTS,  RECORD_XATTR,   RECORD_ORPHAN, RECORD_USAGE,    RECORD_USAGE,
        RECORD_LOCATION, RECORD_STATE,   RECORD_STATE,  RECORD_STATE,    RECORD_SNAPSHOT,
        RECORD_STATE,    RECORD_RESTORE, RECORD_STATE,  RECORD_SNAPSHOT, RECORD_RESTORE,
        RECORD_RESTORE,
    };
    static const uint8_t xattr_value[] = { 0, 1, 2, 3, 0xff };

    memset(ret, 0, sizeof(*ret));
    ret->kind = kinds[number];
    ret->ino = 0x060504030201 + number;
    some_inode(number, &ret->inode);
    ret->dirent = (struct dirent_record){
        .ino = INODE_NUMBER_MAX, .type = S_IFSOCK >> 12, .name_len = 8, .name = "na\xc3\xafve\n!"
    };
    ret->extents = (struct extents){ .items = sample_extents, .count = 2 };
    ret->xattr = (struct xattr_record){ .name_len = 9, .name = "user.some" };
    ret->xattr.value = (struct bytes){ xattr_value, sizeof(xattr_value) };
    some_usage(number == 8 ? 0 : 1, &ret->usage);
    ret->location = sample_location;
    ret->number = (uint8_t)(number == 11   ? STATE_COUNTERS
                            : number == 12 ? STATE_RECOUNT
                            : number == 15 ? STATE_ORIGIN
                                           : STATE_HELD);
    ret->held = 0x2122232425262728;
    ret->has_branches = number >= FS_SAMPLES_BEFORE_RESTORES;
    ret->restore = (struct restore_record){ .state = RESTORE_DONE, .target = 0x3132333435363730 };
    if (number == 19)
        ret->restore = (struct restore_record){ .state = RESTORE_OUTSIDE };
    ret->restore.is_mixed = number == 20;
    ret->epoch = 0x3132333435363738;
    ret->snapshot = (struct snapshot_record){ .state = SNAPSHOT_REMOVING,
                                              .slot = 0x4142,
                                              .created_ns = 0x5152535455565758,
                                              .name = "na\xc3\xafve",
                                              .access_point = "@GMT-2026.11.27-18.00.00" };
    if (number >= FS_SAMPLES_BEFORE_IMPORTS)
        ret->snapshot.state = SNAPSHOT_ARRIVING;
    ret->origin = (struct origin_record){ .state = ORIGIN_DONE,
                                          .fs = SAMPLE_FS,
                                          .generation = 0x01020304,
                                          .reference = OTHER_ID,
                                          .manifest = { 0xa1, 0xa2, [31] = 0xaf },
                                          .data_len = 0x6162636465666768 };
    ret->counters = (struct counters_record){ .next_ino = INODE_NUMBER_MAX + 1,
                                              .files = 0x0102030405,
                                              .stored = 0x1112131415161718 };
}

void fs_sample_key(const struct fs_sample *sample, struct record_key *ret)
{
    static const uint8_t lookup[LOOKUP_KEY_LEN] = { 0xde, 0xad, 0xbe, 0xef, 4,  5,  6,  7,
                                                    8,    9,    10,   11,   12, 13, 14, 15 };
    const uint64_t ino = sample->ino;

    switch (sample->kind) {
    case RECORD_INODE:
        inode_key(ino, ret);
        break;
    case RECORD_DIRENT:
        dirent_key(ino, lookup, ret);
        break;
    case RECORD_EXTENTS:
        extents_key(ino, 0x0a0b0c0d, ret);
        break;
    case RECORD_XATTR:
        xattr_key(ino, lookup, ret);
        break;
    case RECORD_ORPHAN:
        orphan_key(ino, ret);
        break;
    case RECORD_USAGE:
        usage_key(sample->usage.state == SEGMENT_ANNOUNCED ? &other_id : &sample_id, ret);
        break;
    case RECORD_LOCATION:
        location_key(&other_id, sample_location.identity.address, ret);
        break;
    case RECORD_SNAPSHOT:
        snapshot_key(sample->epoch, ret);
        break;
    case RECORD_RESTORE:
        restore_key(sample->epoch, ret);
        break;
    default:
        state_key(sample->number, ret);
    }
}

int fs_sample_encode(const struct fs_sample *sample, uint8_t *ret, size_t *ret_len)
{
    *ret_len = 0;
    switch (sample->kind) {
    case RECORD_INODE:
        return inode_encode(&sample->inode, ret, ret_len);
    case RECORD_DIRENT:
        return dirent_encode(&sample->dirent, ret, ret_len);
    case RECORD_EXTENTS:
        return extents_encode(&sample->extents, ret, ret_len);
    case RECORD_XATTR:
        return xattr_encode(&sample->xattr, ret, ret_len);
    case RECORD_ORPHAN:
        return orphan_encode(ret, ret_len);
    case RECORD_USAGE:
        return usage_encode(&sample->usage, ret, ret_len);
    case RECORD_LOCATION:
        return location_encode(&sample->location, ret, ret_len);
    case RECORD_STATE:
        if (sample->number == STATE_HELD)
            return held_encode(sample->held, sample->has_branches, ret, ret_len);
        if (sample->number == STATE_ORIGIN)
            return origin_encode(&sample->origin, ret, ret_len);
        return sample->number == STATE_COUNTERS ? counters_encode(&sample->counters, ret, ret_len)
                                                : 0;
    case RECORD_SNAPSHOT:
        return snapshot_encode(&sample->snapshot, ret, ret_len);
    case RECORD_RESTORE:
        return restore_encode(&sample->restore, ret, ret_len);
    default:
        return -EINVAL;
    }
}

void fs_sample_segment(struct block_identity *ret)
{
    *ret = (struct block_identity){ .fs = sample_fs, .generation = 2, .segment = sample_id };
}

/* 64, 64 and 10 bytes of its own, then 32 and 32 that were moved there. */
void fs_sample_entries(struct segment_entry ret[static FS_SAMPLE_ENTRIES])
{
    struct block_identity own;

    fs_sample_segment(&own);
    ret[0] = (struct segment_entry){ .offset = 64,
                                     .count = 2,
                                     .block_len = 64,
                                     .ino = 17,
                                     .file_offset = 0x0102030400,
                                     .identity = own };
    ret[1] = (struct segment_entry){ .offset = 248,
                                     .count = 1,
                                     .block_len = 10,
                                     .ino = 17,
                                     .file_offset = 0x0102030480,
                                     .identity = own };
    ret[2] = (struct segment_entry){ .offset = 286,
                                     .count = 2,
                                     .block_len = 32,
                                     .ino = INODE_NUMBER_MAX,
                                     .identity = sample_location.identity };
    ret[0].identity.address = ret[0].offset;
    ret[1].identity.address = ret[1].offset;
}

struct bytes fs_sample_block(unsigned number, uint8_t room[static FS_SAMPLE_BLOCK_MAX])
{
    static const uint8_t lengths[FS_SAMPLE_BLOCKS] = { 64, 64, 10, 32, 32 };

    for (unsigned i = 0; i < FS_SAMPLE_BLOCK_MAX; i++)
        room[i] = (uint8_t)(number * 64 + i);
    return (struct bytes){ .data = room, .len = lengths[number] };
}

/* All of an entry's blocks; *number counts them. */
static int append_entry(const struct key_set *keys, const struct segment_entry *entry,
                        unsigned *number, struct buf *object)
{
    struct block_identity identity = entry->identity;
    struct nonce_batch nonces = { 0 };
    struct aead *aead = NULL;

    int r = segment_aead_new(keys, identity.generation, &identity.segment, &aead);
    for (uint32_t i = 0; i < entry->count && r == 0; i++, (*number)++) {
        uint8_t room[FS_SAMPLE_BLOCK_MAX];
        uint8_t sealed[FS_SAMPLE_BLOCK_MAX + BLOCK_OVERHEAD];
        const struct bytes plain = fs_sample_block(*number, room);
        const struct bytes out = { .data = sealed, .len = plain.len + BLOCK_OVERHEAD };
        r = block_seal(aead, &identity, &nonces, plain, sealed);
        if (r == 0)
            r = buf_append(object, out);
        identity.address += (uint32_t)out.len;
    }
    aead_free(aead);
    return r;
}

int fs_sample_object(const struct key_set *keys, struct buf *ret)
{
    struct segment_entry entries[FS_SAMPLE_ENTRIES];
    struct block_identity segment;
    uint8_t header[SEGMENT_HEADER_LEN];
    struct buf footer = BUF_INIT;
    struct aead *aead = NULL;
    unsigned number = 0;

    fs_sample_segment(&segment);
    fs_sample_entries(entries);
    segment_header_encode(&segment, header);
    int r = buf_assign(ret, (struct bytes){ .data = header, .len = sizeof(header) });
    for (unsigned i = 0; i < FS_SAMPLE_ENTRIES && r == 0; i++)
        r = append_entry(keys, &entries[i], &number, ret);
    if (r == 0)
        r = segment_aead_new(keys, segment.generation, &segment.segment, &aead);
    if (r == 0)
        r = segment_footer_encode(aead, &segment, (uint32_t)ret->len, entries, FS_SAMPLE_ENTRIES,
                                  &footer);
    if (r == 0)
        r = buf_append(ret, buf_bytes(&footer));
    aead_free(aead);
    buf_release(&footer);
    return r;
}
