/* uploads_removal.h - inside the control plane: removals in object stores, which survive a crash.
 * What is removed is noted in the registry ("removal/" and the store's name,
 * docs/formats/registry.md) before its mark is in the store, and until the mark is gone: so this
 * instance takes its mark again, and no mark of it lets others wait for ever.
 *
 * Threads    any; one removal at a time.
 */
#pragma once

#include "control/control.h"
#include "transfer/locator.h"
#include "transfer/reference.h"
#include "transfer/sharing.h"

struct removal_record {
    struct removing_mark mark;
    bool has_snapshot; /* that is being removed */
    struct locator snapshot;
};

/* Removes these, and what nobody needs any more; without any, only that. What a crash or a failure
 * interrupts is finished later, by this instance. -ENOENT: the store does not hold one of them, and
 * nothing was removed. */
struct uploads_removed;
int uploads_remove(struct control *control, const char *store, const struct locator *locators,
                   size_t count, struct uploads_removed *ret, struct error *err);

/* The same in steps, for a task. Whether they are there, and the entries in the audit log; */
int uploads_removal_check(struct control *control, const char *store,
                          const struct locator *locators, size_t count, struct error *err);
/* then the removal, also one that was interrupted: what is not there any more is no error. When
 * watch ends it with -ECANCELED nobody waits for it any more, and it can be begun again; */
int uploads_removal_run(struct control *control, const char *store, const struct locator *locators,
                        size_t count, removal_watch_fn *watch, void *arg,
                        struct uploads_removed *ret, struct error *err);
/* or, after that was interrupted, the end of it: the snapshot that was being removed goes, and what
 * nobody needs stays until the next removal. */
int uploads_removal_end(struct control *control, const char *store, struct error *err);

#define REMOVAL_RECORD_MAX 128u
int removal_record_encode(const struct removal_record *record, struct buf *ret);
int removal_record_decode(struct bytes encoded, struct removal_record *ret, struct error *err);

/* Whether a removal that this instance has to finish there has this mark. */
bool uploads_removal_is(struct control *control, const char *store, const struct uuid *mark);
