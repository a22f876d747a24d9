/* kmip.c - a KMIP server over mutual TLS: Encrypt and Decrypt with a key that never leaves it.
 *
 * Wraps with AES-CBC and PKCS5 under a random IV of our own, the one mode that every server from
 * 1.2 on has. It does not authenticate; what is wrapped carries its own check. Or, if so
 * configured, with AES-GCM, which versions before 1.4 lack: they lose the tag. Unwraps both, as the
 * blob says.
 *
 * One connection is kept; if it broke meanwhile, one new one is tried at once. */
#include "keys/providers.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "keys/address_list.h"
#include "keys/kmip/check.h"
#include "keys/kmip/connection.h"

#define TYPE_NAME "kmip"
#define DEFAULT_PORT 5696u
#define HOST_SIZE 256u
#define CBC_IV_LEN 16u
#define GCM_IV_LEN 12u
#define PASSWORD_MAX 1024u /* with which every request fits */

struct endpoint {
    char host[HOST_SIZE];
    uint16_t port;
};

struct kmip_provider {
    struct key_provider base;
    struct key_provider_config config;
    struct address_list addresses;
    struct endpoint endpoints[ADDRESS_LIST_MAX];
    struct kmip_connection *connection; /* to connected, or NULL */
    size_t connected;
};

static struct kmip_provider *kmip_provider(struct key_provider *provider)
{
    return (struct kmip_provider *)provider;
}

/* ------------------------------------------------------------------ configuration */

/* host, host:port, [address]:port or an IPv6 address without port. */
static int parse_endpoint(const char *text, struct endpoint *ret, struct error *err)
{
    const char *host = text;
    size_t len = strcspn(text, ":");
    const char *port = text + len;

    if (text[0] == '[') {
        host = text + 1;
        len = strcspn(host, "]");
        port = host[len] ? host + len + 1 : "?";
    }
    bool is_host = len > 0 && len < sizeof(ret->host);
    for (size_t i = 0; i < len; i++)
        is_host = is_host && (isalnum((unsigned char)host[i]) || strchr(".-_:", host[i]));
    unsigned long number = DEFAULT_PORT;
    if (*port != '\0') {
        char *end = NULL;
        bool has_digits = *port == ':' && isdigit((unsigned char)port[1]);
        number = has_digits ? strtoul(port + 1, &end, 10) : 0;
        if (!has_digits || *end != '\0')
            number = 0;
    }
    if (!is_host || number == 0 || number > UINT16_MAX)
        return error_set(err, -EINVAL,
                         "'%s' is not the address of a KMIP server, such as kmip.example.com:5696",
                         text);
    *ret = (struct endpoint){ .port = (uint16_t)number };
    memcpy(ret->host, host, len);
    return 0;
}

/* Printable, and never empty: some servers take an empty one for "the last one used", by
 * whomever. */
static int check_uid(const char *uid, struct error *err)
{
    if (uid[0] == '\0')
        return error_set(err, -EINVAL, "the UID of the KMIP key is missing");
    for (const char *at = uid; *at; at++)
        if (*at <= 0x20 || *at >= 0x7f)
            return error_set(err, -EINVAL,
                             "the UID of the KMIP key holds characters that no UID "
                             "has");
    return 0;
}

static struct tls_target target_of(const struct kmip_provider *kmip, size_t index)
{
    return (struct tls_target){ .host = kmip->endpoints[index].host,
                                .port = kmip->endpoints[index].port,
                                .client_cert_pem = buf_bytes(&kmip->config.client_cert_pem),
                                .client_key_pem = &kmip->config.client_key_pem,
                                .ca_cert_pem = buf_bytes(&kmip->config.ca_cert_pem) };
}

static struct kmip_credential credential_of(const struct kmip_provider *kmip)
{
    const char *username = kmip->config.username;

    return (struct kmip_credential){ .username = username[0] ? username : NULL,
                                     .password = secret_bytes(&kmip->config.password) };
}

/* ------------------------------------------------------------------ one operation */

/* Asks one thing of whichever address answers. */
struct question {
    struct kmip_provider *kmip;
    enum kmip_operation what;
    const char *uid;
    const struct kmip_crypto *crypto; /* Encrypt and Decrypt */
    struct buf message;               /* out, wiped by question_release() */
    struct kmip_response response;    /* out */
    bool was_general_failure;
};

static void question_release(struct question *question)
{
    buf_wipe(&question->message);
}

static void disconnect(struct kmip_provider *kmip)
{
    kmip_disconnect(kmip->connection);
    kmip->connection = NULL;
}

static int connect_to(struct kmip_provider *kmip, const struct address_attempt *attempt,
                      struct error *err)
{
    const struct tls_target target = target_of(kmip, attempt->index);
    const struct kmip_credential credential = credential_of(kmip);

    disconnect(kmip);
    int r = kmip_connect(&target, &credential, attempt->deadline_ms, &kmip->connection, err);
    if (r == -EACCES || r == -EPROTO)
        return error_prefix(err, r, "KMIP server %s", attempt->address);
    kmip->connected = attempt->index;
    return r;
}

static int write_question(const struct question *question, struct writer *writer)
{
    const struct kmip_header *header = kmip_connection_header(question->kmip->connection);

    if (question->crypto)
        return kmip_write_crypto(writer, header, question->what, question->crypto);
    return kmip_write_get_attributes(writer, header, question->uid);
}

static int check_mode(const struct question *question, struct error *err)
{
    struct kmip_version version = kmip_connection_version(question->kmip->connection);

    if (!question->crypto || question->crypto->mode != WRAP_MODE_GCM ||
        kmip_version_has_gcm(version))
        return 0;
    if (question->what == KMIP_ENCRYPT)
        return error_set(err, -EPROTO,
                         "the KMIP server speaks only version %u.%u, which loses the tag of "
                         "AES-GCM: enable 1.4 or later there, or wrap with AES-CBC (--cipher-mode "
                         "cbc)",
                         version.major, version.minor);
    return error_set(err, -EPROTO,
                     "the KMIP server speaks only version %u.%u, which has no AES-GCM, with which "
                     "this key was wrapped: enable 1.4 or later there",
                     version.major, version.minor);
}

static int exchange(struct question *question, int64_t deadline_ms, struct error *err)
{
    struct kmip_provider *kmip = question->kmip;
    uint8_t room[KMIP_REQUEST_MAX];
    struct writer writer = writer_init(room, sizeof(room));
    int r = check_mode(question, err);

    if (r < 0)
        return r;
    r = write_question(question, &writer);
    if (r == 0)
        r = kmip_exchange(kmip->connection, writer_written(&writer), question->what, deadline_ms,
                          &question->message, &question->response, err);
    else
        r = error_set(err, -EINVAL, "the KMIP request is too long");
    memory_wipe(room, sizeof(room));
    if (r < 0)
        disconnect(kmip);
    return r;
}

static bool is_missing(const struct kmip_response *response)
{
    return response->reason == KMIP_ITEM_NOT_FOUND || response->reason == KMIP_OBJECT_DESTROYED ||
           response->reason == KMIP_OBJECT_NOT_FOUND;
}

static bool speaks_of_state(const struct kmip_response *response)
{
    return response->reason == KMIP_WRONG_LIFECYCLE_STATE ||
           (response->reason == KMIP_PERMISSION_DENIED &&
            strcasestr(response->text, "active state"));
}

/* The server's refusal as one of the contract's classes, with what to do. */
static int refusal(const struct question *question, const char *address, struct error *err)
{
    const struct kmip_response *response = &question->response;
    const struct kmip_credential credential = credential_of(question->kmip);
    const char *uid = question->uid;
    char server[300];

    if (is_missing(response))
        return error_set(err, -ENOENT,
                         "KMIP server %s has no key '%s' (%s): check the key's UID, and whether it "
                         "was destroyed",
                         address, uid, response->text);
    if (speaks_of_state(response))
        return error_set(err, -EKEYREVOKED,
                         "the key '%s' of KMIP server %s is not active (%s): activate it there, or "
                         "use another key",
                         uid, address, response->text);
    switch ((uint32_t)response->reason) {
    case KMIP_AUTHENTICATION_NOT_SUCCESSFUL:
        (void)snprintf(server, sizeof(server), "KMIP server %s", address);
        return kmip_refuse_login(&credential, server, response->text, err);
    case KMIP_PERMISSION_DENIED:
    case KMIP_NOT_AUTHORISED:
    case KMIP_INCOMPATIBLE_USAGE_MASK:
        return error_set(err, -EACCES,
                         "KMIP server %s does not let this client certificate use the key '%s' "
                         "(%s): allow it Get Attributes, Encrypt and Decrypt there, and check the "
                         "UID",
                         address, uid, response->text);
    case KMIP_INTERNAL_SERVER_ERROR:
    case KMIP_SERVER_LIMIT_EXCEEDED:
        return error_set(err, -EAGAIN, "KMIP server %s cannot serve now: %s", address,
                         response->text);
    case KMIP_CRYPTOGRAPHIC_FAILURE:
    case KMIP_GENERAL_FAILURE:
        if (question->what == KMIP_DECRYPT)
            return error_set(err, -EBADMSG,
                             "KMIP server %s cannot decrypt this with the key '%s' (%s): another "
                             "key wrapped it, or it was altered",
                             address, uid, response->text);
        break;
    case KMIP_OPERATION_NOT_SUPPORTED:
        return error_set(err, -EPROTO,
                         "KMIP server %s does not offer Get Attributes, Encrypt and Decrypt: "
                         "enable them, or use another server",
                         address);
    default:
        break;
    }
    return error_set(err, -EPROTO, "KMIP server %s refuses (reason 0x%x): %s", address,
                     (unsigned)response->reason, response->text);
}

/* A kept connection may have been closed by the server meanwhile: then one new one. */
static int exchange_anew(struct question *question, struct address_attempt *attempt,
                         struct error *err)
{
    struct kmip_provider *kmip = question->kmip;

    if (kmip->connection && kmip->connected == attempt->index &&
        exchange(question, attempt->deadline_ms, NULL) == 0)
        return 0;
    int r = connect_to(kmip, attempt, err);
    return r < 0 ? r : exchange(question, attempt->deadline_ms, err);
}

static int attempt_question(void *arg, struct address_attempt *attempt, struct error *err)
{
    struct question *question = arg;
    int r = exchange_anew(question, attempt, err);

    if (r < 0 || question->response.is_success)
        return r;
    r = refusal(question, attempt->address, err);
    /* Once more for a general failure, which may be anything. */
    bool is_general = question->response.reason == KMIP_GENERAL_FAILURE && r == -EPROTO;
    if (is_general && !question->was_general_failure) {
        question->was_general_failure = true;
        return error_prefix(err, -EAGAIN, "it is retried");
    }
    return r;
}

static int ask(struct question *question, struct error *err)
{
    return address_list_call(&question->kmip->addresses, attempt_question, question, err);
}

/* ------------------------------------------------------------------ describe */

static int read_attributes(struct kmip_provider *kmip, const char *uid, struct kmip_attributes *ret,
                           struct error *err)
{
    CLEANUP(question_release)
    struct question question = { .kmip = kmip, .what = KMIP_GET_ATTRIBUTES, .uid = uid };
    int r = ask(&question, err);

    if (r == 0 && kmip_read_attributes(question.response.payload, ret) < 0)
        return error_set(err, -EPROTO, "the KMIP server's answer about the key '%s' makes no sense",
                         uid);
    return r;
}

static int check_active(const char *uid, const struct kmip_attributes *attributes,
                        struct error *err)
{
    if (attributes->state != KMIP_STATE_UNKNOWN && attributes->state != KMIP_ACTIVE)
        return error_set(err, -EKEYREVOKED,
                         "the KMIP key '%s' is %s: activate it on the server, or use another key",
                         uid, kmip_state_name(attributes->state));
    return 0;
}

/* What the server does not say is left to the trial. */
static int check_kind(const char *uid, const struct kmip_attributes *attributes, struct error *err)
{
    const uint32_t both = KMIP_USAGE_ENCRYPT | KMIP_USAGE_DECRYPT;

    if ((attributes->object_type && attributes->object_type != KMIP_OBJECT_SYMMETRIC_KEY) ||
        (attributes->algorithm && attributes->algorithm != KMIP_ALGORITHM_AES))
        return error_set(err, -EINVAL,
                         "the KMIP object '%s' is not a symmetric AES key: create one", uid);
    if (attributes->usage_mask && (attributes->usage_mask & both) != both)
        return error_set(err, -EINVAL,
                         "the KMIP key '%s' may not both encrypt and decrypt: create one whose "
                         "usage mask allows it",
                         uid);
    return check_active(uid, attributes, err);
}

static int kmip_describe(struct key_provider *provider, struct key_description *ret,
                         struct error *err)
{
    struct kmip_provider *kmip = kmip_provider(provider);
    const char *uid = kmip->config.key_name;
    struct key_description description = { .algorithm = "AES" };
    struct kmip_attributes attributes = { 0 };

    int r = read_attributes(kmip, uid, &attributes, err);
    if (r == 0)
        r = check_kind(uid, &attributes, err);
    if (r < 0)
        return r;
    if (attributes.length)
        (void)snprintf(description.algorithm, sizeof(description.algorithm), "AES-%u",
                       attributes.length);
    (void)snprintf(description.state, sizeof(description.state), "%s",
                   kmip_state_name(attributes.state));
    struct kmip_version version = kmip_connection_version(kmip->connection);
    (void)snprintf(description.server, sizeof(description.server), "KMIP %u.%u", version.major,
                   version.minor);
    *ret = description;
    return 0;
}

/* ------------------------------------------------------------------ wrap, unwrap */

/* Some servers say "permission denied" of a key that is not active, in words of their own. */
static int explain_denial(struct kmip_provider *kmip, const char *uid, int r, struct error *err)
{
    struct kmip_attributes attributes = { 0 };

    if (r != -EACCES || read_attributes(kmip, uid, &attributes, NULL) < 0)
        return r;
    int state = check_active(uid, &attributes, err);
    return state < 0 ? state : r;
}

static enum wrap_mode configured_mode(const struct kmip_provider *kmip)
{
    return kmip->config.uses_gcm ? WRAP_MODE_GCM : WRAP_MODE_CBC_PKCS5;
}

/* What the server made of a plaintext of plain_len bytes. */
static int take_encrypted(const struct question *question, size_t plain_len,
                          struct wrapped_key *wrapped, struct error *err)
{
    struct bytes data, tag;

    if (kmip_read_crypto(question->response.payload, &data, &tag) < 0 || data.len == 0 ||
        data.len > sizeof(wrapped->blob))
        return error_set(err, -EPROTO, "the KMIP server's answer to Encrypt makes no sense");
    if (wrapped->mode == WRAP_MODE_GCM && tag.len != WRAPPED_TAG_MAX)
        return error_set(err, -EPROTO,
                         "the KMIP server encrypts with AES-GCM, but gives a tag of %zu bytes in "
                         "place of %u, without which nothing is decrypted: wrap with AES-CBC "
                         "(--cipher-mode cbc)",
                         tag.len, WRAPPED_TAG_MAX);
    if (wrapped->mode == WRAP_MODE_GCM && data.len != plain_len)
        return error_set(err, -EPROTO,
                         "the KMIP server made %zu bytes of %zu with AES-GCM, which does not "
                         "change the length: wrap with AES-CBC (--cipher-mode cbc)",
                         data.len, plain_len);
    if (wrapped->mode == WRAP_MODE_GCM) {
        memcpy(wrapped->tag, tag.data, tag.len);
        wrapped->tag_len = (uint8_t)tag.len;
    }
    memcpy(wrapped->blob, data.data, data.len);
    wrapped->blob_len = (uint16_t)data.len;
    return 0;
}

static int kmip_wrap(struct key_provider *provider, struct bytes plain, struct wrapped_key *ret,
                     struct error *err)
{
    struct kmip_provider *kmip = kmip_provider(provider);
    const char *uid = kmip->config.key_name;
    struct wrapped_key wrapped = { .provider = TYPE_NAME,
                                   .mode = configured_mode(kmip),
                                   .iv_len = kmip->config.uses_gcm ? GCM_IV_LEN : CBC_IV_LEN };
    struct kmip_attributes attributes = { 0 };

    int r = read_attributes(kmip, uid, &attributes, err);
    if (r == 0)
        r = check_kind(uid, &attributes, err);
    if (r < 0)
        return r;
    random_bytes(wrapped.iv, wrapped.iv_len);
    const struct kmip_crypto crypto = { .uid = uid,
                                        .mode = wrapped.mode,
                                        .data = plain,
                                        .iv = { .data = wrapped.iv, .len = wrapped.iv_len } };
    CLEANUP(question_release)
    struct question question = {
        .kmip = kmip, .what = KMIP_ENCRYPT, .uid = uid, .crypto = &crypto
    };
    r = ask(&question, err);
    if (r < 0)
        return explain_denial(kmip, uid, r, err);
    r = take_encrypted(&question, plain.len, &wrapped, err);
    if (r < 0)
        return r;
    memcpy(wrapped.addresses, kmip->config.addresses, sizeof(wrapped.addresses));
    memcpy(wrapped.key_name, kmip->config.key_name, sizeof(wrapped.key_name));
    *ret = wrapped;
    return 0;
}

static int check_form(const struct wrapped_key *wrapped, struct error *err)
{
    bool is_cbc = wrapped->mode == WRAP_MODE_CBC_PKCS5 && wrapped->iv_len == CBC_IV_LEN;
    bool is_gcm = wrapped->mode == WRAP_MODE_GCM && wrapped->iv_len > 0 &&
                  wrapped->tag_len == WRAPPED_TAG_MAX;

    if (!is_cbc && !is_gcm)
        return error_set(err, -EBADMSG, "the wrapped key is not of a form that KMIP makes");
    return check_uid(wrapped->key_name, err);
}

static int unwrap_one(struct kmip_provider *kmip, const struct wrapped_key *wrapped,
                      struct secret *ret, struct error *err)
{
    const struct kmip_crypto crypto = { .uid = wrapped->key_name,
                                        .mode = wrapped->mode,
                                        .data = { wrapped->blob, wrapped->blob_len },
                                        .iv = { wrapped->iv, wrapped->iv_len },
                                        .tag = { wrapped->tag, wrapped->tag_len } };
    CLEANUP(question_release)
    struct question question = {
        .kmip = kmip, .what = KMIP_DECRYPT, .uid = wrapped->key_name, .crypto = &crypto
    };
    struct bytes data, tag;

    int r = check_form(wrapped, err);
    if (r < 0)
        return r;
    r = ask(&question, err);
    if (r < 0)
        return explain_denial(kmip, wrapped->key_name, r, err);
    if (kmip_read_crypto(question.response.payload, &data, &tag) < 0 || data.len == 0)
        return error_set(err, -EPROTO, "the KMIP server's answer to Decrypt makes no sense");
    r = secret_assign(ret, data);
    return r < 0 ? error_set(err, r, "no locked memory for a key") : 0;
}

static int kmip_unwrap(struct key_provider *provider, const struct wrapped_key *wrapped,
                       size_t count, struct secret *ret_plain, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int r = unwrap_one(kmip_provider(provider), &wrapped[i], &ret_plain[i], err);
        if (r == 0)
            continue;
        for (size_t done = 0; done < i; done++)
            secret_release(&ret_plain[done]);
        return count > 1 ? error_prefix(err, r, "wrapped key %zu of %zu", i + 1, count) : r;
    }
    return 0;
}

static bool kmip_is_configured_key(const struct key_provider *provider,
                                   const struct wrapped_key *wrapped)
{
    const struct kmip_provider *kmip = (const struct kmip_provider *)provider;

    return wrapped->mode == configured_mode(kmip) &&
           strcmp(wrapped->key_name, kmip->config.key_name) == 0;
}

/* ------------------------------------------------------------------ check */

static int read_own_key(struct key_provider *provider, struct kmip_attributes *ret,
                        struct error *err)
{
    struct kmip_provider *kmip = kmip_provider(provider);

    return read_attributes(kmip, kmip->config.key_name, ret, err);
}

static void check_kmip(struct key_provider *provider, struct kms_check *check)
{
    struct kmip_provider *kmip = kmip_provider(provider);
    struct tls_target targets[ADDRESS_LIST_MAX];
    const struct kmip_checked checked = { .provider = provider,
                                          .config = &kmip->config,
                                          .credential = credential_of(kmip),
                                          .addresses = &kmip->addresses,
                                          .targets = targets,
                                          .read_key = read_own_key };

    for (size_t i = 0; i < kmip->addresses.count; i++)
        targets[i] = target_of(kmip, i);
    kmip_check(&checked, check);
}

static void advise_kmip(const struct key_provider *provider, int r, struct kms_check *check)
{
    kmip_advise(((const struct kmip_provider *)provider)->config.key_name, r, check);
}

/* ------------------------------------------------------------------ open, close */

static void kmip_close(struct key_provider *provider)
{
    struct kmip_provider *kmip = kmip_provider(provider);

    disconnect(kmip);
    key_provider_config_release(&kmip->config);
    free(kmip);
}

static void kmip_freep(struct kmip_provider **kmip)
{
    if (*kmip)
        kmip_close(&(*kmip)->base);
}

static const struct key_provider_ops kmip_ops = {
    .type = TYPE_NAME,
    .describe = kmip_describe,
    .wrap = kmip_wrap,
    .unwrap = kmip_unwrap,
    .check = check_kmip,
    .advise = advise_kmip,
    .is_configured_key = kmip_is_configured_key,
    .close = kmip_close,
};

static int check_credential(const struct key_provider_config *config, struct error *err)
{
    if ((config->username[0] != '\0') != (config->password.len > 0))
        return error_set(err, -EINVAL, "a user name and its password belong together: give both");
    if (config->password.len > PASSWORD_MAX ||
        (config->password.len > 0 && memchr(config->password.data, 0, config->password.len)))
        return error_set(err, -EINVAL, "the password is longer than %u bytes, or holds a NUL",
                         PASSWORD_MAX);
    return 0;
}

static int check_config(struct kmip_provider *kmip, struct error *err)
{
    int r = check_uid(kmip->config.key_name, err);

    if (r == 0)
        r = check_credential(&kmip->config, err);
    if (r == 0)
        r = address_list_init(&kmip->addresses, kmip->config.addresses, err);
    for (size_t i = 0; r == 0 && i < kmip->addresses.count; i++)
        r = parse_endpoint(kmip->addresses.addresses[i], &kmip->endpoints[i], err);
    if (r < 0)
        return r;
    if (kmip->config.client_cert_pem.len == 0 || kmip->config.client_key_pem.len == 0)
        return error_set(err, -EINVAL, "KMIP needs a client certificate and its key");
    const struct tls_target target = target_of(kmip, 0);
    return tls_check_target(&target, err);
}

int kmip_provider_open(const struct key_provider_config *config, struct key_provider **ret,
                       struct error *err)
{
    CLEANUP(kmip_freep) struct kmip_provider *kmip = calloc(1, sizeof(*kmip));

    if (!kmip || key_provider_config_copy(&kmip->config, config) < 0)
        return error_set(err, -ENOMEM, "not enough memory for the connection to a KMIP server");
    kmip->base.ops = &kmip_ops;
    int r = check_config(kmip, err);
    if (r == 0)
        *ret = &TAKE(kmip)->base;
    return r;
}
