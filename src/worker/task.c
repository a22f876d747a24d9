#include "worker/task.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int task_init(struct task *task, const char *what)
{
    memset(task, 0, sizeof(*task));
    task->what = what;
    task->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return task->done_fd < 0 ? -errno : 0;
}

void task_release(struct task *task)
{
    if (task->done_fd >= 0)
        (void)close(task->done_fd);
    task->done_fd = -1;
}

static void *run(void *arg)
{
    struct task *task = arg;
    const uint64_t one = 1;

    task->code = task->run(task, &task->err);
    (void)!write(task->done_fd, &one, sizeof(one)); /* cannot fail: the counter was 0 */
    return NULL;
}

int task_start(struct task *task, task_fn *fn, const struct worker_message *order,
               struct error *err)
{
    if (task->is_running)
        return error_set(err, -EBUSY, "%s is running already; wait for its end", task->what);
    task->run = fn;
    task->order = *order;
    task->err = (struct error){ .code = 0 };
    memset(&task->reply, 0, sizeof(task->reply));
    task->reply.type = WORKER_DONE;
    int r = -pthread_create(&task->thread, NULL, run, task);
    if (r < 0)
        return error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r));
    task->is_running = true;
    return 0;
}

void task_finish(struct task *task)
{
    uint64_t counter;

    (void)pthread_join(task->thread, NULL);
    (void)!read(task->done_fd, &counter, sizeof(counter));
    task->is_running = false;
    if (task->code < 0) {
        memset(&task->reply, 0, sizeof(task->reply));
        task->reply.type = WORKER_DONE;
        task->reply.done.code = task->code;
        (void)snprintf(task->reply.done.text, sizeof(task->reply.done.text), "%s", task->err.text);
    }
    task->reply.request = task->order.request;
}
