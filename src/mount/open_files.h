/* open_files.h - which inodes are open for writing, and how often: only these can have pages that
 * the kernel has not handed over yet.
 *
 * Errors     -ENOMEM.
 * Threads    any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct open_files;

int open_files_new(struct open_files **ret);
void open_files_free(struct open_files *files);

int open_files_add(struct open_files *files, uint64_t ino);
void open_files_remove(struct open_files *files, uint64_t ino);

/* The inodes at this moment: *ret is the caller's to free. */
int open_files_list(struct open_files *files, uint64_t **ret, size_t *ret_count);
