/* The file of credentials: what is stored is read again, and so is what earlier versions stored. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "base/wire.h"
#include "control/credentials.h"

static char folder[] = "/tmp/coffer-credentials-XXXXXX";
static char path[64];

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void set(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
}

static void fill(struct key_provider_config *config)
{
    set(config->type, sizeof(config->type), "vault");
    set(config->addresses, sizeof(config->addresses), "https://a:8200,https://b:8200");
    set(config->key_name, sizeof(config->key_name), "key");
    set(config->kms_namespace, sizeof(config->kms_namespace), "team");
    set(config->mount_path, sizeof(config->mount_path), "engine");
    set(config->auth_path, sizeof(config->auth_path), "roles");
    set(config->role_id, sizeof(config->role_id), "a role");
    set(config->kubernetes_role, sizeof(config->kubernetes_role), "a pod");
    set(config->kubernetes_token_path, sizeof(config->kubernetes_token_path), "/token");
    config->allows_insecure_http = true;
    set(config->username, sizeof(config->username), "a user");
    config->leaves_renewal = true;
    config->uses_gcm = true;
    assert_int_equal(buf_assign(&config->client_cert_pem, text("cert")), 0);
    assert_int_equal(buf_assign(&config->ca_cert_pem, text("ca")), 0);
    assert_int_equal(secret_assign(&config->client_key_pem, text("client key")), 0);
    assert_int_equal(secret_assign(&config->token, text("a token")), 0);
    assert_int_equal(secret_assign(&config->secret_id, text("a secret ID")), 0);
    assert_int_equal(secret_assign(&config->password, text("a password")), 0);
}

static void same_secret(const struct secret *secret, const char *wanted)
{
    assert_true(secret_equal(secret_bytes(secret), text(wanted)));
}

static void what_is_stored_is_read_again(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config stored = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };
    struct stat status;
    (void)state;

    fill(&stored);
    assert_int_equal(kms_logins_put(&logins, "", "role-1", text("its secret")), 0);
    assert_int_equal(kms_logins_put(&logins, "team", "role-1", text("old")), 0);
    assert_int_equal(kms_logins_put(&logins, "team", "role-1", text("another")), 0);
    assert_int_equal(credentials_store(folder, CREDENTIALS_IN_USE, &stored, true, &logins, NULL),
                     0);
    assert_int_equal(credentials_load(folder, CREDENTIALS_IN_USE, &read, NULL), 0);
    assert_string_equal(read.config.addresses, stored.addresses);
    assert_string_equal(read.config.kms_namespace, "team");
    assert_string_equal(read.config.mount_path, "engine");
    assert_string_equal(read.config.auth_path, "roles");
    assert_string_equal(read.config.role_id, "a role");
    assert_string_equal(read.config.kubernetes_role, "a pod");
    assert_string_equal(read.config.kubernetes_token_path, "/token");
    assert_string_equal(read.config.username, "a user");
    assert_true(read.config.allows_insecure_http && read.config.leaves_renewal &&
                read.config.uses_gcm);
    same_secret(&read.config.client_key_pem, "client key");
    same_secret(&read.config.token, "a token");
    same_secret(&read.config.secret_id, "a secret ID");
    same_secret(&read.config.password, "a password");
    assert_true(read.converts);
    assert_int_equal(read.logins.count, 2);
    same_secret(&kms_logins_find(&read.logins, "", "role-1")->secret_id, "its secret");
    same_secret(&kms_logins_find(&read.logins, "team", "role-1")->secret_id, "another");
    assert_null(kms_logins_find(&read.logins, "team", "role-2"));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

/* docs/formats/registry.md, as versions 1 and 2 were. */
static size_t write_old(uint8_t *room, size_t size, uint16_t named, bool is_second)
{
    struct writer writer = writer_init(room, size);

    writer_u32(&writer, 0x44524343u);
    writer_u16(&writer, named);
    writer_u8(&writer, 0);
    writer_text(&writer, "vault");
    writer_text(&writer, "https://old:8200");
    writer_text(&writer, "old-key");
    writer_text(&writer, "");
    writer_text(&writer, "transit");
    writer_string(&writer, text(""));
    writer_string(&writer, text(""));
    writer_string(&writer, text(""));
    writer_string(&writer, text("s.old"));
    if (is_second) {
        writer_u8(&writer, 1);
        writer_text(&writer, "roles");
        writer_text(&writer, "a role");
        writer_text(&writer, "");
        writer_text(&writer, "");
        writer_string(&writer, text("an ID"));
    }
    assert_int_equal(writer_done(&writer), 0);
    return writer_written(&writer).len;
}

static int load_bytes(const uint8_t *data, size_t len, struct credentials *ret)
{
    assert_int_equal(file_replace(path, (struct bytes){ data, len }, 0600, NULL), 0);
    return credentials_load(folder, CREDENTIALS_IN_USE, ret, NULL);
}

static void what_version_1_stored_is_still_read(void **state)
{
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    uint8_t room[512];
    (void)state;

    size_t len = write_old(room, sizeof(room), 1, false);
    assert_int_equal(load_bytes(room, len, &read), 0);
    assert_string_equal(read.config.addresses, "https://old:8200");
    assert_string_equal(read.config.role_id, "");
    assert_false(read.config.leaves_renewal);
    same_secret(&read.config.token, "s.old");
}

static void no_more_roles_are_taken_than_secret_memory_holds(void **state)
{
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };
    char role[16];
    (void)state;

    for (unsigned i = 0; i < KMS_LOGINS_MAX; i++) {
        (void)snprintf(role, sizeof(role), "role-%u", i);
        assert_int_equal(kms_logins_put(&logins, "", role, text("secret")), 0);
    }
    assert_int_equal(kms_logins_put(&logins, "", "one more", text("secret")), -ENOSPC);
    assert_int_equal(kms_logins_put(&logins, "", "role-7", text("rotated")), 0);
}

static void what_version_2_stored_is_still_read(void **state)
{
    CLEANUP(credentials_release)
    struct credentials read = CREDENTIALS_INIT;
    uint8_t room[512];
    (void)state;

    size_t len = write_old(room, sizeof(room), 2, true);
    assert_int_equal(load_bytes(room, len, &read), 0);
    assert_string_equal(read.config.role_id, "a role");
    assert_true(read.config.leaves_renewal);
    same_secret(&read.config.secret_id, "an ID");
    assert_string_equal(read.config.username, "");
    assert_false(read.config.uses_gcm);
    assert_int_equal(read.config.password.len, 0);
}

/* What version 4 added: a byte, and the number of logins. */
static void what_version_3_stored_is_still_read(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config stored = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    CLEANUP(buf_wipe) struct buf whole = BUF_INIT;
    (void)state;

    fill(&stored);
    assert_int_equal(credentials_store(folder, CREDENTIALS_IN_USE, &stored, false, NULL, NULL), 0);
    assert_int_equal(file_read(path, 4096, &whole, NULL), 0);
    whole.data[4] = 3;
    assert_int_equal(load_bytes(whole.data, whole.len, &read), -EBADMSG);
    assert_int_equal(load_bytes(whole.data, whole.len - 5, &read), 0);
    assert_string_equal(read.config.role_id, "a role");
    same_secret(&read.config.password, "a password");
    assert_false(read.converts);
    assert_int_equal(read.logins.count, 0);
}

static void a_later_version_and_what_is_cut_are_refused(void **state)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    CLEANUP(buf_wipe) struct buf whole = BUF_INIT;
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };
    uint8_t room[512];
    (void)state;

    size_t len = write_old(room, sizeof(room), 5, true);
    assert_int_equal(load_bytes(room, len, &read), -EPROTONOSUPPORT);
    len = write_old(room, sizeof(room), 2, false);
    assert_true(load_bytes(room, len, &read) < 0);
    len = write_old(room, sizeof(room), 3, true);
    assert_true(load_bytes(room, len, &read) < 0);

    fill(&config);
    assert_int_equal(kms_logins_put(&logins, "team", "role-1", text("a secret")), 0);
    assert_int_equal(credentials_store(folder, CREDENTIALS_IN_USE, &config, false, &logins, NULL),
                     0);
    assert_int_equal(file_read(path, 4096, &whole, NULL), 0);
    for (size_t cut = 0; cut < whole.len; cut++)
        assert_true(load_bytes(whole.data, cut, &read) < 0);
    assert_string_equal(read.config.type, "");
    assert_int_equal(load_bytes(whole.data, whole.len, &read), 0);
}

static int set_up(void **state)
{
    (void)state;
    if (secret_heap_init(NULL) < 0 || !mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/credentials", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_read_again),
        cmocka_unit_test(what_version_1_stored_is_still_read),
        cmocka_unit_test(what_version_2_stored_is_still_read),
        cmocka_unit_test(what_version_3_stored_is_still_read),
        cmocka_unit_test(no_more_roles_are_taken_than_secret_memory_holds),
        cmocka_unit_test(a_later_version_and_what_is_cut_are_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
