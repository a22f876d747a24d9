/* own_watch.c - filesystems with a key of their own: whether that key and the login for it are
 * still there, found out before the next start needs them. Reading the key has the login do what is
 * due: it is renewed, or logged in again, at half of its life. */
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/own_key.h"

#define PERIOD_MS (10LL * 60 * 1000)
#define PERIOD_FAILED_MS (60LL * 1000)
#define LEAST_MS 500
#define LOOKING INT64_MAX /* who changes it sets another time */

struct watching {
    struct control *control;
    int64_t next_ms;
    bool is_away; /* the server does not answer: the others would wait as long */
};

static int look(struct control *control, const struct fs_kms_key *own, struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct key_description seen;
    int r = kms_provider_for(control->kms, own, NULL, &provider, err);

    return r < 0 ? r : key_provider_describe(provider, &seen, err);
}

/* When to come again. */
static int64_t next_look(struct control *control, const struct fs_kms_key *own, int r)
{
    int64_t now = clock_monotonic_ms();
    int64_t next = now + (r < 0 ? PERIOD_FAILED_MS : PERIOD_MS);
    struct key_login_status login;

    kms_own_login_status(control->kms, own, &login);
    if (login.due_ms < next)
        next = login.due_ms;
    if (login.has_end && login.ends_ms > now && login.ends_ms < next)
        next = login.ends_ms;
    return next < now + LEAST_MS ? now + LEAST_MS : next;
}

/* While the server is away nothing new is known of the key; nor if it was changed meanwhile, and is
 * to be looked at once more. */
static void note(struct filesystem *fs, const struct error *err, int64_t next_ms)
{
    mutex_lock(&fs->lock);
    bool is_same = fs->own_look_due_ms == LOOKING;
    if (is_same && err->code != -EAGAIN)
        fs->own_failure = *err;
    if (is_same)
        fs->own_look_due_ms = next_ms;
    mutex_unlock(&fs->lock);
}

/* false: it has none, or is being made. */
static bool take_own(struct filesystem *fs, struct fs_kms_key *ret, int64_t *ret_due_ms)
{
    mutex_lock(&fs->lock);
    bool has_own = fs_record_has_own_key(&fs->record) && fs->record.phase == FS_PHASE_READY;
    *ret = fs->record.own;
    *ret_due_ms = fs->own_look_due_ms;
    if (!has_own)
        fs->own_failure = (struct error){ .code = 0 };
    mutex_unlock(&fs->lock);
    return has_own;
}

static int watch_one(struct filesystem *fs, void *arg, struct error *err)
{
    struct watching *watching = arg;
    struct error why = { .code = 0 };
    struct fs_kms_key own;
    int64_t due_ms;

    (void)err;
    if (atomic_load(&fs->control->is_shutting_down) || !take_own(fs, &own, &due_ms))
        return 0;
    if (due_ms <= clock_monotonic_ms() && !watching->is_away) {
        mutex_lock(&fs->lock);
        fs->own_look_due_ms = LOOKING;
        own = fs->record.own;
        mutex_unlock(&fs->lock);
        int r = look(watching->control, &own, &why);
        watching->is_away = r == -EAGAIN;
        due_ms = next_look(watching->control, &own, r);
        note(fs, &why, due_ms);
    }
    if (due_ms > 0 && due_ms < watching->next_ms)
        watching->next_ms = due_ms;
    return 0;
}

void own_key_watch(struct control *control, int64_t *ret_next_ms)
{
    struct watching watching = { .control = control, .next_ms = INT64_MAX };

    (void)control_each(control, watch_one, &watching, NULL);
    *ret_next_ms = watching.next_ms;
}
