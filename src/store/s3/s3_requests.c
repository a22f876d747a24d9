#include "store/s3/s3_requests.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/sigv4.h"
#include "store/s3/s3_parts.h"

/* From here on the hash of a body is what takes the time, and it is data, which is sealed. */
#define SUMMED_MIN ((size_t)64 * 1024)
#define REFUSAL_MAX (64u * 1024u) /* room for what a server says instead of an object */

static int no_object(const struct s3_client *client, const char *name, struct error *err)
{
    return error_set(err, -ENOENT, "there is no object %s in %s", name, s3_client_place(client));
}

static int strange(const struct s3_client *client, const struct s3_call *call, int status,
                   struct error *err)
{
    return error_set(err, -EIO, "%s answers %s of %s with status %d, which makes no sense",
                     s3_client_place(client), call->method,
                     call->name != NULL ? call->name : "its list", status);
}

/* A decimal number and nothing else. */
static bool parse_number(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret = value;
    return true;
}

/* The length of all, of "bytes 0-9/1234" or "bytes *" "/0". */
static bool parse_total(const char *content_range, uint64_t *ret)
{
    const char *slash = strchr(content_range, '/');

    return slash != NULL && parse_number(slash + 1, ret);
}

/* --- stat --- */

/* HEAD has no body that tells a missing object from a missing bucket: this asks for that. */
static int confirm_absence(struct s3_client *client, const char *name, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = {
        .method = "GET", .name = name, .range = "bytes=0-0", .body_max = REFUSAL_MAX
    };

    int r = s3_client_call(client, &call, &answer, err);
    return r < 0 ? r : no_object(client, name, err);
}

int s3_stat(struct s3_client *client, const char *name, struct s3_stat *ret, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = { .method = "HEAD", .name = name };
    uint64_t size = 0;

    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status == 404)
        return confirm_absence(client, name, err);
    if (answer.status != 200 || !parse_number(answer.content_length, &size))
        return strange(client, &call, answer.status, err);
    ret->size = size;
    memcpy(ret->etag, answer.etag, sizeof(ret->etag));
    memcpy(ret->mark, answer.mark, sizeof(ret->mark));
    return 0;
}

/* --- put --- */

int s3_name_taken(struct s3_client *client, const char *name, struct error *err)
{
    return error_set(err, -EEXIST, "there already is an object %s in %s", name,
                     s3_client_place(client));
}

int s3_is_ours(struct s3_client *client, const char *name, const char *mark,
               char ret_etag[static HTTP_FIELD_SIZE], struct error *err)
{
    struct s3_stat found = { .size = 0 };

    int r = s3_stat(client, name, &found, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (strcmp(found.mark, mark) != 0)
        return 0;
    memcpy(ret_etag, found.etag, sizeof(found.etag));
    return 1;
}

/* 1: it is there, but nothing vouches for what it holds. */
static int put_one(struct s3_client *client, const char *name, struct bytes data, bool must_be_new,
                   char ret_etag[static HTTP_FIELD_SIZE], struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    char mark[S3_MARK_SIZE];
    struct s3_call call = { .method = "PUT",
                            .name = name,
                            .body = data,
                            .may_be_summed = must_be_new && data.len >= SUMMED_MIN,
                            .must_be_new = must_be_new };

    s3_make_mark(mark);
    call.mark = mark;
    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status == 412 && must_be_new) {
        r = answer.may_have_been_done ? s3_is_ours(client, name, mark, ret_etag, err) : 0;
        return r < 0 ? r : r > 0 ? 0 : s3_name_taken(client, name, err);
    }
    if (answer.status != 200 && answer.status != 201 && answer.status != 204)
        return strange(client, &call, answer.status, err);
    memcpy(ret_etag, answer.etag, sizeof(answer.etag));
    return answer.is_unproved ? 1 : 0;
}

int s3_put(struct s3_client *client, const char *name, struct bytes data, bool must_be_new,
           char ret_etag[static HTTP_FIELD_SIZE], struct error *err)
{
    if (data.len > 2 * s3_client_part_len(client))
        return s3_put_in_parts(client, name, data, must_be_new, ret_etag, err);
    int r = put_one(client, name, data, must_be_new, ret_etag, err);
    return r == 1 ? put_one(client, name, data, false, ret_etag, err) : r; /* it is ours */
}

/* --- get --- */

static size_t room_for(size_t len)
{
    return len < REFUSAL_MAX ? REFUSAL_MAX : len;
}

int s3_get_first(struct s3_client *client, const char *name, size_t len, struct buf *ret,
                 struct s3_stat *ret_stat, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    char range[S3_RANGE_SIZE];
    const struct s3_call call = {
        .method = "GET", .name = name, .range = range, .body_max = room_for(len)
    };

    (void)snprintf(range, sizeof(range), "bytes=0-%zu", len - 1);
    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status == 404)
        return no_object(client, name, err);
    struct s3_stat stat = { .size = answer.http.body.len };
    memcpy(stat.etag, answer.etag, sizeof(stat.etag));
    bool is_good = answer.status == 200 || answer.status == 416 ||
                   (answer.status == 206 && parse_total(answer.content_range, &stat.size) &&
                    stat.size >= answer.http.body.len);
    size_t expected = stat.size < len ? (size_t)stat.size : len;
    if (answer.status == 416) { /* no byte can be had: it is empty */
        buf_wipe(&answer.http.body);
        stat.size = expected = 0;
    }
    if (!is_good || (answer.status == 206 && answer.http.body.len != expected))
        return strange(client, &call, answer.status, err);
    *ret_stat = stat;
    buf_release(ret);
    buf_move(ret, &answer.http.body);
    return 0;
}

int s3_get_range(struct s3_client *client, const char *name, const char *etag, uint64_t offset,
                 size_t len, uint8_t *to, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    char range[S3_RANGE_SIZE];
    const struct s3_call call = { .method = "GET",
                                  .name = name,
                                  .range = range,
                                  .if_match = etag,
                                  .into = to,
                                  .into_size = len };

    (void)snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, offset, offset + len - 1);
    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status == 404)
        return no_object(client, name, err);
    if (answer.status == 412)
        return error_set(err, -ESTALE, "object %s in %s was replaced since it was opened", name,
                         s3_client_place(client));
    /* 200: the whole object, which is only right if that was asked for. */
    bool is_range = answer.status == 206 || (answer.status == 200 && offset == 0);
    if (!is_range || answer.http.into_len != len)
        return strange(client, &call, answer.status, err);
    return 0;
}

int s3_get_all(struct s3_client *client, const char *name, size_t len, uint8_t *to,
               struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = { .method = "GET", .name = name, .into = to, .into_size = len };

    struct error why = { .code = 0 };

    int r = s3_client_call(client, &call, &answer, &why);
    if (r == -EFBIG)
        return 1;
    if (r < 0)
        return error_set(err, r, "%s", why.text);
    if (answer.status == 404)
        return no_object(client, name, err);
    if (answer.status != 200)
        return strange(client, &call, answer.status, err);
    return answer.http.into_len == len ? 0 : 1;
}

int s3_get_whole(struct s3_client *client, const char *name, size_t max, struct buf *ret,
                 struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = { .method = "GET",
                                  .name = name,
                                  .body_max = room_for(max < SIZE_MAX ? max + 1 : max) };

    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status == 404)
        return no_object(client, name, err);
    if (answer.status != 200)
        return strange(client, &call, answer.status, err);
    if (answer.http.body.len > max)
        return error_set(err, -EFBIG, "object %s is larger than %zu bytes", name, max);
    buf_release(ret);
    buf_move(ret, &answer.http.body);
    return 0;
}

/* --- remove and list --- */

int s3_delete(struct s3_client *client, const char *name, struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_call call = { .method = "DELETE", .name = name };

    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0 || answer.status == 404 || (answer.status >= 200 && answer.status < 300))
        return r;
    return strange(client, &call, answer.status, err);
}

int s3_list(struct s3_client *client, const char *prefix, const char *token, struct s3_page *ret,
            struct error *err)
{
    CLEANUP(s3_answer_release) struct s3_answer answer = S3_ANSWER_INIT;
    char whole[S3_PREFIX_SIZE + OBJECT_NAME_MAX + 2];
    char encoded_prefix[3 * sizeof(whole)];
    char encoded_token[3 * S3_TOKEN_SIZE];
    char query[sizeof(encoded_prefix) + sizeof(encoded_token) + 64];
    const struct s3_call call = { .method = "GET", .query = query };

    int len = snprintf(whole, sizeof(whole), "%s%s", s3_client_prefix(client), prefix);
    if (len < 0 || (size_t)len >= sizeof(whole) ||
        !sigv4_encode(whole, false, encoded_prefix, sizeof(encoded_prefix)) ||
        !sigv4_encode(token, false, encoded_token, sizeof(encoded_token)))
        return error_set(err, -ENAMETOOLONG, "the prefix %.64s... is too long", prefix);
    (void)snprintf(query, sizeof(query), "%s%s%slist-type=2&prefix=%s",
                   token[0] != '\0' ? "continuation-token=" : "", encoded_token,
                   token[0] != '\0' ? "&" : "", encoded_prefix);
    int r = s3_client_call(client, &call, &answer, err);
    if (r < 0)
        return r;
    if (answer.status != 200)
        return strange(client, &call, answer.status, err);
    r = s3_read_page(buf_bytes(&answer.http.body), ret, err);
    return r < 0 ? error_prefix(err, r, "%s", s3_client_place(client)) : 0;
}
