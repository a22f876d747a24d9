#include "tests/support/snapshot_case.h"

#include <string.h>

#include "base/clock.h"
#include "tests/support/cmocka_all.h"

struct volume_snapshot snapshot_case_take(struct volume_case *c, const char *name)
{
    struct volume_snapshot snapshot;
    struct error err = { 0 };

    if (volume_snapshot_take(c->volume, name, name, &snapshot, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(snapshot.name, name);
    return snapshot;
}

void snapshot_case_drop(struct volume_case *c, const char *name)
{
    struct error err = { 0 };

    if (volume_snapshot_remove(c->volume, name, &err) != 0)
        fail_msg("%s", err.text);
}

uint64_t snapshot_case_root(const struct volume_snapshot *snapshot)
{
    return (uint64_t)snapshot->slot << 48 | VOLUME_ROOT;
}

static int count_one(const struct volume_snapshot *snapshot, void *arg)
{
    unsigned *counts = arg;

    counts[snapshot->is_removing ? 1 : 0]++;
    return 0;
}

unsigned snapshot_case_kept(struct volume_case *c)
{
    unsigned counts[2] = { 0 };

    assert_int_equal(volume_snapshot_list(c->volume, count_one, counts), 0);
    return counts[0];
}

void snapshot_case_settle(struct volume_case *c)
{
    unsigned counts[2] = { 0, 1 };

    while (counts[1] > 0) {
        memset(counts, 0, sizeof(counts));
        assert_int_equal(volume_snapshot_list(c->volume, count_one, counts), 0);
        if (counts[1] > 0)
            clock_sleep_ms(5);
    }
}
