#include "store/layers/fault.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "base/thread.h"
#include "store/layers/fault_rules.h"
#include "store/stores/stores.h"

#define CONTROL_FILE "~fault"
#define CONTROL_FILE_MAX (64u * 1024)
#define ZEROS_LEN (64u * 1024)

struct fault_store {
    struct layer base;
    struct mutex lock; /* guards all below, and the own part of all writers */
    struct fault_rules rules;
    char control_path[PATH_MAX]; /* empty: there is no such file */
    struct stat control_seen;    /* all zeros: it was not there */
    struct error control_error;  /* what was wrong with it */
};

struct range {
    struct range *next;
    uint64_t offset;
    uint64_t len;
};

/* What is kept for each writer. */
struct fault_writer {
    struct range *unsynced;
    uint64_t end;   /* of all that was written */
    uint64_t dense; /* bytes of it that are not zero */
    int sync_code;  /* of the first sync that failed */
};

/* --- the control file --- */

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int read_control_locked(struct fault_store *fault, struct error *err) REQUIRES(&fault->lock)
{
    CLEANUP(buf_release) struct buf text = BUF_INIT;

    int r = file_read(fault->control_path, CONTROL_FILE_MAX, &text, err);
    if (r == 0)
        r = fault_rules_parse(buf_bytes(&text), &fault->rules, err);
    return r < 0 ? error_prefix(err, -EINVAL, "the rules in %s", fault->control_path) : 0;
}

/* Reads files with the lock held: it is for tests, and the rules are to be of one moment. */
static int refresh_locked(struct fault_store *fault, struct error *err) REQUIRES(&fault->lock)
{
    struct stat st = { 0 };

    if (fault->control_path[0] == '\0')
        return 0;
    if (stat(fault->control_path, &st) < 0 && errno != ENOENT)
        return error_set(err, -EINVAL, "cannot look at %s: %s", fault->control_path,
                         strerrordesc_np(errno));
    if (!is_same_file(&st, &fault->control_seen)) {
        fault->control_seen = st;
        fault->control_error = (struct error){ 0 };
        fault->rules.count = 0;
        if (st.st_ino != 0)
            (void)read_control_locked(fault, &fault->control_error); /* it is kept there */
    }
    if (fault->control_error.code != 0 && err != NULL)
        *err = fault->control_error;
    return fault->control_error.code;
}

/* --- what a writer would lose --- */

static int note_written(struct fault_store *fault, const struct store_call *call)
{
    struct fault_writer *writer = call->own;
    struct range *range = malloc(sizeof(*range));

    if (range == NULL)
        return -ENOMEM;
    uint64_t dense = 0;
    for (size_t i = 0; i < call->data.len; i++)
        dense += call->data.data[i] != 0;
    mutex_lock(&fault->lock);
    writer->dense += dense;
    *range = (struct range){ writer->unsynced, call->offset, call->data.len };
    writer->unsynced = range;
    if (writer->end < call->offset + call->data.len)
        writer->end = call->offset + call->data.len;
    mutex_unlock(&fault->lock);
    return 0;
}

static struct range *take_unsynced(struct fault_store *fault, struct fault_writer *writer)
{
    mutex_lock(&fault->lock);
    struct range *ranges = TAKE(writer->unsynced);
    mutex_unlock(&fault->lock);
    return ranges;
}

static void free_ranges(struct range *range)
{
    while (range != NULL) {
        struct range *next = range->next;
        free(range);
        range = next;
    }
}

static int overwrite_with_zeros(struct object_writer *writer, const struct range *range,
                                struct error *err)
{
    static const uint8_t zeros[ZEROS_LEN];
    int r = 0;

    for (uint64_t done = 0; done < range->len && r == 0;) {
        uint64_t left = range->len - done;
        size_t len = left < ZEROS_LEN ? (size_t)left : ZEROS_LEN;
        r = object_writer_write(writer, range->offset + done, (struct bytes){ zeros, len }, err);
        done += len;
    }
    return r;
}

/* Writes to ranges that were written before, which only a test may ask of a store. */
static int lose_unsynced(struct fault_store *fault, const struct store_call *call,
                         struct error *err)
{
    struct range *ranges = take_unsynced(fault, call->own);
    int r = 0;

    for (const struct range *range = ranges; range != NULL && r == 0; range = range->next)
        r = overwrite_with_zeros(call->writer, range, err);
    free_ranges(ranges);
    return r;
}

static void writer_release(void *own)
{
    free_ranges(((struct fault_writer *)own)->unsynced);
}

/* --- operations --- */

/* 0: the call is not hit. 1: it is, and *ret_code is the rule's. Negative: the rules are unknown.
 */
static int ask(struct fault_store *fault, enum fault_op op, const char *name, int *ret_code,
               struct error *err)
{
    mutex_lock(&fault->lock);
    int r = refresh_locked(fault, err);
    if (r == 0)
        r = fault_rules_hit(&fault->rules, op, name, ret_code);
    mutex_unlock(&fault->lock);
    return r;
}

static int fail(enum fault_op op, const char *name, int code, struct error *err)
{
    return error_set(err, code, "a rule makes '%s' of object '%s' fail: %s", fault_op_name(op),
                     name, strerrordesc_np(-code));
}

static int read_through(struct fault_store *fault, struct store_call *call, struct error *err)
{
    int code = 0;

    int r = store_call_perform(call, err);
    if (r < 0)
        return r;
    r = ask(fault, FAULT_READ_FLIP, call->name, &code, err);
    if (r > 0 && *call->ret_len > 0)
        call->to[*call->ret_len / 2] ^= 0x10;
    if (r >= 0)
        r = ask(fault, FAULT_READ_SHORT, call->name, &code, err);
    if (r > 0)
        *call->ret_len /= 2;
    return r < 0 ? r : 0;
}

static int write_through(struct fault_store *fault, struct store_call *call, struct error *err)
{
    int code = 0;

    int torn = ask(fault, FAULT_WRITE_TORN, call->name, &code, err);
    if (torn < 0)
        return torn;
    if (torn)
        call->data.len /= 2;
    int r = store_call_perform(call, err);
    if (r == 0 && note_written(fault, call) < 0)
        r = error_set(err, -ENOMEM, "no memory to write object %s", call->name);
    return r == 0 && torn ? fail(FAULT_WRITE_TORN, call->name, code, err) : r;
}

/* What is written meanwhile may or may not be lost by the next one that fails. */
static int sync_through(struct fault_store *fault, struct store_call *call, struct error *err)
{
    int code = 0;

    int lose = ask(fault, FAULT_SYNC_LOSE, call->name, &code, err);
    if (lose < 0)
        return lose;
    if (lose) {
        int r = lose_unsynced(fault, call, err);
        return r < 0 ? r : fail(FAULT_SYNC_LOSE, call->name, code, err);
    }
    struct range *ranges = take_unsynced(fault, call->own);
    int r = store_call_perform(call, err);
    free_ranges(ranges);
    return r;
}

/* Sync, seal and close of a writer are called by one thread at a time: sync_code needs no lock. */
static int sync_or_fail(struct fault_store *fault, struct store_call *call, struct error *err)
{
    struct fault_writer *writer = call->own;
    enum fault_op op = (enum fault_op)call->op;
    int code = writer->sync_code;

    mutex_lock(&fault->lock);
    bool is_large = writer->end > FAULT_LARGE, is_dense = writer->dense > FAULT_LARGE;
    mutex_unlock(&fault->lock);
    int r = code < 0 ? 1 : ask(fault, op, call->name, &code, err);
    if (r == 0 && is_large) {
        op = FAULT_SYNC_LARGE;
        r = ask(fault, op, call->name, &code, err);
    }
    if (r == 0 && is_dense) {
        op = FAULT_SYNC_DENSE;
        r = ask(fault, op, call->name, &code, err);
    }
    if (r > 0)
        r = fail(op, call->name, code, err);
    else if (r == 0)
        r = sync_through(fault, call, err);
    writer->sync_code = r;
    return r;
}

static int fault_around(struct layer *layer, struct store_call *call, struct error *err)
{
    struct fault_store *fault = (struct fault_store *)layer;
    int code = 0;

    if (call->op == STORE_SYNC || call->op == STORE_SEAL)
        return sync_or_fail(fault, call, err);
    int r = ask(fault, (enum fault_op)call->op, call->name, &code, err);
    if (r != 0)
        return r < 0 ? r : fail((enum fault_op)call->op, call->name, code, err);
    if (call->op == STORE_READ)
        return read_through(fault, call, err);
    if (call->op == STORE_WRITE)
        return write_through(fault, call, err);
    return store_call_perform(call, err);
}

/* --- the layer --- */

static void fault_release(struct layer *layer)
{
    free(layer);
}

static const struct layer_kind fault_kind = {
    .around = fault_around,
    .own_size = sizeof(struct fault_writer),
    .own_release = writer_release,
    .release = fault_release,
};

int fault_store_new(struct object_store *inner, struct object_store **ret_store,
                    struct fault_store **ret_fault)
{
    struct fault_store *fault = calloc(1, sizeof(*fault));

    if (fault == NULL)
        return -ENOMEM;
    layer_init(&fault->base, &fault_kind, inner);
    fault->lock = MUTEX_INIT;
    *ret_store = &fault->base.base;
    *ret_fault = fault;
    return 0;
}

void fault_arm(struct fault_store *fault, enum fault_op op, const char *name_prefix, unsigned skip,
               unsigned times, int code)
{
    struct fault_rule rule = { .op = op, .skip = skip, .times = times, .code = code };

    assert(strlen(name_prefix) <= OBJECT_NAME_MAX);
    memcpy(rule.prefix, name_prefix, strlen(name_prefix) + 1);
    mutex_lock(&fault->lock);
    int r = fault_rules_add(&fault->rules, &rule, NULL);
    assert(r == 0);
    (void)r;
    mutex_unlock(&fault->lock);
}

void fault_prefer_sealing(struct fault_store *fault)
{
    layer_prefer_sealing(&fault->base);
}

void fault_disarm(struct fault_store *fault)
{
    mutex_lock(&fault->lock);
    fault->rules.count = 0;
    mutex_unlock(&fault->lock);
}

int fault_dir_store_open(const char *place, struct object_store **ret, struct error *err)
{
    struct object_store *inner = NULL;
    struct fault_store *fault = NULL;

    int r = dir_store_open(place, &inner, err);
    if (r < 0)
        return r;
    r = fault_store_new(inner, ret, &fault);
    if (r < 0) {
        object_store_close(inner);
        return error_set(err, r, "no memory for a store");
    }
    /* A folder that could be opened has a path that fits. */
    (void)snprintf(fault->control_path, sizeof(fault->control_path), "%s/" CONTROL_FILE, place);
    return 0;
}
