#include "control/ca_cert.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file_io.h"
#include "control/filesystem.h"
#include "net/ca_bundle.h"

static int path_of(const char *state_dir, char ret[static PATH_MAX], struct error *err)
{
    if (snprintf(ret, PATH_MAX, "%s/ca-cert.pem", state_dir) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "path too long: %s/ca-cert.pem", state_dir);
    return 0;
}

int ca_cert_load(const char *state_dir, struct buf *ret, struct error *err)
{
    struct error first = { .code = 0 };
    char path[PATH_MAX];
    int r = path_of(state_dir, path, err);

    if (r < 0)
        return r;
    r = file_read(path, CA_BUNDLE_BYTES, ret, &first);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? error_set(err, r, "%s", first.text) : 0;
}

int ca_cert_store(const char *state_dir, struct bytes pem, struct error *err)
{
    char path[PATH_MAX];
    int r = path_of(state_dir, path, err);

    if (r < 0)
        return r;
    if (pem.len > 0)
        return file_replace(path, pem, 0600, err);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(err, -errno, "cannot remove %s: %s", path, strerrordesc_np(errno));
    return folder_sync(state_dir, err);
}

/* ------------------------------------------------------------------ of the control plane */

static int note_in_audit(struct control *control, bool is_set, struct error *err)
{
    const struct audit_note note = {
        .operation = AUDIT_KMS_SET,
        .text = is_set ? "the CA certificates that are trusted for Vault were set"
                       : "the system's CA certificates are trusted for Vault again",
    };

    return audit_add(control->audit, &note, 1, err);
}

int control_ca_cert_set(struct control *control, struct bytes pem, struct kms_status *ret,
                        struct error *err)
{
    struct ca_certificate certificates[CA_BUNDLE_MAX];
    size_t count = 0;
    int r = pem.len > 0 ? ca_bundle_read(pem, certificates, &count, err) : 0;

    if (r < 0)
        return r;
    mutex_lock(&control->kms_changing);
    r = note_in_audit(control, pem.len > 0, err);
    if (r == 0)
        r = kms_set_ca_cert(control->kms, pem, err);
    mutex_unlock(&control->kms_changing);
    if (r < 0)
        return r;
    if (pem.len > 0)
        events_add(&control->events, LOG_LEVEL_INFO, "ca-cert-set", "",
                   "Vault's certificate is checked against %zu CA certificate%s, %s", count,
                   count == 1 ? "" : "s", certificates[0].subject);
    else
        events_add(&control->events, LOG_LEVEL_INFO, "ca-cert-unset", "",
                   "Vault's certificate is checked against the system's CA certificates");
    control_look_at_kms(control); /* a change that is half done may go on now */
    kms_refresh(control->kms);
    kms_status(control->kms, ret);
    return 0;
}

int control_ca_cert(struct control *control, struct buf *ret, struct error *err)
{
    return kms_ca_cert(control->kms, ret, err);
}

int control_kms_complete(struct control *control, struct key_provider_config *config,
                         struct error *err)
{
    return kms_complete(control->kms, config, err);
}
