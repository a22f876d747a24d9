/* coffer security ca-cert: the CA certificates that are trusted for Vault. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/secret_input.h"

#define ROUTE "/api/v1/ca-cert"

/* The change is made; whether Vault is content with it is said as well. */
static int report(struct cli *cli, const json_t *answer, const char *done, struct error *err)
{
    const char *fault = client_text(answer, "kms_error");

    if (cli->json)
        return cli_print_json(answer, err);
    (void)puts(done);
    if (*fault)
        cli_print(stdout, "But Vault cannot be used at present: %s\n", fault);
    else if (json_object_get(answer, "kms_error"))
        (void)puts("The Vault that is configured answers.");
    return 0;
}

static int read_certificates(const char *path, struct secret *ret, struct error *err)
{
    if (!path)
        return error_set(err, -EINVAL,
                         "the certificate is missing; give the PEM file of the CA with "
                         "--cert-file");
    int r = secret_heap_init(err);
    return r < 0 ? r : secret_input_pem(path, "CA certificate", false, ret, err);
}

int cmd_ca_cert_set(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(secret_release) struct secret pem = SECRET_INIT;
    int r = read_certificates(arguments_value(&cli->arguments, "cert-file"), &pem, err);

    if (r < 0)
        return r;
    struct client_request request = {
        .method = "PUT",
        .path = ROUTE,
        .body = json_pack("{s:o}", "cert", json_stringn((const char *)pem.data, pem.len)),
    };
    r = client_call(&cli->instance, &request, &answer, err);
    return r < 0 ? r
                 : report(cli, answer,
                          "Vault's certificate is checked against these CA certificates from now "
                          "on.",
                          err);
}

int cmd_ca_cert_reset(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    struct client_request request = { .method = "DELETE", .path = ROUTE };
    int r = client_call(&cli->instance, &request, &answer, err);

    return r < 0 ? r
                 : report(cli, answer,
                          "Vault's certificate is checked against the system's CA certificates "
                          "from now on.",
                          err);
}

static int fetch(struct cli *cli, json_t **ret, struct error *err)
{
    struct client_request request = { .method = "GET", .path = ROUTE };

    return client_call(&cli->instance, &request, ret, err);
}

static void print_certificate(const json_t *certificate)
{
    cli_print(stdout, "%-12s: %s\n", "Subject", client_text(certificate, "subject"));
    cli_print(stdout, "%-12s: %s until %s\n", "Good from", client_text(certificate, "from"),
              client_text(certificate, "until"));
    cli_print(stdout, "%-12s: %s\n", "SHA-256", client_text(certificate, "sha256"));
}

int cmd_ca_cert_status(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    size_t i;
    json_t *certificate;
    int r = fetch(cli, &answer, err);

    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(answer, err);
    if (!json_is_true(json_object_get(answer, "configured"))) {
        (void)puts("No CA certificate is set: Vault's certificate is checked against the system's "
                   "CA certificates.");
        return 0;
    }
    (void)puts("Vault's certificate is checked against:");
    json_array_foreach(json_object_get(answer, "certificates"), i, certificate)
        print_certificate(certificate);
    return 0;
}

int cmd_ca_cert_download(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    const char *path = arguments_value(&cli->arguments, "path");
    int r = fetch(cli, &answer, err);

    if (r < 0)
        return r;
    const char *pem = client_text(answer, "pem");
    if (*pem == '\0')
        return error_set(err, -ENOENT,
                         "no CA certificate is set, so there is none to download; the system's "
                         "are in /etc/ssl/certs");
    if (path)
        return file_replace(path, (struct bytes){ (const uint8_t *)pem, strlen(pem) }, 0644, err);
    return fputs(pem, stdout) < 0 ? error_set(err, -EIO, "the certificate cannot be written") : 0;
}
