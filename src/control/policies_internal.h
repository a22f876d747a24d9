/* policies_internal.h - what the files of snapshot policies share.
 *
 *   policies.c       which there are, what they are attached to, the thread that waits for the next
 *   policies_heap.c  what is due next
 *   policies_view.c  what people are shown of them
 *   policy_run.c     taking, uploading and removing for one filesystem
 *
 * Locks: as policies.h says.
 */
#pragma once

#include "base/thread.h"
#include "control/policies.h"

/* Steps of the clock that are less than that need no thought: nothing is due so soon again. */
#define POLICY_SLACK_NS (900 * 1000000000LL)

struct policy_entry {
    struct policy_entry *next; /* sorted by name */
    struct policy policy;
    size_t index; /* in the list that was made last */
};

struct attachment { /* all guarded by policies->lock; what never changes is read without */
    struct policy_entry *policy;
    struct uuid filesystem; /* never changes */
    int64_t attached_ns;
    int64_t done_ns[POLICY_PERIODS];
    int64_t due_ns;  /* INT64_MAX while it runs */
    size_t at;       /* in the heap */
    unsigned forced; /* 1 << period: to be taken whatever the time is */
    bool wants_look; /* something besides the schedule is to be done */
    bool is_running;
    bool was_woken; /* since it ran */
    bool is_gone;   /* it is not in the heap any more */
    unsigned failures;
    struct error failure;
};

struct policies {
    struct registry *registry;
    struct policy_world world;
    pthread_t thread;
    bool has_thread;
    struct mutex changing; /* while a record is written; entries change and go under it only */
    struct mutex lock;     /* guards all below */
    pthread_cond_t changed;
    struct policy_entry *entries;
    size_t entry_count;
    struct attachment **heap;
    size_t count;
    int64_t last_ns; /* the latest time by which anything was planned */
    bool is_stopping;
};

int policies_heap_add(struct policies *policies, struct attachment *attachment)
    REQUIRES(policies->lock);
/* Frees it; one that runs is freed by who runs it. */
void policies_heap_drop(struct policies *policies, struct attachment *attachment)
    REQUIRES(policies->lock);
void policies_set_due_locked(struct policies *policies, struct attachment *attachment,
                             int64_t due_ns) REQUIRES(policies->lock);
/* At its next moment. */
void policies_plan_locked(struct policies *policies, struct attachment *attachment, int64_t now_ns)
    REQUIRES(policies->lock);
/* Likewise of all; entry, filesystem: only of those. */
void policies_plan_all_locked(struct policies *policies, const struct policy_entry *entry,
                              const struct uuid *filesystem, int64_t now_ns)
    REQUIRES(policies->lock);

/* What was done lies further ahead than a small step of the clock explains. */
bool policy_clock_went_back(int64_t then_ns, int64_t now_ns);

/* Behind this moment something is due: the last one, the attaching, the schedule's beginning. */
int64_t policy_base_ns(const struct policy_schedule *schedule, int64_t attached_ns, int64_t done_ns,
                       int64_t now_ns);

/* One filesystem's turn. */
struct policy_run {
    struct policies *policies;
    const struct attachment *attachment; /* for policy_run_save() only */
    struct policy policy;
    struct uuid filesystem;
    int64_t now_ns;
    unsigned forced;                 /* those that are taken are taken out */
    int64_t done_ns[POLICY_PERIODS]; /* as it is afterwards */
    bool is_parked;                  /* the failure is that the filesystem is not up */
    struct error failure;            /* code 0: all is well */
};

void policy_run(struct policy_run *run);

int policy_run_load(struct policies *policies, const struct uuid *filesystem, const char *policy,
                    struct policy_attachment *ret, struct error *err);
/* -ECANCELED: it was detached meanwhile. */
int policy_run_save(struct policies *policies, const struct attachment *attachment,
                    const struct policy_attachment *record, struct error *err);
