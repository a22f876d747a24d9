#include "transfer/sharing.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "cannot look at what a bucket holds: out of memory");
}

/* --- what is in clear --- */

static int unreadable(const struct bucket *bucket, const struct bucket_name *name, int r,
                      struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(bucket, name, text);
    switch (r) {
    case -ENOMEM:
        return no_memory(err);
    case -EPROTONOSUPPORT:
        return error_set(err, r,
                         "%s was written by a later version of coffer: use that here, as this one"
                         " does not know what is needed",
                         text);
    default:
        return error_set(err, -EBADMSG,
                         "%s was altered or cut short: nothing is removed as long as it is there,"
                         " since what it named may be needed",
                         text);
    }
}

int bucket_marks(const struct bucket *bucket, mark_visit_fn *visit, void *arg, struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    struct removing_mark mark;

    int r = bucket_list(bucket, BUCKET_MARK, &found, err);
    for (size_t i = 0; i < found.count && r == 0; i++) {
        CLEANUP(buf_release) struct buf encoded = BUF_INIT;
        const struct bucket_name *name = &found.items[i].name;
        r = bucket_get(bucket, name, MARK_MAX, &encoded, err);
        if (r == -ENOENT) { /* it was removed meanwhile */
            r = 0;
            continue;
        }
        /* One that cannot be read is a mark all the same. */
        if (r == 0 && mark_decode(buf_bytes(&encoded), &mark) < 0)
            mark = (struct removing_mark){ .mark = bucket_name_uuid(name) };
        if (r == 0)
            r = visit(&mark, arg);
    }
    return r;
}

/* One part. False in *ret_is_there: it was dropped meanwhile. */
static int read_part(const struct bucket *bucket, const struct bucket_name *name,
                     struct reference_head *ret, struct name_set *names, bool *ret_is_there,
                     struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    *ret_is_there = false;
    int r = bucket_get(bucket, name, REFERENCE_MAX, &encoded, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r == -EFBIG ? unreadable(bucket, name, r, err) : r;
    r = reference_decode(buf_bytes(&encoded), ret, names);
    if (r < 0)
        return unreadable(bucket, name, r, err);
    *ret_is_there = true;
    return 0;
}

int bucket_references(const struct bucket *bucket, reference_visit_fn *visit, void *arg,
                      struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    struct reference_head head;

    int r = bucket_list(bucket, BUCKET_REFERENCE, &found, err);
    for (size_t i = 0; i < found.count && r == 0; i++) {
        bool is_there = false;
        name_set_clear(&names);
        r = read_part(bucket, &found.items[i].name, &head, &names, &is_there, err);
        if (r == 0 && is_there)
            r = visit(&head, &names, arg);
    }
    return r;
}

/* --- needing --- */

static bool is_part_of(const struct bucket_name *name, const struct uuid *reference)
{
    const struct uuid found = bucket_name_uuid(name);

    return uuid_equal(&found, reference);
}

int reference_open(struct reference *reference, const struct bucket *bucket,
                   const struct reference_head *head, struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    struct reference opened = {
        .bucket = bucket, .head = *head, .parts = NAME_SET_INIT, .names = NAME_SET_INIT
    };
    struct reference_head old;
    bool is_there = false;

    int r = bucket_list(bucket, BUCKET_REFERENCE, &found, err);
    for (size_t i = 0; i < found.count && r == 0; i++) {
        if (!is_part_of(&found.items[i].name, &head->reference))
            continue;
        opened.next_part = reference_part(&found.items[i].name) + 1;
        r = read_part(bucket, &found.items[i].name, &old, &opened.names, &is_there, err);
        if (r == 0 && is_there && name_set_add(&opened.parts, &found.items[i].name, 0) < 0)
            r = no_memory(err);
    }
    if (r < 0) {
        reference_close(&opened);
        return r;
    }
    name_set_sort(&opened.names);
    *reference = opened;
    return 0;
}

void reference_close(struct reference *reference)
{
    name_set_release(&reference->parts);
    name_set_release(&reference->names);
}

static int put_part(struct reference *reference, const struct name_set *names, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    const struct bucket_name name =
        reference_name(&reference->head.reference, reference->next_part++);
    char text[OBJECT_NAME_MAX + 1];

    if (reference_encode(&reference->head, names, &encoded) < 0)
        return no_memory(err);
    bucket_object_name(reference->bucket, &name, text);
    int r = object_store_put(reference->bucket->store, text, buf_bytes(&encoded), err);
    if (r == 0 && name_set_add(&reference->parts, &name, 0) < 0)
        r = no_memory(err);
    return r;
}

int reference_add(struct reference *reference, struct name_set *names, struct error *err)
{
    CLEANUP(name_set_release) struct name_set part = NAME_SET_INIT;
    size_t i = 0;
    int r = 0;

    name_set_sort(names);
    while (r == 0 && i < names->count) {
        name_set_clear(&part);
        for (; r == 0 && i < names->count && part.count < REFERENCE_NAMES_MAX; i++)
            if (!name_set_find(&reference->names, &names->items[i].name))
                r = name_set_add(&part, &names->items[i].name, 0);
        if (r < 0)
            return no_memory(err);
        if (part.count > 0)
            r = put_part(reference, &part, err);
        if (r == 0 && name_set_join(&reference->names, &part) < 0)
            return no_memory(err);
        name_set_sort(&reference->names);
    }
    return r;
}

struct seen_mark {
    struct removing_mark mark;
    bool is_there;
};

static int see_mark(const struct removing_mark *mark, void *arg)
{
    struct seen_mark *seen = arg;

    *seen = (struct seen_mark){ *mark, true };
    return 0;
}

static int wait_for_marks(const struct bucket *bucket, const struct share_wait *wait,
                          struct error *err)
{
    char instance[UUID_TEXT_SIZE], mark[UUID_TEXT_SIZE];

    for (;;) {
        struct seen_mark seen = { .is_there = false };
        int r = bucket_marks(bucket, see_mark, &seen, err);
        if (r < 0 || !seen.is_there)
            return r;
        r = wait->wait(&seen.mark, wait->arg);
        if (r < 0) {
            uuid_format(&seen.mark.instance, instance);
            uuid_format(&seen.mark.mark, mark);
            return error_set(err, r,
                             "instance %s is removing something from the object store (mark %s);"
                             " it did not end in time",
                             instance, mark);
        }
    }
}

/* What the reference names and found has not, or not with the length that it must have. */
static int compare(const struct reference *reference, const struct name_set *needed,
                   const struct name_set *found, struct name_set *ret_missing)
{
    int r = 0;

    for (size_t i = 0; i < reference->names.count && r == 0; i++) {
        const struct bucket_name *name = &reference->names.items[i].name;
        const struct bucket_object *there = name_set_find(found, name);
        const struct bucket_object *must = needed ? name_set_find(needed, name) : NULL;
        if (!there || (must && must->size != there->size))
            r = name_set_add(ret_missing, name, must ? must->size : 0);
    }
    return r;
}

static int list_all(const struct bucket *bucket, struct name_set *ret, struct error *err)
{
    int r = bucket_list(bucket, BUCKET_PACK, ret, err);

    if (r == 0)
        r = bucket_list(bucket, BUCKET_CHUNK, ret, err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_MANIFEST, ret, err);
    return r;
}

/* All parts that it consists of are there. */
static int is_intact(const struct reference *reference, bool *ret, struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;

    int r = bucket_list(reference->bucket, BUCKET_REFERENCE, &found, err);
    if (r < 0)
        return r;
    *ret = true;
    for (size_t i = 0; i < reference->parts.count; i++)
        *ret = *ret && name_set_find(&found, &reference->parts.items[i].name);
    return 0;
}

/* All of it anew: somebody dropped it. */
static int write_again(struct reference *reference, struct error *err)
{
    CLEANUP(name_set_release) struct name_set names = reference->names;

    reference->names = NAME_SET_INIT;
    name_set_clear(&reference->parts);
    return reference_add(reference, &names, err);
}

int reference_settle(struct reference *reference, const struct name_set *needed,
                     const struct share_wait *wait, struct name_set *ret_missing, struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    bool intact = false;
    int r = 0;

    while (r == 0 && !intact) {
        r = wait_for_marks(reference->bucket, wait, err);
        if (r == 0)
            r = is_intact(reference, &intact, err);
        if (r == 0 && !intact)
            r = write_again(reference, err);
    }
    if (r == 0)
        r = list_all(reference->bucket, &found, err);
    if (r < 0)
        return r;
    name_set_clear(ret_missing);
    return compare(reference, needed, &found, ret_missing) < 0 ? no_memory(err) : 0;
}

int reference_publish(struct reference *reference, const uint8_t manifest[static HASH_LEN],
                      struct bytes head, struct error *err)
{
    const struct bucket_name name = bucket_name_of(BUCKET_HEAD, manifest);
    bool intact = false;

    int r = bucket_put(reference->bucket, &name, head, err);
    if (r == 0)
        r = is_intact(reference, &intact, err);
    if (r < 0 || intact)
        return r;
    r = bucket_remove(reference->bucket, &name, err);
    if (r < 0)
        return r;
    return error_set(err, -ECANCELED,
                     "the snapshot was removed from the object store while it was uploaded");
}

/* Whoever removes the snapshot removes its head, then its reference, then the head again: so either
 * he finds the new head, or the reference is gone here. */
int reference_exchange_head(const struct bucket *bucket, const struct uuid *reference,
                            const uint8_t manifest[static HASH_LEN], struct bytes head,
                            struct error *err)
{
    const struct bucket_name name = bucket_name_of(BUCKET_HEAD, manifest);
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(bucket, &name, text);
    int r = object_store_replace(bucket->store, text, head, err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_REFERENCE, &found, err);
    for (size_t i = 0; i < found.count && r == 0; i++)
        if (is_part_of(&found.items[i].name, reference))
            return 0;
    if (r < 0)
        return r;
    r = bucket_remove(bucket, &name, err);
    return r < 0 ? r
                 : error_set(err, -ENOENT,
                             "the snapshot was removed from the object store meanwhile");
}

int reference_drop(const struct bucket *bucket, const struct uuid *reference, struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;

    int r = bucket_list(bucket, BUCKET_REFERENCE, &found, err);
    for (size_t i = 0; i < found.count && r == 0; i++)
        if (is_part_of(&found.items[i].name, reference))
            r = bucket_remove(bucket, &found.items[i].name, err);
    return r;
}

/* --- removing --- */

static int put_mark(const struct bucket *bucket, const struct removing_mark *mark,
                    struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    const struct bucket_name name = bucket_name_of(BUCKET_MARK, mark->mark.bytes);
    char text[OBJECT_NAME_MAX + 1];

    if (mark_encode(mark, &encoded) < 0)
        return no_memory(err);
    bucket_object_name(bucket, &name, text);
    return object_store_replace(bucket->store, text, buf_bytes(&encoded), err);
}

int removal_begin(struct removal *removal, const struct bucket *bucket,
                  const struct removing_mark *mark, struct error *err)
{
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    const struct bucket_name name = bucket_name_of(BUCKET_MARK, mark->mark.bytes);

    int r = put_mark(bucket, mark, err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_MARK, &found, err);
    if (r < 0)
        return r;
    if (!name_set_find(&found, &name)) {
        (void)bucket_remove(bucket, &name, NULL); /* nothing was removed: who sees it, only waits */
        return error_set(err, -EBUSY,
                         "the object store does not list what was just put into it: whoever"
                         " removes something there could remove what others need, so nothing is");
    }
    *removal = (struct removal){ bucket, *mark };
    return 0;
}

/* The references of uploads that name a manifest: of one that has a head, it is one. */
struct found_references {
    struct bucket_name manifest;
    struct name_set references; /* part 0 of each */
};

static int find_reference(const struct reference_head *head, const struct name_set *names,
                          void *arg)
{
    struct found_references *found = arg;
    const struct bucket_name name = reference_name(&head->reference, 0);

    if (head->kind != REFERENCE_UPLOAD || !name_set_find(names, &found->manifest))
        return 0;
    return name_set_add(&found->references, &name, 0);
}

int removal_snapshot(struct removal *removal, const uint8_t manifest[static HASH_LEN],
                     struct error *err)
{
    const struct bucket_name head = bucket_name_of(BUCKET_HEAD, manifest);
    struct found_references found = { .manifest = bucket_name_of(BUCKET_MANIFEST, manifest),
                                      .references = NAME_SET_INIT };

    int r = bucket_remove(removal->bucket, &head, err);
    if (r == 0)
        r = bucket_references(removal->bucket, find_reference, &found, err);
    name_set_sort(&found.references);
    for (size_t i = 0; i < found.references.count && r == 0; i++) {
        const struct uuid reference = bucket_name_uuid(&found.references.items[i].name);
        r = reference_drop(removal->bucket, &reference, err);
    }
    if (r == 0)
        r = bucket_remove(removal->bucket, &head, err); /* see the header */
    name_set_release(&found.references);
    return r;
}

static int join_names(const struct reference_head *head, const struct name_set *names, void *arg)
{
    (void)head;
    return name_set_join(arg, names);
}

static int has_no_reference(const struct bucket *bucket, const struct bucket_name *head,
                            struct error *err)
{
    char text[OBJECT_NAME_MAX + 1];
    uint64_t size = 0;

    int r = bucket_stat(bucket, head, &size, err);
    if (r == -ENOENT) /* somebody removes it at the same time */
        return 0;
    if (r < 0)
        return r;
    bucket_object_name(bucket, head, text);
    return error_set(err, -EBUSY,
                     "the snapshot of %s has no reference, so what it needs is not known: nothing"
                     " is removed",
                     text);
}

/* Every snapshot that exists is protected by a reference. */
static int check_heads(const struct bucket *bucket, const struct name_set *heads,
                       const struct name_set *needed, struct error *err)
{
    int r = 0;

    for (size_t i = 0; i < heads->count && r == 0; i++) {
        const struct bucket_name manifest =
            bucket_name_of(BUCKET_MANIFEST, heads->items[i].name.id);
        if (!name_set_find(needed, &manifest))
            r = has_no_reference(bucket, &heads->items[i].name, err);
    }
    return r;
}

static int check_mark(const struct removal *removal, struct error *err)
{
    const struct bucket_name name = bucket_name_of(BUCKET_MARK, removal->mark.mark.bytes);
    uint64_t size = 0;

    int r = bucket_stat(removal->bucket, &name, &size, err);
    if (r == -ENOENT)
        return error_set(err, -ECANCELED,
                         "the mark of this removal was expired by somebody: it ends here, and can"
                         " be begun again");
    return r;
}

static int sweep_one(struct removal *removal, const struct bucket_object *object,
                     struct removal_counts *counts, struct error *err)
{
    int r = check_mark(removal, err);

    if (r == 0)
        r = bucket_remove(removal->bucket, &object->name, err);
    if (r == 0) {
        counts->objects++;
        counts->bytes += object->size;
    }
    return r;
}

struct sweep_watch {
    removal_watch_fn *look;
    void *arg;
};

static int look(const struct sweep_watch *watch, size_t looked_at, size_t total, struct error *err)
{
    int r = watch->look ? watch->look(looked_at, total, watch->arg) : 0;

    return r < 0 ? error_set(err, r, "the removal was stopped; what nobody needs is not all gone")
                 : 0;
}

int removal_sweep(struct removal *removal, removal_watch_fn *watch, void *arg,
                  struct removal_counts *ret, struct error *err)
{
    const struct sweep_watch watching = { watch, arg };
    CLEANUP(name_set_release) struct name_set found = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set needed = NAME_SET_INIT;
    struct removal_counts counts = { .objects = 0 };

    /* In this order: whatever is found was named in a reference before it was put, and so was a
     * snapshot's manifest before its head. */
    int r = list_all(removal->bucket, &found, err);
    if (r == 0)
        r = bucket_list(removal->bucket, BUCKET_HEAD, &heads, err);
    if (r == 0)
        r = bucket_references(removal->bucket, join_names, &needed, err);
    if (r == -ENOMEM)
        return no_memory(err);
    name_set_sort(&needed);
    if (r == 0)
        r = check_heads(removal->bucket, &heads, &needed, err);
    for (size_t i = 0; i < found.count && r == 0; i++) {
        if (name_set_find(&needed, &found.items[i].name)) {
            counts.kept++;
            continue;
        }
        r = look(&watching, i, found.count, err);
        if (r == 0)
            r = sweep_one(removal, &found.items[i], &counts, err);
    }
    if (r == 0)
        r = look(&watching, found.count, found.count, err);
    if (r == 0)
        *ret = counts;
    return r;
}

int mark_expire(const struct bucket *bucket, const struct uuid *mark, struct error *err)
{
    const struct bucket_name name = bucket_name_of(BUCKET_MARK, mark->bytes);

    return bucket_remove(bucket, &name, err);
}

int removal_end(struct removal *removal, struct error *err)
{
    return mark_expire(removal->bucket, &removal->mark.mark, err);
}
