#include "keys/kmip/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "keys/kmip/connection.h"
#include "keys/kms_check_key.h"

#define LOGIN_LIMIT_MS 5000
#define KEY_ENDS_SOON_S (90 * (int64_t)86400) /* moving to another key takes a while */
#define MASK_TEXT_SIZE 200u

/* All that is known of one address. */
struct checking {
    const struct kmip_checked *of;
    struct kms_check *check;
    struct kms_check_reach reach;
    struct kmip_version version;
    bool knows_server; /* what is in server */
    struct kmip_server server;
    int login_result; /* of connecting with the protocol */
    struct error login_error;
    struct kmip_attributes attributes;
    struct kms_check_key key;
};

/* ------------------------------------------------------------------ network, login */

static bool check_resolve(void *arg)
{
    return kms_check_resolve(&((struct checking *)arg)->reach);
}

static bool check_connect(void *arg)
{
    return kms_check_connect(&((struct checking *)arg)->reach);
}

static bool check_tls(void *arg)
{
    return kms_check_tls(&((struct checking *)arg)->reach);
}

static bool check_client_certificate(void *arg)
{
    static const char name[] = "client-certificate";
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    struct tls_validity validity = { .from_s = 0 };
    struct error err = { .code = 0 };
    char span[KMS_CHECK_TIME_SIZE], date[KMS_CHECK_TIME_SIZE];
    int64_t now_s = clock_wall_ns() / 1000000000;

    int r = tls_certificate_validity(buf_bytes(&checking->of->config->client_cert_pem), &validity,
                                     &err);
    kms_check_advise(check, "have one issued by the key server's administrator, and set it with "
                            "'coffer security kms set kmip'");
    if (r < 0)
        return kms_check_fail(check, name, KMS_CHECK_TLS, "the client certificate: %s", err.text);
    kms_check_span(validity.until_s - now_s, span);
    kms_check_date(validity.until_s, date);
    if (validity.until_s <= now_s)
        return kms_check_fail(check, name, KMS_CHECK_TLS,
                              "the client certificate has expired, at %s", date);
    if (validity.from_s > now_s) {
        kms_check_date(validity.from_s, date);
        return kms_check_fail(check, name, KMS_CHECK_TLS,
                              "the client certificate is not valid before %s: is this host's "
                              "clock right?",
                              date);
    }
    if (kms_check_ends_soon(&validity, now_s))
        return kms_check_warn(check, name, "the client certificate ends in %s, at %s", span, date);
    return kms_check_ok(check, name, "good for %s, until %s", span, date);
}

static void disconnectp(struct kmip_connection **connection)
{
    kmip_disconnect(*connection);
}

/* That a server does not say what it is, is no failure. */
static int query(struct kmip_connection *connection, int64_t deadline_ms, struct kmip_server *ret)
{
    CLEANUP(buf_wipe) struct buf message = BUF_INIT;
    struct kmip_response response = { .is_success = false };
    uint8_t room[KMIP_REQUEST_MAX];
    struct writer writer = writer_init(room, sizeof(room));

    int r = kmip_write_query(&writer, kmip_connection_header(connection));
    if (r == 0)
        r = kmip_exchange(connection, writer_written(&writer), KMIP_QUERY, deadline_ms, &message,
                          &response, NULL);
    memory_wipe(room, sizeof(room));
    if (r == 0 && !response.is_success)
        return -EOPNOTSUPP;
    return r < 0 ? r : kmip_read_query(response.payload, ret);
}

/* One connection tells all three: whether we are let in, in which version, and to what. */
static void log_in(struct checking *checking)
{
    CLEANUP(disconnectp) struct kmip_connection *connection = NULL;
    int64_t deadline_ms = clock_monotonic_ms() + LOGIN_LIMIT_MS;

    checking->login_result = kmip_connect(&checking->reach.target, &checking->of->credential,
                                          deadline_ms, &connection, &checking->login_error);
    if (checking->login_result < 0)
        return;
    checking->version = kmip_connection_version(connection);
    checking->knows_server = query(connection, deadline_ms, &checking->server) == 0;
}

static bool check_login(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;

    log_in(checking);
    if (checking->login_result == -EPROTO) {
        (void)kms_check_skip(check, "login", "there is no common language");
        return true;
    }
    if (checking->login_result == 0)
        return kms_check_ok(check, "login", "the client certificate%s accepted",
                            checking->of->credential.username ? " and the user name are" : " is");
    if (checking->login_result == -EACCES && checking->of->credential.username) {
        kms_check_advise(check,
                         "try to log in to the server as the user '%s' by its own means, and have "
                         "the CN of the certificate made known to it",
                         checking->of->credential.username);
        return kms_check_fail(check, "login", KMS_CHECK_LOGIN, "%s", checking->login_error.text);
    }
    if (checking->login_result == -EACCES) {
        kms_check_advise(check, "look at it with 'openssl x509 -noout -subject -ext "
                                "extendedKeyUsage -in <client-cert>', and have its CN made known "
                                "to the server");
        return kms_check_fail(check, "login", KMS_CHECK_LOGIN, "%s", checking->login_error.text);
    }
    kms_check_advise(check,
                     "look into the KMIP server's log: it accepts the connection, but does not "
                     "answer; some servers do that to a client certificate that they do not know");
    return kms_check_fail(check, "login", kms_check_class_of(checking->login_result), "%s",
                          checking->login_error.text);
}

static bool check_protocol(void *arg)
{
    struct checking *checking = arg;
    struct kms_check *check = checking->check;

    if (checking->login_result == 0 && checking->of->config->uses_gcm &&
        !kmip_version_has_gcm(checking->version)) {
        kms_check_advise(check, "enable KMIP 1.4 or later on the server, or set it again with "
                                "'--cipher-mode cbc'");
        return kms_check_fail(check, "protocol", KMS_CHECK_UNUSABLE,
                              "KMIP %u.%u, which loses the tag of AES-GCM, the configured mode",
                              checking->version.major, checking->version.minor);
    }
    if (checking->login_result == 0)
        return kms_check_ok(check, "protocol", "KMIP %u.%u", checking->version.major,
                            checking->version.minor);
    kms_check_advise(check,
                     "see that a KMIP server listens on port %u, and enable a version of "
                     "1.2 to 2.1 there",
                     checking->reach.target.port);
    return kms_check_fail(check, "protocol", KMS_CHECK_ANSWER, "%s", checking->login_error.text);
}

/* The trial is the proof; this is for whoever wonders why it failed. */
static bool check_server(void *arg)
{
    static const char name[] = "server";
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    const struct kmip_server *server = &checking->server;
    const char *vendor = server->vendor[0] ? server->vendor : "a server without a name";

    if (!checking->knows_server)
        return kms_check_skip(check, name, "it does not say what it is (Query)");
    if (server->gets_attributes && server->encrypts && server->decrypts)
        return kms_check_ok(check, name, "%s, which offers Get Attributes, Encrypt and Decrypt",
                            vendor);
    kms_check_advise(check, "enable Get Attributes, Encrypt and Decrypt there, or use another "
                            "KMIP server");
    return kms_check_warn(check, name, "%s, which does not list%s%s%s among its operations", vendor,
                          server->gets_attributes ? "" : " Get Attributes",
                          server->encrypts ? "" : " Encrypt", server->decrypts ? "" : " Decrypt");
}

/* ------------------------------------------------------------------ the key */

void kmip_advise(const char *uid, int r, struct kms_check *check)
{
    if (r == -EACCES)
        kms_check_advise(check,
                         "let the owner of the key '%s' grant this client Get Attributes, Encrypt "
                         "and Decrypt, or use the certificate of its owner",
                         uid);
    else if (r == -ENOENT)
        kms_check_advise(check,
                         "correct the UID with 'coffer security kms set'; restore the key from the "
                         "server's backup if filesystems were wrapped by it");
    else if (r == -EAGAIN)
        kms_check_advise(check, "wait for it, or look into the KMIP server's log");
    else
        kms_check_advise(check, "look at the key '%s' on the server, and into its log", uid);
}

static bool check_key(void *arg)
{
    struct checking *checking = arg;
    struct error err = { .code = 0 };

    int r = checking->of->read_key(checking->of->provider, &checking->attributes, &err);
    if (r < 0)
        return kms_check_key_failed(&checking->key, "key", r, &err);
    return kms_check_ok(checking->check, "key", "the key '%s' is there",
                        checking->of->config->key_name);
}

static bool check_key_type(void *arg)
{
    static const char name[] = "key-type";
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    const struct kmip_attributes *key = &checking->attributes;

    kms_check_advise(check, "create a symmetric AES key of 256 bits that may encrypt and decrypt, "
                            "activate it, and set its UID with 'coffer security kms set'");
    if (key->object_type && key->object_type != KMIP_OBJECT_SYMMETRIC_KEY)
        return kms_check_fail(check, name, KMS_CHECK_UNUSABLE,
                              "it is no symmetric key (object type %u)", key->object_type);
    if (key->algorithm && key->algorithm != KMIP_ALGORITHM_AES)
        return kms_check_fail(check, name, KMS_CHECK_UNUSABLE,
                              "it is not an AES key (algorithm %u)", key->algorithm);
    if (key->length && key->length < 256)
        return kms_check_warn(
            check, name, "AES of %u bits, shorter than the 256 of filesystem keys", key->length);
    if (!key->algorithm || !key->length)
        return kms_check_ok(check, name, "the server does not say; the trial will tell");
    return kms_check_ok(check, name, "AES-%u", key->length);
}

/* Of a key that is active: whether it stays so. */
static bool report_end(struct kms_check *check, const char *name, int64_t ends_s)
{
    char span[KMS_CHECK_TIME_SIZE], date[KMS_CHECK_TIME_SIZE];
    int64_t left_s = ends_s - clock_wall_ns() / 1000000000;

    if (ends_s == 0)
        return kms_check_ok(check, name, "active");
    kms_check_span(left_s > 0 ? left_s : 0, span);
    kms_check_date(ends_s, date);
    if (left_s > KEY_ENDS_SOON_S)
        return kms_check_ok(check, name, "active for another %s, until %s", span, date);
    kms_check_advise(check, "have its Deactivation Date and Protect Stop Date moved on the server, "
                            "or rewrap with another key before: 'coffer security kms rewrap "
                            "--new-key-uid <uid>'");
    return kms_check_warn(check, name, "active, but its use ends in %s, at %s", span, date);
}

static bool check_key_state(void *arg)
{
    static const char name[] = "key-state";
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    enum kmip_state state = checking->attributes.state;

    switch (state) {
    case KMIP_STATE_UNKNOWN:
        return kms_check_ok(check, name, "the server does not say; the trial will tell");
    case KMIP_ACTIVE:
        return report_end(check, name, checking->attributes.ends_s);
    case KMIP_PRE_ACTIVE:
        kms_check_advise(check, "activate it on the server (Activate, or its activation date)");
        break;
    case KMIP_DEACTIVATED:
    case KMIP_COMPROMISED:
        kms_check_advise(check, "it cannot become active again: have the server's administrator "
                                "restore it if filesystems were wrapped by it, else create another "
                                "and set its UID with 'coffer security kms set'");
        break;
    case KMIP_DESTROYED:
    case KMIP_DESTROYED_COMPROMISED:
    default:
        kms_check_advise(check, "restore the key from the server's backup if filesystems were "
                                "wrapped by it, else create another and set its UID with 'coffer "
                                "security kms set'");
        break;
    }
    return kms_check_fail(check, name, KMS_CHECK_UNUSABLE, "the key is %s, not active",
                          kmip_state_name(state));
}

static void show_mask(uint32_t mask, char ret[static MASK_TEXT_SIZE])
{
    static const char *const names[] = { "sign",       "verify",     "encrypt", "decrypt",
                                         "wrap",       "unwrap",     "export",  "MAC generate",
                                         "MAC verify", "derive key", "commit",  "key agreement" };
    size_t len = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if ((mask & 1u << i) && len < MASK_TEXT_SIZE)
            len += (size_t)snprintf(ret + len, MASK_TEXT_SIZE - len, "%s%s", len ? ", " : "",
                                    names[i]);
}

static bool check_key_usage(void *arg)
{
    static const char name[] = "key-usage";
    const uint32_t both = KMIP_USAGE_ENCRYPT | KMIP_USAGE_DECRYPT;
    struct checking *checking = arg;
    struct kms_check *check = checking->check;
    uint32_t mask = checking->attributes.usage_mask;
    char shown[MASK_TEXT_SIZE];

    if (mask == 0)
        return kms_check_ok(check, name, "the server does not say; the trial will tell");
    show_mask(mask, shown);
    if ((mask & both) == both)
        return kms_check_ok(check, name, "it may %s", shown);
    kms_check_advise(check, "create a key whose Cryptographic Usage Mask has Encrypt and Decrypt "
                            "(0x0C), and set its UID with 'coffer security kms set'");
    return kms_check_fail(check, name, KMS_CHECK_UNUSABLE,
                          "its usage mask is 0x%x (%s), which lacks %s", mask,
                          shown[0] ? shown : "none that is known",
                          (mask & both) == 0                 ? "encrypt and decrypt"
                          : (mask & KMIP_USAGE_ENCRYPT) == 0 ? "encrypt"
                                                             : "decrypt");
}

/* ------------------------------------------------------------------ the trial */

static bool check_encrypt(void *arg)
{
    return kms_check_key_encrypt(&((struct checking *)arg)->key);
}

static bool check_decrypt(void *arg)
{
    return kms_check_key_decrypt(&((struct checking *)arg)->key);
}

/* ------------------------------------------------------------------ all of it */

enum step {
    STEP_RESOLVE,
    STEP_CONNECT,
    STEP_CLIENT_CERTIFICATE,
    STEP_TLS,
    STEP_LOGIN,
    STEP_PROTOCOL,
    STEP_SERVER,
    STEP_KEY,
    STEP_KEY_TYPE,
    STEP_KEY_STATE,
    STEP_KEY_USAGE,
    STEP_ENCRYPT,
    STEP_DECRYPT,
};

#define NEEDS(step) KMS_CHECK_NEEDS(STEP_##step)

static const struct kms_check_plan plan[] = {
    [STEP_RESOLVE] = { "resolve", 0, check_resolve },
    [STEP_CONNECT] = { "connect", NEEDS(RESOLVE), check_connect },
    [STEP_CLIENT_CERTIFICATE] = { "client-certificate", 0, check_client_certificate },
    [STEP_TLS] = { "tls", NEEDS(CONNECT), check_tls },
    [STEP_LOGIN] = { "login", NEEDS(TLS), check_login },
    [STEP_PROTOCOL] = { "protocol", NEEDS(LOGIN), check_protocol },
    [STEP_SERVER] = { "server", NEEDS(PROTOCOL), check_server },
    [STEP_KEY] = { "key", NEEDS(PROTOCOL), check_key },
    [STEP_KEY_TYPE] = { "key-type", NEEDS(KEY), check_key_type },
    [STEP_KEY_STATE] = { "key-state", NEEDS(KEY), check_key_state },
    [STEP_KEY_USAGE] = { "key-usage", NEEDS(KEY), check_key_usage },
    [STEP_ENCRYPT] = { "encrypt", NEEDS(KEY_TYPE) | NEEDS(KEY_STATE) | NEEDS(KEY_USAGE),
                       check_encrypt },
    [STEP_DECRYPT] = { "decrypt", NEEDS(ENCRYPT), check_decrypt },
};

struct all {
    const struct kmip_checked *checked;
    struct kms_check *check;
};

static void check_address(void *arg, size_t index)
{
    const struct all *all = arg;
    struct checking checking = {
        .of = all->checked,
        .check = all->check,
        .reach = { .check = all->check,
                   .target = all->checked->targets[index],
                   .trust_advice = "a private CA is trusted after 'coffer security kms set kmip "
                                   "... --ca-cert <pem>'",
                   .fd = -1 },
        .key = { .check = all->check, .provider = all->checked->provider },
    };

    kms_check_run(all->check, plan, sizeof(plan) / sizeof(plan[0]), &checking);
    kms_check_reach_release(&checking.reach);
    kms_check_key_release(&checking.key);
}

void kmip_check(const struct kmip_checked *checked, struct kms_check *check)
{
    struct all all = { .checked = checked, .check = check };

    kms_check_each_address(checked->addresses, check, check_address, &all);
}
