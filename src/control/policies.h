/* policies.h - snapshot policies: schedules, and the filesystems that they are attached to. What is
 * due is taken, and what a policy took and its retention no longer wants is removed, by one thread
 * that knows when the next moment is; work is done for what is due only.
 *
 * A moment that was missed (the host was off, the filesystem not started, the store full) is made
 * up when that is over: once, for the last one that was missed. A clock that goes back takes
 * nothing twice. A snapshot that somebody renamed or gave another access point is not the policy's
 * any more.
 *
 * The world is given: how a snapshot is taken and removed, and what time it is.
 *
 * Units      nanoseconds since 1970 by the world's clock.
 * Errors     negative errno and a sentence. -ENOENT: no such policy, or not attached; -EEXIST.
 * Ownership  views are copies, the caller's to free.
 * Threads    any. Its locks: `changing` while a record is written, then `lock`, short; of the
 *            registry's none is held before. Nothing is held while the world is asked.
 */
#pragma once

#include "control/policy_record.h"
#include "control/registry.h"

#define POLICIES_MAX 1024u
#define POLICIES_OF_FILESYSTEM_MAX 10u

struct policy_world {
    int64_t (*now_ns)(void *arg);
    /* Whether its snapshots can be changed now. */
    bool (*is_up)(void *arg, const struct uuid *filesystem);
    /* -EEXIST: there is one of that name. -EBUSY: it is not up. */
    int (*take)(void *arg, const struct uuid *filesystem, const char *name, uint64_t *ret_id,
                struct error *err);
    /* -ENOENT: there is none of that name. */
    int (*find)(void *arg, const struct uuid *filesystem, const char *name, uint64_t *ret_id,
                struct error *err);
    /* Only if it still has that name, and it is its access point too; -ESTALE: it has not. -ENOENT:
     * it is gone; -EBUSY: it is in use. */
    int (*remove)(void *arg, const struct uuid *filesystem, uint64_t id, const char *name,
                  struct error *err);
    /* Has it uploaded, sooner or later. -EALREADY: that was begun before. -ENOENT: it is gone. */
    int (*upload)(void *arg, const struct uuid *filesystem, const char *name, const char *store,
                  struct error *err);
    void *arg;
};

struct policies;

/* What the registry holds. The registry and what the world needs outlive it. */
int policies_open(struct registry *registry, const struct policy_world *world,
                  struct policies **ret, struct error *err);
/* The thread. Without it policies_run_due() is called by hand. */
int policies_start(struct policies *policies, struct error *err);
/* Ends the thread; the world must let it. NULL is allowed. */
void policies_stop(struct policies *policies);
void policies_close(struct policies *policies); /* NULL is allowed */

int policies_add(struct policies *policies, const struct policy *policy, struct error *err);

/* Changes a copy of it; its name stays. */
typedef int policy_edit_fn(struct policy *policy, void *arg, struct error *err);
int policies_update(struct policies *policies, const char *name, policy_edit_fn *edit, void *arg,
                    struct error *err);

/* -ENOTEMPTY: it is attached to filesystems. */
int policies_remove(struct policies *policies, const char *name, struct error *err);

/* The first snapshot is at the next moment. */
int policies_attach(struct policies *policies, const char *name, const struct uuid *filesystem,
                    struct error *err);
/* Its snapshots stay, and are removed by hand from then on. */
int policies_detach(struct policies *policies, const char *name, const struct uuid *filesystem,
                    struct error *err);

/* The filesystem is being removed: detaches it from all. */
int policies_forget(struct policies *policies, const struct uuid *filesystem, struct error *err);

/* It is up: what it missed is made up now. */
void policies_wake(struct policies *policies, const struct uuid *filesystem);

/* Takes one for each schedule that is on, at once and whatever the time is. */
int policies_run_once(struct policies *policies, const char *name, struct error *err);

/* Does all that is due, and returns when the next is; INT64_MAX: never. */
int64_t policies_run_due(struct policies *policies);

struct policy_attached {
    size_t policy; /* index into the list of policies */
    struct uuid filesystem;
    int64_t next_ns;      /* when something is to be done next; in the past: it is late */
    struct error failure; /* of the last attempt; code 0: there was none */
};

struct policies_view {
    struct policy *policies; /* sorted by name */
    size_t count;
    struct policy_attached *attached; /* in any order */
    size_t attached_count;
};

void policies_view_release(struct policies_view *view);
int policies_view(struct policies *policies, struct policies_view *ret, struct error *err);
