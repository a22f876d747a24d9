/* coffer fs key: the recovery copy of a filesystem's keys. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/encoding.h"
#include "base/file_io.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/secret_input.h"
#include "crypto/cms.h"

/* What a recovery copy holds, at most. */
#define KEYS_MAX (16u * 1024u)

static void warn_lacking(const char *text)
{
    if (*text != '\0')
        cli_print(stderr, "Warning: %s\n", text);
}

int cmd_fs_key_export(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(secret_release) struct secret pem = SECRET_INIT;
    const char *name = cli_word(cli, 0);
    const char *certificate = arguments_value(&cli->arguments, "recipient-cert");
    const char *file = arguments_value(&cli->arguments, "output-file");
    char path[CLIENT_PATH_SIZE];

    if (!certificate)
        return error_set(err, -EINVAL,
                         "the recipient is missing; give the PEM file of a certificate whose "
                         "private key is kept offline, with --recipient-cert");
    int r = client_filesystem_path(name, "/key/export", path, err);
    if (r == 0 && file && access(file, F_OK) == 0) /* perhaps the copy of another filesystem */
        r = error_set(err, -EEXIST,
                      "%s exists already, and may be another copy; give the name of a new file",
                      file);
    if (r == 0)
        r = secret_heap_init(err);
    if (r == 0)
        r = secret_input_pem(certificate, "recipient's certificate", false, &pem, err);
    if (r < 0)
        return r;
    struct client_request request = {
        .method = "POST",
        .path = path,
        .body = json_pack("{s:s%}", "recipient_cert", (const char *)pem.data, pem.len),
    };
    r = client_call(&cli->instance, &request, &answer, err);
    if (r < 0)
        return r;
    warn_lacking(client_text(answer, "lacking"));
    const char *copy = client_text(answer, "cms");
    if (!file)
        return fputs(copy, stdout) < 0 ? error_set(err, -EIO, "the copy cannot be written") : 0;
    r = file_replace(file, (struct bytes){ (const uint8_t *)copy, strlen(copy) }, 0600, err);
    if (r == 0)
        cli_print(
            stdout,
            "The keys of filesystem %s are in %s, encrypted to the certificate. Keep the file "
            "and the\nprivate key apart, and neither on this host.\n",
            name, file);
    return r;
}

int cmd_fs_key_repair(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    const char *store = arguments_value(&cli->arguments, "object-store");
    char path[CLIENT_PATH_SIZE];

    if (!store)
        return error_set(err, -EINVAL,
                         "say where snapshots of the filesystem are, with --object-store");
    int r = client_filesystem_path(cli_word(cli, 0), "/key/repair", path, err);
    if (r < 0)
        return r;
    json_t *body = json_pack("{s:s}", "object_store", store);
    r = client_put_text(body, "locator", cli_word(cli, 1), err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    struct client_request request = { .method = "POST", .path = path, .body = body };
    r = client_call(&cli->instance, &request, &answer, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(answer, err);
    cli_print(stdout, "The key ring of filesystem %s was got back from the uploaded snapshot %s.\n",
              cli_word(cli, 0), client_text(answer, "locator"));
    return 0;
}

static const struct column foreign_columns[] = {
    { "filesystem_uuid", "KEY OF", COLUMN_TEXT },
    { "generation", "GENERATION", COLUMN_NUMBER },
    { "type", "KMS", COLUMN_TEXT, .hidden = true },
    { "key", "WRAPPED BY", COLUMN_TEXT },
    { "version", "VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "result", "RESULT", COLUMN_STATUS },
    { NULL, NULL, COLUMN_TEXT },
};

int cmd_fs_key_drop_unused(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *keys = NULL;
    const struct arguments *arguments = &cli->arguments;
    bool is_dry = arguments_has(arguments, "dry-run");
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), "/key/drop-unused", path, err);

    if (r == 0 && !is_dry && !arguments_has(arguments, "force") &&
        !cli_confirm(
            "Take the keys that it does not need out of its ring? A backup of its metadata "
            "from before may\nneed them (--dry-run shows which they are)."))
        return error_set(err, -ECANCELED, "nothing was changed; answer y to drop them");
    if (r < 0)
        return r;
    struct client_request request = { .method = "POST",
                                      .path = path,
                                      .body = json_pack("{s:b}", "dry_run", (int)is_dry) };
    r = client_call(&cli->instance, &request, &keys, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(keys, err);
    if (json_array_size(keys) > 0)
        return table_print(stdout, foreign_columns, keys, &cli->list, err);
    cli_print(stdout, "The key ring of filesystem %s has no keys of other filesystems.\n",
              cli_word(cli, 0));
    return 0;
}

/* Opened with the private key here, so that it does not get to cofferd; or opened before, by
 * somebody whose key is in a token. */
static int read_keys(const struct arguments *arguments, const char *file, struct secret *ret,
                     struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(buf_wipe) struct buf key_pem = BUF_INIT;
    CLEANUP(buf_wipe) struct buf copy = BUF_INIT;
    const char *key_file = arguments_value(arguments, "recipient-key");
    bool is_stdin = strcmp(file, "-") == 0;
    int r = file_read(is_stdin ? "/dev/stdin" : file, CMS_MESSAGE_MAX, &copy, err);

    if (r < 0)
        return r;
    if (key_file) {
        r = file_read(key_file, CMS_MESSAGE_MAX, &key_pem, err);
        return r < 0 ? r : cms_open(buf_bytes(&copy), buf_bytes(&key_pem), KEYS_MAX, ret, err);
    }
    if (!is_stdin)
        return error_set(err, -EINVAL,
                         "the private key is missing; give its PEM file with --recipient-key, or "
                         "pipe what 'openssl cms -decrypt' prints, and give - for the file");
    return secret_assign(ret, buf_bytes(&copy)) < 0
               ? error_set(err, -ENOMEM, "there is not enough locked memory; raise ulimit -l")
               : 0;
}

static int fill(json_t *body, const struct secret *keys, struct error *err)
{
    CLEANUP(secret_release) struct secret text = SECRET_INIT;

    if (keys->len > KEYS_MAX)
        return error_set(err, -EINVAL, "what was given is longer than exported keys are");
    if (secret_new(&text, BASE64_SIZE(keys->len)) < 0)
        return error_set(err, -ENOMEM, "there is not enough locked memory; raise ulimit -l");
    base64_encode(secret_bytes(keys), (char *)text.data);
    if (json_object_set_new(body, "keys", json_string((const char *)text.data)) < 0)
        return error_set(err, -ENOMEM, "there is not enough memory for the request");
    return 0;
}

int cli_put_recovery_copy(const struct cli *cli, const char *file, json_t *body, struct error *err)
{
    CLEANUP(secret_release) struct secret keys = SECRET_INIT;
    int r = secret_heap_init(err);

    if (r == 0)
        r = read_keys(&cli->arguments, file, &keys, err);
    if (r == 0)
        r = fill(body, &keys, err);
    if (r == 0 && arguments_has(&cli->arguments, "allow-no-kms"))
        (void)json_object_set_new(body, "allow_no_kms", json_true());
    return r;
}

int cmd_fs_key_import(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(json_freep) json_t *body = json_object();
    const char *name = cli_word(cli, 0);
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(name, "/key/import", path, err);

    if (r == 0)
        r = cli_put_recovery_copy(cli, cli_word(cli, 1), body, err);
    if (r < 0)
        return r;
    struct client_request request = { .method = "POST", .path = path, .body = TAKE(body) };
    r = client_call(&cli->instance, &request, &answer, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(answer, err);
    cli_print(stdout, "The keys of filesystem %s were imported. ", name);
    cli_print_wrapped_by(answer);
    warn_lacking(client_text(answer, "lacking"));
    return 0;
}
