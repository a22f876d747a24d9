/* A command line is read twice: first its words lead to a command (options before them are
 * skipped, with the tables of the group reached so far), then everything is read with the tables
 * of that command. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define ARGC_MAX 256

struct line {
    int argc;
    char **argv;
    bool leads_to_command[ARGC_MAX]; /* by place in argv */
};

static bool color_wanted(const char *when, int fd)
{
    const char *no_color = secure_getenv("NO_COLOR");

    if (!when)
        when = secure_getenv("COFFER_CLI_COLOR");
    if (when && strcasecmp(when, "enabled") == 0)
        return true;
    if (when && strcasecmp(when, "disabled") == 0)
        return false;
    return isatty(fd) && !(no_color && *no_color != '\0');
}

/* How many bytes of UTF-8 the control character here has; 0: it is none. */
static size_t control_len(const unsigned char *at)
{
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
        return 2;
    return (at[0] < ' ' && at[0] != '\n') || at[0] == 0x7f;
}

void cli_print(FILE *out, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        return; /* no memory for a line; the exit code still tells */
    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++) {
        for (size_t n = control_len(p); n > 0; n--)
            p[n - 1] = '?';
    }
    (void)fputs(text, out);
    free(text);
}

static void print_error(const char *sentence)
{
    bool color = color_wanted(NULL, STDERR_FILENO);

    (void)fflush(stdout);
    (void)fprintf(stderr, "%serror:%s ", color ? "\033[31m" : "", color ? "\033[0m" : "");
    cli_print(stderr, "%s\n", sentence);
}

const char *cli_word(const struct cli *cli, size_t index)
{
    return index < cli->arguments.n_words ? cli->arguments.words[index] : NULL;
}

int cli_instance(const struct arguments *arguments, struct instance *ret, struct error *err)
{
    return instance_init(ret, arguments_value(arguments, "state-dir"),
                         arguments_value(arguments, "socket"), arguments_has(arguments, "user"),
                         err);
}

void cli_hide_secrets(struct cli *cli)
{
    static const char *const secret[] = { "token", "secret-id", "kms-secret-id" };

    for (size_t i = 0; i < cli->arguments.n_options; i++) {
        struct option_given *given = &cli->arguments.options[i];
        bool is_secret = false;
        for (size_t k = 0; k < sizeof(secret) / sizeof(secret[0]); k++)
            is_secret |= strcmp(given->spec->name, secret[k]) == 0;
        if (is_secret && strcmp(given->value, "-") != 0)
            memset(given->value, '*', strlen(given->value));
    }
}

int cli_print_json(const json_t *value, struct error *err)
{
    if (json_dumpf(value, stdout, JSON_INDENT(2)) < 0)
        return error_set(err, -EIO, "cannot print the answer; check standard output");
    (void)putchar('\n');
    return 0;
}

bool cli_confirm(const char *question)
{
    char answer[8] = "";

    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    (void)fprintf(stderr, "%s [y/N] ", question);
    if (!fgets(answer, sizeof(answer), stdin))
        return false;
    return strcasecmp(answer, "y\n") == 0 || strcasecmp(answer, "yes\n") == 0;
}

/* ------------------------------------------------------------------ which command */

static int unknown_word(const struct command *command, const char *word, struct error *err)
{
    return error_set(err, -EINVAL, "there is no command '%s'; see coffer%s%s --help", word,
                     *command->path ? " " : "", command->path);
}

/* Stops at what it does not know, which the second reading then reports. */
static int find_command(struct line *line, const struct command **ret, struct error *err)
{
    const struct command *command = cli_command_find("");
    struct option_scan scan = { .argv = line->argv, .argc = line->argc, .at = 1 };

    for (;;) {
        struct option_tables tables;
        struct option_given given;
        cli_option_tables(command, &tables);
        int found = option_next(&scan, &tables, &given, NULL);
        if (found == OPTION_OPTION)
            continue;
        if (found != OPTION_WORD || !cli_next_child(command, NULL))
            break;
        const struct command *child = cli_child(command, given.value);
        if (!child)
            return unknown_word(command, given.value, err);
        line->leads_to_command[scan.at - 1] = true;
        command = child;
    }
    *ret = command;
    return 0;
}

/* ------------------------------------------------------------------ what it is given */

static int point_to_help(const struct command *command, int r, struct error *err)
{
    size_t len = strlen(err->text);

    (void)snprintf(err->text + len, sizeof(err->text) - len, "; see coffer%s%s --help",
                   *command->path ? " " : "", command->path);
    return r;
}

static int read_given(const struct line *line, struct cli *cli, struct error *err)
{
    struct option_scan scan = {
        .argv = line->argv,
        .argc = line->argc,
        .at = 1,
        .skip = line->leads_to_command,
    };
    struct option_tables tables;

    cli_option_tables(cli->command, &tables);
    int r = arguments_read(&scan, &tables, &cli->arguments, err);
    return r < 0 ? point_to_help(cli->command, r, err) : 0;
}

static int check_words(const struct cli *cli, struct error *err)
{
    const struct command *command = cli->command;
    size_t n = 0;

    for (const struct argument_spec *a = command->arguments; a && a->name; a++, n++) {
        if (n >= cli->arguments.n_words && !a->optional)
            return error_set(err, -EINVAL, "<%s> is missing: %s; see coffer %s --help", a->name,
                             a->help, command->path);
    }
    if (cli->arguments.n_words > n)
        return error_set(err, -EINVAL, "'%s' is one word too many; see coffer %s --help",
                         cli->arguments.words[n], command->path);
    return 0;
}

static int read_list_options(struct cli *cli, struct error *err)
{
    const struct arguments *arguments = &cli->arguments;
    const char *format = arguments_value(arguments, "format");

    cli->json = arguments_has(arguments, "json");
    cli->list = (struct table_request){
        .format = cli->json ? TABLE_JSON : TABLE_VIEW,
        .columns = arguments_value(arguments, "output"),
        .sort = arguments_value(arguments, "sort"),
        .all_columns = arguments_has(arguments, "verbose"),
        .no_header = arguments_has(arguments, "no-header"),
        .raw_units = arguments_has(arguments, "raw-units"),
        .color = color_wanted(arguments_value(arguments, "color"), STDOUT_FILENO),
    };
    for (size_t i = 0; i < arguments->n_options; i++) {
        if (strcmp(arguments->options[i].spec->name, "filter") != 0)
            continue;
        if (cli->list.n_filters == TABLE_FILTERS_MAX)
            return error_set(err, -EINVAL, "too many filters; give at most %u", TABLE_FILTERS_MAX);
        cli->list.filters[cli->list.n_filters++] = arguments->options[i].value;
    }
    return cli->command->lists && format ? table_format_parse(format, &cli->list.format, err) : 0;
}

/* ------------------------------------------------------------------ running it */

/* 1: the command is to run; 0: there was nothing to run. */
static int prepare(struct line *line, struct cli *cli, struct error *err)
{
    int r = find_command(line, &cli->command, err);

    if (r == 0)
        r = read_given(line, cli, err);
    if (arguments_has(&cli->arguments, "help")) {
        cli_print_help(cli->command, stdout);
        return 0;
    }
    if (r == 0 && arguments_has(&cli->arguments, "version")) {
        (void)puts("coffer " COFFER_VERSION);
        return 0;
    }
    if (r == 0 && !cli->command->run) {
        cli_print_help(cli->command, stderr);
        return error_set(err, -EINVAL, "coffer%s%s needs a command; give one of those above",
                         *cli->command->path ? " " : "", cli->command->path);
    }
    if (r == 0)
        r = check_words(cli, err);
    if (r == 0)
        r = read_list_options(cli, err);
    if (r == 0)
        r = cli_instance(&cli->arguments, &cli->instance, err);
    return r < 0 ? r : 1;
}

int cli_main(int argc, char **argv)
{
    struct line line = { .argc = argc, .argv = argv };
    struct cli cli = { .command = cli_command_find("") };
    struct error err = { .code = 0 };

    if (argc > ARGC_MAX) {
        print_error("too many arguments; give at most 255");
        return EXIT_USAGE;
    }
    if (argc > 1 && strcmp(argv[1], CLI_COMPLETE_WORD) == 0)
        return cli_complete(argc - 2, argv + 2);
    int r = prepare(&line, &cli, &err);
    if (r < 0) {
        print_error(err.text);
        return EXIT_USAGE;
    }
    if (r > 0 && cli.command->run(&cli, &err) < 0) {
        print_error(err.text);
        return cli.exit_code ? cli.exit_code : EXIT_FAILURE;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        print_error("cannot write to standard output; check where it goes");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
