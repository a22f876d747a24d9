#include <string.h>

#include "worker/task.h"

void check_report_add(const char *text, void *arg)
{
    struct check_report *report = arg;
    size_t len = strlen(text);

    if (report->len + len + 2 > sizeof(report->reply->report)) {
        report->reply->is_cut = true;
        return;
    }
    memcpy(report->reply->report + report->len, text, len);
    report->len += len;
    report->reply->report[report->len++] = '\n';
    report->reply->report[report->len] = '\0';
}

int check_task(struct task *task, struct error *err)
{
    struct check_report report = { .reply = &task->reply.check_reply };

    memset(report.reply, 0, sizeof(*report.reply));
    task->reply.type = WORKER_CHECK_REPLY;
    return volume_check(task->volume, task->order.check.read_data, check_report_add, &report,
                        &report.reply->faults, err);
}

int key_uses_task(struct task *task, struct error *err)
{
    memset(&task->reply.key_uses, 0, sizeof(task->reply.key_uses));
    task->reply.type = WORKER_KEY_USES_REPLY;
    return volume_foreign_keys(task->volume, &task->reply.key_uses, err);
}
