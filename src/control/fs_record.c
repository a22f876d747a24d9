#include "control/fs_record.h"

#include <errno.h>
#include <string.h>

#include "base/wire.h"

#define RECORD_MAGIC 0x52534643u /* "CFSR" */
/* 1, without shredding, 2, without own keys, 3, without own logins, 4, without a cache, and 5,
 * without downloads, are read too. */
#define RECORD_VERSION 6u

enum record_flags {
    FLAG_OWN_STORE = 1 << 0,
    FLAG_OWN_META = 1 << 1,
    FLAG_WANTED = 1 << 2,
    FLAG_LACKS_KEYS = 1 << 3, /* before there was such, it was left out and passed over */
};

int fs_name_check(const char *name, struct error *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);

    if (len == 0)
        return error_set(err, -EINVAL, "a filesystem needs a name");
    if (len > FS_NAME_MAX)
        return error_set(err, -EINVAL, "the name is %zu characters long; at most %u are allowed",
                         len, FS_NAME_MAX);
    if (strspn(name, allowed) != len)
        return error_set(err, -EINVAL,
                         "a filesystem's name is made of letters, digits, '.', '_' and '-' only");
    if (name[0] == '-' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(err, -EINVAL,
                         "a filesystem's name is not '.' or '..' and does not begin with '-'");
    return 0;
}

static uint8_t record_flags(const struct fs_record *record)
{
    unsigned flags = 0;

    flags |= record->has_own_store ? FLAG_OWN_STORE : 0;
    flags |= record->has_own_meta ? FLAG_OWN_META : 0;
    flags |= record->is_wanted ? FLAG_WANTED : 0;
    flags |= record->lacks_keys ? FLAG_LACKS_KEYS : 0;
    return (uint8_t)flags;
}

static void encode_kms_key(struct writer *writer, const struct fs_kms_key *key)
{
    writer_text(writer, key->key);
    writer_text(writer, key->kms_namespace);
    writer_text(writer, key->role_id);
}

static void encode_origin(struct writer *writer, const struct fs_record *record)
{
    writer_u8(writer, record->has_origin);
    if (!record->has_origin)
        return;
    writer_text(writer, record->origin.store);
    writer_bytes(writer, record->origin.manifest, FS_MANIFEST_LEN);
    writer_bytes(writer, record->origin.fs.bytes, UUID_LEN);
    writer_bytes(writer, record->origin.reference.bytes, UUID_LEN);
}

int fs_record_encode(const struct fs_record *record, uint8_t *ret, size_t *ret_len,
                     struct error *err)
{
    struct writer writer = writer_init(ret, FS_RECORD_MAX);

    writer_u32(&writer, RECORD_MAGIC);
    writer_u16(&writer, RECORD_VERSION);
    writer_u8(&writer, (uint8_t)record->phase);
    writer_u8(&writer, record_flags(record));
    writer_bytes(&writer, record->uuid.bytes, UUID_LEN);
    writer_bytes(&writer, record->owner.bytes, UUID_LEN);
    writer_u64(&writer, record->capacity);
    writer_u64(&writer, record->created_ns);
    writer_text(&writer, record->name);
    writer_text(&writer, record->store_url);
    writer_text(&writer, record->meta_url);
    writer_text(&writer, record->mountpoint);
    writer_u32(&writer, record->mount_flags);
    encode_kms_key(&writer, &record->own);
    writer_u8(&writer, record->has_next);
    if (record->has_next)
        encode_kms_key(&writer, &record->next);
    writer_u64(&writer, record->cache_bytes);
    writer_text(&writer, record->cache_folder);
    encode_origin(&writer, record);
    writer_u32(&writer, record->check_count);
    for (uint32_t i = 0; i < record->check_count; i++) {
        writer_u32(&writer, record->checks[i].generation);
        writer_bytes(&writer, record->checks[i].value, KEY_CHECK_LEN);
    }
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the record of filesystem %s does not fit", record->name);
    *ret_len = writer.len;
    return 0;
}

static void decode_checks(struct reader *reader, struct fs_record *record)
{
    record->check_count = reader_u32(reader);
    if (record->check_count > KEY_GENERATIONS_MAX) {
        record->check_count = 0;
        reader_fail(reader);
    }
    for (uint32_t i = 0; i < record->check_count; i++) {
        record->checks[i].generation = reader_u32(reader);
        reader_copy(reader, record->checks[i].value, KEY_CHECK_LEN);
    }
}

static void decode_kms_key(struct reader *reader, uint16_t version, struct fs_kms_key *ret)
{
    reader_text(reader, ret->key, sizeof(ret->key));
    reader_text(reader, ret->kms_namespace, sizeof(ret->kms_namespace));
    if (version >= 4)
        reader_text(reader, ret->role_id, sizeof(ret->role_id));
}

static void decode_kms_keys(struct reader *reader, uint16_t version, struct fs_record *record)
{
    if (version >= 3)
        decode_kms_key(reader, version, &record->own);
    uint8_t has_next = version >= 4 ? reader_u8(reader) : 0;
    if (has_next > 1)
        reader_fail(reader);
    record->has_next = has_next == 1;
    if (record->has_next)
        decode_kms_key(reader, version, &record->next);
}

/* Before there were caches, a filesystem in a bucket had none; now it gets the usual one. */
static void decode_cache(struct reader *reader, uint16_t version, struct fs_record *record)
{
    bool is_in_bucket = strncmp(record->store_url, "s3:", 3) == 0;

    if (version < 5) {
        record->cache_bytes = is_in_bucket ? FS_CACHE_DEFAULT : 0;
        return;
    }
    record->cache_bytes = reader_u64(reader);
    reader_text(reader, record->cache_folder, sizeof(record->cache_folder));
}

static void decode_origin(struct reader *reader, struct fs_record *record)
{
    uint8_t has_origin = reader_u8(reader);

    if (has_origin > 1)
        reader_fail(reader);
    record->has_origin = has_origin == 1;
    if (!record->has_origin)
        return;
    reader_text(reader, record->origin.store, sizeof(record->origin.store));
    reader_copy(reader, record->origin.manifest, FS_MANIFEST_LEN);
    reader_copy(reader, record->origin.fs.bytes, UUID_LEN);
    reader_copy(reader, record->origin.reference.bytes, UUID_LEN);
}

int fs_record_decode(struct bytes encoded, struct fs_record *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct fs_record record = { .name = "" };

    if (reader_u32(&reader) != RECORD_MAGIC)
        return error_set(err, -EBADMSG, "a record of the registry is not one of a filesystem");
    uint16_t version = reader_u16(&reader);
    if (version == 0 || version > RECORD_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "a record of the registry was written by a later version of coffer");
    uint8_t phase = reader_u8(&reader);
    uint8_t flags = reader_u8(&reader);
    reader_copy(&reader, record.uuid.bytes, UUID_LEN);
    reader_copy(&reader, record.owner.bytes, UUID_LEN);
    record.capacity = reader_u64(&reader);
    record.created_ns = reader_u64(&reader);
    reader_text(&reader, record.name, sizeof(record.name));
    reader_text(&reader, record.store_url, sizeof(record.store_url));
    reader_text(&reader, record.meta_url, sizeof(record.meta_url));
    reader_text(&reader, record.mountpoint, sizeof(record.mountpoint));
    record.mount_flags = reader_u32(&reader);
    decode_kms_keys(&reader, version, &record);
    decode_cache(&reader, version, &record);
    if (version >= 6)
        decode_origin(&reader, &record);
    decode_checks(&reader, &record);
    if (phase < FS_PHASE_CREATING ||
        phase > (version == 1 ? FS_PHASE_REMOVING : FS_PHASE_SHREDDING) ||
        fs_name_check(record.name, NULL) < 0)
        reader_fail(&reader);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "a record of the registry is damaged");

    record.phase = (enum fs_phase)phase;
    record.has_own_store = flags & FLAG_OWN_STORE;
    record.has_own_meta = flags & FLAG_OWN_META;
    record.is_wanted = flags & FLAG_WANTED;
    record.lacks_keys = flags & FLAG_LACKS_KEYS;
    *ret = record;
    return 0;
}
