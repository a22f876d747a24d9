/* coffer events and coffer audit: what happened, and what was done to keys. Both are logs, of which
 * the newest part is shown; the server gives it in pages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/moments.h"

#define RESULTS_DEFAULT 50u
#define PAGE 200u

static const struct column event_columns[] = {
    { "number", "NUMBER", COLUMN_NUMBER, .hidden = true },
    { "time", "TIME", COLUMN_TEXT },
    { "severity", "SEVERITY", COLUMN_STATUS },
    { "type", "TYPE", COLUMN_TEXT },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "text", "TEXT", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

static const struct column audit_columns[] = {
    { "number", "NUMBER", COLUMN_NUMBER },
    { "time", "TIME", COLUMN_TEXT },
    { "by", "BY", COLUMN_TEXT },
    { "operation", "OPERATION", COLUMN_TEXT },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "uuid", "UUID", COLUMN_TEXT, .hidden = true },
    { "kms_type", "KMS", COLUMN_TEXT, .hidden = true },
    { "kms_addresses", "ADDRESSES", COLUMN_TEXT, .hidden = true },
    { "kms_namespace", "NAMESPACE", COLUMN_TEXT, .hidden = true },
    { "kms_path", "PATH", COLUMN_TEXT, .hidden = true },
    { "kms_key", "KMS KEY", COLUMN_TEXT },
    { "kms_key_version", "KEY VERSION", COLUMN_NUMBER, .zero_is = "-" },
    { "old_kms_key", "OLD KMS KEY", COLUMN_TEXT, .hidden = true },
    { "old_kms_key_version", "OLD VERSION", COLUMN_NUMBER, .hidden = true, .zero_is = "-" },
    { "result", "RESULT", COLUMN_STATUS },
    { "text", "TEXT", COLUMN_TEXT },
    { "hash", "HASH", COLUMN_TEXT, .hidden = true },
    { "previous", "PREVIOUS", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

/* An option that is sent as it is, under another name. */
struct passed {
    const char *option;
    const char *parameter;
    bool is_time;
};

static const struct passed passed_options[] = {
    { "severity", "severity", false },   { "type", "type", false },
    { "operation", "operation", false }, { "filesystem", "filesystem", false },
    { "start-time", "from", true },      { "end-time", "until", true },
};

static int pass_options(const struct cli *cli, char path[static CLIENT_PATH_SIZE],
                        struct error *err)
{
    int64_t now_s = clock_wall_ns() / 1000000000;
    char moment[MOMENT_TEXT_SIZE];
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(passed_options) / sizeof(passed_options[0]); i++) {
        const struct passed *passed = &passed_options[i];
        const char *value = arguments_value(&cli->arguments, passed->option);
        if (value && passed->is_time) {
            r = moment_parse(value, now_s, moment, err);
            value = moment;
        }
        if (value && r == 0)
            r = client_add_query(path, passed->parameter, value, err);
    }
    return r;
}

static int get_limit(const struct cli *cli, uint64_t *ret, struct error *err)
{
    const char *text = arguments_value(&cli->arguments, "num-results");
    char *end = NULL;

    *ret = RESULTS_DEFAULT;
    if (!text)
        return 0;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0')
        return error_set(err, -EINVAL, "'%s' is not a number of results; 0 shows all", text);
    if (*ret == 0)
        *ret = UINT64_MAX;
    return 0;
}

static int get_page(const struct cli *cli, const char *base, uint64_t before, uint64_t limit,
                    json_t **ret, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    char number[24];
    struct client_request request = { .method = "GET", .path = path };

    (void)snprintf(path, sizeof(path), "%s", base);
    (void)snprintf(number, sizeof(number), "%" PRIu64, limit);
    int r = client_add_query(path, "limit", number, err);
    if (r == 0 && before > 0) {
        (void)snprintf(number, sizeof(number), "%" PRIu64, before);
        r = client_add_query(path, "before", number, err);
    }
    return r < 0 ? r : client_call(&cli->instance, &request, ret, err);
}

/* The newest limit entries, in order. */
static int get_all(const struct cli *cli, const char *base, uint64_t limit, json_t **ret,
                   struct error *err)
{
    CLEANUP(json_freep) json_t *all = json_array();
    uint64_t before = 0;

    while (limit > 0) {
        CLEANUP(json_freep) json_t *page = NULL;
        uint64_t wanted = limit < PAGE ? limit : PAGE;
        int r = get_page(cli, base, before, wanted, &page, err);
        if (r < 0)
            return r;
        size_t count = json_array_size(page);
        before = (uint64_t)json_integer_value(json_object_get(json_array_get(page, 0), "number"));
        if (json_array_extend(page, all) < 0)
            return error_set(err, -ENOMEM, "there is not enough memory for the list");
        json_decref(all);
        all = TAKE(page);
        if (count < wanted || before <= 1)
            break;
        limit -= count;
    }
    *ret = TAKE(all);
    return 0;
}

static int list_log(struct cli *cli, const char *url, const struct column *columns,
                    struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    char path[CLIENT_PATH_SIZE];
    uint64_t limit = 0;
    int r = get_limit(cli, &limit, err);

    (void)snprintf(path, sizeof(path), "%s", url);
    if (r == 0)
        r = pass_options(cli, path, err);
    if (r == 0)
        r = get_all(cli, path, limit, &rows, err);
    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "There is nothing of that kind yet.\n");
    return r;
}

int cmd_events(struct cli *cli, struct error *err)
{
    return list_log(cli, "/api/v1/events", event_columns, err);
}

int cmd_audit(struct cli *cli, struct error *err)
{
    return list_log(cli, "/api/v1/audit", audit_columns, err);
}
