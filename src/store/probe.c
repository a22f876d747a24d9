#include "store/probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"

#define NAME_SIZE 64u

static const char first[] = "coffer tries this object store";
static const char second[] = "and replaces what it put there";

struct probe {
    struct object_store *store;
    char name[NAME_SIZE];
    unsigned listed;
};

static struct bytes text(const char *s)
{
    return (struct bytes){ .data = (const uint8_t *)s, .len = strlen(s) };
}

static int expect(struct probe *probe, const char *value, const char *fault, struct error *err)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;

    int r = object_store_get(probe->store, probe->name, 4096, &found, err);
    if (r == 0 && (found.len != strlen(value) || memcmp(found.data, value, found.len) != 0))
        r = error_set(err, -EPROTO, "%s", fault);
    return r;
}

static int count_name(const char *name, uint64_t size, void *arg)
{
    struct probe *probe = arg;

    if (strcmp(name, probe->name) == 0 && size == strlen(second))
        probe->listed++;
    return 0;
}

static int expect_listed(struct probe *probe, unsigned count, const char *fault, struct error *err)
{
    probe->listed = 0;
    int r = object_store_list(probe->store, probe->name, count_name, probe, err);
    return r == 0 && probe->listed != count ? error_set(err, -EPROTO, "%s", fault) : r;
}

static int try_to_overwrite(struct probe *probe, struct error *err)
{
    struct error refused = { .code = 0 };

    int r = object_store_put(probe->store, probe->name, text(second), &refused);
    if (r == -EEXIST)
        return expect(probe, first,
                      "the store refused to overwrite an object and did it all the same; coffer "
                      "cannot use it",
                      err);
    if (r == 0)
        return error_set(err, -EPROTO,
                         "the store overwrites objects although it was asked not to "
                         "(If-None-Match): two who use it could destroy each other's data; use a "
                         "store that supports conditional puts");
    if (err != NULL)
        *err = refused;
    return r;
}

static int expect_range(struct probe *probe, struct error *err)
{
    CLEANUP(object_closep) struct object *object = NULL;
    uint8_t found[8];
    size_t len = 0;

    int r = object_store_open_object(probe->store, probe->name, &object, err);
    if (r == 0)
        r = object_read(object, 4, sizeof(found), found, &len, err);
    if (r == 0 && (len != sizeof(found) || memcmp(found, second + 4, len) != 0))
        r = error_set(err, -EPROTO, "the store gives other bytes of an object than were asked for");
    return r;
}

static int expect_gone(struct probe *probe, struct error *err)
{
    struct error missing = { .code = 0 };
    uint64_t size;

    int r = object_store_stat(probe->store, probe->name, &size, &missing);
    if (r == 0)
        return error_set(err, -EPROTO, "the store still has an object that was removed");
    if (r != -ENOENT) {
        if (err != NULL)
            *err = missing;
        return r;
    }
    return expect_listed(probe, 0,
                         "the list of the store still shows an object that was removed: without a "
                         "list that is up to date coffer could remove what is needed",
                         err);
}

static int run(struct probe *probe, struct error *err)
{
    int r = object_store_put(probe->store, probe->name, text(first), err);

    if (r == 0)
        r = expect(probe, first, "the store gives other bytes than it was given", err);
    if (r == 0)
        r = try_to_overwrite(probe, err);
    if (r == 0)
        r = object_store_replace(probe->store, probe->name, text(second), err);
    if (r == 0)
        r = expect(probe, second, "the store gives an object that was replaced", err);
    if (r == 0)
        r = expect_range(probe, err);
    if (r == 0)
        r = expect_listed(probe, 1,
                          "the list of the store does not show what was just put: without a list "
                          "that is up to date coffer could remove what is needed",
                          err);
    return r;
}

int object_store_probe(struct object_store *store, struct error *err)
{
    struct probe probe = { .store = store };
    char id[UUID_TEXT_SIZE];
    struct uuid uuid;

    random_uuid(&uuid);
    uuid_format(&uuid, id);
    (void)snprintf(probe.name, sizeof(probe.name), "probe/%s", id);
    int r = run(&probe, err);
    int removed = object_store_remove(store, probe.name, r == 0 ? err : NULL);
    if (r == 0)
        r = removed;
    return r == 0 ? expect_gone(&probe, err) : r;
}
