/* Plain values and keys of the filesystem's records: the first byte says of which kind. What a
 * decoder takes, its encoder must write in the same way. */
#include <stdlib.h>
#include <string.h>

#include "fs/history.h"
#include "fs/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t room[META_VALUE_MAX];

/* len is looked at when the encoder, whose answer is r, has written it. */
static void expect(struct bytes value, int r, const size_t *len)
{
    if (r < 0 || *len != value.len || memcmp(room, value.data, *len) != 0)
        abort();
}

static void inode(struct bytes value)
{
    static struct inode found;
    size_t len = 0;

    if (inode_decode(value, &found) == 0)
        expect(value, inode_encode(&found, room, &len), &len);
}

static void dirent(struct bytes value)
{
    struct dirent_record found;
    size_t len = 0;

    if (dirent_decode(value, &found) == 0)
        expect(value, dirent_encode(&found, room, &len), &len);
}

/* A part that begins and ends somewhere shows what all of them show there. */
static void extents_part(struct bytes value, const struct extents *all)
{
    const struct spliced whole = spliced_of(value);
    struct extents part = EXTENTS_INIT;
    uint32_t offset = all->items[all->count / 2].offset;
    uint32_t end = offset + all->items[all->count - 1].len;

    if (extents_decode_part(&whole, offset, end, &part) < 0 ||
        extents_bytes_between(&part, offset, end) != extents_bytes_between(all, offset, end))
        abort();
    extents_release(&part);
}

static void extents(struct bytes value)
{
    const struct spliced whole = spliced_of(value);
    const struct extent with = { .offset = 4096, .len = 4096, .block_len = 4096 };
    struct extents found = EXTENTS_INIT;
    struct block_exchange exchange;
    size_t len = 0;

    (void)extents_exchange(&whole, &with, &exchange);
    if (extents_decode(value, &found) == 0) {
        expect(value, extents_encode(&found, room, &len), &len);
        extents_part(value, &found);
    } else {
        (void)extents_decode_part(&whole, 4096, CHUNK_SIZE, &found);
    }
    extents_release(&found);
}

static void xattr(struct bytes value)
{
    struct xattr_record found;
    size_t len = 0;

    if (xattr_decode(value, &found) == 0)
        expect(value, xattr_encode(&found, room, &len), &len);
}

static void orphan(struct bytes value)
{
    size_t len = 0;

    if (orphan_decode(value) == 0)
        expect(value, orphan_encode(room, &len), &len);
}

static void usage(struct bytes value)
{
    struct usage_record found;
    size_t len = 0;

    if (usage_decode(value, &found) == 0)
        expect(value, usage_encode(&found, room, &len), &len);
}

static void location(struct bytes value)
{
    struct location_record found;
    size_t len = 0;

    if (location_decode(value, &found) == 0)
        expect(value, location_encode(&found, room, &len), &len);
}

static void counters(struct bytes value)
{
    struct counters_record found;
    size_t len = 0;

    if (counters_decode(value, &found) == 0)
        expect(value, counters_encode(&found, room, &len), &len);
}

static void held(struct bytes value)
{
    uint64_t found;
    size_t len = 0;

    if (held_decode(value, &found) == 0)
        expect(value, held_encode(found, value.data[0] > 1, room, &len), &len);
}

static void origin(struct bytes value)
{
    struct origin_record found;
    size_t len = 0;

    if (origin_decode(value, &found) == 0)
        expect(value, origin_encode(&found, room, &len), &len);
}

static void snapshot(struct bytes value)
{
    struct snapshot_record found;
    size_t len = 0;

    if (snapshot_decode(value, &found) == 0)
        expect(value, snapshot_encode(&found, room, &len), &len);
}

static void restore(struct bytes value)
{
    struct restore_record found;
    size_t len = 0;

    if (restore_decode(value, &found) == 0)
        expect(value, restore_encode(&found, room, &len), &len);
}

static void version(struct bytes value)
{
    struct version found;

    if (version_decode(value, 1000, &found) == 0 &&
        (found.written > found.last || found.value.len + 8 != value.len))
        abort();
}

static void expect_key(struct bytes key, const struct record_key *found)
{
    if (found->len != key.len || memcmp(found->data, key.data, key.len) != 0)
        abort();
}

static void key_of_inode(struct bytes key)
{
    uint8_t lookup[LOOKUP_KEY_LEN];
    struct record_key found;
    uint32_t chunk;
    uint64_t ino;

    if (record_key_inode(key, RECORD_INODE, &ino, NULL) == 0) {
        inode_key(ino, &found);
        expect_key(key, &found);
    }
    if (record_key_inode(key, RECORD_EXTENTS, &ino, &chunk) == 0) {
        extents_key(ino, chunk, &found);
        expect_key(key, &found);
    }
    if (record_key_lookup(key, RECORD_DIRENT, &ino, lookup) == 0) {
        dirent_key(ino, lookup, &found);
        expect_key(key, &found);
    }
}

static void key_of_segment(struct bytes key)
{
    struct record_key found;
    struct uuid segment;
    uint32_t first;

    if (record_key_segment(key, RECORD_USAGE, &segment, NULL) == 0) {
        usage_key(&segment, &found);
        expect_key(key, &found);
    }
    if (record_key_segment(key, RECORD_LOCATION, &segment, &first) == 0) {
        location_key(&segment, first, &found);
        expect_key(key, &found);
    }
}

static void key_of_snapshot(struct bytes key)
{
    struct record_key found;
    uint64_t epoch;

    if (record_key_epoch(key, RECORD_SNAPSHOT, &epoch) == 0) {
        snapshot_key(epoch, &found);
        expect_key(key, &found);
    }
    if (record_key_epoch(key, RECORD_RESTORE, &epoch) == 0) {
        restore_key(epoch, &found);
        expect_key(key, &found);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(struct bytes value) = {
        inode,    dirent,          extents,      xattr,          orphan, usage,
        location, counters,        key_of_inode, key_of_segment, held,   snapshot,
        version,  key_of_snapshot, origin,       restore
    };

    if (size > 0 && data[0] < sizeof(kinds) / sizeof(kinds[0]))
        kinds[data[0]]((struct bytes){ data + 1, size - 1 });
    return 0;
}
