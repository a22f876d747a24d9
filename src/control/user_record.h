/* user_record.h - somebody who may log in, as the registry keeps him (docs/formats/registry.md),
 * and the roles that there are.
 *
 * Units      times are nanoseconds since 1970.
 * Errors     -EINVAL: not a name, not a role; -EBADMSG: the record is damaged.
 * Threads    any.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/password.h"

#define USER_NAME_MAX 32u
#define USER_RECORD_MAX 256u

/* The numbers are stored. What each may do is in api/routes.h. */
enum user_role {
    USER_READ_ONLY = 1,
    USER_REGULAR = 2,
    USER_KEY_ADMIN = 3,
    USER_CLUSTER_ADMIN = 4,
    USER_ROLE_COUNT, /* one more than the last */
};

struct user_record {
    char name[USER_NAME_MAX + 1];
    enum user_role role;
    int64_t created_ns;
    int64_t password_set_ns;
    struct password_hash password;
};

/* "ClusterAdmin" */
const char *user_role_name(enum user_role role);
/* In any case. */
int user_role_parse(const char *text, enum user_role *ret, struct error *err);

/* Letters, digits, '.', '_', '-', '@'; the first one is a letter or a digit. */
int user_name_check(const char *name, struct error *err);

int user_record_encode(const struct user_record *record, uint8_t ret[static USER_RECORD_MAX],
                       size_t *ret_len, struct error *err);
int user_record_decode(struct bytes encoded, struct user_record *ret, struct error *err);
