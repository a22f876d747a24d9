/* object_stores.h - the object stores that are configured for snapshots: which there are, whether
 * they work, and what changes them. A name is one store, of whatever kind.
 *
 * Errors     negative errno and a sentence that says what to do. -ENOENT: no such store; -EEXIST:
 *            the name is taken. Those of store/s3_store.h and store/probe.h where one is tried.
 * Ownership  views are copies; a store that is opened is the caller's to close.
 * Threads    any.
 */
#pragma once

#include "control/control.h"
#include "control/store_record.h"

/* One as people see it: without its secret key. */
struct store_view {
    char name[STORE_NAME_MAX + 1];
    enum store_kind kind;
    enum store_site site;
    int64_t created_ns;
    char path[PATH_MAX];
    char hostname[S3_HOSTNAME_SIZE];
    uint16_t port;
    bool is_plain_http;
    char bucket[S3_BUCKET_SIZE];
    char region[S3_REGION_NAME_SIZE];
    char prefix[S3_PREFIX_SIZE];
    char access_key_id[S3_ACCESS_KEY_SIZE];
    bool has_ca_cert;
    unsigned concurrency;
    struct limit_rates rates;
};

/* *ret is the caller's to free; sorted by name. */
int control_store_list(struct control *control, struct store_view **ret, size_t *ret_count,
                       struct error *err);
int control_store_get(struct control *control, const char *name, struct store_view *ret,
                      struct error *err);

/* Which one somebody means: by its name, or the only one of a site, or the only one that there is.
 */
struct store_choice {
    const char *name;
    const char *site;
};

/* What a policy has: a name, or "site:local", "site:remote". */
#define STORE_SITE "site:"
struct store_choice store_choice_read(const char *text);

/* -EINVAL: there are none or several, or both were given. */
int control_store_choose(struct control *control, const struct store_choice *given,
                         char ret[static STORE_NAME_MAX + 1], struct error *err);

/* record holds all of it, the secret key too. Unless verify is false it is tried before anything is
 * kept (store/probe.h). */
int control_store_add(struct control *control, struct store_record *record, bool verify,
                      struct store_view *ret, struct error *err);

/* Changes a copy of the record, whose secret key is empty; one that is given takes the place of the
 * present one. Name and kind stay, and bucket and prefix while filesystems have their data there
 * (-EBUSY). Then as control_store_add(). */
typedef int store_edit_fn(struct store_record *record, void *arg, struct error *err);
int control_store_update(struct control *control, const char *name, store_edit_fn *edit, void *arg,
                         bool verify, struct store_view *ret, struct error *err);

/* Forgets it. What lies in it stays. */
int control_store_remove(struct control *control, const char *name, struct error *err);

/* Tries it, with an object of its own. */
int control_store_check(struct control *control, const char *name, struct error *err);

int control_store_open(struct control *control, const char *name, struct object_store **ret,
                       struct error *err);

/* Where the data of a filesystem is: a folder's URL, or "s3:NAME/PART", a part of the object store
 * NAME that belongs to the filesystem alone. */
#define PLACE_S3 "s3:"
bool place_is_s3(const char *url);
int place_open(struct control *control, const char *url, struct object_store **ret,
               struct error *err);

/* What a worker needs to open it; of a folder nothing. */
int place_pack(struct control *control, const char *url, struct secret *ret, struct error *err);

/* "s3:NAME" becomes the part of a new filesystem of that UUID; -EINVAL: it is not of that form. */
int place_name(const char *given, const struct uuid *uuid, char *ret, size_t size,
               struct error *err);

/* bucket_session.c: its record, with the secret key. */
int object_stores_load(struct control *control, const char *name, struct store_record *ret,
                       struct error *err);

/* control.c: what a crash left of changes. */
int object_stores_tidy(struct control *control, struct error *err);
