#include "net/sigv4.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "base/thread.h"

#define DAY_LEN 8u /* "20130524" */
#define ALGORITHM "AWS4-HMAC-SHA256"
#define NAME_SIZE 129u
#define SCOPE_SIZE (DAY_LEN + 2 * NAME_SIZE + 16u)
/* Four of each header in the canonical request, two of each in the list of what is signed. */
#define PIECES_MAX (6u * SIGV4_HEADERS_MAX + 16u)

struct sigv4_signer {
    char access_key_id[NAME_SIZE];
    char region[NAME_SIZE];
    char service[NAME_SIZE];
    struct secret first_key; /* "AWS4" and the secret key */

    struct mutex lock;     /* guards the key of the day */
    char day[DAY_LEN + 1]; /* "": none yet */
    struct hmac *day_key;
};

struct pieces {
    struct bytes at[PIECES_MAX];
    size_t count;
};

static void add(struct pieces *pieces, const char *text)
{
    assert(pieces->count < PIECES_MAX);
    pieces->at[pieces->count++] =
        (struct bytes){ .data = (const uint8_t *)text, .len = strlen(text) };
}

static int keep_name(const char *what, const char *value, char ret[static NAME_SIZE],
                     struct error *err)
{
    if (strlen(value) >= NAME_SIZE || value[0] == '\0')
        return error_set(err, -EINVAL, "the %s must have 1 to %u characters", what, NAME_SIZE - 1);
    memcpy(ret, value, strlen(value) + 1);
    return 0;
}

static int keep_key(struct sigv4_signer *signer, const struct secret *secret_key, struct error *err)
{
    int r = secret_new(&signer->first_key, secret_key->len + 4);

    if (r < 0)
        return error_set(err, r, "out of secret memory");
    memcpy(signer->first_key.data, "AWS4", 4);
    if (secret_key->len > 0)
        memcpy(signer->first_key.data + 4, secret_key->data, secret_key->len);
    return 0;
}

int sigv4_signer_new(const char *access_key_id, const struct secret *secret_key, const char *region,
                     const char *service, struct sigv4_signer **ret, struct error *err)
{
    CLEANUP(sigv4_signer_freep) struct sigv4_signer *signer = calloc(1, sizeof(*signer));

    if (!signer)
        return error_set(err, -ENOMEM, "not enough memory to sign requests");
    signer->lock = MUTEX_INIT;
    int r = keep_name("access key id", access_key_id, signer->access_key_id, err);
    if (r == 0)
        r = keep_name("region", region, signer->region, err);
    if (r == 0)
        r = keep_name("service", service, signer->service, err);
    if (r == 0)
        r = keep_key(signer, secret_key, err);
    if (r == 0)
        *ret = TAKE(signer);
    return r;
}

void sigv4_signer_free(struct sigv4_signer *signer)
{
    if (!signer)
        return;
    hmac_free(signer->day_key);
    secret_release(&signer->first_key);
    free(signer);
}

/* HMAC(key, text) takes the place of key. */
static int derive(struct secret *key, const char *text)
{
    CLEANUP(hmac_freep) struct hmac *hmac = NULL;
    CLEANUP(secret_release) struct secret next = SECRET_INIT;
    const struct bytes piece = { .data = (const uint8_t *)text, .len = strlen(text) };

    int r = hmac_new(key, &hmac);
    if (r == 0)
        r = secret_new(&next, HASH_LEN);
    if (r == 0)
        r = hmac_sha256(hmac, &piece, 1, next.data);
    if (r == 0)
        secret_move(key, &next);
    return r;
}

static int renew_day_key(struct sigv4_signer *signer, const char *day) REQUIRES(signer->lock)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    struct hmac *day_key = NULL;
    const char *const steps[] = { day, signer->region, signer->service, "aws4_request" };

    if (strcmp(signer->day, day) == 0)
        return 0;
    int r = secret_assign(&key, secret_bytes(&signer->first_key));
    for (size_t i = 0; r == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
        r = derive(&key, steps[i]);
    if (r == 0)
        r = hmac_new(&key, &day_key);
    if (r < 0)
        return r;
    hmac_free(signer->day_key);
    signer->day_key = day_key;
    memcpy(signer->day, day, DAY_LEN + 1);
    return 0;
}

static int sign_text(struct sigv4_signer *signer, const char *day, struct pieces *text,
                     uint8_t ret[static HASH_LEN])
{
    mutex_lock(&signer->lock);
    int r = renew_day_key(signer, day);
    if (r == 0)
        r = hmac_sha256(signer->day_key, text->at, text->count, ret);
    mutex_unlock(&signer->lock);
    return r;
}

static void add_signed_names(struct pieces *pieces, const struct sigv4_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (i > 0)
            add(pieces, ";");
        add(pieces, request->headers[i].name);
    }
}

static int hash_canonical(const struct sigv4_request *request, char ret[static SIGV4_HASH_SIZE])
{
    struct pieces pieces = { .count = 0 };
    uint8_t hash[HASH_LEN];

    add(&pieces, request->method);
    add(&pieces, "\n");
    add(&pieces, request->path);
    add(&pieces, "\n");
    add(&pieces, request->query);
    add(&pieces, "\n");
    for (size_t i = 0; i < request->header_count; i++) {
        add(&pieces, request->headers[i].name);
        add(&pieces, ":");
        add(&pieces, request->headers[i].value);
        add(&pieces, "\n");
    }
    add(&pieces, "\n");
    add_signed_names(&pieces, request);
    add(&pieces, "\n");
    add(&pieces, request->payload_hash);
    int r = hash_sha256(pieces.at, pieces.count, hash);
    if (r == 0)
        hex_encode((struct bytes){ hash, HASH_LEN }, ret);
    return r;
}

static bool can_be_signed(const struct sigv4_request *request, const char *date)
{
    if (request->header_count > SIGV4_HEADERS_MAX || strlen(date) != SIGV4_DATE_SIZE - 1)
        return false;
    for (size_t i = 0; i < request->header_count; i++)
        if (!request->headers[i].value ||
            (i > 0 && strcmp(request->headers[i - 1].name, request->headers[i].name) >= 0))
            return false;
    return true;
}

static void join(const struct pieces *pieces, char *ret, size_t size, size_t *len)
{
    for (size_t i = 0; i < pieces->count; i++) {
        int added = snprintf(ret + *len, size - *len, "%.*s", (int)pieces->at[i].len,
                             (const char *)pieces->at[i].data);
        *len += (size_t)added < size - *len ? (size_t)added : size - *len - 1;
    }
}

static void write_authorization(const struct sigv4_signer *signer,
                                const struct sigv4_request *request, const char *scope,
                                const uint8_t signature[static HASH_LEN],
                                char ret[static SIGV4_AUTHORIZATION_SIZE])
{
    struct pieces pieces = { .count = 0 };
    char hex[SIGV4_HASH_SIZE];
    size_t len = 0;

    hex_encode((struct bytes){ signature, HASH_LEN }, hex);
    add(&pieces, ALGORITHM " Credential=");
    add(&pieces, signer->access_key_id);
    add(&pieces, "/");
    add(&pieces, scope);
    add(&pieces, ", SignedHeaders=");
    add_signed_names(&pieces, request);
    add(&pieces, ", Signature=");
    add(&pieces, hex);
    join(&pieces, ret, SIGV4_AUTHORIZATION_SIZE, &len);
}

int sigv4_sign(struct sigv4_signer *signer, const struct sigv4_request *request, const char *date,
               char ret[static SIGV4_AUTHORIZATION_SIZE], struct error *err)
{
    char hash[SIGV4_HASH_SIZE], day[DAY_LEN + 1], scope[SCOPE_SIZE];
    uint8_t signature[HASH_LEN];
    struct pieces text = { .count = 0 };

    if (!can_be_signed(request, date))
        return error_set(err, -EINVAL, "this request cannot be signed");
    (void)snprintf(day, sizeof(day), "%.*s", (int)DAY_LEN, date);
    (void)snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", day, signer->region,
                   signer->service);
    int r = hash_canonical(request, hash);
    add(&text, ALGORITHM "\n");
    add(&text, date);
    add(&text, "\n");
    add(&text, scope);
    add(&text, "\n");
    add(&text, hash);
    if (r == 0)
        r = sign_text(signer, day, &text, signature);
    if (r < 0)
        return error_set(err, r, "not enough memory to sign a request");
    write_authorization(signer, request, scope, signature, ret);
    return 0;
}

void sigv4_date(int64_t time_s, char ret[static SIGV4_DATE_SIZE])
{
    time_t time = (time_t)time_s;
    struct tm utc = { .tm_mday = 1 };

    (void)gmtime_r(&time, &utc);
    (void)strftime(ret, SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &utc);
}

int sigv4_payload_hash(struct bytes body, char ret[static SIGV4_HASH_SIZE])
{
    uint8_t hash[HASH_LEN];

    int r = hash_sha256(&body, 1, hash);
    if (r == 0)
        hex_encode((struct bytes){ hash, HASH_LEN }, ret);
    return r;
}

static bool is_plain(char c, bool keeps_slashes)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c)) || (c == '/' && keeps_slashes);
}

bool sigv4_encode(const char *text, bool keeps_slashes, char *ret, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;

    for (; *text; text++) {
        bool plain = is_plain(*text, keeps_slashes);
        if (len + (plain ? 1 : 3) >= size)
            return false;
        if (plain) {
            ret[len++] = *text;
            continue;
        }
        ret[len++] = '%';
        ret[len++] = digits[(uint8_t)*text >> 4];
        ret[len++] = digits[(uint8_t)*text & 15];
    }
    if (len >= size)
        return false;
    ret[len] = '\0';
    return true;
}
