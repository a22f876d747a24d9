/* syscall_filter.h - the system calls that a worker needs, and death for any other.
 *
 * No program can be started, no process made, no socket opened, nobody's identity changed.
 *
 * Errors     negative errno and a sentence.
 * Threads    holds for all that the process has.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

int syscall_filter_enter(bool needs_network, struct error *err);
