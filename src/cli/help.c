/* The help text of a command, from the table of commands. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COLUMN_WIDTH 32

static bool has_children(const struct command *command)
{
    return cli_next_child(command, NULL) != NULL;
}

static void print_entry(FILE *out, const char *left, const char *help)
{
    if (strlen(left) < COLUMN_WIDTH)
        (void)fprintf(out, "  %-*s%s\n", COLUMN_WIDTH, left, help);
    else
        (void)fprintf(out, "  %s\n  %*s%s\n", left, COLUMN_WIDTH, "", help);
}

static void print_usage(FILE *out, const struct command *command)
{
    bool first = true;

    if (command->run || !has_children(command)) {
        (void)fprintf(out, "Usage: coffer%s%s", *command->path ? " " : "", command->path);
        for (const struct argument_spec *a = command->arguments; a && a->name; a++) {
            if (a->name[0] == '-')
                (void)fprintf(out, " [%s]", a->name);
            else if (a->optional)
                (void)fprintf(out, " [<%s>]", a->name);
            else
                (void)fprintf(out, " <%s>", a->name);
        }
        (void)fputs(" [options]\n", out);
        first = false;
    }
    if (has_children(command)) {
        (void)fprintf(out, "%s coffer%s%s <command> ...\n", first ? "Usage:" : "      ",
                      *command->path ? " " : "", command->path);
    }
}

static void print_arguments(FILE *out, const struct argument_spec *arguments)
{
    if (!arguments)
        return;
    (void)fputs("\nParameters (* mandatory):\n", out);
    for (; arguments->name; arguments++) {
        char left[64];
        (void)snprintf(left, sizeof(left), "%s%s", arguments->name, arguments->optional ? "" : "*");
        if (arguments->help)
            print_entry(out, left, arguments->help);
    }
}

static void print_options(FILE *out, const char *heading, const struct option_spec *options)
{
    if (!options)
        return;
    (void)fprintf(out, "\n%s:\n", heading);
    for (; options->name; options++) {
        char left[64];
        char letter[] = { '-', options->letter, ',', ' ', '\0' };
        (void)snprintf(left, sizeof(left), "%s--%s%s%s%s", options->letter ? letter : "    ",
                       options->name, options->value ? " <" : "",
                       options->value ? options->value : "", options->value ? ">" : "");
        print_entry(out, left, options->help);
    }
}

static void print_children(FILE *out, const struct command *command)
{
    if (!has_children(command))
        return;
    (void)fputs("\nCommands:\n", out);
    for (const struct command *c = cli_next_child(command, NULL); c;
         c = cli_next_child(command, c)) {
        char left[64];
        (void)snprintf(left, sizeof(left), "%s%s%s%s", cli_last_word(c), c->aliases ? " (" : "",
                       c->aliases ? c->aliases : "", c->aliases ? ")" : "");
        print_entry(out, left, c->summary);
    }
}

void cli_print_help(const struct command *command, FILE *out)
{
    print_usage(out, command);
    (void)fprintf(out, "\n%s.\n", command->summary);
    if (command->details)
        (void)fprintf(out, "\n%s\n", command->details);
    print_arguments(out, command->arguments);
    print_children(out, command);
    print_options(out, "Options", command->options);
    print_options(out, "Options of lists", command->lists ? cli_list_options : NULL);
    if (command->prints_json)
        print_options(out, "Output", cli_json_options);
    print_options(out, "Options of every command", cli_common_options);
    if (has_children(command)) {
        (void)fprintf(out, "\ncoffer%s%s <command> --help tells more about each.\n",
                      *command->path ? " " : "", command->path);
    }
}

int cmd_help(struct cli *cli, struct error *err)
{
    const struct command *command = cli_command_find("");

    for (size_t i = 0; i < cli->arguments.n_words; i++) {
        const struct command *child = cli_child(command, cli->arguments.words[i]);
        if (!child) {
            return error_set(err, -EINVAL, "there is no command '%s'; see coffer%s%s --help",
                             cli->arguments.words[i], *command->path ? " " : "", command->path);
        }
        command = child;
    }
    cli_print_help(command, stdout);
    return 0;
}
