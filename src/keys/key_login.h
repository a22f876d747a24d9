/* key_login.h - what is logged in to a key server with one configuration: shared by all providers
 * of that configuration, so that the server sees one login, not one for each operation.
 *
 * It is part of the configuration (key_provider_config.login): a copy of the configuration shares
 * it, and whoever changes anything in a copy that has to do with logging in drops it there. The
 * last reference that is dropped logs out, as far as the server can be reached within 3 seconds.
 *
 * Units      milliseconds of clock_monotonic_ms(), where nothing else is said.
 * Ownership  counted references.
 * Threads    any.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What is known of the token that is in use. */
struct key_login_status {
    bool is_known;          /* the server told how long it lives */
    bool has_end;           /* else it lives for ever */
    bool is_kept;           /* renewed, or replaced, in time and by itself */
    int64_t ends_ms;        /* if it has an end */
    int64_t life_ms;        /* from its making or its renewal to its end */
    int64_t due_ms;         /* when the login has something to do again; INT64_MAX: never */
    int64_t secret_until_s; /* what logs in ends then, since 1970; 0: not known, or never */
    int64_t secret_life_s;  /* as it was made; 0: not known */
    char obstacle[256]; /* why it is not kept, or why the last try to do so failed; "" if none */
};

struct key_login;

struct key_login_ops {
    void (*status)(struct key_login *login, struct key_login_status *ret);
    void (*end)(struct key_login *login); /* logs out and frees */
};

/* A login embeds this as its first member. */
struct key_login {
    const struct key_login_ops *ops;
    atomic_uint references;
};

/* NULL is allowed for both. */
struct key_login *key_login_ref(struct key_login *login);
void key_login_unref(struct key_login *login);

/* Of NULL: nothing is known, nothing is due. */
void key_login_status(struct key_login *login, struct key_login_status *ret);
