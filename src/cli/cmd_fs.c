/* coffer fs: the list, and what changes it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "cli/capacity.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/secret_input.h"

#define FILESYSTEMS "/api/v1/filesystems"
#define CHECK_TIMEOUT_MS (24LL * 3600 * 1000)

static const struct column columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "uuid", "UUID", COLUMN_TEXT },
    { "status", "STATUS", COLUMN_STATUS },
    { "status_text", "STATUS TEXT", COLUMN_TEXT, .hidden = true },
    { "capacity", "CAPACITY", COLUMN_CAPACITY, .zero_is = "unlimited" },
    { "used", "USED", COLUMN_CAPACITY },
    { "free", "FREE", COLUMN_CAPACITY, .hidden = true },
    { "kms_type", "KMS", COLUMN_TEXT, .hidden = true },
    { "kms_key", "KMS KEY", COLUMN_TEXT },
    { "kms_namespace", "KMS NAMESPACE", COLUMN_TEXT, .hidden = true },
    { "kms_role", "KMS ROLE", COLUMN_TEXT, .hidden = true },
    { "own_kms_key", "OWN KEY", COLUMN_FLAG, .hidden = true },
    { "kms_key_version", "KEY VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "kms_cipher_mode", "CIPHER MODE", COLUMN_TEXT, .hidden = true },
    { "mounted_at", "MOUNTED AT", COLUMN_TEXT },
    { "store", "STORE", COLUMN_TEXT, .hidden = true },
    { "meta", "META", COLUMN_TEXT, .hidden = true },
    { "read_only", "READ ONLY", COLUMN_FLAG, .hidden = true },
    { "older_worker", "OLDER WORKER", COLUMN_FLAG, .hidden = true },
    { "cache", "CACHE", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "cache_used", "CACHE USED", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "cache_hits", "CACHE HITS", COLUMN_NUMBER, .hidden = true, .zero_is = "-" },
    { "cache_misses", "CACHE MISSES", COLUMN_NUMBER, .hidden = true, .zero_is = "-" },
    { "cache_folder", "CACHE FOLDER", COLUMN_TEXT, .hidden = true },
    { "origin_store", "REST IN", COLUMN_TEXT, .hidden = true },
    { "origin_left", "REST", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "origin_size", "DOWNLOAD", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "origin_task", "DOWNLOAD TASK", COLUMN_NUMBER, .hidden = true, .zero_is = "-" },
    { NULL, NULL, COLUMN_TEXT },
};

/* What a person must know about a filesystem that is not simply mounted or stopped. */
static void print_troubles(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *status = client_text(row, "status");
        const char *text = client_text(row, "status_text");
        bool is_up = strcmp(status, "mounted") == 0 || strcmp(status, "started") == 0;
        if (strcmp(status, "failed") == 0 || strcmp(status, "waiting-for-kms") == 0 ||
            (is_up && *text != '\0')) /* read-only without a reason was asked for */
            cli_print(stderr, "%s: %s\n", client_text(row, "name"), *text ? text : status);
    }
}

static void print_older_workers(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (json_is_true(json_object_get(row, "older_worker")))
            cli_print(stderr,
                      "%s: its worker was started by an older version of coffer; unmount it and "
                      "mount it again when that suits.\n",
                      client_text(row, "name"));
    }
}

/* How much of those that were downloaded is not here yet. */
static void print_rests(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const json_t *left = json_object_get(row, "origin_left");
        char rest[CAPACITY_TEXT_SIZE + sizeof(" of it are")] = "a part of it is";
        char amount[CAPACITY_TEXT_SIZE];
        if (*client_text(row, "origin_store") == '\0')
            continue;
        capacity_format((uint64_t)json_integer_value(left), amount);
        if (json_is_integer(left))
            (void)snprintf(rest, sizeof(rest), "%s of it are", amount);
        cli_print(
            stderr,
            "%s: %s still only in the object store %s; 'coffer task' tells how far that is.\n",
            client_text(row, "name"), rest, client_text(row, "origin_store"));
    }
}

int cmd_fs_list(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = FILESYSTEMS };
    int r = client_call(&cli->instance, &request, &rows, err);

    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW) {
        print_troubles(rows);
        print_older_workers(rows);
        print_rests(rows);
        if (json_array_size(rows) == 0)
            cli_print(stderr, "There is no filesystem yet; coffer fs add makes one.\n");
    }
    return r;
}

static int put_bytes(json_t *body, const char *name, const char *text, struct error *err)
{
    uint64_t bytes = 0;

    if (text && strcmp(name, "cache") == 0 && strcasecmp(text, "unlimited") == 0)
        return error_set(err, -EINVAL, "a cache has a limit: give a size, or 0 for none");
    int r = text && strcmp(text, "0") != 0 ? capacity_parse(text, &bytes, err) : 0;

    if (r < 0)
        return r;
    if (bytes > INT64_MAX)
        return error_set(err, -EINVAL, "'%s' is too much; the largest number is 7EiB", text);
    if (json_object_set_new(body, name, json_integer((json_int_t)bytes)) < 0)
        return error_set(err, -ENOMEM, "there is not enough memory for the request");
    return 0;
}

/* Needed for a role that is given; without one it is another secret ID for the role that is there.
 */
static int put_secret_id(json_t *body, struct cli *cli, struct error *err)
{
    const struct arguments *arguments = &cli->arguments;
    CLEANUP(secret_release) struct secret secret = SECRET_INIT;
    const char *role_id = arguments_value(arguments, "kms-role-id");
    const struct secret_source source =
        secret_source_of_role("--kms-secret-id", arguments_value(arguments, "kms-secret-id"),
                              arguments_value(arguments, "kms-secret-id-file"), false);

    if (source.text && source.file)
        return error_set(err, -EINVAL,
                         "the secret ID is given more than once; give one of --kms-secret-id and "
                         "--kms-secret-id-file");
    if (!source.text && !source.file && (!role_id || *role_id == '\0'))
        return 0;
    int r = secret_heap_init(err);
    if (r == 0)
        r = secret_input_read(&source, &secret, err);
    if (r == 0)
        r = client_put_secret(body, "kms_secret_id", &secret, err);
    cli_hide_secrets(cli);
    return r;
}

static int put_kms_key(json_t *body, struct cli *cli, struct error *err)
{
    static const char *const options[][2] = { { "kms-key-identifier", "kms_key" },
                                              { "kms-namespace", "kms_namespace" },
                                              { "kms-role-id", "kms_role_id" } };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(options) / sizeof(options[0]); i++)
        r = client_put_text(body, options[i][1], arguments_value(&cli->arguments, options[i][0]),
                            err);
    return r < 0 ? r : put_secret_id(body, cli, err);
}

static int fill_places(json_t *body, struct cli *cli, struct error *err)
{
    int r = client_put_text(body, "name", cli_word(cli, 0), err);

    if (r == 0)
        r = client_put_text(body, "store", arguments_value(&cli->arguments, "store"), err);
    if (r == 0)
        r = client_put_text(body, "meta", arguments_value(&cli->arguments, "meta"), err);
    if (r == 0 && arguments_has(&cli->arguments, "cache"))
        r = put_bytes(body, "cache", arguments_value(&cli->arguments, "cache"), err);
    if (r == 0)
        r = client_put_text(body, "cache_folder", arguments_value(&cli->arguments, "cache-folder"),
                            err);
    if (r == 0)
        r = put_kms_key(body, cli, err);
    if (r == 0 && arguments_has(&cli->arguments, "allow-no-kms"))
        r = json_object_set_new(body, "allow_no_kms", json_true());
    return r;
}

static int fill_add(json_t *body, struct cli *cli, struct error *err)
{
    int r = put_bytes(body, "capacity", cli_word(cli, 1), err);

    return r < 0 ? r : fill_places(body, cli, err);
}

void cli_print_wrapped_by(const json_t *filesystem)
{
    const json_t *version = json_object_get(filesystem, "kms_key_version");
    const char *type = client_text(filesystem, "kms_type");

    if (strcmp(type, "local") == 0) {
        (void)puts("Its key is wrapped by a local key only: whoever reads the state folder can "
                   "read the filesystem.");
        return;
    }
    cli_print(stdout, "Its key is wrapped by the %s key %s", type,
              client_text(filesystem, "kms_key"));
    if (json_is_integer(version) && json_integer_value(version) > 0)
        cli_print(stdout, ", version %lld", (long long)json_integer_value(version));
    if (*client_text(filesystem, "kms_role") != '\0')
        cli_print(stdout, ", which it asks for with its own role %s",
                  client_text(filesystem, "kms_role"));
    (void)puts(".");
}

/* Of what fill() puts into the request; *ret_row: what became of it. */
static int make(struct cli *cli, int fill(json_t *body, struct cli *cli, struct error *err),
                json_t **ret_row, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    int r = fill(body, cli, err);

    if (r < 0)
        return r;
    struct client_request request = { .method = "POST", .path = FILESYSTEMS, .body = TAKE(body) };
    return client_call(&cli->instance, &request, ret_row, err);
}

int cmd_fs_add(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    int r = make(cli, fill_add, &row, err);

    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(row, err);
    cli_print(stdout, "Filesystem %s was added, uuid %s. ", cli_word(cli, 0),
              client_text(row, "uuid"));
    cli_print_wrapped_by(row);
    return 0;
}

/* The capacity may also stand in front of the locator, as people are used to. */
static int fill_download(json_t *body, struct cli *cli, struct error *err)
{
    static const char locator[] = "coffer1-";
    const char *last = cli_word(cli, 2);
    bool is_swapped = last && strncasecmp(last, locator, strlen(locator)) == 0;
    const struct arguments *given = &cli->arguments;

    if (!arguments_value(given, "object-store") && !arguments_value(given, "site"))
        return error_set(err, -EINVAL,
                         "name the object store that holds the snapshot with --object-store, or "
                         "its site with --site; coffer fs tier lists them");
    int r = client_put_text(body, "locator", is_swapped ? last : cli_word(cli, 1), err);
    if (r == 0)
        r = cli_put_store(cli, body, err);
    if (arguments_has(&cli->arguments, "read-only-store"))
        (void)json_object_set_new(body, "read_only_store", json_true());
    if (r == 0)
        r = put_bytes(body, "capacity", is_swapped ? cli_word(cli, 1) : last, err);
    return r < 0 ? r : fill_places(body, cli, err);
}

static void print_download_task(const json_t *row)
{
    json_int_t task = json_integer_value(json_object_get(row, "origin_task"));

    if (task > 0)
        cli_print(
            stdout,
            "Task %lld fetches in the background what is not read before, while the filesystem "
            "is mounted.\n",
            (long long)task);
}

int cmd_fs_download(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    int r = make(cli, fill_download, &row, err);

    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(row, err);
    cli_print(stdout, "Filesystem %s was made of the snapshot, uuid %s; mount it to use it. ",
              cli_word(cli, 0), client_text(row, "uuid"));
    cli_print_wrapped_by(row);
    print_download_task(row);
    if (arguments_has(&cli->arguments, "read-only-store"))
        cli_print(stdout, "Until all of it is here, nobody may remove uploaded snapshots from the "
                          "object store: they do not see there that it is needed.\n");
    return 0;
}

/* A setting with a path of its own, below the filesystem's. */
static int put_setting(struct cli *cli, const char *part, json_t *body, json_t **ret_row,
                       struct error *err)
{
    struct client_request request = { .method = "PUT", .body = json_incref(body) };
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), part, path, err);

    if (r < 0) {
        json_decref(request.body);
        return r;
    }
    json_decref(TAKE(*ret_row));
    request.path = path;
    return client_call(&cli->instance, &request, ret_row, err);
}

static int set_cache(struct cli *cli, json_t **ret_row, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    const char *size = arguments_value(&cli->arguments, "cache");
    int r = size ? put_bytes(body, "cache", size, err) : 0;

    return r < 0 || !size ? r : put_setting(cli, "/cache", body, ret_row, err);
}

static int set_capacity(struct cli *cli, json_t **ret_row, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    const char *size = arguments_value(&cli->arguments, "capacity");
    int r = size ? put_bytes(body, "capacity", size, err) : 0;

    return r < 0 || !size ? r : put_setting(cli, "/capacity", body, ret_row, err);
}

static int set_origin(struct cli *cli, json_t **ret_row, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    const char *store = arguments_value(&cli->arguments, "object-store");
    int r = store ? client_put_text(body, "object_store", store, err) : 0;

    return r < 0 || !store ? r : put_setting(cli, "/origin", body, ret_row, err);
}

static int print_updated(struct cli *cli, const json_t *row, struct error *err)
{
    if (cli->json)
        return cli_print_json(row, err);
    cli_print(stdout, "Filesystem %s was updated. ", cli_word(cli, 0));
    cli_print_wrapped_by(row);
    return 0;
}

int cmd_fs_update(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    CLEANUP(json_freep) json_t *row = NULL;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), "", path, err);

    if (r == 0)
        r = put_kms_key(body, cli, err);
    if (r < 0)
        return r;
    if (arguments_has(&cli->arguments, "use-cluster-kms-key-identifier"))
        (void)json_object_set_new(body, "use_cluster_kms_key", json_true());
    r = set_capacity(cli, &row, err);
    if (r == 0)
        r = set_cache(cli, &row, err);
    if (r == 0)
        r = set_origin(cli, &row, err);
    if (r == 0 && !row && json_object_size(body) == 0)
        r = error_set(err, -EINVAL,
                      "say what is to be changed: --capacity, --cache, the key "
                      "(--kms-key-identifier, --use-cluster-kms-key-identifier), its login "
                      "(--kms-role-id, --kms-secret-id-file) or --object-store");
    if (r < 0 || (row && json_object_size(body) == 0))
        return r < 0 ? r : print_updated(cli, row, err);
    json_decref(TAKE(row));
    struct client_request request = { .method = "PATCH", .path = path, .body = TAKE(body) };
    r = client_call(&cli->instance, &request, &row, err);
    return r < 0 ? r : print_updated(cli, row, err);
}

/* What a shredding cannot reach. */
static void print_uploads(const json_t *answer)
{
    const json_t *remaining = json_object_get(answer, "uploads_remaining");

    cli_print(stdout, "%lld uploaded snapshot(s) of it were removed, with the keys in them.\n",
              (long long)json_integer_value(json_object_get(answer, "uploads_removed")));
    for (size_t i = 0; i < json_array_size(remaining); i++)
        cli_print(stdout, "Not removed: %s\n", json_string_value(json_array_get(remaining, i)));
}

static void print_remaining(const char *name, const json_t *keys)
{
    cli_print(stdout,
              "The keys of filesystem %s were destroyed in the registry and in the store, then its "
              "data.\n",
              name);
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        long long version = (long long)json_integer_value(json_object_get(key, "version"));
        long long users = (long long)json_integer_value(json_object_get(key, "users"));
        const char *kms_namespace = client_text(key, "namespace");
        cli_print(stdout, "In the KMS remains what wrapped them: %s key %s",
                  client_text(key, "type"), client_text(key, "key"));
        if (version > 0)
            cli_print(stdout, ", version %lld", version);
        if (*kms_namespace != '\0')
            cli_print(stdout, ", namespace %s", kms_namespace);
        if (users > 0)
            cli_print(stdout, "; it also wraps the keys of %s", client_text(key, "user_names"));
        (void)puts("; other instances may use it too.");
    }
    (void)puts(json_array_size(keys) > 0
                   ? "With it, a copy of the wrapped keys that was made elsewhere still opens a "
                     "copy of the data:\na backup of the store, or of the state folder."
                   : "A copy that was made elsewhere, of the store and of the state folder, still "
                     "opens.");
}

int cmd_fs_remove(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    bool is_shred = arguments_has(&cli->arguments, "shred");
    char path[CLIENT_PATH_SIZE];
    char question[256];
    const char *name = cli_word(cli, 0);
    int r = client_filesystem_path(name, "", path, err);

    if (r < 0)
        return r;
    (void)snprintf(question, sizeof(question),
                   is_shred ? "Destroy the keys of filesystem %s, and remove it with all its data? "
                              "Nothing brings it back."
                            : "Remove filesystem %s with all its data? Nothing brings it back.",
                   name);
    if (!arguments_has(&cli->arguments, "force") && !cli_confirm(question))
        return error_set(err, -ECANCELED, "nothing was removed; answer y to remove %s", name);
    struct client_request request = { .method = "DELETE", .path = path };
    bool uploaded = arguments_has(&cli->arguments, "uploaded");
    if (is_shred || uploaded)
        request.body = json_pack("{s:b}", "shred", (int)is_shred);
    if (uploaded)
        (void)json_object_set_new(request.body, "uploaded", json_true());
    r = client_call(&cli->instance, &request, &answer, err);
    if (r == 0 && is_shred && cli->json)
        return cli_print_json(answer, err);
    if (r == 0 && uploaded)
        print_uploads(answer);
    if (r == 0 && is_shred)
        print_remaining(name, json_object_get(answer, "remaining_keys"));
    else if (r == 0)
        cli_print(stdout, "Filesystem %s was removed, with its data and its key.\n", name);
    return r;
}

int cmd_fs_adopt(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    CLEANUP(json_freep) json_t *row = NULL;
    const char *name = arguments_value(&cli->arguments, "name");
    const char *copy = arguments_value(&cli->arguments, "recovery-copy");
    int r = client_put_text(body, "meta", cli_word(cli, 0), err);

    if (r == 0)
        r = client_put_text(body, "store", cli_word(cli, 1), err);
    if (r == 0)
        r = client_put_text(body, "name", name ? name : "adopted", err);
    if (r == 0 && copy)
        r = cli_put_recovery_copy(cli, copy, body, err);
    else if (r == 0 && (arguments_has(&cli->arguments, "recipient-key") ||
                        arguments_has(&cli->arguments, "allow-no-kms")))
        r = error_set(
            err, -EINVAL,
            "--recipient-key and --allow-no-kms are for a recovery copy of the keys; give "
            "that with --recovery-copy");
    if (r < 0)
        return r;
    struct client_request request = { .method = "POST", .path = FILESYSTEMS "/adopt" };
    request.body = TAKE(body);
    r = client_call(&cli->instance, &request, &row, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(row, err);
    cli_print(stdout, "Filesystem %s was adopted, uuid %s. ", client_text(row, "name"),
              client_text(row, "uuid"));
    cli_print_wrapped_by(row);
    if (json_is_true(json_object_get(row, "own_kms_key")))
        cli_print(
            stdout,
            "That is another key than the configured one, and counts as the filesystem's own; "
            "to have the\nconfigured one wrap it: coffer fs update %s "
            "--use-cluster-kms-key-identifier\n",
            client_text(row, "name"));
    return 0;
}

static void print_report(const json_t *report)
{
    for (size_t i = 0; i < json_array_size(report); i++) {
        const json_t *line = json_array_get(report, i);
        const char *text = json_string_value(line);
        cli_print(stdout, "%s\n", text ? text : client_text(line, "text"));
    }
}

int cmd_fs_check(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    char path[CLIENT_PATH_SIZE];
    const char *name = cli_word(cli, 0);
    int r = client_filesystem_path(name, "/check", path, err);

    if (r < 0)
        return r;
    struct client_request request = {
        .method = "POST",
        .path = path,
        .body = json_pack("{s:b}", "read_data", arguments_has(&cli->arguments, "read-data")),
        .timeout_ms = CHECK_TIMEOUT_MS,
    };
    r = client_call(&cli->instance, &request, &answer, err);
    if (r < 0)
        return r;
    long long faults = (long long)json_integer_value(json_object_get(answer, "faults"));
    if (cli->json)
        r = cli_print_json(answer, err);
    else
        print_report(json_object_get(answer, "report"));
    if (r == 0 && faults > 0)
        return error_set(err, -EUCLEAN,
                         "filesystem %s has %lld fault%s; keep a copy of its store "
                         "and metadata before anything else",
                         name, faults, faults == 1 ? "" : "s");
    if (r == 0 && !cli->json)
        cli_print(stdout, "Filesystem %s has no faults.\n", name);
    return r;
}
