#include "control/credentials.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "base/wire.h"
#include "crypto/random.h"

#define CREDENTIALS_MAGIC 0x44524343u /* "CCRD" */
/* 1 ends with the token, 2 with the secret ID, 3 with the password */
#define CREDENTIALS_VERSION 4u
#define CREDENTIALS_MAX (768u * 1024u)
#define PEM_MAX (48u * 1024u)
#define TOKEN_MAX (16u * 1024u)

static int state_path(const char *state_dir, const char *name, char ret[static PATH_MAX],
                      struct error *err)
{
    if (snprintf(ret, PATH_MAX, "%s/%s", state_dir, name) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "path too long: %s/%s", state_dir, name);
    return 0;
}

static void put_config(struct writer *writer, const struct key_provider_config *config)
{
    writer_u32(writer, CREDENTIALS_MAGIC);
    writer_u16(writer, CREDENTIALS_VERSION);
    writer_u8(writer, config->allows_insecure_http);
    writer_text(writer, config->type);
    writer_text(writer, config->addresses);
    writer_text(writer, config->key_name);
    writer_text(writer, config->kms_namespace);
    writer_text(writer, config->mount_path);
    writer_string(writer, buf_bytes(&config->client_cert_pem));
    /* Those of a vault belong to the instance: ca_cert.h. */
    writer_string(writer, strcmp(config->type, "vault") != 0 ? buf_bytes(&config->ca_cert_pem)
                                                             : (struct bytes){ .len = 0 });
    writer_string(writer, secret_bytes(&config->client_key_pem));
    writer_string(writer, secret_bytes(&config->token));
    writer_u8(writer, config->leaves_renewal);
    writer_text(writer, config->auth_path);
    writer_text(writer, config->role_id);
    writer_text(writer, config->kubernetes_role);
    writer_text(writer, config->kubernetes_token_path);
    writer_string(writer, secret_bytes(&config->secret_id));
    writer_u8(writer, config->uses_gcm);
    writer_text(writer, config->username);
    writer_string(writer, secret_bytes(&config->password));
}

static void put_logins(struct writer *writer, const struct kms_logins *logins)
{
    writer_u32(writer, (uint32_t)(logins ? logins->count : 0));
    for (size_t i = 0; logins && i < logins->count; i++) {
        writer_text(writer, logins->items[i].kms_namespace);
        writer_text(writer, logins->items[i].role_id);
        writer_string(writer, secret_bytes(&logins->items[i].secret_id));
    }
}

/* Room for it: secret memory is scarce. */
static size_t encoded_max(const struct key_provider_config *config, const struct kms_logins *logins)
{
    size_t max = sizeof(*config) + config->client_cert_pem.len + config->ca_cert_pem.len +
                 config->client_key_pem.len + config->token.len + config->secret_id.len +
                 config->password.len;

    for (size_t i = 0; logins && i < logins->count; i++)
        max += strlen(logins->items[i].kms_namespace) + strlen(logins->items[i].role_id) +
               logins->items[i].secret_id.len + 16;
    return max;
}

static int get_buf(struct reader *reader, size_t max, struct buf *ret)
{
    struct bytes value = reader_string(reader, max);

    return value.len > 0 ? buf_assign(ret, value) : 0;
}

static int get_secret(struct reader *reader, size_t max, struct secret *ret)
{
    struct bytes value = reader_string(reader, max);

    return value.len > 0 ? secret_assign(ret, value) : 0;
}

/* What version 2 added: the ways to log in to Vault. */
static int get_login(struct reader *reader, struct key_provider_config *ret)
{
    ret->leaves_renewal = reader_u8(reader) != 0;
    reader_text(reader, ret->auth_path, sizeof(ret->auth_path));
    reader_text(reader, ret->role_id, sizeof(ret->role_id));
    reader_text(reader, ret->kubernetes_role, sizeof(ret->kubernetes_role));
    reader_text(reader, ret->kubernetes_token_path, sizeof(ret->kubernetes_token_path));
    return get_secret(reader, TOKEN_MAX, &ret->secret_id);
}

/* What version 3 added: for KMIP. */
static int get_kmip(struct reader *reader, struct key_provider_config *ret)
{
    ret->uses_gcm = reader_u8(reader) != 0;
    reader_text(reader, ret->username, sizeof(ret->username));
    return get_secret(reader, TOKEN_MAX, &ret->password);
}

/* What version 4 added. */
static int get_logins(struct reader *reader, struct credentials *ret)
{
    uint8_t converts = reader_u8(reader);
    uint32_t count = reader_u32(reader);
    int r = 0;

    ret->converts = converts == 1;
    if (converts > 1 || count > KMS_LOGINS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; r == 0 && i < count && !reader->failed; i++) {
        char kms_namespace[WRAPPED_NAME_SIZE];
        char role_id[WRAPPED_NAME_SIZE];
        reader_text(reader, kms_namespace, sizeof(kms_namespace));
        reader_text(reader, role_id, sizeof(role_id));
        struct bytes secret_id = reader_string(reader, TOKEN_MAX);
        if (!reader->failed && (role_id[0] == '\0' || secret_id.len == 0))
            reader_fail(reader);
        if (!reader->failed)
            r = kms_logins_put(&ret->logins, kms_namespace, role_id, secret_id);
    }
    return r;
}

static int get_config(struct bytes encoded, struct credentials *credentials)
{
    struct reader reader = reader_init(encoded);
    struct key_provider_config *ret = &credentials->config;

    if (reader_u32(&reader) != CREDENTIALS_MAGIC)
        return -EBADMSG;
    uint16_t version = reader_u16(&reader);
    if (version == 0 || version > CREDENTIALS_VERSION)
        return -EPROTONOSUPPORT;
    ret->allows_insecure_http = reader_u8(&reader) != 0;
    reader_text(&reader, ret->type, sizeof(ret->type));
    reader_text(&reader, ret->addresses, sizeof(ret->addresses));
    reader_text(&reader, ret->key_name, sizeof(ret->key_name));
    reader_text(&reader, ret->kms_namespace, sizeof(ret->kms_namespace));
    reader_text(&reader, ret->mount_path, sizeof(ret->mount_path));
    int r = get_buf(&reader, PEM_MAX, &ret->client_cert_pem);
    if (r == 0)
        r = get_buf(&reader, PEM_MAX, &ret->ca_cert_pem);
    if (r == 0)
        r = get_secret(&reader, PEM_MAX, &ret->client_key_pem);
    if (r == 0)
        r = get_secret(&reader, TOKEN_MAX, &ret->token);
    if (r == 0 && version >= 2)
        r = get_login(&reader, ret);
    if (r == 0 && version >= 3)
        r = get_kmip(&reader, ret);
    if (r == 0 && version >= 4)
        r = get_logins(&reader, credentials);
    return r < 0 ? r : reader_done(&reader);
}

static const char *const file_names[] = {
    [CREDENTIALS_IN_USE] = "credentials",
    [CREDENTIALS_STAGED] = "credentials.staged",
};

void credentials_release(struct credentials *credentials)
{
    key_provider_config_release(&credentials->config);
    kms_logins_release(&credentials->logins);
    *credentials = CREDENTIALS_INIT;
}

int credentials_load(const char *state_dir, enum credentials_file file, struct credentials *ret,
                     struct error *err)
{
    CLEANUP(credentials_release) struct credentials credentials = CREDENTIALS_INIT;
    CLEANUP(buf_wipe) struct buf encoded = BUF_INIT;
    char path[PATH_MAX];
    int r = state_path(state_dir, file_names[file], path, err);

    if (r == 0)
        r = file_read(path, CREDENTIALS_MAX, &encoded, err);
    if (r < 0)
        return r;
    r = get_config(buf_bytes(&encoded), &credentials);
    if (r == -EPROTONOSUPPORT)
        return error_set(err, r, "%s was written by a later version of coffer", path);
    if (r < 0)
        return error_set(err, r, "%s cannot be used: %s; set the key server anew", path,
                         strerrordesc_np(-r));
    credentials_release(ret);
    *ret = credentials;
    credentials = CREDENTIALS_INIT;
    return 0;
}

int credentials_store(const char *state_dir, enum credentials_file file,
                      const struct key_provider_config *config, bool converts,
                      const struct kms_logins *logins, struct error *err)
{
    CLEANUP(secret_release) struct secret encoded = SECRET_INIT;
    char path[PATH_MAX];

    if (config->client_cert_pem.len > PEM_MAX || config->ca_cert_pem.len > PEM_MAX ||
        config->client_key_pem.len > PEM_MAX || config->token.len > TOKEN_MAX ||
        config->secret_id.len > TOKEN_MAX || config->password.len > TOKEN_MAX)
        return error_set(err, -EFBIG, "a certificate, key, token or password is too large");
    int r = state_path(state_dir, file_names[file], path, err);
    if (r < 0)
        return r;
    r = secret_new(&encoded, encoded_max(config, logins));
    if (r < 0)
        return error_set(err, r, "out of secret memory");
    struct writer writer = writer_init(encoded.data, encoded.len);
    put_config(&writer, config);
    writer_u8(&writer, converts);
    put_logins(&writer, logins);
    r = writer_done(&writer);
    if (r < 0)
        return error_set(err, r, "the key server's configuration is too large");
    return file_replace(path, writer_written(&writer), 0600, err);
}

int credentials_promote(const char *state_dir, struct error *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    int r = state_path(state_dir, file_names[CREDENTIALS_STAGED], from, err);

    if (r == 0)
        r = state_path(state_dir, file_names[CREDENTIALS_IN_USE], to, err);
    if (r < 0)
        return r;
    if (rename(from, to) < 0)
        return error_set(err, -errno, "cannot rename %s to %s: %s", from, to,
                         strerrordesc_np(errno));
    return folder_sync(state_dir, err);
}

int credentials_remove(const char *state_dir, enum credentials_file file, struct error *err)
{
    char path[PATH_MAX];
    int r = state_path(state_dir, file_names[file], path, err);

    if (r < 0)
        return r;
    if (unlink(path) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, -errno, "cannot remove %s: %s", path, strerrordesc_np(errno));
    return folder_sync(state_dir, err);
}

static int local_key_path(const char *state_dir, const char *uuid_text, char ret[static PATH_MAX],
                          struct error *err)
{
    struct uuid uuid;

    /* The name comes from a ring that is not verified yet: nothing else may reach the path. */
    if (uuid_parse(uuid_text, &uuid) < 0)
        return error_set(err, -EINVAL, "a key ring names a local key by no UUID");
    if (snprintf(ret, PATH_MAX, "%s/local-keys/%s", state_dir, uuid_text) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "path too long: %s/local-keys", state_dir);
    return 0;
}

int local_key_load(const char *state_dir, const char *uuid_text, struct secret *ret,
                   struct error *err)
{
    CLEANUP(buf_wipe) struct buf data = BUF_INIT;
    char path[PATH_MAX];
    int r = local_key_path(state_dir, uuid_text, path, err);

    if (r == 0)
        r = file_read(path, LOCAL_KEY_LEN, &data, err);
    if (r < 0)
        return r;
    if (data.len != LOCAL_KEY_LEN)
        return error_set(err, -EBADMSG, "%s is not a local key", path);
    r = secret_assign(ret, buf_bytes(&data));
    return r < 0 ? error_set(err, r, "out of secret memory") : 0;
}

int local_key_make(const char *state_dir, const char *uuid_text, struct secret *ret,
                   struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    struct error first = { .code = 0 };
    char path[PATH_MAX];
    int r = local_key_load(state_dir, uuid_text, ret, &first);

    if (r != -ENOENT)
        return r < 0 ? error_set(err, r, "%s", first.text) : 0;
    r = state_path(state_dir, "local-keys", path, err);
    if (r == 0)
        r = folder_make(path, 0700, err);
    if (r == 0)
        r = local_key_path(state_dir, uuid_text, path, err);
    if (r < 0)
        return r;
    r = secret_new(&key, LOCAL_KEY_LEN);
    if (r < 0)
        return error_set(err, r, "out of secret memory");
    random_bytes(key.data, key.len);
    r = file_replace(path, secret_bytes(&key), 0600, err);
    if (r == 0)
        secret_move(ret, &key);
    return r;
}

bool local_key_exists(const char *state_dir, const char *uuid_text)
{
    char path[PATH_MAX];

    return local_key_path(state_dir, uuid_text, path, NULL) == 0 && access(path, F_OK) == 0;
}

int local_key_remove(const char *state_dir, const char *uuid_text, struct error *err)
{
    char path[PATH_MAX];
    int r = local_key_path(state_dir, uuid_text, path, err);

    if (r < 0)
        return r;
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set(err, -errno, "cannot remove %s: %s", path, strerrordesc_np(errno));
    return 0;
}

int local_key_shred(const char *state_dir, const char *uuid_text, struct error *err)
{
    char path[PATH_MAX];
    int r = local_key_path(state_dir, uuid_text, path, err);

    return r < 0 ? r : file_shred(path, err);
}
