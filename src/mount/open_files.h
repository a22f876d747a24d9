/* open_files.h - which inodes are open for writing, and how often: only these can have pages that
 * the kernel has not handed over yet; and of which of them pages were lost, as a write-back
 * failed: the kernel tells who wrote once, and goes on showing them.
 *
 * Errors     -ENOMEM.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct open_files;

int open_files_new(struct open_files **ret);
void open_files_free(struct open_files *files);

int open_files_add(struct open_files *files, uint64_t ino);
/* True if it was the last one, and pages were lost. */
bool open_files_remove(struct open_files *files, uint64_t ino);

void open_files_note_loss(struct open_files *files, uint64_t ino);
bool open_files_has_loss(struct open_files *files, uint64_t ino);
void open_files_end_loss(struct open_files *files, uint64_t ino);

/* The inodes at this moment: *ret is the caller's to free. */
int open_files_list(struct open_files *files, uint64_t **ret, size_t *ret_count);
