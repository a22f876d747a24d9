/* json.h - JSON from outside, read strictly and within bounds: jansson, with getters that check
 * types and say which member is wrong.
 *
 * Whatever program links this has jansson wipe all memory that it frees, so that a parsed token
 * or key does not stay behind. What jansson returned as text (json_dumps) may be freed with
 * free(), but is then not wiped; json_write() needs no thought.
 *
 * Units      lengths are bytes.
 * Errors     -EINVAL: not JSON, or not of the shape that was asked for; -EFBIG: longer than
 *            JSON_TEXT_MAX; -ENOMEM. Sentences name the member, never its value.
 * Ownership  texts that a getter returns belong to the object.
 * Threads    one json_t is used by one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"

#define JSON_TEXT_MAX (4u * 1024u * 1024u)

/* One value and nothing after it. Refuses equal member names, bad UTF-8 and NUL. */
int json_parse(struct bytes text, json_t **ret, struct error *err);

/* The same, and the value must be an object. */
int json_parse_object(struct bytes text, json_t **ret, struct error *err);

/* Compact text; ret->len does not count the NUL that follows it. */
int json_write(const json_t *value, struct buf *ret);

static inline void json_freep(json_t **value)
{
    json_decref(*value);
}

/* An optional member that is missing or null leaves *ret as it was. */
enum json_need {
    JSON_REQUIRED,
    JSON_OPTIONAL,
};

int json_get_text(const json_t *object, const char *name, enum json_need need, const char **ret,
                  struct error *err);

/* Copies; -EINVAL if it does not fit in size with its NUL, or holds control characters. */
int json_get_line(const json_t *object, const char *name, enum json_need need, char *ret,
                  size_t size, struct error *err);

int json_get_secret(const json_t *object, const char *name, enum json_need need, struct secret *ret,
                    struct error *err);
int json_get_integer(const json_t *object, const char *name, enum json_need need, int64_t *ret,
                     struct error *err);
int json_get_bool(const json_t *object, const char *name, enum json_need need, bool *ret,
                  struct error *err);
int json_get_object(const json_t *object, const char *name, enum json_need need, json_t **ret,
                    struct error *err);
int json_get_array(const json_t *object, const char *name, enum json_need need, json_t **ret,
                   struct error *err);
