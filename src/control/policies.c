/* Which policies there are, to which filesystems they are attached, and the thread. When something
 * is to be done is in policies_heap.c, what in policy_run.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/policies_internal.h"

#define NS_PER_S 1000000000LL
#define LOOK_MS 60000 /* a clock may be set while we wait */
#define PARKED_NS (600 * NS_PER_S)
#define RETRY_FIRST_NS (30 * NS_PER_S)
#define RETRY_MAX_NS (900 * NS_PER_S)
#define KEY_SIZE 96u

static int64_t now_of(const struct policies *policies)
{
    return policies->world.now_ns(policies->world.arg);
}

/* --- records --- */

static void policy_key(const char *name, char ret[static KEY_SIZE])
{
    (void)snprintf(ret, KEY_SIZE, "policy/%s", name);
}

static void attachment_key(const struct uuid *filesystem, const char *policy,
                           char ret[static KEY_SIZE])
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(filesystem, uuid);
    (void)snprintf(ret, KEY_SIZE, "policy-of/%s/%s", uuid, policy);
}

static int put_policy(struct policies *policies, const struct policy *policy, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];
    int r = policy_encode(policy, &encoded, err);

    policy_key(policy->name, key);
    return r < 0 ? r : registry_put_value(policies->registry, key, buf_bytes(&encoded), err);
}

static int put_attachment(struct policies *policies, const struct policy_attachment *record,
                          struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];
    int r = policy_attachment_encode(record, &encoded, err);

    attachment_key(&record->filesystem, record->policy, key);
    return r < 0 ? r : registry_put_value(policies->registry, key, buf_bytes(&encoded), err);
}

static int remove_attachment(struct policies *policies, const struct attachment *attachment,
                             struct error *err)
{
    char key[KEY_SIZE];

    attachment_key(&attachment->filesystem, attachment->policy->policy.name, key);
    return registry_put_value(policies->registry, key, (struct bytes){ .len = 0 }, err);
}

int policy_run_load(struct policies *policies, const struct uuid *filesystem, const char *policy,
                    struct policy_attachment *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];

    attachment_key(filesystem, policy, key);
    int r = registry_get_value(policies->registry, key, &encoded, err);
    return r < 0 ? r : policy_attachment_decode(buf_bytes(&encoded), ret, err);
}

int policy_run_save(struct policies *policies, const struct attachment *attachment,
                    const struct policy_attachment *record, struct error *err)
{
    mutex_lock(&policies->changing);
    mutex_lock(&policies->lock);
    bool is_gone = attachment->is_gone;
    mutex_unlock(&policies->lock);
    int r = is_gone ? error_set(err, -ECANCELED, "it was detached")
                    : put_attachment(policies, record, err);
    mutex_unlock(&policies->changing);
    return r;
}

/* --- finding --- */

static struct policy_entry *find_locked(struct policies *policies, const char *name)
    REQUIRES(policies->lock)
{
    for (struct policy_entry *entry = policies->entries; entry; entry = entry->next)
        if (strcmp(entry->policy.name, name) == 0)
            return entry;
    return NULL;
}

static int no_policy(const char *name, struct error *err)
{
    return error_set(err, -ENOENT,
                     "there is no snapshot policy '%.40s'; 'coffer fs protection snapshot-policy' "
                     "lists them",
                     name);
}

static struct attachment *find_attachment_locked(struct policies *policies,
                                                 const struct policy_entry *entry,
                                                 const struct uuid *filesystem)
    REQUIRES(policies->lock)
{
    for (size_t i = 0; i < policies->count; i++)
        if (policies->heap[i]->policy == entry &&
            uuid_equal(&policies->heap[i]->filesystem, filesystem))
            return policies->heap[i];
    return NULL;
}

/* --- changes; the caller has policies->changing --- */

/* Behind all whose names are smaller. */
static void insert_locked(struct policies *policies, struct policy_entry *entry)
    REQUIRES(policies->lock)
{
    struct policy_entry **link = &policies->entries;

    while (*link && strcmp((*link)->policy.name, entry->policy.name) < 0)
        link = &(*link)->next;
    entry->next = *link;
    *link = entry;
    policies->entry_count++;
}

static int add_entry(struct policies *policies, const struct policy *policy, struct error *err)
{
    struct policy_entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return error_set(err, -ENOMEM, "out of memory");
    entry->policy = *policy;
    mutex_lock(&policies->lock);
    insert_locked(policies, entry);
    mutex_unlock(&policies->lock);
    return 0;
}

static int check_new(struct policies *policies, const struct policy *policy, struct error *err)
{
    int r = policy_check(policy, err);

    mutex_lock(&policies->lock);
    if (r == 0 && find_locked(policies, policy->name))
        r = error_set(err, -EEXIST, "there is already a snapshot policy '%s'", policy->name);
    if (r == 0 && policies->entry_count >= POLICIES_MAX)
        r = error_set(err, -ENOSPC, "there are %u snapshot policies already", POLICIES_MAX);
    mutex_unlock(&policies->lock);
    return r;
}

int policies_add(struct policies *policies, const struct policy *policy, struct error *err)
{
    struct policy copy = *policy;

    copy.created_ns = now_of(policies);
    mutex_lock(&policies->changing);
    int r = check_new(policies, &copy, err);
    if (r == 0)
        r = put_policy(policies, &copy, err);
    if (r == 0)
        r = add_entry(policies, &copy, err);
    mutex_unlock(&policies->changing);
    return r;
}

static bool is_same_time(const struct policy_schedule *a, const struct policy_schedule *b)
{
    return a->is_on == b->is_on && a->minute == b->minute && a->hour == b->hour &&
           a->weekdays == b->weekdays && a->day == b->day;
}

/* What is new of a schedule counts from now on. */
static int edit_copy(struct policies *policies, const struct policy_entry *entry,
                     policy_edit_fn *edit, void *arg, struct policy *ret, struct error *err)
{
    *ret = entry->policy;
    int r = edit(ret, arg, err);
    if (r == 0)
        r = policy_check(ret, err);
    for (unsigned i = 0; r == 0 && i < POLICY_PERIODS; i++)
        if (!is_same_time(&ret->schedules[i], &entry->policy.schedules[i]))
            ret->schedules[i].since_ns = now_of(policies);
    return r;
}

static void take_edited(struct policies *policies, struct policy_entry *entry,
                        const struct policy *policy)
{
    int64_t now_ns = now_of(policies);

    mutex_lock(&policies->lock);
    entry->policy = *policy;
    for (size_t i = 0; i < policies->count; i++)
        policies->heap[i]->wants_look |= policies->heap[i]->policy == entry;
    policies_plan_all_locked(policies, entry, NULL, now_ns);
    mutex_unlock(&policies->lock);
}

int policies_update(struct policies *policies, const char *name, policy_edit_fn *edit, void *arg,
                    struct error *err)
{
    struct policy policy;

    mutex_lock(&policies->changing);
    mutex_lock(&policies->lock);
    struct policy_entry *entry = find_locked(policies, name);
    mutex_unlock(&policies->lock);
    /* Entries change and go under `changing` only. */
    int r = entry ? edit_copy(policies, entry, edit, arg, &policy, err) : no_policy(name, err);
    if (r == 0)
        r = put_policy(policies, &policy, err);
    if (r == 0)
        take_edited(policies, entry, &policy);
    mutex_unlock(&policies->changing);
    return r;
}

static void drop_entry(struct policies *policies, struct policy_entry *entry)
{
    struct policy_entry **link = &policies->entries;

    mutex_lock(&policies->lock);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    policies->entry_count--;
    mutex_unlock(&policies->lock);
    free(entry);
}

int policies_remove(struct policies *policies, const char *name, struct error *err)
{
    char key[KEY_SIZE];
    size_t users = 0;
    int r = 0;

    mutex_lock(&policies->changing);
    mutex_lock(&policies->lock);
    struct policy_entry *entry = find_locked(policies, name);
    for (size_t i = 0; i < policies->count; i++)
        users += policies->heap[i]->policy == entry;
    mutex_unlock(&policies->lock);
    policy_key(name, key);
    if (!entry)
        r = no_policy(name, err);
    else if (users > 0)
        r = error_set(err, -ENOTEMPTY,
                      "snapshot policy %s is attached to %zu filesystem%s; detach it first", name,
                      users, users == 1 ? "" : "s");
    if (r == 0)
        r = registry_put_value(policies->registry, key, (struct bytes){ .len = 0 }, err);
    if (r == 0)
        drop_entry(policies, entry);
    mutex_unlock(&policies->changing);
    return r;
}

static int add_attachment(struct policies *policies, struct policy_entry *entry,
                          const struct policy_attachment *record, struct error *err)
{
    struct attachment *attachment = calloc(1, sizeof(*attachment));
    int r = attachment ? 0 : -ENOMEM;

    if (r == 0) {
        attachment->policy = entry;
        attachment->filesystem = record->filesystem;
        attachment->attached_ns = record->attached_ns;
        memcpy(attachment->done_ns, record->done_ns, sizeof(attachment->done_ns));
        for (size_t i = 0; i < record->made_count; i++)
            attachment->wants_look |= record->made[i].is_to_upload;
        int64_t now_ns = now_of(policies);
        mutex_lock(&policies->lock);
        r = policies_heap_add(policies, attachment);
        if (r == 0)
            policies_plan_locked(policies, attachment, now_ns);
        mutex_unlock(&policies->lock);
    }
    if (r < 0)
        free(attachment);
    return r < 0 ? error_set(err, r, "out of memory") : 0;
}

static int check_attachment(struct policies *policies, const char *name,
                            const struct uuid *filesystem, struct policy_entry **ret,
                            struct error *err)
{
    size_t others = 0;
    int r = 0;

    mutex_lock(&policies->lock);
    struct policy_entry *entry = find_locked(policies, name);
    for (size_t i = 0; i < policies->count; i++)
        others += uuid_equal(&policies->heap[i]->filesystem, filesystem);
    if (!entry)
        r = no_policy(name, err);
    else if (find_attachment_locked(policies, entry, filesystem))
        r = error_set(err, -EEXIST, "snapshot policy %s is attached to it already", name);
    else if (others >= POLICIES_OF_FILESYSTEM_MAX)
        r = error_set(err, -ENOSPC, "a filesystem has at most %u snapshot policies",
                      POLICIES_OF_FILESYSTEM_MAX);
    mutex_unlock(&policies->lock);
    *ret = entry;
    return r;
}

int policies_attach(struct policies *policies, const char *name, const struct uuid *filesystem,
                    struct error *err)
{
    struct policy_attachment record = POLICY_ATTACHMENT_INIT;
    struct policy_entry *entry = NULL;

    mutex_lock(&policies->changing);
    int r = check_attachment(policies, name, filesystem, &entry, err);
    if (r == 0) {
        record.filesystem = *filesystem;
        record.attached_ns = now_of(policies);
        memcpy(record.policy, entry->policy.name, sizeof(record.policy));
        r = put_attachment(policies, &record, err);
    }
    if (r == 0)
        r = add_attachment(policies, entry, &record, err);
    mutex_unlock(&policies->changing);
    return r;
}

static int detach(struct policies *policies, struct attachment *attachment, struct error *err)
{
    int r = remove_attachment(policies, attachment, err);

    if (r < 0)
        return r;
    mutex_lock(&policies->lock);
    policies_heap_drop(policies, attachment);
    mutex_unlock(&policies->lock);
    return 0;
}

int policies_detach(struct policies *policies, const char *name, const struct uuid *filesystem,
                    struct error *err)
{
    struct attachment *attachment = NULL;

    mutex_lock(&policies->changing);
    mutex_lock(&policies->lock);
    struct policy_entry *entry = find_locked(policies, name);
    if (entry)
        attachment = find_attachment_locked(policies, entry, filesystem);
    mutex_unlock(&policies->lock);
    int r = 0;
    if (!entry)
        r = no_policy(name, err);
    else if (!attachment)
        r = error_set(err, -ENOENT, "snapshot policy %s is not attached to it", name);
    else
        r = detach(policies, attachment, err);
    mutex_unlock(&policies->changing);
    return r;
}

static struct attachment *any_of_locked(struct policies *policies, const struct uuid *filesystem)
    REQUIRES(policies->lock)
{
    for (size_t i = 0; i < policies->count; i++)
        if (uuid_equal(&policies->heap[i]->filesystem, filesystem))
            return policies->heap[i];
    return NULL;
}

int policies_forget(struct policies *policies, const struct uuid *filesystem, struct error *err)
{
    struct attachment *attachment = NULL;
    int r = 0;

    mutex_lock(&policies->changing);
    do {
        mutex_lock(&policies->lock);
        attachment = any_of_locked(policies, filesystem);
        mutex_unlock(&policies->lock);
        if (attachment)
            r = detach(policies, attachment, err);
    } while (r == 0 && attachment);
    mutex_unlock(&policies->changing);
    return r;
}

/* --- running --- */

void policies_wake(struct policies *policies, const struct uuid *filesystem)
{
    int64_t now_ns = now_of(policies);

    mutex_lock(&policies->lock);
    for (size_t i = 0; i < policies->count; i++) {
        struct attachment *attachment = policies->heap[i];
        if (!uuid_equal(&attachment->filesystem, filesystem))
            continue;
        attachment->was_woken = true;
        attachment->failures = 0;
    }
    policies_plan_all_locked(policies, NULL, filesystem, now_ns);
    mutex_unlock(&policies->lock);
}

int policies_run_once(struct policies *policies, const char *name, struct error *err)
{
    int64_t now_ns = now_of(policies);
    size_t users = 0;

    mutex_lock(&policies->lock);
    struct policy_entry *entry = find_locked(policies, name);
    for (size_t i = 0; entry && i < policies->count; i++) {
        struct attachment *attachment = policies->heap[i];
        if (attachment->policy != entry)
            continue;
        attachment->was_woken = true;
        users++;
        for (unsigned k = 0; k < POLICY_PERIODS; k++)
            attachment->forced |= entry->policy.schedules[k].is_on ? 1u << k : 0;
    }
    if (entry)
        policies_plan_all_locked(policies, entry, NULL, now_ns);
    mutex_unlock(&policies->lock);
    if (!entry)
        return no_policy(name, err);
    return users > 0 ? 0
                     : error_set(err, -EINVAL,
                                 "snapshot policy %s is not attached to any filesystem", name);
}

static int64_t retry_pause_ns(unsigned failures)
{
    int64_t pause = RETRY_FIRST_NS;

    for (unsigned i = 1; i < failures && pause < RETRY_MAX_NS; i++)
        pause *= 2;
    return pause < RETRY_MAX_NS ? pause : RETRY_MAX_NS;
}

/* What came of it, and when it is looked at again. */
static void finish_run_locked(struct policies *policies, struct attachment *attachment,
                              const struct policy_run *run, int64_t now_ns) REQUIRES(policies->lock)
{
    int r = run->failure.code;

    attachment->is_running = false;
    if (attachment->is_gone) {
        free(attachment);
        return;
    }
    memcpy(attachment->done_ns, run->done_ns, sizeof(attachment->done_ns));
    attachment->forced |= run->forced; /* those that were not taken */
    attachment->wants_look |= r < 0;
    if (r == 0) {
        attachment->failures = 0;
        attachment->failure = (struct error){ .code = 0 };
        policies_plan_locked(policies, attachment, now_ns);
    } else if (attachment->was_woken) {
        policies_plan_locked(policies, attachment, now_ns);
    } else if (run->is_parked) {
        attachment->failure = (struct error){ .code = 0 };
        policies_set_due_locked(policies, attachment, now_ns + PARKED_NS);
    } else {
        attachment->failure = run->failure;
        policies_set_due_locked(policies, attachment,
                                now_ns + retry_pause_ns(++attachment->failures));
    }
}

/* One that is due, marked as running; NULL: none is, and *ret_next_ns is when the next one will. */
static struct attachment *begin_run_locked(struct policies *policies, int64_t now_ns,
                                           struct policy_run *run, int64_t *ret_next_ns)
    REQUIRES(policies->lock)
{
    struct attachment *attachment = policies->count > 0 ? policies->heap[0] : NULL;

    *ret_next_ns = attachment ? attachment->due_ns : INT64_MAX;
    if (!attachment || policies->is_stopping || attachment->due_ns > now_ns)
        return NULL;
    *run = (struct policy_run){ .policies = policies,
                                .attachment = attachment,
                                .policy = attachment->policy->policy,
                                .filesystem = attachment->filesystem,
                                .forced = attachment->forced,
                                .now_ns = now_ns };
    memcpy(run->done_ns, attachment->done_ns, sizeof(run->done_ns));
    attachment->is_running = true;
    attachment->was_woken = false;
    attachment->wants_look = false;
    attachment->forced = 0;
    policies_set_due_locked(policies, attachment, INT64_MAX);
    return attachment;
}

static void look_at_clock_locked(struct policies *policies, int64_t now_ns) REQUIRES(policies->lock)
{
    if (policy_clock_went_back(policies->last_ns, now_ns)) {
        policies->last_ns = now_ns;
        policies_plan_all_locked(policies, NULL, NULL, now_ns);
    }
}

int64_t policies_run_due(struct policies *policies)
{
    struct policy_run run;
    int64_t next_ns = INT64_MAX;

    mutex_lock(&policies->lock);
    int64_t now_ns = now_of(policies);
    look_at_clock_locked(policies, now_ns);
    for (;;) {
        struct attachment *attachment = begin_run_locked(policies, now_ns, &run, &next_ns);
        if (!attachment)
            break;
        mutex_unlock(&policies->lock);
        policy_run(&run);
        mutex_lock(&policies->lock);
        finish_run_locked(policies, attachment, &run, now_ns);
        now_ns = now_of(policies);
    }
    mutex_unlock(&policies->lock);
    return next_ns;
}

static void *thread_main(void *arg)
{
    struct policies *policies = arg;
    bool is_over = false;

    while (!is_over) {
        int64_t due_ns = policies_run_due(policies);
        int64_t wait_ms = (due_ns - now_of(policies)) / 1000000 + 1;
        int64_t until_ms = clock_monotonic_ms() + (wait_ms < LOOK_MS ? wait_ms : LOOK_MS);
        mutex_lock(&policies->lock);
        /* What changed in between is in front of the heap. */
        bool is_news = policies->count > 0 && policies->heap[0]->due_ns < due_ns;
        if (!policies->is_stopping && !is_news && wait_ms > 0)
            (void)cond_wait_until(&policies->changed, &policies->lock, until_ms);
        is_over = policies->is_stopping;
        mutex_unlock(&policies->lock);
    }
    return NULL;
}

int policies_start(struct policies *policies, struct error *err)
{
    int r = -pthread_create(&policies->thread, NULL, thread_main, policies);

    policies->has_thread = r == 0;
    return r < 0 ? error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r)) : 0;
}

void policies_stop(struct policies *policies)
{
    if (!policies)
        return;
    mutex_lock(&policies->lock);
    policies->is_stopping = true;
    (void)pthread_cond_broadcast(&policies->changed);
    mutex_unlock(&policies->lock);
    if (policies->has_thread)
        (void)pthread_join(policies->thread, NULL);
    policies->has_thread = false;
}

/* --- opening --- */

struct loading {
    struct policies *policies;
    struct error err;
};

static int load_policy(struct bytes value, void *arg)
{
    struct loading *loading = arg;
    struct policy policy;

    if (policy_decode(value, &policy, &loading->err) < 0) {
        log_error("a snapshot policy of the registry is passed over: %s", loading->err.text);
        return 0;
    }
    return add_entry(loading->policies, &policy, &loading->err);
}

static int load_attachment(struct bytes value, void *arg)
{
    CLEANUP(policy_attachment_release) struct policy_attachment record = POLICY_ATTACHMENT_INIT;
    struct loading *loading = arg;
    struct policies *policies = loading->policies;

    if (policy_attachment_decode(value, &record, &loading->err) < 0) {
        log_error("what a snapshot policy took is passed over: %s", loading->err.text);
        return 0;
    }
    mutex_lock(&policies->lock);
    struct policy_entry *entry = find_locked(policies, record.policy);
    mutex_unlock(&policies->lock);
    if (!entry) {
        log_error("snapshot policy %s is attached to a filesystem, but is not there",
                  record.policy);
        return 0;
    }
    return add_attachment(policies, entry, &record, &loading->err);
}

static int load(struct policies *policies, struct error *err)
{
    struct loading loading = { .policies = policies };
    int r = registry_each_value(policies->registry, "policy/", load_policy, &loading, err);

    if (r == 0)
        r = registry_each_value(policies->registry, "policy-of/", load_attachment, &loading, err);
    return r == -ENOMEM ? error_set(err, r, "out of memory for snapshot policies") : r;
}

int policies_open(struct registry *registry, const struct policy_world *world,
                  struct policies **ret, struct error *err)
{
    struct policies *policies = calloc(1, sizeof(*policies));

    if (!policies)
        return error_set(err, -ENOMEM, "out of memory");
    policies->registry = registry;
    policies->world = *world;
    policies->changing = MUTEX_INIT;
    policies->lock = MUTEX_INIT;
    (void)pthread_cond_init(&policies->changed, NULL);
    policies->last_ns = now_of(policies);
    int r = load(policies, err);
    if (r < 0) {
        policies_close(policies);
        return r;
    }
    *ret = policies;
    return 0;
}

void policies_close(struct policies *policies)
{
    if (!policies)
        return;
    policies_stop(policies);
    for (size_t i = 0; i < policies->count; i++)
        free(policies->heap[i]);
    free(policies->heap);
    while (policies->entries) {
        struct policy_entry *entry = policies->entries;
        policies->entries = entry->next;
        free(entry);
    }
    (void)pthread_cond_destroy(&policies->changed);
    free(policies);
}
