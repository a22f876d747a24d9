#include "control/left_references.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"
#include "control/filesystem.h"
#include "transfer/sharing.h"

#define KIND "left-reference/"
#define KEY_SIZE (sizeof(KIND) + UUID_TEXT_SIZE)
#define VERSION 1u

static const uint8_t magic[4] = { 'C', 'L', 'R', 'F' };

int left_reference_encode(const struct left_reference *left, struct buf *ret)
{
    uint8_t bytes[LEFT_REFERENCE_MAX];
    struct writer writer = writer_init(bytes, sizeof(bytes));

    writer_bytes(&writer, magic, sizeof(magic));
    writer_u16(&writer, VERSION);
    writer_bytes(&writer, left->reference.bytes, UUID_LEN);
    writer_text(&writer, left->store);
    int r = writer_done(&writer);
    return r < 0 ? r : buf_assign(ret, writer_written(&writer));
}

int left_reference_decode(struct bytes encoded, struct left_reference *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct left_reference left;
    uint8_t found[sizeof(magic)];

    reader_copy(&reader, found, sizeof(found));
    uint16_t version = reader_u16(&reader);
    if (reader.failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG, "the registry's note of a left reference is damaged");
    if (version != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the registry's note of a left reference is of a later version of coffer");
    reader_copy(&reader, left.reference.bytes, UUID_LEN);
    reader_text(&reader, left.store, sizeof(left.store));
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "the registry's note of a left reference is damaged");
    *ret = left;
    return 0;
}

static void key_of(const struct uuid *reference, char ret[static KEY_SIZE])
{
    char text[UUID_TEXT_SIZE];

    uuid_format(reference, text);
    (void)snprintf(ret, KEY_SIZE, KIND "%s", text);
}

int left_references_note(struct control *control, const struct fs_origin *origin, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct left_reference left = { .reference = origin->reference };
    char key[KEY_SIZE];

    (void)snprintf(left.store, sizeof(left.store), "%s", origin->store);
    key_of(&left.reference, key);
    int r = left_reference_encode(&left, &encoded);
    return r < 0 ? error_set(err, r, "out of memory")
                 : registry_put_value(control->registry, key, buf_bytes(&encoded), err);
}

static int note_remove(struct control *control, const struct uuid *reference, struct error *err)
{
    char key[KEY_SIZE];

    key_of(reference, key);
    return registry_put_value(control->registry, key, (struct bytes){ .len = 0 }, err);
}

/* --- those of a store --- */

struct search {
    const char *store; /* NULL: any */
    struct uuid *items;
    size_t count;
};

static int take(struct bytes value, void *arg)
{
    struct search *search = arg;
    struct left_reference left;
    struct error err = { .code = 0 };

    if (left_reference_decode(value, &left, &err) < 0) {
        log_error("%s; it is passed over", err.text);
        return 0;
    }
    if (search->store && strcmp(left.store, search->store) != 0)
        return 0;
    struct uuid *items = reallocarray(search->items, search->count + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    search->items = items;
    items[search->count++] = left.reference;
    return 0;
}

static int find(struct control *control, struct search *search, struct error *err)
{
    int r = registry_each_value(control->registry, KIND, take, search, err);

    return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
}

bool left_references_exist(struct control *control, const char *store)
{
    struct search search = { .store = store };
    struct error err = { .code = 0 };

    (void)find(control, &search, &err);
    free(search.items);
    return search.count > 0;
}

static void tell_forgotten(struct control *control, const char *store, const struct uuid *reference)
{
    char id[UUID_TEXT_SIZE];

    uuid_format(reference, id);
    events_add(&control->events, LOG_LEVEL_WARNING, "reference-forgotten", "",
               "use %s of the removed object store %s, by a download that was removed, is not "
               "dropped any more and holds what it names there; who uses that store can expire it "
               "(coffer fs tier ops)",
               id, store);
}

/* With a bucket the references, too. */
static int drop_all(struct control *control, const char *store, const struct bucket *bucket,
                    struct error *err)
{
    struct search search = { .store = store };
    int r = find(control, &search, err);

    for (size_t i = 0; i < search.count && r == 0; i++) {
        if (bucket)
            r = reference_drop(bucket, &search.items[i], err);
        if (r == 0)
            r = note_remove(control, &search.items[i], err);
        if (r == 0 && !bucket)
            tell_forgotten(control, store, &search.items[i]);
    }
    free(search.items);
    return r;
}

int left_references_drop(struct control *control, const char *store, const struct bucket *bucket,
                         struct error *err)
{
    return drop_all(control, store, bucket, err);
}

int left_references_forget(struct control *control, const char *store, struct error *err)
{
    return drop_all(control, store, NULL, err);
}
