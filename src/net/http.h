/* http.h - HTTP/1.1 requests to one kind of server, over TCP, TLS or a Unix socket (libcurl).
 *
 * Answers are bounded, redirects are not followed (the caller sees where to), no proxy and no
 * credentials from the environment or from files are used. https needs TLS 1.2 or newer and a
 * certificate that fits the host.
 *
 * Units      timeouts are milliseconds unless they say otherwise, lengths bytes.
 * Errors     an answer of any status is success; the caller looks at it. Else the sentence
 *            names the server, and the code says:
 *              -EHOSTUNREACH  its name cannot be resolved
 *              -ECONNREFUSED  nothing answers there, or the connection broke
 *              -ETIMEDOUT     not done within the time, or it stalled
 *              -EKEYREJECTED  its certificate is not trusted, TLS failed, or only one side speaks
 * it -EFBIG         the answer is longer than allowed -EINVAL        the URL or a header is
 * malformed Ownership  inputs stay the caller's. A response is the caller's to release, which wipes
 * it. Threads    one client is used by one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"

#define HTTP_LOCATION_SIZE 1024u
#define HTTP_FIELD_SIZE 256u

/* What to do about TLS, in the words of who configures the server. */
struct http_advice {
    const char *trust; /* "..., and have that one trusted: %s, or, for the whole host, ..." */
    const char *plain; /* it answers without TLS: "..., or accept that, with %s" */
    const char *tls;   /* it wants TLS: "that port is one of HTTPS: %s" */
};

struct http_options {
    const char *unix_socket;    /* path; NULL or "": TCP to the URL's host */
    struct bytes ca_cert_pem;   /* trusted instead of the system's store; empty: that store */
    int64_t connect_timeout_ms; /* 0: 5,000 */
    int64_t total_timeout_ms;   /* of a request that names none; 0: 30,000 */
    int64_t stall_timeout_s;    /* not one byte either way for so long; 0: only the total counts */
    size_t max_body_len;        /* of an answer; 0: 4 MiB */
    size_t transfer_buffer;     /* for long answers, at most; 0: curl's own, 16 KiB */
    const struct http_advice *advice; /* outlives the client; NULL: that of the KMS */
};

struct http_header {
    const char *name;
    const char *value;           /* or */
    const struct secret *secret; /* in its place; every copy is wiped */
};

/* A header of the answer that is asked for. */
struct http_field {
    const char *name;
    char value[HTTP_FIELD_SIZE]; /* "": it was not there, or longer */
};

struct http_request {
    const char *method; /* "GET", "POST", "HEAD", ... */
    const char *url;    /* over a Unix socket "http://localhost/..." */
    const struct http_header *headers;
    size_t header_count;
    struct bytes body;        /* sent if there are any bytes, or if the method is POST or PUT */
    bool is_raw;              /* what is sent and asked for is not said to be JSON */
    int64_t total_timeout_ms; /* 0: the client's */
    size_t max_body_len;      /* of the answer; 0: the client's */

    struct http_field *fields; /* filled in */
    size_t field_count;

    uint8_t *into; /* the body of a 2xx answer goes there, not more than into_size; may be NULL */
    size_t into_size;
};

struct http_response {
    int status;
    struct buf body;                   /* followed by a NUL that len does not count */
    size_t into_len;                   /* what went into the request's own room */
    char location[HTTP_LOCATION_SIZE]; /* of a redirect, absolute; "" if none */
    int64_t retry_after_s;             /* 0 if the server did not say */
};

#define HTTP_RESPONSE_INIT ((struct http_response){ .status = 0 })

struct http_client;

/* Contacts nobody. */
int http_client_new(const struct http_options *options, struct http_client **ret,
                    struct error *err);
void http_client_free(struct http_client *client); /* NULL is allowed */

static inline void http_client_freep(struct http_client **client)
{
    http_client_free(*client);
}

/* ret is released first. Connections are kept and used again. */
int http_send(struct http_client *client, const struct http_request *request,
              struct http_response *ret, struct error *err);

void http_response_release(struct http_response *response);
