/* coffer fs protection snapshot-policy: snapshots by the clock. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

#define POLICIES "/api/v1/snapshot-policies"
#define SUMMARY_SIZE 256u

static const char *const periods[] = { "hourly", "daily", "weekly", "monthly" };
#define N_PERIODS (sizeof(periods) / sizeof(periods[0]))

static const struct column columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "hourly", "HOURLY", COLUMN_TEXT },
    { "daily", "DAILY", COLUMN_TEXT },
    { "weekly", "WEEKLY", COLUMN_TEXT },
    { "monthly", "MONTHLY", COLUMN_TEXT },
    { "attached_to", "FILESYSTEMS", COLUMN_TEXT },
    { "hourly_retention", "HOURLY RETENTION", COLUMN_NUMBER, .hidden = true },
    { "daily_retention", "DAILY RETENTION", COLUMN_NUMBER, .hidden = true },
    { "weekly_retention", "WEEKLY RETENTION", COLUMN_NUMBER, .hidden = true },
    { "monthly_retention", "MONTHLY RETENTION", COLUMN_NUMBER, .hidden = true },
    { "hourly_upload", "HOURLY UPLOAD", COLUMN_TEXT, .hidden = true },
    { "daily_upload", "DAILY UPLOAD", COLUMN_TEXT, .hidden = true },
    { "weekly_upload", "WEEKLY UPLOAD", COLUMN_TEXT, .hidden = true },
    { "monthly_upload", "MONTHLY UPLOAD", COLUMN_TEXT, .hidden = true },
    { "next", "NEXT", COLUMN_TEXT },
    { "created", "CREATED", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

/* The names of its filesystems, and when the next one has its turn, in a line. */
static int summarize(json_t *row, struct error *err)
{
    const json_t *filesystems = json_object_get(row, "filesystems");
    char names[SUMMARY_SIZE] = "";
    const char *next = "";
    size_t len = 0;

    for (size_t i = 0; i < json_array_size(filesystems); i++) {
        const json_t *filesystem = json_array_get(filesystems, i);
        const char *at = client_text(filesystem, "next");
        if (*at != '\0' && (*next == '\0' || strcmp(at, next) < 0))
            next = at;
        if (len < sizeof(names) - 1)
            len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? "," : "",
                                    client_text(filesystem, "name"));
    }
    int r = json_object_set_new(row, "attached_to", json_string(names));
    r |= json_object_set_new(row, "next", json_string(next));
    return r < 0 ? error_set(err, -ENOMEM, "there is not enough memory for the list") : 0;
}

int cmd_snapshot_policy_list(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = POLICIES };
    bool is_json = cli->json || cli->list.format == TABLE_JSON;
    int r = client_call(&cli->instance, &request, &rows, err);

    for (size_t i = 0; r == 0 && !is_json && i < json_array_size(rows); i++)
        r = summarize(json_array_get(rows, i), err);
    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "There is no snapshot policy; see coffer fs protection snapshot-policy "
                          "add --help.\n");
    return r;
}

static void show_schedule(const json_t *policy, const char *period)
{
    const char *when = client_text(policy, period);
    char key[32];

    if (*when == '\0')
        return;
    (void)snprintf(key, sizeof(key), "%s_retention", period);
    long long retention = (long long)json_integer_value(json_object_get(policy, key));
    (void)snprintf(key, sizeof(key), "%s_upload", period);
    const char *upload = client_text(policy, key);
    cli_print(stdout, "%-8s %s%s, keeps %lld%s%s\n", period,
              strcmp(period, "hourly") == 0 ? "at minute " : "", when, retention,
              *upload != '\0' ? ", uploads to " : "", upload);
}

static void show_filesystem(const json_t *filesystem)
{
    const char *error = client_text(filesystem, "error");
    const char *next = client_text(filesystem, "next");

    cli_print(stdout, "attached to %s%s%s%s%s\n", client_text(filesystem, "name"),
              *next != '\0' ? ", next " : "", next, *error != '\0' ? ": " : "", error);
}

static int policy_path(const struct cli *cli, const char *action, char ret[static CLIENT_PATH_SIZE],
                       struct error *err)
{
    return client_object_path(POLICIES, cli_word(cli, 0), action, ret, err);
}

int cmd_snapshot_policy_show(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *policy = NULL;
    char path[CLIENT_PATH_SIZE];
    int r = policy_path(cli, "", path, err);
    struct client_request request = { .method = "GET", .path = path };

    if (r == 0)
        r = client_call(&cli->instance, &request, &policy, err);
    if (r < 0 || cli->json)
        return r < 0 ? r : cli_print_json(policy, err);
    for (size_t i = 0; i < N_PERIODS; i++)
        show_schedule(policy, periods[i]);
    const json_t *filesystems = json_object_get(policy, "filesystems");
    for (size_t i = 0; i < json_array_size(filesystems); i++)
        show_filesystem(json_array_get(filesystems, i));
    return 0;
}

static int put_number(json_t *body, const char *option, const char *key, const char *text,
                      struct error *err)
{
    char *end = NULL;

    if (!text)
        return 0;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        return error_set(err, -EINVAL,
                         "'%.40s' is no number of snapshots; give --%s 7, for example", text,
                         option);
    return json_object_set_new(body, key, json_integer(value)) < 0
               ? error_set(err, -ENOMEM, "there is not enough memory for the request")
               : 0;
}

static int put_period(const struct cli *cli, const char *period, json_t *body, struct error *err)
{
    char option[40];
    char key[40];
    int r = client_put_text(body, period, arguments_value(&cli->arguments, period), err);

    (void)snprintf(option, sizeof(option), "%s-retention", period);
    (void)snprintf(key, sizeof(key), "%s_retention", period);
    if (r == 0)
        r = put_number(body, option, key, arguments_value(&cli->arguments, option), err);
    (void)snprintf(option, sizeof(option), "%s-upload", period);
    (void)snprintf(key, sizeof(key), "%s_upload", period);
    const char *store = arguments_value(&cli->arguments, option);
    if (r == 0)
        r = client_put_text(body, key, store && strcmp(store, "none") == 0 ? "" : store, err);
    return r;
}

/* body: what is told besides the schedules. */
static int send_schedules(struct cli *cli, const char *method, const char *path, json_t *body,
                          const char *done, struct error *err)
{
    CLEANUP(json_freep) json_t *owned = body;
    CLEANUP(json_freep) json_t *answer = NULL;
    int r = owned ? 0 : error_set(err, -EINVAL, "the name is not UTF-8 text; choose another one");

    for (size_t i = 0; r == 0 && i < N_PERIODS; i++)
        r = put_period(cli, periods[i], owned, err);
    if (r == 0 && json_object_size(owned) == 0)
        r = error_set(err, -EINVAL, "say what is to be changed; see coffer %s --help",
                      cli->command->path);
    if (r < 0)
        return r;
    struct client_request request = { .method = method, .path = path, .body = TAKE(owned) };
    r = client_call(&cli->instance, &request, &answer, err);
    if (r == 0 && cli->json)
        return cli_print_json(answer, err);
    if (r == 0)
        cli_print(stdout, "Snapshot policy %s was %s.\n", cli_word(cli, 0), done);
    return r;
}

int cmd_snapshot_policy_add(struct cli *cli, struct error *err)
{
    return send_schedules(cli, "POST", POLICIES, json_pack("{s:s}", "name", cli_word(cli, 0)),
                          "added; attach it to filesystems with coffer fs protection "
                          "snapshot-policy attach",
                          err);
}

int cmd_snapshot_policy_update(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    int r = policy_path(cli, "", path, err);

    return r < 0 ? r : send_schedules(cli, "PATCH", path, json_object(), "changed", err);
}

/* text: printed with the names of policy and filesystem. */
static int act(struct cli *cli, const char *method, const char *action, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(json_freep) json_t *body = json_object();
    char path[CLIENT_PATH_SIZE];
    int r = policy_path(cli, action, path, err);

    if (r == 0 && cli_word(cli, 1))
        r = client_put_text(body, "filesystem", cli_word(cli, 1), err);
    if (r < 0)
        return r;
    struct client_request request = { .method = method, .path = path, .body = TAKE(body) };
    return client_call(&cli->instance, &request, &answer, err);
}

int cmd_snapshot_policy_remove(struct cli *cli, struct error *err)
{
    int r = act(cli, "DELETE", "", err);

    if (r == 0)
        cli_print(stdout, "Snapshot policy %s was removed.\n", cli_word(cli, 0));
    return r;
}

int cmd_snapshot_policy_attach(struct cli *cli, struct error *err)
{
    int r = act(cli, "POST", "/attach", err);

    if (r == 0)
        cli_print(stdout, "Snapshot policy %s is attached to %s.\n", cli_word(cli, 0),
                  cli_word(cli, 1));
    return r;
}

int cmd_snapshot_policy_detach(struct cli *cli, struct error *err)
{
    int r = act(cli, "POST", "/detach", err);

    if (r == 0)
        cli_print(stdout,
                  "Snapshot policy %s is no longer attached to %s. The snapshots that it took stay "
                  "until they are removed by hand.\n",
                  cli_word(cli, 0), cli_word(cli, 1));
    return r;
}

int cmd_snapshot_policy_run_once(struct cli *cli, struct error *err)
{
    int r = act(cli, "POST", "/run-once", err);

    if (r == 0)
        cli_print(stdout, "Snapshot policy %s takes its snapshots now.\n", cli_word(cli, 0));
    return r;
}
