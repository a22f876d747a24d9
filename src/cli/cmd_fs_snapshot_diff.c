/* coffer fs snapshot diff. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

#define PAGE_TIMEOUT_MS (3600LL * 1000)

static const struct column columns[] = {
    { "change", "CHANGE", COLUMN_TEXT },
    { "what", "WHAT", COLUMN_TEXT },
    { "type", "TYPE", COLUMN_TEXT },
    { "path", "PATH", COLUMN_TEXT },
    { "old_path", "OLD PATH", COLUMN_TEXT },
    { "inode", "INODE", COLUMN_NUMBER, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

/* behind: "" at first. */
static int get_page(struct cli *cli, const char *behind, json_t **ret, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    const char *newer = cli_word(cli, 2);
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), "/snapshots/diff", path, err);

    if (r == 0)
        r = client_put_text(body, "older", cli_word(cli, 1), err);
    if (r == 0)
        r = client_put_text(body, "newer", newer, err);
    if (r == 0 && behind[0] != '\0')
        r = client_put_text(body, "behind", behind, err);
    if (r < 0)
        return r;
    struct client_request request = {
        .method = "POST", .path = path, .body = TAKE(body), .timeout_ms = PAGE_TIMEOUT_MS
    };
    return client_call(&cli->instance, &request, ret, err);
}

static int add_row(json_t *rows, json_t *row)
{
    bool content = json_is_true(json_object_get(row, "content"));
    bool attributes = json_is_true(json_object_get(row, "attributes"));
    const char *what = content && attributes ? "content, attributes"
                       : content             ? "content"
                       : attributes          ? "attributes"
                                             : "";
    int r = json_object_set_new(row, "what", json_string(what));

    return r == 0 ? json_array_append(rows, row) : r;
}

static int add_page(const json_t *page, json_t *rows, struct error *err)
{
    json_t *differences = json_object_get(page, "differences");
    int r = 0;

    for (size_t i = 0; i < json_array_size(differences) && r == 0; i++)
        r = add_row(rows, json_array_get(differences, i));
    return r == 0 ? 0 : error_set(err, -ENOMEM, "out of memory");
}

int cmd_fs_snapshot_diff(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = json_array();
    char behind[64] = "";
    int r = 0;

    do {
        CLEANUP(json_freep) json_t *page = NULL;
        r = get_page(cli, behind, &page, err);
        if (r == 0)
            r = add_page(page, rows, err);
        if (r == 0)
            (void)snprintf(behind, sizeof(behind), "%s", client_text(page, "behind"));
    } while (r == 0 && behind[0] != '\0');
    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "Nothing differs.\n");
    return r;
}
