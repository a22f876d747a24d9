/* registry.c - the one list of object stores. A new one is a file in store/stores/, a line here
 * and a line in meson.build. */
#include <errno.h>
#include <string.h>

#include "store/object_store.h"
#include "store/stores/stores.h"

static const struct {
    const char *prefix;
    object_store_open_fn *open;
} stores[] = {
    { "dir:", dir_store_open },
    { "memory:", memory_store_open },
#ifdef FAULT_STORE
    { "fault+dir:", fault_dir_store_open }, /* layers/fault.h; only in builds for tests */
#endif
};

int object_store_open(const char *url, struct object_store **ret, struct error *err)
{
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        size_t len = strlen(stores[i].prefix);
        if (strncmp(url, stores[i].prefix, len) == 0)
            return stores[i].open(url + len, ret, err);
    }
    return error_set(err, -EINVAL,
                     "The store URL '%s' is of no known kind; give dir:/absolute/folder.", url);
}
