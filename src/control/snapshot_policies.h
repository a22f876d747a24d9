/* snapshot_policies.h - snapshot policies as people see them: by the names of filesystems.
 *
 * Errors     negative errno and a sentence, as policies.h. -ENOENT also: no such filesystem, or
 *            object store to upload to.
 * Ownership  views are the caller's to free.
 * Threads    any.
 */
#pragma once

#include "control/control.h"
#include "control/policies.h"

struct policy_filesystem {
    char name[FS_NAME_MAX + 1];
    int64_t next_ns;
    struct error failure; /* code 0: none */
};

struct policy_view {
    struct policy policy;
    struct policy_filesystem *filesystems; /* sorted by name */
    size_t count;
};

void control_policy_views_free(struct policy_view *views, size_t count);

/* Sorted by name. name: this one only; NULL: all. */
int control_policy_list(struct control *control, const char *name, struct policy_view **ret,
                        size_t *ret_count, struct error *err);

int control_policy_add(struct control *control, const struct policy *policy, struct error *err);
int control_policy_update(struct control *control, const char *name, policy_edit_fn *edit,
                          void *arg, struct error *err);
int control_policy_remove(struct control *control, const char *name, struct error *err);
int control_policy_attach(struct control *control, const char *name, const char *filesystem,
                          struct error *err);
int control_policy_detach(struct control *control, const char *name, const char *filesystem,
                          struct error *err);
int control_policy_run_once(struct control *control, const char *name, struct error *err);
