/* own_key.c - filesystems whose keys another key of the key server wraps than the configured one.
 *
 * The record says which; the ring, as always, what wraps at present. They differ if a crash came
 * between a rewrap and the record, and the next rewrap brings them together; the ring opens in
 * any case, because it is unwrapped with the key that it names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/rewrap.h"

int own_key_put(struct fs_record *record, const char *key, const char *kms_namespace,
                struct error *err)
{
    if (kms_namespace && !key)
        return error_set(err, -EINVAL,
                         "a namespace needs the key in it; give that with --kms-key-identifier");
    if (key && (key[0] == '\0' || strlen(key) >= sizeof(record->kms_key)))
        return error_set(err, -EINVAL, "'%s' is not the name of a key", key);
    if (kms_namespace && strlen(kms_namespace) >= sizeof(record->kms_namespace))
        return error_set(err, -EINVAL, "the name of the namespace is too long");
    (void)snprintf(record->kms_key, sizeof(record->kms_key), "%s", key ? key : "");
    (void)snprintf(record->kms_namespace, sizeof(record->kms_namespace), "%s",
                   kms_namespace ? kms_namespace : "");
    return 0;
}

int own_key_provider(struct control *control, const struct fs_record *record,
                     struct key_provider **ret, struct error *err)
{
    return kms_provider_with_key(control->kms, record->kms_key, record->kms_namespace, ret, err);
}

static int open_target(struct control *control, const struct fs_record *record,
                       struct rewrap_target *ret, struct error *err)
{
    struct key_description seen = { .algorithm = "" };
    int r = own_key_provider(control, record, &ret->provider, err);

    if (r == 0)
        r = ret->is_dry ? key_provider_describe(ret->provider, &seen, err)
                        : key_provider_verify(ret->provider, &seen, err);
    if (r < 0)
        return r;
    (void)snprintf(ret->key.type, sizeof(ret->key.type), "%s", ret->provider->ops->type);
    memcpy(ret->key.key, record->kms_key, sizeof(ret->key.key));
    memcpy(ret->key.kms_namespace, record->kms_namespace, sizeof(ret->key.kms_namespace));
    ret->key.version = seen.latest_version;
    return 0;
}

/* The server cannot rewrap inside from one key to another. */
static int run(struct control *control, struct filesystem *fs, const struct fs_record *record,
               bool is_dry, struct rewrap_report *ret, struct error *err)
    REQUIRES(control->kms_changing)
{
    struct rewrap_target target = { .is_dry = is_dry };
    int r = open_target(control, record, &target, err);

    if (r == 0) {
        mutex_lock(&fs->lock);
        target.is_other_server = !key_provider_names(target.provider, &fs->wrapped);
        mutex_unlock(&fs->lock);
        r = rewrap_run(control, &target, &fs, 1, ret, err);
    }
    key_provider_close(target.provider);
    return r;
}

static struct fs_record *copy_record(struct filesystem *fs)
{
    struct fs_record *copy = malloc(sizeof(*copy));

    mutex_lock(&fs->lock);
    if (copy)
        *copy = fs->record;
    mutex_unlock(&fs->lock);
    return copy;
}

/* That its key cannot be used is said in its row, and does not keep others from theirs. */
int own_key_rewrap(struct control *control, struct filesystem *fs, bool is_dry,
                   struct rewrap_report *ret, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = copy_record(fs);
    struct error why = { .code = 0 };

    if (!record)
        return error_set(err, -ENOMEM, "out of memory");
    int r = run(control, fs, record, is_dry, ret, &why);
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

static int wrap_with(struct control *control, struct filesystem *fs, struct fs_record *wanted,
                     struct error *err) REQUIRES(control->kms_changing)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    int r = wanted->phase == FS_PHASE_READY
                ? kms_set_finish_locked(control, err)
                : error_set(err, -EBUSY, "filesystem %s is being made or removed", wanted->name);

    if (r == 0)
        r = run(control, fs, wanted, false, &report, err);
    if (r < 0)
        return r;
    rewrap_tell(control, &report);
    if (report.count != 1 || report.failed > 0)
        return error_set(err, -EIO, "nothing was changed: %s",
                         report.count == 1 ? report.rows[0].text : "it has no key ring");
    r = control_step(control, STEP_RINGS_WRAPPED);
    if (r < 0)
        return r;
    mutex_lock(&fs->lock);
    memcpy(fs->record.kms_key, wanted->kms_key, sizeof(wanted->kms_key));
    memcpy(fs->record.kms_namespace, wanted->kms_namespace, sizeof(wanted->kms_namespace));
    mutex_unlock(&fs->lock);
    return filesystem_save(fs, err);
}

int control_set_kms_key(struct control *control, const char *name, const char *key,
                        const char *kms_namespace, struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);

    if (!fs)
        return -ENOENT;
    mutex_lock(&control->kms_changing);
    CLEANUP(free_ptr) struct fs_record *wanted = copy_record(fs);
    int r = wanted ? own_key_put(wanted, key, kms_namespace, err)
                   : error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        r = wrap_with(control, fs, wanted, err);
    mutex_unlock(&control->kms_changing);
    if (r == 0)
        filesystem_view(fs, ret);
    return r;
}
