/* coffer security kms rewrap and unset, coffer fs kms-rewrap: keys wrapped anew. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

#define REWRAP_TIMEOUT_MS (24LL * 3600 * 1000)

static const struct column columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "old_type", "OLD KMS", COLUMN_TEXT, .hidden = true },
    { "old_key", "OLD KEY", COLUMN_TEXT },
    { "old_version", "OLD VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "new_type", "NEW KMS", COLUMN_TEXT, .hidden = true },
    { "new_key", "NEW KEY", COLUMN_TEXT },
    { "new_version", "NEW VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "result", "RESULT", COLUMN_STATUS },
    { "dropped", "DROPPED", COLUMN_NUMBER, .hidden = true },
    { "kept_dropped", "KEPT DROPPED", COLUMN_NUMBER, .hidden = true },
    { "text", "TEXT", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static void print_failures(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        if (*client_text(row, "text") != '\0')
            cli_print(stderr, "%s: %s\n", client_text(row, "name"), client_text(row, "text"));
    }
}

static long long version_of(const json_t *needed, size_t i)
{
    return (long long)json_integer_value(json_object_get(json_array_get(needed, i), "version"));
}

static bool is_next_version(const json_t *needed, size_t i)
{
    const char *key = client_text(json_array_get(needed, i), "key");

    return strcmp(client_text(json_array_get(needed, i - 1), "key"), key) == 0 &&
           version_of(needed, i) == version_of(needed, i - 1) + 1;
}

/* "coffer-key version 1, 3 to 7; other-key". They come sorted by key and version. */
static void print_keys(const json_t *needed)
{
    const char *last = "";

    for (size_t i = 0, n; i < json_array_size(needed); i += n) {
        const char *key = client_text(json_array_get(needed, i), "key");
        long long version = version_of(needed, i);
        bool is_same = strcmp(key, last) == 0;
        n = 1;
        while (version > 0 && i + n < json_array_size(needed) && is_next_version(needed, i + n))
            n++;
        if (!is_same)
            cli_print(stdout, "%s %s", i ? ";" : "", key);
        if (version > 0)
            cli_print(stdout, "%s %lld", is_same ? "," : " version", version);
        if (n > 1)
            cli_print(stdout, "%s %lld", n > 2 ? " to" : ",", version + (long long)n - 1);
        last = key;
    }
}

static void print_needed(const json_t *needed)
{
    if (json_array_size(needed) == 0)
        return;
    (void)fputs("Uploaded snapshots keep the wrapping that they were uploaded with, and so do "
                "backups.\nAs far as this instance knows, these must stay in the KMS for them:",
                stdout);
    print_keys(needed);
    (void)puts(".\nOther instances, and copies that this one does not know, may need more.");
}

void cli_print_unneeded(const json_t *unneeded)
{
    const json_t *keys = json_object_get(unneeded, "keys");

    if (json_array_size(keys) == 0)
        return;
    cli_print(stdout, "No key ring and no uploaded snapshot that this instance knew at %s needs:",
              client_text(unneeded, "as_of"));
    print_keys(keys);
    (void)puts(".\nOther instances, object stores that are not configured here, and backups may.");
}

static long long sum_of(const json_t *rows, const char *name)
{
    long long sum = 0;

    for (size_t i = 0; i < json_array_size(rows); i++)
        sum += (long long)json_integer_value(json_object_get(json_array_get(rows, i), name));
    return sum;
}

/* What became of what wrapped before, and what no command reaches. */
static void print_dropped(const struct cli *cli, const json_t *report)
{
    const json_t *rows = json_object_get(report, "filesystems");
    bool is_dry = arguments_has(&cli->arguments, "dry-run");
    long long dropped = sum_of(rows, "dropped");
    long long kept = sum_of(rows, "kept_dropped");
    long long alone = (long long)json_integer_value(json_object_get(report, "left_alone"));

    cli_print(stdout, "%s: %lld earlier wrapping%s, %lld key ring%s that had been kept aside.\n",
              is_dry ? "To be destroyed, besides what the new wrappings replace" : "Destroyed",
              dropped, dropped == 1 ? "" : "s", kept, kept == 1 ? "" : "s");
    if (!is_dry && *client_text(report, "remains") == '\0')
        (void)puts("The registry's file was written anew, without them.");
    if (alone > 0)
        cli_print(stdout,
                  "%lld filesystem%s with a key of %s own in the KMS left alone; --all takes them "
                  "too.\n",
                  alone, alone == 1 ? "" : "s", alone == 1 ? "its" : "their");
    (void)puts("Out of reach are copies that were made before: uploaded snapshots, backups of "
               "stores and of the\nstate folder, and snapshots of disks. Who has one of these and "
               "the former key has the keys in it\nfor good: then add a new filesystem, copy the "
               "data into it, and remove the old one with --shred.");
}

static int print_report(const struct cli *cli, const json_t *report, struct error *err)
{
    const json_t *rows = json_object_get(report, "filesystems");
    int r;

    if (cli->json)
        return cli_print_json(report, err);
    if (json_array_size(rows) == 0) {
        (void)puts("There is no filesystem whose key could be rewrapped.");
        return 0;
    }
    r = table_print(stdout, columns, rows, &cli->list, err);
    if (r < 0)
        return r;
    print_failures(rows);
    if (arguments_has(&cli->arguments, "drop-previous"))
        print_dropped(cli, report);
    print_needed(json_object_get(report, "needed"));
    return 0;
}

static int rewrap(const struct cli *cli, const char *path, json_t *body, struct error *err)
{
    CLEANUP(json_freep) json_t *report = NULL;
    struct client_request request = {
        .method = "POST", .path = path, .body = body, .timeout_ms = REWRAP_TIMEOUT_MS
    };
    int r = client_call(&cli->instance, &request, &report, err);

    if (r == 0)
        r = print_report(cli, report, err);
    if (r < 0)
        return r;
    long long failed = (long long)json_integer_value(json_object_get(report, "failed"));
    const char *remains = client_text(report, "remains");
    if (failed == 0)
        return *remains == '\0' ? 0 : error_set(err, -EIO, "%s; then run it again", remains);
    if (arguments_has(&cli->arguments, "drop-previous"))
        return error_set(err, -EIO,
                         "of %lld filesystem%s the key stays as it was wrapped, or what wrapped it "
                         "before stays; repair what is said above, and run it again: it goes on "
                         "where it ended",
                         failed, failed == 1 ? "" : "s");
    return error_set(
        err, -EIO,
        "the keys of %lld filesystem%s could not be rewrapped and stay wrapped as they "
        "were; repair what is said above, and run it again: it goes on where it ended",
        failed, failed == 1 ? "" : "s");
}

static const char drop_question[] =
    "Wrap the keys anew, and destroy at once what wrapped them before?";

static json_t *rewrap_body(const struct arguments *arguments)
{
    return json_pack("{s:b,s:b}", "dry_run", (int)arguments_has(arguments, "dry-run"),
                     "drop_previous", (int)arguments_has(arguments, "drop-previous"));
}

static const char *rewrap_question(const struct arguments *arguments)
{
    if (arguments_has(arguments, "drop-previous"))
        return drop_question;
    if (arguments_has(arguments, "convert-to-cluster-key-on-fs"))
        return "Wrap the keys of all filesystems by the key of the KMS, also those that have a key "
               "of their own?";
    return "Wrap the keys of all filesystems anew?";
}

int cmd_kms_rewrap(struct cli *cli, struct error *err)
{
    const struct arguments *arguments = &cli->arguments;
    const char *uid = arguments_value(arguments, "new-key-uid");
    bool is_dry = arguments_has(arguments, "dry-run");

    if (!is_dry && !arguments_has(arguments, "force") && !cli_confirm(rewrap_question(arguments)))
        return error_set(err, -ECANCELED, "nothing was changed; answer y to rewrap");
    json_t *body = rewrap_body(arguments);
    if (arguments_has(arguments, "all"))
        (void)json_object_set_new(body, "all", json_true());
    if (arguments_has(arguments, "convert-to-cluster-key-on-fs"))
        (void)json_object_set_new(body, "convert_to_cluster_key", json_true());
    if (uid && json_object_set_new(body, "new_key_uid", json_string(uid)) < 0) {
        json_decref(body);
        return error_set(err, -EINVAL, "'%s' is not UTF-8 text; write it anew", uid);
    }
    return rewrap(cli, "/api/v1/kms/rewrap", body, err);
}

int cmd_fs_kms_rewrap(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), "/kms-rewrap", path, err);
    bool is_drop = arguments_has(&cli->arguments, "drop-previous") &&
                   !arguments_has(&cli->arguments, "dry-run") &&
                   !arguments_has(&cli->arguments, "force");

    if (r == 0 && is_drop && !cli_confirm(drop_question))
        return error_set(err, -ECANCELED, "nothing was changed; answer y to rewrap");
    return r < 0 ? r : rewrap(cli, path, rewrap_body(&cli->arguments), err);
}

static const char downgrade_warning[] =
    "The keys of all filesystems will be wrapped by local keys, in files below the state folder of "
    "this\nhost. Whoever can read those files, or a copy of the disk, can then read the "
    "filesystems.\n";

int cmd_kms_unset(struct cli *cli, struct error *err)
{
    const struct arguments *arguments = &cli->arguments;
    CLEANUP(json_freep) json_t *kms = NULL;
    bool is_downgrade = arguments_has(arguments, "allow-downgrade");

    if (is_downgrade)
        cli_print(stderr, "%s", downgrade_warning);
    if (!arguments_has(arguments, "force") &&
        !cli_confirm(is_downgrade ? "Remove the KMS, and use local keys?" : "Remove the KMS?"))
        return error_set(err, -ECANCELED, "nothing was changed; answer y to remove the KMS");
    struct client_request request = {
        .method = "DELETE",
        .path = "/api/v1/kms",
        .body = json_pack("{s:b}", "allow_downgrade", (int)is_downgrade),
        .timeout_ms = REWRAP_TIMEOUT_MS,
    };
    int r = client_call(&cli->instance, &request, &kms, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(kms, err);
    cli_print(stdout, "The KMS is no longer configured.%s\n",
              is_downgrade ? " Local keys wrap the keys of all filesystems; setting a KMS has it "
                             "wrap them again."
                           : "");
    cli_print_keys_left(json_object_get(kms, "keys_left"));
    return 0;
}
