/* users.h - who may log in: kept in the registry, changed with an entry of the audit log, and
 * guarded against guessing.
 *
 * Guessing: five wrong passwords for a name, each within two minutes after the one before, and it
 * is locked for two minutes, also for the right one. A name that nobody has is treated the same,
 * takes as long, and gets the same answers. One password is computed at a time, and few wait.
 * Who is locked is forgotten when cofferd ends.
 *
 * Units      now_ms is clock_monotonic_ms(), a parameter for tests.
 * Errors     negative errno and a sentence. -ENOENT, -EEXIST: there is no, or already, a user of
 *            that name; -EKEYREJECTED: name or password is wrong; -EUSERS: it is locked; -EAGAIN:
 *            too many log in at once.
 * Ownership  views are copies.
 * Threads    any, but open and close.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "control/audit.h"
#include "control/events.h"
#include "control/registry.h"
#include "control/user_record.h"
#include "crypto/secret.h"

#define USERS_MAX 256u
#define USERS_FAILURES 5u
#define USERS_LOCKED_MS (2 * 60 * 1000)
#define USERS_PASSWORD_MIN 10u
#define USERS_PASSWORD_MAX 256u

struct users;

struct user_view {
    char name[USER_NAME_MAX + 1];
    enum user_role role;
    int64_t created_ns;
    int64_t password_set_ns;
    uint64_t epoch; /* another one after each new password; never that of another user */
};

int users_open(struct registry *registry, struct audit *audit, struct events *events,
               struct users **ret, struct error *err);
void users_close(struct users *users); /* NULL is allowed */

/* What new passwords cost from now on, and names that nobody has; PASSWORD_MEMORY_KIB and
 * PASSWORD_PASSES unless somebody says otherwise, as tests do, before the first login. */
void users_set_cost(struct users *users, uint32_t memory_kib, uint32_t passes);

/* Sorted by name; *ret is the caller's to free. */
int users_list(struct users *users, struct user_view **ret, size_t *ret_count, struct error *err);
int users_get(struct users *users, const char *name, struct user_view *ret, struct error *err);

int users_add(struct users *users, const char *name, enum user_role role,
              const struct secret *password, struct error *err);
int users_remove(struct users *users, const char *name, struct error *err);
int users_set_role(struct users *users, const char *name, enum user_role role, struct error *err);

/* ret: the user as he is then. */
int users_set_password(struct users *users, const char *name, const struct secret *password,
                       struct user_view *ret, struct error *err);

struct user_login {
    const char *name;
    const struct secret *password;
    const char *from; /* the address, for events */
    int64_t now_ms;
};

int users_login(struct users *users, const struct user_login *login, struct user_view *ret,
                struct error *err);
