/* worker.h - one coffer-fsd as cofferd sees it: started with an inherited listening socket,
 * connected to, asked things (host/worker_protocol.h), and noticed when it ends.
 *
 * A worker is a process of its own and outlives cofferd; worker_connect() finds it again. A
 * reader thread takes what comes: answers go to who asked, the rest to the owner's callbacks.
 *
 * Units      timeouts are milliseconds; negative: for ever.
 * Errors     negative errno and a sentence, the worker's own where it answered. -EPIPE: it ended.
 *            -ETIMEDOUT: it did not answer in time. -ENOSYS: it is of an older version, which does
 *            not know what it is asked; nothing was sent.
 * Ownership  counted references; keys and descriptors given stay the caller's.
 * Threads    any. Questions of several threads run at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "host/worker_protocol.h"

struct worker;

/* Called by the reader thread; they must not ask the worker anything, nor drop the last
 * reference. Each but on_ended may be NULL. arg lives until on_ended was called. */
struct worker_watcher {
    void (*on_event)(const struct worker_event *event, void *arg);
    /* One mount is gone, and there are others. */
    void (*on_mount_ended)(const struct worker_mount_ended *ended, void *arg);
    /* The last mount is gone; done tells how the last commit went. The worker ends now. */
    void (*on_unmounted)(const struct worker_done *done, void *arg);
    /* The process of its bucket (WORKER_SET_BUCKET). */
    void (*on_bucket_ended)(void *arg);
    void (*on_task_progress)(const struct worker_task_progress *progress, void *arg);
    void (*on_task_done)(const struct worker_task_done *done, void *arg);
    /* The connection is gone, also if worker_disconnect() closed it. */
    void (*on_ended)(void *arg);
    void *arg;
};

/* program: absolute path of coffer-fsd. */
int worker_spawn(const char *program, const char *socket_path, const struct worker_watcher *watcher,
                 struct worker **ret, struct error *err);

/* One that runs already, of this version or an older one. -ENOENT, -ECONNREFUSED: there is none. */
int worker_connect(const char *socket_path, const struct worker_watcher *watcher,
                   struct worker **ret, struct error *err);

/* It goes on serving, but does not know everything that it may be asked. */
bool worker_is_older(const struct worker *worker);

#define WORKER_OLDER_TEXT                                                                          \
    "the filesystem's worker was started by an older version of coffer and does not know this; "   \
    "unmount the filesystem and mount it again (coffer fs umount, coffer fs mount)"

struct worker *worker_ref(struct worker *worker);
void worker_unref(struct worker *worker); /* NULL is allowed */

static inline void worker_unrefp(struct worker **worker)
{
    worker_unref(*worker);
}

/* Sends message, whose request number it sets, and waits for the answer. An answer DONE that
 * carries a failure is returned as that failure; ret is released by the caller on success only. */
int worker_ask(struct worker *worker, struct worker_message *message, int passed_fd, int timeout_ms,
               struct worker_message *ret, struct error *err);

/* The same without a time limit, given up soon when should_stop says so (-ECANCELED): the worker is
 * of no use then. */
typedef bool worker_stop_fn(void *arg);
int worker_ask_until(struct worker *worker, struct worker_message *message, int passed_fd,
                     worker_stop_fn *should_stop, void *arg, struct worker_message *ret,
                     struct error *err);

int worker_status(struct worker *worker, int timeout_ms, struct worker_status_reply *ret,
                  struct error *err);

/* The last commit is made and the process about to end when it returns 0. */
int worker_stop(struct worker *worker, struct error *err);
/* The same, given up soon when should_stop says so (-ECANCELED): the worker ends all the same. */
int worker_stop_until(struct worker *worker, worker_stop_fn *should_stop, void *arg,
                      struct error *err);

/* Closes the connection and waits for the reader thread; the process lives on. */
void worker_disconnect(struct worker *worker);

/* Of one that holds nothing that would be lost: kills it, and drops the reference. */
void worker_discard(struct worker *worker);

/* After worker_disconnect(): waits until the process is gone, kills it if it does not go by
 * itself in time, and reaps it. *ret_how tells how it ended, as far as known. -EBUSY: not even
 * that helped. */
#define WORKER_HOW_SIZE 96u
int worker_wait_gone(struct worker *worker, int patience_ms, char ret_how[static WORKER_HOW_SIZE]);
