#include "store/s3/s3_growing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "store/s3/s3_requests.h"

#define OBJECT_MAX ((uint64_t)1 << 30) /* all of it is in memory */
#define ROOM_MIN ((size_t)64 * 1024)

struct s3_growing {
    struct s3_client *client;
    struct mutex storing; /* held while it is stored; asked for before lock */

    struct mutex lock; /* guards all below */
    unsigned refs;
    uint8_t *data;
    size_t len, room;
    uint64_t changes;        /* writes so far */
    uint64_t stored_changes; /* of these are stored */
    bool is_stored;          /* once */
    bool is_dropped;         /* not in memory any more: it is read from the server */
    bool is_removed;
    bool has_failed;
    char etag[HTTP_FIELD_SIZE];
    char name[OBJECT_NAME_MAX + 1];
};

int s3_growing_new(struct s3_client *client, const char *name, struct s3_growing **ret,
                   struct error *err)
{
    struct s3_growing *growing = calloc(1, sizeof(*growing));

    if (growing == NULL)
        return error_set(err, -ENOMEM, "no memory for object %s", name);
    growing->client = client;
    growing->storing = MUTEX_INIT;
    growing->lock = MUTEX_INIT;
    growing->refs = 1;
    growing->changes = 1; /* an object without bytes is to be stored, too */
    memcpy(growing->name, name, strlen(name) + 1);
    *ret = growing;
    return 0;
}

void s3_growing_ref(struct s3_growing *growing)
{
    mutex_lock(&growing->lock);
    growing->refs++;
    mutex_unlock(&growing->lock);
}

void s3_growing_unref(struct s3_growing *growing)
{
    if (growing == NULL)
        return;
    mutex_lock(&growing->lock);
    bool is_last = --growing->refs == 0;
    mutex_unlock(&growing->lock);
    if (!is_last)
        return;
    free(growing->data);
    free(growing);
}

const char *s3_growing_name(const struct s3_growing *growing)
{
    return growing->name;
}

static int reserve(struct s3_growing *growing, size_t end) REQUIRES(growing->lock)
{
    if (end <= growing->room)
        return 0;
    size_t room = growing->room < ROOM_MIN ? ROOM_MIN : growing->room * 2;
    if (room < end)
        room = end;
    uint8_t *data = realloc(growing->data, room);
    if (data == NULL)
        return -ENOMEM;
    growing->data = data;
    growing->room = room;
    return 0;
}

int s3_growing_write(struct s3_growing *growing, uint64_t offset, struct bytes data,
                     struct error *err)
{
    if (data.len == 0)
        return 0;
    if (offset > OBJECT_MAX || data.len > OBJECT_MAX - offset)
        return error_set(err, -EFBIG, "object %s would become too long", growing->name);
    size_t end = (size_t)offset + data.len;
    mutex_lock(&growing->lock);
    int r = reserve(growing, end);
    if (r == 0) {
        if (offset > growing->len)
            memset(growing->data + growing->len, 0, (size_t)offset - growing->len);
        memcpy(growing->data + offset, data.data, data.len);
        growing->len = end > growing->len ? end : growing->len;
        growing->changes++;
    }
    mutex_unlock(&growing->lock);
    return r < 0 ? error_set(err, r, "no memory for object %s", growing->name) : 0;
}

static size_t bytes_at(const struct s3_growing *growing, uint64_t offset, size_t len)
    REQUIRES(growing->lock)
{
    if (offset >= growing->len)
        return 0;
    size_t left = growing->len - (size_t)offset;
    return len < left ? len : left;
}

int s3_growing_read(struct s3_growing *growing, uint64_t offset, size_t len, uint8_t *to,
                    size_t *ret_len, struct error *err)
{
    char etag[HTTP_FIELD_SIZE];
    int r = 0;

    mutex_lock(&growing->lock);
    size_t n = bytes_at(growing, offset, len);
    bool is_here = !growing->is_dropped;
    if (is_here && n > 0)
        memcpy(to, growing->data + offset, n);
    memcpy(etag, growing->etag, sizeof(etag));
    mutex_unlock(&growing->lock);
    if (!is_here && n > 0)
        r = s3_get_range(growing->client, growing->name, etag, offset, n, to, err);
    if (r == 0)
        *ret_len = n;
    return r;
}

uint64_t s3_growing_size(struct s3_growing *growing)
{
    mutex_lock(&growing->lock);
    uint64_t size = growing->len;
    mutex_unlock(&growing->lock);
    return size;
}

/* What is to be stored now. A copy, unless nobody writes to it any more. */
struct snapshot {
    struct bytes data;
    uint8_t *copy;
    uint64_t changes;
    bool must_be_new;
};

/* 1: there is something to store. */
static int take_snapshot(struct s3_growing *growing, bool is_last, struct snapshot *ret,
                         struct error *err) REQUIRES(growing->lock)
{
    if (growing->has_failed)
        return error_set(err, -EIO, "object %s could not be stored before", growing->name);
    if (growing->is_removed || growing->is_dropped || growing->stored_changes == growing->changes)
        return 0;
    *ret = (struct snapshot){ .data = { growing->data, growing->len },
                              .changes = growing->changes,
                              .must_be_new = !growing->is_stored };
    if (is_last || growing->len == 0)
        return 1;
    ret->copy = malloc(growing->len);
    if (ret->copy == NULL)
        return error_set(err, -ENOMEM, "no memory to store object %s", growing->name);
    memcpy(ret->copy, growing->data, growing->len);
    ret->data.data = ret->copy;
    return 1;
}

static void note_stored(struct s3_growing *growing, const struct snapshot *snapshot, int r,
                        const char *etag)
{
    mutex_lock(&growing->lock);
    growing->has_failed = r < 0;
    if (r == 0) {
        growing->is_stored = true;
        growing->stored_changes = snapshot->changes;
        memcpy(growing->etag, etag, HTTP_FIELD_SIZE);
    }
    mutex_unlock(&growing->lock);
}

static void drop(struct s3_growing *growing)
{
    mutex_lock(&growing->lock);
    if (!growing->is_removed && growing->is_stored) {
        free(TAKE(growing->data));
        growing->room = 0;
        growing->is_dropped = true;
    }
    mutex_unlock(&growing->lock);
}

int s3_growing_store(struct s3_growing *growing, bool is_last, struct error *err)
{
    struct snapshot snapshot = { .copy = NULL };
    char etag[HTTP_FIELD_SIZE] = "";

    mutex_lock(&growing->storing);
    mutex_lock(&growing->lock);
    int r = take_snapshot(growing, is_last, &snapshot, err);
    mutex_unlock(&growing->lock);
    if (r > 0) {
        r = s3_put(growing->client, growing->name, snapshot.data, snapshot.must_be_new, etag, err);
        note_stored(growing, &snapshot, r, etag);
        free(snapshot.copy);
    }
    if (r == 0 && is_last)
        drop(growing);
    mutex_unlock(&growing->storing);
    return r;
}

void s3_growing_leave(struct s3_growing *growing)
{
    mutex_lock(&growing->lock);
    bool is_wanted = !growing->has_failed;
    mutex_unlock(&growing->lock);
    if (is_wanted)
        (void)s3_growing_store(growing, true, NULL); /* nobody was promised that it is kept */
}

bool s3_growing_is_stored(struct s3_growing *growing)
{
    mutex_lock(&growing->lock);
    bool is_stored = growing->is_stored;
    mutex_unlock(&growing->lock);
    return is_stored;
}

void s3_growing_removed(struct s3_growing *growing)
{
    mutex_lock(&growing->storing);
    mutex_lock(&growing->lock);
    growing->is_removed = true;
    mutex_unlock(&growing->lock);
    mutex_unlock(&growing->storing);
}
