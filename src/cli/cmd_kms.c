/* coffer security kms, and its sub-commands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/kms_options.h"
#include "cli/secret_input.h"

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
    if (strcmp(method, "approle") == 0)
        return "RoleId/SecretId";
    if (strcmp(method, "kubernetes") == 0)
        return "Kubernetes";
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

/* "7 d 3 h", in the two largest units. */
static void write_span(long long seconds, char *ret, size_t size)
{
    static const struct {
        long long seconds;
        const char *name;
    } units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
    size_t first = 0;

    while (first < 3 && seconds < units[first].seconds)
        first++;
    int len = snprintf(ret, size, "%lld %s", seconds / units[first].seconds, units[first].name);
    if (first < 3 && len > 0)
        (void)snprintf(ret + len, size - (size_t)len, " %lld %s",
                       seconds % units[first].seconds / units[first + 1].seconds,
                       units[first + 1].name);
}

static void print_token(const json_t *token)
{
    const char *obstacle = client_text(token, "obstacle");
    char left[64];

    if (!token)
        return;
    if (!json_is_true(json_object_get(token, "ends"))) {
        print_line("Token", "does not end");
        return;
    }
    write_span(json_integer_value(json_object_get(token, "seconds_left")), left, sizeof(left));
    cli_print(stdout, "%-12s: %s left, %s%s%s\n", "Token", left,
              json_is_true(json_object_get(token, "renewed")) ? "renewed by itself" : "not renewed",
              *obstacle ? ": " : "", obstacle);
}

/* NULL: it does not end, or nobody knows. */
static void print_secret_id(const json_t *seconds_left)
{
    char left[64];

    if (!seconds_left)
        return;
    write_span(json_integer_value(seconds_left), left, sizeof(left));
    cli_print(stdout, "%-12s: %s left\n", "Secret ID", left);
}

static const char *path_or(const char *path, const char *usual)
{
    return *path ? path : usual;
}

/* "" for what needs none. */
static const char *usual_auth_path(const json_t *kms)
{
    const char *method = client_text(kms, "auth_method");

    return strcmp(method, "approle") == 0 || strcmp(method, "kubernetes") == 0 ? method : "";
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
    print_line("Role", client_text(kms, "role"));
    print_line("User name", client_text(kms, "username"));
    print_line("Auth path", path_or(client_text(kms, "auth_path"), usual_auth_path(kms)));
    print_line("Namespace", client_text(kms, "namespace"));
    if (is_vault)
        print_line("Transit path", path_or(client_text(kms, "transit_path"), "transit"));
    print_token(json_object_get(kms, "token"));
    print_secret_id(json_object_get(kms, "secret_id_seconds_left"));
    print_key_version(kms);
    print_line("Key state", client_text(kms, "key_state"));
    print_line("Algorithm", client_text(kms, "algorithm"));
    print_line("Cipher mode", client_text(kms, "cipher_mode"));
    print_line("Server", client_text(kms, "server"));
    if (json_is_true(json_object_get(kms, "reachable")))
        print_line("Status", "reachable");
    else
        cli_print(stdout, "%-12s: not reachable: %s\n", "Status", client_text(kms, "error"));
    cli_print_unneeded(json_object_get(kms, "unneeded"));
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

static struct kms_options read_options(const struct cli *cli, const char *type, const char *address,
                                       const char *key, bool from_stdin)
{
    const struct arguments *arguments = &cli->arguments;

    return (struct kms_options){
        .type = type,
        .address = address,
        .key = key,
        .token = arguments_value(arguments, "token"),
        .token_file = arguments_value(arguments, "token-file"),
        .secret_from_stdin = from_stdin,
        .no_token_renewal = arguments_has(arguments, "no-token-renewal"),
        .role_id = arguments_value(arguments, "role-id"),
        .secret_id = arguments_value(arguments, "secret-id"),
        .secret_id_file = arguments_value(arguments, "secret-id-file"),
        .kubernetes_role = arguments_value(arguments, "kubernetes-role"),
        .kubernetes_token_path = arguments_value(arguments, "kubernetes-token-path"),
        .auth_path = arguments_value(arguments, "auth-path"),
        .namespace = arguments_value(arguments, "namespace"),
        .transit_path = arguments_value(arguments, "transit-path"),
        .client_cert = arguments_value(arguments, "client-cert"),
        .client_key = arguments_value(arguments, "client-key"),
        .ca_cert = arguments_value(arguments, "ca-cert"),
        .username = arguments_value(arguments, "username"),
        .password_file = arguments_value(arguments, "password-file"),
        .cipher_mode = arguments_value(arguments, "cipher-mode"),
        .insecure_http = arguments_has(arguments, "insecure-http"),
        .converts = arguments_has(arguments, "convert-to-cluster-key-on-fs"),
    };
}

static int put_login(json_t *body, const struct kms_options *options, struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    bool is_token = kms_options_needs_token(options);
    const struct secret_source token = {
        .what = "token",
        .needed_by = "vault",
        .option = "--token",
        .variable = "COFFER_KMS_TOKEN",
        .question = "Vault token",
        .text = options->token,
        .file = options->token_file,
        .from_stdin = options->secret_from_stdin,
    };
    const struct secret_source secret_id = secret_source_of_role(
        "--secret-id", options->secret_id, options->secret_id_file, options->secret_from_stdin);

    if (!is_token && !kms_options_needs_secret_id(options))
        return 0;
    int r = secret_input_read(is_token ? &token : &secret_id, &secret, err);
    return r < 0 ? r : client_put_secret(body, is_token ? "token" : "secret_id", &secret, err);
}

static int put_password(json_t *body, const struct kms_options *options, struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    const struct secret_source password = {
        .what = "password",
        .needed_by = "--username",
        .option = "--password",
        .variable = "COFFER_KMS_PASSWORD",
        .question = "Password of the KMIP user",
        .file = options->password_file,
        .from_stdin = options->secret_from_stdin,
        .is_free_text = true,
    };

    if (!kms_options_needs_password(options))
        return 0;
    int r = secret_input_read(&password, &secret, err);
    return r < 0 ? r : client_put_secret(body, "password", &secret, err);
}

/* The content is sent, so that a relative path means what it says, whoever cofferd runs as. */
static int put_pem(json_t *body, const char *key, const char *path, const char *what,
                   struct error *err)
{
    CLEANUP(secret_release) struct secret pem = SECRET_INIT;

    if (!path)
        return 0;
    int r = secret_input_pem(path, what, strcmp(key, "client_key") == 0, &pem, err);
    return r < 0 ? r : client_put_secret(body, key, &pem, err);
}

static int put_texts(json_t *body, const struct kms_options *options, struct error *err)
{
    const struct {
        const char *key;
        const char *text;
    } texts[] = {
        { "type", options->type },
        { "address", options->address },
        { "key", options->key },
        { "namespace", options->namespace },
        { "transit_path", options->transit_path },
        { "auth_path", options->auth_path },
        { "role_id", options->role_id },
        { "kubernetes_role", options->kubernetes_role },
        { "kubernetes_token_path", options->kubernetes_token_path },
        { "username", options->username },
        { "cipher_mode", options->cipher_mode },
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++)
        r = client_put_text(body, texts[i].key, texts[i].text, err);
    return r;
}

static int fill_body(json_t *body, const struct kms_options *options, struct error *err)
{
    int r = put_texts(body, options, err);

    if (r == 0 && options->insecure_http)
        r = json_object_set_new(body, "insecure_http", json_true());
    if (r == 0 && options->no_token_renewal)
        r = json_object_set_new(body, "no_token_renewal", json_true());
    if (r == 0 && options->converts)
        r = json_object_set_new(body, "convert_to_cluster_key", json_true());
    if (r == 0)
        r = put_login(body, options, err);
    if (r == 0)
        r = put_password(body, options, err);
    if (r == 0)
        r = put_pem(body, "client_cert", options->client_cert, "client certificate", err);
    if (r == 0)
        r = put_pem(body, "client_key", options->client_key, "client key", err);
    if (r == 0)
        r = put_pem(body, "ca_cert", options->ca_cert, "CA certificate", err);
    return r;
}

static int check_and_fill(json_t *body, const struct kms_options *options, struct error *err)
{
    int r = kms_options_check(options, err);

    if (r == 0)
        r = secret_heap_init(err);
    return r < 0 ? r : fill_body(body, options, err);
}

int cli_put_kms(struct cli *cli, const char *type, const char *address, const char *key,
                json_t *body, struct error *err)
{
    struct kms_options options = read_options(cli, type, address, key, false);
    int r = check_and_fill(body, &options, err);

    cli_hide_secrets(cli);
    return r;
}

/* What works, but should not stay so: a policy that allows too much, an address that does not
 * answer. */
static void print_warnings(const json_t *warnings)
{
    size_t i;
    json_t *step;

    json_array_foreach(warnings, i, step)
    {
        cli_print(stderr, "warning: %s: %s: %s\n      -> %s\n", client_text(step, "address"),
                  client_text(step, "step"), client_text(step, "text"),
                  client_text(step, "action"));
    }
}

void cli_print_keys_left(const json_t *left)
{
    size_t i;
    json_t *one;

    json_array_foreach(left, i, one)
    {
        cli_print(stderr, "warning: filesystem %s: %s\n", client_text(one, "filesystem"),
                  client_text(one, "text"));
    }
    if (json_array_size(left) > 0)
        cli_print(stderr,
                  "      -> keep the KMS that wrapped these keys, with all versions of its "
                  "key; set it again when it\n         opens them, and what is to wrap them "
                  "then\n");
}

static void print_done(const struct kms_options *options, const json_t *kms)
{
    long long rewrapped = (long long)json_integer_value(json_object_get(kms, "rewrapped"));

    cli_print(stdout, "The KMS is configured: %s %s, key %s. A trial wrap and unwrap succeeded.\n",
              kms_options_is_vault(options) ? "Vault" : "KMIP server", options->address,
              options->key);
    if (rewrapped > 0)
        cli_print(stdout, "The key%s of %lld filesystem%s %s wrapped anew by it.\n",
                  rewrapped == 1 ? "" : "s", rewrapped, rewrapped == 1 ? "" : "s",
                  rewrapped == 1 ? "was" : "were");
}

int cmd_kms_set(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    CLEANUP(json_freep) json_t *kms = NULL;
    const char *word = cli_word(cli, 3);
    struct kms_options options = read_options(cli, cli_word(cli, 0), cli_word(cli, 1),
                                              cli_word(cli, 2), word && strcmp(word, "-") == 0);

    if (word && !options.secret_from_stdin)
        return error_set(err, -EINVAL, "'%s' is one word too many; see coffer %s --help", word,
                         cli->command->path);
    int r = check_and_fill(body, &options, err);
    cli_hide_secrets(cli);
    if (r < 0)
        return r;

    struct client_request request = { .method = "PUT", .path = "/api/v1/kms" };
    request.body = TAKE(body);
    r = client_call(&cli->instance, &request, &kms, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(kms, err);
    print_done(&options, kms);
    print_warnings(json_object_get(kms, "warnings"));
    cli_print_keys_left(json_object_get(kms, "keys_left"));
    return 0;
}
