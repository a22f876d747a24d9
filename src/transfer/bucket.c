#include "transfer/bucket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encoding.h"

#define FOLDER "coffer-1/" /* the version of the layout */
#define SHORT_ID 16u
#define PART_LEN 4u

/* How the names of each kind look; by the number of the kind. */
static const struct kind {
    const char *folder;
    uint8_t id_len;
    bool has_part;
} kinds[] = {
    [BUCKET_PACK] = { "packs/", SHORT_ID, false },
    [BUCKET_CHUNK] = { "chunks/", BUCKET_ID_LEN, false },
    [BUCKET_MANIFEST] = { "manifests/", BUCKET_ID_LEN, false },
    [BUCKET_HEAD] = { "heads/", BUCKET_ID_LEN, false },
    [BUCKET_REFERENCE] = { "references/", SHORT_ID, true },
    [BUCKET_MARK] = { "removing/", SHORT_ID, false },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct bucket_name bucket_name_of(enum bucket_kind kind, const uint8_t *id)
{
    struct bucket_name name = { .kind = (uint8_t)kind };

    memcpy(name.id, id, kinds[kind].id_len);
    return name;
}

struct bucket_name reference_name(const struct uuid *reference, uint32_t part)
{
    struct bucket_name name = bucket_name_of(BUCKET_REFERENCE, reference->bytes);

    for (unsigned i = 0; i < PART_LEN; i++)
        name.id[SHORT_ID + i] = (uint8_t)(part >> (24 - 8 * i));
    return name;
}

uint32_t reference_part(const struct bucket_name *name)
{
    uint32_t part = 0;

    for (unsigned i = 0; i < PART_LEN; i++)
        part = part << 8 | name->id[SHORT_ID + i];
    return part;
}

struct uuid bucket_name_uuid(const struct bucket_name *name)
{
    struct uuid uuid;

    memcpy(uuid.bytes, name->id, UUID_LEN);
    return uuid;
}

int bucket_name_compare(const struct bucket_name *a, const struct bucket_name *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return memcmp(a->id, b->id, BUCKET_ID_LEN);
}

int bucket_init(struct bucket *bucket, struct object_store *store, const char *prefix,
                struct error *err)
{
    struct bucket made = { .store = store };
    size_t len = strlen(prefix);

    if (len <= BUCKET_PREFIX_MAX) {
        memcpy(made.prefix, prefix, len);
        if (len > 0 && prefix[len - 1] != '/')
            made.prefix[len] = '/';
    }
    if (len > BUCKET_PREFIX_MAX || !object_prefix_is_possible(made.prefix))
        return error_set(err, -EINVAL,
                         "'%.128s' cannot be the prefix of objects: give parts of a-z, 0-9, '.',"
                         " '_' and '-', joined by '/', at most %u letters in all",
                         prefix, BUCKET_PREFIX_MAX);
    *bucket = made;
    return 0;
}

void bucket_object_name(const struct bucket *bucket, const struct bucket_name *name,
                        char ret[static OBJECT_NAME_MAX + 1])
{
    const struct kind *kind = &kinds[name->kind];
    char hex[2 * BUCKET_ID_LEN + 1], part[2 * PART_LEN + 1] = "";

    hex_encode((struct bytes){ name->id, kind->id_len }, hex);
    if (kind->has_part)
        hex_encode((struct bytes){ name->id + SHORT_ID, PART_LEN }, part);
    int len = snprintf(ret, OBJECT_NAME_MAX + 1, "%s" FOLDER "%s%s%s%s", bucket->prefix,
                       kind->folder, hex, kind->has_part ? "." : "", part);
    assert(len > 0 && len <= (int)OBJECT_NAME_MAX);
    (void)len;
}

/* Skips what is expected there; false if it is not. */
static bool skip(const char **text, const char *expected)
{
    size_t len = strlen(expected);

    if (strncmp(*text, expected, len) != 0)
        return false;
    *text += len;
    return true;
}

static bool skip_hex(const char **text, uint8_t *ret, size_t len)
{
    char digits[2 * BUCKET_ID_LEN + 1];

    if (strspn(*text, "0123456789abcdef") < 2 * len)
        return false;
    memcpy(digits, *text, 2 * len);
    digits[2 * len] = '\0';
    *text += 2 * len;
    return hex_decode(digits, ret, len) == 0;
}

int bucket_object_parse(const struct bucket *bucket, const char *text, struct bucket_name *ret)
{
    struct bucket_name name = { .kind = 0 };

    if (!skip(&text, bucket->prefix) || !skip(&text, FOLDER))
        return -EINVAL;
    for (uint8_t kind = 1; kind < KINDS && name.kind == 0; kind++)
        if (skip(&text, kinds[kind].folder))
            name.kind = kind;
    if (name.kind == 0 || !skip_hex(&text, name.id, kinds[name.kind].id_len))
        return -EINVAL;
    if (kinds[name.kind].has_part &&
        (!skip(&text, ".") || !skip_hex(&text, name.id + SHORT_ID, PART_LEN)))
        return -EINVAL;
    if (*text)
        return -EINVAL;
    *ret = name;
    return 0;
}

/* --- sets --- */

static int name_set_reserve(struct name_set *set, size_t more)
{
    size_t room = set->room ? set->room : 64;

    while (room < set->count + more)
        room *= 2;
    if (room == set->room)
        return 0;
    struct bucket_object *grown = realloc(set->items, room * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    set->items = grown;
    set->room = room;
    return 0;
}

int name_set_add(struct name_set *set, const struct bucket_name *name, uint64_t size)
{
    int r = name_set_reserve(set, 1);

    if (r < 0)
        return r;
    set->is_sorted =
        set->is_sorted &&
        (set->count == 0 || bucket_name_compare(&set->items[set->count - 1].name, name) < 0);
    set->items[set->count++] = (struct bucket_object){ *name, size };
    return 0;
}

int name_set_join(struct name_set *to, const struct name_set *more)
{
    for (size_t i = 0; i < more->count; i++) {
        int r = name_set_add(to, &more->items[i].name, more->items[i].size);
        if (r < 0)
            return r;
    }
    return 0;
}

static int compare_objects(const void *a, const void *b)
{
    const struct bucket_object *left = a, *right = b;

    return bucket_name_compare(&left->name, &right->name);
}

void name_set_sort(struct name_set *set)
{
    size_t kept = 0;

    if (set->is_sorted)
        return;
    qsort(set->items, set->count, sizeof(*set->items), compare_objects);
    for (size_t i = 0; i < set->count; i++)
        if (kept == 0 || compare_objects(&set->items[kept - 1], &set->items[i]) != 0)
            set->items[kept++] = set->items[i];
    set->count = kept;
    set->is_sorted = true;
}

const struct bucket_object *name_set_find(const struct name_set *set,
                                          const struct bucket_name *name)
{
    const struct bucket_object wanted = { .name = *name };

    assert(set->is_sorted);
    if (set->count == 0)
        return NULL;
    return bsearch(&wanted, set->items, set->count, sizeof(*set->items), compare_objects);
}

void name_set_clear(struct name_set *set)
{
    set->count = 0;
    set->is_sorted = true;
}

void name_set_release(struct name_set *set)
{
    free(set->items);
    *set = NAME_SET_INIT;
}

/* --- objects --- */

struct listing {
    const struct bucket *bucket;
    struct name_set *set;
    enum bucket_kind kind;
};

/* What is not a name of ours is somebody else's, and none of our business. */
static int list_one(const char *text, uint64_t size, void *arg)
{
    const struct listing *listing = arg;
    struct bucket_name name;

    if (bucket_object_parse(listing->bucket, text, &name) < 0 || name.kind != listing->kind)
        return 0;
    return name_set_add(listing->set, &name, size);
}

int bucket_list(const struct bucket *bucket, enum bucket_kind kind, struct name_set *set,
                struct error *err)
{
    struct listing listing = { bucket, set, kind };
    char prefix[OBJECT_NAME_MAX + 1];

    (void)snprintf(prefix, sizeof(prefix), "%s" FOLDER "%s", bucket->prefix, kinds[kind].folder);
    int r = object_store_list(bucket->store, prefix, list_one, &listing, err);
    if (r == -ENOMEM)
        return error_set(err, r, "cannot list the objects under %s: out of memory", prefix);
    name_set_sort(set);
    return r;
}

int bucket_put(const struct bucket *bucket, const struct bucket_name *name, struct bytes data,
               struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];
    struct error taken = { .code = 0 };
    uint64_t size = 0;

    bucket_object_name(bucket, name, text);
    int r = object_store_put(bucket->store, text, data, &taken);
    if (r != -EEXIST) {
        if (r < 0 && err)
            *err = taken;
        return r;
    }
    r = object_store_stat(bucket->store, text, &size, err);
    if (r == 0 && size == data.len)
        return 0;
    if (r < 0 && r != -ENOENT)
        return r;
    return object_store_replace(bucket->store, text, data, err);
}

int bucket_get(const struct bucket *bucket, const struct bucket_name *name, size_t max,
               struct buf *ret, struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(bucket, name, text);
    return object_store_get(bucket->store, text, max, ret, err);
}

int bucket_stat(const struct bucket *bucket, const struct bucket_name *name, uint64_t *ret_size,
                struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(bucket, name, text);
    return object_store_stat(bucket->store, text, ret_size, err);
}

int bucket_remove(const struct bucket *bucket, const struct bucket_name *name, struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(bucket, name, text);
    return object_store_remove(bucket->store, text, err);
}
