/* file_io.h - whole small files, read with a bound and replaced so that a crash leaves the old
 * one or the new one.
 *
 * Errors     negative errno and a sentence that names the path. -ENOENT: no such file; -EFBIG:
 *            larger than the bound.
 * Ownership  a buf that is returned into is the caller's to release.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

int file_read(const char *path, size_t max, struct buf *ret, struct error *err);

/* Temporary file in the same folder, fsync, rename, fsync of the folder. */
int file_replace(const char *path, struct bytes data, mode_t mode, struct error *err);

/* Overwrites what it holds where it lies, makes that durable, and removes it. 0 if there is none. A
 * disk or filesystem that writes elsewhere (flash, copy on write) may keep the old bytes. */
int file_shred(const char *path, struct error *err);

/* The same of a file that has no name any more, because another took its place; of one that has a
 * name nothing is done. */
int fd_shred_unnamed(int fd);

/* All of it, however many calls that takes. */
int fd_write_all(int fd, struct bytes data);

/* Makes a name that was created, renamed or removed in this folder durable. */
int folder_sync(const char *path, struct error *err);

/* Makes the folder and its missing parents, mode for the new ones; one that is there is left. */
int folder_make(const char *path, mode_t mode, struct error *err);
