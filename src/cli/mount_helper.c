/* mount.coffer NAME DIR [-sfnv] [-o options]: the arguments of mount(8)'s helpers, see mount(8),
 * "External helpers". The instance is found by -o state_dir=, socket=, or the environment. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "cli/cli.h"
#include "cli/mounting.h"
#include "cli/options.h"

/* The exit codes of mount(8). */
#define EXIT_MOUNT_USAGE 1
#define EXIT_MOUNT_FAILED 32

struct helper {
    struct mounting mounting;
    const char *state_dir;
    const char *socket;
    bool only_pretend; /* -f */
    bool is_user;
};

/* What is not here (rw, auto, nofail, _netdev, x-...) means something to mount(8), not to us. */
static void read_option(struct helper *helper, char *option)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } flags[] = {
        { "ro", MS_RDONLY },     { "nosuid", MS_NOSUID },   { "nodev", MS_NODEV },
        { "noexec", MS_NOEXEC }, { "noatime", MS_NOATIME }, { "nodiratime", MS_NODIRATIME },
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(option, flags[i].name) == 0)
            helper->mounting.flags |= flags[i].flag;
    }
    if (strncmp(option, "state_dir=", 10) == 0)
        helper->state_dir = option + 10;
    else if (strncmp(option, "socket=", 7) == 0)
        helper->socket = option + 7;
    else if (strncmp(option, "snapshot=", 9) == 0)
        helper->mounting.snapshot = option + 9;
    else if (strcmp(option, "user_instance") == 0)
        helper->is_user = true;
    else if (strcmp(option, "take_over") == 0)
        helper->mounting.take_over = true;
    else if (strcmp(option, "salvage") == 0)
        helper->mounting.salvage = true;
}

static void read_options(struct helper *helper, char *text)
{
    char *rest = NULL;

    for (char *option = strtok_r(text, ",", &rest); option; option = strtok_r(NULL, ",", &rest))
        read_option(helper, option);
}

static int usage(FILE *out, int code)
{
    (void)fputs("Usage: mount.coffer <name> <dir> [-sfnv] [-o options]\n"
                "\n"
                "What mount -t coffer calls. Options, separated by commas:\n"
                "  state_dir=<dir>, socket=<path>, user_instance   which instance\n"
                "  snapshot=<name>   only this snapshot, read-only\n"
                "  take_over   write although the store was last written from elsewhere\n"
                "  salvage     read-only, although records are altered: to copy files out of it\n"
                "  ro, nosuid, nodev, noexec, noatime, nodiratime  as for every mount\n",
                out);
    return code;
}

static const struct option_spec helper_options[] = {
    { 's', "sloppy", NULL, NULL },  { 'f', "fake", NULL, NULL },
    { 'n', "no-mtab", NULL, NULL }, { 'v', "verbose", NULL, NULL },
    { 'h', "help", NULL, NULL },    { 'o', "options", "options", NULL },
    { 't', "types", "type", NULL }, { 'N', "namespace", "namespace", NULL },
    { 0, "version", NULL, NULL },   { .name = NULL },
};

/* 0: go on; negative: done; else the exit code. */
static int use_arguments(const struct arguments *arguments, struct helper *helper)
{
    if (arguments_has(arguments, "help"))
        return usage(stdout, -1);
    if (arguments_has(arguments, "version")) {
        (void)puts("mount.coffer " COFFER_VERSION);
        return -1;
    }
    for (size_t i = 0; i < arguments->n_options; i++) {
        if (arguments->options[i].spec->letter == 'o')
            read_options(helper, arguments->options[i].value);
    }
    helper->only_pretend = arguments_has(arguments, "fake");
    if (arguments->n_words != 2)
        return usage(stderr, EXIT_MOUNT_USAGE);
    /* mount(8) makes an absolute path of a name that is also that of a file nearby; no name of a
     * filesystem has a slash. */
    const char *slash = strrchr(arguments->words[0], '/');
    helper->mounting.name = slash ? slash + 1 : arguments->words[0];
    helper->mounting.folder = arguments->words[1];
    return 0;
}

static int read_arguments(int argc, char **argv, struct helper *helper)
{
    const struct option_tables tables = { .tables = { helper_options }, .count = 1 };
    struct option_scan scan = { .argv = argv, .argc = argc, .at = 1 };
    struct arguments arguments = { .n_words = 0 };
    struct error err = { .code = 0 };
    int found = arguments_read(&scan, &tables, &arguments, &err);

    if (found < 0) {
        (void)fprintf(stderr, "mount.coffer: %s\n", err.text);
        return usage(stderr, EXIT_MOUNT_USAGE);
    }
    return use_arguments(&arguments, helper);
}

int mount_helper_main(int argc, char **argv)
{
    struct helper helper = { .only_pretend = false };
    struct instance instance;
    struct error err = { .code = 0 };
    char folder[PATH_MAX];
    int code = read_arguments(argc, argv, &helper);

    if (code != 0)
        return code < 0 ? EXIT_SUCCESS : code;
    int r = instance_init(&instance, helper.state_dir, helper.socket, helper.is_user, &err);
    if (r == 0 && !helper.only_pretend)
        r = mounting_mount(&instance, &helper.mounting, folder, &err);
    if (r < 0) {
        (void)fprintf(stderr, "mount.coffer: %s\n", err.text);
        return EXIT_MOUNT_FAILED;
    }
    return EXIT_SUCCESS;
}
