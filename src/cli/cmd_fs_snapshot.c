/* coffer fs snapshot: the list, and what changes it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/task_wait.h"
#include "host/fuse_device.h"

#define FILESYSTEMS "/api/v1/filesystems"
#define TASKS "/api/v1/tasks"
#define CHANGE_TIMEOUT_MS (3600LL * 1000) /* what programs have written has to reach the disk */

static const struct column columns[] = {
    { "id", "ID", COLUMN_NUMBER, .hidden = true },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "name", "NAME", COLUMN_TEXT },
    { "access_point", "ACCESS POINT", COLUMN_TEXT },
    { "created", "CREATED", COLUMN_TEXT },
    { "status", "STATUS", COLUMN_STATUS },
    { "uploaded_to", "UPLOADED TO", COLUMN_TEXT },
    { "locator", "LOCATOR", COLUMN_TEXT },
    { "mounted_at", "MOUNTED AT", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static int get(struct cli *cli, const char *path, json_t **ret, struct error *err)
{
    struct client_request request = { .method = "GET",
                                      .path = path,
                                      .timeout_ms = CHANGE_TIMEOUT_MS };

    return client_call(&cli->instance, &request, ret, err);
}

static int add_rows(struct cli *cli, const char *filesystem, json_t *rows, struct error *err)
{
    CLEANUP(json_freep) json_t *some = NULL;
    const char *name = arguments_value(&cli->arguments, "name");
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(filesystem, "/snapshots", path, err);

    if (r == 0)
        r = get(cli, path, &some, err);
    for (size_t i = 0; r == 0 && i < json_array_size(some); i++) {
        json_t *row = json_array_get(some, i);
        if (!name || strcmp(client_text(row, "name"), name) == 0)
            r = json_array_append(rows, row);
    }
    return r;
}

/* Of those that run: to look into others takes their keys. */
static int add_all(struct cli *cli, json_t *rows, struct error *err)
{
    CLEANUP(json_freep) json_t *filesystems = NULL;
    int r = get(cli, FILESYSTEMS, &filesystems, err);

    for (size_t i = 0; r == 0 && i < json_array_size(filesystems); i++) {
        const json_t *filesystem = json_array_get(filesystems, i);
        const char *status = client_text(filesystem, "status");
        if (strcmp(status, "started") == 0 || strcmp(status, "mounted") == 0)
            r = add_rows(cli, client_text(filesystem, "name"), rows, err);
    }
    return r;
}

/* "backup 43%", of an upload that goes on. */
static void add_upload(const json_t *task, char *stores, size_t size)
{
    const json_t *percent = json_object_get(task, "percent");
    const char *state = client_text(task, "state");
    size_t used = strlen(stores);
    char how_far[32];

    (void)snprintf(how_far, sizeof(how_far), "%s", state);
    if (strcmp(state, "running") == 0)
        (void)snprintf(how_far, sizeof(how_far), "%lld%%", (long long)json_integer_value(percent));
    (void)snprintf(stores + used, size - used, "%s%s %s", used > 0 ? ", " : "",
                   client_text(task, "object_store"), how_far);
}

static bool is_upload_of(const json_t *task, const json_t *row)
{
    return strcmp(client_text(task, "kind"), "upload") == 0 &&
           json_is_null(json_object_get(task, "ended")) &&
           strcmp(client_text(task, "filesystem"), client_text(row, "filesystem")) == 0 &&
           json_integer_value(json_object_get(task, "snapshot")) ==
               json_integer_value(json_object_get(row, "id"));
}

/* One column for the stores, one for the locators there. */
static int put_uploads(json_t *row, const json_t *tasks)
{
    const json_t *uploads = json_object_get(row, "uploads");
    char stores[256] = "", locators[640] = "";

    for (size_t i = 0; i < json_array_size(uploads); i++) {
        const json_t *upload = json_array_get(uploads, i);
        size_t used = strlen(stores), locators_used = strlen(locators);
        const char *comma = i > 0 ? ", " : "";
        (void)snprintf(stores + used, sizeof(stores) - used, "%s%s", comma,
                       client_text(upload, "object_store"));
        (void)snprintf(locators + locators_used, sizeof(locators) - locators_used, "%s%s", comma,
                       client_text(upload, "locator"));
    }
    for (size_t i = 0; i < json_array_size(tasks); i++)
        if (is_upload_of(json_array_get(tasks, i), row))
            add_upload(json_array_get(tasks, i), stores, sizeof(stores));
    return json_object_set_new(row, "uploaded_to", json_string(stores)) < 0 ||
                   json_object_set_new(row, "locator", json_string(locators)) < 0
               ? -ENOMEM
               : 0;
}

static int put_all_uploads(struct cli *cli, json_t *rows, struct error *err)
{
    CLEANUP(json_freep) json_t *tasks = NULL;
    int r = get(cli, TASKS, &tasks, err);

    for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
        if (put_uploads(json_array_get(rows, i), tasks) < 0)
            r = error_set(err, -ENOMEM, "out of memory");
    return r;
}

int cmd_fs_snapshot_list(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = json_array();
    const char *filesystem = arguments_value(&cli->arguments, "filesystem");
    int r = filesystem ? add_rows(cli, filesystem, rows, err) : add_all(cli, rows, err);

    if (r == 0 && cli->list.format != TABLE_JSON)
        r = put_all_uploads(cli, rows, err);
    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "There is no snapshot%s; coffer fs snapshot add takes one.\n",
                  filesystem ? "" : " of a started filesystem");
    return r;
}

/* The worker waits for what the kernel has not handed over yet, but would get it in small pieces.
 */
static int write_back(struct cli *cli, const char *name, struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(name, "", path, err);

    if (r == 0)
        r = get(cli, path, &row, err);
    if (r == 0)
        fuse_device_start_write_back(client_text(row, "mounted_at"), name);
    return r;
}

/* Of the snapshot that the second word names. */
static int change(struct cli *cli, const char *method, json_t **ret, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), "/snapshots", path, err);

    if (r == 0)
        r = client_put_text(body, "name", cli_word(cli, 1), err);
    if (r == 0)
        r = client_put_text(body, "access_point", arguments_value(&cli->arguments, "access-point"),
                            err);
    if (r == 0)
        r = client_put_text(body, "new_name", arguments_value(&cli->arguments, "new-name"), err);
    if (r < 0)
        return r;
    struct client_request request = {
        .method = method, .path = path, .body = TAKE(body), .timeout_ms = CHANGE_TIMEOUT_MS
    };
    return client_call(&cli->instance, &request, ret, err);
}

int cmd_fs_snapshot_add(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    int r = write_back(cli, cli_word(cli, 0), err);

    if (r == 0)
        r = change(cli, "POST", &row, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(row, err);
    cli_print(stdout, "Snapshot %s of filesystem %s was taken. It is seen in .snapshots/%s.\n",
              cli_word(cli, 1), cli_word(cli, 0), client_text(row, "access_point"));
    return 0;
}

int cmd_fs_snapshot_update(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    int r = change(cli, "PATCH", &answer, err);

    if (r == 0)
        cli_print(stdout, "Snapshot %s of filesystem %s was changed.\n", cli_word(cli, 1),
                  cli_word(cli, 0));
    return r;
}

/* Where the snapshot is uploaded to, as its row in the list; NULL: nowhere, or that cannot be told.
 */
static json_t *uploads_of(struct cli *cli, const char *filesystem, const char *name)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    char path[CLIENT_PATH_SIZE];

    if (client_filesystem_path(filesystem, "/snapshots", path, NULL) < 0 ||
        get(cli, path, &rows, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (strcmp(client_text(json_array_get(rows, i), "name"), name) == 0)
            return json_incref(json_object_get(json_array_get(rows, i), "uploads"));
    return NULL;
}

static void tell_uploads(const json_t *uploads)
{
    for (size_t i = 0; i < json_array_size(uploads); i++) {
        const json_t *upload = json_array_get(uploads, i);
        const char *store = client_text(upload, "object_store");
        cli_print(stdout,
                  "What was uploaded of it stays: in object store %s, %s\n(coffer fs tier snapshot "
                  "remove takes it out).\n",
                  store, client_text(upload, "locator"));
    }
}

int cmd_fs_snapshot_remove(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *uploads = NULL;
    CLEANUP(json_freep) json_t *answer = NULL;
    char question[640];

    (void)snprintf(question, sizeof(question),
                   "Remove snapshot %s of filesystem %s? Nothing brings it back.", cli_word(cli, 1),
                   cli_word(cli, 0));
    if (!arguments_has(&cli->arguments, "force") && !cli_confirm(question))
        return error_set(err, -ECANCELED, "nothing was removed; answer y to remove the snapshot");
    uploads = uploads_of(cli, cli_word(cli, 0), cli_word(cli, 1));
    int r = change(cli, "DELETE", &answer, err);
    if (r == 0)
        cli_print(stdout,
                  "Snapshot %s of filesystem %s was removed. What only it held is given back in "
                  "the background.\n",
                  cli_word(cli, 1), cli_word(cli, 0));
    if (r == 0)
        tell_uploads(uploads);
    return r;
}

int cmd_fs_snapshot_upload(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *task = NULL;
    const struct arguments *given = &cli->arguments;
    char path[CLIENT_PATH_SIZE];

    int r = client_filesystem_path(cli_word(cli, 0), "/snapshots/upload", path, err);
    if (r < 0)
        return r;
    json_t *body = json_pack("{s:b,s:b}", "hide_names", (int)arguments_has(given, "hide-names"),
                             "allow_no_kms", (int)arguments_has(given, "allow-no-kms"));
    struct client_request request = { .method = "POST", .path = path, .body = body };
    r = client_put_text(body, "name", cli_word(cli, 1), err);
    if (r == 0)
        r = cli_put_store(cli, body, err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    r = client_call(&cli->instance, &request, &task, err);
    return r == 0 ? task_started(cli, task, err) : r;
}

int cmd_fs_snapshot_download(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *task = NULL;
    const struct arguments *given = &cli->arguments;
    char path[CLIENT_PATH_SIZE];

    int r = client_filesystem_path(cli_word(cli, 0), "/snapshots/download", path, err);
    if (r < 0)
        return r;
    json_t *body = json_object();
    struct client_request request = { .method = "POST", .path = path, .body = body };
    r = client_put_text(body, "locator", cli_word(cli, 1), err);
    if (r == 0)
        r = cli_put_store(cli, body, err);
    if (r == 0)
        r = client_put_text(body, "name", arguments_value(given, "name"), err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    r = client_call(&cli->instance, &request, &task, err);
    return r == 0 ? task_started(cli, task, err) : r;
}
