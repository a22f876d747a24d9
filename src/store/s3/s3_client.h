/* s3_client.h - requests to one bucket: signed, over connections that are kept, tried again where
 * that can help, and refusals told as sentences. Only for src/store.
 *
 * Errors     as in store/s3_store.h.
 * Ownership  an answer is the caller's to release.
 * Threads    one client may be used by many threads; who finds no connection free waits.
 */
#pragma once

#include "net/http.h"
#include "store/s3/s3_answers.h"
#include "store/s3_store.h"

#define S3_RANGE_SIZE 64u
#define S3_MARK_SIZE 33u /* of a put: 128 random bits, hexadecimal */

struct s3_client;

struct s3_call {
    const char *method;
    const char *name;  /* of the object; NULL: the bucket itself */
    const char *query; /* encoded, ascending; NULL: none */
    struct bytes body;
    bool may_be_summed;   /* for the body a checksum may vouch, in the place of a signed hash */
    bool must_be_new;     /* If-None-Match: * */
    const char *if_match; /* NULL or "": not asked */
    const char *range;    /* "bytes=0-9"; NULL: all */
    const char *mark;     /* a put's, kept with the object; NULL: none */
    size_t body_max;      /* of the answer; 0: 4 MiB */

    uint8_t *into; /* the body of a good answer; NULL: into the answer */
    size_t into_size;
};

struct s3_answer {
    int status; /* 2xx, 404 of an object, 412 or 416; all others are errors */
    struct http_response http;
    char etag[HTTP_FIELD_SIZE];
    char content_range[HTTP_FIELD_SIZE];
    char content_length[HTTP_FIELD_SIZE];
    char mark[HTTP_FIELD_SIZE];
    bool may_have_been_done; /* by an earlier try that was not answered */
    bool is_unproved;        /* nothing vouched for the body: it is to be sent again, signed */
};

#define S3_ANSWER_INIT ((struct s3_answer){ .status = 0 })

int s3_client_new(const struct s3_settings *settings, struct s3_client **ret, struct error *err);
void s3_client_free(struct s3_client *client); /* NULL is allowed; no call is under way */

int s3_client_call(struct s3_client *client, const struct s3_call *call, struct s3_answer *ret,
                   struct error *err);
void s3_answer_release(struct s3_answer *answer);

/* "bucket b at host:9000", for a sentence. */
const char *s3_client_place(const struct s3_client *client);

/* What each name begins with: "" or "prefix/". */
const char *s3_client_prefix(const struct s3_client *client);
size_t s3_client_part_len(const struct s3_client *client);
unsigned s3_client_concurrency(const struct s3_client *client);

/* The sentence and the code for an answer that is an error. s3_explain.c */
struct s3_refusal {
    const struct s3_settings *settings;
    const char *place;
    const struct s3_call *call;
    int status;
    struct s3_fault fault;
    char server_region[HTTP_FIELD_SIZE]; /* "": the server did not say */
    char server_date[HTTP_FIELD_SIZE];
};

int s3_explain(const struct s3_refusal *refusal, struct error *err);

/* Whether to ask again may help. */
bool s3_may_pass(int status, const struct s3_fault *fault);
