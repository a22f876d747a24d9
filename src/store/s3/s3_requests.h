/* s3_requests.h - what a store asks of an S3 server, each as one function. Only for src/store.
 *
 * Errors     as in store/s3_store.h. -ENOENT: no such object; the bucket was there.
 * Ownership  what is returned is the caller's to release.
 * Threads    any.
 */
#pragma once

#include "store/s3/s3_client.h"

struct s3_stat {
    uint64_t size;
    char etag[HTTP_FIELD_SIZE]; /* "" : the server gave none */
    char mark[HTTP_FIELD_SIZE]; /* of the put that made it */
};

/* The whole object, durable after 0; in parts if it is long. must_be_new: -EEXIST if there is one,
 * which is told apart from one that an earlier try of the same call left. */
int s3_put(struct s3_client *client, const char *name, struct bytes data, bool must_be_new,
           char ret_etag[static HTTP_FIELD_SIZE], struct error *err);

int s3_stat(struct s3_client *client, const char *name, struct s3_stat *ret, struct error *err);

/* Its first bytes, at most len, and how long it is. */
int s3_get_first(struct s3_client *client, const char *name, size_t len, struct buf *ret,
                 struct s3_stat *ret_stat, struct error *err);

/* Exactly len bytes of it, len > 0. -ESTALE: it is not the one with this etag any more. */
int s3_get_range(struct s3_client *client, const char *name, const char *etag, uint64_t offset,
                 size_t len, uint8_t *to, struct error *err);

/* All of it, into room for len bytes, len > 0. 1: it has another length. */
int s3_get_all(struct s3_client *client, const char *name, size_t len, uint8_t *to,
               struct error *err);

/* -EFBIG: it is longer than max. */
int s3_get_whole(struct s3_client *client, const char *name, size_t max, struct buf *ret,
                 struct error *err);

/* One that is not there counts as removed. */
int s3_delete(struct s3_client *client, const char *name, struct error *err);

/* The keys, with the client's prefix, that begin with prefix; from token on, "" for the first. */
int s3_list(struct s3_client *client, const char *prefix, const char *token, struct s3_page *ret,
            struct error *err);
