/* Plain values of the filesystem's records: the first byte says of which kind. What a decoder
 * takes, its encoder must write in the same way. */
#include <stdlib.h>
#include <string.h>

#include "fs/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t room[META_VALUE_MAX];

static void expect(struct bytes value, int r, size_t len)
{
    if (r < 0 || len != value.len || memcmp(room, value.data, len) != 0)
        abort();
}

static void inode(struct bytes value)
{
    static struct inode found;
    size_t len = 0;

    if (inode_decode(value, &found) == 0)
        expect(value, inode_encode(&found, room, &len), len);
}

static void dirent(struct bytes value)
{
    struct dirent_record found;
    size_t len = 0;

    if (dirent_decode(value, &found) == 0)
        expect(value, dirent_encode(&found, room, &len), len);
}

static void extents(struct bytes value)
{
    struct extents found = EXTENTS_INIT;
    size_t len = 0;

    if (extents_decode(value, &found) == 0)
        expect(value, extents_encode(&found, room, &len), len);
    extents_release(&found);
}

static void xattr(struct bytes value)
{
    struct xattr_record found;
    size_t len = 0;

    if (xattr_decode(value, &found) == 0)
        expect(value, xattr_encode(&found, room, &len), len);
}

static void orphan(struct bytes value)
{
    size_t len = 0;

    if (orphan_decode(value) == 0)
        expect(value, orphan_encode(room, &len), len);
}

static void usage(struct bytes value)
{
    struct usage_record found;
    size_t len = 0;

    if (usage_decode(value, &found) == 0)
        expect(value, usage_encode(&found, room, &len), len);
}

static void location(struct bytes value)
{
    struct location_record found;
    size_t len = 0;

    if (location_decode(value, &found) == 0)
        expect(value, location_encode(&found, room, &len), len);
}

static void counters(struct bytes value)
{
    struct counters_record found;
    size_t len = 0;

    if (counters_decode(value, &found) == 0)
        expect(value, counters_encode(&found, room, &len), len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(struct bytes value) = { inode,  dirent, extents,  xattr,
                                                         orphan, usage,  location, counters };

    if (size > 0 && data[0] < sizeof(kinds) / sizeof(kinds[0]))
        kinds[data[0]]((struct bytes){ data + 1, size - 1 });
    return 0;
}
