/* coffer security kms, and its sub-commands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/kms_options.h"
#include "cli/secret_input.h"

#define TOKEN_VARIABLE "COFFER_KMS_TOKEN"

/* ------------------------------------------------------------------ show */

static void print_line(const char *name, const char *value)
{
    if (*value != '\0')
        cli_print(stdout, "%-12s: %s\n", name, value);
}

static void print_addresses(const char *name, const json_t *kms)
{
    const json_t *addresses = json_object_get(kms, "addresses");
    size_t n = json_array_size(addresses);

    cli_print(stdout, "%-12s: ", name);
    for (size_t i = 0; i < n; i++) {
        const char *address = json_string_value(json_array_get(addresses, i));
        cli_print(stdout, "%s%s", i ? ", " : "", address ? address : "");
    }
    (void)putchar('\n');
}

static const char *auth_method_name(const char *method)
{
    if (strcmp(method, "token") == 0)
        return "Token";
    if (strcmp(method, "client-certificate") == 0)
        return "Client certificate";
    return method;
}

static void print_key_version(const json_t *kms)
{
    const json_t *version = json_object_get(kms, "key_version");

    if (json_is_integer(version) && json_integer_value(version) > 0)
        cli_print(stdout, "%-12s: %lld\n", "Key version", (long long)json_integer_value(version));
    else
        print_line("Key version", client_text(kms, "key_version"));
}

static void print_kms(const json_t *kms)
{
    bool is_vault = strcmp(client_text(kms, "type"), "vault") == 0;

    if (*client_text(kms, "error") != '\0' && *client_text(kms, "type") == '\0') {
        cli_print(stdout, "The KMS cannot be used: %s\n", client_text(kms, "error"));
        return;
    }
    if (!json_is_true(json_object_get(kms, "configured"))) {
        (void)puts("KMS is not configured. Encrypted filesystems are supported with a local "
                   "encryption key (coffer fs add --allow-no-kms)");
        return;
    }
    (void)puts(is_vault ? "Using an external Vault by HashiCorp configured with:"
                        : "Using an external KMIP server configured with:");
    print_addresses(is_vault ? "URL" : "Address", kms);
    print_line(is_vault ? "Key name" : "Key UID", client_text(kms, "key"));
    print_line("Auth method", auth_method_name(client_text(kms, "auth_method")));
    print_line("Namespace", client_text(kms, "namespace"));
    if (is_vault)
        print_line("Transit path", client_text(kms, "transit_path"));
    print_key_version(kms);
    print_line("Key state", client_text(kms, "key_state"));
    print_line("Algorithm", client_text(kms, "algorithm"));
    print_line("Server", client_text(kms, "server"));
    if (json_is_true(json_object_get(kms, "reachable")))
        print_line("Status", "reachable");
    else
        cli_print(stdout, "%-12s: not reachable: %s\n", "Status", client_text(kms, "error"));
}

int cmd_kms_show(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *kms = NULL;
    struct client_request request = { .method = "GET", .path = "/api/v1/kms" };
    int r = client_call(&cli->instance, &request, &kms, err);

    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(kms, err);
    print_kms(kms);
    return 0;
}

/* ------------------------------------------------------------------ set */

static struct kms_options read_options(const struct cli *cli)
{
    const struct arguments *arguments = &cli->arguments;
    const char *word = cli_word(cli, 3);

    return (struct kms_options){
        .type = cli_word(cli, 0),
        .address = cli_word(cli, 1),
        .key = cli_word(cli, 2),
        .token = arguments_value(arguments, "token"),
        .token_file = arguments_value(arguments, "token-file"),
        .token_from_stdin = word && strcmp(word, "-") == 0,
        .namespace = arguments_value(arguments, "namespace"),
        .transit_path = arguments_value(arguments, "transit-path"),
        .client_cert = arguments_value(arguments, "client-cert"),
        .client_key = arguments_value(arguments, "client-key"),
        .ca_cert = arguments_value(arguments, "ca-cert"),
        .insecure_http = arguments_has(arguments, "insecure-http"),
    };
}

static int read_token(const struct kms_options *options, struct secret *ret, struct error *err)
{
    const char *variable = secure_getenv(TOKEN_VARIABLE);

    if (options->token_from_stdin || (options->token && strcmp(options->token, "-") == 0))
        return secret_input_token_file("-", ret, err);
    if (options->token)
        return secret_input_token_text(options->token, "--token", ret, err);
    if (options->token_file)
        return secret_input_token_file(options->token_file, ret, err);
    if (variable)
        return secret_input_token_text(variable, TOKEN_VARIABLE, ret, err);
    int r = secret_input_prompt("Vault token", ret, err);
    if (r == -ENOTTY)
        return error_set(err, -EINVAL,
                         "vault needs a token; give --token-file, --token or -, or "
                         "set " TOKEN_VARIABLE);
    return r;
}

static int put_secret(json_t *body, const char *key, const struct secret *secret, struct error *err)
{
    json_t *text = json_stringn((const char *)secret->data, secret->len);

    if (json_object_set_new(body, key, text) < 0)
        return error_set(err, -ENOMEM, "there is not enough memory for the request");
    return 0;
}

static int put_token(json_t *body, const struct kms_options *options, struct error *err)
{
    CLEANUP(secret_release) struct secret token = SECRET_INIT;
    int r = read_token(options, &token, err);

    return r < 0 ? r : put_secret(body, "token", &token, err);
}

/* The content is sent, so that a relative path means what it says, whoever cofferd runs as. */
static int put_pem(json_t *body, const char *key, const char *path, const char *what,
                   struct error *err)
{
    CLEANUP(secret_release) struct secret pem = SECRET_INIT;

    if (!path)
        return 0;
    int r = secret_input_pem(path, what, strcmp(key, "client_key") == 0, &pem, err);
    return r < 0 ? r : put_secret(body, key, &pem, err);
}

static int put_text(json_t *body, const char *key, const char *text, struct error *err)
{
    if (text && json_object_set_new(body, key, json_string(text)) < 0)
        return error_set(err, -EINVAL, "'%s' is not UTF-8 text; write it anew", text);
    return 0;
}

static int fill_body(json_t *body, const struct kms_options *options, struct error *err)
{
    int r = put_text(body, "type", options->type, err);

    if (r == 0)
        r = put_text(body, "address", options->address, err);
    if (r == 0)
        r = put_text(body, "key", options->key, err);
    if (r == 0)
        r = put_text(body, "namespace", options->namespace, err);
    if (r == 0)
        r = put_text(body, "transit_path", options->transit_path, err);
    if (r == 0 && options->insecure_http)
        r = json_object_set_new(body, "insecure_http", json_true());
    if (r == 0 && kms_options_is_vault(options))
        r = put_token(body, options, err);
    if (r == 0)
        r = put_pem(body, "client_cert", options->client_cert, "client certificate", err);
    if (r == 0)
        r = put_pem(body, "client_key", options->client_key, "client key", err);
    if (r == 0)
        r = put_pem(body, "ca_cert", options->ca_cert, "CA certificate", err);
    return r;
}

/* Others of this host can read our arguments for as long as we run. */
static void hide_token_argument(struct cli *cli)
{
    for (size_t i = 0; i < cli->arguments.n_options; i++) {
        struct option_given *given = &cli->arguments.options[i];
        if (strcmp(given->spec->name, "token") == 0 && strcmp(given->value, "-") != 0)
            memset(given->value, '*', strlen(given->value));
    }
}

int cmd_kms_set(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    CLEANUP(json_freep) json_t *kms = NULL;
    struct kms_options options = read_options(cli);
    const char *word = cli_word(cli, 3);

    if (word && !options.token_from_stdin)
        return error_set(err, -EINVAL, "'%s' is one word too many; see coffer %s --help", word,
                         cli->command->path);
    int r = kms_options_check(&options, err);
    if (r == 0)
        r = secret_heap_init(err);
    if (r == 0)
        r = fill_body(body, &options, err);
    hide_token_argument(cli);
    if (r < 0)
        return r;

    struct client_request request = { .method = "PUT", .path = "/api/v1/kms" };
    request.body = TAKE(body);
    r = client_call(&cli->instance, &request, &kms, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(kms, err);
    cli_print(stdout, "The KMS is configured: %s %s, key %s. A trial wrap and unwrap succeeded.\n",
              kms_options_is_vault(&options) ? "Vault" : "KMIP server", options.address,
              options.key);
    return 0;
}
