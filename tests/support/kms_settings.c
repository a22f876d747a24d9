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

static void read_text(const char *name, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s", kms_setting(name));
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
    read_text("ADDRESS", ret->addresses, sizeof(ret->addresses));
    read_text("KEY", ret->key_name, sizeof(ret->key_name));
    read_text("NAMESPACE", ret->kms_namespace, sizeof(ret->kms_namespace));
    read_text("MOUNT_PATH", ret->mount_path, sizeof(ret->mount_path));
    ret->allows_insecure_http = strcmp(kms_setting("INSECURE_HTTP"), "1") == 0;
    read_text("AUTH_PATH", ret->auth_path, sizeof(ret->auth_path));
    read_text("ROLE_ID", ret->role_id, sizeof(ret->role_id));
    read_text("KUBERNETES_ROLE", ret->kubernetes_role, sizeof(ret->kubernetes_role));
    read_text("KUBERNETES_TOKEN", ret->kubernetes_token_path, sizeof(ret->kubernetes_token_path));
    ret->leaves_renewal = strcmp(kms_setting("NO_TOKEN_RENEWAL"), "1") == 0;
    read_text("USERNAME", ret->username, sizeof(ret->username));
    ret->uses_gcm = strcmp(kms_setting("CIPHER_MODE"), "gcm") == 0;
    int r = read_file("CA_CERT", &ret->ca_cert_pem, err);
    if (r == 0)
        r = read_file("CLIENT_CERT", &ret->client_cert_pem, err);
    if (r == 0)
        r = read_secret("CLIENT_KEY", &ret->client_key_pem, err);
    if (r == 0)
        r = read_secret("TOKEN_FILE", &ret->token, err);
    if (r == 0)
        r = read_secret("SECRET_ID_FILE", &ret->secret_id, err);
    if (r == 0)
        r = read_secret("PASSWORD_FILE", &ret->password, err);
    return r;
}
