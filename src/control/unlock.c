/* unlock.c - the keys of a filesystem that is to be started, and the proof of what wraps them: a
 * start, or an hour, after a rewrap it is unwrapped once more, and only then what wrapped before is
 * dropped. A key server may fail over to a replica that is behind. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/drop_previous.h"
#include "control/missing_keys.h"
#include "control/own_key.h"
#include "control/rings.h"

static bool has_previous(const struct rings_opened *opened)
{
    for (uint32_t i = 0; i < opened->ring.count; i++)
        if (opened->ring.generations[i].has_previous && !rings_lacks(&opened->outcome, i))
            return true;
    return false;
}

/* What wrapped the keys before a rewrap is no longer needed: the server has unwrapped what it
 * wrapped last, some time later. */
static int drop_own_previous(struct filesystem *fs, const struct fs_record *record,
                             struct rings_opened *opened, struct error *err)
{
    rings_drop_previous(opened);
    return drop_previous_write(fs->control, record, false, opened, err);
}

/* The keys are open, and that is what counts: a failure to tidy up is told, and tried again at the
 * next start. */
static void tidy(struct filesystem *fs, const struct fs_record *record, struct rings_opened *opened)
{
    struct control *control = fs->control;
    struct error err = { .code = 0 };

    if (opened->outcome.used_previous) {
        events_add(&control->events, LOG_LEVEL_WARNING, "previous-key-used", record->name,
                   "the KMS does not unwrap what it wrapped last; the key was opened as it was "
                   "wrapped before: bring the KMS to its latest state, or rewrap");
        return;
    }
    if (own_key_settle(fs, &err) < 0)
        log_warning("what wraps the key of filesystem %s is not settled: %s", record->name,
                    err.text);
    if (kms_is_staged(control->kms))
        return;
    if (has_previous(opened) && drop_own_previous(fs, record, opened, &err) < 0) {
        events_add(&control->events, LOG_LEVEL_WARNING, "ring-not-tidied", record->name, "%s",
                   err.text);
        return;
    }
    mutex_lock(&fs->lock);
    fs->proof_due_ms = 0;
    mutex_unlock(&fs->lock);
}

/* For whom keys are unwrapped. */
struct unlocking {
    const char *purpose;
    bool may_repair;
    void (*note)(struct filesystem *fs, const struct rings_opened *opened); /* or NULL */
};

/* The entry of the audit log names what wraps the key now. */
static int audit(struct filesystem *filesystem, int r, const char *purpose, bool used_previous,
                 const struct error *why, struct error *err)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "%s%s", purpose,
                   r == 0 && used_previous ? ", opened by what wrapped it before" : "");
    return filesystem_audit_unwrap(filesystem, r, text, why, err);
}

/* ret may be NULL. */
static int unlock_held(struct filesystem *filesystem, const struct unlocking *unlocking,
                       struct key_set *ret, bool *ret_is_kms, struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(filesystem);
    struct rings_options options = { .may_repair = unlocking->may_repair };
    struct error why = { .code = 0 };

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    mutex_lock(&filesystem->lock);
    options.may_be_bare = filesystem->salvage;
    mutex_unlock(&filesystem->lock);
    /* What is not all here yet does not start without its origin's key: that is waited for. */
    options.may_lack_foreign = !record->has_origin;
    int r = rings_open(filesystem->control, record, &options, &opened, ret_is_kms, &why);
    if (r == 0)
        r = filesystem_learn(filesystem, record, rings_newest(&opened.ring), &why);
    int audited = audit(filesystem, r, unlocking->purpose, opened.outcome.used_previous, &why, err);
    if (r < 0)
        return error_set(err, r, "%s", why.text);
    if (audited < 0)
        return audited;
    if (ret && (r = key_set_copy(ret, &opened.keys)) < 0)
        return error_set(err, r, "out of secret memory");
    if (unlocking->note)
        unlocking->note(filesystem, &opened);
    if (unlocking->may_repair)
        tidy(filesystem, record, &opened);
    return 0;
}

int filesystem_unlock(struct filesystem *filesystem, bool may_repair, struct key_set *ret,
                      bool *ret_is_kms, struct error *err)
{
    const struct unlocking unlocking = { .purpose = may_repair ? "to start it" : "to check it",
                                         .may_repair = may_repair,
                                         .note = missing_keys_note };

    filesystem_hold_rings(filesystem);
    int r = unlock_held(filesystem, &unlocking, ret, ret_is_kms, err);
    filesystem_let_rings(filesystem);
    return r;
}

int filesystem_unlock_again(struct filesystem *filesystem, struct key_set *ret, struct error *err)
{
    const struct unlocking unlocking = { .purpose = "for its worker, which lacks a key of the ring",
                                         .may_repair = true,
                                         .note = missing_keys_note_running };
    bool is_kms = false;

    filesystem_hold_rings(filesystem);
    int r = unlock_held(filesystem, &unlocking, ret, &is_kms, err);
    filesystem_let_rings(filesystem);
    return r;
}

int filesystem_prove(struct filesystem *filesystem)
{
    static const struct unlocking unlocking = { .purpose = "to prove what wraps it",
                                                .may_repair = true };
    struct error err = { .code = 0 };
    bool is_kms = false;
    int r = 0;

    filesystem_hold_rings(filesystem);
    mutex_lock(&filesystem->lock);
    bool is_due = filesystem->proof_due_ms != 0 && filesystem->record.phase == FS_PHASE_READY;
    filesystem->proof_due_ms = is_due ? clock_monotonic_ms() + FILESYSTEM_PROOF_AFTER_MS : 0;
    mutex_unlock(&filesystem->lock);
    if (is_due)
        r = unlock_held(filesystem, &unlocking, NULL, &is_kms, &err);
    filesystem_let_rings(filesystem);
    if (r < 0)
        events_add(&filesystem->control->events, LOG_LEVEL_WARNING, "wrapping-not-proved",
                   filesystem->record.name,
                   "what wraps its key since the last rewrap could not be proved, and what wrapped "
                   "it before is kept: %s",
                   err.text);
    return r;
}
