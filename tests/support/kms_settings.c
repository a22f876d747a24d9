#include "tests/support/kms_settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"

#define FILE_MAX 65536u

const char *kms_setting(const char *name)
{
    char variable[64];

    (void)snprintf(variable, sizeof(variable), "COFFER_TEST_KMS_%s", name);
    const char *value = getenv(variable);
    return value ? value : "";
}

static int read_file(const char *name, struct buf *ret, struct error *err)
{
    const char *path = kms_setting(name);

    return path[0] ? file_read(path, FILE_MAX, ret, err) : 0;
}

static int read_secret(const char *name, struct secret *ret, struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT;
    int r = read_file(name, &text, err);

    return r == 0 && text.len ? secret_assign(ret, buf_bytes(&text)) : r;
}

int kms_settings_read(const char *type, struct key_provider_config *ret, struct error *err)
{
    (void)snprintf(ret->type, sizeof(ret->type), "%s", type);
    (void)snprintf(ret->addresses, sizeof(ret->addresses), "%s", kms_setting("ADDRESS"));
    (void)snprintf(ret->key_name, sizeof(ret->key_name), "%s", kms_setting("KEY"));
    (void)snprintf(ret->kms_namespace, sizeof(ret->kms_namespace), "%s", kms_setting("NAMESPACE"));
    (void)snprintf(ret->mount_path, sizeof(ret->mount_path), "%s", kms_setting("MOUNT_PATH"));
    ret->allows_insecure_http = strcmp(kms_setting("INSECURE_HTTP"), "1") == 0;
    int r = read_file("CA_CERT", &ret->ca_cert_pem, err);
    if (r == 0)
        r = read_file("CLIENT_CERT", &ret->client_cert_pem, err);
    if (r == 0)
        r = read_secret("CLIENT_KEY", &ret->client_key_pem, err);
    if (r == 0)
        r = read_secret("TOKEN_FILE", &ret->token, err);
    return r;
}
