/* filesystem.h - inside the control plane: one filesystem and what its operations share. Used by
 * the files of src/control only.
 *
 * Locks, in this order; only the first three are held during I/O (a call to a key server, a worker,
 * a store or the registry):
 *   filesystem->snapshots  a change of its snapshots, which the worker makes
 *   control->kms_changing  a change of the key server, or a key that is being made
 *   control->uploads_changing  a change of uploaded snapshots; before all of these
 *   control->stores_changing  a change of the object stores; no other lock of these with it
 *   filesystem->saving     a record's way to the registry
 *   control->lock          the list, and the references to its members
 *   filesystem->lock       all that changes of one filesystem
 *   (inside kms, alerts, audit, events, registry, worker: their own; alerts takes that of events,
 *   audit and events that of the registry, the others none)
 *
 * One operation at a time changes a filesystem's data: its keeper while it has one, else whoever
 * set is_busy. One at a time reads or changes its key rings, also while it runs: who holds them
 * (filesystem_hold_rings()), which comes after kms_changing and before all other locks. Only who
 * has kms_changing may hold those of several.
 */
#pragma once

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/thread.h"
#include "base/thread_group.h"
#include "control/audit.h"
#include "control/bucket_session.h"
#include "control/control.h"
#include "control/policies.h"
#include "control/registry.h"
#include "control/worker.h"

#define FILESYSTEM_MISSING_SIZE 480u

struct filesystem {
    struct filesystem *next;         /* guarded by control->lock */
    unsigned references;             /* guarded by control->lock */
    bool is_listed;                  /* guarded by control->lock */
    struct control *control;         /* never changes */
    struct mutex snapshots;          /* one change of its snapshots at a time; taken first */
    struct mutex saving;             /* one write of the record at a time; taken before lock */
    struct mutex lock;               /* guards all below */
    pthread_cond_t changed;          /* something below changed */
    struct fs_record record;         /* what the registry says; uuid and name never change */
    enum fs_state state;             /* moved by filesystem_move_locked() only */
    char status_text[512];           /* "" if all is well */
    int failure;                     /* why the last attempt to start failed; 0 if it did not */
    uint64_t attempts;               /* to bring it up, finished ones */
    struct audit_actor starter;      /* for whom the next attempt is */
    int audited_failure;             /* of unwrapping, as the audit log has it; 0: none */
    struct worker *worker;           /* while one is connected */
    struct worker_status_reply seen; /* the worker's last answer */
    struct snapshot_mount *snapshot_mounts; /* snapshot_mount.h */
    struct wrapped_key wrapped;             /* of its newest generation, to show */
    int64_t own_look_due_ms;                /* when a key of its own is to be looked at */
    struct error own_failure;               /* how that ended; code 0: well, or not yet */
    uint64_t missing;                       /* by missing_keys.c: foreign keys of its ring; or 0 */
    unsigned missing_count;                 /* so many */
    char missing_text[FILESYSTEM_MISSING_SIZE]; /* the first, and why; "": not known */
    int64_t missing_look_ms;                    /* when they are to be asked for again */
    bool is_key_changing;                       /* by own_key.c, which is not done yet */
    bool is_busy;                               /* an operation without a keeper is at work */
    bool are_rings_held;
    unsigned keys_wanted;  /* who has foreign keys join for a task that is not listed yet */
    int64_t proof_due_ms;  /* when what wrapped last is to be proved; 0: it is */
    bool ends_left_worker; /* a thread ends one that an earlier cofferd left; starts wait for it */
    bool has_keeper;       /* a thread brings it up and watches it */
    bool may_reconnect;    /* a worker of an earlier cofferd may be there */
    bool is_first_try;     /* somebody waits for the start; a failure stops it */
    bool stop_wanted;
    bool stop_is_told;        /* to the worker, by whoever wants it; else the keeper tells it */
    bool stop_is_answered;    /* by the worker to the keeper: */
    struct error stop_answer; /* how */
    bool retry_now;
    bool take_over;        /* at the next start of a worker */
    bool salvage;          /* likewise, and at those after it until it is stopped */
    bool is_downloaded;    /* its worker says that all of it is here */
    bool wants_bucket;     /* its worker is to get another process of its bucket ... */
    int64_t bucket_due_ms; /* ... but not before */
    bool bucket_failed;    /* it could not be started the last time */
    bool worker_ended;
    bool worker_ended_cleanly; /* it told so before it ended */
    bool last_commit_failed;   /* and that it could not commit */
    bool saw_corruption;
    bool saw_write_lost;
    bool is_full;
};

/* The last check of the key server that the audit log tells of, and how many equal ones came since.
 */
#define CHECK_CONDENSED_MS (3600 * 1000)

struct check_seen {
    struct audit_actor by;
    char key[600];
    int64_t at_ms; /* 0: there is none */
    unsigned left_out;
};

struct control {
    char *state_dir;
    char *worker_program;
    char *store_program;
    uint32_t worker_uid; /* whom a worker becomes if we are root */
    uint32_t worker_gid;
    int stop_patience_ms; /* with a worker that refused to stop and may end yet */
    struct registry *registry;
    struct kms *kms;
    struct audit *audit;
    struct events events;
    struct alert_book *alerts;
    struct users *users;
    struct policies *policies;
    struct tasks *tasks;
    struct thread_group keepers;    /* and who resumes removals from buckets */
    struct mutex lock;              /* guards all below */
    pthread_cond_t changed;         /* the monitor's: for it to look, or to end */
    struct filesystem *filesystems; /* any order */
    bool kms_has_changed;           /* the monitor looks at it at once */
    char audit_damage[640];         /* what was found last; "" if all was well */
    struct check_seen check_seen;
    atomic_bool is_shutting_down;
    _Atomic int64_t https_until_s; /* 0: there is no HTTPS */
    pthread_t monitor;
    bool has_monitor;
    struct mutex kms_changing; /* one change of the key server or new key at a time; taken first */
    struct bucket_processes bucket_processes;
    struct mutex uploads_changing; /* one change of uploaded snapshots at a time; taken first */
    bool has_resumer;              /* a thread finishes removals; guarded by lock */
    int64_t resume_due_ms;         /* the monitor's */
    struct mutex alerts_updating;  /* what was found first is also noted first; taken first */
    struct mutex stores_changing;  /* one change of the object stores at a time; no other inside */
    bool allows_key_export;        /* never changes */
    control_step_fn *on_step;      /* tests; else NULL */
    void *step_arg;
};

/* 0, or what a test wants the operation to end with, leaving everything as it is. */
int control_step(struct control *control, enum control_step step);

/* Has the monitor look at the key server now: its configuration changed. */
void control_look_at_kms(struct control *control);

/* snapshot_policies.c: the policies, with this control plane as their world. */
int control_open_policies(struct control *control, struct error *err);

/* audit_watch.c: walks the audit log, for the alert about it. */
void control_watch_audit(struct control *control);

/* alerts.c: raises and clears alerts without anybody asking. */
void control_watch_alerts(struct control *control);

/* A counted reference; NULL: there is none of that name. */
struct filesystem *filesystem_find(struct control *control, const char *name, struct error *err);
struct filesystem *filesystem_find_uuid(struct control *control, const struct uuid *uuid);
void filesystem_unref(struct filesystem *filesystem);
struct filesystem *filesystem_ref(struct filesystem *filesystem);

static inline void filesystem_unrefp(struct filesystem **filesystem)
{
    if (*filesystem)
        filesystem_unref(*filesystem);
}

/* -EEXIST: the name is taken. It may be a moment later: filesystem_list() decides. */
int filesystem_expect_new(struct control *control, const char *name, struct error *err);

/* Lists a new one of that record, busy, with a reference for the caller. -EEXIST: the name or
 * the UUID is taken. */
int filesystem_list(struct control *control, const struct fs_record *record,
                    struct filesystem **ret, struct error *err);
void filesystem_unlist(struct filesystem *filesystem);

/* Each that is listed, with a reference held meanwhile and no lock; ends at the first that does not
 * return 0. */
typedef int control_each_fn(struct filesystem *filesystem, void *arg, struct error *err);
int control_each(struct control *control, control_each_fn *visit, void *arg, struct error *err);

/* Sets is_busy of one that is stopped; -EBUSY and why if it cannot be. what: "is being removed". */
int filesystem_acquire(struct filesystem *filesystem, const char *what, struct error *err);
void filesystem_release(struct filesystem *filesystem, const char *status_text);

/* Waits until nobody else does. */
void filesystem_hold_rings(struct filesystem *filesystem);
void filesystem_let_rings(struct filesystem *filesystem);

/* References to all that are listed; filesystem_unref_all() gives them back. */
int filesystem_take_all(struct control *control, struct filesystem ***ret, size_t *ret_count,
                        struct error *err);
void filesystem_unref_all(struct filesystem **all, size_t count);

/* Takes the check values that a copy of its record has learned, and stores them if they are new;
 * and how the newest generation is wrapped, to show (NULL: unknown). */
int filesystem_learn(struct filesystem *filesystem, const struct fs_record *record,
                     const struct wrapped_key *newest, struct error *err);

/* Every change of state goes through here and is checked against the table. */
void filesystem_move_locked(struct filesystem *filesystem, enum fs_state state,
                            const char *status_text) REQUIRES(filesystem->lock);

/* The caller's to free; NULL: out of memory. And what such a copy has learned, put back, with how
 * the newest generation of the ring is wrapped, to show. */
struct fs_record *filesystem_copy_record(struct filesystem *filesystem);
void filesystem_take_record(struct filesystem *filesystem, const struct fs_record *record,
                            const struct wrapped_key *newest);

/* create.c: a place that was given, or where it lies otherwise; to has FS_URL_SIZE bytes. */
int filesystem_set_url(char *to, const char *given, const char *scheme, const char *what,
                       struct error *err);
int filesystem_default_url(const struct control *control, const struct uuid *uuid,
                           const char *scheme, const char *part, char *to, struct error *err);

/* Stores its record as it is now. */
int filesystem_save(struct filesystem *filesystem, struct error *err);

/* Waits for a change, at most until the monotonic time; false when it has come. */
bool filesystem_wait_locked(struct filesystem *filesystem, int64_t until_ms)
    REQUIRES(filesystem->lock);

void filesystem_view(struct filesystem *filesystem, struct fs_view *ret);

/* Its worker is one that a cofferd of an older version started. */
bool filesystem_has_older_worker(const struct filesystem *filesystem) REQUIRES(filesystem->lock);

/* The worker's socket. */
int filesystem_socket_path(const struct filesystem *filesystem, char ret[static PATH_MAX],
                           struct error *err);

/* Has one that waits for its key try at once. */
void filesystem_wake(struct filesystem *filesystem);

/* own_key_check.c: reports a step for each key that filesystems have of their own. */
struct kms_check;
int own_keys_check(struct control *control, struct kms_check *check, struct error *err);

/* operations.c: a reference to the worker of one that is up; NULL. */
struct worker *filesystem_worker(struct filesystem *fs);
/* snapshots.c: the same, -EBUSY and what to do if it is not up. */
int filesystem_running_worker(struct filesystem *fs, struct worker **ret, struct error *err);

/* Lets ask ask its worker; of one that is stopped, a worker for the purpose, which changes nothing
 * (what: "is being checked"). */
typedef int filesystem_ask_fn(struct worker *worker, void *arg, struct error *err);
int filesystem_ask(struct filesystem *fs, const char *what, filesystem_ask_fn *ask, void *arg,
                   struct error *err);
/* Only of one that is stopped, -EBUSY otherwise; and what ask changes is committed. */
int filesystem_ask_stopped(struct filesystem *fs, const char *what, bool read_only,
                           filesystem_ask_fn *ask, void *arg, struct error *err);

/* snapshots.c: of one that is started (-EBUSY: it is not). -EEXIST: the name is taken. */
int filesystem_take_snapshot(struct filesystem *fs, const char *name, const char *access_point,
                             struct control_snapshot *ret, struct error *err);
int filesystem_find_snapshot(struct filesystem *fs, const char *name, struct control_snapshot *ret,
                             struct error *err);
/* Also of one that is stopped; that there is none is no failure. */
int filesystem_look_for_snapshot(struct filesystem *fs, const char *name,
                                 struct control_snapshot *ret, bool *ret_is_there,
                                 struct error *err);
/* -ESTALE: it has not that name any more, or another access point. */
int filesystem_remove_unchanged(struct filesystem *fs, uint64_t id, const char *name,
                                struct error *err);

/* What a worker answers to a check, sentence by sentence; the message is released. */
int filesystem_take_report(struct worker_message *reply, control_report_fn *report, void *arg,
                           uint64_t *ret_faults, struct error *err);

/* unlock.c: unwraps all generations in one batch, finds the ring to believe, repairs the place
 * that lost, and learns new check values; the audit log knows it then. *ret_is_kms tells that the
 * key server is in the way. */
int filesystem_unlock(struct filesystem *filesystem, bool may_repair, struct key_set *ret,
                      bool *ret_is_kms, struct error *err);

/* unlock.c: the same for one that is started, whose worker lacks a key that is in the ring. */
int filesystem_unlock_again(struct filesystem *filesystem, struct key_set *ret, struct error *err);

/* unlock.c: unwraps the keys once more, when some time has passed since they were wrapped anew;
 * then what wrapped them before is dropped. A failure is an event, and tried again later. */
#define FILESYSTEM_PROOF_AFTER_MS (3600 * 1000)
int filesystem_prove(struct filesystem *filesystem);

/* fs_audit.c: an entry of the audit log, before what it tells takes effect. text may be NULL. */
int filesystem_audit(struct filesystem *filesystem, enum audit_operation operation, int result,
                     const char *text, struct error *err);
/* One about a failure. That it cannot be written is an event: it must not hide why it failed. */
void filesystem_audit_failure(struct filesystem *filesystem, enum audit_operation operation,
                              int result, const struct error *why);
/* One about an unwrap of its keys that ended with r. The same failure again and again, while a
 * filesystem waits, is one entry. */
int filesystem_audit_unwrap(struct filesystem *filesystem, int r, const char *purpose,
                            const struct error *why, struct error *err);

/* keeper.c: starts the thread that brings the filesystem up. The caller has set has_keeper and
 * moved it to FS_STARTING. */
int filesystem_keep(struct filesystem *filesystem, struct error *err);

/* create.c: what a crash left of an addition. */
int filesystem_complete(struct filesystem *filesystem, bool *ret_is_kms, struct error *err);

/* remove.c: its data and keys, and its entry. Of one whose keys are to be shredded, these first. */
int filesystem_delete(struct filesystem *filesystem, struct error *err);

/* -EINVAL: no capacity, no cache can be of that size. */
int filesystem_check_capacity(uint64_t bytes, struct error *err);
int filesystem_check_cache(uint64_t bytes, struct error *err);

/* Where it lies if no place was given; part: "", "/store" or "/meta". */
int filesystem_folder(const struct control *control, const struct uuid *uuid, const char *part,
                      char ret[static PATH_MAX], struct error *err);

/* The path in the URL of a store or of metadata. */
static inline const char *filesystem_url_folder(const char *url)
{
    return strchr(url, ':') + 1;
}

/* keeper.c: a worker that has its keys. */
struct filesystem_spawn {
    const struct key_set *keys;
    bool read_only;
    bool take_over;
    bool salvage;
    bool format;
};

int filesystem_spawn(struct filesystem *filesystem, const struct filesystem_spawn *spawn,
                     struct worker **ret, struct error *err);

/* A worker that nobody remembers: an earlier cofferd was killed while it used it. It is stopped. */
void filesystem_end_orphan(struct filesystem *filesystem);
/* The same, unless it is mounted, and not waited for any more when cofferd ends. */
void filesystem_end_unused_orphan(struct filesystem *filesystem);
/* That was done by a thread; and who has to wait until it was. -ESHUTDOWN: cofferd
 * ends before. */
void filesystem_end_left(struct filesystem *filesystem);
int filesystem_wait_left_locked(struct filesystem *filesystem, struct error *err)
    REQUIRES(filesystem->lock);

/* Has it make its last commit, waits until it is gone, and drops the reference. */
int filesystem_end_worker(struct worker *worker, struct error *err);
