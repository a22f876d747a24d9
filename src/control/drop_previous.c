#include "control/drop_previous.h"
#include "control/object_stores.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "store/object_store.h"

/* ------------------------------------------------------------------ writing */

static bool names_local_key(const struct key_ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        if (strcmp(ring->generations[i].current.key.provider, "local") == 0 ||
            strcmp(ring->generations[i].previous.key.provider, "local") == 0)
            return true;
    return false;
}

/* An object of a store in a folder is a file there. -1: there is none. */
static int open_stored_ring(const struct fs_record *record)
{
    char path[PATH_MAX];

    if (place_is_s3(record->store_url))
        return -1; /* the server may keep what is replaced, if it keeps versions */
    if (snprintf(path, sizeof(path), "%s/" KEY_RING_OBJECT,
                 filesystem_url_folder(record->store_url)) >= (int)sizeof(path))
        return -1;
    return open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

int drop_previous_write(struct control *control, const struct fs_record *record, bool is_new,
                        struct rings_opened *opened, struct error *err)
{
    CLEANUP(close_fd) int replaced = open_stored_ring(record);
    char uuid[UUID_TEXT_SIZE];
    int r = rings_write(control, record, is_new, opened, err);

    if (r < 0)
        return r;
    if (replaced >= 0 && (r = fd_shred_unnamed(replaced)) < 0)
        return error_set(err, r,
                         "what was in the place of the key ring in the store could not be "
                         "overwritten: %s",
                         strerrordesc_np(-r));
    if (names_local_key(&opened->ring))
        return 0;
    uuid_format(&record->uuid, uuid);
    return kms_shred_local_key(control->kms, uuid, err);
}

/* ------------------------------------------------------------------ a run */

/* One filesystem. */
struct dropping {
    struct control *control;
    struct filesystem *fs;
    struct rewrap_row *row;
    struct fs_record record;
    struct rings_opened opened;
    bool is_new;
    bool is_dry;
};

static void dropping_free(struct dropping **dropping)
{
    if (*dropping)
        rings_opened_release(&(*dropping)->opened);
    free(*dropping);
}

static void release_all(struct secret **plains)
{
    for (uint32_t i = 0; *plains && i < KEY_GENERATIONS_MAX; i++)
        secret_release(&(*plains)[i]);
    free(*plains);
}

/* All generations by what wraps them now, but for those of others that do not open at all. */
static int prove(struct dropping *dropping, struct error *err)
{
    CLEANUP(release_all) struct secret *plains = calloc(KEY_GENERATIONS_MAX, sizeof(*plains));
    struct rings_options options = { .owner = &dropping->record,
                                     .may_repair = !dropping->is_dry,
                                     .may_lack_foreign = true };
    struct rings_opened *opened = &dropping->opened;
    bool is_kms = false;
    bool used_previous = false; /* by either look */

    if (!plains)
        return error_set(err, -ENOMEM, "out of memory");
    int r = dropping->is_new
                ? rings_open_new(dropping->control, &dropping->record, opened, &is_kms, err)
                : rings_open(dropping->control, &dropping->record, &options, opened, &is_kms, err);
    used_previous = opened->outcome.used_previous;
    if (r == 0)
        r = rings_unwrap_all(dropping->control, &opened->ring, &options, plains, &opened->outcome,
                             err);
    if (r == 0 && (used_previous || opened->outcome.used_previous))
        r = error_set(err, -ENOKEY, "the KMS does not unwrap what it wrapped last");
    return r;
}

static int count_kept(struct bytes ring, void *arg)
{
    (void)ring;
    (*(uint32_t *)arg)++;
    return 0;
}

/* What did not open may yet open as it was wrapped before. */
static bool drops(const struct dropping *dropping, uint32_t generation)
{
    return dropping->opened.ring.generations[generation].has_previous &&
           !rings_lacks(&dropping->opened.outcome, generation);
}

static int count(struct dropping *dropping, struct error *err)
{
    const struct key_ring *ring = &dropping->opened.ring;

    for (uint32_t i = 0; i < ring->count; i++)
        dropping->row->dropped += drops(dropping, i);
    if (dropping->opened.outcome.unopened != 0)
        return 0; /* a ring that was kept aside may have what opens */
    return registry_each_kept(dropping->control->registry, &dropping->record.uuid, count_kept,
                              &dropping->row->kept, err);
}

static int audit(struct dropping *dropping, struct error *err)
{
    struct audit_note notes[KEY_GENERATIONS_MAX + 1];
    const struct key_ring *ring = &dropping->opened.ring;
    const struct audit_note note = { .operation = AUDIT_DROP,
                                     .uuid = &dropping->record.uuid,
                                     .filesystem = dropping->record.name };
    char text[64];
    size_t n = 0;

    for (uint32_t i = 0; i < ring->count; i++) {
        if (!drops(dropping, i))
            continue;
        notes[n] = note;
        notes[n].key = audit_key_of(&ring->generations[i].current.key);
        notes[n].old_key = audit_key_of(&ring->generations[i].previous.key);
        notes[n++].text = "the wrapping before";
    }
    if (dropping->row->kept > 0) {
        (void)snprintf(text, sizeof(text), "%u key rings that were kept aside",
                       dropping->row->kept);
        notes[n] = note;
        notes[n].key = audit_key_of(rings_newest(ring));
        notes[n++].text = text;
    }
    return audit_add(dropping->control->audit, notes, n, err);
}

static int write_without(struct dropping *dropping, struct error *err)
{
    struct control *control = dropping->control;
    int r = 0;

    rings_drop_previous(&dropping->opened);
    if (dropping->row->dropped > 0)
        r = drop_previous_write(control, &dropping->record, dropping->is_new, &dropping->opened,
                                err);
    if (r == 0 && dropping->row->kept > 0)
        r = registry_remove_kept(control->registry, &dropping->record.uuid, err);
    return r < 0 ? r : control_step(control, STEP_KEPT_DROPPED);
}

static int drop_held(struct dropping *dropping, struct error *err)
{
    struct filesystem *fs = dropping->fs;

    mutex_lock(&fs->lock);
    dropping->record = fs->record;
    mutex_unlock(&fs->lock);
    dropping->is_new = dropping->record.phase == FS_PHASE_CREATING;
    int r = prove(dropping, err);
    if (r == 0 && !dropping->is_dry)
        r = filesystem_learn(fs, &dropping->record, NULL, err);
    if (r == 0)
        r = count(dropping, err);
    if (r < 0 || dropping->is_dry || dropping->row->dropped + dropping->row->kept == 0)
        return r;
    r = audit(dropping, err);
    if (r == 0)
        r = write_without(dropping, err);
    if (r < 0)
        return r;
    mutex_lock(&fs->lock);
    fs->proof_due_ms = 0;
    mutex_unlock(&fs->lock);
    return 0;
}

static void fail(struct dropping *dropping, int r, const struct error *why,
                 struct rewrap_report *report)
{
    struct rewrap_row *row = dropping->row;

    row->result = REWRAP_FAILED;
    row->dropped = 0;
    row->kept = 0;
    (void)snprintf(row->text, sizeof(row->text), "what wrapped its key before stays: %.450s",
                   why->text);
    report->failed++;
    if (!dropping->is_dry)
        filesystem_audit_failure(dropping->fs, AUDIT_DROP, r, why);
}

/* One that was removed meanwhile has nothing left. */
static int drop_one(struct control *control, bool is_dry, struct rewrap_row *row,
                    struct rewrap_report *report, struct error *err)
{
    CLEANUP(dropping_free) struct dropping *dropping = calloc(1, sizeof(*dropping));
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, row->name, NULL);
    struct error why = { .code = 0 };

    if (!dropping)
        return error_set(err, -ENOMEM, "out of memory");
    if (!fs)
        return 0;
    *dropping = (struct dropping){
        .control = control, .fs = fs, .row = row, .opened = RINGS_OPENED_INIT, .is_dry = is_dry
    };
    filesystem_hold_rings(fs);
    int r = drop_held(dropping, &why);
    filesystem_let_rings(fs);
    if (r < 0 && r != CONTROL_CRASHED)
        fail(dropping, r, &why, report);
    else if (!is_dry && row->dropped + row->kept > 0)
        events_add(&control->events, LOG_LEVEL_WARNING, "previous-dropped", row->name,
                   "what wrapped its key before was destroyed: %u wrapping%s, %u key ring%s that "
                   "had been kept aside",
                   row->dropped, row->dropped == 1 ? "" : "s", row->kept,
                   row->kept == 1 ? "" : "s");
    return r == CONTROL_CRASHED ? r : 0;
}

int drop_previous_run(struct control *control, bool is_dry, struct rewrap_report *report,
                      struct error *err)
{
    struct error why = { .code = 0 };
    int r = 0;

    for (size_t i = 0; r == 0 && i < report->count; i++)
        if (report->rows[i].result != REWRAP_FAILED)
            r = drop_one(control, is_dry, &report->rows[i], report, err);
    if (r < 0 || is_dry)
        return r;
    /* Also if nothing was dropped: an earlier run may have ended in between. */
    if (registry_scrub(control->registry, &why) < 0)
        (void)snprintf(report->remains, sizeof(report->remains), "%s", why.text);
    return 0;
}
