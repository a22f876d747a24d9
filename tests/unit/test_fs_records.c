/* Records of the filesystem: they come back as they went in, keys sort as the tree is walked, and
 * bytes that no encoder wrote are refused. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file_io.h"
#include "tests/support/fs_samples.h"
#include "tests/support/meta_samples.h"

typedef int decode_fn(struct bytes value);

static int decode_inode(struct bytes value)
{
    struct inode inode;

    return inode_decode(value, &inode);
}

static int decode_dirent(struct bytes value)
{
    struct dirent_record dirent;

    return dirent_decode(value, &dirent);
}

static int decode_extents(struct bytes value)
{
    struct extents list = EXTENTS_INIT;
    int r = extents_decode(value, &list);

    assert_true(r == 0 || list.count == 0);
    extents_release(&list);
    return r;
}

static int decode_xattr(struct bytes value)
{
    struct xattr_record xattr;

    return xattr_decode(value, &xattr);
}

static int decode_usage(struct bytes value)
{
    struct usage_record usage;

    return usage_decode(value, &usage);
}

static int decode_location(struct bytes value)
{
    struct location_record location;

    return location_decode(value, &location);
}

static int decode_counters(struct bytes value)
{
    struct counters_record counters;

    return counters_decode(value, &counters);
}

/* Of any valid value: shorter ones, a longer one, and other versions. */
static void assert_strict(decode_fn *decode, const uint8_t *value, size_t len)
{
    uint8_t *copy = malloc(len + 1);

    assert_non_null(copy);
    memcpy(copy, value, len);
    copy[len] = 0;
    assert_int_equal(decode((struct bytes){ copy, len }), 0);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(decode((struct bytes){ copy, cut }), -EBADMSG);
    assert_int_equal(decode((struct bytes){ copy, len + 1 }), -EBADMSG);
    copy[0] = 0;
    assert_int_equal(decode((struct bytes){ copy, len }), -EBADMSG);
    copy[0] = RECORD_VALUE_VERSION + 1;
    assert_int_equal(decode((struct bytes){ copy, len }), -EPROTONOSUPPORT);
    free(copy);
}

static struct inode regular_file(void)
{
    return (struct inode){ .flags = INODE_UNTRIMMED,
                           .mode = S_IFREG | 04755,
                           .nlink = 3,
                           .uid = 1000,
                           .gid = 0xfffffffe,
                           .size = 70000,
                           .stored = 5,
                           .atime_ns = -1,
                           .mtime_ns = INT64_MIN,
                           .ctime_ns = INT64_MAX,
                           .body_len = 5,
                           .body = "hello" };
}

static void an_inode_comes_back(void **state)
{
    const struct inode inode = regular_file();
    struct inode back = { .flags = 0 };
    uint8_t value[INODE_VALUE_MAX];
    size_t len = 0;
    (void)state;

    assert_int_equal(inode_encode(&inode, value, &len), 0);
    assert_int_equal(len, 81);
    assert_int_equal(inode_decode((struct bytes){ value, len }, &back), 0);
    assert_memory_equal(&back, &inode, sizeof(inode));
    assert_strict(decode_inode, value, len);
}

static void an_inode_is_written_as_documented(void **state)
{
    static const uint8_t expected[] = { 1, 0,    0xed, 0x41, 0, 0,    2, 0, 0,
                                        0, 0xe8, 3,    0,    0, 0xe9, 3, 0, 0, /* to gid */
                                        0, 0,    0,    0,    0, 0,    0, 0,    /* rdev */
                                        9, 0,    0,    0,    0, 0,    0, 0,    /* size */
                                        0, 0,    0,    0,    0, 0,    0, 0,    /* stored */
                                        1, 0,    0,    0,    0, 0,    0, 0,    /* parent */
                                        3, 0,    0,    0,    0, 0,    0, 0,    /* times */
                                        4, 0,    0,    0,    0, 0,    0, 0, 5,
                                        0, 0,    0,    0,    0, 0,    0, /* times */
                                        0, 0 };
    const struct inode inode = { .mode = S_IFDIR | 0755,
                                 .nlink = 2,
                                 .uid = 1000,
                                 .gid = 1001,
                                 .size = 9,
                                 .parent = 1,
                                 .atime_ns = 3,
                                 .mtime_ns = 4,
                                 .ctime_ns = 5 };
    uint8_t value[INODE_VALUE_MAX];
    size_t len = 0;
    (void)state;

    assert_int_equal(inode_encode(&inode, value, &len), 0);
    assert_int_equal(len, sizeof(expected));
    assert_memory_equal(value, expected, sizeof(expected));
}

static void the_longest_bodies_fit(void **state)
{
    struct inode link = { .mode = S_IFLNK | 0777, .nlink = 1, .size = 4095, .body_len = 4095 };
    struct inode file = { .mode = S_IFREG, .size = INLINE_MAX, .body_len = INLINE_MAX };
    uint8_t value[INODE_VALUE_MAX];
    struct inode back;
    size_t len = 0;
    (void)state;

    memset(link.body, 'x', link.body_len);
    assert_int_equal(inode_encode(&link, value, &len), 0);
    assert_int_equal(inode_decode((struct bytes){ value, len }, &back), 0);
    assert_int_equal(back.body_len, 4095);
    assert_memory_equal(back.body, link.body, link.body_len);
    assert_int_equal(inode_encode(&file, value, &len), 0);
    link.body_len = 4096;
    link.size = 4096;
    assert_int_equal(inode_encode(&link, value, &len), -EINVAL);
    file.body_len = INLINE_MAX + 1;
    file.size = INLINE_MAX + 1;
    assert_int_equal(inode_encode(&file, value, &len), -EINVAL);
}

/* What an encoder refuses is what a decoder refuses: the bytes are made by hand. */
static void impossible_inodes_are_refused(void **state)
{
    const struct inode dir = { .mode = S_IFDIR | 0755, .nlink = 2, .parent = 1 };
    struct inode bad[] = { dir,
                           { .mode = 0644, .nlink = 1 },
                           { .mode = S_IFREG | S_IFCHR, .nlink = 1 },
                           { .mode = S_IFREG | 0x10000, .nlink = 1 },
                           { .flags = 4, .mode = S_IFREG, .nlink = 1 },
                           { .flags = INODE_UNTRIMMED, .mode = S_IFIFO, .nlink = 1 },
                           { .mode = S_IFREG, .nlink = 1, .parent = 1 },
                           { .mode = S_IFREG, .nlink = 1, .rdev = 1 },
                           { .mode = S_IFREG, .nlink = 1, .size = 1, .body_len = 2 },
                           { .mode = S_IFREG, .nlink = 1, .size = (uint64_t)1 << 63 },
                           { .mode = S_IFIFO, .nlink = 1, .size = 1, .body_len = 1 },
                           { .mode = S_IFSOCK, .nlink = 1, .stored = 1 },
                           { .mode = S_IFLNK, .nlink = 1 },
                           { .mode = S_IFLNK, .size = 1, .stored = 1, .body_len = 1, .body = "a" },
                           { .mode = S_IFLNK, .nlink = 1, .size = 1, .body_len = 1 } };
    uint8_t value[INODE_VALUE_MAX];
    size_t len = 0;
    (void)state;

    bad[0].parent = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(inode_encode(&bad[i], value, &len), -EINVAL);
    assert_int_equal(inode_encode(&dir, value, &len), 0);
    value[42] = 0; /* its parent */
    assert_int_equal(decode_inode((struct bytes){ value, len }), -EBADMSG);
    value[42] = 1;
    value[1] = 0x80; /* flags */
    assert_int_equal(decode_inode((struct bytes){ value, len }), -EBADMSG);
    value[1] = 0;
    value[3] = 0xf1; /* mode */
    assert_int_equal(decode_inode((struct bytes){ value, len }), -EBADMSG);
}

static struct dirent_record entry(const char *name)
{
    struct dirent_record dirent = { .ino = 0x010203040506,
                                    .type = S_IFREG >> 12,
                                    .name_len = (uint8_t)strlen(name) };

    memcpy(dirent.name, name, strlen(name));
    return dirent;
}

static void a_directory_entry_comes_back(void **state)
{
    static const uint8_t expected[] = { 1, 8, 6, 5, 4, 3, 2, 1, 0, 0, 4, 'n', 'a', 'm', 'e' };
    const struct dirent_record dirent = entry("name");
    struct dirent_record back = { .ino = 0 };
    uint8_t value[DIRENT_VALUE_MAX];
    size_t len = 0;
    (void)state;

    assert_int_equal(dirent_encode(&dirent, value, &len), 0);
    assert_int_equal(len, sizeof(expected));
    assert_memory_equal(value, expected, sizeof(expected));
    assert_int_equal(dirent_decode((struct bytes){ value, len }, &back), 0);
    assert_memory_equal(&back, &dirent, sizeof(back));
    assert_strict(decode_dirent, value, len);
}

static void the_longest_name_fits(void **state)
{
    char name[NAME_MAX_LEN + 1] = "";
    uint8_t value[DIRENT_VALUE_MAX];
    struct dirent_record back;
    size_t len = 0;
    (void)state;

    memset(name, 0xff, NAME_MAX_LEN);
    const struct dirent_record dirent = entry(name);
    assert_int_equal(dirent_encode(&dirent, value, &len), 0);
    assert_int_equal(dirent_decode((struct bytes){ value, len }, &back), 0);
    assert_string_equal(back.name, name);
}

static void impossible_names_are_refused(void **state)
{
    static const char *const bad[] = { "", ".", "..", "a/b", "/" };
    uint8_t value[DIRENT_VALUE_MAX];
    struct dirent_record dirent;
    size_t len = 0;
    (void)state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        dirent = entry(bad[i]);
        assert_int_equal(dirent_encode(&dirent, value, &len), -EINVAL);
    }
    dirent = entry("ab");
    dirent.type = 3;
    assert_int_equal(dirent_encode(&dirent, value, &len), -EINVAL);
    dirent = entry("ab");
    dirent.ino = INODE_NUMBER_MAX + 1;
    assert_int_equal(dirent_encode(&dirent, value, &len), -EINVAL);
    dirent = entry("ab");
    assert_int_equal(dirent_encode(&dirent, value, &len), 0);
    value[11] = '\0';
    assert_int_equal(decode_dirent((struct bytes){ value, len }), -EBADMSG);
    value[11] = '/';
    assert_int_equal(decode_dirent((struct bytes){ value, len }), -EBADMSG);
    value[11] = '.';
    value[12] = '.';
    assert_int_equal(decode_dirent((struct bytes){ value, len }), -EBADMSG);
}

static void extents_come_back(void **state)
{
    struct extent items[] = {
        { .offset = 0, .len = 16384, .segment = { { 7 } }, .address = 28, .block_len = 16384 },
        { .offset = 20000, .len = 10, .address = 99, .block_len = 100, .skip = 99 }
    };
    const struct extents list = { .items = items, .count = 2 };
    struct extents back = EXTENTS_INIT;
    uint8_t value[3 + 2 * 36];
    size_t len = 0;
    (void)state;

    uint8_t *room = malloc(EXTENTS_VALUE_MAX);
    assert_non_null(room);
    assert_int_equal(extents_encode(&list, room, &len), 0);
    assert_int_equal(len, sizeof(value));
    memcpy(value, room, len);
    free(room);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(extents_decode((struct bytes){ value, len }, &back), 0);
        assert_int_equal(back.count, 2);
        assert_memory_equal(back.items, items, sizeof(items));
    }
    extents_release(&back);
    assert_strict(decode_extents, value, len);
    value[3 + 36] = 0xff; /* the second one begins inside the first */
    value[3 + 37] = 0x3f;
    assert_int_equal(decode_extents((struct bytes){ value, len }), -EBADMSG);
}

static void impossible_extents_are_refused(void **state)
{
    struct extent item = { .offset = 0, .len = 1, .block_len = 4096 };
    struct extents list = { .items = &item, .count = 1 };
    uint8_t *value = malloc(EXTENTS_VALUE_MAX);
    size_t len = 0;
    (void)state;

    assert_non_null(value);
    list.count = 0;
    assert_int_equal(extents_encode(&list, value, &len), -EINVAL);
    list.count = EXTENTS_MAX + 1;
    assert_int_equal(extents_encode(&list, value, &len), -EINVAL);
    list.count = 1;
    item.skip = 4096;
    assert_int_equal(extents_encode(&list, value, &len), -EINVAL);
    item.skip = 4095;
    assert_int_equal(extents_encode(&list, value, &len), 0);
    value[36] = 0x10; /* skip: behind the block */
    assert_int_equal(decode_extents((struct bytes){ value, len }), -EBADMSG);
    assert_int_equal(decode_extents((struct bytes){ (const uint8_t[]){ 1, 0, 0 }, 3 }), -EBADMSG);
    assert_int_equal(decode_extents((struct bytes){ (const uint8_t[]){ 1, 1, 4 }, 3 }), -EBADMSG);
    free(value);
}

static void an_extended_attribute_comes_back(void **state)
{
    static uint8_t content[48 * 1024] = { 1, 0, 2 };
    struct xattr_record xattr = { .name_len = 6, .name = "user.a", .value = { content, 3 } };
    struct xattr_record back;
    uint8_t *value = malloc(XATTR_VALUE_MAX);
    size_t len = 0;
    (void)state;

    assert_non_null(value);
    assert_int_equal(xattr_encode(&xattr, value, &len), 0);
    assert_int_equal(len, 13);
    assert_int_equal(xattr_decode((struct bytes){ value, len }, &back), 0);
    assert_string_equal(back.name, "user.a");
    assert_int_equal(back.value.len, 3);
    assert_memory_equal(back.value.data, content, 3);
    assert_strict(decode_xattr, value, len);
    xattr.value.len = sizeof(content);
    assert_int_equal(xattr_encode(&xattr, value, &len), 0);
    assert_int_equal(xattr_decode((struct bytes){ value, len }, &back), 0);
    assert_int_equal(back.value.len, sizeof(content));
    xattr.value.len++;
    assert_int_equal(xattr_encode(&xattr, value, &len), -EINVAL);
    xattr.value.len = 0;
    xattr.name_len = 5;
    assert_int_equal(xattr_encode(&xattr, value, &len), -EINVAL);
    free(value);
}

static void an_orphan_is_its_version(void **state)
{
    uint8_t value[2] = { 0 };
    size_t len = 0;
    (void)state;

    assert_int_equal(orphan_encode(value, &len), 0);
    assert_int_equal(len, 1);
    assert_strict(orphan_decode, value, len);
}

static void the_usage_of_a_segment_comes_back(void **state)
{
    struct usage_record usage = { .state = SEGMENT_CLOSED, .generation = 2, .size = 3, .live = 4 };
    struct usage_record back = { .size = 0 };
    uint8_t value[USAGE_VALUE_LEN];
    size_t len = 0;
    (void)state;

    assert_int_equal(usage_encode(&usage, value, &len), 0);
    assert_int_equal(len, USAGE_VALUE_LEN);
    assert_int_equal(usage_decode((struct bytes){ value, len }, &back), 0);
    assert_int_equal(back.state, SEGMENT_CLOSED);
    assert_int_equal(back.generation, 2);
    assert_int_equal(back.size, 3);
    assert_int_equal(back.live, 4);
    assert_strict(decode_usage, value, len);
    value[1] = 0;
    assert_int_equal(decode_usage((struct bytes){ value, len }), -EBADMSG);
    value[1] = SEGMENT_DEAD + 1;
    assert_int_equal(decode_usage((struct bytes){ value, len }), -EBADMSG);
    usage.state = SEGMENT_ANNOUNCED;
    assert_int_equal(usage_encode(&usage, value, &len), -EINVAL);
}

static void a_location_comes_back(void **state)
{
    struct location_record location = {
        .len = 100,
        .live = 50,
        .object = { { 1 } },
        .offset = 6,
        .identity = { { { 2 } }, .generation = 3, .segment = { { 4 } }, .address = 5 }
    };
    struct location_record back = { .len = 0 };
    uint8_t value[LOCATION_VALUE_LEN];
    size_t len = 0;
    (void)state;

    assert_int_equal(location_encode(&location, value, &len), 0);
    assert_int_equal(len, LOCATION_VALUE_LEN);
    assert_int_equal(location_decode((struct bytes){ value, len }, &back), 0);
    assert_memory_equal(&back, &location, sizeof(back));
    assert_strict(decode_location, value, len);
    location.live = 101;
    assert_int_equal(location_encode(&location, value, &len), -EINVAL);
    value[5] = 101;
    assert_int_equal(decode_location((struct bytes){ value, len }), -EBADMSG);
    location.live = 100;
    location.offset = UINT32_MAX - 99;
    assert_int_equal(location_encode(&location, value, &len), -EINVAL);
}

static void counters_come_back(void **state)
{
    struct counters_record counters = { .next_ino = INODE_NUMBER_MAX + 1, .files = 2, .stored = 3 };
    struct counters_record back = { .files = 0 };
    uint8_t value[COUNTERS_VALUE_LEN];
    size_t len = 0;
    (void)state;

    assert_int_equal(counters_encode(&counters, value, &len), 0);
    assert_int_equal(counters_decode((struct bytes){ value, len }, &back), 0);
    assert_memory_equal(&back, &counters, sizeof(back));
    assert_strict(decode_counters, value, len);
    counters.next_ino++;
    assert_int_equal(counters_encode(&counters, value, &len), -EINVAL);
    counters.next_ino = 0;
    assert_int_equal(counters_encode(&counters, value, &len), -EINVAL);
}

static void assert_key(const struct record_key *key, const uint8_t *expected, size_t len)
{
    assert_int_equal(key->len, len);
    assert_memory_equal(key->data, expected, len);
}

static void keys_are_as_documented_and_come_back(void **state)
{
    static const uint8_t lookup[LOOKUP_KEY_LEN] = { 9, 8, 7 };
    static const uint8_t extents[] = { 0, 18, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    static const uint8_t named[] = { 0, 17, 0, 0, 1, 2, 3, 4, 5, 6, 9, 8, 7,
                                     0, 0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    uint8_t back_lookup[LOOKUP_KEY_LEN];
    struct record_key key;
    uint64_t ino = 0;
    uint32_t number = 0;
    (void)state;

    extents_key(0x010203040506, 0x0708090a, &key);
    assert_key(&key, extents, sizeof(extents));
    assert_int_equal(record_key_inode(record_key_bytes(&key), RECORD_EXTENTS, &ino, &number), 0);
    assert_int_equal(ino, 0x010203040506);
    assert_int_equal(number, 0x0708090a);
    assert_int_equal(record_key_inode(record_key_bytes(&key), RECORD_INODE, &ino, NULL), -EBADMSG);

    dirent_key(0x010203040506, lookup, &key);
    assert_key(&key, named, sizeof(named));
    assert_int_equal(record_key_lookup(record_key_bytes(&key), RECORD_DIRENT, &ino, back_lookup),
                     0);
    assert_memory_equal(back_lookup, lookup, sizeof(lookup));
    assert_int_equal(record_key_lookup(record_key_bytes(&key), RECORD_XATTR, &ino, back_lookup),
                     -EBADMSG);
    key.len--;
    assert_int_equal(record_key_lookup(record_key_bytes(&key), RECORD_DIRENT, &ino, back_lookup),
                     -EBADMSG);

    orphan_key(INODE_NUMBER_MAX, &key);
    assert_int_equal(record_key_inode(record_key_bytes(&key), RECORD_ORPHAN, &ino, NULL), 0);
    orphan_key(INODE_NUMBER_MAX + 1, &key);
    assert_int_equal(record_key_inode(record_key_bytes(&key), RECORD_ORPHAN, &ino, NULL), -EBADMSG);
    inode_key(0, &key);
    assert_int_equal(record_key_inode(record_key_bytes(&key), RECORD_INODE, &ino, NULL), -EBADMSG);
}

static void keys_of_segments_come_back(void **state)
{
    const struct uuid segment = { { 1, 2, 3 } };
    static const uint8_t counters[] = { 0, 4, 0 };
    static const uint8_t superblock[] = { 0, 1 };
    struct uuid back = { { 0 } };
    struct record_key key;
    uint32_t first = 0;
    (void)state;

    usage_key(&segment, &key);
    assert_int_equal(record_key_segment(record_key_bytes(&key), RECORD_USAGE, &back, NULL), 0);
    assert_true(uuid_equal(&back, &segment));
    assert_int_equal(record_key_segment(record_key_bytes(&key), RECORD_LOCATION, &back, &first),
                     -EBADMSG);
    location_key(&segment, 77, &key);
    assert_int_equal(record_key_segment(record_key_bytes(&key), RECORD_LOCATION, &back, &first), 0);
    assert_int_equal(first, 77);
    state_key(STATE_COUNTERS, &key);
    assert_key(&key, counters, sizeof(counters));
    superblock_key(&key);
    assert_key(&key, superblock, sizeof(superblock));
}

static int compare_keys(const struct record_key *a, const struct record_key *b)
{
    int order = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);

    if (order == 0)
        order = (a->len > b->len) - (a->len < b->len);
    return order;
}

static void ranges_hold_exactly_what_they_name(void **state)
{
    struct record_key first;
    struct record_key end;
    struct record_key key;
    (void)state;

    inode_range(RECORD_EXTENTS, 255, &first, &end);
    extents_key(255, 0, &key);
    assert_true(compare_keys(&first, &key) <= 0 && compare_keys(&key, &end) < 0);
    extents_key(255, UINT32_MAX, &key);
    assert_true(compare_keys(&key, &end) < 0);
    extents_key(256, 0, &key);
    assert_true(compare_keys(&key, &end) >= 0);
    extents_key(254, UINT32_MAX, &key);
    assert_true(compare_keys(&key, &first) < 0);

    chunk_range(255, 5, &first, &end);
    extents_key(255, 4, &key);
    assert_true(compare_keys(&key, &first) < 0);
    extents_key(255, 5, &key);
    assert_true(compare_keys(&key, &first) >= 0);

    kind_range(RECORD_ORPHAN, &first, &end);
    orphan_key(INODE_NUMBER_MAX, &key);
    assert_true(compare_keys(&first, &key) <= 0 && compare_keys(&key, &end) < 0);
    inode_key(INODE_NUMBER_MAX, &key);
    assert_true(compare_keys(&key, &first) < 0);
}

static void assert_extents(struct bytes value, const struct extents *wanted)
{
    struct extents list = EXTENTS_INIT;

    assert_int_equal(extents_decode(value, &list), 0);
    assert_int_equal(list.count, wanted->count);
    assert_memory_equal(list.items, wanted->items, list.count * sizeof(*list.items));
    extents_release(&list);
}

static void assert_inode(struct bytes value, const struct inode *wanted)
{
    static struct inode inode; /* bytes behind body_len stay zeros */

    memset(&inode, 0, sizeof(inode));
    assert_int_equal(inode_decode(value, &inode), 0);
    assert_memory_equal(&inode, wanted, sizeof(inode));
}

static void assert_named(struct bytes value, const struct fs_sample *sample)
{
    struct dirent_record dirent;
    struct xattr_record xattr;

    if (sample->kind == RECORD_DIRENT) {
        assert_int_equal(dirent_decode(value, &dirent), 0);
        assert_int_equal(dirent.ino, sample->dirent.ino);
        assert_int_equal(dirent.type, sample->dirent.type);
        assert_int_equal(dirent.name_len, sample->dirent.name_len);
        assert_string_equal(dirent.name, sample->dirent.name);
        return;
    }
    assert_int_equal(xattr_decode(value, &xattr), 0);
    assert_int_equal(xattr.name_len, sample->xattr.name_len);
    assert_string_equal(xattr.name, sample->xattr.name);
    assert_int_equal(xattr.value.len, sample->xattr.value.len);
    assert_memory_equal(xattr.value.data, sample->xattr.value.data, xattr.value.len);
}

static void assert_of_segment(struct bytes value, const struct fs_sample *sample)
{
    struct usage_record usage = { .size = 0 };
    struct location_record location = { .len = 0 };

    if (sample->kind == RECORD_USAGE) {
        assert_int_equal(usage_decode(value, &usage), 0);
        assert_memory_equal(&usage, &sample->usage, sizeof(usage));
        return;
    }
    assert_int_equal(location_decode(value, &location), 0);
    assert_memory_equal(&location, &sample->location, sizeof(location));
}

static void assert_origin(struct bytes value, const struct origin_record *wanted)
{
    struct origin_record origin;

    memset(&origin, 0, sizeof(origin));
    assert_int_equal(origin_decode(value, &origin), 0);
    assert_int_equal(origin.state, wanted->state);
    assert_true(uuid_equal(&origin.fs, &wanted->fs));
    assert_int_equal(origin.generation, wanted->generation);
    assert_true(uuid_equal(&origin.reference, &wanted->reference));
    assert_memory_equal(origin.manifest, wanted->manifest, MANIFEST_HASH_LEN);
    assert_int_equal(origin.data_len, wanted->data_len);
}

static void assert_state(struct bytes value, const struct fs_sample *sample)
{
    struct counters_record counters = { .files = 0 };

    if (sample->number == STATE_RECOUNT) {
        assert_int_equal(value.len, 0);
        return;
    }
    if (sample->number == STATE_HELD) {
        uint64_t held = 0;
        assert_int_equal(held_decode(value, &held), 0);
        assert_int_equal(held, sample->held);
        return;
    }
    if (sample->number == STATE_ORIGIN) {
        assert_origin(value, &sample->origin);
        return;
    }
    assert_int_equal(counters_decode(value, &counters), 0);
    assert_memory_equal(&counters, &sample->counters, sizeof(counters));
}

static void assert_restore(struct bytes value, const struct restore_record *wanted)
{
    struct restore_record restore;

    assert_int_equal(restore_decode(value, &restore), 0);
    assert_true(restore.state == wanted->state && restore.target == wanted->target);
}

static void assert_snapshot(struct bytes value, const struct snapshot_record *wanted)
{
    struct snapshot_record snapshot;

    memset(&snapshot, 0, sizeof(snapshot));
    assert_int_equal(snapshot_decode(value, &snapshot), 0);
    assert_int_equal(snapshot.state, wanted->state);
    assert_int_equal(snapshot.slot, wanted->slot);
    assert_int_equal(snapshot.created_ns, wanted->created_ns);
    assert_string_equal(snapshot.name, wanted->name);
    assert_string_equal(snapshot.access_point, wanted->access_point);
}

static void assert_value(struct bytes value, const struct fs_sample *sample)
{
    switch (sample->kind) {
    case RECORD_INODE:
        assert_inode(value, &sample->inode);
        break;
    case RECORD_DIRENT:
    case RECORD_XATTR:
        assert_named(value, sample);
        break;
    case RECORD_EXTENTS:
        assert_extents(value, &sample->extents);
        break;
    case RECORD_ORPHAN:
        assert_int_equal(orphan_decode(value), 0);
        break;
    case RECORD_STATE:
        assert_state(value, sample);
        break;
    case RECORD_SNAPSHOT:
        assert_snapshot(value, &sample->snapshot);
        break;
    case RECORD_RESTORE:
        assert_restore(value, &sample->restore);
        break;
    default:
        assert_of_segment(value, sample);
    }
}

static void assert_fixture(const char *path, unsigned first, unsigned end)
{
    struct buf file = BUF_INIT;
    uint8_t *again = malloc(FS_SAMPLE_VALUE_MAX);

    assert_non_null(again);
    assert_int_equal(file_read(path, 65536, &file, NULL), 0);
    struct bytes left = buf_bytes(&file);
    for (unsigned i = first; i < end; i++) {
        struct fs_sample sample;
        struct record_key wanted_key;
        struct bytes key;
        struct bytes value;
        size_t len = 0;
        fs_sample(i, &sample);
        fs_sample_key(&sample, &wanted_key);
        assert_int_equal(meta_sample_next(&left, &key, &value), 0);
        assert_int_equal(key.len, wanted_key.len);
        assert_memory_equal(key.data, wanted_key.data, key.len);
        assert_value(value, &sample);
        assert_int_equal(fs_sample_encode(&sample, again, &len), 0);
        assert_int_equal(len, value.len);
        assert_memory_equal(again, value.data, len);
    }
    assert_int_equal(left.len, 0);
    buf_release(&file);
    free(again);
}

static void records_of_format_version_1_are_read_and_written(void **state)
{
    (void)state;
    assert_fixture(FORMATS_FOLDER "/fs-records-v1.bin", 0, FS_SAMPLES_BEFORE_SNAPSHOTS);
    assert_fixture(FORMATS_FOLDER "/fs-snapshots-v1.bin", FS_SAMPLES_BEFORE_SNAPSHOTS,
                   FS_SAMPLES_BEFORE_DOWNLOADS);
    assert_fixture(FORMATS_FOLDER "/fs-downloads-v1.bin", FS_SAMPLES_BEFORE_DOWNLOADS,
                   FS_SAMPLES_BEFORE_RESTORES);
    assert_fixture(FORMATS_FOLDER "/fs-restores-v1.bin", FS_SAMPLES_BEFORE_RESTORES,
                   FS_SAMPLES_BEFORE_IMPORTS);
    assert_fixture(FORMATS_FOLDER "/fs-imports-v1.bin", FS_SAMPLES_BEFORE_IMPORTS, FS_SAMPLES);
}

static int decode_snapshot(struct bytes value)
{
    struct snapshot_record snapshot;

    return snapshot_decode(value, &snapshot);
}

static void a_snapshot_comes_back_and_impossible_ones_are_refused(void **state)
{
    struct snapshot_record snapshot = { .state = SNAPSHOT_KEPT, .slot = 1 };
    uint8_t value[SNAPSHOT_VALUE_MAX];
    struct record_key key;
    uint64_t epoch = 0;
    size_t len;
    (void)state;

    memset(snapshot.name, 'n', NAME_MAX_LEN);
    memset(snapshot.access_point, 'a', NAME_MAX_LEN);
    assert_int_equal(snapshot_encode(&snapshot, value, &len), 0);
    assert_snapshot((struct bytes){ value, len }, &snapshot);
    assert_strict(decode_snapshot, value, len);
    value[2] = 0; /* slot */
    value[3] = 0;
    assert_int_equal(decode_snapshot((struct bytes){ value, len }), -EBADMSG);

    snapshot.slot = UINT16_MAX;
    assert_int_equal(snapshot_encode(&snapshot, value, &len), -EINVAL);
    snapshot.slot = 2;
    memcpy(snapshot.name, "a/b", 4);
    assert_int_equal(snapshot_encode(&snapshot, value, &len), -EINVAL);
    memcpy(snapshot.name, "..", 3);
    assert_int_equal(snapshot_encode(&snapshot, value, &len), -EINVAL);
    snapshot.name[0] = '\0';
    assert_int_equal(snapshot_encode(&snapshot, value, &len), -EINVAL);

    snapshot_key(77, &key);
    assert_int_equal(record_key_epoch(record_key_bytes(&key), RECORD_SNAPSHOT, &epoch), 0);
    assert_int_equal(epoch, 77);
    snapshot_key(0, &key);
    assert_int_equal(record_key_epoch(record_key_bytes(&key), RECORD_SNAPSHOT, &epoch), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_inode_comes_back),
        cmocka_unit_test(an_inode_is_written_as_documented),
        cmocka_unit_test(the_longest_bodies_fit),
        cmocka_unit_test(impossible_inodes_are_refused),
        cmocka_unit_test(a_directory_entry_comes_back),
        cmocka_unit_test(the_longest_name_fits),
        cmocka_unit_test(impossible_names_are_refused),
        cmocka_unit_test(extents_come_back),
        cmocka_unit_test(impossible_extents_are_refused),
        cmocka_unit_test(an_extended_attribute_comes_back),
        cmocka_unit_test(an_orphan_is_its_version),
        cmocka_unit_test(the_usage_of_a_segment_comes_back),
        cmocka_unit_test(a_location_comes_back),
        cmocka_unit_test(counters_come_back),
        cmocka_unit_test(a_snapshot_comes_back_and_impossible_ones_are_refused),
        cmocka_unit_test(keys_are_as_documented_and_come_back),
        cmocka_unit_test(keys_of_segments_come_back),
        cmocka_unit_test(ranges_hold_exactly_what_they_name),
        cmocka_unit_test(records_of_format_version_1_are_read_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
