/* users.c - locks: changing (one change at a time, with the registry and the audit log) may be held
 * when lock is taken; hashing is taken alone.
 */
#include "control/users.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/random.h"

#define PREFIX "user/"
#define NAME_SIZE (sizeof(PREFIX) + USER_NAME_MAX)
#define STRANGERS 256u
#define WAITING_MAX 8u
#define SALT_LEN 16u

struct attempts {
    unsigned failures;
    int64_t last_ms;
};

struct user {
    struct user_record record;
    uint64_t epoch;
    struct attempts attempts;
};

struct users {
    struct registry *registry;
    struct audit *audit;
    struct events *events;
    uint8_t stranger_salt[SALT_LEN];
    struct password_hash
        decoy; /* what is computed for a name that nobody has; its cost is that of all */
    struct mutex changing;
    struct mutex hashing;
    struct mutex lock;            /* guards all below */
    struct user items[USERS_MAX]; /* sorted by name */
    size_t count;
    uint64_t epoch;                       /* the last one given */
    struct attempts strangers[STRANGERS]; /* by a hash of the name */
    unsigned waiting;                     /* for a password to be computed, or computing */
};

/* ------------------------------------------------------------------ the list */

static struct user *find_locked(struct users *users, const char *name) REQUIRES(users->lock)
{
    for (size_t i = 0; i < users->count; i++)
        if (strcmp(users->items[i].record.name, name) == 0)
            return &users->items[i];
    return NULL;
}

static void view_of(const struct user *user, struct user_view *ret)
{
    *ret = (struct user_view){ .role = user->record.role,
                               .created_ns = user->record.created_ns,
                               .password_set_ns = user->record.password_set_ns,
                               .epoch = user->epoch };
    memcpy(ret->name, user->record.name, sizeof(ret->name));
}

/* There is room, and nobody of that name. */
static void insert_locked(struct users *users, const struct user_record *record)
    REQUIRES(users->lock)
{
    size_t at = users->count;

    while (at > 0 && strcmp(users->items[at - 1].record.name, record->name) > 0)
        at--;
    memmove(&users->items[at + 1], &users->items[at], (users->count - at) * sizeof(struct user));
    users->items[at] = (struct user){ .record = *record, .epoch = ++users->epoch };
    users->count++;
}

static int no_such_user(const char *name, struct error *err)
{
    return error_set(err, -ENOENT, "there is no user '%s'; 'coffer user' lists them", name);
}

int users_get(struct users *users, const char *name, struct user_view *ret, struct error *err)
{
    mutex_lock(&users->lock);
    const struct user *user = find_locked(users, name);
    if (user)
        view_of(user, ret);
    mutex_unlock(&users->lock);
    return user ? 0 : no_such_user(name, err);
}

int users_list(struct users *users, struct user_view **ret, size_t *ret_count, struct error *err)
{
    struct user_view *list = calloc(USERS_MAX, sizeof(*list));

    if (!list)
        return error_set(err, -ENOMEM, "out of memory for the users");
    mutex_lock(&users->lock);
    for (size_t i = 0; i < users->count; i++)
        view_of(&users->items[i], &list[i]);
    *ret_count = users->count;
    mutex_unlock(&users->lock);
    *ret = list;
    return 0;
}

/* ------------------------------------------------------------------ opening */

static int load_one(struct bytes value, void *arg)
{
    struct users *users = arg;
    struct user_record record;
    struct error err = { .code = 0 };

    if (user_record_decode(value, &record, &err) < 0) {
        log_error("a user of the registry is passed over: %s", err.text);
        return 0;
    }
    mutex_lock(&users->lock);
    if (users->count < USERS_MAX && !find_locked(users, record.name))
        insert_locked(users, &record);
    mutex_unlock(&users->lock);
    return 0;
}

int users_open(struct registry *registry, struct audit *audit, struct events *events,
               struct users **ret, struct error *err)
{
    struct users *users = calloc(1, sizeof(*users));

    if (!users)
        return error_set(err, -ENOMEM, "out of memory for the users");
    users->registry = registry;
    users->audit = audit;
    users->events = events;
    users->changing = MUTEX_INIT;
    users->hashing = MUTEX_INIT;
    users->lock = MUTEX_INIT;
    random_bytes(users->stranger_salt, sizeof(users->stranger_salt));
    users->decoy =
        (struct password_hash){ .memory_kib = PASSWORD_MEMORY_KIB, .passes = PASSWORD_PASSES };
    random_bytes(users->decoy.hash, sizeof(users->decoy.hash));
    int r = registry_each_value(registry, PREFIX, load_one, users, err);
    if (r < 0) {
        users_close(users);
        return error_prefix(err, r, "cannot read the users");
    }
    *ret = users;
    return 0;
}

void users_set_cost(struct users *users, uint32_t memory_kib, uint32_t passes)
{
    users->decoy.memory_kib = memory_kib;
    users->decoy.passes = passes;
}

void users_close(struct users *users)
{
    free(users);
}

/* ------------------------------------------------------------------ changing */

static int note(struct users *users, enum audit_operation operation, const struct user_record *who,
                int result, struct error *err)
{
    char text[96];
    struct audit_note entry = { .operation = operation, .result = result, .text = text };

    (void)snprintf(text, sizeof(text), "user %s, %s", who->name, user_role_name(who->role));
    return audit_add(users->audit, &entry, 1, err);
}

/* Noted first, then stored; record NULL removes. What is in memory is the caller's to change. */
static int store(struct users *users, enum audit_operation operation,
                 const struct user_record *record, bool is_removal, struct error *err)
{
    char name[NAME_SIZE];
    uint8_t encoded[USER_RECORD_MAX];
    struct bytes value = { .data = encoded, .len = 0 };
    int r = is_removal ? 0 : user_record_encode(record, encoded, &value.len, err);

    if (r == 0)
        r = note(users, operation, record, 0, err);
    if (r < 0)
        return r;
    (void)snprintf(name, sizeof(name), PREFIX "%s", record->name);
    r = registry_put_value(users->registry, name, value, err);
    memory_wipe(encoded, sizeof(encoded));
    if (r < 0) {
        (void)note(users, operation, record, r, NULL); /* r is what counts */
        return error_prefix(err, r, "user %s is not changed", record->name);
    }
    return 0;
}

static int check_password(const char *name, const struct secret *password, struct error *err)
{
    bool is_name = password->len == strlen(name) &&
                   strncasecmp((const char *)password->data, name, password->len) == 0;

    if (password->len < USERS_PASSWORD_MIN || password->len > USERS_PASSWORD_MAX)
        return error_set(err, -EINVAL, "a password has %u to %u characters; choose another one",
                         USERS_PASSWORD_MIN, USERS_PASSWORD_MAX);
    if (is_name)
        return error_set(err, -EINVAL, "the password is the user's name; choose another one");
    return 0;
}

static int hash_new(struct users *users, const struct secret *password, struct password_hash *ret,
                    struct error *err)
{
    *ret = (struct password_hash){ .memory_kib = users->decoy.memory_kib,
                                   .passes = users->decoy.passes };
    mutex_lock(&users->hashing);
    int r = password_hash(secret_bytes(password), ret);
    mutex_unlock(&users->hashing);
    return r < 0 ? error_set(err, r,
                             "not enough memory to compute the hash of a password; it "
                             "takes %u MiB",
                             ret->memory_kib / 1024)
                 : 0;
}

/* Whether one may be added. */
static int check_new(struct users *users, const char *name, struct error *err)
{
    mutex_lock(&users->lock);
    bool is_there = find_locked(users, name);
    size_t count = users->count;
    mutex_unlock(&users->lock);
    if (is_there)
        return error_set(err, -EEXIST, "there is a user '%s' already", name);
    if (count == USERS_MAX)
        return error_set(err, -ENOSPC, "there are %u users, and more there cannot be; remove one",
                         USERS_MAX);
    return 0;
}

static int add_changing(struct users *users, const struct user_record *record, struct error *err)
    REQUIRES(users->changing)
{
    int r = check_new(users, record->name, err);

    if (r == 0)
        r = store(users, AUDIT_USER_ADD, record, false, err);
    if (r < 0)
        return r;
    mutex_lock(&users->lock);
    insert_locked(users, record);
    mutex_unlock(&users->lock);
    return 0;
}

int users_add(struct users *users, const char *name, enum user_role role,
              const struct secret *password, struct error *err)
{
    struct user_record record = { .role = role, .created_ns = clock_wall_ns() };
    int r = user_name_check(name, err);

    if (r == 0)
        r = check_password(name, password, err);
    if (r == 0)
        r = check_new(users, name, err); /* before the effort */
    if (r == 0)
        r = hash_new(users, password, &record.password, err);
    if (r < 0)
        return r;
    record.password_set_ns = record.created_ns;
    memcpy(record.name, name, strlen(name) + 1);
    mutex_lock(&users->changing);
    r = add_changing(users, &record, err);
    mutex_unlock(&users->changing);
    memory_wipe(&record, sizeof(record));
    return r;
}

/* A copy, to be changed and stored. */
static int get_record(struct users *users, const char *name, struct user_record *ret,
                      struct error *err)
{
    mutex_lock(&users->lock);
    const struct user *user = find_locked(users, name);
    if (user)
        *ret = user->record;
    mutex_unlock(&users->lock);
    return user ? 0 : no_such_user(name, err);
}

/* Puts it in the place of the one of that name, which is there: nobody else changes meanwhile. */
static void replace(struct users *users, const struct user_record *record, bool is_new_password,
                    struct user_view *ret)
{
    mutex_lock(&users->lock);
    struct user *user = find_locked(users, record->name);
    assert(user);
    user->record = *record;
    if (is_new_password) {
        user->epoch = ++users->epoch;
        user->attempts = (struct attempts){ .failures = 0 };
    }
    view_of(user, ret);
    mutex_unlock(&users->lock);
}

static void forget(struct users *users, const char *name)
{
    mutex_lock(&users->lock);
    struct user *user = find_locked(users, name);
    assert(user);
    size_t behind = (size_t)(&users->items[users->count] - (user + 1));
    memmove(user, user + 1, behind * sizeof(*user));
    users->count--;
    memory_wipe(&users->items[users->count], sizeof(*user));
    mutex_unlock(&users->lock);
}

static int remove_changing(struct users *users, const char *name, struct error *err)
    REQUIRES(users->changing)
{
    struct user_record record;
    int r = get_record(users, name, &record, err);

    if (r == 0)
        r = store(users, AUDIT_USER_REMOVE, &record, true, err);
    if (r == 0)
        forget(users, name);
    return r;
}

int users_remove(struct users *users, const char *name, struct error *err)
{
    mutex_lock(&users->changing);
    int r = remove_changing(users, name, err);
    mutex_unlock(&users->changing);
    return r;
}

static int role_changing(struct users *users, const char *name, enum user_role role,
                         struct error *err) REQUIRES(users->changing)
{
    struct user_record record;
    struct user_view view;
    int r = get_record(users, name, &record, err);

    if (r < 0 || record.role == role)
        return r;
    record.role = role;
    r = store(users, AUDIT_USER_ROLE, &record, false, err);
    if (r == 0)
        replace(users, &record, false, &view);
    return r;
}

int users_set_role(struct users *users, const char *name, enum user_role role, struct error *err)
{
    mutex_lock(&users->changing);
    int r = role_changing(users, name, role, err);
    mutex_unlock(&users->changing);
    return r;
}

static int password_changing(struct users *users, const char *name,
                             const struct password_hash *hash, struct user_view *ret,
                             struct error *err) REQUIRES(users->changing)
{
    struct user_record record;
    int r = get_record(users, name, &record, err);

    if (r < 0)
        return r;
    record.password = *hash;
    record.password_set_ns = clock_wall_ns();
    r = store(users, AUDIT_USER_PASSWORD, &record, false, err);
    if (r == 0)
        replace(users, &record, true, ret);
    return r;
}

int users_set_password(struct users *users, const char *name, const struct secret *password,
                       struct user_view *ret, struct error *err)
{
    struct user_view view;
    struct password_hash hash;
    int r = users_get(users, name, &view, err);

    if (r == 0)
        r = check_password(name, password, err);
    if (r == 0)
        r = hash_new(users, password, &hash, err);
    if (r < 0)
        return r;
    mutex_lock(&users->changing);
    r = password_changing(users, name, &hash, &view, err);
    mutex_unlock(&users->changing);
    if (r == 0)
        *ret = view;
    return r;
}

/* ------------------------------------------------------------------ logging in */

/* An attempt under way. */
struct attempt {
    struct password_hash hash; /* to be compared with */
    size_t stranger;           /* of strangers, if nobody has the name */
    bool is_known;
    uint64_t epoch;
    unsigned failures; /* with this one, which counts as failed until it succeeds */
};

static int stranger_slot(const struct users *users, const char *name, size_t *ret)
{
    const struct bytes pieces[] = {
        { .data = users->stranger_salt, .len = SALT_LEN },
        { .data = (const uint8_t *)name, .len = strlen(name) },
    };
    uint8_t hash[HASH_LEN];
    int r = hash_sha256(pieces, 2, hash);

    if (r == 0)
        *ret = hash[0] % STRANGERS;
    return r;
}

/* Counts one more; false: it is locked, and nothing is counted. */
static bool count_attempt(struct attempts *attempts, int64_t now_ms)
{
    bool is_old = now_ms - attempts->last_ms >= USERS_LOCKED_MS;

    if (is_old)
        attempts->failures = 0;
    if (attempts->failures >= USERS_FAILURES)
        return false;
    attempts->failures++;
    attempts->last_ms = now_ms;
    return true;
}

static int begin_locked(struct users *users, const struct user_login *login,
                        struct attempt *attempt, struct error *err) REQUIRES(users->lock)
{
    struct user *user = find_locked(users, login->name);
    struct attempts *attempts = user ? &user->attempts : &users->strangers[attempt->stranger];

    if (users->waiting >= WAITING_MAX)
        return error_set(err, -EAGAIN, "too many log in at once; try again in a moment");
    if (!count_attempt(attempts, login->now_ms))
        return error_set(err, -EUSERS,
                         "too many wrong passwords for this name; wait two minutes, or have an "
                         "administrator give a new one on the host (coffer user passwd)");
    attempt->is_known = user;
    attempt->hash = user ? user->record.password : users->decoy;
    attempt->epoch = user ? user->epoch : 0;
    attempt->failures = attempts->failures;
    users->waiting++;
    return 0;
}

/* The user must be the one whose password it was. */
static int succeed_locked(struct users *users, const struct user_login *login,
                          const struct attempt *attempt, struct user_view *ret)
    REQUIRES(users->lock)
{
    struct user *user = find_locked(users, login->name);

    if (!attempt->is_known || !user || user->epoch != attempt->epoch)
        return -EKEYREJECTED;
    user->attempts = (struct attempts){ .failures = 0 };
    view_of(user, ret);
    return 0;
}

/* A name that nobody has is not told: it may be a password in the wrong field. */
static void tell_failure(struct users *users, const struct user_login *login,
                         const struct attempt *attempt)
{
    if (attempt->failures < USERS_FAILURES)
        return;
    if (attempt->is_known)
        events_add(users->events, LOG_LEVEL_WARNING, "user-locked", "",
                   "%u wrong passwords for user %s, the last from %s: locked for two minutes",
                   USERS_FAILURES, login->name, login->from);
    else
        events_add(users->events, LOG_LEVEL_WARNING, "user-locked", "",
                   "%u logins as nobody whom there is, the last from %s", USERS_FAILURES,
                   login->from);
}

int users_login(struct users *users, const struct user_login *login, struct user_view *ret,
                struct error *err)
{
    struct attempt attempt = { .is_known = false };
    int r = stranger_slot(users, login->name, &attempt.stranger);

    if (r < 0)
        return error_set(err, r, "out of memory");
    mutex_lock(&users->lock);
    r = begin_locked(users, login, &attempt, err);
    mutex_unlock(&users->lock);
    if (r < 0)
        return r;

    mutex_lock(&users->hashing);
    r = password_verify(secret_bytes(login->password), &attempt.hash);
    mutex_unlock(&users->hashing);
    memory_wipe(&attempt.hash, sizeof(attempt.hash));

    mutex_lock(&users->lock);
    users->waiting--;
    if (r == 0)
        r = succeed_locked(users, login, &attempt, ret);
    mutex_unlock(&users->lock);
    if (r == -EKEYREJECTED) {
        tell_failure(users, login, &attempt);
        return error_set(err, r, "the name or the password is wrong");
    }
    if (r < 0)
        return error_set(err, r, "the password cannot be checked: %s", strerrordesc_np(-r));
    events_add(users->events, LOG_LEVEL_INFO, "login", "", "user %s logged in from %s", ret->name,
               login->from);
    return 0;
}
