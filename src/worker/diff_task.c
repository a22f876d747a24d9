/* What differs between two snapshots, a page at a time. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/diff.h"
#include "worker/task.h"

struct page {
    struct worker_snapshot_diff_reply *reply;
    size_t len;
};

static char kind_letter(enum difference_kind kind)
{
    static const char letters[] = { [DIFFERENCE_ADDED] = '+',
                                    [DIFFERENCE_REMOVED] = '-',
                                    [DIFFERENCE_CHANGED] = 'C',
                                    [DIFFERENCE_RENAMED] = 'R' };

    return letters[kind];
}

/* By the four bits of the mode. */
static char type_letter(uint32_t type)
{
    static const char letters[] = "?pc?d?b?f?l?s???";

    return letters[(type & S_IFMT) >> 12];
}

/* 1: the page is full. A line is never longer than a page. */
static int add_line(const struct difference *difference, void *arg)
{
    struct page *page = arg;
    size_t room = sizeof(page->reply->text) - page->len;
    char *to = page->reply->text + page->len;

    int len = snprintf(
        to, room, "%c\t%s%s\t%c\t%" PRIu64 "\t%s\t%s\n", kind_letter(difference->kind),
        difference->flags & DIFFERENCE_CONTENT ? "c" : "",
        difference->flags & DIFFERENCE_ATTRIBUTES ? "a" : "", type_letter(difference->type),
        difference->ino, difference->path, difference->old_path);
    if (len < 0 || (size_t)len >= room) {
        *to = '\0';
        return 1;
    }
    page->len += (size_t)len;
    return 0;
}

static int open_diff(struct task *task, const char *older, const char *newer, struct error *err)
{
    if (task->diff && volume_diff_is_of(task->diff, older, newer))
        return 0;
    volume_diff_close(task->diff);
    task->diff = NULL;
    return volume_diff_open(task->volume, older, newer, &task->diff, err);
}

int snapshot_diff_task(struct task *task, struct error *err)
{
    const struct worker_snapshot_diff *order = &task->order.snapshot_diff;
    struct worker_snapshot_diff_reply *reply = &task->reply.differences;
    struct difference_position position = { .ino = order->ino, .count = order->count };
    struct page page = { .reply = reply };

    memset(reply, 0, sizeof(*reply));
    int r = open_diff(task, order->older, order->newer[0] != '\0' ? order->newer : NULL, err);
    if (r == 0)
        r = volume_diff_read(task->diff, &position, add_line, &page, err);
    if (r <= 0) { /* what it holds in memory goes with the last page */
        volume_diff_close(task->diff);
        task->diff = NULL;
    }
    if (r < 0)
        return r;
    task->reply.type = WORKER_SNAPSHOT_DIFF_REPLY;
    reply->has_more = r > 0;
    reply->ino = position.ino;
    reply->count = position.count;
    return 0;
}
