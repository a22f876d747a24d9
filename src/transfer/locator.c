#include "transfer/locator.h"

#include <errno.h>
#include <string.h>

#define SCHEME "coffer"
#define VERSION '1'
#define PREFIX_LEN (sizeof(SCHEME) - 1 + 2) /* "coffer1-" */
#define CHECK_LEN 3u
#define BODY_LEN (HASH_LEN + CHECK_LEN)
#define DIGITS (BODY_LEN * 8 / 5)
#define SPACE " \t\r\n"

_Static_assert(PREFIX_LEN + DIGITS == LOCATOR_LEN, "a locator's letters");

/* Crockford's: without i, l, o and u. */
static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const char check_domain[] = "coffer locator 1";

static int check_sum(const struct locator *locator, uint8_t ret[static CHECK_LEN])
{
    const struct bytes pieces[] = {
        { (const uint8_t *)check_domain, sizeof(check_domain) },
        { locator->manifest, HASH_LEN },
    };
    uint8_t hash[HASH_LEN];

    int r = hash_sha256(pieces, 2, hash);
    if (r == 0)
        memcpy(ret, hash, CHECK_LEN);
    return r;
}

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "out of memory");
}

int locator_format(const struct locator *locator, char ret[static LOCATOR_SIZE], struct error *err)
{
    uint8_t body[BODY_LEN];

    memcpy(body, locator->manifest, HASH_LEN);
    if (check_sum(locator, body + HASH_LEN) < 0)
        return no_memory(err);
    memcpy(ret, SCHEME "1-", PREFIX_LEN);
    for (unsigned i = 0; i < DIGITS; i++) {
        unsigned bit = 5 * i, at = bit / 8;
        unsigned pair = (unsigned)body[at] << 8 | (at + 1 < BODY_LEN ? body[at + 1] : 0u);
        ret[PREFIX_LEN + i] = alphabet[pair >> (11 - bit % 8) & 31];
    }
    ret[LOCATOR_LEN] = '\0';
    return 0;
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* 32 if it is none. */
static unsigned digit_of(int c)
{
    c = lower(c);
    if (c == 'o')
        c = '0';
    if (c == 'i' || c == 'l')
        c = '1';
    const char *found = c ? strchr(alphabet, c) : NULL;
    return found ? (unsigned)(found - alphabet) : 32;
}

static int decode_body(const char *text, uint8_t body[static BODY_LEN])
{
    unsigned pending = 0, bits = 0;
    size_t len = 0;

    for (unsigned i = 0; i < DIGITS; i++) {
        unsigned digit = digit_of(text[i]);
        if (digit == 32)
            return -EINVAL;
        pending = (pending << 5 | digit) & 0xfff;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            body[len++] = (uint8_t)(pending >> bits);
        }
    }
    return 0;
}

int locator_parse(const char *text, struct locator *ret, struct error *err)
{
    uint8_t body[BODY_LEN] = { 0 }, check[CHECK_LEN];
    struct locator locator;

    text += strspn(text, SPACE);
    size_t len = strcspn(text, SPACE);
    bool is_one = text[len + strspn(text + len, SPACE)] == '\0';
    for (unsigned i = 0; i < sizeof(SCHEME) - 1; i++)
        is_one = is_one && len > i && lower(text[i]) == SCHEME[i];
    if (!is_one || len < PREFIX_LEN || text[PREFIX_LEN - 1] != '-' || text[PREFIX_LEN - 2] < '1' ||
        text[PREFIX_LEN - 2] > '9')
        return error_set(err, -EINVAL,
                         "this is no locator: one begins with 'coffer1-' and has %u letters",
                         LOCATOR_LEN);
    if (text[PREFIX_LEN - 2] != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the locator is of version %c, and this coffer reads only %c: use a newer"
                         " coffer",
                         text[PREFIX_LEN - 2], VERSION);
    if (len != LOCATOR_LEN || decode_body(text + PREFIX_LEN, body) < 0)
        return error_set(err, -EINVAL,
                         "the locator was not copied completely, or with letters too many: it has"
                         " %u letters",
                         LOCATOR_LEN);
    memcpy(locator.manifest, body, HASH_LEN);
    if (check_sum(&locator, check) < 0)
        return no_memory(err);
    if (memcmp(check, body + HASH_LEN, CHECK_LEN) != 0)
        return error_set(err, -EINVAL,
                         "a letter of the locator is wrong: copy it again, all of its %u letters",
                         LOCATOR_LEN);
    *ret = locator;
    return 0;
}
