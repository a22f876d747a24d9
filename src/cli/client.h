/* client.h - calls of cofferd's REST interface, over the Unix socket of the chosen instance.
 *
 * Units      timeouts are milliseconds.
 * Errors     negative errno and the server's own sentence; -ENOENT for what it does not know,
 *            -ECONNREFUSED where no cofferd answers.
 * Ownership  the body is consumed, also on failure; the caller releases what is returned.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "crypto/secret.h"
#include "host/instance.h"
#include "net/json.h"

#define CLIENT_PATH_SIZE 512

struct client_request {
    const char *method;
    const char *path;
    json_t *body;       /* NULL: none */
    int64_t timeout_ms; /* 0: half a minute to read, ten minutes to change */
};

/* ret may be NULL: no interest in the answer. */
int client_call(const struct instance *instance, const struct client_request *request, json_t **ret,
                struct error *err);

/* "/api/v1/filesystems/NAME" and what follows ("/start"), the name escaped. */
int client_filesystem_path(const char *name, const char *action, char ret[static CLIENT_PATH_SIZE],
                           struct error *err);

/* "ROUTE/NAME" and what follows, likewise, for what else has names. */
int client_object_path(const char *route, const char *name, const char *action,
                       char ret[static CLIENT_PATH_SIZE], struct error *err);

/* Adds "?name=value" or "&name=value" to a path, escaped. */
int client_add_query(char path[static CLIENT_PATH_SIZE], const char *name, const char *value,
                     struct error *err);

/* "" where the object has no such text. */
const char *client_text(const json_t *object, const char *key);

/* Put a text into a body; NULL: none. */
int client_put_text(json_t *body, const char *key, const char *text, struct error *err);
int client_put_secret(json_t *body, const char *key, const struct secret *secret,
                      struct error *err);
