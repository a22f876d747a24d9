/* When each attached filesystem has something to do: a heap of times, the earliest first. */
#include <errno.h>
#include <stdlib.h>

#include "control/policies_internal.h"

#define NS_PER_S 1000000000LL

/* --- the heap: the earliest first --- */

static void heap_set(struct policies *policies, size_t at, struct attachment *attachment)
    REQUIRES(policies->lock)
{
    policies->heap[at] = attachment;
    attachment->at = at;
}

static void sift_up(struct policies *policies, size_t at) REQUIRES(policies->lock)
{
    struct attachment *moved = policies->heap[at];

    for (; at > 0 && policies->heap[(at - 1) / 2]->due_ns > moved->due_ns; at = (at - 1) / 2)
        heap_set(policies, at, policies->heap[(at - 1) / 2]);
    heap_set(policies, at, moved);
}

static void sift_down(struct policies *policies, size_t at) REQUIRES(policies->lock)
{
    struct attachment *moved = policies->heap[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < policies->count &&
            policies->heap[child + 1]->due_ns < policies->heap[child]->due_ns)
            child++;
        if (child >= policies->count || policies->heap[child]->due_ns >= moved->due_ns)
            break;
        heap_set(policies, at, policies->heap[child]);
        at = child;
    }
    heap_set(policies, at, moved);
}

void policies_set_due_locked(struct policies *policies, struct attachment *attachment,
                             int64_t due_ns)
{
    attachment->due_ns = due_ns;
    sift_up(policies, attachment->at);
    sift_down(policies, attachment->at);
    (void)pthread_cond_broadcast(&policies->changed);
}

int policies_heap_add(struct policies *policies, struct attachment *attachment)
{
    struct attachment **grown =
        reallocarray(policies->heap, policies->count + 1, sizeof(struct attachment *));

    if (!grown)
        return -ENOMEM;
    policies->heap = grown;
    heap_set(policies, policies->count++, attachment);
    sift_up(policies, attachment->at);
    (void)pthread_cond_broadcast(&policies->changed);
    return 0;
}

/* One that runs is freed by who runs it. */
void policies_heap_drop(struct policies *policies, struct attachment *attachment)
{
    size_t at = attachment->at;
    struct attachment *last = policies->heap[--policies->count];

    if (last != attachment) {
        heap_set(policies, at, last);
        sift_up(policies, at);
        sift_down(policies, last->at);
    }
    attachment->is_gone = true;
    if (!attachment->is_running)
        free(attachment);
}

/* --- when --- */

bool policy_clock_went_back(int64_t then_ns, int64_t now_ns)
{
    return then_ns > now_ns + POLICY_SLACK_NS;
}

int64_t policy_base_ns(const struct policy_schedule *schedule, int64_t attached_ns, int64_t done_ns,
                       int64_t now_ns)
{
    int64_t base = done_ns;

    if (attached_ns > base && attached_ns <= now_ns)
        base = attached_ns;
    if (schedule->since_ns > base && schedule->since_ns <= now_ns)
        base = schedule->since_ns;
    return base;
}

static int64_t due_of(const struct attachment *attachment, int64_t now_ns)
{
    int64_t due = INT64_MAX;

    for (unsigned i = 0; i < POLICY_PERIODS; i++) {
        const struct policy_schedule *schedule = &attachment->policy->policy.schedules[i];
        enum policy_period period = (enum policy_period)i;
        if (!schedule->is_on)
            continue;
        int64_t base =
            policy_base_ns(schedule, attachment->attached_ns, attachment->done_ns[i], now_ns);
        int64_t at = base < now_ns ? now_ns : base;
        int64_t latest = policy_schedule_latest(period, schedule, now_ns / NS_PER_S) * NS_PER_S;
        int64_t next = policy_schedule_next(period, schedule, at / NS_PER_S) * NS_PER_S;
        if (latest > base || policy_clock_went_back(base, now_ns))
            next = now_ns;
        due = next < due ? next : due;
    }
    return due;
}

static int64_t look_at_ns(const struct attachment *attachment, int64_t now_ns)
{
    bool is_wanted = attachment->wants_look || attachment->forced != 0;

    return is_wanted ? now_ns : due_of(attachment, now_ns);
}

static void note_time_locked(struct policies *policies, int64_t now_ns) REQUIRES(policies->lock)
{
    if (now_ns > policies->last_ns)
        policies->last_ns = now_ns;
}

void policies_plan_locked(struct policies *policies, struct attachment *attachment, int64_t now_ns)
{
    note_time_locked(policies, now_ns);
    policies_set_due_locked(policies, attachment, look_at_ns(attachment, now_ns));
}

void policies_plan_all_locked(struct policies *policies, const struct policy_entry *entry,
                              const struct uuid *filesystem, int64_t now_ns)
{
    note_time_locked(policies, now_ns);
    /* Each would move in the heap when its time changes; so the order is made anew afterwards. */
    for (size_t i = 0; i < policies->count; i++) {
        struct attachment *attachment = policies->heap[i];
        if (attachment->is_running || (entry && attachment->policy != entry) ||
            (filesystem && !uuid_equal(&attachment->filesystem, filesystem)))
            continue;
        attachment->due_ns = look_at_ns(attachment, now_ns);
    }
    for (size_t i = policies->count / 2; i-- > 0;)
        sift_down(policies, i);
    (void)pthread_cond_broadcast(&policies->changed);
}
