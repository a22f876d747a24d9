/* sync_replies.h - requests that are answered when all that returned before them is durable:
 * fsyncs.
 *
 * The thread that read one goes on to the next request, so as many wait for one group as there are
 * programs that sync, not as there are threads that serve. A thread of its own answers those whose
 * group is durable, or has failed, each on the descriptor that it was read from: the kernel knows
 * it at no other one. At most SYNC_REPLIES_MAX wait so; of what comes on top each holds the thread
 * that read it, which slows down those who ask.
 *
 * An interrupt changes nothing, as on other filesystems: the answer is what it is.
 *
 * Errors     -ENOMEM, -EAGAIN (no thread), to make it.
 * Ownership  the volume, the FUSE session and its descriptors outlive it.
 * Threads    any may add; one makes and frees.
 */
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "fs/volume.h"

#define SYNC_REPLIES_MAX 1024u

struct sync_replies;

int sync_replies_new(struct volume *volume, struct sync_replies **ret);
/* Waits until all are answered; none is added any more. NULL is allowed. */
void sync_replies_free(struct sync_replies *replies);

/* Answers req, on fd, with what volume_sync() says. */
void sync_replies_add(struct sync_replies *replies, fuse_req_t req, int fd);

/* Where the calling thread is to write the answer that it is just giving; -1: it gives none of
 * these. */
int sync_replies_fd(const struct sync_replies *replies);
