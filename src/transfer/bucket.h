/* bucket.h - the objects of Snap-To-Object in an object store: how they are named, and sets of such
 * names. Several instances may use one bucket at a time; what they owe each other is in sharing.h,
 * what the objects hold in docs/formats/snap-to-object.md.
 *
 * Packs (ciphertext of file data), chunks (sealed records) and manifests never change: their names
 * say what they hold, so that putting one twice puts the same. Heads, references and marks are in
 * clear. A head has the name of its manifest.
 *
 * Units      bytes.
 * Errors     as store/object_store.h; -EINVAL: not such a name, or a prefix that cannot be one.
 * Ownership  the store stays the caller's.
 * Threads    any, as the store; a struct name_set is used by one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "store/object_store.h"

#define BUCKET_PREFIX_MAX 128u
#define BUCKET_ID_LEN 32u

/* The numbers are in references and never change. */
enum bucket_kind {
    BUCKET_PACK = 1,      /* id: 16 bytes, then zeros */
    BUCKET_CHUNK = 2,     /* id: 32 bytes */
    BUCKET_MANIFEST = 3,  /* id: SHA-256 of the object */
    BUCKET_HEAD = 4,      /* id: that of its manifest */
    BUCKET_REFERENCE = 5, /* id: 16 bytes; the number of the part, u32 big-endian; zeros */
    BUCKET_MARK = 6,      /* id: 16 bytes, then zeros */
};

struct bucket_name {
    uint8_t kind; /* enum bucket_kind */
    uint8_t id[BUCKET_ID_LEN];
};

/* id has as many bytes as the kind says. */
struct bucket_name bucket_name_of(enum bucket_kind kind, const uint8_t *id);
struct bucket_name reference_name(const struct uuid *reference, uint32_t part);
struct uuid bucket_name_uuid(const struct bucket_name *name); /* of PACK, REFERENCE, MARK */
uint32_t reference_part(const struct bucket_name *name);
int bucket_name_compare(const struct bucket_name *a, const struct bucket_name *b);

struct bucket {
    struct object_store *store;
    char prefix[BUCKET_PREFIX_MAX + 2]; /* "", or parts that each end with '/' */
};

/* prefix: parts as in an object's name, joined by '/'; "" for none. */
int bucket_init(struct bucket *bucket, struct object_store *store, const char *prefix,
                struct error *err);

void bucket_object_name(const struct bucket *bucket, const struct bucket_name *name,
                        char ret[static OBJECT_NAME_MAX + 1]);
/* -EINVAL for what is not the name of an object of ours under this prefix. */
int bucket_object_parse(const struct bucket *bucket, const char *text, struct bucket_name *ret);

/* A set of names, with sizes where they are known. */
struct bucket_object {
    struct bucket_name name;
    uint64_t size;
};

struct name_set {
    struct bucket_object *items; /* in order, and no two the same, once sorted */
    size_t count;
    size_t room;
    bool is_sorted;
};

#define NAME_SET_INIT ((struct name_set){ .items = NULL, .is_sorted = true })

int name_set_add(struct name_set *set, const struct bucket_name *name, uint64_t size);
int name_set_join(struct name_set *to, const struct name_set *more);
void name_set_sort(struct name_set *set);
/* NULL: it is not in the set, which is sorted. */
const struct bucket_object *name_set_find(const struct name_set *set,
                                          const struct bucket_name *name);
void name_set_clear(struct name_set *set); /* keeps the memory */
void name_set_release(struct name_set *set);

/* Adds all that are there of one kind. The set is sorted afterwards. */
int bucket_list(const struct bucket *bucket, enum bucket_kind kind, struct name_set *set,
                struct error *err);

/* Of what never changes: one that is there already is what it would be, unless its length says
 * otherwise; then it takes its place. */
int bucket_put(const struct bucket *bucket, const struct bucket_name *name, struct bytes data,
               struct error *err);
int bucket_get(const struct bucket *bucket, const struct bucket_name *name, size_t max,
               struct buf *ret, struct error *err);
int bucket_stat(const struct bucket *bucket, const struct bucket_name *name, uint64_t *ret_size,
                struct error *err);
int bucket_remove(const struct bucket *bucket, const struct bucket_name *name, struct error *err);
