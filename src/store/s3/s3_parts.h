/* s3_parts.h - a long object, uploaded in parts of which several are on their way at once; it
 * appears when all are there. Only for src/store/s3.
 *
 * Errors     as s3_put().
 * Threads    any.
 */
#pragma once

#include "store/s3/s3_client.h"

int s3_put_in_parts(struct s3_client *client, const char *name, struct bytes data, bool must_be_new,
                    char ret_etag[static HTTP_FIELD_SIZE], struct error *err);

/* A put's mark: who was not told whether it was done knows it by that. */
void s3_make_mark(char ret[static S3_MARK_SIZE]);

/* 1: the object is there and has this mark; 0: it is not, or has another. In s3_requests.c. */
int s3_is_ours(struct s3_client *client, const char *name, const char *mark,
               char ret_etag[static HTTP_FIELD_SIZE], struct error *err);
int s3_name_taken(struct s3_client *client, const char *name, struct error *err);
