/* What every key provider promises. The first argument is its type; where the key server is and
 * how to log in come from the environment (tests/support/kms_settings.h), set by
 * tests/integration/test_key_providers.py; besides those OTHER_KEY, a second usable key, and
 * DEAD_ADDRESS, where nobody answers. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "crypto/secret.h"
#include "keys/key_provider.h"
#include "keys/kms_check.h"
#include "tests/support/kms_settings.h"

static const char *type;

static const uint8_t plain_bytes[] = "32 bytes of a filesystem's key..";

static struct bytes plain_text(void)
{
    return (struct bytes){ plain_bytes, sizeof(plain_bytes) - 1 };
}

static void set_text(char *to, size_t size, const char *from)
{
    assert_true(strlen(from) < size);
    memcpy(to, from, strlen(from) + 1);
}

static void configure(struct key_provider_config *config)
{
    struct error err = { 0 };

    if (kms_settings_read(type, config, &err) < 0)
        fail_msg("%s", err.text);
    if (strcmp(type, "local") == 0) {
        assert_int_equal(secret_new(&config->local_key, 32), 0);
        memset(config->local_key.data, 7, 32);
    }
}

static int set_up(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    struct key_provider *provider = NULL;
    struct error err = { 0 };

    configure(&config);
    if (key_provider_open(&config, &provider, &err) < 0)
        fail_msg("%s", err.text);
    *state = provider;
    return 0;
}

static int tear_down(void **state)
{
    key_provider_close(*state);
    return 0;
}

static void assert_ok(int r, const struct error *err)
{
    if (r < 0)
        fail_msg("%s: %s", strerrordesc_np(-r), err->text);
}

static void wrap(struct key_provider *provider, struct wrapped_key *ret)
{
    struct error err = { 0 };

    assert_ok(key_provider_wrap(provider, plain_text(), ret, &err), &err);
}

static void assert_unwraps(struct key_provider *provider, const struct wrapped_key *wrapped)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    struct error err = { 0 };

    assert_ok(key_provider_unwrap(provider, wrapped, 1, &plain, &err), &err);
    assert_true(secret_equal(secret_bytes(&plain), plain_text()));
}

static void what_was_wrapped_is_unwrapped(void **state)
{
    struct wrapped_key wrapped;

    wrap(*state, &wrapped);
    assert_string_equal(wrapped.provider, type);
    assert_unwraps(*state, &wrapped);
}

static void a_blob_does_not_contain_what_it_wraps(void **state)
{
    struct wrapped_key wrapped;

    wrap(*state, &wrapped);
    assert_true(wrapped.blob_len >= plain_text().len);
    assert_null(memmem(&wrapped, sizeof(wrapped), plain_bytes, 16));
}

static void wrapping_twice_gives_different_blobs(void **state)
{
    struct wrapped_key first, second;

    wrap(*state, &first);
    wrap(*state, &second);
    assert_true(first.blob_len != second.blob_len ||
                memcmp(first.blob, second.blob, first.blob_len) != 0);
}

static void plaintexts_of_1_to_256_bytes_come_back(void **state)
{
    static const size_t lengths[] = { 1, 15, 16, 17, 88, 255, 256 };
    uint8_t plain[256];
    struct error err = { 0 };

    random_bytes(plain, sizeof(plain));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CLEANUP(secret_release) struct secret back = SECRET_INIT;
        struct wrapped_key wrapped;
        assert_ok(key_provider_wrap(*state, (struct bytes){ plain, lengths[i] }, &wrapped, &err),
                  &err);
        assert_ok(key_provider_unwrap(*state, &wrapped, 1, &back, &err), &err);
        assert_int_equal(back.len, lengths[i]);
        assert_memory_equal(back.data, plain, lengths[i]);
    }
}

static void many_are_unwrapped_in_one_call_in_order(void **state)
{
    struct wrapped_key wrapped[5];
    struct secret plain[5] = { 0 };
    uint8_t bytes[5][32];
    struct error err = { 0 };

    for (size_t i = 0; i < 5; i++) {
        random_bytes(bytes[i], 32);
        assert_ok(key_provider_wrap(*state, (struct bytes){ bytes[i], 32 }, &wrapped[i], &err),
                  &err);
    }
    assert_ok(key_provider_unwrap(*state, wrapped, 5, plain, &err), &err);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(plain[i].len, 32);
        assert_memory_equal(plain[i].data, bytes[i], 32);
        secret_release(&plain[i]);
    }
}

/* Changes a character of the body of a Vault blob to another of base64, or a byte of a binary
 * one: in the last block for CBC, so that the padding nearly always breaks. */
static void damage(struct wrapped_key *wrapped)
{
    uint8_t *at = &wrapped->blob[wrapped->mode == WRAP_MODE_SERVER ? wrapped->blob_len / 2
                                                                   : wrapped->blob_len - 17];

    if (wrapped->mode == WRAP_MODE_SERVER)
        *at = *at == 'A' ? 'B' : 'A';
    else
        *at ^= 0xff;
}

static void an_altered_blob_does_not_unwrap_to_the_key(void **state)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    struct wrapped_key wrapped;
    struct error err = { 0 };

    wrap(*state, &wrapped);
    damage(&wrapped);
    int r = key_provider_unwrap(*state, &wrapped, 1, &plain, &err);
    /* CBC does not authenticate: what comes back must at least not be the key. */
    if (wrapped.mode == WRAP_MODE_CBC_PKCS5 && r == 0) {
        assert_false(secret_equal(secret_bytes(&plain), plain_text()));
        return;
    }
    assert_int_equal(r, -EBADMSG);
    assert_int_equal(err.code, -EBADMSG);
    assert_true(err.text[0]);
    assert_null(plain.data);
}

static void one_bad_blob_among_many_fails_all_and_is_named(void **state)
{
    struct wrapped_key wrapped[3];
    struct secret plain[3] = { 0 };
    struct error err = { 0 };

    for (size_t i = 0; i < 3; i++)
        wrap(*state, &wrapped[i]);
    /* Cut, so that no mode can take it for whole. */
    wrapped[1].blob_len = (uint16_t)(wrapped[1].blob_len - 7);
    assert_int_equal(key_provider_unwrap(*state, wrapped, 3, plain, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "wrapped key 2 of 3"));
    for (size_t i = 0; i < 3; i++)
        assert_null(plain[i].data);
}

static void a_blob_of_another_kind_of_server_is_refused(void **state)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    struct wrapped_key wrapped;
    struct error err = { 0 };

    wrap(*state, &wrapped);
    set_text(wrapped.provider, sizeof(wrapped.provider), "other");
    assert_int_equal(key_provider_unwrap(*state, &wrapped, 1, &plain, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'other'"));
}

static void rewrapping_gives_a_new_blob_of_the_same_key(void **state)
{
    struct wrapped_key old, rewrapped;
    struct error err = { 0 };

    wrap(*state, &old);
    assert_ok(key_provider_rewrap(*state, &old, 1, &rewrapped, &err), &err);
    assert_true(old.blob_len != rewrapped.blob_len ||
                memcmp(old.blob, rewrapped.blob, old.blob_len) != 0);
    assert_unwraps(*state, &rewrapped);
    assert_unwraps(*state, &old);
}

static void verify_describes_the_key(void **state)
{
    struct key_description description;
    struct error err = { 0 };

    assert_ok(key_provider_verify(*state, &description, &err), &err);
    assert_true(description.algorithm[0]);
    assert_string_equal(description.state, "active");
    assert_true(description.server[0]);
}

static void a_key_wrapped_by_another_master_key_is_unwrapped_with_that_one(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *other = NULL;
    struct wrapped_key wrapped, rewrapped;
    struct error err = { 0 };

    configure(&config);
    set_text(config.key_name, sizeof(config.key_name), kms_setting("OTHER_KEY"));
    assert_ok(key_provider_open(&config, &other, &err), &err);
    wrap(other, &wrapped);
    assert_unwraps(*state, &wrapped);
    assert_ok(key_provider_rewrap(*state, &wrapped, 1, &rewrapped, &err), &err);
    assert_string_equal(rewrapped.key_name, kms_setting("KEY"));
    assert_unwraps(*state, &rewrapped);
}

static void the_addresses_of_a_blob_are_never_contacted(void **state)
{
    struct wrapped_key wrapped;

    wrap(*state, &wrapped);
    set_text(wrapped.addresses, sizeof(wrapped.addresses), "https://192.0.2.1:1");
    assert_unwraps(*state, &wrapped);
}

static void names_in_a_blob_that_are_no_names_are_refused(void **state)
{
    static const char *const names[] = { "../sys/seal", "a/b", "a?b", "a b", "\n", "" };
    struct wrapped_key wrapped;

    wrap(*state, &wrapped);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        CLEANUP(secret_release) struct secret plain = SECRET_INIT;
        set_text(wrapped.key_name, sizeof(wrapped.key_name), names[i]);
        int r = key_provider_unwrap(*state, &wrapped, 1, &plain, NULL);
        assert_true(r == -EINVAL || r == -ENOENT);
        assert_null(plain.data);
    }
}

static void a_missing_key_is_enoent_and_is_not_created(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct key_description description;
    struct wrapped_key wrapped;
    struct error err = { 0 };
    (void)state;

    configure(&config);
    set_text(config.key_name, sizeof(config.key_name), "99999");
    assert_ok(key_provider_open(&config, &provider, &err), &err);
    assert_int_equal(key_provider_wrap(provider, plain_text(), &wrapped, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'99999'"));
    assert_int_equal(key_provider_describe(provider, &description, &err), -ENOENT);
}

static void a_dead_address_is_passed_over(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct wrapped_key wrapped;
    struct error err = { 0 };
    (void)state;

    configure(&config);
    (void)snprintf(config.addresses, sizeof(config.addresses), "%s,%s", kms_setting("DEAD_ADDRESS"),
                   kms_setting("ADDRESS"));
    assert_ok(key_provider_open(&config, &provider, &err), &err);
    wrap(provider, &wrapped);
    assert_unwraps(provider, &wrapped);
}

static void a_server_that_is_away_is_eagain_and_named(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct wrapped_key wrapped;
    struct error err = { 0 };
    (void)state;

    configure(&config);
    set_text(config.addresses, sizeof(config.addresses), kms_setting("DEAD_ADDRESS"));
    assert_ok(key_provider_open(&config, &provider, &err), &err);
    assert_int_equal(key_provider_wrap(provider, plain_text(), &wrapped, &err), -EAGAIN);
    assert_int_equal(err.code, -EAGAIN);
    assert_non_null(strstr(err.text, kms_setting("DEAD_ADDRESS")));
}

/* What a check of two addresses, of which the first is dead, must and must not find. */
struct found {
    unsigned failed_at_dead;
    unsigned failed_elsewhere;
    bool unwraps;
};

static void take_step(void *arg, const struct kms_check_step *step)
{
    struct found *found = arg;
    bool is_failed = step->result == KMS_CHECK_FAILED;
    bool is_dead = strcmp(step->address, kms_setting("DEAD_ADDRESS")) == 0;

    assert_true(step->text[0] != '\0');
    assert_true((step->action[0] != '\0') == (is_failed || step->result == KMS_CHECK_WARNING));
    assert_true((step->class != KMS_CHECK_NONE) == is_failed);
    found->failed_at_dead += is_failed && is_dead;
    found->failed_elsewhere += is_failed && !is_dead;
    found->unwraps |= step->result == KMS_CHECK_OK && strcmp(step->name, "decrypt") == 0;
}

static void a_check_goes_through_each_address_and_leaves_the_provider_usable(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct found found = { .unwraps = false };
    struct kms_check check = { .report = take_step, .arg = &found };
    struct wrapped_key wrapped;
    struct error err = { 0 };
    (void)state;

    configure(&config);
    (void)snprintf(config.addresses, sizeof(config.addresses), "%s,%s", kms_setting("DEAD_ADDRESS"),
                   kms_setting("ADDRESS"));
    assert_ok(key_provider_open(&config, &provider, &err), &err);
    assert_ok(key_provider_check(provider, &check, &err), &err);
    assert_int_equal(found.failed_at_dead, 1);
    assert_int_equal(found.failed_elsewhere, 0);
    assert_true(found.unwraps);
    wrap(provider, &wrapped);
    assert_unwraps(provider, &wrapped);
}

static void where_there_is_no_server_there_is_nothing_to_check(void **state)
{
    struct found found = { .unwraps = false };
    struct kms_check check = { .report = take_step, .arg = &found };
    struct error err = { 0 };

    if (strcmp(type, "local") != 0)
        skip();
    assert_int_equal(key_provider_check(*state, &check, &err), -EOPNOTSUPP);
    assert_int_equal(err.code, -EOPNOTSUPP);
}

#define WITH_PROVIDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* The last SERVER_TESTS need a server. */
static const struct CMUnitTest tests[] = {
    WITH_PROVIDER(what_was_wrapped_is_unwrapped),
    WITH_PROVIDER(a_blob_does_not_contain_what_it_wraps),
    WITH_PROVIDER(wrapping_twice_gives_different_blobs),
    WITH_PROVIDER(plaintexts_of_1_to_256_bytes_come_back),
    WITH_PROVIDER(many_are_unwrapped_in_one_call_in_order),
    WITH_PROVIDER(an_altered_blob_does_not_unwrap_to_the_key),
    WITH_PROVIDER(one_bad_blob_among_many_fails_all_and_is_named),
    WITH_PROVIDER(a_blob_of_another_kind_of_server_is_refused),
    WITH_PROVIDER(rewrapping_gives_a_new_blob_of_the_same_key),
    WITH_PROVIDER(verify_describes_the_key),
    WITH_PROVIDER(where_there_is_no_server_there_is_nothing_to_check),
    WITH_PROVIDER(the_addresses_of_a_blob_are_never_contacted),
    WITH_PROVIDER(a_key_wrapped_by_another_master_key_is_unwrapped_with_that_one),
    WITH_PROVIDER(names_in_a_blob_that_are_no_names_are_refused),
    cmocka_unit_test(a_missing_key_is_enoent_and_is_not_created),
    cmocka_unit_test(a_dead_address_is_passed_over),
    cmocka_unit_test(a_server_that_is_away_is_eagain_and_named),
    cmocka_unit_test(a_check_goes_through_each_address_and_leaves_the_provider_usable),
};
#define SERVER_TESTS 6u

int main(int argc, char **argv)
{
    size_t count = sizeof(tests) / sizeof(tests[0]);

    type = argc > 1 ? argv[1] : "local";
    if (strcmp(type, "local") == 0)
        count -= SERVER_TESTS;
    if (secret_heap_init(NULL) < 0)
        return 1;
    return _cmocka_run_group_tests("key_provider", tests, count, NULL, NULL);
}
