/* coffer user: who may log in over HTTPS. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/secret_input.h"

#define USERS "/api/v1/users"

static const struct column columns[] = {
    { "name", "NAME", COLUMN_TEXT },       { "role", "ROLE", COLUMN_TEXT },
    { "created", "CREATED", COLUMN_TEXT }, { "password_set", "PASSWORD SET", COLUMN_TEXT },
    { NULL, NULL, COLUMN_TEXT },
};

int cmd_user_list(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = USERS };
    int r = client_call(&cli->instance, &request, &rows, err);

    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && json_array_size(rows) == 0 && cli->list.format == TABLE_VIEW)
        cli_print(stderr, "Nobody can log in; see coffer user add --help.\n");
    return r;
}

/* Such names need no escape. */
static int user_path(const char *name, const char *what, char ret[static CLIENT_PATH_SIZE],
                     struct error *err)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@";

    if (strspn(name, good) != strlen(name) || strlen(name) > 32 || *name == '\0' || *name == '.')
        return error_set(err, -EINVAL, "'%s' is not the name of a user; 'coffer user' lists them",
                         name);
    (void)snprintf(ret, CLIENT_PATH_SIZE, USERS "/%s%s", name, what);
    return 0;
}

static int put_password(struct cli *cli, json_t *body, struct error *err)
{
    CLEANUP(secret_release) struct secret password = SECRET_INIT;
    const char *last = cli_word(cli, 1);
    const struct secret_source source = {
        .what = "password",
        .needed_by = "a user",
        .option = "--password",
        .variable = "COFFER_USER_PASSWORD",
        .question = "New password",
        .file = arguments_value(&cli->arguments, "password-file"),
        .from_stdin = last != NULL,
        .is_free_text = true,
        .asks_twice = true,
    };

    if (last && strcmp(last, "-") != 0)
        return error_set(err, -EINVAL,
                         "a password is not given as a word, which others could see; put it in a "
                         "file (--password-file) or on standard input (-)");
    int r = secret_heap_init(err);
    if (r == 0)
        r = secret_input_read(&source, &password, err);
    if (r < 0)
        return r;
    json_t *text = json_stringn((const char *)password.data, password.len);
    if (!text)
        return error_set(err, -EINVAL, "the password is not UTF-8 text; choose another one");
    return json_object_set_new(body, "password", text) < 0
               ? error_set(err, -ENOMEM, "there is not enough memory for the request")
               : 0;
}

static int put_role(struct cli *cli, json_t *body, struct error *err)
{
    const char *role = arguments_value(&cli->arguments, "role");

    if (!role)
        return error_set(err, -EINVAL,
                         "the role is missing; give --role ClusterAdmin, KeyAdmin, Regular or "
                         "ReadOnly");
    return json_object_set_new(body, "role", json_string(role)) < 0
               ? error_set(err, -EINVAL, "'%s' is no role", role)
               : 0;
}

static int report(const struct cli *cli, const json_t *user, const char *done, struct error *err)
{
    if (cli->json)
        return cli_print_json(user, err);
    cli_print(stdout, "User %s %s %s.\n", client_text(user, "name"), done,
              client_text(user, "role"));
    return 0;
}

int cmd_user_add(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(json_freep) json_t *body = json_pack("{s:s}", "name", cli_word(cli, 0));
    int r = body ? put_role(cli, body, err)
                 : error_set(err, -EINVAL, "the name is not UTF-8 text; choose another one");

    if (r == 0)
        r = put_password(cli, body, err);
    if (r < 0)
        return r;
    struct client_request request = { .method = "POST", .path = USERS, .body = TAKE(body) };
    r = client_call(&cli->instance, &request, &answer, err);
    return r < 0 ? r : report(cli, answer, "may log in as", err);
}

int cmd_user_passwd(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *body = json_object();
    char path[CLIENT_PATH_SIZE];
    int r = user_path(cli_word(cli, 0), "/password", path, err);

    if (r == 0)
        r = put_password(cli, body, err);
    if (r < 0)
        return r;
    struct client_request request = { .method = "PUT", .path = path, .body = TAKE(body) };
    r = client_call(&cli->instance, &request, NULL, err);
    if (r == 0)
        cli_print(stdout, "User %s has a new password; his sessions have ended.\n",
                  cli_word(cli, 0));
    return r;
}

int cmd_user_update(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    CLEANUP(json_freep) json_t *body = json_object();
    char path[CLIENT_PATH_SIZE];
    int r = user_path(cli_word(cli, 0), "", path, err);

    if (r == 0)
        r = put_role(cli, body, err);
    if (r < 0)
        return r;
    struct client_request request = { .method = "PATCH", .path = path, .body = TAKE(body) };
    r = client_call(&cli->instance, &request, &answer, err);
    return r < 0 ? r : report(cli, answer, "has the role", err);
}

int cmd_user_remove(struct cli *cli, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    struct client_request request = { .method = "DELETE", .path = path };
    int r = user_path(cli_word(cli, 0), "", path, err);

    if (r == 0)
        r = client_call(&cli->instance, &request, NULL, err);
    if (r == 0)
        cli_print(stdout, "User %s can log in no more; his sessions have ended.\n",
                  cli_word(cli, 0));
    return r;
}
