/* task_record.h - what the registry knows of one task. Byte for byte in docs/formats/registry.md.
 * No secret, and no name from inside a filesystem but one that was given with the order.
 *
 * Units      times are nanoseconds since 1970; texts end with NUL.
 * Errors     -EBADMSG: not such a record; -EPROTONOSUPPORT: of a later version.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "control/fs_record.h"
#include "control/store_record.h"

#define TASK_KIND_SIZE 16u
#define TASK_PARAMETERS_MAX 4096u
#define TASK_RESULT_SIZE 512u
#define TASK_RECORD_MAX 8192u

/* The numbers are in records and never change. */
enum task_state {
    TASK_RUNNING = 1, /* also while it waits for something */
    TASK_PAUSED = 2,
    TASK_ABORTING = 3, /* what it left is being taken away; then it is failed or aborted */
    TASK_DONE = 4,
    TASK_FAILED = 5,
    TASK_ABORTED = 6,
};

static inline bool task_state_is_end(enum task_state state)
{
    return state >= TASK_DONE;
}

struct task_record {
    uint64_t id; /* 1, 2, 3, ... */
    char kind[TASK_KIND_SIZE];
    enum task_state state;
    struct uuid uuid; /* drawn for it: what its kind may name its work by */
    struct uuid fs;   /* zeros: of no filesystem */
    char filesystem[FS_NAME_MAX + 1];
    char store[STORE_NAME_MAX + 1]; /* "": of no object store */
    uint64_t snapshot;              /* its id; 0: of none */
    int64_t created_ns;
    int64_t ended_ns; /* 0: it has not */
    uint64_t total;   /* in the unit of its kind; 0: not known */
    uint64_t done;
    uint64_t moved;                /* bytes */
    int32_t code;                  /* why it failed, or is going to when what it left is away; 0 */
    char text[512];                /* likewise */
    char result[TASK_RESULT_SIZE]; /* of one that is done */
    uint32_t parameters_len;
    uint8_t parameters[TASK_PARAMETERS_MAX]; /* as its kind has them */
};

int task_record_encode(const struct task_record *record, uint8_t ret[static TASK_RECORD_MAX],
                       size_t *ret_len, struct error *err);
int task_record_decode(struct bytes encoded, struct task_record *ret, struct error *err);
