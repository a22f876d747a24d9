#include "control/missing_keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/foreign_keys.h"

#define PERIOD_MS (60LL * 1000)

/* Of the first one; the others' are seen when that is mended. */
static void describe(const struct rings_opened *opened, char ret[static FILESYSTEM_MISSING_SIZE])
{
    const struct rings_outcome *outcome = &opened->outcome;
    char id[UUID_TEXT_SIZE];

    ret[0] = '\0';
    if (outcome->unopened == 0)
        return;
    const struct key_generation *first =
        &opened->ring.generations[__builtin_ctzll(outcome->unopened)];
    uuid_format(&first->origin, id);
    (void)snprintf(ret, FILESYSTEM_MISSING_SIZE,
                   "generation %u of the key of filesystem %s: %.360s", first->number, id,
                   outcome->why.text);
}

/* Whether the record is to be stored. */
static bool set_lacking_locked(struct filesystem *fs, bool is_lacking) REQUIRES(fs->lock)
{
    bool is_new = fs->record.lacks_keys != is_lacking;

    fs->record.lacks_keys = is_lacking;
    return is_new;
}

static void save(struct filesystem *fs)
{
    struct error err = { .code = 0 };

    if (filesystem_save(fs, &err) < 0)
        events_add(&fs->control->events, LOG_LEVEL_ERROR, "registry", fs->record.name,
                   "which of its keys are refused is not known after a restart of cofferd: %s",
                   err.text);
}

static void tell_missing(struct filesystem *fs, const struct error *why, unsigned count,
                         const char *text)
{
    filesystem_audit_failure(fs, AUDIT_UNWRAP, why->code, why);
    events_add(&fs->control->events, LOG_LEVEL_ERROR, "foreign-key-missing", fs->record.name,
               "%u key%s of other filesystems, which data of it came with, do%s not open: %s; what "
               "%s cannot be read, all else can",
               count, count == 1 ? "" : "s", count == 1 ? "es" : "", text,
               count == 1 ? "it seals" : "they seal");
}

static void tell_back(struct filesystem *fs)
{
    events_add(&fs->control->events, LOG_LEVEL_INFO, "foreign-key-back", fs->record.name,
               "the keys of other filesystems, which data of it came with, open again, or nothing "
               "needs them any more: all of it can be read");
}

static void note(struct filesystem *fs, const struct rings_opened *opened, bool may_end)
{
    unsigned count = (unsigned)__builtin_popcountll(opened->outcome.unopened);
    char text[FILESYSTEM_MISSING_SIZE];

    describe(opened, text);
    mutex_lock(&fs->lock);
    /* Whatever opens now, a worker that is up has the keys that it was given. */
    may_end = may_end && !(fs->worker && fs_state_has_worker(fs->state));
    bool is_new = count > 0 && (fs->missing_count != count || strcmp(fs->missing_text, text) != 0);
    bool was_lacking = fs->record.lacks_keys;
    fs->missing = opened->outcome.unopened;
    fs->missing_count = count;
    if (count > 0 || may_end)
        memcpy(fs->missing_text, text, sizeof(text));
    fs->missing_look_ms = clock_monotonic_ms() + PERIOD_MS;
    bool must_save = (count > 0 || may_end) && set_lacking_locked(fs, count > 0);
    mutex_unlock(&fs->lock);
    if (must_save)
        save(fs);
    if (is_new)
        tell_missing(fs, &opened->outcome.why, count, text);
    else if (count == 0 && may_end && was_lacking)
        tell_back(fs);
}

void missing_keys_note(struct filesystem *fs, const struct rings_opened *opened)
{
    note(fs, opened, true);
}

void missing_keys_note_running(struct filesystem *fs, const struct rings_opened *opened)
{
    note(fs, opened, false);
}

void missing_keys_told(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    bool is_over = fs->missing_count == 0 && set_lacking_locked(fs, false);
    if (is_over)
        fs->missing_text[0] = '\0';
    mutex_unlock(&fs->lock);
    if (!is_over)
        return;
    save(fs);
    tell_back(fs);
}

void missing_keys_expect(struct filesystem *fs, const char *text)
{
    mutex_lock(&fs->lock);
    bool is_up = fs->worker && fs_state_has_worker(fs->state);
    /* A worker that does without them is told of them first: the monitor sees to that. */
    bool is_lacking = text[0] != '\0' || (is_up && fs->record.lacks_keys);
    bool must_save = set_lacking_locked(fs, is_lacking);
    fs->missing = 0; /* its next start finds out, or the monitor */
    fs->missing_count = 0;
    fs->missing_look_ms = 0;
    if (text[0] != '\0' || !is_lacking)
        (void)snprintf(fs->missing_text, sizeof(fs->missing_text), "%.479s", text);
    mutex_unlock(&fs->lock);
    if (must_save)
        save(fs);
}

/* ------------------------------------------------------------------ asking again */

static bool opens(struct filesystem *fs, const struct fs_record *record,
                  const struct key_generation *generation, const struct wrapped_key *wrapped)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    return kms_try_unwrap(fs->control->kms, NULL, record, wrapped, 1, &plain, NULL) == 0 &&
           key_generation_open(generation, &plain, &key, NULL) == 0;
}

/* Of what the registry says, which is believed when the ring is opened as a whole. */
static bool one_opens(struct filesystem *fs, uint64_t missing)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    bool is_found = false;

    filesystem_hold_rings(fs);
    int r = registry_peek_ring(fs->control->registry, &fs->record.uuid, &ring, NULL);
    filesystem_let_rings(fs);
    if (r < 0 || !record)
        return false;
    for (uint32_t i = 0; i < ring.count && !is_found; i++) {
        const struct key_generation *generation = &ring.generations[i];
        if (!(missing >> i & 1))
            continue;
        is_found =
            opens(fs, record, generation, &generation->current.key) ||
            (generation->has_previous && opens(fs, record, generation, &generation->previous.key));
    }
    return is_found;
}

/* Which are missing is not known of a worker that an earlier cofferd started. */
static void look(struct filesystem *fs, uint64_t missing)
{
    struct error err = { .code = 0 };

    if ((missing != 0 && !one_opens(fs, missing)) || foreign_keys_tell(fs, &err) == 0)
        return;
    log_warning("filesystem %s is told of its keys later: %s", fs->record.name, err.text);
    mutex_lock(&fs->lock);
    fs->missing = 0; /* nobody knows what the worker has */
    mutex_unlock(&fs->lock);
}

struct watch {
    int64_t next_ms;
    bool is_away; /* the key server: each question would take its whole time limit */
};

static int watch_one(struct filesystem *fs, void *arg, struct error *err)
{
    struct watch *watch = arg;
    int64_t now = clock_monotonic_ms();

    (void)err;
    mutex_lock(&fs->lock);
    bool is_lacking = fs->record.lacks_keys && fs->record.phase == FS_PHASE_READY && fs->worker &&
                      fs_state_has_worker(fs->state);
    bool is_due = is_lacking && fs->missing_look_ms <= now;
    uint64_t missing = fs->missing;
    if (is_due)
        fs->missing_look_ms = now + PERIOD_MS;
    int64_t look_ms = fs->missing_look_ms;
    mutex_unlock(&fs->lock);
    if (is_lacking && look_ms < watch->next_ms)
        watch->next_ms = look_ms;
    if (is_due && !watch->is_away && !atomic_load(&fs->control->is_shutting_down))
        look(fs, missing);
    return 0;
}

void missing_keys_watch(struct control *control, int64_t *ret_next_ms)
{
    struct watch watch = { .next_ms = INT64_MAX };
    struct kms_status status;

    kms_status(control->kms, &status);
    watch.is_away = status.error_code == -EAGAIN;
    (void)control_each(control, watch_one, &watch, NULL);
    *ret_next_ms = watch.next_ms;
}

void missing_keys_hurry(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    fs->missing_look_ms = 0;
    mutex_unlock(&fs->lock);
}
