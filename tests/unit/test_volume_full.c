/* Compaction while the disk under the metadata is full: it begins, and it takes no more than there
 * is. The disk is a tmpfs. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/cleanup.h"
#include "fs/commit.h"
#include "fs/segments.h"
#include "fs/volume_internal.h"
#include "tests/support/file_case.h"

#define BLOCK_LEN 4096u
#define JUNK_LEN 900u /* short enough to lie in the pages of the tree */

struct full {
    struct volume_case c;
    char disk[96];
    uint64_t kept;
    unsigned junk; /* records that nobody needs */
};

static bool setup(struct full *full)
{
    struct volume_config config;

    *full = (struct full){ .junk = 0 };
    volume_case_prepare(&full->c, BLOCK_LEN, NULL);
    (void)snprintf(full->disk, sizeof(full->disk), "%s/meta", full->c.folder);
    if (mount("none", full->disk, "tmpfs", 0, "size=20m") < 0) {
        print_message("mounting a tmpfs is not allowed here: the full disk was not tried\n");
        volume_case_end(&full->c);
        return false;
    }
    volume_case_config(&full->c, &config);
    assert_int_equal(volume_format(&config, BLOCK_LEN, NULL), 0);
    volume_case_open(&full->c);
    keeper_stop(full->c.volume); /* it would compact by itself */
    return true;
}

/* A file in as many ranges as it has pieces, half of each segment; the other half is garbage. */
static void waste_half(struct full *full, size_t piece, unsigned pieces, unsigned segments)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(piece);
    struct volume_case *c = &full->c;

    memset(data, 0x3c, piece);
    full->kept = volume_case_file(c, "kept");
    uint64_t waste = volume_case_file(c, "waste");
    for (unsigned i = 0; i < pieces * segments; i++) {
        file_case_write(c, full->kept, i * piece, data, piece);
        file_case_write(c, waste, i * piece, data, piece);
        if ((i + 1) % pieces == 0) {
            segments_end_current(c->volume->segments);
            assert_int_equal(commit_group(c->volume, NULL), 0);
        }
    }
    assert_int_equal(volume_unlink(c->volume, VOLUME_ROOT, "waste"), 0);
    volume_forget(c->volume, waste, 1);
    reap_waiting(c->volume);
    assert_int_equal(commit_group(c->volume, NULL), 0);
    assert_false(segments_delete_dead(c->volume->segments));
}

static int change_junk(struct full *full, enum meta_access access, bool put)
{
    static const uint8_t value[JUNK_LEN];
    struct meta_txn *txn = NULL;
    char text[16];

    (void)snprintf(text, sizeof(text), "zz%08u", full->junk);
    const struct bytes key = { .data = (const uint8_t *)text, .len = strlen(text) };
    int r = meta_begin(full->c.volume->engine, access, &txn, NULL);
    if (r < 0)
        return r;
    r = put ? meta_put(txn, key, (struct bytes){ value, JUNK_LEN }, NULL)
            : meta_remove(txn, key, NULL);
    assert_int_equal(r, 0);
    return meta_commit(txn, NULL);
}

/* Until there is only what META_RECLAIM has for itself. */
static void fill_metadata(struct full *full)
{
    static const enum meta_access accesses[] = { META_WRITE, META_FREE };

    for (size_t i = 0; i < 2; i++) {
        int r = 0;
        for (; r == 0; full->junk += r == 0 ? 1 : 0)
            r = change_junk(full, accesses[i], true);
        assert_int_equal(r, -ENOSPC);
    }
}

static void empty_metadata(struct full *full)
{
    while (full->junk > 0) {
        full->junk--;
        assert_int_equal(change_junk(full, META_RECLAIM, false), 0);
    }
    assert_int_equal(volume_sync(full->c.volume, NULL), 0);
}

static void end(struct full *full, size_t size)
{
    CLEANUP(free_ptr) uint8_t *data = malloc(size);

    memset(data, 0x3c, size);
    file_case_expect(&full->c, full->kept, 0, data, size);
    assert_int_equal(full->c.events[VOLUME_EVENT_FULL], 0); /* no group ever failed */
    volume_case_check(&full->c);
    volume_case_reopen(&full->c);
    volume_case_check(&full->c);
    volume_case_close(&full->c);
    assert_int_equal(umount2(full->disk, MNT_DETACH), 0);
    volume_case_end(&full->c);
}

static void room_is_made_although_the_metadata_is_full(void **state)
{
    const size_t piece = 256 * 1024;
    struct full full;

    (void)state;
    if (!setup(&full))
        return;
    waste_half(&full, piece, 8, 2);
    fill_metadata(&full);
    assert_true(volume_make_room(full.c.volume));
    empty_metadata(&full);
    end(&full, piece * 16);
}

static void compaction_leaves_the_metadata_the_room_that_it_needs(void **state)
{
    struct full full;

    (void)state;
    if (!setup(&full))
        return;
    waste_half(&full, BLOCK_LEN, 1024, 16);
    fill_metadata(&full);
    assert_false(volume_make_room(full.c.volume));
    assert_int_equal(commit_group(full.c.volume, NULL), 0);
    empty_metadata(&full);
    assert_true(volume_make_room(full.c.volume));
    end(&full, (size_t)BLOCK_LEN * 1024 * 16);
}

static int begin_reclaim(struct full *full, uint64_t len)
{
    struct meta_txn *txn = NULL;
    int r = meta_begin(full->c.volume->engine, META_RECLAIM, &txn, NULL);

    if (r < 0)
        return r;
    r = meta_expect(txn, 0, len, NULL);
    meta_abort(txn);
    return r;
}

/* Who removes a snapshot, or ends an inode, can still begin. */
static void compaction_leaves_room_to_remove_what_takes_it(void **state)
{
    const uint64_t left = 280 * 1024; /* hardly more than it takes to begin */
    const size_t piece = 256 * 1024;
    struct full full;

    (void)state;
    if (!setup(&full))
        return;
    waste_half(&full, piece, 8, 16);
    fill_metadata(&full);
    for (unsigned before = 0; before != full.junk;) { /* a group is asked for more than it takes */
        before = full.junk;
        for (; begin_reclaim(&full, left) == 0; full.junk++)
            assert_int_equal(change_junk(&full, META_RECLAIM, true), 0);
        assert_int_equal(commit_group(full.c.volume, NULL), 0);
    }
    assert_int_equal(commit_group(full.c.volume, NULL), 0);
    assert_int_equal(begin_reclaim(&full, 0), 0);
    while (volume_make_room(full.c.volume))
        ;
    assert_int_equal(commit_group(full.c.volume, NULL), 0);
    assert_int_equal(begin_reclaim(&full, 0), 0);
    empty_metadata(&full);
    end(&full, piece * 8 * 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_is_made_although_the_metadata_is_full),
        cmocka_unit_test(compaction_leaves_the_metadata_the_room_that_it_needs),
        cmocka_unit_test(compaction_leaves_room_to_remove_what_takes_it),
    };

    return cmocka_run_group_tests_name("volume_full", tests, NULL, NULL);
}
