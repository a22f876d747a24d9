#include "api/sessions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/encoding.h"
#include "base/thread.h"
#include "crypto/hash.h"
#include "crypto/random.h"

#define CSRF_LABEL "coffer csrf"

struct slot {
    bool is_used;
    uint8_t id[HASH_LEN]; /* SHA-256 of the token */
    struct session session;
    int64_t began_ms;
    int64_t seen_ms;
};

struct sessions {
    struct mutex lock; /* guards slots */
    struct slot slots[SESSIONS_MAX];
};

int sessions_new(struct sessions **ret, struct error *err)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions));

    if (!sessions)
        return error_set(err, -ENOMEM, "out of memory for sessions");
    sessions->lock = MUTEX_INIT;
    *ret = sessions;
    return 0;
}

void sessions_free(struct sessions *sessions)
{
    free(sessions);
}

static int hash_token(const char *label, const char *token, uint8_t ret[static HASH_LEN])
{
    uint8_t bytes[SESSION_TOKEN_LEN];
    const struct bytes pieces[] = {
        { .data = (const uint8_t *)label, .len = strlen(label) },
        { .data = bytes, .len = sizeof(bytes) },
    };
    int r = hex_decode(token, bytes, sizeof(bytes));

    if (r == 0)
        r = hash_sha256(pieces, 2, ret);
    memory_wipe(bytes, sizeof(bytes));
    return r;
}

int session_csrf(const char *token, char ret[static SESSION_TOKEN_SIZE])
{
    uint8_t hash[HASH_LEN];
    int r = hash_token(CSRF_LABEL, token, hash);

    if (r == 0)
        hex_encode((struct bytes){ .data = hash, .len = sizeof(hash) }, ret);
    return r;
}

static bool is_over(const struct slot *slot, int64_t now_ms)
{
    return now_ms - slot->seen_ms >= SESSION_IDLE_MS || now_ms - slot->began_ms >= SESSION_LIFE_MS;
}

/* The one that was seen before the other; a free one before all. */
static struct slot *older(struct slot *a, struct slot *b)
{
    return !a || b->seen_ms < a->seen_ms ? b : a;
}

/* Where a session of this user goes: a free place, or that of the one idle longest, of his own if
 * he has as many as he may. */
static struct slot *choose_locked(struct sessions *sessions, const char *user, int64_t now_ms)
    REQUIRES(sessions->lock)
{
    struct slot *vacant = NULL;
    struct slot *own = NULL;
    struct slot *any = NULL;
    size_t count = 0;

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct slot *slot = &sessions->slots[i];
        if (slot->is_used && is_over(slot, now_ms))
            *slot = (struct slot){ .is_used = false };
        if (!slot->is_used) {
            vacant = slot;
            continue;
        }
        any = older(any, slot);
        if (strcmp(slot->session.user, user) == 0) {
            own = older(own, slot);
            count++;
        }
    }
    if (count >= SESSIONS_OF_USER_MAX)
        return own;
    return vacant ? vacant : any;
}

int sessions_begin(struct sessions *sessions, const struct session *session, int64_t now_ms,
                   char ret_token[static SESSION_TOKEN_SIZE], struct error *err)
{
    uint8_t bytes[SESSION_TOKEN_LEN];
    uint8_t id[HASH_LEN];

    random_bytes(bytes, sizeof(bytes));
    hex_encode((struct bytes){ .data = bytes, .len = sizeof(bytes) }, ret_token);
    memory_wipe(bytes, sizeof(bytes));
    if (hash_token("", ret_token, id) < 0)
        return error_set(err, -ENOMEM, "out of memory for a session");
    mutex_lock(&sessions->lock);
    struct slot *slot = choose_locked(sessions, session->user, now_ms);
    *slot = (struct slot){
        .is_used = true, .session = *session, .began_ms = now_ms, .seen_ms = now_ms
    };
    memcpy(slot->id, id, sizeof(id));
    mutex_unlock(&sessions->lock);
    return 0;
}

static struct slot *find_locked(struct sessions *sessions, const uint8_t id[static HASH_LEN])
    REQUIRES(sessions->lock)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct slot *slot = &sessions->slots[i];
        if (slot->is_used && memcmp(slot->id, id, HASH_LEN) == 0)
            return slot;
    }
    return NULL;
}

int sessions_find(struct sessions *sessions, const char *token, int64_t now_ms, struct session *ret)
{
    uint8_t id[HASH_LEN];

    if (hash_token("", token, id) < 0)
        return -ENOENT;
    mutex_lock(&sessions->lock);
    struct slot *slot = find_locked(sessions, id);
    if (slot && is_over(slot, now_ms)) {
        *slot = (struct slot){ .is_used = false };
        slot = NULL;
    }
    if (slot) {
        slot->seen_ms = now_ms;
        *ret = slot->session;
    }
    mutex_unlock(&sessions->lock);
    return slot ? 0 : -ENOENT;
}

void sessions_end(struct sessions *sessions, const char *token)
{
    uint8_t id[HASH_LEN];

    if (hash_token("", token, id) < 0)
        return;
    mutex_lock(&sessions->lock);
    struct slot *slot = find_locked(sessions, id);
    if (slot)
        *slot = (struct slot){ .is_used = false };
    mutex_unlock(&sessions->lock);
}

void sessions_go_on(struct sessions *sessions, const char *token, uint64_t epoch)
{
    uint8_t id[HASH_LEN];

    if (hash_token("", token, id) < 0)
        return;
    mutex_lock(&sessions->lock);
    struct slot *slot = find_locked(sessions, id);
    if (slot)
        slot->session.epoch = epoch;
    mutex_unlock(&sessions->lock);
}
