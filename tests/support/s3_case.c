#include "tests/support/s3_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "tests/support/store_process.h"

static void fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

static const char *variable(const char *name, char *ret, size_t size)
{
    char whole[64];

    (void)snprintf(whole, sizeof(whole), "COFFER_TEST_S3_%s", name);
    const char *value = getenv(whole);
    if (value == NULL)
        fail(whole, "is not set");
    if (ret != NULL && (size_t)snprintf(ret, size, "%s", value) >= size)
        fail(whole, "is too long");
    return value;
}

bool s3_case_is_there(void)
{
    return getenv("COFFER_TEST_S3_HOSTNAME") != NULL;
}

void s3_case_settings(struct s3_settings *ret)
{
    *ret = S3_SETTINGS_INIT;
    variable("HOSTNAME", ret->hostname, sizeof(ret->hostname));
    variable("BUCKET", ret->bucket, sizeof(ret->bucket));
    variable("ACCESS_KEY_ID", ret->access_key_id, sizeof(ret->access_key_id));
    ret->port = (uint16_t)strtoul(variable("PORT", NULL, 0), NULL, 10);
    ret->is_plain_http = true;
    ret->part_len = S3_PART_MIN;
    const char *key = variable("SECRET_KEY", NULL, 0);
    if (secret_assign(&ret->secret_key, (struct bytes){ (const uint8_t *)key, strlen(key) }) < 0)
        fail("the secret key", "there is no memory for it");
}

struct object_store *s3_case_open(const char *prefix)
{
    CLEANUP(s3_settings_release) struct s3_settings settings;
    struct object_store *store = NULL;
    struct error err = { 0 };
    char id_text[UUID_TEXT_SIZE];
    struct uuid id;

    s3_case_settings(&settings);
    random_uuid(&id);
    uuid_format(&id, id_text);
    if (prefix != NULL)
        (void)snprintf(settings.prefix, sizeof(settings.prefix), "%s", prefix);
    else
        (void)snprintf(settings.prefix, sizeof(settings.prefix), "cases/%s", id_text);
    const char *program = getenv("COFFER_TEST_STORE_PROGRAM");
    if (program != NULL)
        return store_process_open(program, &settings);
    if (s3_store_open(&settings, &store, &err) != 0)
        fail("the S3 store", err.text);
    return store;
}
