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

static int check_vault(const struct kms_options *options, struct error *err)
{
    int tokens =
        (options->token != NULL) + (options->token_file != NULL) + options->token_from_stdin;

    if (options->client_cert)
        return error_set(err, -EINVAL,
                         "--client-cert must not be given for vault, which is logged in to with a "
                         "token; leave it out, and give --token-file");
    if (options->client_key)
        return error_set(err, -EINVAL,
                         "--client-key must not be given for vault, which is logged in to with a "
                         "token; leave it out, and give --token-file");
    if (options->ca_cert)
        return error_set(err, -EINVAL,
                         "--ca-cert must not be given for vault, whose certificate is checked "
                         "against the system's CAs; copy the CA into "
                         "/usr/local/share/ca-certificates as a .crt file and run "
                         "update-ca-certificates");
    if (tokens > 1)
        return error_set(err, -EINVAL,
                         "the token is given more than once; give one of --token, --token-file "
                         "and -");
    if (options->transit_path && *options->transit_path == '\0')
        return error_set(err, -EINVAL, "--transit-path is empty; leave it out for transit");
    int r = options->namespace ? check_namespace(options->namespace, err) : 0;
    return r < 0 ? r : check_vault_address(options->address, err);
}

static int check_kmip(const struct kms_options *options, struct error *err)
{
    if (options->token || options->token_file || options->token_from_stdin)
        return error_set(err, -EINVAL,
                         "a token must not be given for kmip, which is logged in to with a "
                         "certificate; leave it out, and give --client-cert and --client-key");
    if (options->namespace)
        return error_set(err, -EINVAL,
                         "--namespace must not be given for kmip, which has no namespaces; leave "
                         "it out");
    if (options->transit_path)
        return error_set(err, -EINVAL,
                         "--transit-path must not be given for kmip, which has no transit engine; "
                         "leave it out");
    if (options->insecure_http)
        return error_set(err, -EINVAL,
                         "--insecure-http must not be given for kmip, which always uses TLS; leave "
                         "it out");
    if (!options->client_cert)
        return error_set(err, -EINVAL,
                         "kmip needs a client certificate; give its PEM file with --client-cert");
    if (!options->client_key)
        return error_set(err, -EINVAL,
                         "kmip needs the client's private key; give its PEM file with "
                         "--client-key");
    return check_kmip_address(options->address, err);
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
