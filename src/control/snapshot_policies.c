#include "control/snapshot_policies.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/filesystem.h"
#include "control/locators.h"
#include "control/object_stores.h"
#include "control/upload.h"
#include "host/fuse_device.h"

/* --- the world --- */

static int64_t world_now_ns(void *arg)
{
    (void)arg;
    return clock_wall_ns();
}

static int find_world_filesystem(struct control *control, const struct uuid *uuid,
                                 struct filesystem **ret, struct error *err)
{
    *ret = filesystem_find_uuid(control, uuid);
    return *ret ? 0 : error_set(err, -EBUSY, "the filesystem is gone");
}

static bool world_is_up(void *arg, const struct uuid *filesystem)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find_uuid(arg, filesystem);
    CLEANUP(worker_unrefp) struct worker *worker = fs ? filesystem_worker(fs) : NULL;

    return worker != NULL;
}

static int world_take(void *arg, const struct uuid *filesystem, const char *name, uint64_t *ret_id,
                      struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    struct control_snapshot snapshot = { .id = 0 };
    int r = find_world_filesystem(arg, filesystem, &fs, err);

    if (r < 0)
        return r;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    if (record)
        fuse_device_start_write_back(record->mountpoint, record->name);
    r = filesystem_take_snapshot(fs, name, name, &snapshot, err);
    if (r == 0)
        *ret_id = snapshot.id;
    return r;
}

static int world_find(void *arg, const struct uuid *filesystem, const char *name, uint64_t *ret_id,
                      struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    struct control_snapshot snapshot = { .id = 0 };
    int r = find_world_filesystem(arg, filesystem, &fs, err);

    if (r == 0)
        r = filesystem_find_snapshot(fs, name, &snapshot, err);
    if (r == 0)
        *ret_id = snapshot.id;
    return r;
}

static int world_remove(void *arg, const struct uuid *filesystem, uint64_t id, const char *name,
                        struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    int r = find_world_filesystem(arg, filesystem, &fs, err);

    return r < 0 ? r : filesystem_remove_unchanged(fs, id, name, err);
}

static bool is_uploaded(struct filesystem *fs, uint64_t snapshot, const char *store)
{
    CLEANUP(free_ptr) struct locator_record *locators = NULL;
    size_t count = 0;
    bool is_there = false;

    if (locators_list(fs->control, &fs->record.uuid, &locators, &count, NULL) < 0)
        return false; /* then it is uploaded again, and costs little */
    for (size_t i = 0; i < count; i++)
        is_there |= locators[i].snapshot == snapshot && strcmp(locators[i].store, store) == 0;
    return is_there;
}

static bool is_being_uploaded(struct filesystem *fs, uint64_t snapshot, const char *store)
{
    const struct task_use use = { &fs->record.uuid, snapshot, store };

    return tasks_expect_none(fs->control, &use, NULL) < 0;
}

/* It was begun when the task is stored: that goes on by itself. */
static int world_upload(void *arg, const struct uuid *filesystem, const char *name,
                        const char *store, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = NULL;
    const struct store_choice choice = store_choice_read(store);
    struct control_snapshot snapshot = { .id = 0 };
    char chosen[STORE_NAME_MAX + 1];
    struct task_view task;
    int r = find_world_filesystem(arg, filesystem, &fs, err);

    if (r == 0)
        r = filesystem_find_snapshot(fs, name, &snapshot, err);
    if (r < 0)
        return r;
    r = control_store_choose(fs->control, &choice, chosen, err);
    if (r == 0 &&
        (is_uploaded(fs, snapshot.id, chosen) || is_being_uploaded(fs, snapshot.id, chosen)))
        return -EALREADY;
    const struct snapshot_upload upload = { .snapshot = name, .store = { .name = chosen } };
    if (r == 0)
        r = control_snapshot_upload(fs->control, fs->record.name, &upload, &task, err);
    return r == -ENOENT ? error_recode(err, -ENXIO) : r; /* it is the store that is gone */
}

int control_open_policies(struct control *control, struct error *err)
{
    const struct policy_world world = {
        .now_ns = world_now_ns,
        .is_up = world_is_up,
        .take = world_take,
        .find = world_find,
        .remove = world_remove,
        .upload = world_upload,
        .arg = control,
    };

    return policies_open(control->registry, &world, &control->policies, err);
}

/* --- to look at --- */

void control_policy_views_free(struct policy_view *views, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(views[i].filesystems);
    free(views);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct policy_filesystem *)a)->name,
                  ((const struct policy_filesystem *)b)->name);
}

/* One that is being removed has lost its name already. */
static void name_attached(struct control *control, const struct policy_attached *attached,
                          struct policy_view *ret)
{
    CLEANUP(filesystem_unrefp)
    struct filesystem *fs = filesystem_find_uuid(control, &attached->filesystem);

    if (!fs)
        return;
    struct policy_filesystem *to = &ret->filesystems[ret->count++];
    *to = (struct policy_filesystem){ .next_ns = attached->next_ns, .failure = attached->failure };
    memcpy(to->name, fs->record.name, sizeof(to->name));
}

/* Policy number index of all. */
static int name_all(struct control *control, const struct policies_view *all, size_t index,
                    struct policy_view *ret, struct error *err)
{
    ret->policy = all->policies[index];
    ret->filesystems = calloc(all->attached_count + 1, sizeof(*ret->filesystems));
    if (!ret->filesystems)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < all->attached_count; i++)
        if (all->attached[i].policy == index)
            name_attached(control, &all->attached[i], ret);
    qsort(ret->filesystems, ret->count, sizeof(*ret->filesystems), compare_names);
    return 0;
}

int control_policy_list(struct control *control, const char *name, struct policy_view **ret,
                        size_t *ret_count, struct error *err)
{
    CLEANUP(policies_view_release) struct policies_view all = { .count = 0 };
    struct policy_view *views = NULL;
    size_t count = 0;
    int r = policies_view(control->policies, &all, err);

    if (r == 0 && !(views = calloc(all.count + 1, sizeof(*views))))
        r = error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < all.count; i++)
        if (!name || strcmp(name, all.policies[i].name) == 0)
            r = name_all(control, &all, i, &views[count++], err);
    if (r == 0 && name && count == 0)
        r = error_set(err, -ENOENT, "there is no snapshot policy '%.40s'", name);
    if (r < 0) {
        control_policy_views_free(views, count);
        return r;
    }
    *ret = views;
    *ret_count = count;
    return 0;
}

/* --- changes --- */

/* "remote" is what people are used to give for a site. A store of that name comes first, as it may
 * be older than sites are. */
static void spell_site(struct control *control, char upload[static STORE_NAME_MAX + 1])
{
    CLEANUP(free_ptr) struct store_view *view = malloc(sizeof(*view));
    enum store_site site = STORE_SITE_LOCAL;

    if (view && store_site_parse(upload, &site, NULL) == 0 &&
        control_store_get(control, upload, view, NULL) == -ENOENT)
        (void)snprintf(upload, STORE_NAME_MAX + 1, STORE_SITE "%s", store_site_name(site));
}

/* The object stores must be there now; one that is removed later is an alert. */
static int check_uploads(struct control *control, struct policy *policy, struct error *err)
{
    char chosen[STORE_NAME_MAX + 1];
    int r = 0;

    for (unsigned i = 0; i < POLICY_PERIODS && r == 0; i++) {
        char *upload = policy->schedules[i].upload;
        if (*upload == '\0')
            continue;
        spell_site(control, upload);
        const struct store_choice choice = store_choice_read(upload);
        r = control_store_choose(control, &choice, chosen, err);
    }
    return r;
}

static void tell(struct control *control, const char *filesystem, const char *type,
                 const char *policy, const char *what)
{
    events_add(&control->events, LOG_LEVEL_INFO, type, filesystem, "snapshot policy %s %s", policy,
               what);
}

int control_policy_add(struct control *control, const struct policy *policy, struct error *err)
{
    struct policy checked = *policy;
    int r = check_uploads(control, &checked, err);

    if (r == 0)
        r = policies_add(control->policies, &checked, err);
    if (r == 0)
        tell(control, "", "snapshot-policy-added", policy->name, "was added");
    return r;
}

struct checked_edit {
    struct control *control;
    policy_edit_fn *edit;
    void *arg;
};

static int edit_and_check(struct policy *policy, void *arg, struct error *err)
{
    const struct checked_edit *checked = arg;
    int r = checked->edit(policy, checked->arg, err);

    return r < 0 ? r : check_uploads(checked->control, policy, err);
}

int control_policy_update(struct control *control, const char *name, policy_edit_fn *edit,
                          void *arg, struct error *err)
{
    struct checked_edit checked = { .control = control, .edit = edit, .arg = arg };
    int r = policies_update(control->policies, name, edit_and_check, &checked, err);

    if (r == 0)
        tell(control, "", "snapshot-policy-updated", name, "was changed");
    return r;
}

int control_policy_remove(struct control *control, const char *name, struct error *err)
{
    int r = policies_remove(control->policies, name, err);

    if (r == 0)
        tell(control, "", "snapshot-policy-removed", name, "was removed");
    return r;
}

int control_policy_attach(struct control *control, const char *name, const char *filesystem,
                          struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, filesystem, err);

    if (!fs)
        return -ENOENT;
    int r = policies_attach(control->policies, name, &fs->record.uuid, err);
    /* A removal in between has looked for its policies already, or will yet. */
    if (r == 0 && fs_record_is_going(&fs->record))
        r = policies_forget(control->policies, &fs->record.uuid, err);
    if (r == 0)
        tell(control, filesystem, "snapshot-policy-attached", name, "was attached");
    return r;
}

int control_policy_detach(struct control *control, const char *name, const char *filesystem,
                          struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, filesystem, err);

    if (!fs)
        return -ENOENT;
    int r = policies_detach(control->policies, name, &fs->record.uuid, err);
    if (r == 0)
        tell(control, filesystem, "snapshot-policy-detached", name,
             "was detached; the snapshots that it took stay");
    return r;
}

int control_policy_run_once(struct control *control, const char *name, struct error *err)
{
    return policies_run_once(control->policies, name, err);
}
