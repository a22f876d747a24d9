#include "worker/check_task.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int check_task_init(struct check_task *task)
{
    memset(task, 0, sizeof(*task));
    task->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return task->done_fd < 0 ? -errno : 0;
}

void check_task_release(struct check_task *task)
{
    if (task->done_fd >= 0)
        (void)close(task->done_fd);
    task->done_fd = -1;
}

static void add_line(const char *text, void *arg)
{
    struct check_task *task = arg;
    size_t len = strlen(text);

    if (task->report_len + len + 2 > sizeof(task->reply.report)) {
        task->reply.is_cut = true;
        return;
    }
    memcpy(task->reply.report + task->report_len, text, len);
    task->report_len += len;
    task->reply.report[task->report_len++] = '\n';
    task->reply.report[task->report_len] = '\0';
}

static void *run(void *arg)
{
    struct check_task *task = arg;
    const uint64_t one = 1;

    task->code = volume_check(task->volume, task->read_data, add_line, task, &task->reply.faults,
                              &task->err);
    (void)!write(task->done_fd, &one, sizeof(one)); /* cannot fail: the counter was 0 */
    return NULL;
}

int check_task_start(struct check_task *task, struct volume *volume, bool read_data,
                     uint32_t request, struct error *err)
{
    if (task->is_running)
        return error_set(err, -EBUSY, "a check is running already; wait for its end");
    task->volume = volume;
    task->read_data = read_data;
    task->request = request;
    task->err = (struct error){ .code = 0 };
    memset(&task->reply, 0, sizeof(task->reply));
    task->report_len = 0;
    int r = -pthread_create(&task->thread, NULL, run, task);
    if (r < 0)
        return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    task->is_running = true;
    return 0;
}

void check_task_finish(struct check_task *task, struct worker_message *ret)
{
    uint64_t counter;

    (void)pthread_join(task->thread, NULL);
    (void)!read(task->done_fd, &counter, sizeof(counter));
    task->is_running = false;
    memset(ret, 0, sizeof(*ret));
    ret->request = task->request;
    if (task->code < 0) {
        ret->type = WORKER_DONE;
        ret->done.code = task->code;
        (void)snprintf(ret->done.text, sizeof(ret->done.text), "%s", task->err.text);
    } else {
        ret->type = WORKER_CHECK_REPLY;
        ret->check_reply = task->reply;
    }
}
