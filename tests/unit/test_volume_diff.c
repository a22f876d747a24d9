/* What differs between two snapshots of a volume, against a comparison of all that they show. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fs/diff.h"
#include "tests/support/file_case.h"
#include "tests/support/snapshot_case.h"
#include "tests/support/tree_model.h"

#define ENTRIES 256u
#define INO_MASK UINT64_C(0xffffffffffff)

/* All names under a root. */
struct entry {
    char path[512];
    const char *name; /* its end */
    uint64_t parent;
    uint64_t ino; /* both without the slot */
    uint32_t mode;
};

struct listing {
    struct volume_case *c;
    uint64_t root;
    size_t count;
    size_t folder; /* that is being read; ENTRIES: the root */
    struct entry entries[ENTRIES];
};

static int list_one(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    struct listing *listing = arg;
    struct entry *entry = &listing->entries[listing->count];
    const struct entry *folder = &listing->entries[listing->folder];
    bool is_root = listing->folder == ENTRIES;

    (void)next;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    assert_true(listing->count < ENTRIES);
    char above[512] = "";
    if (!is_root)
        memcpy(above, folder->path, sizeof(above));
    int len = snprintf(entry->path, sizeof(entry->path), "%.250s%s%.250s", above,
                       is_root ? "" : "/", name);
    entry->name = entry->path + len - strlen(name);
    entry->parent = is_root ? VOLUME_ROOT : folder->ino;
    entry->ino = attr->ino & INO_MASK;
    entry->mode = attr->mode;
    listing->count++;
    return 0;
}

static struct listing *list_all(struct volume_case *c, uint64_t root)
{
    struct listing *listing = calloc(1, sizeof(*listing));
    uint64_t slot = root & ~INO_MASK;

    assert_non_null(listing);
    listing->c = c;
    listing->root = root;
    listing->folder = ENTRIES;
    assert_int_equal(volume_readdir(c->volume, root, 0, true, list_one, listing), 0);
    for (size_t i = 0; i < listing->count; i++) {
        listing->folder = i;
        if (S_ISDIR(listing->entries[i].mode))
            assert_int_equal(volume_readdir(c->volume, slot | listing->entries[i].ino, 0, true,
                                            list_one, listing),
                             0);
    }
    return listing;
}

static const struct entry *find_path(const struct listing *listing, const char *path)
{
    for (size_t i = 0; i < listing->count; i++)
        if (strcmp(listing->entries[i].path, path) == 0)
            return &listing->entries[i];
    fail_msg("%s is not there", path);
    return &listing->entries[0];
}

/* The same name of the same inode in the same directory, whatever became of those above. */
static bool has_entry(const struct listing *listing, const struct entry *wanted)
{
    for (size_t i = 0; i < listing->count; i++) {
        const struct entry *entry = &listing->entries[i];
        if (entry->ino == wanted->ino && entry->parent == wanted->parent &&
            strcmp(entry->name, wanted->name) == 0)
            return true;
    }
    return false;
}

static size_t count_missing(const struct listing *from, const struct listing *in)
{
    size_t missing = 0;

    for (size_t i = 0; i < from->count; i++)
        missing += !has_entry(in, &from->entries[i]);
    return missing;
}

struct told {
    uint64_t ino;
    enum difference_kind kind;
    unsigned flags;
    char path[512];
    char old_path[512];
};

struct report {
    size_t count;
    size_t stop_at; /* so many in one call */
    struct told told[2 * ENTRIES];
};

static int note(const struct difference *difference, void *arg)
{
    struct report *report = arg;
    struct told *told = &report->told[report->count];

    if (report->count == report->stop_at)
        return 7;
    told->ino = difference->ino;
    told->kind = difference->kind;
    told->flags = difference->flags;
    (void)snprintf(told->path, sizeof(told->path), "%s", difference->path);
    (void)snprintf(told->old_path, sizeof(told->old_path), "%s", difference->old_path);
    report->count++;
    return 0;
}

/* Some at a time: with the same reader, or with another one for each. */
static struct report *compare(struct volume_case *c, const char *older, const char *newer,
                              size_t some, bool anew)
{
    struct difference_position position = { .ino = 0 };
    struct report *report = calloc(1, sizeof(*report));
    struct volume_diff *diff = NULL;
    struct error err = { 0 };
    int r = 7;

    assert_non_null(report);
    while (r == 7) {
        if (anew || diff == NULL) {
            volume_diff_close(diff);
            if (volume_diff_open(c->volume, older, newer, &diff, &err) != 0)
                fail_msg("%s", err.text);
        }
        report->stop_at = some == 0 ? 2 * ENTRIES : report->count + some;
        r = volume_diff_read(diff, &position, note, report, &err);
    }
    if (r != 0)
        fail_msg("%s", err.text);
    volume_diff_close(diff);
    return report;
}

static bool differs_in_content(struct volume_case *c, const struct listing *old,
                               const struct listing *new, uint64_t ino)
{
    static uint8_t bytes[2][600000];
    size_t len[2];

    assert_int_equal(volume_read(c->volume, (old->root & ~INO_MASK) | ino, 0, sizeof(bytes[0]),
                                 bytes[0], &len[0]),
                     0);
    assert_int_equal(volume_read(c->volume, (new->root & ~INO_MASK) | ino, 0, sizeof(bytes[1]),
                                 bytes[1], &len[1]),
                     0);
    return len[0] != len[1] || memcmp(bytes[0], bytes[1], len[0]) != 0;
}

static bool differs_in_attributes(struct volume_case *c, const struct listing *old,
                                  const struct listing *new, uint64_t ino)
{
    const uint64_t roots[2] = { old->root & ~INO_MASK, new->root & ~INO_MASK };
    uint8_t values[2][64] = { { 0 } };
    struct volume_attr attrs[2];
    size_t len;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(volume_getattr(c->volume, roots[i] | ino, &attrs[i]), 0);
        (void)volume_getxattr(c->volume, roots[i] | ino, "user.model", values[i], sizeof(values[i]),
                              &len);
    }
    return attrs[0].mode != attrs[1].mode || memcmp(values[0], values[1], sizeof(values[0])) != 0;
}

static unsigned told_flags(const struct report *report, uint64_t ino)
{
    unsigned flags = 0;

    for (size_t i = 0; i < report->count; i++)
        if (report->told[i].ino == ino)
            flags |= report->told[i].flags;
    return flags;
}

/* Names that came and went, each exactly once. */
static void expect_names(const struct report *report, const struct listing *old,
                         const struct listing *new)
{
    size_t counts[2] = { 0 };

    for (size_t i = 0; i < report->count; i++) {
        const struct told *told = &report->told[i];
        bool is_renamed = told->kind == DIFFERENCE_RENAMED;
        if (told->kind == DIFFERENCE_ADDED || is_renamed) {
            const struct entry *entry = find_path(new, told->path);
            assert_true(entry->ino == told->ino && !has_entry(old, entry));
            counts[1]++;
        }
        if (told->kind == DIFFERENCE_REMOVED || is_renamed) {
            const struct entry *entry = find_path(old, is_renamed ? told->old_path : told->path);
            assert_true(entry->ino == told->ino && !has_entry(new, entry));
            counts[0]++;
        }
        if (told->kind == DIFFERENCE_CHANGED)
            assert_true(find_path(new, told->path)->ino == told->ino && told->flags != 0);
    }
    assert_int_equal(counts[0], count_missing(old, new));
    assert_int_equal(counts[1], count_missing(new, old));
}

static bool is_there(const struct listing *listing, uint64_t ino)
{
    for (size_t i = 0; i < listing->count; i++)
        if (listing->entries[i].ino == ino)
            return true;
    return false;
}

static void expect_flags(struct volume_case *c, const struct report *report,
                         const struct listing *old, const struct listing *new)
{
    for (size_t i = 0; i < new->count; i++) {
        const struct entry *entry = &new->entries[i];
        if (!is_there(old, entry->ino))
            continue;
        unsigned flags = told_flags(report, entry->ino);
        if (S_ISREG(entry->mode) && differs_in_content(c, old, new, entry->ino))
            assert_true(flags & DIFFERENCE_CONTENT);
        if (differs_in_attributes(c, old, new, entry->ino))
            assert_true(flags & DIFFERENCE_ATTRIBUTES);
        else if (S_ISDIR(entry->mode))
            assert_int_equal(flags, 0);
    }
}

static void expect_same(struct report *a, struct report *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->told, b->told, sizeof(a->told));
    free(b);
}

/* newer NULL: the volume as it is. */
static void expect_comparison(struct volume_case *c, const struct volume_snapshot *older,
                              const struct volume_snapshot *newer)
{
    const char *newer_name = newer != NULL ? newer->name : NULL;
    struct listing *old = list_all(c, snapshot_case_root(older));
    struct listing *new = list_all(c, newer != NULL ? snapshot_case_root(newer) : VOLUME_ROOT);
    struct report *report = compare(c, older->name, newer_name, 0, false);

    expect_names(report, old, new);
    expect_flags(c, report, old, new);
    expect_same(report, compare(c, older->name, newer_name, 3, false));
    expect_same(report, compare(c, older->name, newer_name, 5, true));
    free(report);
    free(old);
    free(new);
}

static void add_file(struct volume_case *c, const char *name)
{
    volume_forget(c->volume, volume_case_file(c, name), 1);
}

#define SNAPSHOTS 10u

struct model {
    struct volume_case *c;
    struct tree_model tree;
    struct volume_snapshot snapshots[SNAPSHOTS];
    bool is_there[SNAPSHOTS];
    uint64_t number;
};

static void expect_comparisons(const struct model *model, unsigned newest)
{
    for (unsigned older = 0; older <= newest; older++)
        for (unsigned newer = older + 1; model->is_there[older] && newer <= newest; newer++)
            if (model->is_there[newer])
                expect_comparison(model->c, &model->snapshots[older], &model->snapshots[newer]);
    expect_comparison(model->c, &model->snapshots[0], NULL);
}

static void random_changes_are_told_and_nothing_else(void **state)
{
    CLEANUP(free_ptr) struct model *model = calloc(1, sizeof(*model));
    struct volume_restored restored;
    char name[32];

    assert_non_null(model);
    model->c = *state;
    tree_model_new(&model->tree);
    for (unsigned s = 0; s < SNAPSHOTS; s++) {
        for (unsigned i = 0; i < 20 + s * 20; i++)
            tree_model_change(&model->tree, model->c->volume, ++model->number);
        (void)snprintf(name, sizeof(name), "s%u", s);
        model->snapshots[s] = snapshot_case_take(model->c, name);
        model->is_there[s] = true;
        if (s % 3 == 2) { /* also when what lay between is gone */
            snapshot_case_drop(model->c, model->snapshots[s - 1].name);
            snapshot_case_settle(model->c);
            model->is_there[s - 1] = false;
        }
        expect_comparisons(model, s);
    }
    tree_model_free(&model->tree);
    assert_int_equal(volume_restore(model->c->volume, "s3", "kept", "kept", &restored, NULL), 0);
    expect_comparisons(model, SNAPSHOTS - 1);
    volume_case_reopen(model->c);
    add_file(model->c, "another");
    expect_comparisons(model, SNAPSHOTS - 1);
}

static void names_are_safe_to_print(void **state)
{
    struct volume_case *c = *state;

    (void)snapshot_case_take(c, "one");
    add_file(c, "plain and \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    add_file(c, "line\nfeed\x1b[31m\x7f");
    add_file(c, "back\\slash");
    add_file(c, "\xff\xc3(\xc0\xaf\xed\xa0\x80\xc2\x9b");
    struct report *report = compare(c, "one", NULL, 0, false);
    assert_int_equal(report->count, 4);
    assert_string_equal(report->told[0].path, "plain and \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_string_equal(report->told[1].path, "line\\012feed\\033[31m\\177");
    assert_string_equal(report->told[2].path, "back\\134slash");
    assert_string_equal(report->told[3].path, "\\377\\303(\\300\\257\\355\\240\\200\\302\\233");
    free(report);
}

static void a_path_that_is_longer_than_any_is_cut(void **state)
{
    static const struct volume_owner owner = { .uid = 0 };
    struct difference_position position = { .ino = 0 };
    struct volume_case *c = *state;
    struct volume_diff *diff = NULL;
    struct volume_attr attr;
    char name[251];
    uint64_t parent = VOLUME_ROOT;

    (void)snapshot_case_take(c, "one");
    memset(name, '\x01', 250);
    name[250] = '\0';
    for (unsigned depth = 0; depth < 20; depth++) {
        assert_int_equal(volume_mknod(c->volume, parent, name, S_IFDIR | 0700, 0, &owner, &attr),
                         0);
        parent = attr.ino;
    }
    struct report *report = calloc(1, sizeof(*report));
    assert_non_null(report);
    report->stop_at = 20;
    assert_int_equal(volume_diff_open(c->volume, "one", NULL, &diff, NULL), 0);
    assert_int_equal(volume_diff_read(diff, &position, note, report, NULL), 0);
    assert_int_equal(report->count, 20);
    assert_memory_equal(report->told[19].path, ".../\\001", 8);
    volume_diff_close(diff);
    free(report);
}

static void what_cannot_be_compared_is_refused(void **state)
{
    struct difference_position position = { .ino = 0 };
    struct volume_case *c = *state;
    struct volume_diff *diff = NULL;
    struct error err = { 0 };

    (void)snapshot_case_take(c, "one");
    (void)snapshot_case_take(c, "two");
    assert_int_equal(volume_diff_open(c->volume, "none", NULL, &diff, &err), -ENOENT);
    assert_int_equal(volume_diff_open(c->volume, "one", "none", &diff, &err), -ENOENT);
    assert_int_equal(volume_diff_open(c->volume, "two", "one", &diff, &err), -EINVAL);
    assert_int_equal(volume_diff_open(c->volume, "one", "one", &diff, &err), -EINVAL);
    assert_int_equal(volume_diff_open(c->volume, "one", "two", &diff, &err), 0);
    assert_true(volume_diff_is_of(diff, "one", "two") && !volume_diff_is_of(diff, "one", NULL));
    snapshot_case_drop(c, "one");
    assert_int_equal(volume_diff_read(diff, &position, note, NULL, &err), -ESTALE);
    volume_diff_close(diff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_CASE_TEST(random_changes_are_told_and_nothing_else, "dir"),
        FILE_CASE_TEST(names_are_safe_to_print, "dir"),
        FILE_CASE_TEST(a_path_that_is_longer_than_any_is_cut, "dir"),
        FILE_CASE_TEST(what_cannot_be_compared_is_refused, "dir"),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
