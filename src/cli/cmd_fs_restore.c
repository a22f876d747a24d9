/* coffer fs restore. */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

#define RESTORE_TIMEOUT_MS (24LL * 3600 * 1000) /* as long as much has changed */

static int ask_restore(struct cli *cli, json_t **ret, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    const struct arguments *arguments = &cli->arguments;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(cli_word(cli, 0), "/restore", path, err);

    if (r == 0)
        r = client_put_text(body, "snapshot", cli_word(cli, 1), err);
    if (r == 0)
        r = client_put_text(body, "keep_as", arguments_value(arguments, "keep-as"), err);
    if (r == 0)
        r = client_put_text(body, "keep_access_point",
                            arguments_value(arguments, "keep-access-point"), err);
    if (r < 0)
        return r;
    struct client_request request = {
        .method = "POST", .path = path, .body = TAKE(body), .timeout_ms = RESTORE_TIMEOUT_MS
    };
    return client_call(&cli->instance, &request, ret, err);
}

int cmd_fs_restore(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    const char *keep_as = arguments_value(&cli->arguments, "keep-as");
    char question[900];

    (void)snprintf(question, sizeof(question),
                   keep_as
                       ? "Put filesystem %s back to snapshot %s? What it is now is kept as "
                         "snapshot %s."
                       : "Put filesystem %s back to snapshot %s? What was changed since is lost, "
                         "but for what other snapshots hold; --keep-as keeps it.",
                   cli_word(cli, 0), cli_word(cli, 1), keep_as);
    if (!arguments_has(&cli->arguments, "force") && !cli_confirm(question))
        return error_set(err, -ECANCELED, "nothing was changed; answer y to restore the snapshot");
    int r = ask_restore(cli, &answer, err);
    if (r < 0)
        return r;
    if (cli->json)
        return cli_print_json(answer, err);
    cli_print(stdout, "Filesystem %s is what snapshot %s shows: %lld files and folders differed.\n",
              cli_word(cli, 0), cli_word(cli, 1),
              (long long)json_integer_value(json_object_get(answer, "changed")));
    if (keep_as)
        cli_print(stdout, "What it was before is kept as snapshot %s.\n", keep_as);
    return 0;
}
