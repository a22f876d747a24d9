/* coffer security kms check. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

/* Exit codes by the class of the first failure; those below 3 are the usual ones. */
static const struct {
    const char *class;
    int exit_code;
} exit_codes[] = {
    { "unreachable", 3 }, { "tls", 4 },     { "not-serving", 5 }, { "login", 6 },
    { "permission", 7 },  { "missing", 8 }, { "unusable", 9 },    { "answer", 10 },
};

static int exit_code_of(const char *class)
{
    for (size_t i = 0; i < sizeof(exit_codes) / sizeof(exit_codes[0]); i++)
        if (strcmp(class, exit_codes[i].class) == 0)
            return exit_codes[i].exit_code;
    return EXIT_FAILURE;
}

static const struct column columns[] = {
    { .key = "address", .heading = "ADDRESS" },
    { .key = "step", .heading = "STEP" },
    { .key = "result", .heading = "RESULT", .kind = COLUMN_STATUS },
    { .key = "class", .heading = "CLASS", .hidden = true },
    { .key = "text", .heading = "TEXT" },
    { .key = "action", .heading = "ACTION" },
    { .heading = NULL },
};

static const char *color_of(const char *result)
{
    if (strcmp(result, "failed") == 0)
        return "\033[31m";
    if (strcmp(result, "warning") == 0)
        return "\033[33m";
    return strcmp(result, "ok") == 0 ? "\033[32m" : "";
}

/* cli_print() lets no control characters through, which may come from elsewhere: not for these. */
static void print_result(const char *result, bool color)
{
    const char *begin = color ? color_of(result) : "";

    (void)fputs(begin, stdout);
    cli_print(stdout, "  %-8s", result);
    if (*begin)
        (void)fputs("\033[0m", stdout);
}

/* A line for each step, and below it what to do: sentences are too long for a table. */
static void print_steps(const json_t *steps, bool color)
{
    const char *address = NULL;
    size_t i;
    json_t *step;

    json_array_foreach(steps, i, step)
    {
        const char *of = client_text(step, "address");
        if (!address || strcmp(address, of) != 0)
            cli_print(stdout, "%s%s\n", address ? "\n" : "", *of ? of : "Filesystems");
        address = of;
        print_result(client_text(step, "result"), color);
        cli_print(stdout, "%-20s%s\n", client_text(step, "step"), client_text(step, "text"));
        if (*client_text(step, "action"))
            cli_print(stdout, "  %-8s%-20s-> %s\n", "", "", client_text(step, "action"));
    }
}

static bool wants_table(const struct cli *cli)
{
    const struct table_request *list = &cli->list;

    return list->format != TABLE_VIEW || list->columns || list->sort || list->n_filters > 0 ||
           list->all_columns || list->no_header;
}

static int print_found(struct cli *cli, const json_t *found, struct error *err)
{
    const json_t *steps = json_object_get(found, "steps");

    if (cli->json)
        return cli_print_json(found, err);
    if (wants_table(cli))
        return table_print(stdout, columns, steps, &cli->list, err);
    print_steps(steps, cli->list.color);
    return 0;
}

/* The first failure, for standard error. */
static int report_failure(struct cli *cli, const json_t *found, struct error *err)
{
    size_t i;
    json_t *step;

    cli->exit_code = exit_code_of(client_text(found, "class"));
    json_array_foreach(json_object_get(found, "steps"), i, step)
    {
        const char *address = client_text(step, "address");
        if (strcmp(client_text(step, "result"), "failed") == 0)
            return error_set(err, -EIO, "the step '%s' failed%s%s: %s; %s",
                             client_text(step, "step"), *address ? " at " : "", address,
                             client_text(step, "text"), client_text(step, "action"));
    }
    return error_set(err, -EIO, "the check failed");
}

int cmd_kms_check(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *found = NULL;
    struct client_request request = { .method = "POST", .path = "/api/v1/kms/check" };

    int r = client_call(&cli->instance, &request, &found, err);
    if (r == 0)
        r = print_found(cli, found, err);
    if (r < 0 || strcmp(client_text(found, "result"), "failed") != 0)
        return r;
    return report_failure(cli, found, err);
}
