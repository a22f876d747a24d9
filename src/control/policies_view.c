#include <errno.h>
#include <stdlib.h>

#include "control/policies_internal.h"

static void fill_view_locked(struct policies *policies, struct policies_view *ret)
    REQUIRES(policies->lock)
{
    for (struct policy_entry *entry = policies->entries; entry; entry = entry->next) {
        entry->index = ret->count;
        ret->policies[ret->count++] = entry->policy;
    }
    for (size_t i = 0; i < policies->count; i++) {
        const struct attachment *attachment = policies->heap[i];
        ret->attached[ret->attached_count++] =
            (struct policy_attached){ .policy = attachment->policy->index,
                                      .filesystem = attachment->filesystem,
                                      .next_ns = attachment->due_ns,
                                      .failure = attachment->failure };
    }
}

void policies_view_release(struct policies_view *view)
{
    free(view->policies);
    free(view->attached);
    *view = (struct policies_view){ .count = 0 };
}

int policies_view(struct policies *policies, struct policies_view *ret, struct error *err)
{
    struct policies_view view = { .count = 0 };

    mutex_lock(&policies->lock);
    view.policies = calloc(policies->entry_count + 1, sizeof(*view.policies));
    view.attached = calloc(policies->count + 1, sizeof(*view.attached));
    bool is_well = view.policies && view.attached;
    if (is_well)
        fill_view_locked(policies, &view);
    mutex_unlock(&policies->lock);
    if (!is_well) {
        policies_view_release(&view);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *ret = view;
    return 0;
}
