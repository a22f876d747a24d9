/* control.h - the control plane: which filesystems there are, where each stands, the key server,
 * what happened and what needs attention. src/api/ is its face to administrators; the .mount
 * socket (mount_socket.h) its face to those who mount.
 *
 * It owns one state folder (brief layout in docs/formats/registry.md). A filesystem that is
 * started has a worker process (worker.h) and a thread here, its keeper (keeper.h), which brings
 * it up, notices its end and brings it up again. Closing leaves the workers running; opening
 * connects to those that live.
 *
 * Units      sizes are bytes, times nanoseconds since 1970.
 * Errors     negative errno and a sentence that says what to do. -ENOENT: no such filesystem.
 *            -EBUSY: not in this state. Those of key_provider.h where the key server is asked.
 * Ownership  views are copies.
 * Threads    any, but open and close.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/alert_book.h"
#include "control/audit.h"
#include "control/events.h"
#include "control/fs_record.h"
#include "control/fs_state.h"
#include "control/kms.h"
#include "control/users.h"
#include "keys/kms_check.h"

struct control;

/* Where a test lets an operation end as a crash would. */
enum control_step {
    STEP_ADD_KEY_PROVED,  /* the key is drawn, wrapped and proved; nothing is stored */
    STEP_ADD_RECORDED,    /* record and ring are in the registry */
    STEP_ADD_FOLDERS,     /* the places of data and metadata are there */
    STEP_ADD_RING_STORED, /* the ring is in the store too */
    STEP_ADD_FORMATTED,   /* the worker has formatted */
    STEP_ADD_READY,       /* the record says that it is ready; the store's ring is one behind */
    STEP_ADOPT_RECORDED,  /* its ring is in the registry; of a recovery copy: not wrapped anew */
    STEP_REMOVE_MARKED,   /* the record says that it is being removed */
    STEP_REMOVE_DELETED,  /* its data is gone */
    STEP_SHRED_REGISTRY,  /* its rings in the registry are destroyed, not yet ... */
    STEP_SHRED_STORE,     /* ... what the store has of keys; now nothing opens it any more */
    STEP_SHRED_SCRUBBED,  /* nor is anything left of them in the registry's file */
    STEP_RING_REGISTRY,   /* a ring is repaired in the registry, not yet ... */
    STEP_RING_STORE,      /* ... in the store */
    STEP_RING_WRITTEN,    /* a changed ring is in the registry, not yet in the store */
    STEP_KEPT_DROPPED,    /* likewise, and the rings of it that were kept aside are gone */
    STEP_SET_STAGED,      /* the new key server is staged; no ring is wrapped by it yet */
    STEP_LOGIN_STORED,    /* a login of its own is stored; no record names it yet */
    STEP_KEY_NAMED,      /* the record names the key that is to wrap it, beside the one that does */
    STEP_KEY_SET,        /* it names the new one only; a login that nobody uses is still there */
    STEP_UPLOAD_WRAPPED, /* the ring of an uploaded snapshot is wrapped anew, not yet in its head */
    STEP_UPLOAD_NOTED,   /* which uploaded snapshot is removed is noted; it is still there */
    STEP_UPLOAD_REMOVED, /* it is gone, not yet what only it needed, nor the mark */
    STEP_RINGS_WRAPPED,  /* all rings are wrapped as wanted; the configuration is the old one */
    STEP_COUNT,
};

/* What a test returns: the operation ends there and undoes nothing. */
#define CONTROL_CRASHED (-ECANCELED)

typedef int control_step_fn(enum control_step step, void *arg);

struct control_config {
    const char *state_dir;      /* exists, mode 0700 */
    const char *registry_url;   /* NULL: LMDB in the state folder */
    const char *worker_program; /* absolute path of coffer-fsd; beside it is coffer-fsd-s3 */
    const char *store_program;  /* absolute path of coffer-store; NULL: beside coffer-fsd */
    bool allows_key_export;     /* control_key_export() is refused without it */
    control_step_fn *on_step;   /* NULL but in tests */
    void *step_arg;
};

int control_open(const struct control_config *config, struct control **ret, struct error *err);

/* Ends every wait inside; calls in progress return -ESHUTDOWN soon. */
void control_shut_down(struct control *control);
void control_close(struct control *control); /* NULL is allowed */

/* One filesystem as people see it. */
struct fs_view {
    char name[FS_NAME_MAX + 1];
    struct uuid uuid;
    enum fs_state state;
    char status_text[512]; /* what is wrong or going on; "" if all is well */
    char lacking[512];     /* which keys of other filesystems it does without; "": it has all */
    uint64_t capacity;
    uint64_t used; /* 0 while no worker is up */
    uint64_t free;
    uint64_t created_ns;
    char kms_type[16];
    char kms_key[WRAPPED_NAME_SIZE];
    uint32_t kms_key_version;
    char kms_namespace[WRAPPED_NAME_SIZE];
    enum wrap_mode kms_cipher_mode;
    bool has_own_kms_key;
    char kms_role[WRAPPED_NAME_SIZE];    /* of a login of its own; "": the instance's */
    char mounted_at[FS_MOUNTPOINT_SIZE]; /* "" if it is not mounted */
    char store_url[FS_URL_SIZE];
    char meta_url[FS_URL_SIZE];
    bool is_read_only;
    bool has_older_worker; /* started by an older version of coffer */
    uint64_t cache_bytes;  /* of what is read from a bucket; 0: none */
    uint64_t cache_used;   /* 0 while no worker is up, as the next two */
    uint64_t cache_hits;   /* blocks, since it was started */
    uint64_t cache_misses;
    char cache_folder[FS_URL_SIZE];        /* "": in the state folder */
    char origin_store[STORE_NAME_MAX + 1]; /* where the rest of one lies that was downloaded; "" */
    uint64_t origin_task;                  /* that fetches it; 0: there is none */
    bool has_origin_left;                  /* the next two are known: a worker is up */
    uint64_t origin_data;                  /* bytes, sealed, that it began with */
    uint64_t origin_data_left;             /* of which so many are only there */
};

/* *ret is the caller's to free; sorted by name. */
int control_list(struct control *control, struct fs_view **ret, size_t *ret_count,
                 struct error *err);
int control_get(struct control *control, const char *name, struct fs_view *ret, struct error *err);

/* Which key of the key server is to wrap, and by which login. NULL: as it is; at first the
 * configured key, its namespace, the login of the instance, which "" names too. */
struct fs_key_change {
    bool use_cluster; /* the configured key, and nothing of its own any more */
    const char *key;
    const char *kms_namespace;
    const char *role_id;            /* of an AppRole in that namespace */
    const struct secret *secret_id; /* of that role; NULL: it is known */
};

struct fs_add {
    const char *name;
    uint64_t capacity;     /* 0: as much as the store has */
    const char *store_url; /* NULL: in the state folder */
    const char *meta_url;
    const uint64_t *cache_bytes; /* NULL: the usual size; else only for a store in a bucket */
    const char *cache_folder;    /* NULL: in the state folder */
    bool allow_no_kms;
    struct fs_key_change kms;
    /* Of an uploaded snapshot, which it shows, and the object store with it; NULL: it is empty. */
    const char *locator;
    const char *object_store;
    bool is_read_only_store; /* nothing is written there: others may remove what is needed of it */
};

/* Draws a key, has it wrapped, proves that it can be unwrapped, stores the ring in both places
 * and formats. On failure nothing is left; after a crash in the middle it can be started, which
 * completes it, or removed. */
int control_add(struct control *control, const struct fs_add *what, struct fs_view *ret,
                struct error *err);

/* How much it may hold, from now on; 0: no limit. One that holds more takes nothing new until it
 * holds less. */
int control_set_capacity(struct control *control, const char *name, uint64_t bytes,
                         struct fs_view *ret, struct error *err);

/* How much of what is read from its bucket may lie on a local disk, from now on; 0: nothing. */
int control_set_cache(struct control *control, const char *name, uint64_t bytes,
                      struct fs_view *ret, struct error *err);

/* In which object store the snapshot is that it was downloaded from, and of which not all is here,
 * from its next start on; one that waits for that is started at once. -ENOENT: there is no such
 * filesystem, or no such object store. */
int control_set_origin(struct control *control, const char *name, const char *object_store,
                       struct fs_view *ret, struct error *err);

struct fs_adopt {
    const char *name;
    const char *meta_url;
    const char *store_url;
    struct bytes keys; /* what a recovery copy holds, decrypted; empty: the key server unwraps */
    bool allow_no_kms; /* as control_key_import() */
};

/* Brings back a filesystem that this instance does not know, from its store and metadata. If a key
 * of its own wraps it, that stays so; a recovery copy is wrapped anew by the configured one. On
 * failure nothing is left. */
int control_adopt(struct control *control, const struct fs_adopt *adopt, struct fs_view *ret,
                  struct error *err);

/* Deletes its data and keys; only of a stopped one. */
int control_remove(struct control *control, const char *name, struct error *err);

/* A key of a key server, as far as it tells one from another. */
struct rewrap_key {
    char type[16];
    char kms_namespace[WRAPPED_NAME_SIZE];
    char mount_path[WRAPPED_NAME_SIZE];
    char key[WRAPPED_NAME_SIZE];
    uint32_t version; /* 0: there are none */
};

#define SHRED_NAMES_SIZE 300u

/* One that wrapped keys of a filesystem that was shredded, and stays in the key server. */
struct shred_key {
    struct rewrap_key key;
    size_t users;                 /* other filesystems of this instance whose keys it wraps ... */
    char names[SHRED_NAMES_SIZE]; /* ... and their names, separated by commas; perhaps cut */
};

struct shred_report {
    struct shred_key *keys; /* sorted by key */
    size_t count;
};

void shred_report_release(struct shred_report *report);

/* Like control_remove(), but first destroys every copy of its wrapped keys that this instance has,
 * so that its data cannot be opened any more, whoever may use the key server. Asks no key server,
 * and can be repeated after any failure; the next start of cofferd finishes what a crash
 * interrupted. */
int control_shred(struct control *control, const char *name, struct shred_report *ret,
                  struct error *err);

/* Returns when the worker is up with its keys, or with what is in the way; one that was not
 * started before is then stopped again. */
struct start_options {
    bool take_over; /* write although the store knows a later state or another owner */
    bool salvage;   /* read-only, although records are altered: until it is stopped */
};

/* options may be NULL. -EINVAL: both; -EBUSY: it is up, and not to salvage from. */
int control_start(struct control *control, const char *name, const struct start_options *options,
                  struct fs_view *ret, struct error *err);

/* Ends it: returns when the worker has made its last commit and is gone. A mounted filesystem
 * is refused; whoever mounted it unmounts it first. */
int control_stop(struct control *control, const char *name, struct error *err);

/* Hands the mounted descriptor to the worker. fuse_fd stays the caller's to close. */
int control_mount(struct control *control, const char *name, const char *mountpoint, int fuse_fd,
                  struct error *err);

/* Compares everything; report gets a sentence for each fault. Works mounted and stopped (then
 * with a worker for the purpose). */
typedef void control_report_fn(const char *text, void *arg);
int control_check(struct control *control, const char *name, bool read_data,
                  control_report_fn *report, void *arg, uint64_t *ret_faults, struct error *err);

#define CONTROL_NAME_SIZE 256u

struct control_snapshot {
    uint64_t id; /* ascending in time */
    int64_t created_ns;
    bool is_removing; /* it is not seen any more, and its room comes back */
    char name[CONTROL_NAME_SIZE];
    char access_point[CONTROL_NAME_SIZE];
};

/* The oldest first; works stopped too (then with a worker for the purpose). *ret is the caller's to
 * free. */
int control_snapshot_list(struct control *control, const char *name, struct control_snapshot **ret,
                          size_t *ret_count, struct error *err);

/* Of a started filesystem (-EBUSY: it is not): takes one that holds every write that had returned.
 * access_point NULL: one by the time. -EEXIST: name or access point is in use. */
int control_snapshot_add(struct control *control, const char *fs_name, const char *name,
                         const char *access_point, struct control_snapshot *ret, struct error *err);
/* NULL: stays as it is. */
int control_snapshot_update(struct control *control, const char *fs_name, const char *name,
                            const char *new_name, const char *access_point, struct error *err);
int control_snapshot_remove(struct control *control, const char *fs_name, const char *name,
                            struct error *err);

/* What differs between two snapshots of a started filesystem, some at a time. */
struct control_difference {
    const char *kind; /* "added", "removed", "changed", "renamed" */
    bool content;
    bool attributes;
    const char *type; /* "file", "directory", ... */
    uint64_t ino;
    const char *path; /* safe to print: fs/diff.h */
    const char *old_path;
};

struct control_diff {
    const char *older;
    const char *newer; /* NULL: what the filesystem is now */
    uint64_t ino;      /* the position, which follows; zeros at first */
    uint32_t count;
    bool has_more;
};

typedef int control_difference_fn(const struct control_difference *difference, void *arg);
int control_snapshot_diff(struct control *control, const char *fs_name, struct control_diff *diff,
                          control_difference_fn *visit, void *arg, struct error *err);

/* Puts a stopped filesystem (-EBUSY: it is not) back to one of its snapshots. keep_as (NULL:
 * nothing is kept) is the name of a snapshot of what is overwritten, with this access point (NULL:
 * by the time). *ret_inodes: how many files and folders differed. Once it has begun, the next start
 * goes on with what a failure interrupted. */
struct control_restore {
    const char *snapshot;
    const char *keep_as;
    const char *keep_access_point;
};

int control_restore(struct control *control, const char *fs_name,
                    const struct control_restore *order, uint64_t *ret_inodes, struct error *err);

/* Mounts one by itself, read-only, of a started filesystem: hands the mounted descriptor to the
 * worker. fuse_fd stays the caller's to close. -ENOENT: there is no such snapshot; -EBUSY: it is
 * mounted already. While it is, it is not removed, and its filesystem not stopped (-EBUSY). */
int control_snapshot_mount(struct control *control, const char *fs_name, const char *name,
                           const char *mountpoint, int fuse_fd, struct error *err);
/* Where it is mounted; false: nowhere, and ret is "". */
bool control_snapshot_mounted_at(struct control *control, const char *fs_name, uint64_t snapshot,
                                 char ret[static FS_MOUNTPOINT_SIZE]);

void control_kms_status(struct control *control, struct kms_status *ret);

/* Goes through all that coffer needs of the configured key server, step by step, and reports each
 * (keys/kms_check.h), down to whether the keys of all filesystems that it wrapped open. Changes
 * nothing. */
int control_kms_check(struct control *control, kms_check_report_fn *report, void *arg,
                      struct error *err);
/* The same without the filesystems. */
int control_kms_check_server(struct control *control, kms_check_report_fn *report, void *arg,
                             struct error *err);

struct kms_set_options {
    const struct key_provider_config *config;
    bool converts; /* those with a key of their own are wrapped by the configured key, too */
};

/* Of a filesystem: keys that do not open with what is set now, and why. */
struct kms_set_left {
    char name[FS_NAME_MAX + 1];
    char text[512];
};

struct kms_set_report {
    size_t rewrapped; /* filesystems whose keys were wrapped anew */
    struct kms_set_left *left;
    size_t left_count;
};

void kms_set_report_release(struct kms_set_report *report);

/* Verifies the configuration live and that every filesystem's keys open with it, or do with the one
 * in use; those, and those of local keys, are wrapped anew; then it is used. A failure that says so
 * has left it half done: everything opens, and it is continued from time to time, or by calling it
 * again, or undone by setting the former. After any other nothing has changed, and the sentence
 * lists the filesystems in the way. *ret_report is to be released, whatever is returned. */
int control_kms_set(struct control *control, const struct kms_set_options *options,
                    struct kms_status *ret, struct kms_set_report *ret_report, struct error *err);

/* What became of the key of one filesystem. */
enum rewrap_result {
    REWRAP_DONE,
    REWRAP_UNCHANGED, /* it was wrapped like that already */
    REWRAP_PLANNED,   /* a dry run: it opens, and would be wrapped anew */
    REWRAP_FAILED,    /* it is wrapped as it was, or as text says */
};

struct rewrap_row {
    char name[FS_NAME_MAX + 1];
    struct rewrap_key from;
    struct rewrap_key to;
    enum rewrap_result result;
    uint32_t dropped; /* earlier wrappings of its generations, or of a dry run: to be dropped ... */
    uint32_t kept;    /* ... and rings that had been kept aside */
    char text[512];   /* why it failed; "" otherwise */
};

struct rewrap_report {
    struct rewrap_row *rows; /* sorted by name */
    size_t count;
    size_t failed;
    struct rewrap_key *needed; /* what wraps or wrapped keys, as far as this instance knows */
    size_t needed_count;       /* sorted by key */
    size_t left_alone;         /* filesystems with a key of their own that were not asked for */
    char remains[512];         /* why what was dropped may still be in the registry's file; or "" */
};

void rewrap_report_release(struct rewrap_report *report);

struct rewrap_options {
    const char *name;        /* one filesystem only; NULL: all */
    const char *new_key_uid; /* KMIP: the key that wraps from now on; NULL: the configured one */
    bool is_rotation;        /* it is for all: a KMIP server must be given a new key */
    bool is_dry;             /* nothing is changed */
    bool with_own_keys;      /* those too that have a key of their own, each by that one ... */
    bool converts;           /* ... or by the configured one, which is theirs from then on */
    bool drop_previous;      /* the former key is in wrong hands: what it wrapped is destroyed */
};

/* Has the keys wrapped by the newest version of the configured key, or by the new one, each
 * verified before it counts. 0 also if some failed, which the report says; then what is done stays
 * done, the configuration stays, every filesystem opens as before, and another call goes on. What
 * wrapped before is dropped only if what wraps now was read back from its place and unwrapped. */
int control_kms_rewrap(struct control *control, const struct rewrap_options *options,
                       struct rewrap_report *ret, struct error *err);

/* Has the keys of one wrapped by another key of the configured server from now on, or by the
 * configured one; or asked for by another login; all of it verified before it counts. After a
 * failure it is as it was. */
int control_set_kms_key(struct control *control, const char *name,
                        const struct fs_key_change *change, struct fs_view *ret, struct error *err);

/* Which keys of key servers, of those that ever wrapped one of this instance, no key ring of it and
 * no uploaded snapshot in its object stores needs, as of a time; others may. *ret is the caller's
 * to free. -ENOENT: that is not known. */
int control_unneeded_keys(struct control *control, struct rewrap_key **ret, size_t *ret_count,
                          int64_t *ret_as_of_ns, struct error *err);

/* Forgets the key server. Filesystems whose keys it wraps are in the way (-EBUSY), unless a
 * downgrade is allowed: then local keys wrap them from now on, but for those of others that it
 * refuses, which *ret tells of. That is to be released, whatever is returned. */
int control_kms_unset(struct control *control, bool allow_downgrade, struct kms_set_report *ret,
                      struct error *err);

/* A recovery copy of all keys of a filesystem, encrypted to the certificates (PEM), each of which
 * is enough to open it; ret is CMS in PEM form. ret_lacking: which keys of other filesystems it
 * does not have, because the key server refuses them; "": it has all. -EPERM: this instance does
 * not allow it. */
#define KEY_LACKING_SIZE 512u
int control_key_export(struct control *control, const char *name, struct bytes certificates,
                       struct buf *ret, char ret_lacking[static KEY_LACKING_SIZE],
                       struct error *err);

/* What a recovery copy holds, decrypted: the keys, if they are those of the filesystem, are wrapped
 * by the configured key server, or by a local key if that is allowed and no key server answers.
 * After a failure the filesystem is as it was. */
int control_key_import(struct control *control, const char *name, struct bytes keys,
                       bool allow_no_kms, struct fs_view *ret, struct error *err);

/* A key of another filesystem in a filesystem's key ring. */
struct foreign_key_view {
    struct uuid origin;
    uint32_t generation;
    struct rewrap_key wrapped_by;
    bool is_used; /* something of the filesystem is sealed under it */
    bool is_dropped;
};

struct foreign_keys_report {
    uint32_t count;
    struct foreign_key_view items[KEY_GENERATIONS_MAX];
};

/* Takes those that nothing of a started filesystem is sealed under out of its key ring, unless
 * is_dry; *ret tells of all. -EBUSY: it is not started, not all of it is here, or a snapshot is
 * being brought into it; then nothing was changed. */
int control_key_drop_unused(struct control *control, const char *name, bool is_dry,
                            struct foreign_keys_report *ret, struct error *err);

/* Gets the key ring back from an uploaded snapshot of the filesystem, if it does not open and
 * verifies with the filesystem's superblock: of that locator, or (NULL) the newest that does.
 * ret_locator: which one. -EALREADY: it opens. -ENOENT: the store holds no such snapshot. */
#define CONTROL_LOCATOR_SIZE 65u
int control_key_repair(struct control *control, const char *name, const char *store,
                       const char *locator, char ret_locator[static CONTROL_LOCATOR_SIZE],
                       struct error *err);

/* What a configuration that somebody gives needs of this instance, before it is set. */
int control_kms_complete(struct control *control, struct key_provider_config *config,
                         struct error *err);

/* The CA certificates (PEM) against which Vault's certificate is checked in place of the system's;
 * empty: the system's. Setting them asks Vault at once: *ret says how that went. */
int control_ca_cert(struct control *control, struct buf *ret, struct error *err);
int control_ca_cert_set(struct control *control, struct bytes pem, struct kms_status *ret,
                        struct error *err);

/* What needs attention now, also what is muted. *ret is the caller's to free. */
int control_alerts(struct control *control, struct alert **ret, size_t *ret_count,
                   struct error *err);

/* Until when the certificate of the HTTPS server is good, in seconds since 1970: for an alert in
 * time. */
void control_watch_https_certificate(struct control *control, int64_t until_s);

/* Mutes all alerts of a type until then; one that has passed unmutes. -ENOENT: no such type. */
int control_mute_alert(struct control *control, const char *type, int64_t until_ns,
                       const char *comment, struct error *err);

/* Removes entries of the audit log that are in an archive, as audit_forget(). */
int control_audit_forget(struct control *control, const struct audit_head *last, struct error *err);
void control_instance(struct control *control, struct uuid *ret);

struct events *control_events(struct control *control);
struct audit *control_audit(struct control *control);
struct users *control_users(struct control *control);
