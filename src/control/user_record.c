#include "control/user_record.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/wire.h"

#define RECORD_MAGIC 0x53554643u /* "CFUS" */
#define RECORD_VERSION 1u

static const char *const role_names[USER_ROLE_COUNT] = {
    [USER_READ_ONLY] = "ReadOnly",
    [USER_REGULAR] = "Regular",
    [USER_KEY_ADMIN] = "KeyAdmin",
    [USER_CLUSTER_ADMIN] = "ClusterAdmin",
};

const char *user_role_name(enum user_role role)
{
    return role_names[role];
}

int user_role_parse(const char *text, enum user_role *ret, struct error *err)
{
    for (enum user_role role = USER_READ_ONLY; role < USER_ROLE_COUNT; role++) {
        if (strcasecmp(role_names[role], text) == 0) {
            *ret = role;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "a role is ClusterAdmin, KeyAdmin, Regular or ReadOnly");
}

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int user_name_check(const char *name, struct error *err)
{
    size_t len = strlen(name);
    size_t good = 0;

    while (is_letter_or_digit(name[good]) ||
           (good > 0 && name[good] != '\0' && strchr("._-@", name[good])))
        good++;
    if (len == 0 || len > USER_NAME_MAX || good != len)
        return error_set(err, -EINVAL,
                         "a user's name has 1 to %u letters, digits, '.', '_', '-' and '@', and "
                         "begins with a letter or digit",
                         USER_NAME_MAX);
    return 0;
}

int user_record_encode(const struct user_record *record, uint8_t ret[static USER_RECORD_MAX],
                       size_t *ret_len, struct error *err)
{
    struct writer writer = writer_init(ret, USER_RECORD_MAX);

    writer_u32(&writer, RECORD_MAGIC);
    writer_u16(&writer, RECORD_VERSION);
    writer_u8(&writer, (uint8_t)record->role);
    writer_u64(&writer, (uint64_t)record->created_ns);
    writer_u64(&writer, (uint64_t)record->password_set_ns);
    writer_text(&writer, record->name);
    writer_u32(&writer, record->password.memory_kib);
    writer_u32(&writer, record->password.passes);
    writer_bytes(&writer, record->password.salt, PASSWORD_SALT_LEN);
    writer_bytes(&writer, record->password.hash, PASSWORD_HASH_LEN);
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the record of a user cannot be made");
    *ret_len = writer.len;
    return 0;
}

int user_record_decode(struct bytes encoded, struct user_record *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct user_record record = { .role = USER_READ_ONLY };

    if (reader_u32(&reader) != RECORD_MAGIC)
        return error_set(err, -EBADMSG, "it is no record of a user");
    if (reader_u16(&reader) != RECORD_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "it was written by a later version of coffer; use that");
    uint8_t role = reader_u8(&reader);
    record.created_ns = (int64_t)reader_u64(&reader);
    record.password_set_ns = (int64_t)reader_u64(&reader);
    reader_text(&reader, record.name, sizeof(record.name));
    record.password.memory_kib = reader_u32(&reader);
    record.password.passes = reader_u32(&reader);
    reader_copy(&reader, record.password.salt, PASSWORD_SALT_LEN);
    reader_copy(&reader, record.password.hash, PASSWORD_HASH_LEN);
    if (reader_done(&reader) < 0 || role < USER_READ_ONLY || role >= USER_ROLE_COUNT ||
        user_name_check(record.name, NULL) < 0 || !password_cost_is_valid(&record.password))
        return error_set(err, -EBADMSG, "the record of a user is damaged");
    record.role = (enum user_role)role;
    *ret = record;
    return 0;
}
