/* alerts.c - what needs attention, found from how things stand: conditions, which become alerts in
 * the book (alert_book.h). Their types are in alert_kinds.c. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean_text.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "control/filesystem.h"
#include "control/tasks.h"

struct list {
    struct alert *alerts;
    size_t count;
};

static int add(struct list *list, const char *type, const char *filesystem, struct error *err,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

static int add(struct list *list, const char *type, const char *filesystem, struct error *err,
               const char *format, ...)
{
    struct alert *grown = realloc(list->alerts, (list->count + 1) * sizeof(*grown));
    char text[sizeof(grown->text)];
    va_list args;

    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    list->alerts = grown;
    struct alert *alert = &grown[list->count++];
    *alert = (struct alert){ .kind = alert_kind_find(type) };
    assert(alert->kind);
    alert->is_critical = alert->kind->is_critical;
    (void)snprintf(alert->filesystem, sizeof(alert->filesystem), "%s", filesystem);
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean_text(text, alert->text, sizeof(alert->text));
    return 0;
}

#define DAY_S (24LL * 3600)
#define DAY_MS (DAY_S * 1000)
#define HOUR_MS (3600LL * 1000)
#define CERTIFICATE_WARNING_S (30 * DAY_S)
#define CERTIFICATE_CRITICAL_S (7 * DAY_S)
#define WHEN_SIZE 64u

/* In time: in the last quarter of its life, or the last 30 days. */
static int of_token(struct list *list, const struct key_login_status *login, const char *name,
                    struct error *err)
{
    int64_t left = login->ends_ms - clock_monotonic_ms();
    int64_t limit = login->life_ms / 4 < 30 * DAY_MS ? login->life_ms / 4 : 30 * DAY_MS;
    char when[64] = "has ended";

    if (!login->is_known || !login->has_end || !login->obstacle[0] || left > limit)
        return 0;
    if (left >= 2 * DAY_MS)
        (void)snprintf(when, sizeof(when), "ends in %lld days", (long long)(left / DAY_MS));
    else if (left >= 2 * HOUR_MS)
        (void)snprintf(when, sizeof(when), "ends in %lld hours", (long long)(left / HOUR_MS));
    else if (left > 0)
        (void)snprintf(when, sizeof(when), "ends in %lld minutes", (long long)(left / 60000));
    int r =
        name[0]
            ? add(list, "kms-token-expiry", name, err,
                  "the token of its own login to the KMS %s: %s; when it is gone %s cannot be "
                  "started. Give another secret ID with 'coffer fs update %s --kms-secret-id-file'",
                  when, login->obstacle, name, name)
            : add(list, "kms-token-expiry", "", err,
                  "the token of the KMS %s: %s; when it is gone no filesystem can be started. "
                  "Give another token or secret ID with 'coffer security kms set'",
                  when, login->obstacle);
    if (r == 0 && left < DAY_MS)
        list->alerts[list->count - 1].is_critical = true;
    return r;
}

static void say_when(int64_t left_s, char ret[static WHEN_SIZE])
{
    (void)snprintf(ret, WHEN_SIZE, "has ended");
    if (left_s >= 2 * DAY_S)
        (void)snprintf(ret, WHEN_SIZE, "ends in %lld days", (long long)(left_s / DAY_S));
    else if (left_s > 0)
        (void)snprintf(ret, WHEN_SIZE, "ends in %lld hours", (long long)(left_s / 3600));
}

/* As that of a token, but its life is not ours to lengthen. */
static int of_secret_id(struct list *list, const struct key_login_status *login, const char *name,
                        struct error *err)
{
    int64_t left_s = login->secret_until_s - clock_wall_ns() / 1000000000;
    int64_t quarter_s = login->secret_life_s > 0 ? login->secret_life_s / 4 : 30 * DAY_S;
    char when[WHEN_SIZE];

    if (login->secret_until_s == 0 || left_s > (quarter_s < 30 * DAY_S ? quarter_s : 30 * DAY_S))
        return 0;
    say_when(left_s, when);
    int r = name[0]
                ? add(list, "kms-secret-id-expiry", name, err,
                      "the secret ID of its own login to the KMS %s; then %s cannot be started. "
                      "Make another, and give it with 'coffer fs update %s "
                      "--kms-secret-id-file'",
                      when, name, name)
                : add(list, "kms-secret-id-expiry", "", err,
                      "the secret ID for the KMS %s; then no filesystem can be started. Make "
                      "another, and give it with 'coffer security kms set'",
                      when);
    if (r == 0 && left_s < DAY_S)
        list->alerts[list->count - 1].is_critical = true;
    return r;
}

/* Whether it is to be told that a certificate ends then, and how. */
static bool certificate_ends(int64_t until_s, char ret_when[static WHEN_SIZE],
                             bool *ret_is_critical)
{
    int64_t left_s = until_s - clock_wall_ns() / 1000000000;

    if (until_s == 0 || left_s > CERTIFICATE_WARNING_S)
        return false;
    say_when(left_s, ret_when);
    *ret_is_critical = left_s <= CERTIFICATE_CRITICAL_S;
    return true;
}

static int of_certificate(struct list *list, const struct kms_status *status, struct error *err)
{
    char when[WHEN_SIZE];
    bool is_critical;

    if (!certificate_ends(status->certificate_until_s, when, &is_critical))
        return 0;
    int r = add(list, "kms-certificate-expiry", "", err,
                "the client's certificate for the KMS %s; when it is gone no filesystem can be "
                "started. Have it renewed, and give it with 'coffer security kms set'",
                when);
    if (r == 0)
        list->alerts[list->count - 1].is_critical = is_critical;
    return r;
}

static int of_https(struct list *list, struct control *control, struct error *err)
{
    char when[WHEN_SIZE];
    bool is_critical;

    if (!certificate_ends(atomic_load(&control->https_until_s), when, &is_critical))
        return 0;
    int r = add(list, "https-certificate-expiry", "", err,
                "the certificate of the web page and the REST interface %s; replace the file that "
                "cofferd was given with --tls-cert, and restart cofferd (if it made the "
                "certificate itself, a restart is enough)",
                when);
    if (r == 0)
        list->alerts[list->count - 1].is_critical = is_critical;
    return r;
}

static int of_kms(struct list *list, struct kms *kms, struct error *err)
{
    struct kms_status status;
    int r = 0;

    kms_status(kms, &status);
    if (status.error_code < 0)
        r = add(list,
                status.is_configured && !status.is_reachable ? "kms-unreachable" : "kms-error", "",
                err, "%s; filesystems that run go on, none can be started", status.error);
    if (r == 0 && status.is_insecure)
        r = add(
            list, "kms-insecure-http", "", err,
            "the KMS is spoken to without TLS: whoever is on the way reads the keys; use https");
    if (r == 0)
        r = of_token(list, &status.login, "", err);
    if (r == 0)
        r = of_secret_id(list, &status.login, "", err);
    if (r == 0)
        r = of_certificate(list, &status, err);
    if (r == 0 && kms_is_staged(kms))
        r = add(
            list, "kms-change-unfinished", "", err,
            "a change of the KMS ended in the middle; every filesystem opens, by the former KMS or "
            "the new one");
    return r;
}

static int of_worker_locked(struct list *list, const struct filesystem *fs, struct error *err)
    REQUIRES(fs->lock)
{
    const char *name = fs->record.name;
    int r = 0;

    if (fs->saw_corruption)
        r = add(list, "corruption", name, err,
                "altered or unreadable data was found in %s; run 'coffer fs check %s'", name, name);
    if (r == 0 && fs->saw_write_lost)
        r = add(list, "write-lost", name, err,
                "the store of %s failed while writing; programs got an error, what they had not "
                "synced may be lost",
                name);
    if (r == 0 && fs->is_full)
        r = add(list, "store-full", name, err,
                "there is no room for %s; changes are refused until there is some", name);
    if (r == 0 && fs->seen.is_read_only && fs_state_has_worker(fs->state))
        r = add(list, "read-only", name, err,
                fs->salvage ? "%s is read-only, to salvage files: records of its metadata are "
                              "altered or missing; copy the files into another filesystem"
                            : "%s is read-only: its store knows a later state or another owner; if "
                              "that is to be given up, start it with --take-over",
                name);
    if (r == 0 && filesystem_has_older_worker(fs))
        r = add(list, "worker-outdated", name, err,
                "the worker of %s was started by an older version of coffer and does not know all "
                "that this one may ask for; unmount %s and mount it again when that suits",
                name, name);
    return r;
}

static int of_own_key_locked(struct list *list, const struct filesystem *fs, struct error *err)
    REQUIRES(fs->lock)
{
    const struct fs_record *record = &fs->record;
    struct key_login_status login;

    if (!fs_record_has_own_key(record))
        return 0;
    if (fs->own_failure.code < 0)
        return add(
            list, "filesystem-kms-error", record->name, err,
            "the KMS refuses %s its own %s: %s; it cannot be started, and goes on if it runs",
            record->name, fs_record_has_own_login(record) ? "key or login" : "key",
            fs->own_failure.text);
    kms_own_login_status(fs->control->kms, &record->own, &login);
    int r = of_token(list, &login, record->name, err);
    return r < 0 ? r : of_secret_id(list, &login, record->name, err);
}

static int of_missing_keys_locked(struct list *list, const struct filesystem *fs, struct error *err)
    REQUIRES(fs->lock)
{
    const char *name = fs->record.name;

    if (!fs->record.lacks_keys)
        return 0;
    return add(list, "foreign-key-missing", name, err,
               "data of %s that came from other filesystems cannot be read, as the KMS does not "
               "open their keys: %s%s. All else can. Allow or restore what wraps them; while %s "
               "is started that is seen within a minute",
               name, fs->missing_text[0] ? fs->missing_text : "which ones, its next start tells",
               fs->missing_count > 1 ? "; and others" : "", name);
}

static int of_local_key_locked(struct list *list, const struct filesystem *fs, struct error *err)
    REQUIRES(fs->lock)
{
    const char *name = fs->record.name;
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&fs->record.uuid, uuid);
    if (strcmp(fs->wrapped.provider, "local") == 0)
        return add(list, "local-key", name, err,
                   "the key of %s is wrapped by a local file, not by a KMS: whoever has this disk "
                   "has its data",
                   name);
    if (!kms_has_local_key(fs->control->kms, uuid))
        return 0;
    return add(list, "local-key", name, err,
               "the local file that wrapped the key of %s before the KMS is still there: whoever "
               "has this disk has its data. It is destroyed when the KMS has opened the key once "
               "more, at the next start or within an hour; 'coffer security kms rewrap "
               "--drop-previous' does it at once",
               name);
}

static int of_filesystem(struct filesystem *fs, void *arg, struct error *err)
{
    struct list *list = arg;
    const char *name = fs->record.name;

    mutex_lock(&fs->lock);
    int r = of_own_key_locked(list, fs, err);
    if (r == 0)
        r = of_local_key_locked(list, fs, err);
    if (r == 0 && fs->state == FS_WAITING_FOR_KMS)
        r = add(list, "waiting-for-kms", name, err, "%s waits for its key: %s", name,
                fs->status_text);
    if (r == 0 && fs->state == FS_FAILED)
        r = add(list, "filesystem-failed", name, err, "%s is down: %s", name, fs->status_text);
    if (r == 0)
        r = of_missing_keys_locked(list, fs, err);
    if (r == 0)
        r = of_worker_locked(list, fs, err);
    mutex_unlock(&fs->lock);
    return r;
}

static int of_policies(struct list *list, struct control *control, struct error *err)
{
    CLEANUP(policies_view_release) struct policies_view view = { .count = 0 };
    int r = policies_view(control->policies, &view, err);

    for (size_t i = 0; r == 0 && i < view.attached_count; i++) {
        const struct policy_attached *attached = &view.attached[i];
        if (attached->failure.code == 0)
            continue;
        CLEANUP(filesystem_unrefp)
        struct filesystem *fs = filesystem_find_uuid(control, &attached->filesystem);
        if (fs)
            r = add(list, "snapshot-policy-failed", fs->record.name, err,
                    "snapshot policy %s does not work for %s: %s",
                    view.policies[attached->policy].name, fs->record.name, attached->failure.text);
    }
    return r;
}

static int of_task(const struct task_view *view, void *arg, struct error *err)
{
    struct list *list = arg;

    return add(list, "task-waits", view->filesystem, err, "task %llu (%s) waits: %s",
               (unsigned long long)view->id, view->about, view->text);
}

static int find_conditions(struct control *control, struct list *ret, struct error *err)
{
    int r = of_kms(ret, control->kms, err);

    if (r == 0)
        r = of_https(ret, control, err);
    if (r == 0)
        r = control_each(control, of_filesystem, ret, err);
    if (r == 0)
        r = of_policies(ret, control, err);
    if (r == 0)
        r = tasks_each_waiting(control, of_task, ret, err);
    mutex_lock(&control->lock);
    if (r == 0 && control->audit_damage[0] != '\0')
        r = add(ret, "audit-damaged", "", err, "%s", control->audit_damage);
    mutex_unlock(&control->lock);
    return r;
}

static int update(struct control *control, struct error *err)
{
    struct list conditions = { .count = 0 };

    mutex_lock(&control->alerts_updating);
    int64_t now_ms = clock_monotonic_ms();
    int r = find_conditions(control, &conditions, err);
    if (r == 0)
        r = alert_book_update(control->alerts, conditions.alerts, conditions.count, now_ms, err);
    mutex_unlock(&control->alerts_updating);
    free(conditions.alerts);
    return r;
}

int control_alerts(struct control *control, struct alert **ret, size_t *ret_count,
                   struct error *err)
{
    int r = update(control, err);

    return r < 0 ? r : alert_book_list(control->alerts, ret, ret_count, err);
}

void control_watch_alerts(struct control *control)
{
    struct error err = { .code = 0 };

    if (update(control, &err) < 0)
        log_error("the alerts could not be looked at: %s", err.text);
}

void control_watch_https_certificate(struct control *control, int64_t until_s)
{
    atomic_store(&control->https_until_s, until_s);
}

int control_mute_alert(struct control *control, const char *type, int64_t until_ns,
                       const char *comment, struct error *err)
{
    int r = alert_book_mute(control->alerts, type, until_ns, comment, err);

    if (r < 0)
        return r;
    if (until_ns > clock_wall_ns())
        events_add(&control->events, LOG_LEVEL_INFO, "alert-muted", "", "%s is muted%s%s", type,
                   comment[0] ? ": " : "", comment);
    else
        events_add(&control->events, LOG_LEVEL_INFO, "alert-unmuted", "", "%s is muted no more",
                   type);
    return 0;
}
