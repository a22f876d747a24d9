/* What an S3 server may send: the XML of its answers. */
#include <stdlib.h>
#include <string.h>

#include "store/s3/s3_answers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_clean(const char *text, size_t size)
{
    if (memchr(text, '\0', size) == NULL)
        abort();
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            abort();
}

static void read_page(struct bytes body)
{
    struct s3_page page;

    if (s3_read_page(body, &page, NULL) < 0)
        return;
    if (page.count > S3_PAGE_MAX || (page.is_truncated && page.next[0] == '\0'))
        abort();
    for (size_t i = 0; i < page.count; i++)
        if (page.names[i].key[0] == '\0' || strlen(page.names[i].key) > S3_KEY_MAX)
            abort();
    s3_page_release(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes body = { data, size };
    char id[S3_UPLOAD_ID_SIZE];
    struct s3_fault fault;

    if (s3_read_fault(body, &fault) == 0 && fault.code[0] == '\0')
        abort();
    expect_clean(fault.code, sizeof(fault.code));
    expect_clean(fault.message, sizeof(fault.message));
    expect_clean(fault.region, sizeof(fault.region));
    read_page(body);
    if (s3_read_upload_id(body, id, NULL) == 0 && id[0] == '\0')
        abort();
    (void)s3_read_completion(body, &fault, NULL);
    return 0;
}
