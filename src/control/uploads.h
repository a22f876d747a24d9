/* uploads.h - the uploaded snapshots in an object store: which there are, by the heads that stand
 * there in clear, and what each needs of a key server, without asking any; who else uses the store;
 * and what removes a snapshot from it. The store may be one that several instances use
 * (transfer/sharing.h).
 *
 * What a list says of a snapshot is what somebody says who can write to the store: only its keys
 * prove it, when it is verified or downloaded.
 *
 * Errors     negative errno and a sentence. -ENOENT: no such object store, snapshot or entry. What
 *            the store says, or the process that holds it (control/bucket_session.h).
 * Ownership  what a visitor is given is valid during its call.
 * Threads    any.
 */
#pragma once

#include "control/control.h"
#include "keyring/wrapped_key.h"
#include "transfer/locator.h"
#include "transfer/manifest.h"
#include "transfer/reference.h"

/* A key without which it does not open, and what wraps that. */
struct uploaded_key {
    struct uuid origin; /* the filesystem that it was made for */
    uint32_t generation;
    struct rewrap_key key;
    char addresses[WRAPPED_ADDRESSES_SIZE]; /* of the server, for people */
};

struct uploaded_view {
    char locator[LOCATOR_SIZE];
    struct error fault; /* why its head cannot be read, and all below is empty; code 0: it can */
    struct uuid fs;     /* of which it is a snapshot */
    bool has_names;
    char filesystem[MANIFEST_NAME_SIZE];
    char snapshot[MANIFEST_NAME_SIZE];
    char access_point[MANIFEST_NAME_SIZE];
    int64_t created_ns;
    int64_t uploaded_ns;
    uint64_t size;
    uint64_t inodes;
    uint64_t data_len; /* ciphertext of file data, shared with others perhaps */
    struct uploaded_key *keys;
    size_t key_count; /* at least 1, unless there is a fault */
};

/* Returns 0 to go on. */
typedef int uploaded_visit_fn(const struct uploaded_view *view, void *arg);

/* By locator, those behind after (NULL: all), at most limit. One that is damaged is visited as
 * such. */
int control_uploads_each(struct control *control, const char *store, const char *after,
                         size_t limit, uploaded_visit_fn *visit, void *arg, struct error *err);

/* --- who uses the store --- */

enum bucket_use_kind {
    BUCKET_USE_UPLOAD,   /* a running upload, or one that ended unheard */
    BUCKET_USE_SNAPSHOT, /* an uploaded snapshot */
    BUCKET_USE_DOWNLOAD, /* a filesystem whose data is still here */
    BUCKET_USE_REMOVAL,  /* somebody removes something; uploads wait for that */
};

const char *bucket_use_name(enum bucket_use_kind kind);

struct bucket_use {
    enum bucket_use_kind kind;
    struct uuid id;       /* of its reference or mark */
    struct uuid fs;       /* zeros: a removal */
    struct uuid instance; /* who wrote it */
    bool is_ours;         /* that is this instance */
    int64_t since_ns;
    uint64_t names;             /* objects that it keeps there */
    char locator[LOCATOR_SIZE]; /* of a snapshot; else "" */
};

typedef int bucket_use_visit_fn(const struct bucket_use *use, void *arg);

int control_bucket_uses_each(struct control *control, const char *store, bucket_use_visit_fn *visit,
                             void *arg, struct error *err);

/* Of somebody who is dead for certain and will not go on: his reference or mark goes. -EBUSY: it is
 * that of an uploaded snapshot, which is to be removed as such, or of a removal of this instance
 * that goes on by itself. */
int control_bucket_expire(struct control *control, const char *store, const struct uuid *id,
                          struct error *err);

/* --- removal --- */

struct uploads_removed {
    uint64_t snapshots;
    uint64_t objects;
    uint64_t bytes;
    uint64_t kept; /* objects that others need */
};

/* Has a task remove this one, and what nobody needs any more; locator NULL: only that. -ENOENT: the
 * store does not hold it, and nothing was removed. An abort ends the task where it is: what is
 * removed stays so, and the rest of what nobody needs goes with the next removal. */
struct task_view;
int control_uploads_remove_start(struct control *control, const char *store, const char *locator,
                                 struct task_view *ret, struct error *err);

/* The same, and waits for the end of the task. A failure may be that of one that goes on, as soon
 * as what is in its way has passed. */
int control_uploads_remove(struct control *control, const char *store, const char *locator,
                           struct uploads_removed *ret, struct error *err);

/* --- verification --- */

/* Reads all of an uploaded snapshot, or by chance one in so many of its objects, as a download
 * would, in a process of its own that gets its keys; what is altered, missing, exchanged, cut short
 * or an older state is reported. Creates nothing. */
int control_upload_verify(struct control *control, const char *store, const char *locator,
                          unsigned one_in, control_report_fn *report, void *arg,
                          uint64_t *ret_faults, struct error *err);

/* The same as a task: it is done if there is no fault, and else fails, with the first sentences. */
int control_upload_verify_start(struct control *control, const char *store, const char *locator,
                                unsigned one_in, struct task_view *ret, struct error *err);

/* --- keys --- */

struct upload_rewrap_options {
    const char *locator; /* of one; NULL: all */
    bool is_all;
    const struct key_provider_config *target; /* another key server, in use nowhere here; NULL: what
                                                 wraps those filesystems here */
    bool is_dry;
    bool drop_previous; /* what wrapped before goes at once, from what opens by the new wrapping */
};

struct upload_rewrap_row {
    char locator[LOCATOR_SIZE];
    char filesystem[MANIFEST_NAME_SIZE];
    char snapshot[MANIFEST_NAME_SIZE];
    struct rewrap_key from;
    struct rewrap_key to;
    enum rewrap_result result;
    uint32_t dropped; /* earlier wrappings */
    char text[512];   /* why it failed, or which keys stay as they were; else "" */
    bool may_pass;    /* of a failure: of the way to store or key server, not of the head */
};

typedef int upload_rewrap_visit_fn(const struct upload_rewrap_row *row, void *arg);

/* Wraps the key rings in heads anew, each verified before it counts. 0 also if some failed, which
 * their rows say: those are as they were, or as the text says. What is done stays done, and another
 * call goes on. */
int control_uploads_rewrap(struct control *control, const char *store,
                           const struct upload_rewrap_options *options,
                           upload_rewrap_visit_fn *visit, void *arg, struct error *err);

/* The same as a task, which fails if one of them does, and begins anew as long as one of these
 * failures may pass. -EINVAL: for another key server, or dry. */
int control_uploads_rewrap_start(struct control *control, const char *store,
                                 const struct upload_rewrap_options *options, struct task_view *ret,
                                 struct error *err);

/* --- shredding --- */

/* Of a stopped filesystem that is to be shredded next: removes its uploaded snapshots from all
 * object stores that are configured, with the wrapped keys in them. A sentence for each that stays:
 * what another instance needs, a store that was not reached. */
int control_shred_uploads(struct control *control, const char *name, control_report_fn *report,
                          void *arg, uint64_t *ret_removed, struct error *err);

/* control.c, from time to time: finishes removals. */
void uploads_resume(struct control *control);
