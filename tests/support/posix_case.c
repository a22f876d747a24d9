#include "tests/support/posix_case.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/cmocka_all.h"

int posix_case_setup(void **state)
{
    const char *kind = *state;
    struct object_store *store = NULL;
    struct error err = { 0 };
    struct volume_case *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    if (strcmp(kind, "memory") == 0)
        assert_int_equal(object_store_open("memory:", &store, &err), 0);
    volume_case_new_on(c, 0, store);
    *state = c;
    return 0;
}

int posix_case_teardown(void **state)
{
    struct volume_case *c = *state;

    volume_case_check(c);
    assert_int_equal(c->events[VOLUME_EVENT_CORRUPTION], 0);
    volume_case_end(c);
    free(c);
    return 0;
}

void posix_case_reopen(struct volume_case *c, bool read_only)
{
    c->read_only = read_only;
    volume_case_reopen(c);
}

uint64_t make(struct volume_case *c, uint64_t parent, const char *name, uint32_t mode)
{
    const struct volume_owner owner = { .uid = 1000, .gid = 1001 };
    struct volume_attr attr = { .ino = 0 };

    assert_int_equal(volume_mknod(c->volume, parent, name, mode, 0, &owner, &attr), 0);
    assert_true(attr.ino > VOLUME_ROOT);
    return attr.ino;
}

uint64_t make_file(struct volume_case *c, uint64_t parent, const char *name)
{
    return make(c, parent, name, S_IFREG | 0644);
}

uint64_t make_dir(struct volume_case *c, uint64_t parent, const char *name)
{
    return make(c, parent, name, S_IFDIR | 0755);
}

uint64_t number_of(struct volume_case *c, uint64_t parent, const char *name)
{
    struct volume_attr attr = { .ino = 0 };
    int r = volume_lookup(c->volume, parent, name, &attr);

    if (r == -ENOENT)
        return 0;
    assert_int_equal(r, 0);
    volume_forget(c->volume, attr.ino, 1);
    return attr.ino;
}

struct volume_attr attr_of(struct volume_case *c, uint64_t ino)
{
    struct volume_attr attr = { .ino = 0 };

    assert_int_equal(volume_getattr(c->volume, ino, &attr), 0);
    assert_int_equal(attr.ino, ino);
    return attr;
}

uint64_t files_in_use(struct volume_case *c)
{
    struct volume_statfs have = { .files = 0 };

    assert_int_equal(volume_statfs(c->volume, &have), 0);
    return have.files;
}

void expect_ended(struct volume_case *c, uint64_t ino)
{
    struct volume_statfs space;
    struct volume_attr attr;

    assert_int_equal(volume_statfs(c->volume, &space), 0); /* waits for those that are to end */
    assert_int_equal(volume_getattr(c->volume, ino, &attr), -ENOENT);
}
