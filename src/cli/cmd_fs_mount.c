/* coffer fs mount and umount. */
#include <stdio.h>
#include <sys/mount.h>

#include "cli/cli.h"
#include "cli/mounting.h"

int cmd_fs_mount(struct cli *cli, struct error *err)
{
    char folder[PATH_MAX];
    struct mounting mounting = {
        .name = cli_word(cli, 0),
        .folder = cli_word(cli, 1),
        .take_over = arguments_has(&cli->arguments, "take-over"),
        .flags = arguments_has(&cli->arguments, "read-only") ? MS_RDONLY : 0,
    };
    int r = mounting_mount(&cli->instance, &mounting, folder, err);

    if (r == 0)
        cli_print(stdout, "Filesystem %s is mounted at %s%s.\n", mounting.name, folder,
                  mounting.flags & MS_RDONLY ? ", read-only" : "");
    return r;
}

int cmd_fs_umount(struct cli *cli, struct error *err)
{
    char name[MOUNTING_NAME_SIZE];
    int r = mounting_umount(&cli->instance, cli_word(cli, 0), name, err);

    if (r == 0)
        cli_print(stdout, "Filesystem %s is unmounted and stopped; its key has left the memory.\n",
                  name);
    return r;
}
