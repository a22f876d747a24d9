/* s3_answers.h - the XML that an S3 server sends, read strictly and with bounds.
 *
 * Errors     -EBADMSG: the server sent something else. -ENOMEM.
 * Ownership  a page is the caller's to release.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define S3_CODE_SIZE 64u
#define S3_MESSAGE_SIZE 256u
#define S3_REGION_SIZE 64u
#define S3_TOKEN_SIZE 2048u
#define S3_UPLOAD_ID_SIZE 1024u
#define S3_KEY_MAX 1024u
#define S3_PAGE_MAX 1000u /* names */

/* What an Error says; all texts are fit to be shown. Whatever is missing is "". */
struct s3_fault {
    char code[S3_CODE_SIZE];
    char message[S3_MESSAGE_SIZE];
    char region[S3_REGION_SIZE];
};

/* -EBADMSG also for good XML that is no Error. *ret is written then, too, with empty texts. */
int s3_read_fault(struct bytes body, struct s3_fault *ret);

struct s3_listed {
    char *key;
    uint64_t size;
};

/* One page of a listing. */
struct s3_page {
    struct s3_listed *names;
    size_t count;
    bool is_truncated; /* next says where it goes on */
    char next[S3_TOKEN_SIZE];
};

int s3_read_page(struct bytes body, struct s3_page *ret, struct error *err);
void s3_page_release(struct s3_page *page);

/* Of a multipart upload that begins. */
int s3_read_upload_id(struct bytes body, char ret[static S3_UPLOAD_ID_SIZE], struct error *err);

/* A multipart upload that is complete; -EBADMSG if the answer does not say so, which may have been
 * sent with status 200: *ret_fault then says why. */
int s3_read_completion(struct bytes body, struct s3_fault *ret_fault, struct error *err);
