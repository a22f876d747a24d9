/* coffer fs tier snapshot, ops and clean: what lies in an object store, and who uses it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/task_wait.h"

#define STORES "/api/v1/object-stores"
#define PAGE 200u
#define REMOVAL_TIMEOUT_MS (24LL * 3600 * 1000) /* a store with millions of objects, one by one */
#define LIST_TIMEOUT_MS (600LL * 1000)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

const struct argument_spec tier_snapshot_arguments[] = {
    { "store", "the object store", false },
    { "locator", "the uploaded snapshot", false },
    END_OF_TABLE,
};

const struct option_spec tier_snapshot_list_options[] = {
    { 0, "locator", "locator", "only this one" },
    END_OF_TABLE,
};

#define BACKGROUND_OPTION                                                                          \
    {                                                                                              \
        0, "background", NULL, "do not wait for its end; coffer task wait does"                    \
    }

const struct option_spec tier_snapshot_remove_options[] = {
    { 'f', "force", NULL, "do not ask" },
    BACKGROUND_OPTION,
    END_OF_TABLE,
};

const struct option_spec tier_clean_options[] = {
    BACKGROUND_OPTION,
    END_OF_TABLE,
};

const struct option_spec tier_ops_options[] = {
    { 0, "expire", "id", "forget this one, whose owner is dead for certain" },
    { 0, "force", NULL, "do not ask" },
    END_OF_TABLE,
};

static const struct column snapshot_columns[] = {
    { "locator", "LOCATOR", COLUMN_TEXT },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "snapshot", "SNAPSHOT", COLUMN_TEXT },
    { "access_point", "ACCESS POINT", COLUMN_TEXT, .hidden = true },
    { "origin", "ORIGIN", COLUMN_TEXT, .hidden = true },
    { "created", "CREATED", COLUMN_TEXT },
    { "uploaded", "UPLOADED", COLUMN_TEXT, .hidden = true },
    { "size", "SIZE", COLUMN_CAPACITY },
    { "data_size", "CIPHERTEXT", COLUMN_CAPACITY, .hidden = true },
    { "inodes", "INODES", COLUMN_NUMBER, .hidden = true },
    { "kms_type", "KMS", COLUMN_TEXT },
    { "kms_key", "KEY", COLUMN_TEXT },
    { "kms_key_version", "VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "kms_namespace", "NAMESPACE", COLUMN_TEXT, .hidden = true },
    { "kms_mount_path", "MOUNT", COLUMN_TEXT, .hidden = true },
    { "kms_addresses", "ADDRESSES", COLUMN_TEXT, .hidden = true },
    { "status", "STATUS", COLUMN_STATUS },
    { "text", "TEXT", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column rewrap_columns[] = {
    { "locator", "LOCATOR", COLUMN_TEXT },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "snapshot", "SNAPSHOT", COLUMN_TEXT },
    { "old_type", "OLD KMS", COLUMN_TEXT, .hidden = true },
    { "old_key", "OLD KEY", COLUMN_TEXT },
    { "old_version", "OLD VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "new_type", "NEW KMS", COLUMN_TEXT, .hidden = true },
    { "new_key", "NEW KEY", COLUMN_TEXT },
    { "new_version", "NEW VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "result", "RESULT", COLUMN_STATUS },
    { "dropped", "DROPPED", COLUMN_NUMBER, .hidden = true },
    { "text", "TEXT", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column use_columns[] = {
    { "id", "ID", COLUMN_TEXT },
    { "kind", "KIND", COLUMN_TEXT },
    { "origin", "FILESYSTEM", COLUMN_TEXT },
    { "instance", "INSTANCE", COLUMN_TEXT },
    { "this_instance", "THIS INSTANCE", COLUMN_FLAG },
    { "since", "SINCE", COLUMN_TEXT },
    { "objects", "OBJECTS", COLUMN_NUMBER },
    { "locator", "LOCATOR", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static int call_on(struct cli *cli, const char *store, const char *method, const char *action,
                   json_t *body, json_t **ret, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    struct client_request request = {
        .method = method,
        .path = path,
        .body = body,
        .timeout_ms = strcmp(method, "GET") == 0 ? LIST_TIMEOUT_MS : REMOVAL_TIMEOUT_MS,
    };

    int r = client_object_path(STORES, store, action, path, err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    return client_call(&cli->instance, &request, ret, err);
}

static int call(struct cli *cli, const char *method, const char *action, json_t *body, json_t **ret,
                struct error *err)
{
    return call_on(cli, cli_word(cli, 0), method, action, body, ret, err);
}

/* --- snapshots --- */

/* One page, behind the row that is the last one; *ret_is_last tells that nothing follows. */
static int add_page(struct cli *cli, json_t *rows, bool *ret_is_last, struct error *err)
{
    CLEANUP(json_freep) json_t *page = NULL;
    const json_t *last = json_array_get(rows, json_array_size(rows) - 1);
    char path[CLIENT_PATH_SIZE], limit[16];
    struct client_request request = { .method = "GET",
                                      .path = path,
                                      .timeout_ms = LIST_TIMEOUT_MS };

    (void)snprintf(limit, sizeof(limit), "%u", PAGE);
    int r = client_object_path(STORES, cli_word(cli, 0), "/snapshots", path, err);
    if (r == 0)
        r = client_add_query(path, "limit", limit, err);
    if (r == 0 && last)
        r = client_add_query(path, "after", client_text(last, "locator"), err);
    if (r == 0)
        r = client_call(&cli->instance, &request, &page, err);
    if (r < 0)
        return r;
    *ret_is_last = json_array_size(page) == 0;
    return json_array_extend(rows, page) < 0
               ? error_set(err, -ENOMEM, "there is not enough memory for the list")
               : 0;
}

static void keep_locator(json_t *rows, const char *locator)
{
    for (size_t i = json_array_size(rows); locator && i-- > 0;)
        if (strcmp(client_text(json_array_get(rows, i), "locator"), locator) != 0)
            (void)json_array_remove(rows, i);
}

int cmd_tier_snapshot_list(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = json_array();
    bool is_last = false;
    int r = 0;

    while (r == 0 && !is_last)
        r = add_page(cli, rows, &is_last, err);
    if (r < 0)
        return r;
    keep_locator(rows, arguments_value(&cli->arguments, "locator"));
    r = table_print(stdout, snapshot_columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "There is no %suploaded snapshot in object store %s.\n",
                  arguments_has(&cli->arguments, "locator") ? "such " : "", cli_word(cli, 0));
    return r;
}

static int tell_removed(struct cli *cli, const json_t *answer, const char *what, struct error *err)
{
    if (cli->json)
        return cli_print_json(answer, err);
    cli_print(
        stdout,
        "%s%lld objects (%lld bytes) that nobody needs were removed; %lld are still needed.\n",
        what, (long long)json_integer_value(json_object_get(answer, "objects")),
        (long long)json_integer_value(json_object_get(answer, "bytes")),
        (long long)json_integer_value(json_object_get(answer, "kept")));
    return 0;
}

/* locator NULL: only what nobody needs. */
static int remove_there(struct cli *cli, const char *locator, const char *what, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    bool is_background = arguments_has(&cli->arguments, "background");
    int r = call(cli, "DELETE", "/snapshots",
                 json_pack("{s:s*,s:b}", "locator", locator, "background", (int)is_background),
                 &answer, err);

    if (r < 0)
        return r;
    return is_background ? task_started(cli, answer, err) : tell_removed(cli, answer, what, err);
}

int cmd_tier_snapshot_remove(struct cli *cli, struct error *err)
{
    char question[256];

    (void)snprintf(
        question, sizeof(question),
        "Remove uploaded snapshot %.80s from object store %.40s? Nothing brings it back.",
        cli_word(cli, 1), cli_word(cli, 0));
    if (!arguments_has(&cli->arguments, "force") && !cli_confirm(question))
        return error_set(err, -ECANCELED, "nothing was removed; answer y to remove the snapshot");
    return remove_there(cli, cli_word(cli, 1), "The uploaded snapshot was removed. ", err);
}

int cmd_tier_clean(struct cli *cli, struct error *err)
{
    return remove_there(cli, NULL, "", err);
}

/* --- verification --- */

static int put_sample(json_t *body, const char *text, struct error *err)
{
    char *end = NULL;

    if (!text)
        return 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < 1 || value > INT32_MAX)
        return error_set(err, -EINVAL,
                         "--sample takes a number: 100 reads about one object in 100");
    return json_object_set_new(body, "one_in", json_integer(value));
}

int cmd_upload_verify(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    const char *store = arguments_value(&cli->arguments, "object-store");
    const char *sample = arguments_value(&cli->arguments, "sample");
    bool is_background = arguments_has(&cli->arguments, "background");
    json_t *body =
        json_pack("{s:s,s:b}", "locator", cli_word(cli, 0), "background", (int)is_background);

    int r = store ? 0 : error_set(err, -EINVAL, "say where it is, with --object-store");
    if (r == 0)
        r = put_sample(body, sample, err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    r = call_on(cli, store, "POST", "/snapshots/verify", body, &answer, err);
    if (r < 0 || is_background)
        return r < 0 ? r : task_started(cli, answer, err);
    const json_t *report = json_object_get(answer, "report");
    long long faults = (long long)json_integer_value(json_object_get(answer, "faults"));
    if (cli->json)
        r = cli_print_json(answer, err);
    for (size_t i = 0; !cli->json && i < json_array_size(report); i++)
        cli_print(stderr, "%s\n", json_string_value(json_array_get(report, i)));
    if (faults > 0)
        return error_set(
            err, -EBADMSG,
            "the uploaded snapshot has %lld fault%s and cannot be relied on; upload it "
            "anew, or another one, as long as the filesystem is there",
            faults, faults == 1 ? "" : "s");
    if (!cli->json)
        cli_print(stdout, "%s: all that was read is as it was uploaded.\n",
                  sample ? "A sample was verified"
                         : "The uploaded snapshot was verified completely");
    return r;
}

/* --- rewrap --- */

static int put_target(struct cli *cli, json_t *body, struct error *err)
{
    const char *type = arguments_value(&cli->arguments, "to-kms");
    const char *address = arguments_value(&cli->arguments, "to-address");
    const char *key = arguments_value(&cli->arguments, "to-key");

    if (!type && !address && !key)
        return 0;
    if (!type || !address || !key)
        return error_set(err, -EINVAL,
                         "another KMS is given with --to-kms, --to-address and --to-key together");
    CLEANUP(json_freep) json_t *kms = json_object();
    int r = cli_put_kms(cli, type, address, key, kms, err);
    if (r == 0 && json_object_set(body, "kms", kms) < 0)
        r = error_set(err, -ENOMEM, "there is not enough memory for the request");
    return r;
}

static int rewrap_body(struct cli *cli, json_t *body, struct error *err)
{
    static const struct {
        const char *option, *key;
    } flags[] = { { "all", "all" },
                  { "dry-run", "dry_run" },
                  { "drop-previous", "drop_previous" } };
    int r = client_put_text(body, "locator", cli_word(cli, 0), err);

    for (size_t i = 0; r == 0 && i < sizeof(flags) / sizeof(flags[0]); i++)
        if (arguments_has(&cli->arguments, flags[i].option))
            r = json_object_set_new(body, flags[i].key, json_true());
    return r < 0 ? r : put_target(cli, body, err);
}

static int print_rewrapped(struct cli *cli, const json_t *answer, struct error *err)
{
    const json_t *rows = json_object_get(answer, "snapshots");
    long long failed = (long long)json_integer_value(json_object_get(answer, "failed"));

    int r = cli->json ? cli_print_json(answer, err)
                      : table_print(stdout, rewrap_columns, rows, &cli->list, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (*client_text(row, "text") != '\0')
            cli_print(stderr, "%s: %s\n", client_text(row, "locator"), client_text(row, "text"));
    }
    if (!cli->json)
        cli_print_unneeded(json_object_get(answer, "unneeded"));
    return failed == 0 ? 0
                       : error_set(err, -EIO,
                                   "%lld uploaded snapshot%s could not be rewrapped and stay as "
                                   "they were; repair what is said above, and run it again",
                                   failed, failed == 1 ? "" : "s");
}

static bool is_rewrap_confirmed(const struct arguments *arguments)
{
    const char *question =
        arguments_has(arguments, "drop-previous")
            ? "Wrap the keys of uploaded snapshots anew, and destroy what wrapped them before?"
            : "Wrap the keys of uploaded snapshots anew?";

    return arguments_has(arguments, "dry-run") || arguments_has(arguments, "force") ||
           cli_confirm(question);
}

int cmd_uploads_rewrap(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    const char *store = arguments_value(&cli->arguments, "object-store");

    if (!store)
        return error_set(err, -EINVAL, "say where they are, with --object-store");
    if (!is_rewrap_confirmed(&cli->arguments))
        return error_set(err, -ECANCELED, "nothing was changed; answer y to rewrap");
    bool is_background = arguments_has(&cli->arguments, "background");
    json_t *body = json_pack("{s:b}", "background", (int)is_background);
    int r = rewrap_body(cli, body, err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    r = call_on(cli, store, "POST", "/snapshots/rewrap", body, &answer, err);
    if (r < 0)
        return r;
    return is_background ? task_started(cli, answer, err) : print_rewrapped(cli, answer, err);
}

/* --- who uses it --- */

static int list_uses(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    int r = call(cli, "GET", "/uses", NULL, &rows, err);

    if (r == 0)
        r = table_print(stdout, use_columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "Nobody uses object store %s.\n", cli_word(cli, 0));
    return r;
}

static int expire(struct cli *cli, const char *id, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    char question[256];

    (void)snprintf(question, sizeof(question),
                   "Expire %.40s? If its owner lives, and only waits or is slow, what he needs may "
                   "be removed.",
                   id);
    if (!arguments_has(&cli->arguments, "force") && !cli_confirm(question))
        return error_set(err, -ECANCELED, "nothing was expired");
    int r = call(cli, "DELETE", "/uses", json_pack("{s:s}", "id", id), &answer, err);
    if (r == 0)
        cli_print(stdout,
                  "%s was expired. What only it kept goes with the next removal, or with coffer fs "
                  "tier clean %s.\n",
                  id, cli_word(cli, 0));
    return r;
}

int cmd_tier_ops(struct cli *cli, struct error *err)
{
    const char *id = arguments_value(&cli->arguments, "expire");

    return id ? expire(cli, id, err) : list_uses(cli, err);
}
