#include "control/uploads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/parallel.h"
#include "control/bucket_session.h"
#include "control/filesystem.h"
#include "control/key_list.h"
#include "control/uploads_removal.h"
#include "transfer/head.h"
#include "transfer/sharing.h"

#define GROUP 16u
#define THREADS 8u

/* --- one head --- */

static int key_of(const struct key_ring *ring, const struct key_needed *needed,
                  struct uploaded_key *ret, struct error *err)
{
    const struct key_generation *generation =
        key_ring_find(ring, &needed->origin, needed->generation);

    if (!generation)
        return error_set(err, -EBADMSG,
                         "the key ring in the head of the snapshot lacks generation %u, which it "
                         "needs",
                         needed->generation);
    ret->origin = needed->origin;
    ret->generation = needed->generation;
    key_list_describe(&generation->current.key, &ret->key);
    memcpy(ret->addresses, generation->current.key.addresses, sizeof(ret->addresses));
    return 0;
}

static int view_keys(const struct snapshot_head *head, struct uploaded_view *view,
                     struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(free_ptr) struct uploaded_key *keys = NULL;
    const struct snapshot_about *about = &head->about;

    int r = key_ring_peek(head->ring, &ring, err);
    if (r < 0)
        return r;
    if (about->needed_count == 0)
        return error_set(err, -EBADMSG, "the head of the snapshot names no key");
    keys = calloc(about->needed_count, sizeof(*keys));
    if (!keys)
        return error_set(err, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < about->needed_count && r == 0; i++)
        r = key_of(&ring, &about->needed[i], &keys[i], err);
    if (r < 0)
        return r;
    view->fs = ring.uuid;
    view->keys = TAKE(keys);
    view->key_count = about->needed_count;
    return 0;
}

static int view_fill(struct bytes encoded, struct uploaded_view *view, struct error *err)
{
    struct snapshot_head head;

    int r = head_decode(encoded, &head, err);
    if (r == 0)
        r = view_keys(&head, view, err);
    if (r < 0)
        return r;
    view->has_names = head.has_names;
    memcpy(view->filesystem, head.about.filesystem, sizeof(view->filesystem));
    memcpy(view->snapshot, head.about.snapshot, sizeof(view->snapshot));
    memcpy(view->access_point, head.about.access_point, sizeof(view->access_point));
    view->created_ns = (int64_t)head.about.created_ns;
    view->uploaded_ns = (int64_t)head.about.uploaded_ns;
    view->size = head.about.size;
    view->inodes = head.about.inodes;
    view->data_len = head.data_len;
    return 0;
}

static void view_release(struct uploaded_view *view)
{
    free(view->keys);
    view->keys = NULL;
}

/* --- all of them --- */

/* Some heads that are read at a time. */
struct group {
    const struct bucket *bucket;
    const struct bucket_object *heads;
    struct uploaded_view views[GROUP];
};

static void read_head(void *arg, size_t index)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct group *group = arg;
    struct uploaded_view *view = &group->views[index];
    struct locator locator;

    memcpy(locator.manifest, group->heads[index].name.id, HASH_LEN);
    *view = (struct uploaded_view){ .key_count = 0 };
    int r = locator_format(&locator, view->locator, &view->fault);
    if (r == 0)
        r = head_get(group->bucket, locator.manifest, &encoded, &view->fault);
    if (r == 0)
        r = view_fill(buf_bytes(&encoded), view, &view->fault);
    view->fault.code = r;
}

/* What is wrong with the store, rather than with a head: a list that shows it for each one would
 * say nothing. */
static bool is_of_store(int code)
{
    return code != 0 && !is_altered(code) && code != -EFBIG;
}

static int visit_group(struct group *group, size_t count, uploaded_visit_fn *visit, void *arg,
                       struct error *err)
{
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        const struct uploaded_view *view = &group->views[i];
        if (view->fault.code == -ENOENT) /* it was removed just now */
            continue;
        if (is_of_store(view->fault.code))
            r = error_set(err, view->fault.code, "%s", view->fault.text);
        else
            r = visit(view, arg);
    }
    for (size_t i = 0; i < count; i++)
        view_release(&group->views[i]);
    return r;
}

static int each_head(const struct bucket *bucket, const struct bucket_object *heads, size_t count,
                     uploaded_visit_fn *visit, void *arg, struct error *err)
{
    CLEANUP(free_ptr) struct group *group = calloc(1, sizeof(*group));
    int r = 0;

    if (!group)
        return error_set(err, -ENOMEM, "out of memory");
    group->bucket = bucket;
    for (size_t i = 0; i < count && r == 0; i += GROUP) {
        size_t n = count - i < GROUP ? count - i : GROUP;
        group->heads = heads + i;
        parallel_each(n, THREADS, read_head, group);
        r = visit_group(group, n, visit, arg, err);
    }
    return r;
}

/* The index of the first one behind. */
static size_t first_behind(const struct name_set *heads, const struct locator *after)
{
    size_t i = 0;

    while (i < heads->count && memcmp(heads->items[i].name.id, after->manifest, HASH_LEN) <= 0)
        i++;
    return i;
}

int control_uploads_each(struct control *control, const char *store, const char *after,
                         size_t limit, uploaded_visit_fn *visit, void *arg, struct error *err)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct locator behind = { .manifest = { 0 } };
    struct bucket bucket;

    int r = after ? locator_parse(after, &behind, err) : 0;
    if (r == 0)
        r = bucket_session_open(control, store, &opened, err);
    if (r == 0)
        r = bucket_init(&bucket, opened, "", err);
    if (r == 0)
        r = bucket_list(&bucket, BUCKET_HEAD, &heads, err);
    if (r < 0)
        return r;
    size_t first = after ? first_behind(&heads, &behind) : 0;
    size_t count = heads.count - first;
    if (count == 0)
        return 0;
    return each_head(&bucket, heads.items + first, count < limit ? count : limit, visit, arg, err);
}

/* --- who uses the store --- */

const char *bucket_use_name(enum bucket_use_kind kind)
{
    static const char *const names[] = { [BUCKET_USE_UPLOAD] = "upload",
                                         [BUCKET_USE_SNAPSHOT] = "snapshot",
                                         [BUCKET_USE_DOWNLOAD] = "download",
                                         [BUCKET_USE_REMOVAL] = "removal" };

    return names[kind];
}

/* References come part by part, those of one reference behind each other. */
struct uses {
    const struct name_set *heads;
    struct uuid instance;
    struct bucket_use use; /* that is gathered */
    bool has_use;
    bucket_use_visit_fn *visit;
    void *arg;
};

static int give_use(struct uses *uses)
{
    bool has_use = uses->has_use;

    uses->has_use = false;
    return has_use ? uses->visit(&uses->use, uses->arg) : 0;
}

static void look_for_head(struct uses *uses, const struct name_set *names)
{
    struct locator locator;

    for (size_t i = 0; i < uses->heads->count; i++) {
        const struct bucket_name manifest =
            bucket_name_of(BUCKET_MANIFEST, uses->heads->items[i].name.id);
        if (!name_set_find(names, &manifest))
            continue;
        memcpy(locator.manifest, manifest.id, HASH_LEN);
        uses->use.kind = BUCKET_USE_SNAPSHOT;
        (void)locator_format(&locator, uses->use.locator, NULL);
        return;
    }
}

static int add_part(const struct reference_head *head, const struct name_set *names, void *arg)
{
    struct uses *uses = arg;
    int r = 0;

    if (!uses->has_use || !uuid_equal(&uses->use.id, &head->reference)) {
        r = give_use(uses);
        uses->use = (struct bucket_use){
            .kind = head->kind == REFERENCE_UPLOAD ? BUCKET_USE_UPLOAD : BUCKET_USE_DOWNLOAD,
            .id = head->reference,
            .fs = head->fs,
            .instance = head->instance,
            .is_ours = uuid_equal(&head->instance, &uses->instance),
            .since_ns = (int64_t)head->written_ns,
        };
        uses->has_use = true;
    }
    uses->use.names += names->count;
    if (uses->use.kind == BUCKET_USE_UPLOAD)
        look_for_head(uses, names);
    return r;
}

static int add_mark(const struct removing_mark *mark, void *arg)
{
    struct uses *uses = arg;
    const struct bucket_use use = {
        .kind = BUCKET_USE_REMOVAL,
        .id = mark->mark,
        .instance = mark->instance,
        .is_ours = uuid_equal(&mark->instance, &uses->instance),
        .since_ns = (int64_t)mark->written_ns,
    };

    return uses->visit(&use, uses->arg);
}

static int uses_each(struct control *control, const struct bucket *bucket,
                     bucket_use_visit_fn *visit, void *arg, struct error *err)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    struct uses uses = { .heads = &heads, .visit = visit, .arg = arg };

    control_instance(control, &uses.instance);
    int r = bucket_marks(bucket, add_mark, &uses, err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_HEAD, &heads, err);
    if (r == 0)
        r = bucket_references(bucket, add_part, &uses, err);
    return r == 0 ? give_use(&uses) : r;
}

int control_bucket_uses_each(struct control *control, const char *store, bucket_use_visit_fn *visit,
                             void *arg, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct bucket bucket;

    int r = bucket_session_open(control, store, &opened, err);
    if (r == 0)
        r = bucket_init(&bucket, opened, "", err);
    return r < 0 ? r : uses_each(control, &bucket, visit, arg, err);
}

/* --- expiry --- */

struct search {
    struct uuid id;
    bool is_found;
    struct bucket_use use;
};

static int find_use(const struct bucket_use *use, void *arg)
{
    struct search *search = arg;

    if (uuid_equal(&use->id, &search->id)) {
        search->is_found = true;
        search->use = *use;
    }
    return 0;
}

static int expire(struct control *control, const char *store, const struct bucket *bucket,
                  const struct bucket_use *use, struct error *err)
{
    if (use->kind == BUCKET_USE_SNAPSHOT)
        return error_set(err, -EBUSY,
                         "it is what an uploaded snapshot needs; to remove the snapshot give "
                         "coffer fs tier snapshot remove %s %s",
                         store, use->locator);
    if (use->kind == BUCKET_USE_REMOVAL && uploads_removal_is(control, store, &use->id))
        return error_set(err, -EBUSY,
                         "it is a removal of this instance, which is finished by itself as soon "
                         "as the object store lets it");
    return use->kind == BUCKET_USE_REMOVAL ? mark_expire(bucket, &use->id, err)
                                           : reference_drop(bucket, &use->id, err);
}

int control_bucket_expire(struct control *control, const char *store, const struct uuid *id,
                          struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *opened = NULL;
    struct search search = { .id = *id };
    char text[UUID_TEXT_SIZE];
    struct bucket bucket;

    uuid_format(id, text);
    int r = bucket_session_open(control, store, &opened, err);
    if (r == 0)
        r = bucket_init(&bucket, opened, "", err);
    if (r == 0)
        r = uses_each(control, &bucket, find_use, &search, err);
    if (r < 0)
        return r;
    if (!search.is_found)
        return error_set(err, -ENOENT,
                         "object store %s has no entry %s; coffer fs tier ops %s "
                         "lists those that there are",
                         store, text, store);
    r = expire(control, store, &bucket, &search.use, err);
    if (r == 0)
        events_add(&control->events, LOG_LEVEL_WARNING, "object-store-use-expired", "",
                   "the entry %s (%s) of object store %s was expired", text,
                   bucket_use_name(search.use.kind), store);
    return r;
}
