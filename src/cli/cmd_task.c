/* coffer task: work that takes long, and what changes it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/capacity.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/task_wait.h"

#define TASKS "/api/v1/tasks"
#define LOOK_EVERY_MS 500
#define AMOUNT_SIZE 80u
#define LINE_SIZE 256u

static const struct column columns[] = {
    { "id", "ID", COLUMN_NUMBER },
    { "kind", "KIND", COLUMN_TEXT },
    { "filesystem", "FILESYSTEM", COLUMN_TEXT },
    { "object_store", "OBJECT STORE", COLUMN_TEXT },
    { "snapshot", "SNAPSHOT", COLUMN_NUMBER, .hidden = true, .zero_is = "-" },
    { "state", "STATE", COLUMN_STATUS },
    { "phase", "PHASE", COLUMN_TEXT },
    { "progress", "PROGRESS", COLUMN_TEXT },
    { "amount", "DONE", COLUMN_TEXT },
    { "speed", "RATE", COLUMN_TEXT },
    { "time_left", "TIME LEFT", COLUMN_TEXT },
    { "moved", "MOVED", COLUMN_CAPACITY, .hidden = true, .zero_is = "-" },
    { "created", "CREATED", COLUMN_TEXT, .hidden = true },
    { "ended", "ENDED", COLUMN_TEXT, .hidden = true },
    { "text", "WHY", COLUMN_TEXT },
    { "result", "RESULT", COLUMN_TEXT, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

/* --- how it is shown --- */

static uint64_t number_of(const json_t *task, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(task, key));

    return value < 0 ? 0 : (uint64_t)value;
}

static void format_count(const json_t *task, uint64_t count, char ret[static CAPACITY_TEXT_SIZE])
{
    if (strcmp(client_text(task, "unit"), "bytes") == 0)
        capacity_format(count, ret);
    else
        (void)snprintf(ret, CAPACITY_TEXT_SIZE, "%" PRIu64, count);
}

static void format_amount(const json_t *task, char ret[static AMOUNT_SIZE])
{
    char done[CAPACITY_TEXT_SIZE], total[CAPACITY_TEXT_SIZE];
    uint64_t of = number_of(task, "total");

    format_count(task, number_of(task, "done"), done);
    format_count(task, of, total);
    (void)snprintf(ret, AMOUNT_SIZE, "%s%s%s", done, of > 0 ? " of " : "", of > 0 ? total : "");
    if (of == 0 && number_of(task, "done") == 0)
        (void)snprintf(ret, AMOUNT_SIZE, "-");
}

static void format_rate(const json_t *task, char ret[static AMOUNT_SIZE])
{
    uint64_t rate = number_of(task, "rate");
    char text[CAPACITY_TEXT_SIZE];

    format_count(task, rate, text);
    (void)snprintf(ret, AMOUNT_SIZE, rate > 0 ? "%s/s" : "-", text);
}

static void format_percent(const json_t *task, char ret[static AMOUNT_SIZE])
{
    const json_t *percent = json_object_get(task, "percent");

    if (json_is_integer(percent))
        (void)snprintf(ret, AMOUNT_SIZE, "%" JSON_INTEGER_FORMAT "%%", json_integer_value(percent));
    else
        (void)snprintf(ret, AMOUNT_SIZE, "-");
}

static void format_left(const json_t *task, char ret[static AMOUNT_SIZE])
{
    const json_t *left = json_object_get(task, "seconds_left");
    long long s = json_integer_value(left);

    if (!json_is_integer(left))
        (void)snprintf(ret, AMOUNT_SIZE, "-");
    else if (s >= 86400)
        (void)snprintf(ret, AMOUNT_SIZE, "%lldd%lldh", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        (void)snprintf(ret, AMOUNT_SIZE, "%lldh%lldm", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        (void)snprintf(ret, AMOUNT_SIZE, "%lldm%llds", s / 60, s % 60);
    else
        (void)snprintf(ret, AMOUNT_SIZE, "%llds", s);
}

static int put_texts(json_t *task)
{
    static const struct {
        const char *key;
        void (*format)(const json_t *task, char *ret);
    } texts[] = { { "progress", format_percent },
                  { "amount", format_amount },
                  { "speed", format_rate },
                  { "time_left", format_left } };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[AMOUNT_SIZE];
        texts[i].format(task, text);
        if (json_object_set_new(task, texts[i].key, json_string(text)) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* --- list, show --- */

int cmd_task_list(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    struct client_request request = { .method = "GET", .path = TASKS };

    int r = client_call(&cli->instance, &request, &rows, err);
    for (size_t i = 0; r == 0 && cli->list.format != TABLE_JSON && i < json_array_size(rows); i++)
        r = put_texts(json_array_get(rows, i)) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
    if (r == 0)
        r = table_print(stdout, columns, rows, &cli->list, err);
    if (r == 0 && cli->list.format == TABLE_VIEW && json_array_size(rows) == 0)
        cli_print(stderr, "There is no task.\n");
    return r;
}

static int call(const struct cli *cli, const char *id, const char *action, json_t *body,
                json_t **ret, struct error *err)
{
    char path[CLIENT_PATH_SIZE];
    struct client_request request = { .method = *action ? "POST" : "GET",
                                      .path = path,
                                      .body = body };

    int r = client_object_path(TASKS, id, action, path, err);
    if (r < 0) {
        json_decref(body);
        return r;
    }
    return client_call(&cli->instance, &request, ret, err);
}

static void print_line(const char *what, const char *value)
{
    if (*value != '\0' && strcmp(value, "-") != 0)
        cli_print(stdout, "%-14s%s\n", what, value);
}

int cmd_task_show(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *task = NULL;

    int r = call(cli, cli_word(cli, 0), "", NULL, &task, err);
    if (r < 0 || cli->json)
        return r < 0 ? r : cli_print_json(task, err);
    if (put_texts(task) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    bool is_upload = strcmp(client_text(task, "kind"), "upload") == 0;
    cli_print(stdout, "Task %" PRIu64 ": %s\n", number_of(task, "id"), client_text(task, "about"));
    print_line("State:", client_text(task, "state"));
    print_line("Phase:", client_text(task, "phase"));
    print_line("Progress:", client_text(task, "progress"));
    print_line("Done:", client_text(task, "amount"));
    print_line("Rate:", client_text(task, "speed"));
    print_line("Time left:", client_text(task, "time_left"));
    print_line("Created:", client_text(task, "created"));
    print_line("Ended:", client_text(task, "ended"));
    print_line("Why:", client_text(task, "text"));
    print_line("No abort:", client_text(task, "no_abort"));
    print_line(is_upload ? "Locator:" : "Result:", client_text(task, "result"));
    return 0;
}

/* --- change --- */

static int change(struct cli *cli, const char *action, json_t *body, const char *said,
                  struct error *err)
{
    CLEANUP(json_freep) json_t *task = NULL;

    int r = call(cli, cli_word(cli, 0), action, body, &task, err);
    if (r < 0 || cli->json)
        return r < 0 ? r : cli_print_json(task, err);
    cli_print(stdout, "Task %" PRIu64 " (%s) %s\n", number_of(task, "id"),
              client_text(task, "about"), said);
    return 0;
}

int cmd_task_pause(struct cli *cli, struct error *err)
{
    return change(cli, "/pause", NULL, "is paused; 'coffer task resume' has it go on.", err);
}

int cmd_task_resume(struct cli *cli, struct error *err)
{
    return change(cli, "/resume", NULL, "goes on.", err);
}

/* Nobody is asked about what cannot be: then cofferd says why. */
static int confirm_abort(struct cli *cli, struct error *err)
{
    CLEANUP(json_freep) json_t *task = NULL;
    char question[320];

    int r = call(cli, cli_word(cli, 0), "", NULL, &task, err);
    if (r < 0)
        return r;
    (void)snprintf(question, sizeof(question),
                   "Abort task %.32s (%.160s)? What is half done is undone; what it removed stays "
                   "removed.",
                   cli_word(cli, 0), client_text(task, "about"));
    if (client_text(task, "no_abort")[0] != '\0' || cli_confirm(question))
        return 0;
    return error_set(err, -ECANCELED, "nothing was aborted; answer y to abort the task");
}

int cmd_task_abort(struct cli *cli, struct error *err)
{
    int r = arguments_has(&cli->arguments, "force") ? 0 : confirm_abort(cli, err);

    if (r < 0)
        return r;
    json_t *body = json_pack("{s:b}", "force", (int)arguments_has(&cli->arguments, "leave"));
    if (!body)
        return error_set(err, -ENOMEM, "out of memory");
    return change(cli, "/abort", body, "is being aborted.", err);
}

/* --- wait --- */

static bool has_ended(const json_t *task)
{
    return !json_is_null(json_object_get(task, "ended"));
}

/* On a terminal: one line that is written over and over. */
static void show_progress(json_t *task)
{
    char line[LINE_SIZE];

    if (!isatty(STDERR_FILENO) || put_texts(task) < 0)
        return;
    (void)snprintf(line, sizeof(line), "%s %s %s, %s, %s left", client_text(task, "state"),
                   client_text(task, "phase"), client_text(task, "amount"),
                   client_text(task, "speed"), client_text(task, "time_left"));
    if (strcmp(client_text(task, "state"), "waiting") == 0)
        (void)snprintf(line, sizeof(line), "waiting: %s", client_text(task, "text"));
    cli_print(stderr, "\r\033[K");
    cli_print(stderr, "%.100s", line);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        (void)fputs("\r\033[K", stderr);
}

static void begin_progress(const char *id)
{
    if (isatty(STDERR_FILENO))
        cli_print(stderr,
                  "Waiting for task %s, which goes on if this command ends; 'coffer task' "
                  "shows it.\n",
                  id);
}

static int wait_until_ended(struct cli *cli, const char *id, json_t **ret, struct error *err)
{
    for (bool is_new = true;; is_new = false) {
        CLEANUP(json_freep) json_t *task = NULL;
        int r = call(cli, id, "", NULL, &task, err);
        if (r < 0 || has_ended(task)) {
            end_progress();
            *ret = r < 0 ? NULL : TAKE(task);
            return r;
        }
        if (is_new)
            begin_progress(id);
        show_progress(task);
        clock_sleep_ms(LOOK_EVERY_MS);
    }
}

int task_wait(struct cli *cli, const char *id, struct error *err)
{
    CLEANUP(json_freep) json_t *task = NULL;

    int r = wait_until_ended(cli, id, &task, err);
    if (r < 0)
        return r;
    const char *state = client_text(task, "state");
    const char *result = client_text(task, "result");
    if (cli->json)
        r = cli_print_json(task, err);
    if (r == 0 && strcmp(state, "done") != 0)
        return error_set(err, -EIO, "task %.20s (%.160s) %s%s%.300s", id,
                         client_text(task, "about"),
                         strcmp(state, "failed") == 0 ? "failed" : "was aborted",
                         *client_text(task, "text") ? ": " : "", client_text(task, "text"));
    if (r == 0 && !cli->json)
        cli_print(stdout, "Task %s (%s) is done.%s%s\n", id, client_text(task, "about"),
                  *result ? "\n" : "", result);
    return r;
}

int cmd_task_wait(struct cli *cli, struct error *err)
{
    return task_wait(cli, cli_word(cli, 0), err);
}

int task_started(struct cli *cli, const json_t *task, struct error *err)
{
    char id[24];

    (void)snprintf(id, sizeof(id), "%" PRIu64, number_of(task, "id"));
    if (arguments_has(&cli->arguments, "wait"))
        return task_wait(cli, id, err);
    if (cli->json)
        return cli_print_json(task, err);
    cli_print(stdout, "Task %s was started: %s. 'coffer task wait %s' waits for its end.\n", id,
              client_text(task, "about"), id);
    return 0;
}
