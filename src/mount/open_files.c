#include "mount/open_files.h"

#include <errno.h>
#include <stdlib.h>

#include "base/thread.h"

#define BUCKETS 1024u /* inode numbers are handed out in order: they spread by themselves */

struct open_file {
    struct open_file *next;
    uint64_t ino;
    uint64_t count;
    bool has_loss;
};

struct open_files {
    struct mutex lock; /* everything below */
    struct open_file *buckets[BUCKETS];
    size_t count; /* of inodes */
};

int open_files_new(struct open_files **ret)
{
    struct open_files *files = calloc(1, sizeof(*files));

    if (!files)
        return -ENOMEM;
    files->lock = MUTEX_INIT;
    *ret = files;
    return 0;
}

void open_files_free(struct open_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (files->buckets[i]) {
            struct open_file *file = files->buckets[i];
            files->buckets[i] = file->next;
            free(file);
        }
    }
    free(files);
}

/* Where the pointer to this inode's entry is, or would be. */
static struct open_file **find_locked(struct open_files *files, uint64_t ino) REQUIRES(files->lock)
{
    struct open_file **at = &files->buckets[ino % BUCKETS];

    while (*at && (*at)->ino != ino)
        at = &(*at)->next;
    return at;
}

static int add_locked(struct open_files *files, uint64_t ino) REQUIRES(files->lock)
{
    struct open_file **at = find_locked(files, ino);

    if (!*at) {
        *at = calloc(1, sizeof(**at));
        if (!*at)
            return -ENOMEM;
        (*at)->ino = ino;
        files->count++;
    }
    (*at)->count++;
    return 0;
}

int open_files_add(struct open_files *files, uint64_t ino)
{
    mutex_lock(&files->lock);
    int r = add_locked(files, ino);
    mutex_unlock(&files->lock);
    return r;
}

bool open_files_remove(struct open_files *files, uint64_t ino)
{
    struct open_file *gone = NULL;

    mutex_lock(&files->lock);
    struct open_file **at = find_locked(files, ino);
    if (*at && --(*at)->count == 0) {
        gone = *at;
        *at = gone->next;
        files->count--;
    }
    mutex_unlock(&files->lock);
    bool has_loss = gone && gone->has_loss;
    free(gone);
    return has_loss;
}

static void set_loss(struct open_files *files, uint64_t ino, bool has_loss)
{
    mutex_lock(&files->lock);
    struct open_file *file = *find_locked(files, ino);
    if (file)
        file->has_loss = has_loss;
    mutex_unlock(&files->lock);
}

void open_files_note_loss(struct open_files *files, uint64_t ino)
{
    set_loss(files, ino, true);
}

void open_files_end_loss(struct open_files *files, uint64_t ino)
{
    set_loss(files, ino, false);
}

bool open_files_has_loss(struct open_files *files, uint64_t ino)
{
    mutex_lock(&files->lock);
    const struct open_file *file = *find_locked(files, ino);
    bool has_loss = file && file->has_loss;
    mutex_unlock(&files->lock);
    return has_loss;
}

static uint64_t *list_locked(struct open_files *files) REQUIRES(files->lock)
{
    uint64_t *list = malloc((files->count + 1) * sizeof(*list));
    size_t n = 0;

    for (size_t i = 0; i < BUCKETS && list; i++)
        for (const struct open_file *file = files->buckets[i]; file; file = file->next)
            list[n++] = file->ino;
    return list;
}

int open_files_list(struct open_files *files, uint64_t **ret, size_t *ret_count)
{
    mutex_lock(&files->lock);
    uint64_t *list = list_locked(files);
    size_t count = files->count;
    mutex_unlock(&files->lock);
    if (!list)
        return -ENOMEM;
    *ret = list;
    *ret_count = count;
    return 0;
}
