#include "store/s3/s3_answers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean_text.h"
#include "base/cleanup.h"
#include "net/xml.h"

/* --- Error --- */

struct fault_reading {
    struct s3_fault fault;
    bool is_error;
};

static int visit_fault(const char *path, const char *text, void *arg)
{
    struct fault_reading *reading = arg;

    if (strcmp(path, "/Error") == 0)
        reading->is_error = true;
    else if (strcmp(path, "/Error/Code") == 0)
        clean_text(text, reading->fault.code, sizeof(reading->fault.code));
    else if (strcmp(path, "/Error/Message") == 0)
        clean_text(text, reading->fault.message, sizeof(reading->fault.message));
    else if (strcmp(path, "/Error/Region") == 0)
        clean_text(text, reading->fault.region, sizeof(reading->fault.region));
    return 0;
}

int s3_read_fault(struct bytes body, struct s3_fault *ret)
{
    struct fault_reading reading = { .is_error = false };

    int r = xml_read(body, visit_fault, &reading, NULL);
    if (r == 0 && (!reading.is_error || reading.fault.code[0] == '\0'))
        r = -EBADMSG;
    *ret = r == 0 ? reading.fault : (struct s3_fault){ .code = "" };
    return r;
}

/* --- ListBucketResult --- */

struct page_reading {
    struct s3_page page;
    size_t room;
    char *key; /* of the entry that is being read */
    uint64_t size;
    bool has_size;
    bool is_list;
};

static int keep_key(struct page_reading *reading, const char *text)
{
    size_t len = strlen(text);

    if (reading->key != NULL || len == 0 || len > S3_KEY_MAX)
        return -EBADMSG;
    reading->key = strdup(text);
    return reading->key != NULL ? 0 : -ENOMEM;
}

static int keep_size(struct page_reading *reading, const char *text)
{
    uint64_t size = 0;

    if (*text == '\0' || reading->has_size)
        return -EBADMSG;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || size > (UINT64_MAX - 9) / 10)
            return -EBADMSG;
        size = size * 10 + (uint64_t)(*text - '0');
    }
    reading->size = size;
    reading->has_size = true;
    return 0;
}

static int end_entry(struct page_reading *reading)
{
    struct s3_page *page = &reading->page;

    if (reading->key == NULL || !reading->has_size || page->count == S3_PAGE_MAX)
        return -EBADMSG;
    if (page->count == reading->room) {
        size_t room = reading->room == 0 ? 64 : 2 * reading->room;
        struct s3_listed *names = reallocarray(page->names, room, sizeof(*names));
        if (names == NULL)
            return -ENOMEM;
        page->names = names;
        reading->room = room;
    }
    page->names[page->count++] = (struct s3_listed){ TAKE(reading->key), reading->size };
    reading->has_size = false;
    return 0;
}

static int keep_token(struct page_reading *reading, const char *text)
{
    size_t len = strlen(text);

    if (len >= sizeof(reading->page.next))
        return -EBADMSG;
    memcpy(reading->page.next, text, len + 1);
    return 0;
}

static int visit_page(const char *path, const char *text, void *arg)
{
    static const char top[] = "/ListBucketResult";
    struct page_reading *reading = arg;

    if (strncmp(path, top, sizeof(top) - 1) != 0)
        return 0;
    path += sizeof(top) - 1;
    if (*path == '\0')
        reading->is_list = true;
    else if (strcmp(path, "/Contents/Key") == 0)
        return keep_key(reading, text);
    else if (strcmp(path, "/Contents/Size") == 0)
        return keep_size(reading, text);
    else if (strcmp(path, "/Contents") == 0)
        return end_entry(reading);
    else if (strcmp(path, "/IsTruncated") == 0)
        reading->page.is_truncated = strcmp(text, "true") == 0;
    else if (strcmp(path, "/NextContinuationToken") == 0)
        return keep_token(reading, text);
    return 0;
}

int s3_read_page(struct bytes body, struct s3_page *ret, struct error *err)
{
    struct page_reading reading = { .is_list = false };

    int r = xml_read(body, visit_page, &reading, NULL);
    if (r == 0 && (!reading.is_list || (reading.page.is_truncated && !reading.page.next[0])))
        r = -EBADMSG;
    free(reading.key);
    if (r < 0) {
        s3_page_release(&reading.page);
        return error_set(err, r, "the server's list of objects cannot be read: %s",
                         strerrordesc_np(-r));
    }
    *ret = reading.page;
    return 0;
}

void s3_page_release(struct s3_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->names[i].key);
    free(page->names);
    *page = (struct s3_page){ .names = NULL };
}

/* --- multipart uploads --- */

static int visit_upload_id(const char *path, const char *text, void *arg)
{
    char *id = arg;

    if (strcmp(path, "/InitiateMultipartUploadResult/UploadId") != 0)
        return 0;
    size_t len = strlen(text);
    if (len == 0 || len >= S3_UPLOAD_ID_SIZE)
        return -EBADMSG;
    memcpy(id, text, len + 1);
    return 0;
}

int s3_read_upload_id(struct bytes body, char ret[static S3_UPLOAD_ID_SIZE], struct error *err)
{
    char id[S3_UPLOAD_ID_SIZE] = "";

    int r = xml_read(body, visit_upload_id, id, NULL);
    if (r < 0 || id[0] == '\0')
        return error_set(err, -EBADMSG, "the server gave no id for an upload in parts");
    memcpy(ret, id, sizeof(id));
    return 0;
}

static int visit_completion(const char *path, const char *text, void *arg)
{
    bool *is_complete = arg;

    (void)text;
    *is_complete = *is_complete || strcmp(path, "/CompleteMultipartUploadResult") == 0;
    return 0;
}

int s3_read_completion(struct bytes body, struct s3_fault *ret_fault, struct error *err)
{
    bool is_complete = false;

    if (xml_read(body, visit_completion, &is_complete, NULL) == 0 && is_complete)
        return 0;
    (void)s3_read_fault(body, ret_fault);
    return error_set(err, -EBADMSG, "the server did not complete an upload in parts: %s",
                     ret_fault->message[0] ? ret_fault->message : "its answer cannot be read");
}
