/* key_copy.c - the recovery copy of a filesystem's keys: exported to the holder of a certificate,
 * who keeps its private key away from every host, and imported again when the key server is lost
 * for ever.
 *
 * An import wraps the keys anew like a rewrap, and is as safe: only what unwraps them is another.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/key_copy.h"
#include "control/missing_keys.h"
#include "control/object_stores.h"
#include "control/own_key.h"
#include "control/rewrap.h"
#include "control/rings.h"
#include "crypto/cms.h"
#include "keyring/key_export.h"
#include "store/object_store.h"

static int check_ready(const struct fs_record *record, struct error *err)
{
    return record->phase == FS_PHASE_READY
               ? 0
               : error_set(err, -EBUSY, "filesystem %s is being made or removed", record->name);
}

static int copy_record(struct filesystem *fs, struct fs_record **ret, struct error *err)
{
    *ret = filesystem_copy_record(fs);
    return *ret ? check_ready(*ret, err) : error_set(err, -ENOMEM, "out of memory");
}

/* ------------------------------------------------------------------ export */

static void release_blobs(struct secret **blobs)
{
    for (uint32_t i = 0; *blobs && i < KEY_GENERATIONS_MAX; i++)
        secret_release(&(*blobs)[i]);
    free(*blobs);
}

/* "" if the copy has all. */
static void tell_lacking(const struct rings_outcome *outcome, char ret[static KEY_LACKING_SIZE])
{
    int count = __builtin_popcountll(outcome->unopened);

    ret[0] = '\0';
    if (count > 0)
        (void)snprintf(ret, KEY_LACKING_SIZE,
                       "the copy lacks %d key%s of other filesystems, which data of this one came "
                       "with, as the KMS refuses %s: %.300s",
                       count, count == 1 ? "" : "s", count == 1 ? "it" : "them", outcome->why.text);
}

/* All keys of the ring that is believed, in the form of a recovery copy. */
static int collect_keys(struct filesystem *fs, struct secret *ret,
                        char ret_lacking[static KEY_LACKING_SIZE], struct error *err)
{
    CLEANUP(rings_opened_release) struct rings_opened opened = RINGS_OPENED_INIT;
    CLEANUP(free_ptr) struct fs_record *record = NULL;
    CLEANUP(release_blobs) struct secret *blobs = calloc(KEY_GENERATIONS_MAX, sizeof(*blobs));
    struct rings_options options = { .may_repair = false, .may_lack_foreign = true };
    bool is_kms = false;

    if (!blobs)
        return error_set(err, -ENOMEM, "out of memory");
    int r = copy_record(fs, &record, err);
    if (r == 0)
        r = rings_open(fs->control, record, &options, &opened, &is_kms, err);
    options.owner = record;
    if (r == 0)
        r = rings_unwrap_all(fs->control, &opened.ring, &options, blobs, &opened.outcome, err);
    tell_lacking(&opened.outcome, ret_lacking);
    return r < 0 ? r : key_export_encode(&opened.ring, blobs, ret, err);
}

/* The entry is there before the copy is: nobody has one that the log does not know. */
static int export_held(struct filesystem *fs, struct bytes certificates, const char *recipients,
                       struct buf *ret, char ret_lacking[static KEY_LACKING_SIZE],
                       struct error *err)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    char text[AUDIT_TEXT_SIZE];
    int r = collect_keys(fs, &keys, ret_lacking, err);

    (void)snprintf(text, sizeof(text), "for %s", recipients);
    if (r == 0)
        r = filesystem_audit(fs, AUDIT_EXPORT, 0, text, err);
    return r < 0 ? r : cms_seal(certificates, secret_bytes(&keys), ret, err);
}

int control_key_export(struct control *control, const char *name, struct bytes certificates,
                       struct buf *ret, char ret_lacking[static KEY_LACKING_SIZE],
                       struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    char recipients[400];
    struct error why = { .code = 0 };

    if (!fs)
        return -ENOENT;
    int r = control->allows_key_export
                ? cms_recipients(certificates, recipients, sizeof(recipients), &why)
                : error_set(&why, -EPERM,
                            "keys may not be exported from this instance; whoever administers the "
                            "host allows it by starting cofferd with --allow-key-export");
    filesystem_hold_rings(fs);
    if (r == 0)
        r = export_held(fs, certificates, recipients, ret, ret_lacking, &why);
    filesystem_let_rings(fs);
    if (r < 0) {
        filesystem_audit_failure(fs, AUDIT_EXPORT, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    events_add(&control->events, LOG_LEVEL_WARNING, "key-exported", name,
               "a recovery copy of its keys was made for %s%s%s", recipients,
               ret_lacking[0] ? "; " : "", ret_lacking);
    return 0;
}

/* ------------------------------------------------------------------ import */

/* Two rings, each generation with what wraps it and what did before. */
#define KNOWN_MAX (2u * 2u * KEY_GENERATIONS_MAX)

void key_copy_forget(struct unwrapped *known)
{
    for (size_t i = 0; known->plains && i < known->count; i++)
        secret_release(&known->plains[i]);
    free(known->plains);
    free(known->wrapped);
}

static int know(struct unwrapped *known, const struct wrapped_key *wrapped,
                const struct secret *blob, struct error *err)
{
    if (secret_assign(&known->plains[known->count], secret_bytes(blob)) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    known->wrapped[known->count++] = *wrapped;
    return 0;
}

static int lacks_key(uint32_t generation, struct error *err)
{
    return error_set(err, -ENOKEY,
                     "the recovery copy has no key of generation %u: it was made before that key "
                     "was; look for a newer copy",
                     generation);
}

/* Whatever the ring says wraps a generation, the copy is what it unwraps to. Whether that is so is
 * judged when the ring is opened. Keys of other filesystems may have joined since it was made. */
static int know_ring(struct unwrapped *known, struct bytes encoded, const struct key_export *copy,
                     struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    int r = 0;

    if (key_ring_peek(encoded, &ring, NULL) < 0)
        return 0; /* the other one may do */
    for (uint32_t i = 0; r == 0 && i < ring.count; i++) {
        const struct key_generation *generation = &ring.generations[i];
        const struct secret *blob = key_export_find(copy, &generation->origin, generation->number);
        if (!blob && key_generation_is_own(&ring, generation))
            return lacks_key(generation->number, err);
        if (!blob)
            continue;
        r = know(known, &generation->current.key, blob, err);
        if (r == 0 && generation->has_previous)
            r = know(known, &generation->previous.key, blob, err);
    }
    return r;
}

int key_copy_know(struct control *control, const struct fs_record *record,
                  const struct key_export *copy, struct unwrapped *ret, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf mine = BUF_INIT;
    CLEANUP(buf_release) struct buf theirs = BUF_INIT;

    uuid_format(&copy->uuid, uuid);
    if (!uuid_equal(&record->uuid, &copy->uuid))
        return error_set(err, -EINVAL,
                         "the recovery copy is that of another filesystem, with the UUID %s", uuid);
    ret->wrapped = calloc(KNOWN_MAX, sizeof(*ret->wrapped));
    ret->plains = calloc(KNOWN_MAX, sizeof(*ret->plains));
    if (!ret->wrapped || !ret->plains)
        return error_set(err, -ENOMEM, "out of memory");
    int r = registry_get_ring(control->registry, &record->uuid, &mine, err);
    if (r == -ENOENT)
        r = 0; /* it is being adopted */
    else if (r == 0)
        r = know_ring(ret, buf_bytes(&mine), copy, err);
    if (r < 0 || place_open(control, record->store_url, &store, NULL) < 0 ||
        object_store_get(store, KEY_RING_OBJECT, KEY_RING_MAX, &theirs, NULL) < 0)
        return r;
    return know_ring(ret, buf_bytes(&theirs), copy, err);
}

/* The configured key server; a local key if the caller allows that there is none that answers. */
static int open_wrapper(struct control *control, const struct fs_record *record, bool allow_no_kms,
                        struct rewrap_target *ret, struct error *err)
{
    struct key_description seen = { .algorithm = "" };
    struct error why = { .code = 0 };
    int r = own_key_provider(control, record, &ret->provider, &why);

    if (r == 0)
        r = key_provider_describe(ret->provider, &seen, &why);
    if (r == 0)
        return 0;
    key_provider_close(ret->provider);
    ret->provider = NULL;
    if (allow_no_kms)
        return 0;
    return error_set(err, r,
                     "nothing can wrap the keys anew: %s; set the KMS that is to do it, or accept "
                     "a local key, in a file on this host, with --allow-no-kms",
                     why.text);
}

static int import_wrapped(struct control *control, struct filesystem *fs,
                          const struct fs_record *record, const struct key_export *copy,
                          struct rewrap_target *target, struct error *err)
    REQUIRES(control->kms_changing)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    CLEANUP(key_copy_forget) struct unwrapped known = { .count = 0 };
    int r = key_copy_know(control, record, copy, &known, err);

    if (r == 0)
        r = filesystem_audit(
            fs, AUDIT_IMPORT, 0,
            target->provider ? "to be wrapped by the KMS" : "to be wrapped by a local key", err);
    target->known = &known;
    if (r == 0)
        r = rewrap_run(control, target, &fs, 1, &report, err);
    target->known = NULL;
    if (r < 0)
        return r;
    rewrap_tell(control, &report);
    if (report.count == 1 && report.rows[0].result == REWRAP_DONE) {
        missing_keys_expect(fs, report.rows[0].text);
        return 0;
    }
    return error_set(err, -EBADMSG,
                     "the keys were not imported, and nothing was changed, because the copy or the "
                     "filesystem's key ring is damaged or false: %s",
                     report.count == 1 ? report.rows[0].text : "there is no key ring");
}

int key_copy_import(struct control *control, struct filesystem *fs, const struct key_export *copy,
                    bool allow_no_kms, struct error *err)
{
    CLEANUP(free_ptr) struct fs_record *record = NULL;
    struct rewrap_target target = { .is_other_server = true };
    int r = copy_record(fs, &record, err);

    if (r == 0)
        r = open_wrapper(control, record, allow_no_kms, &target, err);
    if (r == 0)
        r = import_wrapped(control, fs, record, copy, &target, err);
    key_provider_close(target.provider);
    return r;
}

int control_key_import(struct control *control, const char *name, struct bytes keys,
                       bool allow_no_kms, struct fs_view *ret, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, name, err);
    CLEANUP(free_ptr) struct key_export *copy = calloc(1, sizeof(*copy));
    struct error why = { .code = 0 };

    if (!fs)
        return -ENOENT;
    if (!copy)
        return error_set(err, -ENOMEM, "out of memory");
    int r = key_export_decode(keys, copy, &why);
    mutex_lock(&control->kms_changing);
    if (r == 0)
        r = key_copy_import(control, fs, copy, allow_no_kms, &why);
    mutex_unlock(&control->kms_changing);
    key_export_release(copy);
    if (r < 0) {
        filesystem_audit_failure(fs, AUDIT_IMPORT, r, &why);
        return error_set(err, r, "%s", why.text);
    }
    filesystem_view(fs, ret);
    events_add(&control->events, LOG_LEVEL_WARNING, "key-imported", name,
               "its keys were taken from a recovery copy and wrapped anew%s%s",
               ret->lacking[0] ? "; " : "", ret->lacking);
    filesystem_wake(fs);
    return 0;
}
