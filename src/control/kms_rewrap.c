/* kms_rewrap.c - after a rotation of the key, or to a new one of the same server: the keys of all
 * filesystems, or of one, wrapped anew; and away from key servers: wrapped by local keys.
 *
 * Whatever is interrupted leaves rings that the configured server and the local keys open: the
 * configuration is changed last.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/drop_previous.h"
#include "control/key_list.h"
#include "control/key_needs.h"
#include "control/own_key.h"
#include "control/rewrap.h"
#include "control/rings.h"

void rewrap_report_release(struct rewrap_report *report)
{
    free(report->rows);
    free(report->needed);
    *report = (struct rewrap_report){ .count = 0 };
}

/* ------------------------------------------------------------------ what must stay */

static int list_needed(struct control *control, struct rewrap_report *report, struct error *err)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };
    int r = key_needs_known(control, &list, err);

    report->needed_count = list.count;
    report->needed = TAKE(list.keys);
    return r;
}

/* Which keys must stay is to be known also when the entries are gone that tell it. */
int control_audit_forget(struct control *control, const struct audit_head *last, struct error *err)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    int r = key_needs_known(control, &list, err);

    if (r == 0 && list.count > 0)
        r = key_list_encode(&list, &encoded, err);
    if (r == 0 && list.count > 0)
        r = registry_put_value(control->registry, KEY_NEEDS_NOTED, buf_bytes(&encoded), err);
    if (r < 0)
        return error_prefix(err, r, "nothing was removed from the audit log");
    r = audit_forget(control->audit, last, err);
    if (r == 0)
        events_add(&control->events, LOG_LEVEL_INFO, "audit-archived", "",
                   "the entries of the audit log up to %llu were archived and removed",
                   (unsigned long long)last->number);
    return r;
}

/* ------------------------------------------------------------------ rewrap */

static int check_uid(const struct key_provider_config *config, const struct rewrap_options *options,
                     struct error *err)
{
    bool is_kmip = strcmp(config->type, "kmip") == 0;

    if (options->new_key_uid && !is_kmip)
        return error_set(err, -EINVAL,
                         "--new-key-uid is for KMIP only; rotate the key in Vault (vault write -f "
                         "%s/keys/%s/rotate) and rewrap without it",
                         config->mount_path[0] ? config->mount_path : "transit", config->key_name);
    if (options->is_rotation && !options->new_key_uid && is_kmip)
        return error_set(
            err, -EINVAL,
            "a KMIP key has no versions: create and activate a new key in the KMS, and "
            "give its UID with --new-key-uid");
    if (options->new_key_uid && (options->new_key_uid[0] == '\0' ||
                                 strlen(options->new_key_uid) >= sizeof(config->key_name)))
        return error_set(err, -EINVAL, "'%s' is not the UID of a key", options->new_key_uid);
    return 0;
}

/* A new key is proved to wrap and unwrap before any ring is touched. */
static int open_target(struct key_provider_config *config, const struct rewrap_options *options,
                       struct rewrap_target *ret, struct key_description *ret_seen,
                       struct error *err)
{
    int r = check_uid(config, options, err);

    if (r < 0)
        return r;
    if (options->new_key_uid)
        (void)snprintf(config->key_name, sizeof(config->key_name), "%s", options->new_key_uid);
    r = key_provider_open(config, &ret->provider, err);
    if (r == 0)
        r = options->new_key_uid && !options->is_dry
                ? key_provider_verify(ret->provider, ret_seen, err)
                : key_provider_describe(ret->provider, ret_seen, err);
    if (r < 0)
        return r;
    memcpy(ret->key.type, config->type, sizeof(ret->key.type));
    memcpy(ret->key.kms_namespace, config->kms_namespace, sizeof(ret->key.kms_namespace));
    memcpy(ret->key.mount_path, config->mount_path, sizeof(ret->key.mount_path));
    memcpy(ret->key.key, config->key_name, sizeof(ret->key.key));
    ret->key.version = ret_seen->latest_version;
    return 0;
}

static int run_on_all(struct control *control, const struct rewrap_target *target,
                      struct rewrap_report *ret, struct error *err)
{
    struct filesystem **all = NULL;
    size_t count = 0;
    int r = filesystem_take_all(control, &all, &count, err);

    if (r < 0)
        return r;
    r = rewrap_run(control, target, all, count, ret, err);
    filesystem_unref_all(all, count);
    return r;
}

/* Those that have no key of their own, and then each that has, by that one, if it is wanted. */
static int run_on_both(struct control *control, const struct rewrap_options *options,
                       const struct rewrap_target *target, struct filesystem **all, size_t count,
                       struct rewrap_report *ret, struct error *err) REQUIRES(control->kms_changing)
{
    CLEANUP(free_ptr) struct filesystem **shared = calloc(count + 1, sizeof(*shared));
    size_t shared_count = 0;

    if (!shared)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        if (!own_key_has(all[i]))
            shared[shared_count++] = all[i];
    int r = rewrap_run(control, target, shared, shared_count, ret, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        CLEANUP(rewrap_report_release) struct rewrap_report part = { .count = 0 };
        if (!own_key_has(all[i]))
            continue;
        if (!options->with_own_keys) {
            ret->left_alone++;
            continue;
        }
        r = own_key_rewrap(control, all[i], options->is_dry, &part, err);
        if (r == 0)
            r = rewrap_report_append(ret, &part, err);
    }
    return r;
}

/* The configured key wraps those that went well; the others stay as they are. Where a crash comes
 * before this is said, the next conversion says it. */
static int forget_converted(struct filesystem **all, size_t count,
                            const struct rewrap_report *report, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        for (size_t k = 0; r == 0 && k < report->count; k++)
            if (strcmp(report->rows[k].name, all[i]->record.name) == 0 &&
                report->rows[k].result != REWRAP_FAILED)
                r = own_key_forget(all[i], err);
    return r;
}

static int convert(struct control *control, const struct rewrap_target *target,
                   struct filesystem **all, size_t count, struct rewrap_report *ret,
                   struct error *err) REQUIRES(control->kms_changing)
{
    int r = rewrap_run(control, target, all, count, ret, err);

    if (r < 0 || target->is_dry)
        return r;
    r = control_step(control, STEP_RINGS_WRAPPED);
    if (r == 0)
        r = forget_converted(all, count, ret, err);
    if (r == 0)
        own_key_tidy(control);
    return r;
}

static int run_on(struct control *control, const struct rewrap_options *options,
                  const struct rewrap_target *target, struct rewrap_report *ret, struct error *err)
    REQUIRES(control->kms_changing)
{
    struct filesystem **all = NULL;
    size_t count = 0;

    if (options->name) {
        CLEANUP(filesystem_unrefp)
        struct filesystem *fs = filesystem_find(control, options->name, err);
        if (!fs)
            return -ENOENT;
        return own_key_has(fs) ? own_key_rewrap(control, fs, options->is_dry, ret, err)
                               : rewrap_run(control, target, &fs, 1, ret, err);
    }
    int r = filesystem_take_all(control, &all, &count, err);
    if (r < 0)
        return r;
    r = options->converts ? convert(control, target, all, count, ret, err)
                          : run_on_both(control, options, target, all, count, ret, err);
    filesystem_unref_all(all, count);
    return r;
}

static int rewrap_locked(struct control *control, const struct rewrap_options *options,
                         struct rewrap_report *ret, struct error *err)
    REQUIRES(control->kms_changing)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    struct key_description seen = { .algorithm = "" };
    struct rewrap_target target = { .is_dry = options->is_dry };
    int r = options->is_dry ? 0 : kms_set_finish_locked(control, err);

    if (r == 0)
        r = kms_config(control->kms, &config, err);
    if (r == 0)
        r = open_target(&config, options, &target, &seen, err);
    if (r == 0)
        r = run_on(control, options, &target, ret, err);
    key_provider_close(target.provider);
    if (r < 0)
        return r;
    if (!options->is_dry)
        rewrap_tell(control, ret);
    r = control_step(control, STEP_RINGS_WRAPPED);
    /* The new key is the configured one only when all are wrapped by it. */
    if (r == 0 && options->new_key_uid && !options->is_dry && ret->failed == 0)
        r = kms_replace(control->kms, &config, &seen, err);
    if (r == 0 && options->drop_previous)
        r = drop_previous_run(control, options->is_dry, ret, err);
    return r;
}

/* That the list cannot be made must not hide what was done. */
static void list_or_warn(struct control *control, struct rewrap_report *report)
{
    struct error err = { .code = 0 };

    if (list_needed(control, report, &err) < 0)
        events_add(&control->events, LOG_LEVEL_WARNING, "needed-keys-unknown", "",
                   "which keys must stay in the KMS cannot be told in full: %s", err.text);
}

int control_kms_rewrap(struct control *control, const struct rewrap_options *options,
                       struct rewrap_report *ret, struct error *err)
{
    *ret = (struct rewrap_report){ .count = 0 };
    mutex_lock(&control->kms_changing);
    int r = rewrap_locked(control, options, ret, err);
    mutex_unlock(&control->kms_changing);
    if (r < 0) {
        rewrap_report_release(ret);
        return r;
    }
    list_or_warn(control, ret);
    kms_refresh(control->kms);
    return 0;
}

/* ------------------------------------------------------------------ unset */

#define NAMES_SIZE 300u

struct users {
    struct control *control;
    size_t count;
    char names[NAMES_SIZE];
};

static bool needs_server(const struct key_ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        if (strcmp(ring->generations[i].current.key.provider, "local") != 0)
            return true;
    return false;
}

/* A ring that cannot be read counts: who knows what it needs. */
static int count_user(struct filesystem *filesystem, void *arg, struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct users *users = arg;
    size_t used = strlen(users->names);
    int r = registry_get_ring(users->control->registry, &filesystem->record.uuid, &encoded, err);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (key_ring_peek(buf_bytes(&encoded), &ring, NULL) == 0 && !needs_server(&ring))
        return 0;
    users->count++;
    (void)snprintf(users->names + used, sizeof(users->names) - used, "%s%s", used ? ", " : "",
                   filesystem->record.name);
    return 0;
}

/* There is no key server any more that could have it. */
static int forget_own_key(struct filesystem *fs, void *arg, struct error *err)
{
    (void)arg;
    return own_key_forget(fs, err);
}

static int downgrade(struct control *control, struct kms_set_report *ret, struct error *err)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    struct rewrap_target target = { .provider = NULL };
    char list[400];
    int r = run_on_all(control, &target, &report, err);

    if (r < 0)
        return r;
    rewrap_tell(control, &report);
    if (report.failed == 0) {
        r = kms_report_rows(ret, &report, err);
        if (r == 0)
            r = control_each(control, forget_own_key, NULL, err);
        return r < 0 ? r : control_step(control, STEP_RINGS_WRAPPED);
    }
    rewrap_list_failed(&report, list, sizeof(list));
    return error_set(err, -EBUSY,
                     "the KMS stays configured, because %zu of %zu filesystems need it: %s",
                     report.failed, report.count, list);
}

static int audit_unset(struct control *control, int result, const char *why, struct error *err)
{
    struct kms_status status;
    struct audit_note note = { .operation = AUDIT_KMS_UNSET, .result = result, .text = why };

    kms_status(control->kms, &status);
    note.old_key = (struct audit_key){ .provider = status.type,
                                       .addresses = status.addresses,
                                       .kms_namespace = status.kms_namespace,
                                       .mount_path = status.mount_path,
                                       .key_name = status.key_name };
    return audit_add(control->audit, &note, 1, err);
}

static int unset_locked(struct control *control, bool allow_downgrade, struct kms_set_report *ret,
                        struct error *err) REQUIRES(control->kms_changing)
{
    struct users users = { .control = control };
    struct kms_status status;
    int r = control_each(control, count_user, &users, err);

    if (r < 0)
        return r;
    kms_status(control->kms, &status);
    if (!status.is_configured && status.error_code == 0 && !kms_is_staged(control->kms))
        return error_set(err, -ENOKEY, "no KMS is configured: there is nothing to remove");
    if (users.count > 0 && !allow_downgrade)
        return error_set(err, -EBUSY,
                         "the KMS wraps the keys of %zu filesystem%s (%s), and stays; remove %s "
                         "first, or have local keys on this host wrap them, which is not secure, "
                         "with --allow-downgrade",
                         users.count, users.count == 1 ? "" : "s", users.names,
                         users.count == 1 ? "it" : "them");
    ret->rewrapped = users.count;
    r = users.count > 0 ? downgrade(control, ret, err) : 0;
    if (r == 0)
        r = audit_unset(control, 0, NULL, err);
    return r < 0 ? r : kms_forget(control->kms, err);
}

int control_kms_unset(struct control *control, bool allow_downgrade, struct kms_set_report *ret,
                      struct error *err)
{
    struct error why = { .code = 0 };
    struct error lost = { .code = 0 };

    *ret = (struct kms_set_report){ .rewrapped = 0 };
    mutex_lock(&control->kms_changing);
    int r = unset_locked(control, allow_downgrade, ret, &why);
    mutex_unlock(&control->kms_changing);
    if (r < 0 && r != CONTROL_CRASHED && audit_unset(control, r, why.text, &lost) < 0)
        events_add(&control->events, LOG_LEVEL_ERROR, "audit-not-written", "", "%s", lost.text);
    if (r < 0)
        return error_set(err, r, "%s", why.text);
    size_t count = ret->rewrapped;
    events_add(&control->events, count > 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "kms-unset", "",
               "the KMS is no longer configured; local keys wrap the keys of %zu filesystems that "
               "it wrapped",
               count);
    return 0;
}
