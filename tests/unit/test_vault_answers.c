/* What Vault from 1.1 on and OpenBao answer, as they were seen to, sorted into classes. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/secret.h"
#include "keys/vault/answers.h"
#include "keys/vault/token_answers.h"

static const struct vault_question question = { .address = "https://vault:8200",
                                                .path = "transit/decrypt/weka-key",
                                                .key_name = "weka-key",
                                                .kms_namespace = "" };

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void every_refusal_is_sorted_and_says_what_to_do(void **state)
{
    static const struct {
        int status;
        const char *body;
        int code;
        const char *words; /* in the sentence */
    } answers[] = {
        { 403, "{\"errors\":[\"permission denied\"]}", -EACCES, "does not accept the token" },
        { 403,
          "{\"errors\":[\"2 errors occurred:\\n\\t* permission denied\\n\\t* invalid "
          "token\\n\\n\"]}",
          -EACCES, "does not accept the token" },
        { 403, "{\"errors\":[\"1 error occurred:\\n\\t* permission denied\\n\\n\"]}", -EACCES,
          "may not use 'transit/decrypt/weka-key'" },
        { 400, "{\"errors\":[\"missing client token\"]}", -EACCES, "wants a token" },
        { 404, "{\"errors\":[]}", -ENOENT, "no key 'weka-key'" },
        { 404, "{\"errors\":[\"no handler for route 'transit/keys/k'\"]}", -ENOENT,
          "no transit engine" },
        { 404, "{\"errors\":[\"no handler for route \\\"t/k\\\". route entry not found.\"]}",
          -ENOENT, "no transit engine" },
        { 404, "{\"errors\":[\"namespace not found\"]}", -ENOENT, "no namespace" },
        { 400, "{\"errors\":[\"encryption key not found\"]}", -ENOENT, "restore it" },
        { 400, "{\"errors\":[\"invalid ciphertext: unable to decrypt\"]}", -EBADMSG, "altered" },
        { 500,
          "{\"errors\":[\"1 error occurred:\\n\\t* cipher: message authentication failed\\n\\n\"]}",
          -EBADMSG, "altered" },
        { 400, "{\"errors\":[\"cipher: message authentication failed\"]}", -EBADMSG, "altered" },
        { 400,
          "{\"errors\":[\"ciphertext or signature version is disallowed by policy (too old)\"]}",
          -EKEYREVOKED, "min_decryption_version" },
        { 400, "{\"errors\":[\"invalid ciphertext: version is too new\"]}", -ENOENT, "made anew" },
        { 405, "{\"errors\":[\"1 error occurred:\\n\\t* unsupported operation\\n\\n\"]}", -EPROTO,
          "unsupported operation" },
        { 412, "{\"errors\":[\"required index state not present\"]}", -EAGAIN, "cannot serve now" },
        { 429, "{\"errors\":[\"request path \\\"x\\\": rate limit quota exceeded\"]}", -EAGAIN,
          "rate limit" },
        { 500, "{\"errors\":[\"local node not active but active cluster node not found\"]}",
          -EAGAIN, "cannot serve now" },
        { 503, "{\"errors\":[\"Vault is sealed\"]}", -EAGAIN, "unseal it" },
        { 502, "<html>bad gateway</html>", -EAGAIN, "502" },
        { 413, "{\"errors\":[\"failed to parse JSON input\"]}", -EPROTO, "413" },
        { 301, "<a href=\"/v1/x\">Moved Permanently</a>", -EPROTO, "redirects" },
        { 400, "Client sent an HTTP request to an HTTPS server.\n", -EPROTO, "http or https" },
        { 200 + 3, "{}", -EPROTO, "203" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct error err = { 0 };
        bool is_futile = false;
        int r = vault_read_status(&question, answers[i].status, text(answers[i].body), &is_futile,
                                  &err);
        if (r != answers[i].code || !strstr(err.text, answers[i].words))
            fail_msg("%d %s: %d, %s", answers[i].status, answers[i].body, r, err.text);
        assert_int_equal(err.code, answers[i].code);
        assert_true(is_futile == (strstr(answers[i].body, "sealed") != NULL));
    }
}

static void errors_are_shown_without_framing_and_control_characters(void **state)
{
    char shown[VAULT_TEXT_SIZE];
    (void)state;

    vault_read_errors(
        text("{\"errors\":[\"2 errors occurred:\\n\\t* one\\n\\t* two\\n\\n\",\"a\\u001b[2Jb\"]}"),
        shown);
    assert_string_equal(shown, "one * two; a [2Jb");
    vault_read_errors(text("no JSON"), shown);
    assert_string_equal(shown, "");
}

#define KEY_START "{\"data\":{\"keys\":{\"1\":1795333799},\"name\":\"k\",\"latest_version\":2,"

static void a_key_is_read_as_old_and_new_servers_describe_it(void **state)
{
    struct vault_key key;
    (void)state;

    assert_int_equal(vault_read_key(text(KEY_START "\"min_decryption_version\":1,"
                                                   "\"type\":\"aes256-gcm96\"},\"x\":[1]}"),
                                    &key, NULL),
                     0);
    assert_string_equal(key.type, "aes256-gcm96");
    assert_int_equal(key.latest_version, 2);
    assert_int_equal(key.min_decrypt_version, 1);
}

static void a_key_that_cannot_wrap_is_refused(void **state)
{
    static const struct {
        const char *rest;
        int code;
    } keys[] = {
        { "\"min_decryption_version\":1,\"type\":\"rsa-2048\"}}", -EINVAL },
        { "\"min_decryption_version\":1,\"type\":\"aes256-gcm96\",\"derived\":true}}", -EINVAL },
        { "\"min_decryption_version\":1,\"type\":\"aes256-gcm96\",\"supports_decryption\":false}}",
          -EINVAL },
        { "\"min_decryption_version\":1,\"type\":\"aes256-gcm96\",\"soft_deleted\":true}}",
          -EKEYREVOKED },
        { "\"min_decryption_version\":-1,\"type\":\"aes256-gcm96\"}}", -EPROTO },
        { "\"min_decryption_version\":4294967296,\"type\":\"aes256-gcm96\"}}", -EPROTO },
        { "\"min_decryption_version\":1,\"type\":7}}", -EPROTO },
        { "\"type\":\"aes256-gcm96\"}}", -EPROTO },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct vault_key key = { .type = "untouched" };
        char body[512];
        (void)snprintf(body, sizeof(body), "%s%s", KEY_START, keys[i].rest);
        assert_int_equal(vault_read_key(text(body), &key, NULL), keys[i].code);
        assert_string_equal(key.type, "untouched");
    }
}

static void a_ciphertext_is_kept_as_it_is_with_the_version_in_its_prefix(void **state)
{
    static const struct {
        const char *blob;
        uint32_t version;
    } blobs[] = {
        { "vault:v1:YPby", 1 },
        { "vault:v12:YPby+/==", 12 },
        { "other:YPby", 0 },
        { "vault:v99999999999:Y", 0 },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(blobs) / sizeof(blobs[0]); i++) {
        struct wrapped_key wrapped;
        char body[128];
        (void)snprintf(body, sizeof(body), "{\"data\":{\"ciphertext\":\"%s\"}}", blobs[i].blob);
        memset(&wrapped, 0, sizeof(wrapped));
        assert_int_equal(vault_read_ciphertext(text(body), &wrapped, NULL), 0);
        assert_int_equal(wrapped.key_version, blobs[i].version);
        assert_int_equal(wrapped.blob_len, strlen(blobs[i].blob));
        assert_memory_equal(wrapped.blob, blobs[i].blob, wrapped.blob_len);
    }
}

static void a_ciphertext_that_is_empty_missing_or_too_long_is_refused(void **state)
{
    char body[2 * WRAPPED_BLOB_MAX];
    struct wrapped_key wrapped;
    (void)state;

    memset(&wrapped, 0, sizeof(wrapped));
    (void)snprintf(body, sizeof(body), "{\"data\":{\"ciphertext\":\"%0*d\"}}",
                   (int)WRAPPED_BLOB_MAX + 1, 1);
    assert_int_equal(vault_read_ciphertext(text(body), &wrapped, NULL), -EPROTO);
    assert_int_equal(
        vault_read_ciphertext(text("{\"data\":{\"ciphertext\":\"\"}}"), &wrapped, NULL), -EPROTO);
    assert_int_equal(vault_read_ciphertext(text("{\"data\":null}"), &wrapped, NULL), -EPROTO);
    assert_int_equal(vault_read_ciphertext(text("[]"), &wrapped, NULL), -EPROTO);
    assert_int_equal(wrapped.blob_len, 0);
}

static void a_plaintext_is_decoded_into_secret_memory(void **state)
{
    struct secret plain = SECRET_INIT;
    (void)state;

    assert_int_equal(
        vault_read_plaintext(text("{\"data\":{\"plaintext\":\"AAEC\"}}"), &plain, NULL), 0);
    assert_int_equal(plain.len, 3);
    assert_memory_equal(plain.data, "\0\1\2", 3);
    secret_release(&plain);
    assert_int_equal(vault_read_plaintext(text("{\"data\":{\"plaintext\":\"AAE\"}}"), &plain, NULL),
                     -EPROTO);
    assert_int_equal(vault_read_plaintext(text("{\"data\":{\"plaintext\":\"\"}}"), &plain, NULL),
                     -EPROTO);
    assert_null(plain.data);
}

/* A partial failure is 200 before 1.10 and 400 from then on; from 1.5 on the failed item also has
 * an empty plaintext. */
static void a_batch_is_all_or_none_and_names_the_first_that_failed(void **state)
{
    static const char body[] =
        "{\"errors\":null,\"data\":{\"batch_results\":["
        "{\"plaintext\":\"AAEC\"},"
        "{\"plaintext\":\"\",\"error\":\"invalid ciphertext: no prefix\"}]}}";
    struct secret plain[2] = { 0 };
    struct error err = { 0 };
    size_t failed = 9;
    (void)state;

    assert_true(vault_is_batch(text(body)));
    assert_int_equal(vault_read_batch(&question, text(body), 2, plain, &failed, &err), -EBADMSG);
    assert_int_equal(failed, 1);
    assert_null(plain[0].data);
    assert_null(plain[1].data);
}

static void a_batch_of_another_length_is_refused(void **state)
{
    static const char body[] = "{\"data\":{\"batch_results\":[{\"plaintext\":\"AAEC\"}]}}";
    struct secret plain[2] = { 0 };
    size_t failed = 9;
    (void)state;

    assert_int_equal(vault_read_batch(&question, text(body), 2, plain, &failed, NULL), -EPROTO);
    assert_int_equal(failed, 2);
    assert_null(plain[0].data);
    assert_false(vault_is_batch(text("{\"data\":{}}")));
    assert_false(vault_is_batch(text("<html>")));
}

static void the_server_is_named_by_its_version_only_if_it_says_one(void **state)
{
    char server[96];
    (void)state;

    vault_read_server(text("{\"version\":\"1.13.0\"}"), server, sizeof(server));
    assert_string_equal(server, "Vault API, version 1.13.0");
    vault_read_server(text("{\"version\":\"1\\n2\"}"), server, sizeof(server));
    assert_string_equal(server, "");
}

static int set_up(void **state)
{
    (void)state;
    return secret_heap_init(NULL);
}

static void a_login_is_read_with_its_token(void **state)
{
    CLEANUP(secret_release) struct secret token = SECRET_INIT;
    struct vault_token_facts facts = { .left_s = -1 };
    (void)state;

    assert_int_equal(
        vault_read_auth(text("{\"auth\":{\"client_token\":\"hvb.x\",\"lease_duration\":1200,"
                             "\"renewable\":false,\"token_type\":\"batch\",\"num_uses\":0}}"),
                        &facts, &token, NULL),
        0);
    assert_true(secret_equal(secret_bytes(&token), text("hvb.x")));
    assert_true(facts.has_end && facts.left_s == 1200 && facts.life_s == 1200);
    assert_true(facts.is_batch && !facts.is_renewable && !facts.is_limited);
    /* Vault 1.1 tells less. */
    assert_int_equal(vault_read_auth(text("{\"auth\":{\"client_token\":\"s.x\","
                                          "\"lease_duration\":60,\"renewable\":true}}"),
                                     &facts, &token, NULL),
                     0);
    assert_true(!facts.is_batch && facts.is_renewable && !facts.is_limited);
    assert_int_equal(vault_read_auth(text("{\"auth\":null}"), &facts, &token, NULL), -EPROTO);
}

static int64_t secret_id_end(const char *expiration)
{
    struct vault_secret_id_facts facts = { .life_s = 0 };
    char body[256];

    (void)snprintf(body, sizeof(body),
                   "{\"data\":{\"expiration_time\":\"%s\",\"secret_id_ttl\":3600}}", expiration);
    int r = vault_read_secret_id(text(body), &facts, NULL);
    assert_int_equal(facts.life_s, r == 0 ? 3600 : 0);
    return r < 0 ? r : facts.ends_s;
}

static void the_end_of_a_secret_id_is_read_in_any_zone(void **state)
{
    struct vault_secret_id_facts facts;

    (void)state;
    assert_int_equal(secret_id_end("0001-01-01T00:00:00Z"), 0);
    assert_int_equal(secret_id_end("2026-11-27T12:00:00Z"), 1795780800);
    assert_int_equal(secret_id_end("2026-11-27T12:00:00.123456789Z"), 1795780800);
    assert_int_equal(secret_id_end("2026-11-27T14:00:00.5+02:00"), 1795780800);
    assert_int_equal(secret_id_end("2026-11-27T06:30:00-05:30"), 1795780800);
    assert_int_equal(secret_id_end("2026-11-27T12:00:00"), -EPROTO);
    assert_int_equal(secret_id_end("2026-11-27T12:00:00+02:0x"), -EPROTO);
    assert_int_equal(secret_id_end("soon"), -EPROTO);
    assert_int_equal(vault_read_secret_id(text("{\"data\":null}"), &facts, NULL), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_is_sorted_and_says_what_to_do),
        cmocka_unit_test(errors_are_shown_without_framing_and_control_characters),
        cmocka_unit_test(a_key_is_read_as_old_and_new_servers_describe_it),
        cmocka_unit_test(a_key_that_cannot_wrap_is_refused),
        cmocka_unit_test(a_ciphertext_is_kept_as_it_is_with_the_version_in_its_prefix),
        cmocka_unit_test(a_ciphertext_that_is_empty_missing_or_too_long_is_refused),
        cmocka_unit_test(a_plaintext_is_decoded_into_secret_memory),
        cmocka_unit_test(a_batch_is_all_or_none_and_names_the_first_that_failed),
        cmocka_unit_test(a_batch_of_another_length_is_refused),
        cmocka_unit_test(the_server_is_named_by_its_version_only_if_it_says_one),
        cmocka_unit_test(a_login_is_read_with_its_token),
        cmocka_unit_test(the_end_of_a_secret_id_is_read_in_any_zone),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
