#include "keys/vault/answers.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "keys/vault/inspect.h"
#include "net/json.h"

/* ------------------------------------------------------------------ error texts */

static bool has(const char *text, const char *words)
{
    return strcasestr(text, words);
}

/* Vault frames several errors as "2 errors occurred:\n\t* one\n\t* two\n\n". */
static const char *skip_framing(const char *text)
{
    const char *framing = strstr(text, " occurred:");

    if (!isdigit((unsigned char)text[0]) || !framing)
        return text;
    text = framing + strlen(" occurred:");
    return text + strspn(text, "\n\t* ");
}

/* Appends as much as fits, with runs of white space and what is not printable made one space. */
static void append_shown(char *to, size_t size, const char *text)
{
    size_t len = strlen(to);

    for (; *text && len + 1 < size; text++) {
        bool is_printable = *text > 0x20 && *text < 0x7f;
        if (is_printable)
            to[len++] = *text;
        else if (len > 0 && to[len - 1] != ' ')
            to[len++] = ' ';
    }
    to[len] = '\0';
}

static void trim_end(char *text)
{
    size_t len = strlen(text);

    while (len > 0 && text[len - 1] == ' ')
        text[--len] = '\0';
}

void vault_read_errors(struct bytes body, char ret[static VAULT_TEXT_SIZE])
{
    CLEANUP(json_freep) json_t *object = NULL;
    size_t i;
    json_t *member;

    ret[0] = '\0';
    if (json_parse_object(body, &object, NULL) < 0)
        return;
    json_array_foreach(json_object_get(object, "errors"), i, member)
    {
        if (!json_is_string(member))
            continue;
        if (ret[0])
            append_shown(ret, VAULT_TEXT_SIZE, "; ");
        append_shown(ret, VAULT_TEXT_SIZE, skip_framing(json_string_value(member)));
        trim_end(ret);
    }
}

/* What a text says of a ciphertext, whatever the status around it: 0 if nothing. The statuses
 * differ between versions, the words do not. */
static int ciphertext_class(const char *text)
{
    static const struct {
        const char *words;
        int code;
    } known[] = {
        { "disallowed by policy (too old)", -EKEYREVOKED },
        { "version is too new", -ENOENT },
        { "message authentication failed", -EBADMSG },
        { "invalid ciphertext", -EBADMSG },
        { "encryption key not found", -ENOENT },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (has(text, known[i].words))
            return known[i].code;
    return 0;
}

static int ciphertext_error(const struct vault_question *question, const char *text,
                            struct error *err)
{
    const char *key = question->key_name;
    int class = ciphertext_class(text);

    if (class == -EKEYREVOKED)
        return error_set(err, class,
                         "the key '%s' at %s no longer decrypts with the version that wrapped "
                         "this: lower min_decryption_version until everything is rewrapped (%s)",
                         key, question->address, text);
    if (has(text, "encryption key not found"))
        return error_set(err, class,
                         "%s has no key '%s' (%s): restore it from the key server's backup, or "
                         "correct the key's name, path or namespace",
                         question->address, key, question->path);
    if (class == -ENOENT)
        return error_set(err, class,
                         "the key '%s' at %s does not have the version that wrapped this: the key "
                         "was deleted and made anew, or this server lags behind another",
                         key, question->address);
    return error_set(
        err, class,
        "%s says that its key '%s' did not wrap this (%s): the key was deleted and made "
        "anew under its name, or what it wrapped was altered; restore the key from a "
        "backup of the key server, or set the server that has it",
        question->address, key, text);
}

/* ------------------------------------------------------------------ statuses */

static int denied(const struct vault_question *question, struct bytes body, const char *shown,
                  struct error *err)
{
    if (vault_is_token_refused(body))
        return error_set(err, -EACCES,
                         "%s does not accept the token: it is wrong, expired or revoked; set a "
                         "valid one",
                         question->address);
    return error_set(err, -EACCES,
                     "the token may not use '%s' at %s%s%s (%s): grant it in the token's policy, "
                     "and check that the key exists and the namespace is right",
                     question->path, question->address,
                     question->kms_namespace[0] ? ", namespace " : "", question->kms_namespace,
                     shown[0] ? shown : "no reason given");
}

/* Vault 1.13 says so with a 500. */
static bool is_bad_login(const char *shown)
{
    return has(shown, "invalid secret id") || has(shown, "invalid role or secret id") ||
           has(shown, "invalid role id");
}

static int not_found(const struct vault_question *question, const char *shown, struct error *err)
{
    if (has(shown, "no handler for route"))
        return error_set(err, -ENOENT,
                         "%s has no transit engine at '%s': enable it there, or correct the path",
                         question->address, question->path);
    if (has(shown, "namespace not found"))
        return error_set(err, -ENOENT, "%s has no namespace '%s'", question->address,
                         question->kms_namespace);
    return error_set(err, -ENOENT,
                     "%s has no key '%s' (%s): create it there, or correct the key's name, path "
                     "or namespace",
                     question->address, question->key_name, question->path);
}

static int may_pass(const struct vault_question *question, int status, const char *shown,
                    bool *ret_is_futile, struct error *err)
{
    if (has(shown, "sealed")) {
        *ret_is_futile = true; /* until a person unseals it */
        return error_set(err, -EAGAIN, "%s is sealed: unseal it", question->address);
    }
    return error_set(err, -EAGAIN, "%s cannot serve now (status %d%s%s): it is retried",
                     question->address, status, shown[0] ? ", " : "", shown);
}

int vault_read_status(const struct vault_question *question, int status, struct bytes body,
                      bool *ret_is_futile, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    char shown[VAULT_TEXT_SIZE];

    if (status == 200 || status == 204)
        return 0;
    vault_read_errors(body, shown);
    (void)json_parse_object(body, &object, NULL);

    if (ciphertext_class(shown) != 0)
        return ciphertext_error(question, shown, err);
    if (is_bad_login(shown))
        return error_set(err, -EACCES, "%s does not accept the credentials (%s)", question->address,
                         shown);
    switch (status) {
    case 403:
        return denied(question, body, shown, err);
    case 404:
        return not_found(question, shown, err);
    case 412:
    case 429:
    case 472:
    case 473:
    case 500:
    case 502:
    case 503:
    case 504:
        return may_pass(question, status, shown, ret_is_futile, err);
    default:
        break;
    }
    if (has(shown, "missing client token"))
        return error_set(err, -EACCES, "%s wants a token: set one", question->address);
    if (status >= 300 && status < 400)
        return error_set(err, -EPROTO,
                         "%s redirects elsewhere (status %d): configure the server's own address",
                         question->address, status);
    if (!object)
        return error_set(err, -EPROTO,
                         "%s does not answer like Vault (status %d): check address, port and "
                         "http or https",
                         question->address, status);
    return error_set(err, -EPROTO, "%s refuses '%s' (status %d): %s", question->address,
                     question->path, status, shown[0] ? shown : "no reason given");
}

/* ------------------------------------------------------------------ data */

static int parse_data(struct bytes body, json_t **ret_object, json_t **ret_data, struct error *err)
{
    int r = json_parse_object(body, ret_object, err);

    if (r == 0)
        r = json_get_object(*ret_object, "data", JSON_REQUIRED, ret_data, err);
    if (r == -ENOMEM)
        return r;
    return r < 0 ? error_prefix(err, -EPROTO, "the key server's answer makes no sense") : 0;
}

static bool can_wrap(const char *type)
{
    static const char *const types[] = { "aes256-gcm96", "aes128-gcm96", "chacha20-poly1305",
                                         "xchacha20-poly1305" };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

static int get_version(const json_t *data, const char *name, uint32_t *ret, struct error *err)
{
    int64_t value = 0;
    int r = json_get_integer(data, name, JSON_REQUIRED, &value, err);

    if (r == 0 && (value < 0 || value > UINT32_MAX))
        r = error_set(err, -EINVAL, "\"%s\" is out of range", name);
    if (r == 0)
        *ret = (uint32_t)value;
    return r;
}

static int check_kind(const json_t *data, const char *type, struct error *err)
{
    bool encrypts = true, decrypts = true, is_derived = false, is_deleted = false;
    int r = json_get_bool(data, "supports_encryption", JSON_OPTIONAL, &encrypts, err);

    if (r == 0)
        r = json_get_bool(data, "supports_decryption", JSON_OPTIONAL, &decrypts, err);
    if (r == 0)
        r = json_get_bool(data, "derived", JSON_OPTIONAL, &is_derived, err);
    if (r == 0)
        r = json_get_bool(data, "soft_deleted", JSON_OPTIONAL, &is_deleted, err);
    if (r < 0)
        return error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    if (is_deleted)
        return error_set(err, -EKEYREVOKED, "the key is deleted (soft_deleted): restore it");
    if (!can_wrap(type) || !encrypts || !decrypts)
        return error_set(err, -EINVAL,
                         "a key of type %s cannot wrap filesystem keys: create one of type "
                         "aes256-gcm96",
                         type);
    if (is_derived)
        return error_set(
            err, -EINVAL,
            "a derived key cannot wrap filesystem keys: create one with derived=false");
    return 0;
}

int vault_read_key(struct bytes body, struct vault_key *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    struct vault_key key = { .type = "" };
    json_t *data = NULL;

    int r = parse_data(body, &object, &data, err);
    if (r < 0)
        return r;
    r = json_get_line(data, "type", JSON_REQUIRED, key.type, sizeof(key.type), err);
    if (r == 0)
        r = get_version(data, "latest_version", &key.latest_version, err);
    if (r == 0)
        r = get_version(data, "min_decryption_version", &key.min_decrypt_version, err);
    if (r < 0)
        return error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    r = check_kind(data, key.type, err);
    if (r == 0)
        *ret = key;
    return r;
}

/* "vault:v12:..." gives 12. The prefix is a template in newer servers, so that a text of another
 * form is not an error. */
static uint32_t version_in(const char *blob)
{
    uint32_t version = 0;

    if (strncmp(blob, "vault:v", 7) != 0)
        return 0;
    for (const char *at = blob + 7; isdigit((unsigned char)*at); at++) {
        if (version > (UINT32_MAX - 9) / 10)
            return 0;
        version = version * 10 + (uint32_t)(*at - '0');
    }
    return version;
}

static int decode_ciphertext(const json_t *item, struct wrapped_key *ret, struct error *err)
{
    char blob[WRAPPED_BLOB_MAX + 1] = "";
    int r = json_get_line(item, "ciphertext", JSON_REQUIRED, blob, sizeof(blob), err);

    if (r == 0 && blob[0] == '\0')
        r = error_set(err, -EINVAL, "\"ciphertext\" is empty");
    if (r < 0)
        return error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    ret->blob_len = (uint16_t)strlen(blob);
    memcpy(ret->blob, blob, ret->blob_len);
    ret->key_version = version_in(blob);
    return 0;
}

int vault_read_ciphertext(struct bytes body, struct wrapped_key *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    json_t *data = NULL;
    int r = parse_data(body, &object, &data, err);

    return r < 0 ? r : decode_ciphertext(data, ret, err);
}

static int decode_plaintext(const json_t *item, struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret plain = SECRET_INIT;
    const char *text = NULL;
    size_t len = 0;

    int r = json_get_text(item, "plaintext", JSON_REQUIRED, &text, err);
    if (r < 0)
        return error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    r = secret_new(&plain, VAULT_PLAIN_MAX);
    if (r < 0)
        return error_set(err, r, "no locked memory for a key");
    if (base64_decode(text, strlen(text), plain.data, plain.len, &len) < 0 || len == 0)
        return error_set(err, -EPROTO,
                         "the key server's answer makes no sense: \"plaintext\" is not base64 of "
                         "a key");
    return secret_assign(ret, (struct bytes){ .data = plain.data, .len = len });
}

int vault_read_plaintext(struct bytes body, struct secret *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    json_t *data = NULL;
    int r = parse_data(body, &object, &data, err);

    return r < 0 ? r : decode_plaintext(data, ret, err);
}

bool vault_is_batch(struct bytes body)
{
    CLEANUP(json_freep) json_t *object = NULL;

    if (json_parse_object(body, &object, NULL) < 0)
        return false;
    return json_is_array(json_object_get(json_object_get(object, "data"), "batch_results"));
}

/* "error" first: from 1.5 on a failed item also has an empty "plaintext". */
static int check_item(const struct vault_question *question, const json_t *item, struct error *err)
{
    const char *fault = "";
    char shown[VAULT_TEXT_SIZE] = "";

    if (json_get_text(item, "error", JSON_OPTIONAL, &fault, err) < 0)
        return error_prefix(err, -EPROTO, "the key server's answer makes no sense");
    if (fault[0] == '\0')
        return 0;
    append_shown(shown, sizeof(shown), skip_framing(fault));
    trim_end(shown);
    if (ciphertext_class(shown) != 0)
        return ciphertext_error(question, shown, err);
    return error_set(err, -EPROTO, "%s refuses to decrypt: %s", question->address, shown);
}

/* The list of as many results as there were items, in *ret_object. */
static int parse_batch(struct bytes body, size_t count, json_t **ret_object, json_t **ret_results,
                       struct error *err)
{
    json_t *data = NULL;
    int r = parse_data(body, ret_object, &data, err);

    if (r < 0)
        return r;
    r = json_get_array(data, "batch_results", JSON_REQUIRED, ret_results, err);
    if (r == 0 && json_array_size(*ret_results) != count)
        r = error_set(err, -EINVAL, "%zu results for %zu items", json_array_size(*ret_results),
                      count);
    return r < 0 ? error_prefix(err, -EPROTO, "the key server's answer makes no sense") : 0;
}

int vault_read_ciphertexts(const struct vault_question *question, struct bytes body, size_t count,
                           struct wrapped_key *ret, size_t *ret_failed, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    json_t *results = NULL;

    *ret_failed = count;
    int r = parse_batch(body, count, &object, &results, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const json_t *item = json_array_get(results, i);
        r = check_item(question, item, err);
        if (r == 0)
            r = decode_ciphertext(item, &ret[i], err);
        if (r < 0)
            *ret_failed = i;
    }
    return r;
}

int vault_read_batch(const struct vault_question *question, struct bytes body, size_t count,
                     struct secret *ret_plain, size_t *ret_failed, struct error *err)
{
    CLEANUP(json_freep) json_t *object = NULL;
    json_t *results = NULL;

    *ret_failed = count;
    int r = parse_batch(body, count, &object, &results, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const json_t *item = json_array_get(results, i);
        r = check_item(question, item, err);
        if (r == 0)
            r = decode_plaintext(item, &ret_plain[i], err);
        if (r == 0)
            continue;
        *ret_failed = i;
        for (size_t done = 0; done < i; done++)
            secret_release(&ret_plain[done]);
    }
    return r;
}

void vault_read_server(struct bytes body, char *ret, size_t size)
{
    CLEANUP(json_freep) json_t *object = NULL;
    char version[32] = "";

    ret[0] = '\0';
    if (json_parse_object(body, &object, NULL) == 0 &&
        json_get_line(object, "version", JSON_OPTIONAL, version, sizeof(version), NULL) == 0 &&
        version[0])
        (void)snprintf(ret, size, "Vault API, version %s", version);
}
