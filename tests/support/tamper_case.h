/* tamper_case.h - a volume with a record of every kind and a few segments, closed, for tests that
 * alter what it stored; it is then opened, read-only unless the test says otherwise, and read.
 *
 * What is tried out of very many is drawn with a seed, which is printed: COFFER_SEED in the
 * environment repeats it. With COFFER_DEEP in it, all is tried.
 *
 * Every call asserts that it succeeds unless it returns something else.
 */
#pragma once

#include "tests/support/volume_case.h"

#define TAMPER_FILES 4u
#define TAMPER_BLOCK 512u /* the volume's block size */

struct tamper_file {
    const char *name;
    uint64_t ino;
    uint8_t *data;
    size_t len;
};

struct tamper_case {
    struct volume_case volume;
    struct tamper_file files[TAMPER_FILES];
    uint64_t unlinked; /* an inode that was in use when the volume was closed */
    uint64_t random;
    bool is_deep;
};

/* files: 0 one block of which was overwritten; 1 in another segment; 2 in a third one, to which
 * its blocks were moved after a failed sync; 3 inline. */
void tamper_case_new(struct tamper_case *ret);
void tamper_case_end(struct tamper_case *tamper);

/* Closes it if it is open, and opens it as it is stored now. */
void tamper_reopen(struct tamper_case *tamper);
int tamper_try_reopen(struct tamper_case *tamper);
void tamper_close(struct tamper_case *tamper);

uint32_t tamper_draw(struct tamper_case *tamper, uint32_t below);

/* Reads all of the file: 0 if it holds what was written, else -EIO, with an event. Anything else
 * fails the test. */
int tamper_read(struct tamper_case *tamper, const struct tamper_file *file);
/* The same of len bytes at offset. */
int tamper_read_part(struct tamper_case *tamper, const struct tamper_file *file, uint64_t offset,
                     size_t len);
/* Faults that a check finds, which are not printed; with data or without. */
uint64_t tamper_faults(struct tamper_case *tamper, bool read_data);

/* The file in the store's folder of an object. */
#define TAMPER_PATH_MAX 160u
void tamper_object_path(const struct tamper_case *tamper, const char *name,
                        char ret[static TAMPER_PATH_MAX]);
void tamper_flip(const char *path, uint64_t offset, uint8_t mask);

/* Copies of what the closed volume stored, and back from there: its metadata and its store, or its
 * metadata alone, which may also be copied while it is open and nothing is written to it. There is
 * room for copies of several names. */
void tamper_keep(const struct tamper_case *tamper, const char *name);
void tamper_keep_metadata(const struct tamper_case *tamper, const char *name);
void tamper_put_back(struct tamper_case *tamper, const char *name);
void tamper_put_back_metadata(struct tamper_case *tamper, const char *name);
