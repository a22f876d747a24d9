/* coffer fs tier: the object stores that snapshots are uploaded to. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/capacity.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/secret_input.h"

#define STORES "/api/v1/object-stores"
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

#define COMMON_OPTIONS                                                                             \
    { 0, "site", "site", "local or remote: what --site of an upload means [local]" },              \
        { 0, "upload-bandwidth", "bytes", "at most so much a second, as 100MiB; 0: no limit" },    \
        { 0, "download-bandwidth", "bytes", "likewise" },                                          \
    {                                                                                              \
        0, "skip-verification", NULL, "do not try it"                                              \
    }

#define S3_OPTIONS                                                                                 \
    { 0, "hostname", "host", "the server's name or address" },                                     \
        { 0, "port", "port", "its port [443; with HTTP 80]" },                                     \
        { 0, "protocol", "protocol", "HTTP or HTTPS [HTTPS]" },                                    \
        { 0, "bucket", "bucket", "the bucket, which must be there" },                              \
        { 0, "region", "region", "the bucket's region [us-east-1]" },                              \
        { 0, "prefix", "prefix", "what each object's name begins with [none]" },                   \
        { 0, "access-key-id", "id", "the access key" },                                            \
        { 0, "secret-key", "key", "its secret key; - reads it from standard input" },              \
        { 0, "secret-key-file", "file", "a file that holds it; - is standard input" },             \
        { 0, "ca-cert", "pem", "file with the CA of the server [the system's CAs]" },              \
        { 0, "max-concurrent", "n", "requests at once, at most 64 [16]" }, COMMON_OPTIONS

const struct option_spec tier_s3_options[] = {
    S3_OPTIONS,
    END_OF_TABLE,
};

const struct option_spec tier_dir_options[] = {
    { 0, "path", "dir", "the folder, which must be there" },
    COMMON_OPTIONS,
    END_OF_TABLE,
};

const struct option_spec tier_remove_options[] = {
    { 'f', "force", NULL, "do not ask" },
    END_OF_TABLE,
};

const struct argument_spec tier_add_arguments[] = {
    { "store", "at most 32 letters, digits, '.', '_' and '-'", false },
    END_OF_TABLE,
};

const struct argument_spec tier_s3_add_arguments[] = {
    { "store", "at most 32 letters, digits, '.', '_' and '-'", false },
    { "-", "read the secret key from standard input", true },
    END_OF_TABLE,
};

const struct argument_spec tier_s3_arguments[] = {
    { "store", "the object store", false },
    { "-", "read a new secret key from standard input", true },
    END_OF_TABLE,
};

const struct argument_spec tier_store_arguments[] = {
    { "store", "the object store", false },
    END_OF_TABLE,
};

/* --- lists --- */

static const struct column all_columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "type", "TYPE", COLUMN_TEXT },
    { "site", "SITE", COLUMN_TEXT },
    { "place", "PLACE", COLUMN_TEXT },
    { "upload_bandwidth", "UPLOAD LIMIT", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "download_bandwidth", "DOWNLOAD LIMIT", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "created", "CREATED", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column s3_columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "hostname", "HOSTNAME", COLUMN_TEXT },
    { "port", "PORT", COLUMN_NUMBER, .zero_is = "-" },
    { "protocol", "PROTOCOL", COLUMN_TEXT },
    { "bucket", "BUCKET", COLUMN_TEXT },
    { "region", "REGION", COLUMN_TEXT },
    { "prefix", "PREFIX", COLUMN_TEXT },
    { "site", "SITE", COLUMN_TEXT },
    { "access_key_id", "ACCESS KEY ID", COLUMN_TEXT, .hidden = true },
    { "ca_cert", "OWN CA", COLUMN_FLAG, .hidden = true },
    { "max_concurrent", "CONCURRENT", COLUMN_NUMBER, .hidden = true, .zero_is = "16" },
    { "upload_bandwidth", "UPLOAD LIMIT", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "download_bandwidth", "DOWNLOAD LIMIT", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "created", "CREATED", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column dir_columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "path", "PATH", COLUMN_TEXT },
    { "site", "SITE", COLUMN_TEXT },
    { "upload_bandwidth", "UPLOAD LIMIT", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "download_bandwidth", "DOWNLOAD LIMIT", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "created", "CREATED", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

/* Where it is, in one text. */
static int add_place(json_t *row)
{
    CLEANUP(free_ptr) char *place = NULL;
    const char *prefix = client_text(row, "prefix");

    if (strcmp(client_text(row, "type"), "dir") == 0)
        return json_object_set(row, "place", json_object_get(row, "path"));
    if (asprintf(&place, "%s/%s%s%s", client_text(row, "hostname"), client_text(row, "bucket"),
                 *prefix ? "/" : "", prefix) < 0)
        return -1;
    return json_object_set_new(row, "place", json_string(place));
}

/* type: NULL for all. */
static int list(struct cli *cli, const char *type, const struct column *columns, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = STORES };
    int r = client_call(&cli->instance, &request, &rows, err);

    for (size_t i = json_array_size(rows); r == 0 && i-- > 0;) {
        json_t *row = json_array_get(rows, i);
        if (type && strcmp(client_text(row, "type"), type) != 0)
            (void)json_array_remove(rows, i);
        else if (!type && add_place(row) < 0)
            r = error_set(err, -ENOMEM, "there is not enough memory for the list");
    }
    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(
            stderr,
            "There is none yet; coffer fs tier s3 add and coffer fs tier dir add make one.\n");
    return r;
}

int cmd_tier_list(struct cli *cli, struct error *err)
{
    return list(cli, NULL, all_columns, err);
}

int cmd_tier_s3_list(struct cli *cli, struct error *err)
{
    return list(cli, "s3", s3_columns, err);
}

int cmd_tier_dir_list(struct cli *cli, struct error *err)
{
    return list(cli, "dir", dir_columns, err);
}

/* --- what is sent --- */

static int put_text(json_t *body, const struct cli *cli, const char *option, const char *key,
                    struct error *err)
{
    return client_put_text(body, key, arguments_value(&cli->arguments, option), err);
}

int cli_put_store(const struct cli *cli, json_t *body, struct error *err)
{
    int r = put_text(body, cli, "object-store", "object_store", err);

    return r < 0 ? r : put_text(body, cli, "site", "site", err);
}

static int put_number(json_t *body, const struct cli *cli, const char *option, const char *key,
                      long max, struct error *err)
{
    const char *text = arguments_value(&cli->arguments, option);
    char *end = NULL;

    if (!text)
        return 0;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0 || value > max)
        return error_set(err, -EINVAL, "--%s must be a number from 0 to %ld", option, max);
    return json_object_set_new(body, key, json_integer(value)) < 0
               ? error_set(err, -ENOMEM, "there is not enough memory for the request")
               : 0;
}

static int put_rate(json_t *body, const struct cli *cli, const char *option, const char *key,
                    struct error *err)
{
    const char *text = arguments_value(&cli->arguments, option);
    uint64_t bytes = 0;
    int r = text && strcmp(text, "0") != 0 ? capacity_parse(text, &bytes, err) : 0;

    if (r < 0)
        return error_prefix(err, r, "--%s", option);
    if (bytes > INT64_MAX)
        return error_set(err, -EINVAL, "--%s is too much", option);
    if (text && json_object_set_new(body, key, json_integer((json_int_t)bytes)) < 0)
        return error_set(err, -ENOMEM, "there is not enough memory for the request");
    return 0;
}

/* When it is changed, only if an option says that there is a new one. */
static int put_secret_key(json_t *body, const struct cli *cli, bool is_new, struct error *err)
{
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    const char *word = cli_word(cli, 1);
    const struct secret_source source = {
        .what = "secret key",
        .needed_by = "an S3 store",
        .option = "--secret-key",
        .variable = "COFFER_S3_SECRET_KEY",
        .question = "Secret key",
        .text = arguments_value(&cli->arguments, "secret-key"),
        .file = arguments_value(&cli->arguments, "secret-key-file"),
        .from_stdin = word != NULL,
    };

    if (word && strcmp(word, "-") != 0)
        return error_set(err, -EINVAL, "'%.64s' is one word too many; quote values with blanks",
                         word);
    if ((source.text != NULL) + (source.file != NULL) + source.from_stdin > 1)
        return error_set(err, -EINVAL,
                         "the secret key is given more than once; give one of --secret-key, "
                         "--secret-key-file and -");
    if (!is_new && !source.text && !source.file && !source.from_stdin)
        return 0;
    int r = secret_input_read(&source, &secret, err);
    return r < 0 ? r : client_put_secret(body, "secret_key", &secret, err);
}

static int put_ca_cert(json_t *body, const struct cli *cli, struct error *err)
{
    CLEANUP(secret_release) struct secret pem = SECRET_INIT;
    const char *path = arguments_value(&cli->arguments, "ca-cert");

    if (!path)
        return 0;
    int r = secret_input_pem(path, "CA certificate", false, &pem, err);
    return r < 0 ? r : client_put_secret(body, "ca_cert", &pem, err);
}

static int put_common(json_t *body, const struct cli *cli, struct error *err)
{
    int r = put_text(body, cli, "site", "site", err);

    if (r == 0)
        r = put_rate(body, cli, "upload-bandwidth", "upload_bandwidth", err);

    if (r == 0)
        r = put_rate(body, cli, "download-bandwidth", "download_bandwidth", err);
    if (r == 0 && arguments_has(&cli->arguments, "skip-verification"))
        (void)json_object_set_new(body, "skip_verification", json_true());
    return r;
}

/* cofferd has another current folder than who gives the path. */
static int put_folder(json_t *body, const struct cli *cli, struct error *err)
{
    const char *text = arguments_value(&cli->arguments, "path");
    char whole[PATH_MAX];

    if (text && text[0] != '/' && !realpath(text, whole))
        return error_set(err, -errno,
                         "cannot find the folder %s: %s; make it first, or mount its disk", text,
                         strerrordesc_np(errno));
    return client_put_text(body, "path", text && text[0] != '/' ? whole : text, err);
}

static int put_s3(json_t *body, const struct cli *cli, bool is_new, struct error *err)
{
    static const struct {
        const char *option, *key;
    } texts[] = {
        { "hostname", "hostname" }, { "protocol", "protocol" },
        { "bucket", "bucket" },     { "region", "region" },
        { "prefix", "prefix" },     { "access-key-id", "access_key_id" },
    };
    int r = secret_heap_init(err);

    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++)
        r = put_text(body, cli, texts[i].option, texts[i].key, err);
    if (r == 0)
        r = put_number(body, cli, "port", "port", UINT16_MAX, err);
    if (r == 0)
        r = put_number(body, cli, "max-concurrent", "max_concurrent", 64, err);
    if (r == 0)
        r = put_ca_cert(body, cli, err);
    if (r == 0)
        r = put_common(body, cli, err);
    if (r == 0)
        r = put_secret_key(body, cli, is_new, err);
    return r;
}

static int need(const struct cli *cli, const char *option, const char *what, struct error *err)
{
    if (arguments_value(&cli->arguments, option))
        return 0;
    return error_set(err, -EINVAL, "%s is missing; give it with --%s", what, option);
}

/* --- changes --- */

static int send(struct cli *cli, const char *method, const char *path, json_t *body,
                const char *done, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    struct client_request request = { .method = method, .path = path, .body = body };
    int r = client_call(&cli->instance, &request, &answer, err);

    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(answer, err);
    cli_print(stdout, "Object store %s %s\n", cli_word(cli, 0), done);
    return 0;
}

static int path_of(const struct cli *cli, const char *action, char ret[static CLIENT_PATH_SIZE],
                   struct error *err)
{
    return client_object_path(STORES, cli_word(cli, 0), action, ret, err);
}

static const char *added_text(const struct cli *cli)
{
    return arguments_has(&cli->arguments, "skip-verification")
               ? "was added, without trying it."
               : "was added; it was tried and does what coffer needs.";
}

static int add(struct cli *cli, json_t *body, const char *type, struct error *err)
{
    if (json_object_set_new(body, "name", json_string(cli_word(cli, 0))) < 0 ||
        json_object_set_new(body, "type", json_string(type)) < 0)
        return error_set(err, -EINVAL, "'%s' is not UTF-8 text; write it anew", cli_word(cli, 0));
    return send(cli, "POST", STORES, json_incref(body), added_text(cli), err);
}

int cmd_tier_s3_add(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    int r = need(cli, "hostname", "the host name of the object store", err);

    if (r == 0)
        r = need(cli, "bucket", "the bucket", err);
    if (r == 0)
        r = need(cli, "access-key-id", "the access key id", err);
    if (r == 0)
        r = put_s3(body, cli, true, err);
    return r < 0 ? r : add(cli, body, "s3", err);
}

int cmd_tier_dir_add(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    int r = need(cli, "path", "the folder", err);

    if (r == 0)
        r = put_folder(body, cli, err);
    if (r == 0)
        r = put_common(body, cli, err);
    return r < 0 ? r : add(cli, body, "dir", err);
}

/* Of one command for each type, that the store is of the type. */
static int expect_type(struct cli *cli, const char *path, struct error *err)
{
    CLEANUP(json_freep) json_t *store = NULL;
    struct client_request request = { .method = "GET", .path = path };
    bool wants_s3 = strstr(cli->command->path, " s3 ") != NULL;
    int r = client_call(&cli->instance, &request, &store, err);

    if (r == 0 && (strcmp(client_text(store, "type"), "s3") == 0) != wants_s3)
        r = error_set(err, -EINVAL, "object store %.40s is of type %s; give coffer fs tier %s",
                      cli_word(cli, 0), client_text(store, "type"), client_text(store, "type"));
    return r;
}

static int update(struct cli *cli, json_t *body, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    int r = path_of(cli, "", path, err);

    if (r == 0)
        r = expect_type(cli, path, err);
    if (r == 0 && json_object_size(body) == 0)
        r = error_set(err, -EINVAL, "say what is to be changed; see coffer %s --help",
                      cli->command->path);
    return r < 0 ? r : send(cli, "PATCH", path, json_incref(body), "was changed.", err);
}

int cmd_tier_s3_update(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    int r = put_s3(body, cli, false, err);

    return r < 0 ? r : update(cli, body, err);
}

int cmd_tier_dir_update(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    int r = put_folder(body, cli, err);

    if (r == 0)
        r = put_common(body, cli, err);
    return r < 0 ? r : update(cli, body, err);
}

int cmd_tier_remove(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE], question[128];
    int r = path_of(cli, "", path, err);

    if (r == 0)
        r = expect_type(cli, path, err);
    if (r < 0)
        return r;
    (void)snprintf(question, sizeof(question), "Forget object store %.40s? What lies in it stays.",
                   cli_word(cli, 0));
    if (!arguments_has(&cli->arguments, "force") && !cli_confirm(question))
        return error_set(err, -ECANCELED, "nothing was changed");
    return send(cli, "DELETE", path, NULL, "was removed; what lies in it stays there.", err);
}

int cmd_tier_check(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    int r = path_of(cli, "/check", path, err);

    return r < 0 ? r : send(cli, "POST", path, NULL, "answers and does what coffer needs.", err);
}
