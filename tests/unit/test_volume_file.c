/* The content of files, case by case: inline and not, holes, huge offsets, full lists. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/volume_internal.h"
#include "tests/support/file_case.h"

#define MIB ((uint64_t)1 << 20)
#define TIB ((uint64_t)1 << 40)

/* Bytes that differ from their neighbours, never zero, and from those of another seed. */
static uint8_t *pattern(size_t len, unsigned seed)
{
    uint8_t *data = malloc(len + 1);

    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(1 + (i * 7 + i / 251 + seed * 31) % 255);
    return data;
}

static void write_pattern(struct volume_case *c, uint64_t ino, uint64_t offset, size_t len,
                          unsigned seed)
{
    CLEANUP(free_ptr) uint8_t *data = pattern(len, seed);

    file_case_write(c, ino, offset, data, len);
}

static void expect_pattern(struct volume_case *c, uint64_t ino, uint64_t offset, size_t len,
                           unsigned seed, size_t skip)
{
    CLEANUP(free_ptr) uint8_t *data = pattern(skip + len, seed);

    file_case_expect(c, ino, offset, data + skip, len);
}

static void expect_read_len(struct volume_case *c, uint64_t ino, uint64_t offset, size_t len,
                            size_t expected)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(len);
    size_t got = 12345;

    assert_int_equal(volume_read(c->volume, ino, offset, len, data, &got), 0);
    assert_int_equal(got, expected);
}

static int seek_to(struct volume_case *c, uint64_t ino, uint64_t offset, int whence,
                   uint64_t expected)
{
    uint64_t found = UINT64_MAX;
    int r = volume_seek(c->volume, ino, offset, whence, &found);

    if (r == 0)
        assert_int_equal(found, expected);
    return r;
}

static struct inode get_inode(struct volume_case *c, uint64_t ino);

struct inode_query {
    uint64_t ino;
    struct inode inode;
};

static int get_in_txn(struct volume_txn *txn, void *arg)
{
    struct inode_query *query = arg;

    return inode_get(txn, query->ino, &query->inode);
}

static struct inode get_inode(struct volume_case *c, uint64_t ino)
{
    struct inode_query query = { .ino = ino };

    assert_int_equal(volume_view(c->volume, get_in_txn, &query), 0);
    return query.inode;
}

static void small_files_live_in_their_inode(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "small");

    write_pattern(c, ino, 0, 100, 1);
    assert_int_equal(get_inode(c, ino).body_len, 100);
    write_pattern(c, ino, 200, 50, 2);
    assert_int_equal(get_inode(c, ino).body_len, 250);
    assert_int_equal(file_case_attr(c, ino).size, 250);
    expect_pattern(c, ino, 0, 100, 1, 0);
    file_case_expect_zeros(c, ino, 100, 100);
    expect_pattern(c, ino, 200, 50, 2, 0);
    expect_read_len(c, ino, 0, 1000, 250);
    expect_read_len(c, ino, 249, 1000, 1);
    expect_read_len(c, ino, 250, 1000, 0);
    expect_read_len(c, ino, UINT64_MAX - 5, 1000, 0);

    /* Up to the last byte that fits. */
    write_pattern(c, ino, INLINE_MAX - 1, 1, 3);
    assert_int_equal(get_inode(c, ino).body_len, INLINE_MAX);
    assert_int_equal(get_inode(c, ino).stored, INLINE_MAX);
    volume_case_reopen(c);
    expect_pattern(c, ino, 200, 50, 2, 0);
    file_case_expect_zeros(c, ino, 250, INLINE_MAX - 251);
    expect_pattern(c, ino, INLINE_MAX - 1, 1, 3, 0);
}

static void a_file_that_grows_leaves_its_inode(void **state)
{
    static const struct {
        uint64_t offset;
        size_t len;
    } writes[] = {
        { INLINE_MAX, 1 },    { INLINE_MAX - 1, 2 }, { 0, INLINE_MAX + 1 }, { 500, 5000 },
        { 1500, INLINE_MAX }, { 3 * MIB - 10, 20 },  { 70000, 3 },          { 100, 3 * MIB },
    };
    struct volume_case *c = *state;
    char name[2] = "a";

    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++, name[0]++) {
        uint64_t ino = volume_case_file(c, name);
        uint64_t offset = writes[i].offset;
        size_t before = offset < 1500 ? (size_t)offset : 1500;
        write_pattern(c, ino, 0, 1500, 1);
        write_pattern(c, ino, offset, writes[i].len, 2);
        assert_int_equal(get_inode(c, ino).body_len, 0);
        assert_int_equal(get_inode(c, ino).stored, before + writes[i].len);
        if (before > 0)
            expect_pattern(c, ino, 0, before, 1, 0);
        expect_pattern(c, ino, offset, writes[i].len, 2, 0);
        if (offset > 1500)
            file_case_expect_zeros(c, ino, 1500, (size_t)offset - 1500);

        /* Emptied, it is small again. */
        file_case_truncate(c, ino, 0);
        assert_int_equal(get_inode(c, ino).stored, 0);
        write_pattern(c, ino, 10, 10, 3);
        assert_int_equal(get_inode(c, ino).body_len, 20);
        file_case_expect_zeros(c, ino, 0, 10);
    }
}

static void a_small_body_can_have_a_large_size(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");

    write_pattern(c, ino, 0, 2000, 1);
    file_case_truncate(c, ino, 1000);
    file_case_truncate(c, ino, 5 * TIB);
    assert_int_equal(get_inode(c, ino).body_len, 1000);
    expect_pattern(c, ino, 0, 1000, 1, 0);
    file_case_expect_zeros(c, ino, 1000, 3000);
    file_case_expect_zeros(c, ino, 5 * TIB - 100, 100);
    write_pattern(c, ino, 1990, 10, 2);
    assert_int_equal(get_inode(c, ino).body_len, 2000);
    file_case_expect_zeros(c, ino, 1000, 990);

    assert_int_equal(seek_to(c, ino, 10, SEEK_DATA, 10), 0);
    assert_int_equal(seek_to(c, ino, 10, SEEK_HOLE, 2000), 0);
    assert_int_equal(seek_to(c, ino, 2000, SEEK_HOLE, 2000), 0);
    assert_int_equal(seek_to(c, ino, 2000, SEEK_DATA, 0), -ENXIO);
    assert_int_equal(seek_to(c, ino, 5 * TIB, SEEK_HOLE, 0), -ENXIO);

    /* A hole in the body, and one that ends it. */
    int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    assert_int_equal(volume_fallocate(c->volume, ino, punch, 100, 200), 0);
    expect_pattern(c, ino, 0, 100, 1, 0);
    file_case_expect_zeros(c, ino, 100, 200);
    expect_pattern(c, ino, 300, 700, 1, 300);
    assert_int_equal(get_inode(c, ino).body_len, 2000);
    assert_int_equal(volume_fallocate(c->volume, ino, punch, 500, 4 * TIB), 0);
    assert_int_equal(get_inode(c, ino).body_len, 500);
    assert_int_equal(get_inode(c, ino).stored, 500);
    file_case_expect_zeros(c, ino, 500, 5000);
    assert_int_equal(file_case_attr(c, ino).size, 5 * TIB);

    write_pattern(c, ino, 4 * TIB, 100, 5);
    assert_int_equal(get_inode(c, ino).body_len, 0);
    assert_int_equal(get_inode(c, ino).stored, 600);
    volume_case_reopen(c);
    expect_pattern(c, ino, 0, 100, 1, 0);
    expect_pattern(c, ino, 300, 200, 1, 300);
    expect_pattern(c, ino, 4 * TIB, 100, 5, 0);
}

static void sparse_files_of_terabytes_are_sought_and_cut(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "sparse");
    uint64_t far = 7 * TIB - 50;

    write_pattern(c, ino, 10000, 5000, 1);
    write_pattern(c, ino, 4 * 1024 * MIB - 7, 20, 2); /* over the 4 GiB border, and a chunk's */
    write_pattern(c, ino, far, 100, 3);
    assert_int_equal(file_case_attr(c, ino).size, far + 100);
    assert_int_equal(get_inode(c, ino).stored, 5120);
    expect_pattern(c, ino, 4 * 1024 * MIB - 7, 20, 2, 0);

    assert_int_equal(seek_to(c, ino, 0, SEEK_DATA, 10000), 0);
    assert_int_equal(seek_to(c, ino, 0, SEEK_HOLE, 0), 0);
    assert_int_equal(seek_to(c, ino, 12000, SEEK_DATA, 12000), 0);
    assert_int_equal(seek_to(c, ino, 12000, SEEK_HOLE, 15000), 0);
    assert_int_equal(seek_to(c, ino, 15000, SEEK_DATA, 4 * 1024 * MIB - 7), 0);
    assert_int_equal(seek_to(c, ino, 4 * 1024 * MIB - 1, SEEK_HOLE, 4 * 1024 * MIB + 13), 0);
    assert_int_equal(seek_to(c, ino, 4 * 1024 * MIB + 13, SEEK_DATA, far), 0);
    assert_int_equal(seek_to(c, ino, far, SEEK_HOLE, far + 100), 0);
    assert_int_equal(seek_to(c, ino, far + 100, SEEK_HOLE, 0), -ENXIO);
    assert_int_equal(seek_to(c, ino, far + 100, SEEK_DATA, 0), -ENXIO);
    file_case_truncate(c, ino, 8 * TIB);
    assert_int_equal(seek_to(c, ino, far + 100, SEEK_HOLE, far + 100), 0);
    assert_int_equal(seek_to(c, ino, far + 100, SEEK_DATA, 0), -ENXIO);
    assert_int_equal(seek_to(c, ino, 0, SEEK_SET, 0), -EINVAL);

    int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    assert_int_equal(volume_fallocate(c->volume, ino, punch, 12000, 7 * TIB - 12000), 0);
    assert_int_equal(get_inode(c, ino).stored, 2000 + 50);
    assert_int_equal(seek_to(c, ino, 10000, SEEK_HOLE, 12000), 0);
    assert_int_equal(seek_to(c, ino, 12000, SEEK_DATA, 7 * TIB), 0);
    expect_pattern(c, ino, 7 * TIB, 50, 3, 50);
    file_case_truncate(c, ino, 11000);
    assert_int_equal(get_inode(c, ino).stored, 1000);
    file_case_truncate(c, ino, 20000);
    expect_pattern(c, ino, 10000, 1000, 1, 0);
    file_case_expect_zeros(c, ino, 11000, 9000);
}

/* More records than one look takes. */
static void the_end_of_much_data_is_found(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "dense");

    for (unsigned i = 0; i < 140; i++)
        write_pattern(c, ino, i * MIB, MIB, i);
    file_case_truncate(c, ino, 200 * MIB);
    assert_int_equal(seek_to(c, ino, 10, SEEK_HOLE, 140 * MIB), 0);
    file_case_truncate(c, ino, 139 * MIB);
    assert_int_equal(seek_to(c, ino, 10, SEEK_HOLE, 139 * MIB), 0);
    assert_int_equal(volume_fallocate(c->volume, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                      100 * MIB + 5, 1),
                     0);
    assert_int_equal(seek_to(c, ino, 10, SEEK_HOLE, 100 * MIB + 5), 0);
}

static void no_file_is_larger_than_its_chunks_can_be_counted(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");
    struct volume_attr attr = { .size = FILE_SIZE_MAX + 1 };
    struct bytes byte = { (const uint8_t *)"x", 1 };

    assert_int_equal(volume_write(c->volume, ino, FILE_SIZE_MAX, byte), -EFBIG);
    assert_int_equal(volume_write(c->volume, ino, UINT64_MAX, byte), -EFBIG);
    assert_int_equal(volume_setattr(c->volume, ino, &attr, VOLUME_SET_SIZE, &attr), -EFBIG);
    assert_int_equal(volume_fallocate(c->volume, ino, 0, FILE_SIZE_MAX - 5, 6), -EFBIG);
    assert_int_equal(volume_fallocate(c->volume, ino, 0, 5, UINT64_MAX), -EFBIG);
    write_pattern(c, ino, FILE_SIZE_MAX - 3000, 3000, 1);
    assert_int_equal(file_case_attr(c, ino).size, FILE_SIZE_MAX);
    expect_pattern(c, ino, FILE_SIZE_MAX - 3000, 3000, 1, 0);
    expect_read_len(c, ino, FILE_SIZE_MAX - 10, 100, 10);
    expect_read_len(c, ino, FILE_SIZE_MAX, 100, 0);
    assert_int_equal(seek_to(c, ino, 0, SEEK_DATA, FILE_SIZE_MAX - 3000), 0);
    assert_int_equal(seek_to(c, ino, FILE_SIZE_MAX - 1, SEEK_HOLE, FILE_SIZE_MAX), 0);
    assert_int_equal(volume_fallocate(c->volume, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                      FILE_SIZE_MAX),
                     0);
    assert_int_equal(get_inode(c, ino).stored, 0);
}

static void fallocate_does_what_its_mode_says(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");
    struct volume *v = c->volume;

    write_pattern(c, ino, 0, 100000, 1);
    assert_int_equal(volume_fallocate(v, ino, FALLOC_FL_KEEP_SIZE, 0, MIB), 0);
    assert_int_equal(file_case_attr(c, ino).size, 100000);
    assert_int_equal(volume_fallocate(v, ino, 0, 50, 1000), 0);
    assert_int_equal(file_case_attr(c, ino).size, 100000);
    assert_int_equal(volume_fallocate(v, ino, 0, 150000, 50000), 0);
    assert_int_equal(file_case_attr(c, ino).size, 200000);
    expect_pattern(c, ino, 0, 100000, 1, 0);
    file_case_expect_zeros(c, ino, 100000, 100000);

    assert_int_equal(volume_fallocate(v, ino, FALLOC_FL_ZERO_RANGE, 1000, 20000), 0);
    file_case_expect_zeros(c, ino, 1000, 20000);
    expect_pattern(c, ino, 21000, 79000, 1, 21000);
    assert_int_equal(
        volume_fallocate(v, ino, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 90000, 5 * MIB), 0);
    assert_int_equal(file_case_attr(c, ino).size, 200000);
    file_case_expect_zeros(c, ino, 90000, 110000);
    assert_int_equal(volume_fallocate(v, ino, FALLOC_FL_ZERO_RANGE, 80000, 5 * MIB), 0);
    assert_int_equal(file_case_attr(c, ino).size, 80000 + 5 * MIB);
    expect_pattern(c, ino, 21000, 59000, 1, 21000);

    assert_int_equal(volume_fallocate(v, ino, FALLOC_FL_PUNCH_HOLE, 0, 10), -EOPNOTSUPP);
    assert_int_equal(volume_fallocate(v, ino, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(volume_fallocate(v, ino, FALLOC_FL_INSERT_RANGE, 0, 4096), -EOPNOTSUPP);
    assert_int_equal(volume_fallocate(v, ino, 0, 0, 0), -EINVAL);
    assert_int_equal(volume_fallocate(v, VOLUME_ROOT, 0, 0, 1), -EINVAL);
}

/* More chunks than one transaction takes. */
static void many_chunks_are_cut_and_emptied(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");

    for (unsigned i = 0; i < 200; i++)
        write_pattern(c, ino, i * MIB + i, 5000, i);
    assert_int_equal(get_inode(c, ino).stored, 200 * 5000);
    assert_int_equal(volume_fallocate(c->volume, ino, FALLOC_FL_ZERO_RANGE, MIB + 1000, 190 * MIB),
                     0);
    expect_pattern(c, ino, 0, 5000, 0, 0);
    expect_pattern(c, ino, MIB + 1, 999, 1, 0);
    file_case_expect_zeros(c, ino, MIB + 1000, 5000);
    file_case_expect_zeros(c, ino, 150 * MIB, 10000);
    expect_pattern(c, ino, 191 * MIB + 1000, 4191, 191, 809);
    expect_pattern(c, ino, 199 * MIB + 199, 5000, 199, 0);
    assert_int_equal(get_inode(c, ino).stored, 5000 + 999 + 4191 + 8 * 5000);

    for (unsigned i = 0; i < 200; i++)
        write_pattern(c, ino, i * MIB + i, 5000, i);
    file_case_truncate(c, ino, 2500);
    assert_int_equal(get_inode(c, ino).stored, 2500);
    assert_int_equal(get_inode(c, ino).flags, 0);
    expect_pattern(c, ino, 0, 2500, 0, 0);
    file_case_truncate(c, ino, 200 * MIB);
    file_case_expect_zeros(c, ino, 2500, MIB);
    assert_int_equal(seek_to(c, ino, 2500, SEEK_DATA, 0), -ENXIO);
}

static int cut_only(struct volume_txn *txn, void *arg)
{
    struct inode_query *query = arg;
    bool more = false;

    int r = inode_get(txn, query->ino, &query->inode);
    if (r == 0)
        r = file_set_size(txn, query->ino, &query->inode, 10, &more);
    if (r < 0)
        return r;
    return more ? inode_put(txn, query->ino, &query->inode) : -EINVAL;
}

/* As it is when the file was cut and the trimming behind its size is still to come. */
static uint64_t untrimmed_file(struct volume_case *c, const char *name)
{
    struct inode_query query = { .ino = volume_case_file(c, name) };

    for (unsigned i = 0; i < 200; i++)
        write_pattern(c, query.ino, i * MIB, 3000, i);
    assert_int_equal(volume_change(c->volume, META_WRITE, cut_only, &query), 0);
    assert_int_equal(get_inode(c, query.ino).flags, INODE_UNTRIMMED);
    return query.ino;
}

static void what_was_cut_does_not_come_back(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = untrimmed_file(c, "seek");

    expect_read_len(c, ino, 0, 5000, 10);
    assert_int_equal(seek_to(c, ino, 0, SEEK_HOLE, 10), 0);
    assert_int_equal(seek_to(c, ino, 10, SEEK_DATA, 0), -ENXIO);
    write_pattern(c, ino, 0, 5, 1);
    assert_int_equal(get_inode(c, ino).flags, INODE_UNTRIMMED);
    write_pattern(c, ino, 199 * MIB + 2900, 10, 1);
    assert_int_equal(get_inode(c, ino).flags, 0);
    assert_int_equal(get_inode(c, ino).stored, 20);
    file_case_expect_zeros(c, ino, 199 * MIB, 2900);
    file_case_expect_zeros(c, ino, 100 * MIB, 3000);

    ino = untrimmed_file(c, "fallocate");
    assert_int_equal(volume_fallocate(c->volume, ino, 0, 0, 200 * MIB), 0);
    file_case_expect_zeros(c, ino, 199 * MIB, 3000);
    assert_int_equal(get_inode(c, ino).stored, 10);

    ino = untrimmed_file(c, "truncate");
    file_case_truncate(c, ino, 200 * MIB);
    file_case_expect_zeros(c, ino, 199 * MIB, 3000);
    assert_int_equal(get_inode(c, ino).stored, 10);

    ino = untrimmed_file(c, "start");
    volume_case_reopen(c);
    assert_int_equal(get_inode(c, ino).stored, 10);
    assert_int_equal(get_inode(c, ino).flags, 0);
    file_case_truncate(c, ino, 200 * MIB);
    file_case_expect_zeros(c, ino, 199 * MIB, 3000);
}

/* 2,000 bytes apart by one: more than a list may hold. */
static void a_chunk_in_too_many_pieces_is_rewritten(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");
    CLEANUP(free_ptr) uint8_t *expected = calloc(1, 10000);

    write_pattern(c, ino, MIB - 3000, 3000, 9);
    for (unsigned i = 0; i < 2000; i++) {
        expected[3 + i * 3] = (uint8_t)(i | 1);
        file_case_write(c, ino, MIB + 3 + i * 3, &expected[3 + i * 3], 1);
        if (i % 100 == 99)
            file_case_expect(c, ino, MIB, expected, 4 + i * 3);
    }
    volume_case_reopen(c);
    file_case_expect(c, ino, MIB, expected, 3 + 1999 * 3 + 1);
    expect_pattern(c, ino, MIB - 3000, 3000, 9, 0);

    /* A write over the border of a full one. */
    write_pattern(c, ino, MIB - 100, 110, 4);
    expect_pattern(c, ino, MIB - 100, 110, 4, 0);
    file_case_expect(c, ino, MIB + 10, expected + 10, 5000);
}

static void a_hole_in_a_full_list_can_be_made(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");
    int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    write_pattern(c, ino, 0, 9000, 1);
    for (unsigned i = 0; i < EXTENTS_MAX - 2; i++) /* 9000: two whole blocks, a shorter one */
        file_case_write(c, ino, 9001 + i * 2, "x", 1);
    assert_int_equal(volume_fallocate(c->volume, ino, punch, 1000, 10), 0);
    assert_int_equal(volume_fallocate(c->volume, ino, punch, 2000, 10), 0);
    expect_pattern(c, ino, 0, 1000, 1, 0);
    file_case_expect_zeros(c, ino, 1000, 10);
    expect_pattern(c, ino, 1010, 990, 1, 1010);
    file_case_expect_zeros(c, ino, 2000, 10);
    expect_pattern(c, ino, 2010, 6990, 1, 2010);
    for (unsigned i = 0; i < EXTENTS_MAX - 2; i++)
        file_case_expect(c, ino, 9000 + i * 2, "\0x", 2);
    assert_int_equal(seek_to(c, ino, 900, SEEK_HOLE, 1000), 0);
    assert_int_equal(file_case_attr(c, ino).size, 9000 + 2 * (EXTENTS_MAX - 2));
}

static void one_write_may_span_many_chunks(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");

    write_pattern(c, ino, MIB - 1, 5 * MIB + 2, 1);
    expect_pattern(c, ino, MIB - 1, 5 * MIB + 2, 1, 0);
    assert_int_equal(get_inode(c, ino).stored, 5 * MIB + 2);
    expect_read_len(c, ino, 0, 10 * MIB, 6 * MIB + 1);
    file_case_expect_zeros(c, ino, 0, MIB - 1);
    assert_int_equal(seek_to(c, ino, MIB, SEEK_HOLE, 6 * MIB + 1), 0);
    assert_int_equal(volume_write(c->volume, ino, 5, (struct bytes){ NULL, 0 }), 0);
    assert_int_equal(
        volume_write(c->volume, VOLUME_ROOT, 0, (struct bytes){ (const uint8_t *)"x", 1 }),
        -EINVAL);
    assert_int_equal(volume_write(c->volume, 999999, 0, (struct bytes){ (const uint8_t *)"x", 1 }),
                     -ENOENT);
}

static void a_full_volume_refuses_what_is_new_and_takes_what_is_not(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");
    uint64_t small = volume_case_file(c, "small");
    CLEANUP(free_ptr) uint8_t *data = pattern(MIB, 1);
    struct bytes bytes = { data, MIB };
    uint64_t offset = 0;
    int r;

    write_pattern(c, small, 0, 100, 1);
    volume_set_capacity(c->volume, 8 * MIB);
    while ((r = volume_write(c->volume, ino, offset, bytes)) == 0)
        offset += MIB;
    assert_int_equal(r, -ENOSPC);
    assert_in_range(offset, 6 * MIB, 8 * MIB);
    assert_int_equal(file_case_attr(c, ino).size, offset);
    assert_int_equal(volume_fallocate(c->volume, ino, 0, offset, MIB), -ENOSPC);
    assert_int_equal(volume_fallocate(c->volume, ino, 0, 0, MIB), 0);

    volume_set_capacity(c->volume, 4 * MIB); /* less than there is */
    write_pattern(c, ino, MIB + 5, MIB, 2);
    expect_pattern(c, ino, MIB + 5, MIB, 2, 0);
    write_pattern(c, small, 0, 100, 2);
    expect_pattern(c, small, 0, 100, 2, 0);
    assert_int_equal(volume_write(c->volume, small, 100, bytes), -ENOSPC);
    file_case_truncate(c, ino, MIB);
    write_pattern(c, ino, MIB, MIB, 3);
    expect_pattern(c, ino, MIB, MIB, 3, 0);
}

static void times_follow_changes(void **state)
{
    struct volume_case *c = *state;
    uint64_t ino = volume_case_file(c, "f");
    struct volume_attr old = { .mtime_ns = 5, .ctime_ns = 6 };
    unsigned which = VOLUME_SET_MTIME | VOLUME_SET_CTIME;
    int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    for (unsigned i = 0; i < 4; i++) {
        struct volume_attr attr = old;
        assert_int_equal(volume_setattr(c->volume, ino, &attr, which, &attr), 0);
        assert_int_equal(file_case_attr(c, ino).mtime_ns, 5);
        if (i == 0)
            write_pattern(c, ino, 0, 10, 1);
        else if (i == 1)
            write_pattern(c, ino, 0, 10000, 1);
        else if (i == 2)
            file_case_truncate(c, ino, 20);
        else
            assert_int_equal(volume_fallocate(c->volume, ino, punch, 0, 10), 0);
        assert_true(file_case_attr(c, ino).mtime_ns > 1000000000);
        assert_true(file_case_attr(c, ino).ctime_ns > 1000000000);
    }
    assert_int_equal(volume_sync(c->volume, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_CASE_TEST(small_files_live_in_their_inode, "memory"),
        FILE_CASE_TEST(a_file_that_grows_leaves_its_inode, "memory"),
        FILE_CASE_TEST(a_small_body_can_have_a_large_size, "memory"),
        FILE_CASE_TEST(sparse_files_of_terabytes_are_sought_and_cut, "memory"),
        FILE_CASE_TEST(the_end_of_much_data_is_found, "memory"),
        FILE_CASE_TEST(no_file_is_larger_than_its_chunks_can_be_counted, "memory"),
        FILE_CASE_TEST(fallocate_does_what_its_mode_says, "memory"),
        FILE_CASE_TEST(many_chunks_are_cut_and_emptied, "memory"),
        FILE_CASE_TEST(what_was_cut_does_not_come_back, "memory"),
        FILE_CASE_TEST(a_chunk_in_too_many_pieces_is_rewritten, "memory"),
        FILE_CASE_TEST(a_hole_in_a_full_list_can_be_made, "memory"),
        FILE_CASE_TEST(one_write_may_span_many_chunks, "memory"),
        FILE_CASE_TEST(a_full_volume_refuses_what_is_new_and_takes_what_is_not, "memory"),
        FILE_CASE_TEST(times_follow_changes, "memory"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
