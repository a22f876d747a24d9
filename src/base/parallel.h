/* parallel.h - the same work for each of many things, on a few threads at once: for what waits, as
 * for a disk, more than it computes.
 *
 * Ownership  arg is the caller's, and stays valid until all is done.
 * Threads    work is called from several at a time, each index once.
 */
#pragma once

#include <stddef.h>

typedef void parallel_work_fn(void *arg, size_t index);

/* For each index below count, on at most so many threads, the caller's among them; returns when
 * all is done. Threads that cannot be had are done without. */
void parallel_each(size_t count, unsigned threads, parallel_work_fn *work, void *arg);
