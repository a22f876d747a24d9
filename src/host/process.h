/* process.h - starting a program with nothing but what it needs, and waiting for it with a bound.
 *
 * Units      milliseconds; negative: for ever.
 * Errors     negative errno and a sentence. -ETIMEDOUT: it still runs.
 * Ownership  who started a process must wait for it.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct process_spec {
    const char *path;        /* looked for in PATH if it has no '/' */
    const char *const *argv; /* ends with NULL */
    const char *const *envp; /* ends with NULL; NULL: the caller's environment */
    int pass_fd;             /* this descriptor, and no other but 0, 1, 2 ... */
    int as_fd;               /* ... becomes this number (3 or more) in it; -1: none */
    bool is_own_session;     /* a terminal's Ctrl-C and hang-up do not reach it */
};

/* Standard input is /dev/null, output and error are the caller's; signals are as at login. */
int process_start(const struct process_spec *spec, pid_t *ret_pid, struct error *err);

/* *ret_status is as waitpid gives it. */
int process_wait(pid_t pid, int timeout_ms, int *ret_status, struct error *err);

/* The folder of the running program, without a final '/'. */
int process_own_folder(char ret[static PATH_MAX], struct error *err);
