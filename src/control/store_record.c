#include "control/store_record.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "base/wire.h"
#include "control/fs_record.h"
#include "crypto/random.h"
#include "store/place_mark.h"

#define RECORD_MAGIC 0x524f5343u /* "CSOR" */
#define RECORD_VERSION 3u        /* 1 has no site: local; 1 and 2 have no mark */
#define RECORD_MAX (S3_CA_CERT_MAX + 8192u)
#define SECRET_MAGIC 0x4b4f5343u /* "CSOK" */
#define SECRET_VERSION 1u
#define SECRET_MAX 8192u

enum record_flags {
    FLAG_PLAIN_HTTP = 1 << 0,
};

void store_record_release(struct store_record *record)
{
    s3_settings_release(&record->s3);
    *record = STORE_RECORD_INIT;
}

const char *store_kind_name(enum store_kind kind)
{
    return kind == STORE_KIND_S3 ? "s3" : "dir";
}

const char *store_site_name(enum store_site site)
{
    return site == STORE_SITE_REMOTE ? "remote" : "local";
}

int store_site_parse(const char *text, enum store_site *ret, struct error *err)
{
    for (enum store_site site = STORE_SITE_LOCAL; site <= STORE_SITE_REMOTE; site++) {
        if (strcasecmp(text, store_site_name(site)) != 0)
            continue;
        *ret = site;
        return 0;
    }
    return error_set(err, -EINVAL, "'%.64s' is no site of an object store; give local or remote",
                     text);
}

int store_record_check(const struct store_record *record, struct error *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *name = record->name;

    if (name[0] == '\0' || name[0] == '-' || name[0] == '.' || strspn(name, allowed) < strlen(name))
        return error_set(err, -EINVAL,
                         "an object store's name is made of letters, digits, '.', '_' and '-', and "
                         "begins with a letter or digit");
    if (record->kind == STORE_KIND_S3)
        return s3_settings_check(&record->s3, err);
    if (record->path[0] != '/')
        return error_set(err, -EINVAL, "'%.256s' is no absolute path of a folder", record->path);
    return 0;
}

/* --- the record --- */

static void write_record(struct writer *writer, const struct store_record *record)
{
    const struct s3_settings *s3 = &record->s3;

    writer_u32(writer, RECORD_MAGIC);
    writer_u16(writer, RECORD_VERSION);
    writer_u8(writer, (uint8_t)record->kind);
    writer_u8(writer, s3->is_plain_http ? FLAG_PLAIN_HTTP : 0);
    writer_u8(writer, (uint8_t)record->site);
    writer_u64(writer, (uint64_t)record->created_ns);
    writer_bytes(writer, record->secret_id.bytes, UUID_LEN);
    writer_u64(writer, record->rates.sent);
    writer_u64(writer, record->rates.received);
    writer_u64(writer, record->rates.removals);
    writer_text(writer, record->name);
    writer_text(writer, record->path);
    writer_bytes(writer, record->mark.bytes, UUID_LEN);
    s3_settings_write(writer, s3);
}

int store_record_encode(const struct store_record *record, struct buf *ret, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(RECORD_MAX);

    if (room == NULL)
        return error_set(err, -ENOMEM, "out of memory");
    struct writer writer = writer_init(room, RECORD_MAX);
    write_record(&writer, record);
    if (record->s3.ca_cert_pem.len > S3_CA_CERT_MAX || writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the record of object store %s does not fit", record->name);
    return buf_assign(ret, writer_written(&writer)) < 0 ? error_set(err, -ENOMEM, "out of memory")
                                                        : 0;
}

static int read_record(struct reader *reader, uint16_t version, struct store_record *ret)
{
    uint8_t kind = reader_u8(reader);
    uint8_t flags = reader_u8(reader);
    uint8_t site = version > 1 ? reader_u8(reader) : STORE_SITE_LOCAL;

    ret->kind = (enum store_kind)kind;
    ret->site = (enum store_site)site;
    ret->s3.is_plain_http = flags & FLAG_PLAIN_HTTP;
    ret->created_ns = (int64_t)reader_u64(reader);
    reader_copy(reader, ret->secret_id.bytes, UUID_LEN);
    ret->rates.sent = reader_u64(reader);
    ret->rates.received = reader_u64(reader);
    ret->rates.removals = reader_u64(reader);
    reader_text(reader, ret->name, sizeof(ret->name));
    reader_text(reader, ret->path, sizeof(ret->path));
    if (version > 2)
        reader_copy(reader, ret->mark.bytes, UUID_LEN);
    int r = s3_settings_read(reader, &ret->s3);
    if ((kind != STORE_KIND_DIR && kind != STORE_KIND_S3) || site > STORE_SITE_REMOTE)
        reader_fail(reader);
    return r;
}

int store_record_decode(struct bytes encoded, struct store_record *ret, struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    struct reader reader = reader_init(encoded);

    if (reader_u32(&reader) != RECORD_MAGIC)
        return error_set(err, -EBADMSG, "a record of the registry is not one of an object store");
    uint16_t version = reader_u16(&reader);
    if (version < 1 || version > RECORD_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "a record of the registry was written by a later version of coffer");
    if (read_record(&reader, version, &record) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "a record of an object store is damaged");
    store_record_release(ret);
    *ret = record;
    record = STORE_RECORD_INIT;
    return 0;
}

/* --- the secret --- */

static int secret_path(const char *state_dir, const struct uuid *id, char ret[static PATH_MAX],
                       struct error *err)
{
    char text[UUID_TEXT_SIZE];

    uuid_format(id, text);
    if (snprintf(ret, PATH_MAX, "%s/object-stores/%s", state_dir, text) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "path too long: %s/object-stores", state_dir);
    return 0;
}

int store_secret_save(const char *state_dir, struct store_record *record, struct error *err)
{
    CLEANUP(secret_release) struct secret encoded = SECRET_INIT;
    struct uuid id;
    char path[PATH_MAX];

    random_uuid(&id);
    int r = secret_path(state_dir, &id, path, err);
    if (r < 0)
        return r;
    if (secret_new(&encoded, SECRET_MAX) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    struct writer writer = writer_init(encoded.data, encoded.len);
    writer_u32(&writer, SECRET_MAGIC);
    writer_u16(&writer, SECRET_VERSION);
    writer_string(&writer, secret_bytes(&record->s3.secret_key));
    if (writer_done(&writer) < 0)
        return error_set(err, -EFBIG, "the secret key is too long");
    r = file_replace(path, writer_written(&writer), 0600, err);
    if (r == 0)
        record->secret_id = id;
    return r;
}

int store_secret_load(const char *state_dir, struct store_record *record, struct error *err)
{
    CLEANUP(buf_wipe) struct buf encoded = BUF_INIT;
    char path[PATH_MAX];

    int r = secret_path(state_dir, &record->secret_id, path, err);
    if (r == 0)
        r = file_read(path, SECRET_MAX, &encoded, err);
    if (r < 0)
        return error_prefix(err, r,
                            "the secret key of object store %s is not there; give it again (coffer "
                            "fs tier s3 update %s --secret-key-file ...)",
                            record->name, record->name);
    struct reader reader = reader_init(buf_bytes(&encoded));
    bool is_known = reader_u32(&reader) == SECRET_MAGIC && reader_u16(&reader) == SECRET_VERSION;
    struct bytes key = reader_string(&reader, SECRET_MAX);
    if (!is_known || reader_done(&reader) < 0 || key.len == 0)
        return error_set(err, -EBADMSG, "%s holds no secret key", path);
    return secret_assign(&record->s3.secret_key, key) < 0
               ? error_set(err, -ENOMEM, "out of secret memory")
               : 0;
}

int store_secret_remove(const char *state_dir, const struct uuid *id, struct error *err)
{
    char path[PATH_MAX];

    if (uuid_is_zero(id))
        return 0;
    int r = secret_path(state_dir, id, path, err);
    return r < 0 ? r : file_shred(path, err);
}

static bool is_among(const struct uuid *id, const struct uuid *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (uuid_equal(id, &ids[i]))
            return true;
    return false;
}

static void close_folder(DIR **folder)
{
    if (*folder != NULL)
        (void)closedir(*folder);
}

int store_secrets_tidy(const char *state_dir, const struct uuid *ids, size_t count,
                       struct error *err)
{
    char path[PATH_MAX];
    int r = 0;

    if (snprintf(path, sizeof(path), "%s/object-stores", state_dir) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "path too long: %s", state_dir);
    CLEANUP(close_folder) DIR *folder = opendir(path);
    if (folder == NULL)
        return error_set(err, -errno, "cannot read %s: %s", path, strerrordesc_np(errno));
    for (const struct dirent *entry; r == 0 && (entry = readdir(folder)) != NULL;) {
        struct uuid id;
        if (uuid_parse(entry->d_name, &id) == 0 && !is_among(&id, ids, count))
            r = store_secret_remove(state_dir, &id, err);
    }
    return r;
}

/* --- the store --- */

static int open_plain(const struct store_record *record, struct object_store **ret,
                      struct error *err)
{
    char url[PATH_MAX + 8];

    if (record->kind == STORE_KIND_S3)
        return s3_store_open(&record->s3, ret, err);
    (void)snprintf(url, sizeof(url), "dir:%s", record->path);
    return object_store_open(url, ret, err);
}

int store_record_open(const struct store_record *record, struct object_store **ret,
                      struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;

    int r = open_plain(record, &store, err);
    if (r == 0 && !uuid_is_zero(&record->mark))
        r = place_mark_expect(store, &record->mark, record->path, err);
    if (r == 0)
        r = limit_store_wrap(&record->rates, &store, err);
    if (r == 0)
        *ret = TAKE(store);
    return r;
}
