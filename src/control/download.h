/* download.h - the control plane's part of making a filesystem out of an uploaded snapshot: the
 * keys of its origin, which the key server unwraps, and wraps anew for the new ring; and the
 * bucket, of which a worker gets a socket each time that it starts, until all is here. What is read
 * and written of the bucket is the worker's (transfer/download.h).
 *
 * First, the head's ring: every generation is unwrapped, ring, superblock and head verified. The
 * new filesystem is then added as any (create.c); its ring has these generations as foreign ones,
 * its record says where it came from. A worker puts the reference into the bucket, and makes it.
 * From then on a task (kind "download") stands for what is fetched in the background; when all is
 * here, the worker says so, and the record forgets the bucket. After a crash a start goes on with
 * what is left of it. A failure before the task undoes it, the reference too.
 *
 * Errors     negative errno and a sentence. -ENOENT: no such object store or snapshot.
 * Threads    one for each.
 */
#pragma once

#include "control/filesystem.h"
#include "control/rings.h"
#include "control/upload_keys.h"

struct downloading {
    struct fs_origin origin;     /* for the record */
    struct upload_opened opened; /* its keys, unwrapped and verified */
};

/* What to add says which snapshot, and with which login. */
int downloading_open(struct control *control, const struct fs_add *add, struct downloading *ret,
                     struct error *err);
void downloading_release(struct downloading *downloading);

/* All keys into a new ring, which has its own generation, and its set. */
int downloading_inherit(const struct downloading *downloading, struct key_provider *provider,
                        struct rings_opened *opened, struct error *err);

/* The socket for a worker of that filesystem; -1 in *ret_fd if it needs none. */
int download_session(struct control *control, const struct fs_record *record, int *ret_fd,
                     struct error *err);
/* download_task.c: begins the task, unless there is one or none is needed. A start does so, too. */
int download_begin_task(struct filesystem *fs, struct error *err);
/* All of it is here. */
int download_forget_origin(struct filesystem *fs, struct error *err);
/* Another socket for that worker, whose bucket's process has ended. */
int download_renew_bucket(struct filesystem *fs, struct worker *worker, struct error *err);

/* What a removed one left in the bucket; if that fails, it is dropped later (left_references.h). */
void download_drop(struct filesystem *fs);

/* create.c: has a blob wrapped, and proves that what came back unwraps to the same. */
int create_wrap(struct key_provider *provider, const struct secret *blob, struct wrapped_key *ret,
                struct error *err);
