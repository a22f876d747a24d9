/* store_process.h - a bucket behind the program coffer-store, and a remote store before that. Any
 * failure in here ends the program.
 */
#pragma once

#include <sys/types.h>

#include "store/s3_store.h"

/* Closing it waits until the program has ended, as it should. */
struct object_store *store_process_open(const char *program, const struct s3_settings *settings);

pid_t store_process_pid(const struct object_store *store);
