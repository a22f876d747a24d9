#include "control/locators.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "control/filesystem.h"

#define KIND "locator/"
#define KEY_SIZE (sizeof(KIND) + UUID_TEXT_SIZE + 1 + 16 + 1 + STORE_NAME_MAX)
#define RECORD_MAGIC 0x434c4643u /* "CFLC" */
#define RECORD_VERSION 1u

int locator_record_encode(const struct locator_record *record,
                          uint8_t ret[static LOCATOR_RECORD_MAX], size_t *ret_len,
                          struct error *err)
{
    struct writer writer = writer_init(ret, LOCATOR_RECORD_MAX);

    writer_u32(&writer, RECORD_MAGIC);
    writer_u16(&writer, RECORD_VERSION);
    writer_bytes(&writer, record->fs.bytes, UUID_LEN);
    writer_u64(&writer, record->snapshot);
    writer_text(&writer, record->store);
    writer_u64(&writer, (uint64_t)record->uploaded_ns);
    writer_text(&writer, record->locator);
    int r = writer_done(&writer);
    if (r < 0)
        return error_set(err, r, "the record of an uploaded snapshot does not fit");
    *ret_len = writer.len;
    return 0;
}

int locator_record_decode(struct bytes encoded, struct locator_record *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct locator_record record = { .snapshot = 0 };

    if (reader_u32(&reader) != RECORD_MAGIC)
        return error_set(err, -EBADMSG, "a record of the registry is not one of a locator");
    if (reader_u16(&reader) != RECORD_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "a record of a locator was written by a later version of coffer");
    reader_copy(&reader, record.fs.bytes, UUID_LEN);
    record.snapshot = reader_u64(&reader);
    reader_text(&reader, record.store, sizeof(record.store));
    record.uploaded_ns = (int64_t)reader_u64(&reader);
    reader_text(&reader, record.locator, sizeof(record.locator));
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "a record of a locator is damaged");
    *ret = record;
    return 0;
}

static void key_of(const struct locator_record *record, char ret[static KEY_SIZE])
{
    char fs[UUID_TEXT_SIZE];

    uuid_format(&record->fs, fs);
    (void)snprintf(ret, KEY_SIZE, KIND "%s/%016" PRIx64 "/%s", fs, record->snapshot, record->store);
}

int locators_put(struct control *control, const struct locator_record *record, struct error *err)
{
    uint8_t encoded[LOCATOR_RECORD_MAX];
    char key[KEY_SIZE];
    size_t len = 0;

    key_of(record, key);
    int r = locator_record_encode(record, encoded, &len, err);
    return r < 0 ? r
                 : registry_put_value(control->registry, key, (struct bytes){ encoded, len }, err);
}

/* Those that are wanted. */
struct listing {
    const struct uuid *fs;
    const char *store;
    const char *locator;
    struct locator_record *items;
    size_t count;
};

static bool wants(const struct listing *listing, const struct locator_record *record)
{
    return (!listing->fs || uuid_equal(listing->fs, &record->fs)) &&
           (!listing->store || strcmp(listing->store, record->store) == 0) &&
           (!listing->locator || strcmp(listing->locator, record->locator) == 0);
}

static int take(struct bytes value, void *arg)
{
    struct listing *listing = arg;
    struct locator_record record;
    struct error err = { .code = 0 };

    if (locator_record_decode(value, &record, &err) < 0) {
        log_error("a locator of the registry is passed over: %s", err.text);
        return 0;
    }
    if (!wants(listing, &record))
        return 0;
    struct locator_record *items = reallocarray(listing->items, listing->count + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    listing->items = items;
    items[listing->count++] = record;
    return 0;
}

static int find(struct control *control, struct listing *listing, struct error *err)
{
    char prefix[KEY_SIZE] = KIND;
    char fs[UUID_TEXT_SIZE];

    if (listing->fs) {
        uuid_format(listing->fs, fs);
        (void)snprintf(prefix, sizeof(prefix), KIND "%s/", fs);
    }
    int r = registry_each_value(control->registry, prefix, take, listing, err);
    return r == -ENOMEM ? error_set(err, r, "out of memory for the list of locators") : r;
}

int locators_list(struct control *control, const struct uuid *fs, struct locator_record **ret,
                  size_t *ret_count, struct error *err)
{
    struct listing listing = { .fs = fs };

    int r = find(control, &listing, err);
    if (r < 0) {
        free(listing.items);
        return r;
    }
    *ret = listing.items;
    *ret_count = listing.count;
    return 0;
}

int control_locators(struct control *control, const char *fs_name, struct locator_record **ret,
                     size_t *ret_count, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);

    return fs ? locators_list(control, &fs->record.uuid, ret, ret_count, err) : -ENOENT;
}

static int forget(struct control *control, struct listing *listing, struct error *err)
{
    int r = find(control, listing, err);

    for (size_t i = 0; i < listing->count && r == 0; i++) {
        char key[KEY_SIZE];
        key_of(&listing->items[i], key);
        r = registry_put_value(control->registry, key, (struct bytes){ .len = 0 }, err);
    }
    free(listing->items);
    return r;
}

int locators_forget(struct control *control, const char *store, const char *locator,
                    struct error *err)
{
    struct listing listing = { .store = store, .locator = locator };

    return forget(control, &listing, err);
}

int locators_forget_filesystem(struct control *control, const struct uuid *fs, struct error *err)
{
    struct listing listing = { .fs = fs };

    return forget(control, &listing, err);
}

int locators_forget_store(struct control *control, const char *store, struct error *err)
{
    struct listing listing = { .store = store };

    return forget(control, &listing, err);
}
