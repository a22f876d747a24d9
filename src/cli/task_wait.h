/* task_wait.h - what the commands that start a task do with it. */
#pragma once

#include "cli/cli.h"

/* Until it has ended; shows its progress on a terminal, and then its result. -EIO: it failed, or
 * was aborted. */
int task_wait(struct cli *cli, const char *id, struct error *err);

/* For a command with the option --wait that was answered with this task: says that it was started,
 * or waits. */
int task_started(struct cli *cli, const json_t *task, struct error *err);
