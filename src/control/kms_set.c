/* kms_set.c - changing the key server: only to one that works, and under which all opens that opens
 * today.
 *
 * For each filesystem: what the new server unwraps stays as it is. What it does not, and the one in
 * use does, or a local key, is wrapped anew by the new one; so is what it unwraps, but was wrapped
 * in another cipher mode than the new one is to use. One whose key the server in use might unwrap,
 * but cannot be asked at present, stands in the way. One that it has answered to be lost does not:
 * it is reported.
 *
 * While keys are wrapped anew the new configuration is staged (kms.h): whatever happens, each is
 * unwrapped by one of the two. A change that ended in the middle is gone on with by the next
 * command, and from time to time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/own_key.h"
#include "control/rewrap.h"
#include "control/rings.h"

struct trial {
    struct control *control;
    const struct kms_set_options *options;
    struct key_provider *server; /* the new one */
    bool uses_gcm;               /* of a KMIP server: the mode it wraps in */
    bool looks_at_staged;        /* another change is half done ... */
    bool needs_staged;           /* ... and a filesystem opens only by what that leads to */
    struct unwrapped by_new;     /* of some filesystems at a time: what the new server ... */
    struct unwrapped by_now;     /* ... or what is in use unwraps */
    struct filesystem **movers;  /* to be wrapped anew; each with a reference */
    size_t mover_count;
    struct kms_set_report *report;
    unsigned in_the_way;
    char list[400];
};

static bool is_lost(int code)
{
    return code == -ENOENT || code == -EKEYREVOKED || code == -EBADMSG || code == -ENOKEY;
}

/* Unwraps what the registry holds; that is enough to know whether a server can. */
static int try_ring(const struct trial *trial, const struct key_ring *ring,
                    const struct rings_options *options, struct rings_outcome *ret,
                    struct error *err)
{
    struct secret plains[KEY_GENERATIONS_MAX] = { { .data = NULL } };
    int r = rings_unwrap_all(trial->control, ring, options, plains, ret, err);

    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&plains[i]);
    return r;
}

/* For the answer: who now takes the former server away loses them. */
static int add_left(struct kms_set_report *report, const char *name, const char *text,
                    struct error *err)
{
    struct kms_set_left *grown =
        reallocarray(report->left, report->left_count + 1, sizeof(*report->left));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    report->left = grown;
    struct kms_set_left *left = &grown[report->left_count++];
    (void)snprintf(left->name, sizeof(left->name), "%s", name);
    (void)snprintf(left->text, sizeof(left->text), "%s", text);
    return 0;
}

static int tell_left(struct trial *trial, const char *type, const char *name, const char *text,
                     struct error *err)
{
    events_add(&trial->control->events, LOG_LEVEL_WARNING, type, name, "%s", text);
    return add_left(trial->report, name, text, err);
}

void kms_set_report_release(struct kms_set_report *report)
{
    free(report->left);
    *report = (struct kms_set_report){ .rewrapped = 0 };
}

static void add_to_list(struct trial *trial, const char *name, const char *why)
{
    size_t used = strlen(trial->list);

    trial->in_the_way++;
    (void)snprintf(trial->list + used, sizeof(trial->list) - used, "%s%s (%s)", used ? "; " : "",
                   name, why);
}

static int add_mover(struct trial *trial, struct filesystem *filesystem, struct error *err)
{
    struct filesystem **grown =
        reallocarray(trial->movers, trial->mover_count + 1, sizeof(struct filesystem *));

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    trial->movers = grown;
    trial->movers[trial->mover_count++] = filesystem_ref(filesystem);
    return 0;
}

static bool names_local_key(const struct key_ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        if (strcmp(ring->generations[i].current.key.provider, "local") == 0)
            return true;
    return false;
}

/* Of what the new server unwraps. */
static bool is_in_other_mode(const struct trial *trial, const struct key_ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++) {
        const struct wrapped_key *key = &ring->generations[i].current.key;
        if (strcmp(key->provider, "kmip") == 0 && (key->mode == WRAP_MODE_GCM) != trial->uses_gcm)
            return true;
    }
    return false;
}

/* By the new server, with the login that the filesystem would have there. */
static int try_new(const struct trial *trial, const struct fs_record *record,
                   const struct key_ring *ring, struct rings_outcome *ret, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *own = NULL;
    struct rings_options options = { .server = trial->server,
                                     .unwrapped = &trial->by_new,
                                     .may_lack_foreign = true };

    if (!fs_record_has_own_login(record) || trial->options->converts)
        return try_ring(trial, ring, &options, ret, err);
    if (key_provider_config_copy(&config, trial->options->config) < 0)
        return error_set(err, -ENOMEM, "out of memory for the KMS configuration");
    int r = kms_adapt(trial->control->kms, &record->own, NULL, &config, err);
    if (r == 0)
        r = key_provider_open(&config, &own, err);
    options = (struct rings_options){ .server = own, .may_lack_foreign = true };
    return r < 0 ? r : try_ring(trial, ring, &options, ret, err);
}

/* By the server in use as much as by both; without one, local keys are, which need none. */
static bool opens_without_staged(const struct trial *trial, const struct fs_record *record,
                                 const struct key_ring *ring, const struct rings_outcome *by_both)
{
    CLEANUP(key_provider_closep) struct key_provider *in_use = NULL;
    struct kms *kms = trial->control->kms;
    struct rings_outcome outcome;
    int r = fs_record_has_own_login(record)
                ? kms_provider_for(kms, &record->own, NULL, &in_use, NULL)
                : kms_provider(kms, &in_use, NULL);
    const struct rings_options options = { .server = r == 0 ? in_use : trial->server,
                                           .may_lack_foreign = true };

    return try_ring(trial, ring, &options, &outcome, NULL) == 0 &&
           (outcome.unopened & ~by_both->unopened) == 0;
}

/* Whether the new server opens all that the one in use does; what neither opens stays wrapped as it
 * is, whatever is set. One in use that opens the filesystem's own key, and cannot be asked for
 * another at present, might open that; one that does not answer at all may be gone for ever. */
static bool opens_as_much(const struct rings_outcome *by_new, int with_old,
                          const struct rings_outcome *by_old)
{
    return with_old < 0 ? with_old != -EAGAIN || !by_old->opens_own
                        : (by_new->unopened & ~by_old->unopened) == 0;
}

/* What the new server opens. By what wrapped it before the last time: it is wrapped anew. */
static int keep_or_move(struct trial *trial, struct filesystem *filesystem,
                        const struct fs_record *record, const struct key_ring *ring,
                        const struct rings_outcome *by_new, struct error *err)
{
    bool has_own = fs_record_has_own_key(record);
    char text[512];

    if ((has_own && trial->options->converts) ||
        (!has_own && (by_new->used_previous || is_in_other_mode(trial, ring))))
        return add_mover(trial, filesystem, err);
    return rings_tell_unopened(by_new, text, sizeof(text))
               ? tell_left(trial, "keys-left", record->name, text, err)
               : 0;
}

/* Neither server opens it. What a server that is busy, or away, might open is not lost. */
static int note_unopened(struct trial *trial, const struct fs_record *record,
                         const struct error *by_new, const struct error *by_old, struct error *err)
{
    char text[512];

    if (!is_lost(by_old->code) || by_new->code == -EAGAIN) {
        add_to_list(trial, record->name, by_new->code < 0 ? by_new->text : by_old->text);
        return 0;
    }
    (void)snprintf(text, sizeof(text),
                   "its key opens neither with the KMS in use nor with the new one: %.400s",
                   by_old->text);
    return tell_left(trial, "key-lost", record->name, text, err);
}

/* Why it stays as it is, or moves; the record is a copy. */
static int judge(struct trial *trial, struct filesystem *filesystem, const struct fs_record *record,
                 const struct key_ring *ring, struct error *err)
{
    const struct rings_options as_now = { .owner = record,
                                          .unwrapped = &trial->by_now,
                                          .may_lack_foreign = true,
                                          .waits_for_busy = true };
    struct rings_outcome by_new = { .unopened = 0 }, by_old = { .unopened = 0 };
    struct error new_err = { .code = 0 };
    struct error old_err = { .code = 0 };
    bool converts = fs_record_has_own_key(record) && trial->options->converts;
    bool opens = !names_local_key(ring) && try_new(trial, record, ring, &by_new, &new_err) == 0;
    int with_old =
        opens && by_new.unopened == 0 ? 0 : try_ring(trial, ring, &as_now, &by_old, &old_err);

    if (opens && opens_as_much(&by_new, with_old, &by_old))
        return keep_or_move(trial, filesystem, record, ring, &by_new, err);
    if (with_old < 0)
        return note_unopened(trial, record, &new_err, &old_err, err);
    if (trial->looks_at_staged)
        trial->needs_staged |= !opens_without_staged(trial, record, ring, &by_old);
    if (!fs_record_has_own_key(record) || converts || names_local_key(ring))
        return add_mover(trial, filesystem, err);
    add_to_list(trial, record->name,
                "it has a key of its own, which the new KMS does not open: have the new one's "
                "key wrap it with --convert-to-cluster-key-on-fs, or first 'coffer fs update' "
                "with --use-cluster-kms-key-identifier");
    return 0;
}

static int try_filesystem(struct filesystem *filesystem, struct trial *trial, struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(filesystem);

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = registry_peek_ring(trial->control->registry, &record->uuid, &ring, err);
    if (r == -ENOENT)
        return 0; /* it is being added: nothing wrapped it yet */
    if (r < 0)
        return error_prefix(err, r, "filesystem %s", record->name);
    return judge(trial, filesystem, record, &ring, err);
}

/* As much as one server or the other unwraps in one question. If one blob is not its own, each is
 * asked for by itself. */
static void unwrap_ahead(struct trial *trial, struct filesystem **some, size_t count)
{
    struct unwrapped *by_new = &trial->by_new;
    struct unwrapped *by_now = &trial->by_now;

    for (size_t i = 0; i < count; i++) {
        mutex_lock(&some[i]->lock);
        const struct fs_record record = some[i]->record;
        mutex_unlock(&some[i]->lock);
        unwrapped_collect(by_new, trial->control, &record);
    }
    if (key_provider_unwrap(trial->server, by_new->wrapped, by_new->count, by_new->plains, NULL) ==
        0)
        return;
    memcpy(by_now->wrapped, by_new->wrapped, by_new->count * sizeof(*by_new->wrapped));
    by_now->count = by_new->count;
    by_new->count = 0;
    if (kms_unwrap(trial->control->kms, NULL, NULL, by_now->wrapped, by_now->count, by_now->plains,
                   NULL) < 0)
        by_now->count = 0;
}

static int try_some(struct trial *trial, struct filesystem **some, size_t count, struct error *err)
{
    int r = unwrapped_init(&trial->by_new, err);

    if (r == 0)
        r = unwrapped_init(&trial->by_now, err);
    if (r == 0)
        unwrap_ahead(trial, some, count);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = try_filesystem(some[i], trial, err);
    unwrapped_release(&trial->by_new);
    unwrapped_release(&trial->by_now);
    return r;
}

static int try_all(struct trial *trial, struct error *err)
{
    struct filesystem **all = NULL;
    size_t count = 0;
    int r = filesystem_take_all(trial->control, &all, &count, err);

    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < count; at += UNWRAPPED_FILESYSTEMS) {
        size_t left = count - at;
        r = try_some(trial, all + at, left < UNWRAPPED_FILESYSTEMS ? left : UNWRAPPED_FILESYSTEMS,
                     err);
    }
    filesystem_unref_all(all, count);
    return r;
}

static int prove(struct trial *trial, struct error *err)
{
    int r = try_all(trial, err);

    if (r < 0)
        return r;
    if (trial->in_the_way > 0)
        return error_set(err, -EBUSY,
                         "nothing was changed, because %u filesystem%s would not open with it: %s",
                         trial->in_the_way, trial->in_the_way == 1 ? "" : "s", trial->list);
    return 0;
}

static size_t count_done(const struct rewrap_report *report)
{
    size_t done = 0;

    for (size_t i = 0; i < report->count; i++)
        done += report->rows[i].result == REWRAP_DONE;
    return done;
}

/* Not all could be wrapped anew. If none was, nothing was changed. */
static int fail_move(struct control *control, const struct rewrap_report *report, bool was_staged,
                     struct error *err)
{
    char list[300];
    size_t done = count_done(report);

    rewrap_list_failed(report, list, sizeof(list));
    if (done == 0 && !was_staged && kms_unstage(control->kms, err) == 0)
        return error_set(err, -EBUSY,
                         "nothing was changed, because the keys of %zu filesystem%s could not be "
                         "wrapped anew: %s",
                         report->failed, report->failed == 1 ? "" : "s", list);
    return error_set(
        err, -EBUSY,
        "the change is half done, and every filesystem opens as before: %zu of %zu keys "
        "are wrapped by the new KMS, not those of %s. Keep both; the change goes on by "
        "itself, or repeat it, or set the former KMS again to undo it",
        done, report->count, list);
}

int kms_report_rows(struct kms_set_report *report, const struct rewrap_report *rewrapped,
                    struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < rewrapped->count; i++)
        if (rewrapped->rows[i].text[0] != '\0')
            r = add_left(report, rewrapped->rows[i].name, rewrapped->rows[i].text, err);
    return r;
}

/* What was converted has nothing of its own any more. */
static int forget_own_keys(struct trial *trial, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && trial->options->converts && i < trial->mover_count; i++)
        r = own_key_forget(trial->movers[i], err);
    return r;
}

static int move(struct trial *trial, const struct key_description *seen, struct error *err)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct control *control = trial->control;
    struct rewrap_target target = { .provider = trial->server, .is_other_server = true };
    bool was_staged = kms_is_staged(control->kms);
    int r = kms_stage(control->kms, trial->options->config, trial->options->converts, err);

    if (r == 0)
        r = control_step(control, STEP_SET_STAGED);
    target.key.version = seen->latest_version;
    if (r == 0)
        r = rewrap_run(control, &target, trial->movers, trial->mover_count, &report, err);
    if (r < 0)
        return r;
    rewrap_tell(control, &report);
    if (report.failed > 0)
        return fail_move(control, &report, was_staged, err);
    r = kms_report_rows(trial->report, &report, err);
    if (r == 0)
        r = control_step(control, STEP_RINGS_WRAPPED);
    return r < 0 ? r : forget_own_keys(trial, err);
}

static int audit_set(struct control *control, const struct key_provider_config *config,
                     uint32_t version, int result, const char *why, struct error *err)
{
    struct audit_note note = { .operation = AUDIT_KMS_SET,
                               .key = { .provider = config->type,
                                        .addresses = config->addresses,
                                        .kms_namespace = config->kms_namespace,
                                        .mount_path = config->mount_path,
                                        .key_name = config->key_name,
                                        .version = version },
                               .result = result,
                               .text = why };

    return audit_add(control->audit, &note, 1, err);
}

/* A token given in the place of the key's name would stay in the log for ever. */
static bool looks_like_token(const char *name)
{
    static const char *const beginnings[] = { "hvs.", "hvb.", "hvr.", "s.", "b.", "r." };

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

/* What was malformed was asked of no server, and may be anything in any place. */
static void audit_refused(struct control *control, const struct key_provider_config *config, int r,
                          const struct error *why)
{
    struct error err = { .code = 0 };
    struct audit_note note = { .operation = AUDIT_KMS_SET,
                               .key = { .provider = config->type, .addresses = config->addresses },
                               .result = r,
                               .text = "its key has a name like a token, which is not noted" };

    if (r == -EINVAL || r == CONTROL_CRASHED)
        return;
    int noted = looks_like_token(config->key_name)
                    ? audit_add(control->audit, &note, 1, &err)
                    : audit_set(control, config, 0, r, why->text, &err);
    if (noted < 0)
        events_add(&control->events, LOG_LEVEL_ERROR, "audit-not-written", "", "%s", err.text);
}

static void trial_forget(struct trial *trial)
{
    filesystem_unref_all(trial->movers, trial->mover_count);
    trial->movers = NULL;
    trial->mover_count = 0;
}

/* The same server as a half done change leads to, or the change itself. */
static bool is_of_staged(struct control *control, const struct key_provider_config *config)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config staged = KEY_PROVIDER_CONFIG_INIT;

    return kms_staged(control->kms, &staged, NULL, NULL) == 0 &&
           strcmp(staged.type, config->type) == 0 &&
           strcmp(staged.addresses, config->addresses) == 0 &&
           strcmp(staged.kms_namespace, config->kms_namespace) == 0;
}

/* What set_verified() and set_locked() return where a change that is half done must be finished
 * first: staging a third key server would forget the second one, which it has led some filesystems
 * to, and one of them opens by nothing else. */
#define FINISH_STAGED_FIRST 1

static int set_verified(struct control *control, const struct kms_set_options *options,
                        struct kms_set_report *ret, struct error *err)
    REQUIRES(control->kms_changing)
{
    const struct key_provider_config *config = options->config;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct key_description seen = { .algorithm = "" };
    kms_set_report_release(ret);
    int r = key_provider_open(config, &provider, err);
    if (r == 0)
        r = key_provider_verify(provider, &seen, err);
    if (r < 0)
        return r;
    struct trial trial = { .control = control,
                           .options = options,
                           .server = provider,
                           .report = ret,
                           .uses_gcm = config->uses_gcm,
                           .looks_at_staged =
                               kms_is_staged(control->kms) && !is_of_staged(control, config) };
    r = prove(&trial, err);
    if (r == 0 && trial.needs_staged) {
        trial_forget(&trial);
        return FINISH_STAGED_FIRST;
    }
    if (r == 0 && trial.mover_count > 0)
        r = move(&trial, &seen, err);
    ret->rewrapped = trial.mover_count;
    trial_forget(&trial);
    if (r == 0)
        r = audit_set(control, config, seen.latest_version, 0, NULL, err);
    if (r == 0)
        r = kms_replace(control->kms, config, &seen, err);
    if (r == 0)
        own_key_tidy(control);
    return r;
}

static int look_anew(struct filesystem *filesystem, void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    mutex_lock(&filesystem->lock);
    filesystem->retry_now = filesystem->state == FS_WAITING_FOR_KMS;
    filesystem->own_look_due_ms = 0;
    (void)pthread_cond_broadcast(&filesystem->changed);
    mutex_unlock(&filesystem->lock);
    return 0;
}

static void tell_set(struct control *control, size_t moved)
{
    struct kms_status status;

    kms_status(control->kms, &status);
    if (moved == 0)
        events_add(&control->events, LOG_LEVEL_INFO, "kms-set", "",
                   "the KMS is now %s at %s, key %s", status.type, status.addresses,
                   status.key_name);
    else
        events_add(&control->events, LOG_LEVEL_INFO, "kms-set", "",
                   "the KMS is now %s at %s, key %s; the key%s of %zu filesystem%s wrapped anew",
                   status.type, status.addresses, status.key_name, moved == 1 ? "" : "s", moved,
                   moved == 1 ? " was" : "s were");
}

static int set_locked(struct control *control, const struct kms_set_options *options,
                      struct kms_set_report *ret, struct error *err) REQUIRES(control->kms_changing)
{
    struct error why = { .code = 0 };
    int r = set_verified(control, options, ret, &why);

    if (r < 0) {
        audit_refused(control, options->config, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    if (r == FINISH_STAGED_FIRST)
        return r;
    alert_book_settle(control->alerts, "kms-");
    tell_set(control, ret->rewrapped);
    r = control_each(control, look_anew, NULL, err);
    control_look_at_kms(control);
    return r;
}

int kms_set_finish_locked(struct control *control, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(kms_set_report_release) struct kms_set_report report = { .rewrapped = 0 };
    struct kms_set_options options = { .config = &config };
    int r = kms_staged(control->kms, &config, &options.converts, NULL);

    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = set_locked(control, &options, &report, err);
    return r < 0
               ? error_prefix(err, r, "a change of the KMS to %s is not finished", config.addresses)
               : 0;
}

static int set_behind_staged(struct control *control, const struct kms_set_options *options,
                             struct kms_set_report *ret, struct error *err)
    REQUIRES(control->kms_changing)
{
    struct error why = { .code = 0 };
    int r = kms_set_finish_locked(control, &why);

    if (r < 0) {
        (void)error_prefix(&why, r,
                           "nothing was changed, because keys open only with the KMS of an "
                           "earlier change; set that or the former one first");
        audit_refused(control, options->config, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    return set_locked(control, options, ret, err);
}

int control_kms_set(struct control *control, const struct kms_set_options *options,
                    struct kms_status *ret, struct kms_set_report *ret_report, struct error *err)
{
    *ret_report = (struct kms_set_report){ .rewrapped = 0 };
    mutex_lock(&control->kms_changing);
    int r = set_locked(control, options, ret_report, err);
    if (r == FINISH_STAGED_FIRST)
        r = set_behind_staged(control, options, ret_report, err);
    mutex_unlock(&control->kms_changing);
    if (r == 0)
        kms_status(control->kms, ret);
    return r;
}

int kms_set_finish(struct control *control, struct error *err)
{
    mutex_lock(&control->kms_changing);
    int r = kms_set_finish_locked(control, err);
    mutex_unlock(&control->kms_changing);
    return r;
}

void control_kms_status(struct control *control, struct kms_status *ret)
{
    kms_status(control->kms, ret);
}
