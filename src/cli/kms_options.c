#include "cli/kms_options.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

bool kms_options_is_vault(const struct kms_options *options)
{
    return strcmp(options->type, "vault") == 0;
}

static int check_vault_address(const char *address, struct error *err)
{
    bool https = strncasecmp(address, "https://", 8) == 0;

    if (!https && strncasecmp(address, "http://", 7) != 0) {
        return error_set(err, -EINVAL,
                         "the address of a vault is a URL; give https://%s if it speaks TLS",
                         address);
    }
    if (address[https ? 8 : 7] == '\0') {
        return error_set(err, -EINVAL, "%s names no host; give a URL like https://vault:8200",
                         address);
    }
    return 0;
}

static int check_kmip_address(const char *address, struct error *err)
{
    const char *scheme = strstr(address, "://");

    if (scheme) {
        return error_set(err, -EINVAL,
                         "the address of a KMIP server is hostname:port without %.*s; give %s",
                         (int)(scheme + 3 - address), address, scheme + 3);
    }
    if (!strchr(address, ':')) {
        return error_set(err, -EINVAL,
                         "the address of a KMIP server is hostname:port; give %s:5696 if it "
                         "listens on the usual port",
                         address);
    }
    return 0;
}

/* The rules of Vault itself; a name that breaks one would be answered with a plain 404. */
static int check_namespace(const char *namespace, struct error *err)
{
    static const char *const reserved[] = {
        "root", "sys", "audit", "auth", "cubbyhole", "identity",
    };
    size_t len = strlen(namespace);

    if (len == 0)
        return error_set(err, -EINVAL, "--namespace is empty; leave it out for the root namespace");
    if (namespace[len - 1] == '/')
        return error_set(err, -EINVAL, "--namespace must not end with /; give %.*s", (int)len - 1,
                         namespace);
    if (strchr(namespace, ' '))
        return error_set(err, -EINVAL,
                         "--namespace must not contain spaces; give the name as Vault lists it "
                         "(vault namespace list)");
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcmp(namespace, reserved[i]) == 0)
            return error_set(err, -EINVAL,
                             "--namespace must not be %s, which Vault keeps for itself; leave it "
                             "out for the root namespace",
                             namespace);
    }
    return 0;
}

bool kms_options_needs_token(const struct kms_options *options)
{
    return kms_options_is_vault(options) && !options->role_id && !options->kubernetes_role;
}

bool kms_options_needs_secret_id(const struct kms_options *options)
{
    return kms_options_is_vault(options) && options->role_id;
}

bool kms_options_needs_password(const struct kms_options *options)
{
    return !kms_options_is_vault(options) && options->username;
}

/* One rule: it is broken if is_broken, and then this is said. */
struct rule {
    bool is_broken;
    const char *sentence;
};

static int check_rules(const struct rule *rules, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        if (rules[i].is_broken)
            return error_set(err, -EINVAL, "%s", rules[i].sentence);
    return 0;
}

static bool is_empty(const char *text)
{
    return text && *text == '\0';
}

/* One way to log in, whole, and nothing of another. */
static int check_login(const struct kms_options *options, struct error *err)
{
    bool has_token = options->token || options->token_file;
    bool has_secret_id = options->secret_id || options->secret_id_file;
    bool from_stdin = options->secret_from_stdin;
    bool needs_token = kms_options_needs_token(options);
    const struct rule rules[] = {
        { has_token && options->role_id,
          "a token and --role-id are two ways to log in; give one of them" },
        { has_token && has_secret_id,
          "a token and a secret ID belong to two ways to log in; give --role-id with the secret "
          "ID, or the token alone" },
        { has_token && options->kubernetes_role,
          "a token and --kubernetes-role are two ways to log in; give one of them" },
        { options->role_id && options->kubernetes_role,
          "--role-id and --kubernetes-role are two ways to log in; give one of them" },
        { has_secret_id && !options->role_id,
          "a secret ID needs the role ID that it belongs to; give it with --role-id" },
        { is_empty(options->role_id), "--role-id is empty; give the ID that Vault has for the role "
                                      "(vault read auth/approle/role/<name>/role-id)" },
        { is_empty(options->kubernetes_role),
          "--kubernetes-role is empty; give the role's name in Vault's Kubernetes auth method" },
        { from_stdin && options->kubernetes_role,
          "- reads a secret, and --kubernetes-role needs none; leave - out" },
        { options->kubernetes_token_path && !options->kubernetes_role,
          "--kubernetes-token-path needs --kubernetes-role; give the role, or leave the path out" },
        { options->auth_path && needs_token,
          "--auth-path must not be given for a token, which needs no auth method; leave it out" },
        { is_empty(options->auth_path),
          "--auth-path is empty; leave it out for approle or kubernetes" },
        { options->no_token_renewal && !needs_token,
          "--no-token-renewal is for a token that was given; coffer gets and keeps the tokens of "
          "--role-id and --kubernetes-role by itself, so leave it out" },
        { (options->token != NULL) + (options->token_file != NULL) + (from_stdin && needs_token) >
              1,
          "the token is given more than once; give one of --token, --token-file and -" },
        { (options->secret_id != NULL) + (options->secret_id_file != NULL) +
                  (from_stdin && !needs_token) >
              1,
          "the secret ID is given more than once; give one of --secret-id, --secret-id-file and "
          "-" },
    };

    return check_rules(rules, sizeof(rules) / sizeof(rules[0]), err);
}

static int check_vault(const struct kms_options *options, struct error *err)
{
    const struct rule rules[] = {
        { options->client_cert,
          "--client-cert must not be given for vault, which is logged in to with a token, "
          "--role-id or --kubernetes-role; leave it out" },
        { options->client_key,
          "--client-key must not be given for vault, which is logged in to with a token, "
          "--role-id or --kubernetes-role; leave it out" },
        { options->ca_cert,
          "--ca-cert must not be given for vault, whose CA is set for the whole instance; leave "
          "it out, and run: coffer security ca-cert set --cert-file <pem>" },
        { options->username || options->password_file,
          "--username must not be given for vault, which is logged in to with a token, --role-id "
          "or --kubernetes-role; leave it and its password out" },
        { options->cipher_mode,
          "--cipher-mode must not be given for vault, whose keys say how they encrypt; leave it "
          "out" },
        { is_empty(options->transit_path), "--transit-path is empty; leave it out for transit" },
    };
    int r = check_rules(rules, sizeof(rules) / sizeof(rules[0]), err);

    if (r == 0)
        r = check_login(options, err);
    if (r == 0 && options->namespace)
        r = check_namespace(options->namespace, err);
    return r < 0 ? r : check_vault_address(options->address, err);
}

static int check_kmip(const struct kms_options *options, struct error *err)
{
    const struct rule rules[] = {
        { options->token || options->token_file,
          "a token must not be given for kmip, which is logged in to with a certificate; leave it "
          "out, and give --client-cert and --client-key" },
        { options->role_id,
          "--role-id must not be given for kmip, which is logged in to with a certificate; leave "
          "it out, and give --client-cert and --client-key" },
        { options->secret_id || options->secret_id_file,
          "a secret ID must not be given for kmip, which is logged in to with a certificate; leave "
          "it out, and give --client-cert and --client-key" },
        { options->kubernetes_role || options->kubernetes_token_path,
          "--kubernetes-role must not be given for kmip, which is logged in to with a "
          "certificate; leave it out, and give --client-cert and --client-key" },
        { options->auth_path,
          "--auth-path must not be given for kmip, which has no auth methods; leave it out" },
        { options->no_token_renewal,
          "--no-token-renewal must not be given for kmip, which has no tokens; leave it out" },
        { options->namespace,
          "--namespace must not be given for kmip, which has no namespaces; leave it out" },
        { options->transit_path,
          "--transit-path must not be given for kmip, which has no transit engine; leave it out" },
        { options->insecure_http,
          "--insecure-http must not be given for kmip, which always uses TLS; leave it out" },
        { options->secret_from_stdin && !options->username,
          "- reads a password, which belongs to a user name; give that with --username, or leave - "
          "out" },
        { options->password_file && !options->username,
          "a password belongs to a user name; give that with --username" },
        { options->password_file && options->secret_from_stdin,
          "the password is given more than once; give one of --password-file and -" },
        { is_empty(options->username),
          "--username is empty; leave it out if the server wants none besides the certificate" },
        { options->cipher_mode && strcmp(options->cipher_mode, "cbc") != 0 &&
              strcmp(options->cipher_mode, "gcm") != 0,
          "--cipher-mode is cbc, which every KMIP server has, or gcm, which needs KMIP 1.4 or "
          "later" },
        { !options->client_cert,
          "kmip needs a client certificate; give its PEM file with --client-cert" },
        { !options->client_key,
          "kmip needs the client's private key; give its PEM file with --client-key" },
    };
    int r = check_rules(rules, sizeof(rules) / sizeof(rules[0]), err);

    return r < 0 ? r : check_kmip_address(options->address, err);
}

int kms_options_check(const struct kms_options *options, struct error *err)
{
    if (*options->key == '\0')
        return error_set(err, -EINVAL,
                         "the key is empty; give the name of a transit key, or the UID of a KMIP "
                         "key");
    if (kms_options_is_vault(options))
        return check_vault(options, err);
    if (strcmp(options->type, "kmip") == 0)
        return check_kmip(options, err);
    return error_set(err, -EINVAL, "'%s' is no type of KMS; give vault or kmip", options->type);
}
