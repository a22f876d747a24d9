/* Candidates for the word under the cursor, from the table of commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"

#define COMPLETE_TIMEOUT_MS 2000 /* a person waits for it */

static void offer(const char *candidate, const char *start)
{
    if (strncmp(candidate, start, strlen(start)) == 0)
        (void)puts(candidate);
}

static void offer_options(const struct option_tables *tables, const char *start)
{
    for (size_t i = 0; i < tables->count; i++) {
        for (const struct option_spec *spec = tables->tables[i]; spec->name; spec++) {
            char candidate[64];
            (void)snprintf(candidate, sizeof(candidate), "--%s", spec->name);
            offer(candidate, start);
        }
    }
}

static void offer_commands(const struct command *command, const char *start)
{
    for (const struct command *c = cli_next_child(command, NULL); c; c = cli_next_child(command, c))
        offer(cli_last_word(c), start);
}

/* What the instance lists there; NULL. */
static json_t *get_listed(const struct arguments *arguments, const char *path)
{
    json_t *rows = NULL;
    struct instance instance;
    struct client_request request = {
        .method = "GET",
        .path = path,
        .timeout_ms = COMPLETE_TIMEOUT_MS,
    };

    if (cli_instance(arguments, &instance, NULL) < 0 ||
        client_call(&instance, &request, &rows, NULL) < 0)
        return NULL;
    return rows;
}

/* By one of its texts. */
static void offer_listed(const struct arguments *arguments, const char *path, const char *key,
                         const char *start)
{
    CLEANUP(json_freep) json_t *rows = get_listed(arguments, path);

    for (size_t i = 0; i < json_array_size(rows); i++)
        offer(client_text(json_array_get(rows, i), key), start);
}

static bool names_user(const struct command *command, size_t place)
{
    return place == 0 && command->arguments && command->run != cmd_user_add &&
           strcmp(command->arguments->name, "user") == 0;
}

static bool argument_is(const struct command *command, size_t place, const char *name)
{
    const struct argument_spec *argument = command->arguments;

    for (size_t i = 0; argument && argument->name; argument++, i++)
        if (i == place)
            return strcmp(argument->name, name) == 0;
    return false;
}

static bool names_store(const struct command *command, size_t place)
{
    return argument_is(command, place, "store") && command->run != cmd_tier_s3_add &&
           command->run != cmd_tier_dir_add;
}

static bool names_filesystem(const struct command *command, size_t place)
{
    return argument_is(command, place, "filesystem") ||
           (argument_is(command, place, "name") && command->run != cmd_fs_add &&
            command->run != cmd_fs_download);
}

static bool names_snapshot(const struct command *command, size_t place)
{
    return argument_is(command, place, "snapshot") && command->run != cmd_fs_snapshot_add;
}

static bool names_policy(const struct command *command, size_t place)
{
    return argument_is(command, place, "policy") && command->run != cmd_snapshot_policy_add;
}

static void offer_tasks(const struct arguments *arguments, const char *start)
{
    CLEANUP(json_freep) json_t *rows = get_listed(arguments, "/api/v1/tasks");

    for (size_t i = 0; i < json_array_size(rows); i++) {
        char id[24];
        (void)snprintf(id, sizeof(id), "%" JSON_INTEGER_FORMAT,
                       json_integer_value(json_object_get(json_array_get(rows, i), "id")));
        offer(id, start);
    }
}

static void offer_snapshots(const struct arguments *arguments, const char *start)
{
    char path[CLIENT_PATH_SIZE];

    if (client_filesystem_path(arguments->words[0], "/snapshots", path, NULL) == 0)
        offer_listed(arguments, path, "name", start);
}

/* Follows the words in front of the cursor. False: the cursor is at an option's value. */
static bool follow(int n_words, char **words, const struct command **ret_command,
                   struct arguments *ret_arguments)
{
    struct option_scan scan = { .argv = words, .argc = n_words };
    const struct command *command = cli_command_find("");

    for (;;) {
        struct option_tables tables;
        struct option_given given;
        cli_option_tables(command, &tables);
        int found = option_next(&scan, &tables, &given, NULL);
        const struct command *child = found == OPTION_WORD ? cli_child(command, given.value) : NULL;
        if (found < 0)
            return false;
        if (found == OPTION_END)
            break;
        if (child)
            command = child;
        else if (found == OPTION_WORD && ret_arguments->n_words < WORDS_MAX)
            ret_arguments->words[ret_arguments->n_words++] = given.value;
        else if (found == OPTION_OPTION && ret_arguments->n_options < OPTIONS_GIVEN_MAX)
            ret_arguments->options[ret_arguments->n_options++] = given;
    }
    *ret_command = command;
    return true;
}

int cli_complete(int n_words, char **words)
{
    const struct command *command = NULL;
    struct arguments before = { .n_words = 0 };
    struct option_tables tables;

    if (n_words < 1 || !follow(n_words - 1, words, &command, &before))
        return EXIT_SUCCESS;

    const char *start = words[n_words - 1];
    cli_option_tables(command, &tables);
    if (*start == '-')
        offer_options(&tables, start);
    else if (cli_next_child(command, NULL))
        offer_commands(command, start);
    else if (names_filesystem(command, before.n_words))
        offer_listed(&before, "/api/v1/filesystems", "name", start);
    else if (names_snapshot(command, before.n_words))
        offer_snapshots(&before, start);
    else if (argument_is(command, before.n_words, "task"))
        offer_tasks(&before, start);
    else if (names_user(command, before.n_words))
        offer_listed(&before, "/api/v1/users", "name", start);
    else if (names_policy(command, before.n_words))
        offer_listed(&before, "/api/v1/snapshot-policies", "name", start);
    else if (names_store(command, before.n_words))
        offer_listed(&before, "/api/v1/object-stores", "name", start);
    else if ((command->run == cmd_alert_mute || command->run == cmd_alert_unmute) &&
             before.n_words == 0)
        offer_listed(&before, "/api/v1/alerts/types", "type", start);
    else if (command->run == cmd_kms_set && before.n_words == 0) {
        offer("kmip", start);
        offer("vault", start);
    }
    return EXIT_SUCCESS;
}
