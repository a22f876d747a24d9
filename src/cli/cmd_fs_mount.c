/* coffer fs mount and umount. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "cli/cli.h"
#include "cli/mounting.h"

int cmd_fs_mount(struct cli *cli, struct error *err)
{
    char folder[PATH_MAX];
    struct mounting mounting = {
        .name = cli_word(cli, 0),
        .folder = cli_word(cli, 1),
        .snapshot = arguments_value(&cli->arguments, "snapshot"),
        .take_over = arguments_has(&cli->arguments, "take-over"),
        .salvage = arguments_has(&cli->arguments, "salvage"),
        .flags = arguments_has(&cli->arguments, "read-only") ? MS_RDONLY : 0,
    };
    int r = mounting_mount(&cli->instance, &mounting, folder, err);

    if (r == 0 && mounting.snapshot)
        cli_print(stdout, "Snapshot %s of filesystem %s is mounted at %s, read-only.\n",
                  mounting.snapshot, mounting.name, folder);
    else if (r == 0)
        cli_print(stdout, "Filesystem %s is mounted at %s%s.\n", mounting.name, folder,
                  mounting.salvage             ? ", read-only: copy its files into another one"
                  : mounting.flags & MS_RDONLY ? ", read-only"
                                               : "");
    return r;
}

static int umount_snapshot(struct cli *cli, struct error *err)
{
    const char *snapshot = arguments_value(&cli->arguments, "snapshot");
    char folder[PATH_MAX];
    int r = mounting_umount_snapshot(&cli->instance, cli_word(cli, 0), snapshot, folder, err);

    if (r == 0)
        cli_print(stdout, "The snapshot at %s is unmounted.\n", folder);
    return r;
}

int cmd_fs_umount(struct cli *cli, struct error *err)
{
    char name[MOUNTING_NAME_SIZE];

    if (arguments_has(&cli->arguments, "snapshot"))
        return umount_snapshot(cli, err);
    int r = mounting_umount(&cli->instance, cli_word(cli, 0), name, err);
    /* A folder on which no filesystem is mounted may show a snapshot of one. */
    struct error other = { .code = 0 };
    if (r == -ENOENT && strchr(cli_word(cli, 0), '/')) {
        r = umount_snapshot(cli, &other);
        return r < 0 && r != -ENOENT ? error_set(err, r, "%s", other.text) : r;
    }
    if (r == 0)
        cli_print(stdout, "Filesystem %s is unmounted and stopped; its key has left the memory.\n",
                  name);
    return r;
}
