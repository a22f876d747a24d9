/* s3.c - a bucket as an object store: whole objects by single requests, and writers whose bytes
 * wait in memory (s3/s3_growing.h). A claim stands for a name that is being made here: by a put,
 * for as long as that takes, or by a writer until it is closed. So of many makers of a name in this
 * process one wins before the server is asked; between processes the server's If-None-Match
 * decides. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "store/s3/s3_growing.h"
#include "store/s3/s3_requests.h"
#include "store/stores/stores.h"

struct claim {
    struct claim *next;
    struct s3_growing *growing; /* NULL: by a put, or by a create that is not decided yet */
    char name[OBJECT_NAME_MAX + 1];
};

struct s3_store {
    struct object_store base;
    struct s3_client *client;

    struct mutex lock; /* guards the claims */
    pthread_cond_t decided;
    struct claim *claims;
};

struct s3_object {
    struct object base;
    struct s3_store *store;
    struct s3_growing *growing; /* NULL: it was whole when it was opened */
    uint64_t said_size;         /* before the server was asked; 0: it was, at once */
    struct mutex lock;          /* held while it is asked: who reads waits for that */
    bool is_asked;              /* under the lock, and for good, as what follows: */
    struct s3_stat stat;
    struct buf first; /* its first bytes, and of a small one all */
    char name[OBJECT_NAME_MAX + 1];
};

struct s3_writer {
    struct object_writer base;
    struct s3_store *store;
    struct claim *claim;
};

static void unref_growing(struct s3_growing **growing)
{
    s3_growing_unref(*growing);
}

/* --- claims --- */

static struct claim **find_claim(struct s3_store *store, const char *name) REQUIRES(store->lock)
{
    struct claim **at = &store->claims;

    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* Waits for who makes it just now. -EEXIST: it is being written. */
static int claim_name(struct s3_store *store, const char *name, struct claim **ret,
                      struct error *err)
{
    struct claim *claim = calloc(1, sizeof(*claim));
    struct claim *other;

    if (claim == NULL)
        return error_set(err, -ENOMEM, "no memory for object %s", name);
    memcpy(claim->name, name, strlen(name) + 1);
    mutex_lock(&store->lock);
    while ((other = *find_claim(store, name)) != NULL && other->growing == NULL)
        cond_wait(&store->decided, &store->lock);
    if (other == NULL) {
        claim->next = store->claims;
        store->claims = claim;
    }
    mutex_unlock(&store->lock);
    if (other == NULL) {
        *ret = claim;
        return 0;
    }
    free(claim);
    return error_set(err, -EEXIST, "object %s is being written already", name);
}

static void drop_claim(struct s3_store *store, struct claim *claim)
{
    mutex_lock(&store->lock);
    struct claim **at = &store->claims;
    while (*at != NULL && *at != claim) /* it may have been removed */
        at = &(*at)->next;
    if (*at != NULL)
        *at = claim->next;
    (void)pthread_cond_broadcast(&store->decided);
    mutex_unlock(&store->lock);
    free(claim);
}

/* With a reference; NULL: nobody writes it here. */
static struct s3_growing *find_growing(struct s3_store *store, const char *name)
{
    mutex_lock(&store->lock);
    struct claim *claim = *find_claim(store, name);
    struct s3_growing *growing = claim != NULL ? claim->growing : NULL;
    if (growing != NULL)
        s3_growing_ref(growing);
    mutex_unlock(&store->lock);
    return growing;
}

/* The same, and the name is free for others then. */
static struct s3_growing *detach_growing(struct s3_store *store, const char *name)
{
    mutex_lock(&store->lock);
    struct claim **at = find_claim(store, name);
    struct s3_growing *growing = *at != NULL ? (*at)->growing : NULL;
    if (growing != NULL) {
        s3_growing_ref(growing);
        *at = (*at)->next;
    }
    mutex_unlock(&store->lock);
    return growing;
}

/* --- whole objects --- */

static int store_put(struct object_store *base, const char *name, struct bytes data,
                     struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    char etag[HTTP_FIELD_SIZE];
    struct claim *claim;

    int r = claim_name(store, name, &claim, err);
    if (r < 0)
        return r;
    r = s3_put(store->client, name, data, true, etag, err);
    drop_claim(store, claim);
    return r;
}

static int store_replace(struct object_store *base, const char *name, struct bytes data,
                         struct error *err)
{
    char etag[HTTP_FIELD_SIZE];

    return s3_put(((struct s3_store *)base)->client, name, data, false, etag, err);
}

static int store_remove(struct object_store *base, const char *name, struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    CLEANUP(unref_growing) struct s3_growing *growing = detach_growing(store, name);

    if (growing != NULL) {
        s3_growing_removed(growing);
        if (!s3_growing_is_stored(growing))
            return 0;
    }
    return s3_delete(store->client, name, err);
}

static int store_stat(struct object_store *base, const char *name, uint64_t *ret_size,
                      struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    CLEANUP(unref_growing) struct s3_growing *growing = find_growing(store, name);
    struct s3_stat stat = { .size = 0 };

    if (growing != NULL) {
        *ret_size = s3_growing_size(growing);
        return 0;
    }
    int r = s3_stat(store->client, name, &stat, err);
    if (r == 0)
        *ret_size = stat.size;
    return r;
}

static int get_growing(struct s3_growing *growing, size_t max, struct buf *ret, struct error *err)
{
    uint64_t size = s3_growing_size(growing);
    size_t len = 0;

    if (size > max)
        return error_set(err, -EFBIG, "object %s is larger than %zu bytes",
                         s3_growing_name(growing), max);
    CLEANUP(free_ptr) uint8_t *data = malloc((size_t)size + 1);
    if (data == NULL)
        return error_set(err, -ENOMEM, "no memory to read object %s", s3_growing_name(growing));
    int r = s3_growing_read(growing, 0, (size_t)size, data, &len, err);
    if (r == 0) {
        buf_release(ret);
        *ret = (struct buf){ .data = TAKE(data), .len = len };
    }
    return r;
}

static int store_get(struct object_store *base, const char *name, size_t max, struct buf *ret,
                     struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    CLEANUP(unref_growing) struct s3_growing *growing = find_growing(store, name);

    if (growing != NULL)
        return get_growing(growing, max, ret, err);
    return s3_get_whole(store->client, name, max, ret, err);
}

/* --- reading --- */

/* 1: all of it came from memory. */
static int read_first(const struct s3_object *object, uint64_t offset, size_t len, uint8_t *to)
{
    if (len == 0)
        return 1;
    if (offset >= object->first.len || len > object->first.len - (size_t)offset)
        return 0;
    memcpy(to, object->first.data + offset, len);
    return 1;
}

static bool was_asked(struct s3_object *object)
{
    mutex_lock(&object->lock);
    bool was = object->is_asked;
    mutex_unlock(&object->lock);
    return was;
}

static int ask_once(struct s3_object *object, struct error *err)
{
    int r = 0;

    mutex_lock(&object->lock);
    if (!object->is_asked) {
        r = s3_get_first(object->store->client, object->name, S3_SMALL_LEN, &object->first,
                         &object->stat, err);
        object->is_asked = r == 0;
    }
    mutex_unlock(&object->lock);
    return r;
}

/* By one request, which a server also answers with the least effort. 1: it is not done so. */
static int read_all(struct s3_object *object, uint64_t offset, size_t len, uint8_t *to,
                    size_t *ret_len, struct error *err)
{
    const uint64_t size = object->said_size;

    if (offset > 0 || size == 0 || len < size || was_asked(object))
        return 1;
    int r = s3_get_all(object->store->client, object->name, (size_t)size, to, err);
    if (r == 0)
        *ret_len = (size_t)size;
    return r;
}

static int object_read_range(struct object *base, uint64_t offset, size_t len, uint8_t *to,
                             size_t *ret_len, struct error *err)
{
    struct s3_object *object = (struct s3_object *)base;

    if (object->growing != NULL)
        return s3_growing_read(object->growing, offset, len, to, ret_len, err);
    int r = read_all(object, offset, len, to, ret_len, err);
    if (r == 1)
        r = ask_once(object, err);
    else
        return r;
    if (r < 0)
        return r;
    uint64_t left = offset < object->stat.size ? object->stat.size - offset : 0;
    if (len > left)
        len = (size_t)left;
    if (!read_first(object, offset, len, to))
        r = s3_get_range(object->store->client, object->name, object->stat.etag, offset, len, to,
                         err);
    if (r == 0)
        *ret_len = len;
    return r;
}

static void object_release(struct object *base)
{
    struct s3_object *object = (struct s3_object *)base;

    s3_growing_unref(object->growing);
    buf_release(&object->first);
    (void)pthread_mutex_destroy(&object->lock.native);
    free(object);
}

static const struct object_ops object_ops = {
    .read = object_read_range,
    .close = object_release,
};

static int open_said(struct object_store *base, const char *name, uint64_t said_size,
                     struct object **ret, struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    struct s3_object *object = calloc(1, sizeof(*object));
    int r = 0;

    if (object == NULL)
        return error_set(err, -ENOMEM, "no memory to open object %s", name);
    object->base.ops = &object_ops;
    object->store = store;
    object->said_size = said_size;
    object->lock = MUTEX_INIT;
    memcpy(object->name, name, strlen(name) + 1);
    object->growing = find_growing(store, name);
    if (object->growing == NULL && said_size == 0)
        r = ask_once(object, err);
    if (r < 0)
        object_release(&object->base);
    else
        *ret = &object->base;
    return r;
}

static int store_open_object(struct object_store *base, const char *name, struct object **ret,
                             struct error *err)
{
    return open_said(base, name, 0, ret, err);
}

static int store_open_sized(struct object_store *base, const char *name, uint64_t size,
                            struct object **ret, struct error *err)
{
    return open_said(base, name, size, ret, err);
}

/* --- writing --- */

static int writer_write(struct object_writer *base, uint64_t offset, struct bytes data,
                        struct error *err)
{
    return s3_growing_write(((struct s3_writer *)base)->claim->growing, offset, data, err);
}

static int writer_sync(struct object_writer *base, struct error *err)
{
    return s3_growing_store(((struct s3_writer *)base)->claim->growing, false, err);
}

static int writer_seal(struct object_writer *base, struct error *err)
{
    return s3_growing_store(((struct s3_writer *)base)->claim->growing, true, err);
}

static void writer_close(struct object_writer *base)
{
    struct s3_writer *writer = (struct s3_writer *)base;
    struct s3_growing *growing = writer->claim->growing;

    s3_growing_leave(growing);
    drop_claim(writer->store, writer->claim);
    s3_growing_unref(growing);
    free(writer);
}

static const struct object_writer_ops writer_ops = {
    .write = writer_write,
    .sync = writer_sync,
    .seal = writer_seal,
    .close = writer_close,
};

/* The claim is the writer's from now on. Whether another process took the name its first sync finds
 * out: to ask now would be two more requests for each object. */
static int begin_writer(struct s3_store *store, struct claim *claim, struct s3_writer *writer,
                        struct error *err)
{
    struct s3_growing *growing = NULL;

    int r = s3_growing_new(store->client, claim->name, &growing, err);
    if (r < 0)
        return r;
    *writer = (struct s3_writer){ { &writer_ops }, store, claim };
    mutex_lock(&store->lock);
    claim->growing = growing;
    (void)pthread_cond_broadcast(&store->decided);
    mutex_unlock(&store->lock);
    return 0;
}

static int store_create(struct object_store *base, const char *name, struct object_writer **ret,
                        struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    CLEANUP(free_ptr) struct s3_writer *writer = malloc(sizeof(*writer));
    struct claim *claim;

    if (writer == NULL)
        return error_set(err, -ENOMEM, "no memory to create object %s", name);
    int r = claim_name(store, name, &claim, err);
    if (r < 0)
        return r;
    r = begin_writer(store, claim, writer, err);
    if (r < 0) {
        drop_claim(store, claim);
        return r;
    }
    *ret = &TAKE(writer)->base;
    return 0;
}

/* --- listing --- */

/* What is being written here: its length is known here only, and its name perhaps, too. */
struct local_name {
    struct s3_growing *growing;
    bool is_seen;
};

struct listing {
    struct s3_store *store;
    const char *prefix;
    size_t skipped; /* of each key: what stands in front of the name */
    object_visit_fn *visit;
    void *arg;
    struct local_name *local;
    size_t local_count;
};

static int find_local(struct listing *listing)
{
    struct s3_store *store = listing->store;
    size_t count = 0;

    mutex_lock(&store->lock);
    for (const struct claim *claim = store->claims; claim != NULL; claim = claim->next)
        count++;
    listing->local = calloc(count + 1, sizeof(*listing->local));
    for (struct claim *claim = store->claims; claim != NULL && listing->local != NULL;
         claim = claim->next) {
        if (claim->growing == NULL ||
            strncmp(claim->name, listing->prefix, strlen(listing->prefix)) != 0)
            continue;
        s3_growing_ref(claim->growing);
        listing->local[listing->local_count++].growing = claim->growing;
    }
    mutex_unlock(&store->lock);
    return listing->local != NULL ? 0 : -ENOMEM;
}

static void release_local(struct listing *listing)
{
    for (size_t i = 0; i < listing->local_count; i++)
        s3_growing_unref(listing->local[i].growing);
    free(listing->local);
}

static int visit_key(struct listing *listing, const struct s3_listed *listed)
{
    const char *key_prefix = s3_client_prefix(listing->store->client);
    uint64_t size = listed->size;

    if (strncmp(listed->key, key_prefix, listing->skipped) != 0)
        return 0; /* it was not asked for */
    const char *name = listed->key + listing->skipped;
    if (!object_name_is_valid(name) || strncmp(name, listing->prefix, strlen(listing->prefix)) != 0)
        return 0; /* nobody made it with coffer */
    for (size_t i = 0; i < listing->local_count; i++)
        if (strcmp(s3_growing_name(listing->local[i].growing), name) == 0) {
            listing->local[i].is_seen = true;
            size = s3_growing_size(listing->local[i].growing);
        }
    return listing->visit(name, size, listing->arg);
}

static int visit_pages(struct listing *listing, struct error *err)
{
    char token[S3_TOKEN_SIZE] = "";

    for (;;) {
        CLEANUP(s3_page_release) struct s3_page page = { .names = NULL };
        int r = s3_list(listing->store->client, listing->prefix, token, &page, err);
        for (size_t i = 0; r == 0 && i < page.count; i++)
            r = visit_key(listing, &page.names[i]);
        if (r != 0 || !page.is_truncated)
            return r;
        if (strcmp(token, page.next) == 0)
            return error_set(err, -EIO, "%s gives the same part of its list again and again",
                             s3_client_place(listing->store->client));
        memcpy(token, page.next, sizeof(token));
    }
}

static int visit_local(struct listing *listing)
{
    for (size_t i = 0; i < listing->local_count; i++) {
        struct s3_growing *growing = listing->local[i].growing;
        if (listing->local[i].is_seen)
            continue;
        int r = listing->visit(s3_growing_name(growing), s3_growing_size(growing), listing->arg);
        if (r != 0)
            return r;
    }
    return 0;
}

static int store_list(struct object_store *base, const char *prefix, object_visit_fn *visit,
                      void *arg, struct error *err)
{
    struct s3_store *store = (struct s3_store *)base;
    CLEANUP(release_local)
    struct listing listing = { .store = store, .prefix = prefix, .visit = visit, .arg = arg };

    if (!object_prefix_is_possible(prefix))
        return 0;
    listing.skipped = strlen(s3_client_prefix(store->client));
    if (find_local(&listing) < 0)
        return error_set(err, -ENOMEM, "no memory to list objects");
    int r = visit_pages(&listing, err);
    return r != 0 ? r : visit_local(&listing);
}

/* --- the store --- */

/* The protocol does not tell. */
static int store_space(struct object_store *base, struct object_store_space *ret, struct error *err)
{
    (void)base;
    (void)err;
    *ret = (struct object_store_space){ .total = 0, .free = 0 };
    return 0;
}

static void store_close(struct object_store *base)
{
    struct s3_store *store = (struct s3_store *)base;

    s3_client_free(store->client);
    free(store);
}

static const struct object_store_ops store_ops = {
    .type = "s3",
    .put = store_put,
    .replace = store_replace,
    .get = store_get,
    .open = store_open_object,
    .open_sized = store_open_sized,
    .remove = store_remove,
    .list = store_list,
    .stat = store_stat,
    .create = store_create,
    .space = store_space,
    .close = store_close,
    .prefers_sealing = true,
};

int s3_store_open(const struct s3_settings *settings, struct object_store **ret, struct error *err)
{
    struct s3_store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return error_set(err, -ENOMEM, "no memory for an object store");
    store->base.ops = &store_ops;
    store->lock = MUTEX_INIT;
    store->decided = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    int r = s3_client_new(settings, &store->client, err);
    if (r < 0) {
        free(store);
        return r;
    }
    *ret = &store->base;
    return 0;
}
