/* own_key.c - filesystems whose keys another key of the key server wraps than the configured one,
 * and that may have a login of their own for it.
 *
 * The record says which key and role; the ring, as always, what wraps at present, and it is
 * unwrapped with the key that it names. A change, each step durable before the next:
 *   1 the new key is tried with the new login                            nothing is stored
 *   2 the secret ID into the credentials, beside the others
 *   3 what is to be into the record, beside what is                      both open the ring
 *   4 the ring wrapped anew (rewrap.h), if it is another key
 *   5 what is to be is what is; logins that nobody names are forgotten
 * A crash leaves a record that names both, and rings that one of them opens. When the rings of
 * registry and store agree again, as they do after a start, they tell which it is:
 * own_key_settle().
 */
#include "control/own_key.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/object_stores.h"
#include "control/rewrap.h"
#include "control/rings.h"
#include "store/object_store.h"

/* ------------------------------------------------------------------ what is asked for */

static int put_name(char *to, const char *from, const char *what, struct error *err)
{
    size_t len = from ? strlen(from) : 0;

    if (!from)
        return 0;
    while (len > 0 && from[len - 1] == '/')
        len--;
    if (len >= WRAPPED_NAME_SIZE)
        return error_set(err, -EINVAL, "the %s is too long", what);
    (void)snprintf(to, WRAPPED_NAME_SIZE, "%.*s", (int)len, from);
    return 0;
}

static bool is_empty(const char *text)
{
    return !text || text[0] == '\0';
}

static int check_change(const struct fs_key_change *change, const struct fs_kms_key *wanted,
                        struct error *err)
{
    if (change->key && (change->key[0] == '\0' || strlen(change->key) >= WRAPPED_NAME_SIZE))
        return error_set(err, -EINVAL, "'%s' is not the name of a key", change->key);
    if (wanted->kms_namespace[0] && !wanted->key[0])
        return error_set(err, -EINVAL,
                         "a namespace needs the key in it; give that with --kms-key-identifier");
    if ((wanted->role_id[0] || change->secret_id) && !wanted->key[0])
        return error_set(err, -EINVAL,
                         "a login of its own needs a key of its own; give that with "
                         "--kms-key-identifier");
    if (change->secret_id && !wanted->role_id[0])
        return error_set(err, -EINVAL,
                         "a secret ID needs the role that it belongs to; give its ID with "
                         "--kms-role-id");
    return 0;
}

int own_key_change(const struct fs_key_change *change, struct fs_kms_key *own, struct error *err)
{
    struct fs_kms_key wanted = *own;

    if (change->use_cluster) {
        if (change->key || !is_empty(change->kms_namespace) || !is_empty(change->role_id) ||
            change->secret_id)
            return error_set(err, -EINVAL,
                             "the configured key is wanted (--use-cluster-kms-key-identifier) and "
                             "one of its own, too; give one of both");
        *own = (struct fs_kms_key){ .key = "" };
        return 0;
    }
    int r = put_name(wanted.kms_namespace, change->kms_namespace, "name of the namespace", err);
    if (r == 0)
        r = put_name(wanted.role_id, change->role_id, "role ID", err);
    if (r == 0 && change->key)
        (void)snprintf(wanted.key, sizeof(wanted.key), "%s", change->key);
    if (r == 0)
        r = check_change(change, &wanted, err);
    if (r == 0)
        *own = wanted;
    return r;
}

int own_key_provider(struct control *control, const struct fs_record *record,
                     struct key_provider **ret, struct error *err)
{
    return kms_provider_for(control->kms, &record->own, NULL, ret, err);
}

/* ------------------------------------------------------------------ logins nobody names */

struct naming {
    struct control *control;
    const struct kms_own_login *login;
};

static bool names_login(const struct fs_kms_key *key, const struct kms_own_login *login)
{
    return strcmp(key->role_id, login->role_id) == 0 &&
           strcmp(key->kms_namespace, login->kms_namespace) == 0;
}

static int find_name(struct filesystem *fs, void *arg, struct error *err)
{
    const struct naming *naming = arg;

    (void)err;
    mutex_lock(&fs->lock);
    bool is_named = !fs_record_is_going(&fs->record) &&
                    (names_login(&fs->record.own, naming->login) ||
                     (fs->record.has_next && names_login(&fs->record.next, naming->login)));
    mutex_unlock(&fs->lock);
    return is_named;
}

static bool is_named(const struct kms_own_login *login, void *arg)
{
    struct naming naming = { .control = arg, .login = login };

    return control_each(arg, find_name, &naming, NULL) > 0;
}

void own_key_tidy(struct control *control)
{
    struct error err = { .code = 0 };

    if (kms_keep_logins(control->kms, is_named, control, &err) < 0)
        events_add(&control->events, LOG_LEVEL_WARNING, "kms-login-not-dropped", "",
                   "a login to the KMS that no filesystem uses any more is still stored: %s",
                   err.text);
}

/* ------------------------------------------------------------------ what was interrupted */

/* Whether the first so many of the ring are wrapped by that key. */
static bool wraps_first(struct control *control, const struct fs_kms_key *key,
                        const struct key_ring *ring, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!kms_key_names(control->kms, key, &ring->generations[i].current.key))
            return false;
    return count > 0;
}

/* The ring of the registry, if the store has the same one: while they differ, both keys are needed
 * to find out which to believe. */
static int get_agreed_ring(struct control *control, const struct fs_record *record, struct buf *ret,
                           struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf theirs = BUF_INIT;
    int r = registry_get_ring(control->registry, &record->uuid, ret, err);

    if (r == 0)
        r = place_open(control, record->store_url, &store, err);
    if (r == 0)
        r = object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &theirs, err);
    if (r == 0 && (ret->len != theirs.len || memcmp(ret->data, theirs.data, ret->len) != 0))
        r = error_set(err, -EBUSY,
                      "a change of its key was interrupted, and its key ring is not yet the same "
                      "in its store and here: start it, which repairs that");
    return r;
}

/* Unless another change came meanwhile. */
static bool settle_locked(struct filesystem *fs, const struct fs_record *seen, bool is_next)
    REQUIRES(fs->lock)
{
    struct fs_record *record = &fs->record;

    if (fs->is_key_changing || !record->has_next ||
        memcmp(&record->next, &seen->next, sizeof(record->next)) != 0)
        return false;
    if (is_next)
        record->own = record->next;
    record->has_next = false;
    record->next = (struct fs_kms_key){ .key = "" };
    fs->own_look_due_ms = 0;
    return true;
}

int own_key_settle(struct filesystem *fs, struct error *err)
{
    struct control *control = fs->control;
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    if (!record->has_next)
        return 0;
    int r = get_agreed_ring(control, record, &encoded, err);
    if (r == 0)
        r = key_ring_peek(buf_bytes(&encoded), &ring, err);
    if (r < 0)
        return r;
    /* Not the foreign ones: what does not open stays as it was wrapped. */
    bool is_next = wraps_first(control, &record->next, &ring, key_ring_own_count(&ring));
    mutex_lock(&fs->lock);
    bool is_settled = settle_locked(fs, record, is_next);
    mutex_unlock(&fs->lock);
    r = is_settled ? filesystem_save(fs, err) : 0;
    if (r == 0 && is_settled)
        own_key_tidy(control);
    return r;
}

int own_key_forget(struct filesystem *fs, struct error *err)
{
    mutex_lock(&fs->lock);
    bool has_own = fs_record_has_own_key(&fs->record);
    fs->record.own = (struct fs_kms_key){ .key = "" };
    mutex_unlock(&fs->lock);
    return has_own ? filesystem_save(fs, err) : 0;
}

bool own_key_has(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    bool has_own = fs_record_has_own_key(&fs->record);
    mutex_unlock(&fs->lock);
    return has_own;
}

/* ------------------------------------------------------------------ wrapped anew */

static int open_target(struct control *control, const struct fs_kms_key *own,
                       struct rewrap_target *ret, struct error *err)
{
    struct key_description seen = { .algorithm = "" };
    int r = kms_provider_for(control->kms, own, NULL, &ret->provider, err);

    if (r == 0)
        r = ret->is_dry ? key_provider_describe(ret->provider, &seen, err)
                        : key_provider_verify(ret->provider, &seen, err);
    if (r < 0)
        return r;
    (void)snprintf(ret->key.type, sizeof(ret->key.type), "%s", ret->provider->ops->type);
    memcpy(ret->key.key, own->key, sizeof(ret->key.key));
    memcpy(ret->key.kms_namespace, own->kms_namespace, sizeof(ret->key.kms_namespace));
    ret->key.version = seen.latest_version;
    return 0;
}

static int run(struct control *control, struct filesystem *fs, const struct fs_kms_key *own,
               bool is_dry, struct rewrap_report *ret, struct error *err)
    REQUIRES(control->kms_changing)
{
    struct rewrap_target target = { .is_dry = is_dry };
    int r = open_target(control, own, &target, err);

    if (r == 0)
        r = rewrap_run(control, &target, &fs, 1, ret, err);
    key_provider_close(target.provider);
    return r;
}

/* That its key cannot be used is said in its row, and does not keep others from theirs. */
int own_key_rewrap(struct control *control, struct filesystem *fs, bool is_dry,
                   struct rewrap_report *ret, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = filesystem_copy_record(fs);
    struct error why = { .code = 0 };

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = run(control, fs, &record->own, is_dry, ret, &why);
    if (r == 0 || r == CONTROL_CRASHED || ret->rows)
        return r < 0 ? error_set(err, r, "%s", why.text) : 0;
    ret->rows = calloc(1, sizeof(*ret->rows));
    if (!ret->rows)
        return error_set(err, -ENOMEM, "out of memory");
    memcpy(ret->rows[0].name, record->name, sizeof(ret->rows[0].name));
    ret->rows[0].result = REWRAP_FAILED;
    (void)snprintf(ret->rows[0].text, sizeof(ret->rows[0].text), "%s", why.text);
    ret->count = 1;
    ret->failed = 1;
    return 0;
}

/* ------------------------------------------------------------------ a change */

/* A change on its way. */
struct changing {
    struct control *control;
    struct filesystem *fs;
    struct fs_kms_key own;    /* as it is ... */
    struct fs_kms_key wanted; /* ... and as it is to be */
    const struct secret *secret_id;
    bool is_wrapped; /* by that key already: another login is all */
};

/* What the new login wraps it unwraps; and what the key wraps already, too, with which the
 * filesystem starts. */
static int try_new(struct changing *changing, struct error *err)
{
    struct control *control = changing->control;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    struct secret plains[KEY_GENERATIONS_MAX] = { { .data = NULL } };
    struct key_description seen;
    struct rings_outcome outcome;
    int r = kms_provider_for(control->kms, &changing->wanted, changing->secret_id, &provider, err);

    if (r == 0)
        r = key_provider_verify(provider, &seen, err);
    if (r == 0)
        r = registry_peek_ring(control->registry, &changing->fs->record.uuid, &ring, err);
    changing->is_wrapped = r == 0 && wraps_first(control, &changing->wanted, &ring, ring.count);
    if (!changing->is_wrapped)
        return r;
    const struct rings_options options = { .server = provider, .may_lack_foreign = true };
    r = rings_unwrap_all(control, &ring, &options, plains, &outcome, err);
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&plains[i]);
    return r;
}

/* In memory first: a login that no record names may be forgotten at any time. */
static int begin_change(const struct changing *changing, struct error *err)
{
    struct filesystem *fs = changing->fs;
    int r = 0;

    mutex_lock(&fs->lock);
    fs->record.next = changing->wanted;
    fs->record.has_next = true;
    fs->is_key_changing = true;
    mutex_unlock(&fs->lock);
    if (changing->secret_id)
        r = kms_put_login(changing->control->kms, &changing->wanted, changing->secret_id, err);
    if (r == 0)
        r = control_step(changing->control, STEP_LOGIN_STORED);
    if (r == 0)
        r = filesystem_save(fs, err);
    return r < 0 ? r : control_step(changing->control, STEP_KEY_NAMED);
}

static int wrap_anew(struct control *control, const struct changing *changing, struct error *err)
    REQUIRES(control->kms_changing)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    int r = changing->is_wrapped
                ? 0
                : run(control, changing->fs, &changing->wanted, false, &report, err);

    if (r == 0 && changing->is_wrapped)
        return control_step(control, STEP_RINGS_WRAPPED);
    if (r < 0)
        return r;
    rewrap_tell(control, &report);
    if (report.count != 1 || report.failed > 0)
        return error_set(err, -EIO, "%s",
                         report.count == 1 ? report.rows[0].text : "it has no key ring");
    return control_step(control, STEP_RINGS_WRAPPED);
}

#define LOGIN_TEXT_SIZE (WRAPPED_NAME_SIZE + 100)

/* false: the login stays. */
static bool describe_login(const struct changing *changing, char ret[static LOGIN_TEXT_SIZE])
{
    const struct fs_kms_key *wanted = &changing->wanted;

    (void)snprintf(ret, LOGIN_TEXT_SIZE, "its login to the KMS is now %s%s%s",
                   wanted->role_id[0] ? "its own, role " : "that of the instance", wanted->role_id,
                   changing->secret_id ? ", with the secret ID that was given" : "");
    return changing->secret_id || strcmp(changing->own.role_id, wanted->role_id) != 0;
}

static int end_change(const struct changing *changing, struct error *err)
{
    struct filesystem *fs = changing->fs;
    char text[LOGIN_TEXT_SIZE];

    mutex_lock(&fs->lock);
    fs->record.own = changing->wanted;
    fs->record.has_next = false;
    fs->record.next = (struct fs_kms_key){ .key = "" };
    fs->is_key_changing = false;
    fs->own_look_due_ms = 0;
    mutex_unlock(&fs->lock);
    int r = filesystem_save(fs, err);
    if (r == 0)
        r = control_step(changing->control, STEP_KEY_SET);
    if (r == 0 && describe_login(changing, text))
        events_add(&changing->control->events, LOG_LEVEL_INFO, "kms-login-set", fs->record.name,
                   "%s", text);
    return r;
}

/* Nothing was wrapped by it yet. */
static void give_up(struct filesystem *fs)
{
    mutex_lock(&fs->lock);
    fs->record.has_next = false;
    fs->record.next = (struct fs_kms_key){ .key = "" };
    fs->is_key_changing = false;
    mutex_unlock(&fs->lock);
}

/* If the ring was not written, as before; else the change is done, or both keys are kept, and what
 * failed is told. */
static int undo_change(const struct changing *changing, int r, const struct error *why,
                       struct error *err)
{
    struct filesystem *fs = changing->fs;
    struct error lost = { .code = 0 };

    if (r == CONTROL_CRASHED)
        return r;
    mutex_lock(&fs->lock);
    fs->is_key_changing = false;
    mutex_unlock(&fs->lock);
    if (own_key_settle(fs, &lost) < 0)
        events_add(&fs->control->events, LOG_LEVEL_WARNING, "kms-key-not-settled", fs->record.name,
                   "what wraps its key now, and what did before, are both kept: %s", lost.text);
    own_key_tidy(fs->control);
    mutex_lock(&fs->lock);
    bool is_new = fs->record.has_next ||
                  memcmp(&fs->record.own, &changing->wanted, sizeof(changing->wanted)) == 0;
    mutex_unlock(&fs->lock);
    return error_set(err, r, "%s: %s",
                     is_new ? "the new key wraps it, but not all is well" : "nothing was changed",
                     why->text);
}

static int carry_out(struct control *control, struct changing *changing, struct error *err)
    REQUIRES(control->kms_changing)
{
    struct error why = { .code = 0 };
    char text[LOGIN_TEXT_SIZE];
    bool is_login = describe_login(changing, text);
    int r = try_new(changing, &why);

    if (r < 0 && is_login)
        filesystem_audit_failure(changing->fs, AUDIT_KMS_SET, r, &why);
    if (r == 0 && is_login)
        r = filesystem_audit(changing->fs, AUDIT_KMS_SET, 0, text, &why);
    if (r < 0)
        return error_set(err, r, "nothing was changed: %s", why.text);
    r = begin_change(changing, &why);
    if (r < 0 && r != CONTROL_CRASHED)
        give_up(changing->fs);
    if (r == 0)
        r = wrap_anew(control, changing, &why);
    if (r < 0)
        return undo_change(changing, r, &why, err);
    return end_change(changing, err);
}

/* One that was interrupted; to open it repairs what the crash left. */
static int finish_former(struct filesystem *fs, struct error *err)
{
    struct error first = { .code = 0 };
    bool is_kms = false;
    int r = own_key_settle(fs, &first);

    if (r == 0)
        return 0;
    r = filesystem_unlock(fs, true, NULL, &is_kms, err);
    return r < 0 ? r : own_key_settle(fs, err);
}

static int change_locked(struct control *control, struct filesystem *fs,
                         const struct fs_key_change *change, struct error *err)
    REQUIRES(control->kms_changing)
{
    struct changing changing = { .control = control, .fs = fs, .secret_id = change->secret_id };
    int r = kms_set_finish_locked(control, err);

    if (r == 0)
        r = finish_former(fs, err);
    if (r < 0)
        return r;
    mutex_lock(&fs->lock);
    changing.own = fs->record.own;
    bool is_ready = fs->record.phase == FS_PHASE_READY;
    mutex_unlock(&fs->lock);
    if (!is_ready)
        return error_set(err, -EBUSY, "filesystem %s is being made or removed", fs->record.name);
    changing.wanted = changing.own;
    r = own_key_change(change, &changing.wanted, err);
    if (r == 0)
        r = carry_out(control, &changing, err);
    return r;
}

static bool says_nothing(const struct fs_key_change *change)
{
    return !change->use_cluster && !change->key && !change->kms_namespace && !change->role_id &&
           !change->secret_id;
}

int control_set_kms_key(struct control *control, const char *name,
                        const struct fs_key_change *change, struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    if (says_nothing(change))
        return error_set(err, -EINVAL,
                         "give a key of its own (--kms-key-identifier) or a login "
                         "(--kms-role-id), or say that the configured one wraps it "
                         "(--use-cluster-kms-key-identifier)");
    mutex_lock(&control->kms_changing);
    int r = change_locked(control, fs, change, err);
    mutex_unlock(&control->kms_changing);
    if (r < 0)
        return r;
    own_key_tidy(control);
    filesystem_wake(fs);
    control_look_at_kms(control);
    filesystem_view(fs, ret);
    return 0;
}
