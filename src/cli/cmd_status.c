/* coffer status. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

static void print_kms_line(const json_t *kms)
{
    const char *type = client_text(kms, "type");
    const char *address = json_string_value(json_array_get(json_object_get(kms, "addresses"), 0));

    if (!json_is_true(json_object_get(kms, "configured"))) {
        cli_print(stdout, "%-12s: not configured; see coffer security kms set --help\n", "KMS");
        return;
    }
    cli_print(stdout, "%-12s: %s %s, key %s, ", "KMS",
              strcmp(type, "vault") == 0 ? "Vault" : "KMIP", address ? address : "",
              client_text(kms, "key"));
    if (json_is_true(json_object_get(kms, "reachable")))
        (void)puts("reachable");
    else
        cli_print(stdout, "not reachable: %s\n", client_text(kms, "error"));
}

static void print_alerts(const json_t *alerts)
{
    size_t n = json_array_size(alerts);
    size_t muted = 0;

    for (size_t i = 0; i < n; i++)
        muted += json_is_true(json_object_get(json_array_get(alerts, i), "muted"));
    cli_print(stdout, "%-12s: %zu", "Alerts", n - muted);
    if (muted > 0)
        cli_print(stdout, ", and %zu muted", muted);
    (void)putchar('\n');
    for (size_t i = 0; i < n; i++) {
        const json_t *alert = json_array_get(alerts, i);
        if (json_is_true(json_object_get(alert, "muted")))
            continue;
        cli_print(stdout, "  %s %s: %s\n", client_text(alert, "severity"),
                  client_text(alert, "type"), client_text(alert, "text"));
    }
}

static void print_https(const json_t *https)
{
    if (!https)
        return;
    cli_print(stdout, "%-12s: https://%s/, certificate %suntil %s\n", "Web page",
              client_text(https, "address"),
              json_is_true(json_object_get(https, "self_made")) ? "made by cofferd, good "
                                                                : "good ",
              client_text(https, "certificate_until"));
    cli_print(stdout, "%-12s: %s\n", "  SHA-256", client_text(https, "certificate_sha256"));
}

int cmd_status(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *status = NULL;
    struct client_request request = { .method = "GET", .path = "/api/v1/status" };
    int r = client_call(&cli->instance, &request, &status, err);

    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(status, err);
    cli_print(stdout, "%-12s: coffer %s, process %lld\n", "Version", client_text(status, "version"),
              (long long)json_integer_value(json_object_get(status, "pid")));
    cli_print(stdout, "%-12s: since %s\n", "Running", client_text(status, "started_at"));
    cli_print(stdout, "%-12s: %s\n", "State", client_text(status, "state_dir"));
    cli_print(stdout, "%-12s: %s\n", "Socket", client_text(status, "socket"));
    print_https(json_object_get(status, "https"));
    print_kms_line(json_object_get(status, "kms"));
    cli_print(stdout, "%-12s: %lld, %lld of them mounted\n", "Filesystems",
              (long long)json_integer_value(json_object_get(status, "filesystems")),
              (long long)json_integer_value(json_object_get(status, "mounted")));
    print_alerts(json_object_get(status, "alerts"));
    return 0;
}
