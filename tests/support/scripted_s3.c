#include "tests/support/scripted_s3.h"

#include <string.h>

#include "base/cleanup.h"
#include "tests/support/cmocka_all.h"

#define SECRET_KEY "never-to-be-shown"

static void note_pause(void *arg, int64_t ms)
{
    struct scripted *s = arg;

    assert_true(s->pause_count < 16);
    s->pauses[s->pause_count++] = ms;
}

void scripted_settings(struct s3_settings *settings, uint16_t port)
{
    const struct bytes secret_key = { (const uint8_t *)SECRET_KEY, strlen(SECRET_KEY) };

    *settings = (struct s3_settings){ .hostname = "127.0.0.1",
                                      .port = port,
                                      .is_plain_http = true,
                                      .bucket = "bucket",
                                      .region = "here",
                                      .access_key_id = "me",
                                      .prefix = "of/tests/",
                                      .concurrency = 1,
                                      .part_len = S3_PART_MIN };
    assert_int_equal(secret_assign(&settings->secret_key, secret_key), 0);
}

void scripted_begin(struct scripted *s, const struct fake_answer *script, size_t count)
{
    CLEANUP(s3_settings_release) struct s3_settings settings;

    *s = (struct scripted){ .fake = fake_s3_start(script, count) };
    s->retry = (struct retry_policy){ 4, 100, 1000, note_pause, s };
    scripted_settings(&settings, fake_s3_port(s->fake));
    settings.retry = &s->retry;
    assert_int_equal(s3_store_open(&settings, &s->store, NULL), 0);
}

void scripted_end(struct scripted *s)
{
    object_store_close(s->store);
    fake_s3_end(s->fake);
    assert_null(strstr(s->err.text, SECRET_KEY));
}

void scripted_expect(struct scripted *s, int r, int code, const char *part)
{
    if (r != code || strstr(s->err.text, part) == NULL)
        fail_msg("%d: %s; not %d: ...%s...", r, s->err.text, code, part);
    s->err = (struct error){ 0 };
}

void expect_part(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("%s is not in %s", part, text);
}
