/* coffer alerts: what needs attention, and muting it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/moments.h"

#define ALERTS "/api/v1/alerts"

static const struct column alert_columns[] = {
    { "type", "TYPE", COLUMN_TEXT },
    { "severity", "SEVERITY", COLUMN_STATUS },
    { "time", "SINCE", COLUMN_TEXT },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "title", "TITLE", COLUMN_TEXT, .hidden = true },
    { "text", "TEXT", COLUMN_TEXT },
    { "cause", "CAUSE", COLUMN_TEXT, .hidden = true },
    { "action", "ACTION", COLUMN_TEXT },
    { "clearing", "CLEARING", COLUMN_FLAG, .hidden = true },
    { "muted", "MUTED", COLUMN_FLAG, .hidden = true },
    { "muted_until", "MUTED UNTIL", COLUMN_TEXT, .hidden = true },
    { "comment", "COMMENT", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column type_columns[] = {
    { "type", "TYPE", COLUMN_TEXT },     { "severity", "SEVERITY", COLUMN_STATUS },
    { "title", "TITLE", COLUMN_TEXT },   { "cause", "CAUSE", COLUMN_TEXT, .hidden = true },
    { "action", "ACTION", COLUMN_TEXT }, { NULL, NULL, COLUMN_TEXT },
};

/* Those that are wanted; returns how many are left out. */
static size_t leave_out_muted(json_t *rows)
{
    size_t left_out = 0;

    for (size_t i = json_array_size(rows); i > 0; i--) {
        if (!json_is_true(json_object_get(json_array_get(rows, i - 1), "muted")))
            continue;
        (void)json_array_remove(rows, i - 1);
        left_out++;
    }
    return left_out;
}

int cmd_alerts(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = ALERTS };
    int r = client_call(&cli->instance, &request, &rows, err);

    if (r < 0)
        return r;
    size_t left_out = arguments_has(&cli->arguments, "muted") ? 0 : leave_out_muted(rows);
    r = table_print(stdout, alert_columns, rows, &cli->list, err);
    if (r < 0 || cli->list.format != TABLE_VIEW)
        return r;
    if (json_array_size(rows) == 0)
        cli_print(stderr, "Nothing needs attention.\n");
    if (left_out > 0)
        cli_print(stderr, "%zu muted; --muted shows them, too.\n", left_out);
    return 0;
}

int cmd_alert_types(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = ALERTS "/types" };
    int r = client_call(&cli->instance, &request, &rows, err);

    return r < 0 ? r : table_print(stdout, type_columns, rows, &cli->list, err);
}

static int mute_path(const char *type, char ret[static CLIENT_PATH_SIZE], struct error *err)
{
    if (type[0] == '\0' || strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(type) ||
        strlen(type) > 64)
        return error_set(err, -EINVAL,
                         "'%s' is not a type of alert; 'coffer alerts types' lists them", type);
    (void)snprintf(ret, CLIENT_PATH_SIZE, ALERTS "/%s/mute", type);
    return 0;
}

int cmd_alert_mute(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    const char *type = cli_word(cli, 0);
    const char *comment = arguments_value(&cli->arguments, "comment");
    int64_t seconds = 0;
    int r = mute_path(type, path, err);

    if (r == 0)
        r = duration_parse(cli_word(cli, 1), &seconds, err);
    if (r < 0)
        return r;
    struct client_request request = {
        .method = "PUT",
        .path = path,
        .body = json_pack("{s:I,s:s}", "seconds", (json_int_t)seconds, "comment",
                          comment ? comment : ""),
    };
    if (!request.body)
        return error_set(err, -EINVAL, "'%s' is not UTF-8 text; write it anew", comment);
    r = client_call(&cli->instance, &request, NULL, err);
    if (r == 0 && seconds == 0)
        cli_print(stdout, "Alerts of the type %s are muted until they are unmuted.\n", type);
    else if (r == 0)
        cli_print(stdout, "Alerts of the type %s are muted for %s.\n", type, cli_word(cli, 1));
    return r;
}

int cmd_alert_unmute(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    const char *type = cli_word(cli, 0);
    struct client_request request = { .method = "DELETE", .path = path };
    int r = mute_path(type, path, err);

    if (r == 0)
        r = client_call(&cli->instance, &request, NULL, err);
    if (r == 0)
        cli_print(stdout, "Alerts of the type %s are muted no more.\n", type);
    return r;
}
