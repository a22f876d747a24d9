/* What differs between two snapshots, as a worker tells it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/filesystem.h"

#define FIELDS 6u

struct letter {
    char letter;
    const char *word;
};

static const char *word_of(const struct letter *letters, const char *field)
{
    for (; letters->word; letters++)
        if (field[0] == letters->letter && field[1] == '\0')
            return letters->word;
    return NULL;
}

/* A line that it ends with NUL in place of the tabs. */
static int parse(char *line, struct control_difference *ret)
{
    static const struct letter kinds[] = {
        { '+', "added" }, { '-', "removed" }, { 'C', "changed" }, { 'R', "renamed" }, { 0, NULL }
    };
    static const struct letter types[] = { { 'f', "file" },         { 'd', "directory" },
                                           { 'l', "link" },         { 'c', "character device" },
                                           { 'b', "block device" }, { 'p', "pipe" },
                                           { 's', "socket" },       { 0, NULL } };
    char *fields[FIELDS];
    size_t count = 0;
    char *end;

    while (line && count < FIELDS)
        fields[count++] = strsep(&line, "\t");
    if (line || count != FIELDS)
        return -EPROTO;
    *ret = (struct control_difference){ .kind = word_of(kinds, fields[0]),
                                        .content = strchr(fields[1], 'c') != NULL,
                                        .attributes = strchr(fields[1], 'a') != NULL,
                                        .type = word_of(types, fields[2]),
                                        .ino = strtoull(fields[3], &end, 10),
                                        .path = fields[4],
                                        .old_path = fields[5] };
    return ret->kind && ret->type && *end == '\0' ? 0 : -EPROTO;
}

static int visit_lines(char *text, control_difference_fn *visit, void *arg, struct error *err)
{
    struct control_difference difference;
    int r = 0;

    while (r == 0 && *text != '\0') {
        char *line = strsep(&text, "\n");
        r = text ? parse(line, &difference) : -EPROTO; /* each is ended */
        if (r == 0)
            r = visit(&difference, arg);
    }
    return r < 0 ? error_set(err, r, "what differs cannot be told: %s", strerrordesc_np(-r)) : 0;
}

static int ask_page(struct worker *worker, struct control_diff *diff,
                    struct worker_message *message, struct error *err)
{
    struct worker_snapshot_diff *order = &message[0].snapshot_diff;

    message[0].type = WORKER_SNAPSHOT_DIFF;
    (void)snprintf(order->older, sizeof(order->older), "%s", diff->older);
    (void)snprintf(order->newer, sizeof(order->newer), "%s", diff->newer ? diff->newer : "");
    order->ino = diff->ino;
    order->count = diff->count;
    int r = worker_ask(worker, &message[0], -1, -1, &message[1], err);
    if (r < 0)
        return r;
    if (message[1].type != WORKER_SNAPSHOT_DIFF_REPLY) {
        worker_message_release(&message[1]);
        return error_set(err, -EPROTO, "the filesystem's worker answers nonsense");
    }
    diff->ino = message[1].differences.ino;
    diff->count = message[1].differences.count;
    diff->has_more = message[1].differences.has_more;
    return 0;
}

int control_snapshot_diff(struct control *control, const char *fs_name, struct control_diff *diff,
                          control_difference_fn *visit, void *arg, struct error *err)
{
    CLEANUP(filesystem_unrefp) struct filesystem *fs = filesystem_find(control, fs_name, err);
    CLEANUP(free_ptr) struct worker_message *message = calloc(2, sizeof(*message));
    CLEANUP(worker_unrefp) struct worker *worker = NULL;

    if (!fs)
        return -ENOENT;
    if (!message)
        return error_set(err, -ENOMEM, "out of memory");
    if (strlen(diff->older) >= WORKER_NAME_SIZE ||
        (diff->newer && strlen(diff->newer) >= WORKER_NAME_SIZE))
        return error_set(err, -EINVAL, "a name is too long; 255 bytes are allowed");
    mutex_lock(&fs->snapshots);
    int r = filesystem_running_worker(fs, &worker, err);
    if (r == 0)
        r = ask_page(worker, diff, message, err);
    mutex_unlock(&fs->snapshots);
    return r < 0 ? r : visit_lines(message[1].differences.text, visit, arg, err);
}
