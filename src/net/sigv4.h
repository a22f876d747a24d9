/* sigv4.h - AWS Signature Version 4: what an Authorization header says so that an object store
 * believes a request. Only what requests of ours need: each header value is as it is sent, without
 * blanks at its ends or two in a row, and nothing is signed in chunks or in a URL.
 *
 * Why our own: libcurl's signer changes between versions, and that of Debian 12 signs some of our
 * requests wrongly (a query without value, '=' in a path, a streamed body).
 *
 * Errors     -ENOMEM; -EINVAL: a request that cannot be signed.
 * Ownership  inputs stay the caller's; the signer keeps copies, the secret in secret memory.
 * Threads    one signer may be used by any number of threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/secret.h"
#include "net/http.h"

#define SIGV4_DATE_SIZE 17u   /* "20130524T000000Z" */
#define SIGV4_HASH_SIZE 65u   /* SHA-256, hexadecimal */
#define SIGV4_HEADERS_MAX 16u /* of one request */
#define SIGV4_AUTHORIZATION_SIZE 1024u

struct sigv4_signer;

struct sigv4_request {
    const char *method;
    const char *path;  /* encoded, as it is sent: "/bucket/a%20b" */
    const char *query; /* encoded, as it is sent, ascending by name, each with '=': "a=&b=1" */
    const struct http_header *headers; /* lower-case names, ascending; "host" and "x-amz-date" */
    size_t header_count;
    const char *payload_hash;
};

/* region and service become part of the key: "us-east-1", "s3". */
int sigv4_signer_new(const char *access_key_id, const struct secret *secret_key, const char *region,
                     const char *service, struct sigv4_signer **ret, struct error *err);
void sigv4_signer_free(struct sigv4_signer *signer); /* NULL is allowed */

static inline void sigv4_signer_freep(struct sigv4_signer **signer)
{
    sigv4_signer_free(*signer);
}

/* date is the value of the request's x-amz-date. */
int sigv4_sign(struct sigv4_signer *signer, const struct sigv4_request *request, const char *date,
               char ret[static SIGV4_AUTHORIZATION_SIZE], struct error *err);

/* Seconds since 1970. */
void sigv4_date(int64_t time_s, char ret[static SIGV4_DATE_SIZE]);

/* In the place of the hash of a body that is not signed. */
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

/* Of a body. */
int sigv4_payload_hash(struct bytes body, char ret[static SIGV4_HASH_SIZE]);

/* Percent-encodes as the signature wants it. False if it does not fit into size. */
bool sigv4_encode(const char *text, bool keeps_slashes, char *ret, size_t size);
