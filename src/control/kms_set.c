/* kms_set.c - changing the key server: only to one that works, and that opens all that opens
 * today.
 *
 * A filesystem whose key the new configuration does not open, and the one in use does or might
 * (it cannot be asked at present), stands in the way. One that the server in use has answered to
 * be lost does not: it is reported.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/filesystem.h"
#include "control/rings.h"

struct trial {
    struct control *control;
    struct key_provider *server; /* the new one */
    unsigned in_the_way;
    char list[400];
};

static bool is_lost(int code)
{
    return code == -ENOENT || code == -EKEYREVOKED || code == -EBADMSG;
}

/* Unwraps what the registry holds; that is enough to know whether a server can. */
static int try_ring(struct trial *trial, const struct key_ring *ring, struct key_provider *server,
                    struct error *err)
{
    CLEANUP(free_ptr) struct wrapped_key *wrapped = calloc(KEY_GENERATIONS_MAX, sizeof(*wrapped));
    struct secret plains[KEY_GENERATIONS_MAX] = { { .data = NULL } };
    uint32_t count = 0;

    if (!wrapped)
        return error_set(err, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < ring->count && count < KEY_GENERATIONS_MAX; i++)
        wrapped[count++] = ring->generations[i].current.key;
    int r = kms_unwrap(trial->control->kms, server, wrapped, count, plains, err);
    for (uint32_t i = 0, at = 0; i < ring->count && at < count; i++, at++) {
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        if (r == 0)
            r = key_generation_open(&ring->generations[i], &plains[at], &key, err);
    }
    for (uint32_t i = 0; i < count; i++)
        secret_release(&plains[i]);
    return r;
}

static void add_to_list(struct trial *trial, const char *name, const char *why)
{
    size_t used = strlen(trial->list);

    trial->in_the_way++;
    (void)snprintf(trial->list + used, sizeof(trial->list) - used, "%s%s (%s)", used ? "; " : "",
                   name, why);
}

static int try_filesystem(struct filesystem *filesystem, void *arg, struct error *err)
{
    struct trial *trial = arg;
    struct control *control = trial->control;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct error new_err = { .code = 0 };
    struct error old_err = { .code = 0 };
    const char *name = filesystem->record.name;
    int r = registry_get_ring(control->registry, &filesystem->record.uuid, &encoded, err);

    if (r == -ENOENT)
        return 0; /* it is being added: nothing wrapped it yet */
    if (r == 0)
        r = key_ring_peek(buf_bytes(&encoded), &ring, err);
    if (r < 0)
        return error_prefix(err, r, "filesystem %s", name);
    const struct wrapped_key *newest = rings_newest(&ring);
    if (newest && strcmp(newest->provider, "local") == 0)
        return 0;
    if (try_ring(trial, &ring, trial->server, &new_err) == 0)
        return 0;
    int with_old = try_ring(trial, &ring, NULL, &old_err);
    if (is_lost(with_old))
        events_add(&control->events, LOG_LEVEL_WARNING, "key-lost", name,
                   "its key opens neither with the KMS in use nor with the new one: %s",
                   old_err.text);
    else
        add_to_list(trial, name, new_err.text);
    return 0;
}

static int prove(struct control *control, struct key_provider *server, struct error *err)
{
    struct trial trial = { .control = control, .server = server };
    int r = control_each(control, try_filesystem, &trial, err);

    if (r < 0)
        return r;
    if (trial.in_the_way > 0)
        return error_set(err, -EBUSY,
                         "nothing was changed, because %u filesystem%s would not open with it: %s",
                         trial.in_the_way, trial.in_the_way == 1 ? "" : "s", trial.list);
    return 0;
}

static int retry_waiting(struct filesystem *filesystem, void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    mutex_lock(&filesystem->lock);
    filesystem->retry_now = filesystem->state == FS_WAITING_FOR_KMS;
    (void)pthread_cond_broadcast(&filesystem->changed);
    mutex_unlock(&filesystem->lock);
    return 0;
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

    if (r == -EINVAL)
        return;
    int noted = looks_like_token(config->key_name)
                    ? audit_add(control->audit, &note, 1, &err)
                    : audit_set(control, config, 0, r, why->text, &err);
    if (noted < 0)
        events_add(&control->events, LOG_LEVEL_ERROR, "audit-not-written", "", "%s", err.text);
}

static int set_verified(struct control *control, const struct key_provider_config *config,
                        struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct key_description seen = { .algorithm = "" };
    int r = key_provider_open(config, &provider, err);

    if (r == 0)
        r = key_provider_verify(provider, &seen, err);
    if (r == 0)
        r = prove(control, provider, err);
    if (r == 0)
        r = audit_set(control, config, seen.latest_version, 0, NULL, err);
    return r < 0 ? r : kms_replace(control->kms, config, &seen, err);
}

int control_kms_set(struct control *control, const struct key_provider_config *config,
                    struct kms_status *ret, struct error *err)
{
    struct error why = { .code = 0 };

    mutex_lock(&control->kms_changing);
    int r = set_verified(control, config, &why);
    mutex_unlock(&control->kms_changing);
    if (r < 0) {
        audit_refused(control, config, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    control_look_at_kms(control);
    kms_status(control->kms, ret);
    alert_book_settle(control->alerts, "kms-");
    events_add(&control->events, LOG_LEVEL_INFO, "kms-set", "", "the KMS is now %s at %s, key %s",
               ret->type, ret->addresses, ret->key_name);
    return control_each(control, retry_waiting, NULL, err);
}

void control_kms_status(struct control *control, struct kms_status *ret)
{
    kms_status(control->kms, ret);
}
