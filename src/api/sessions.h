/* sessions.h - who is logged in over HTTPS, in memory only: they end with cofferd.
 *
 * A session is known by a token of 256 random bits, of which only a hash is kept here. It ends
 * SESSION_IDLE_MS after its last request, SESSION_LIFE_MS after its begin, with a logout, with
 * another password of its user, or with its user. Of one user there are at most
 * SESSIONS_OF_USER_MAX; one more ends the one that was idle longest.
 *
 * Units      times are clock_monotonic_ms().
 * Errors     -ENOENT: there is no such session, or none any more.
 * Threads    any, but new and free.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control/user_record.h"

#define SESSIONS_MAX 256u
#define SESSIONS_OF_USER_MAX 16u
#define SESSION_IDLE_MS (30LL * 60 * 1000)
#define SESSION_LIFE_MS (12LL * 3600 * 1000)
#define SESSION_TOKEN_LEN 32u
#define SESSION_TOKEN_SIZE (2 * SESSION_TOKEN_LEN + 1)

struct sessions;

struct session {
    char user[USER_NAME_MAX + 1];
    uint64_t epoch; /* of users.h: the session is over when the user's is another one */
    bool is_bearer; /* its token comes in a header that no page of another site can make sent */
};

int sessions_new(struct sessions **ret, struct error *err);
void sessions_free(struct sessions *sessions); /* NULL is allowed */

int sessions_begin(struct sessions *sessions, const struct session *session, int64_t now_ms,
                   char ret_token[static SESSION_TOKEN_SIZE], struct error *err);
/* Also puts off its end by idleness. */
int sessions_find(struct sessions *sessions, const char *token, int64_t now_ms,
                  struct session *ret);
void sessions_end(struct sessions *sessions, const char *token);
/* It goes on although its user has another epoch now. */
void sessions_go_on(struct sessions *sessions, const char *token, uint64_t epoch);

/* What a page sends along with each change, to show that it is ours and not of another site: it
 * follows from the token, which other sites can have sent but not read. -EINVAL: no token. */
int session_csrf(const char *token, char ret[static SESSION_TOKEN_SIZE]);
