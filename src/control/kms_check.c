/* kms_check.c - whether the key server does all that coffer needs, found out without changing
 * anything there or here: the provider's steps, a step for each key that filesystems have of their
 * own, and then whether it unwraps the keys of the filesystems that are here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/control.h"
#include "control/filesystem.h"
#include "control/rings.h"
#include "keys/kms_check.h"

static const char step_name[] = "filesystems";

struct checking {
    struct control *control;
    struct key_provider *server;
    struct kms_check check;
    kms_check_report_fn *report; /* the caller's */
    void *arg;
    bool lets_in; /* at one address at least */
    bool unwraps; /* likewise */
    unsigned opened;
    unsigned failed;
};

/* Watches for the login's and the trial's success. */
static void pass_on(void *arg, const struct kms_check_step *step)
{
    struct checking *checking = arg;

    checking->lets_in |= strcmp(step->name, "login") == 0 &&
                         (step->result == KMS_CHECK_OK || step->result == KMS_CHECK_WARNING);
    checking->unwraps |= step->result == KMS_CHECK_OK && strcmp(step->name, "decrypt") == 0;
    checking->report(checking->arg, step);
}

static void advise(struct kms_check *check, const struct fs_record *record, int r)
{
    if (r == -EACCES && fs_record_has_own_login(record)) {
        kms_check_advise(check,
                         "it has a login of its own, role %s: let that role use the key, or give "
                         "another secret ID with 'coffer fs update %s --kms-secret-id-file FILE'",
                         record->own.role_id, record->name);
        return;
    }
    switch (r) {
    case -EKEYREVOKED:
        kms_check_advise(check, "allow that key or version again on the server (Vault: lower "
                                "min_decryption_version), then rewrap the filesystem");
        break;
    case -EACCES:
        kms_check_advise(check, "let coffer decrypt with the key that wrapped it, until the "
                                "filesystem is rewrapped");
        break;
    case -EAGAIN:
        kms_check_advise(check, "wait for the key server, and check again");
        break;
    default:
        kms_check_advise(check, "restore the key that wrapped it from the key server's backup, or "
                                "set the key server that has it; a key made anew under the same "
                                "name is another one");
        break;
    }
}

static bool report_lost(struct checking *checking, const struct fs_record *record, int r,
                        const struct error *why)
{
    /* Its own check value says that this key did not wrap it: the one that did is not there. */
    enum kms_check_class class = r == -EBADMSG ? KMS_CHECK_MISSING : kms_check_class_of(r);

    checking->failed++;
    advise(&checking->check, record, r);
    return kms_check_fail(&checking->check, step_name, class, "%s does not open: %s", record->name,
                          why->text);
}

static bool names_server(const struct key_ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        if (strcmp(ring->generations[i].current.key.provider, "local") != 0)
            return true;
    return false;
}

/* As its start would: by its own login, if it has one. */
static int try_ring(struct checking *checking, const struct fs_record *record,
                    const struct key_ring *ring, struct rings_outcome *ret, struct error *err)
{
    bool has_own = fs_record_has_own_login(record) || record->has_next;
    const struct rings_options options = { .server = has_own ? NULL : checking->server,
                                           .owner = record,
                                           .may_lack_foreign = true };
    struct secret plains[KEY_GENERATIONS_MAX] = { { .data = NULL } };
    int r = rings_unwrap_all(checking->control, ring, &options, plains, ret, err);

    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&plains[i]);
    return r;
}

static void warn_of_previous(struct checking *checking, const char *name)
{
    kms_check_advise(&checking->check, "wrap it anew with 'coffer security kms rewrap'");
    (void)kms_check_warn(&checking->check, step_name,
                         "%s opens only with what wrapped its key before", name);
}

static void report_unopened(struct checking *checking, const struct fs_record *record,
                            const struct rings_outcome *outcome)
{
    unsigned index = (unsigned)__builtin_ctzll(outcome->unopened);

    checking->failed++;
    advise(&checking->check, record, outcome->why.code);
    (void)kms_check_fail(&checking->check, step_name, kms_check_class_of(outcome->why.code),
                         "%s opens, but not %d of the keys of other filesystems that data of it "
                         "came with, the first as key %u of its ring: %s",
                         record->name, __builtin_popcountll(outcome->unopened), index + 1,
                         outcome->why.text);
}

static int check_ring(struct checking *checking, const struct fs_record *record,
                      const struct key_ring *ring)
{
    struct error why = { .code = 0 };
    struct rings_outcome outcome = { .unopened = 0 };
    int r = try_ring(checking, record, ring, &outcome, &why);

    if (r < 0)
        (void)report_lost(checking, record, r, &why);
    else if (outcome.unopened != 0)
        report_unopened(checking, record, &outcome);
    else if (outcome.used_previous)
        warn_of_previous(checking, record->name);
    checking->opened += r == 0;
    return r == -EAGAIN ? 1 : 0; /* the others would wait as long */
}

static int try_filesystem(struct filesystem *filesystem, void *arg, struct error *err)
{
    struct checking *checking = arg;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(filesystem);

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = registry_peek_ring(checking->control->registry, &record->uuid, &ring, err);
    if (r == -ENOENT)
        return 0; /* it is being added: nothing wrapped it yet */
    if (r < 0)
        return error_prefix(err, r, "filesystem %s", record->name);
    return names_server(&ring) ? check_ring(checking, record, &ring) : 0;
}

/* A check each minute is one entry each hour: by the same user, with the same key. Whether it may
 * be left out; else text says how many were. */
static bool is_condensed(struct control *control, const struct kms_status *status, char *text,
                         size_t size)
{
    struct check_seen now = { .by = audit_acting_for(), .at_ms = clock_monotonic_ms() };
    bool is_equal;

    (void)snprintf(now.key, sizeof(now.key), "%s %s %s %u", status->type, status->kms_namespace,
                   status->key_name, status->key.latest_version);
    mutex_lock(&control->lock);
    struct check_seen *seen = &control->check_seen;
    is_equal = seen->at_ms != 0 && now.at_ms - seen->at_ms < CHECK_CONDENSED_MS &&
               seen->by.is_user == now.by.is_user && seen->by.uid == now.by.uid &&
               strcmp(seen->key, now.key) == 0;
    if (is_equal) {
        seen->left_out++;
    } else {
        (void)snprintf(
            text, size,
            "kms check: those of all filesystems, each for a moment; further ones by the "
            "same user within the hour are counted only, %u since the entry before",
            seen->left_out);
        *seen = now;
    }
    mutex_unlock(&control->lock);
    return is_equal;
}

/* One entry for all: who has keys unwrapped, if only to see that they can be. */
static int audit_check(struct control *control, struct error *err)
{
    struct kms_status status;
    char text[AUDIT_TEXT_SIZE];

    kms_status(control->kms, &status);
    if (is_condensed(control, &status, text, sizeof(text)))
        return 0;
    struct audit_note note = { .operation = AUDIT_UNWRAP,
                               .key = { .provider = status.type,
                                        .addresses = status.addresses,
                                        .kms_namespace = status.kms_namespace,
                                        .mount_path = status.mount_path,
                                        .key_name = status.key_name,
                                        .version = status.key.latest_version },
                               .text = text };
    int r = audit_add(control->audit, &note, 1, err);
    if (r < 0) {
        mutex_lock(&control->lock);
        control->check_seen.at_ms = 0; /* there is no entry that others could be counted with */
        mutex_unlock(&control->lock);
    }
    return r;
}

static int check_filesystems(struct checking *checking, struct error *err)
{
    struct kms_check *check = &checking->check;

    check->address = "";
    if (!checking->unwraps) {
        (void)kms_check_skip(check, step_name, "it needs the step 'decrypt' at one address");
        return 0;
    }
    int r = audit_check(checking->control, err);
    if (r == 0)
        r = control_each(checking->control, try_filesystem, checking, err);
    if (r < 0)
        return r;
    if (checking->failed > 0)
        return 0;
    if (checking->opened == 0)
        (void)kms_check_ok(check, step_name, "no filesystem's key was wrapped by it yet");
    else
        (void)kms_check_ok(check, step_name,
                           "the key of each filesystem that it wrapped opens: %u of them",
                           checking->opened);
    return 0;
}

int control_kms_check_server(struct control *control, kms_check_report_fn *report, void *arg,
                             struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct kms_check check = { .report = report, .arg = arg, .address = "" };

    int r = kms_provider(control->kms, &provider, err);
    return r < 0 ? r : key_provider_check(provider, &check, err);
}

int control_kms_check(struct control *control, kms_check_report_fn *report, void *arg,
                      struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct checking checking = { .control = control, .report = report, .arg = arg };

    int r = kms_provider(control->kms, &provider, err);
    if (r < 0)
        return r;
    checking.server = provider;
    checking.check = (struct kms_check){ .report = pass_on, .arg = &checking, .address = "" };
    r = key_provider_check(provider, &checking.check, err);
    checking.check.address = "";
    if (r == 0 && checking.lets_in)
        r = own_keys_check(control, &checking.check, err);
    return r < 0 ? r : check_filesystems(&checking, err);
}
