#include "store/s3/s3_parts.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "base/parallel.h"
#include "base/thread.h"
#include "crypto/random.h"
#include "net/sigv4.h"

#define PARTS_MAX 10000u /* what the protocol allows */
#define THREADS_MAX 4u
#define QUERY_SIZE (3u * S3_UPLOAD_ID_SIZE + 64u)

struct part {
    char etag[HTTP_FIELD_SIZE];
};

struct parts {
    struct s3_client *client;
    const char *name;
    struct bytes data;
    size_t part_len;
    size_t count;
    char id[3 * S3_UPLOAD_ID_SIZE]; /* of the upload, encoded */
    struct part *part;

    struct mutex lock; /* guards the first failure */
    struct error failure;
};

void s3_make_mark(char ret[static S3_MARK_SIZE])
{
    uint8_t bytes[(S3_MARK_SIZE - 1) / 2];

    random_bytes(bytes, sizeof(bytes));
    hex_encode((struct bytes){ bytes, sizeof(bytes) }, ret);
}

static int begin(struct parts *parts, const char *mark, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = {
        .method = "POST", .name = parts->name, .query = "uploads=", .mark = mark
    };
    char id[S3_UPLOAD_ID_SIZE];

    int r = s3_client_call(parts->client, &call, &answer, err);
    if (r == 0)
        r = s3_read_upload_id(buf_bytes(&answer.http.body), id, err);
    if (r == 0 && !sigv4_encode(id, false, parts->id, sizeof(parts->id)))
        r = error_set(err, -EBADMSG, "the server gave a malformed id for an upload in parts");
    return r;
}

/* The tag goes into an XML text as it is. */
static bool is_good_tag(const char *etag)
{
    return etag[0] != '\0' && strpbrk(etag, "<>&") == NULL;
}

static int send_part(struct parts *parts, size_t index, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    char query[QUERY_SIZE];
    size_t offset = index * parts->part_len;
    size_t left = parts->data.len - offset;
    const struct s3_call call = {
        .method = "PUT",
        .name = parts->name,
        .query = query,
        .body = { parts->data.data + offset, left < parts->part_len ? left : parts->part_len },
    };

    (void)snprintf(query, sizeof(query), "partNumber=%zu&uploadId=%s", index + 1, parts->id);
    int r = s3_client_call(parts->client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status != 200 || !is_good_tag(answer.etag))
        return error_set(err, -EIO, "%s did not take part %zu of %s: status %d",
                         s3_client_place(parts->client), index + 1, parts->name, answer.status);
    memcpy(parts->part[index].etag, answer.etag, sizeof(answer.etag));
    return 0;
}

static void send_part_in_parallel(void *arg, size_t index)
{
    struct parts *parts = arg;
    struct error err = { 0 };

    mutex_lock(&parts->lock);
    bool has_failed = parts->failure.code < 0;
    mutex_unlock(&parts->lock);
    if (has_failed || send_part(parts, index, &err) == 0)
        return;
    mutex_lock(&parts->lock);
    if (parts->failure.code == 0)
        parts->failure = err;
    mutex_unlock(&parts->lock);
}

static int send_parts(struct parts *parts, struct error *err)
{
    unsigned threads = s3_client_concurrency(parts->client);

    parallel_each(parts->count, threads < THREADS_MAX ? threads : THREADS_MAX,
                  send_part_in_parallel, parts);
    if (parts->failure.code == 0)
        return 0;
    if (err != NULL)
        *err = parts->failure;
    return parts->failure.code;
}

static int write_list(const struct parts *parts, struct buf *ret)
{
    static const char head[] = "<CompleteMultipartUpload>", tail[] = "</CompleteMultipartUpload>";
    char line[HTTP_FIELD_SIZE + 96];

    int r = buf_assign(ret, (struct bytes){ (const uint8_t *)head, sizeof(head) - 1 });
    for (size_t i = 0; r == 0 && i < parts->count; i++) {
        int len =
            snprintf(line, sizeof(line), "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>",
                     i + 1, parts->part[i].etag);
        r = buf_append(ret, (struct bytes){ (const uint8_t *)line, (size_t)len });
    }
    if (r == 0)
        r = buf_append(ret, (struct bytes){ (const uint8_t *)tail, sizeof(tail) - 1 });
    return r;
}

/* Whatever the answer was: the object with our mark, or not. */
static int look_for_ours(struct parts *parts, const char *mark,
                         char ret_etag[static HTTP_FIELD_SIZE], const struct error *why,
                         struct error *err)
{
    int r = s3_is_ours(parts->client, parts->name, mark, ret_etag, err);

    if (r > 0)
        return 0;
    if (r == 0 && err != NULL)
        *err = *why;
    return r < 0 ? r : why->code;
}

static int complete(struct parts *parts, const char *mark, bool must_be_new,
                    char ret_etag[static HTTP_FIELD_SIZE], struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    CLEANUP(buf_release) struct buf list = BUF_INIT;
    struct s3_fault fault = { .code = "" };
    char query[QUERY_SIZE];
    struct error why = { 0 };

    if (write_list(parts, &list) < 0)
        return error_set(err, -ENOMEM, "no memory to complete an upload in parts");
    (void)snprintf(query, sizeof(query), "uploadId=%s", parts->id);
    const struct s3_call call = { .method = "POST",
                                  .name = parts->name,
                                  .query = query,
                                  .body = buf_bytes(&list),
                                  .must_be_new = must_be_new };
    int r = s3_client_call(parts->client, &call, &answer, &why);
    if (r == 0 && answer.status == 412)
        r = s3_name_taken(parts->client, parts->name, &why);
    else if (r == 0 && answer.status == 404)
        r = error_set(&why, -EIO, "%s forgot an upload in parts", s3_client_place(parts->client));
    else if (r == 0)
        r = s3_read_completion(buf_bytes(&answer.http.body), &fault, &why);
    return look_for_ours(parts, mark, ret_etag,
                         r < 0 ? &why
                               : &(struct error){ .code = -EIO,
                                                  .text = "the object is "
                                                          "not there" },
                         err);
}

/* What is left of it costs its owner room; it is no object, so nobody else is disturbed. */
static void give_up(struct parts *parts)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    char query[QUERY_SIZE];
    const struct s3_call call = { .method = "DELETE", .name = parts->name, .query = query };

    (void)snprintf(query, sizeof(query), "uploadId=%s", parts->id);
    (void)s3_client_call(parts->client, &call, &answer, NULL); /* the failure before it is told */
}

static int upload(struct parts *parts, bool must_be_new, char ret_etag[static HTTP_FIELD_SIZE],
                  struct error *err)
{
    char mark[S3_MARK_SIZE];

    s3_make_mark(mark);
    int r = begin(parts, mark, err);
    if (r < 0)
        return r;
    r = send_parts(parts, err);
    if (r == 0)
        r = complete(parts, mark, must_be_new, ret_etag, err);
    if (r < 0)
        give_up(parts);
    return r;
}

/* Not every server looks at If-None-Match when an upload is completed. */
static int expect_new(struct s3_client *client, const char *name, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = { .method = "HEAD", .name = name };

    int r = s3_client_call(client, &call, &answer, err);
    if (r == 0 && answer.status == 200)
        r = s3_name_taken(client, name, err);
    return r;
}

int s3_put_in_parts(struct s3_client *client, const char *name, struct bytes data, bool must_be_new,
                    char ret_etag[static HTTP_FIELD_SIZE], struct error *err)
{
    CLEANUP(free_ptr) struct parts *parts = calloc(1, sizeof(*parts));
    size_t part_len = s3_client_part_len(client);

    while (data.len / part_len >= PARTS_MAX)
        part_len *= 2;
    size_t count = (data.len + part_len - 1) / part_len;
    CLEANUP(free_ptr) struct part *part = calloc(count, sizeof(*part));
    if (parts == NULL || part == NULL)
        return error_set(err, -ENOMEM, "no memory for an upload in parts");
    *parts = (struct parts){ .client = client,
                             .name = name,
                             .data = data,
                             .part_len = part_len,
                             .count = count,
                             .part = part,
                             .lock = MUTEX_INIT };
    int r = must_be_new ? expect_new(client, name, err) : 0;
    return r < 0 ? r : upload(parts, must_be_new, ret_etag, err);
}
