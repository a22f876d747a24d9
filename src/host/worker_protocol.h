/* worker_protocol.h - all that cofferd and a worker (coffer-fsd) can say to each other.
 *
 * One packet of a SOCK_SEQPACKET Unix socket is one message: version, number, request number,
 * body; integers little-endian. The table in worker_protocol.c lists every message, who may send
 * it, and whether a descriptor comes with it; anything else is refused.
 *
 * cofferd asks, the worker answers with the request's number: DONE, or the reply that belongs to
 * the request. EVENT, UNMOUNTED, MOUNT_ENDED, BUCKET_ENDED, TASK_PROGRESS and TASK_DONE come
 * unasked, with request number 0. A connection that closes changes nothing in the worker: it waits
 * for the next one, and tells that one which tasks have ended. START is accepted once in its life.
 *
 * A worker outlives the cofferd that started it, so a cofferd may meet workers of before. Each
 * tells in STATUS_REPLY which version it speaks (WORKER_SPEAKS), and the table says since which one
 * a message is as it is: cofferd does not send what a worker does not know. A worker answers DONE
 * with -ENOSYS to an order that it does not know, with -EBADMSG to one that it cannot read, and
 * goes on. After a downgrade a cofferd also meets workers of a later version: it passes over what
 * they tell unasked and it does not know, and what stands behind all that it knows of a message.
 *
 * Errors     negative errno and a sentence. -EBADMSG: malformed; -EPROTO: not in the table, or
 *            not for this side to send; -EPROTONOSUPPORT: packets of another form.
 * Ownership  a decoded message owns its keys: worker_message_release(), also after a failure.
 * Threads    any; a socket is read by one thread at a time and written by one at a time.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "keyring/superblock.h"

#define WORKER_PACKET_MAX (64u * 1024u)
#define WORKER_URL_SIZE 4096u
#define WORKER_STORE_SETTINGS_MAX (60u * 1024u)
#define WORKER_TEXT_SIZE 512u
#define WORKER_REPORT_SIZE (32u * 1024u)
#define WORKER_NAME_SIZE 256u
#define WORKER_MANIFEST_LEN 32u
#define WORKER_SNAPSHOTS_MAX 64u /* in one reply */
#define WORKER_DIFF_SIZE (34u * 1024u)
#define WORKER_TASK_KIND_SIZE 16u
#define WORKER_TASK_PHASE_SIZE 64u
#define WORKER_TASK_PARAMETERS_MAX (62u * 1024u)
#define WORKER_TASK_RESULT_SIZE 512u
#define WORKER_SNAPSHOT_MOUNTS_MAX 16u

/* Which messages there are, and what is in them:
 *   1  what says nothing about it
 *   2  STATUS_REPLY tells the version; MOUNT says whether reading changes times; ADD_KEYS,
 *      TASK_SEAL; the event that a key is missing
 *   3  STATUS_REPLY tells that the filesystem is there to be salvaged from
 *   4  SNAPSHOT_FIND
 *   5  KEY_USES
 *
 * Whatever is added, or grows, belongs to a new one. */
#define WORKER_SPEAKS 5u

enum worker_message_type {
    /* cofferd asks */
    WORKER_START = 1,           /* DONE when the filesystem is open, or the reason why not; with a
                                 * descriptor if it has an origin */
    WORKER_MOUNT = 2,           /* with the /dev/fuse descriptor; DONE when it is served */
    WORKER_STATUS = 3,          /* STATUS_REPLY, at any time */
    WORKER_CHECK = 4,           /* CHECK_REPLY, which may take long, or DONE with the failure */
    WORKER_STOP = 5,            /* DONE after the last commit; then the worker ends with 0 */
    WORKER_SET_CAPACITY = 6,    /* DONE */
    WORKER_SNAPSHOT_TAKE = 7,   /* SNAPSHOTS_REPLY with the new one, or DONE with the failure */
    WORKER_SNAPSHOT_UPDATE = 8, /* DONE */
    WORKER_SNAPSHOT_REMOVE = 9, /* DONE */
    WORKER_SNAPSHOT_LIST = 10,  /* SNAPSHOTS_REPLY */
    WORKER_TASK_START = 11,     /* perhaps with a descriptor; DONE when it runs, or runs already */
    WORKER_TASK_STOP = 12,      /* DONE when it was told so; TASK_DONE follows */
    WORKER_VERIFY = 13, /* with an object store's socket, to one not started; CHECK_REPLY or DONE */
    WORKER_SNAPSHOT_MOUNT = 16, /* with the /dev/fuse descriptor; DONE when it is served */
    WORKER_MOUNTS = 17,         /* MOUNTS_REPLY */
    WORKER_RESTORE = 20,        /* not while it is mounted; RESTORE_REPLY, which may take long */
    WORKER_SNAPSHOT_DIFF = 21,  /* SNAPSHOT_DIFF_REPLY, the next of what differs */
    WORKER_SET_CACHE = 24,      /* DONE */
    WORKER_SET_BUCKET = 25, /* with the socket of its bucket's process, to one that was downloaded,
                             * in the place of the one that ended; DONE */
    WORKER_ADD_KEYS = 26,   /* foreign ones that joined its ring since START; DONE */
    WORKER_TASK_SEAL = 27,  /* TASK_SEALED: its parameters, as they may be in the registry */
    WORKER_SNAPSHOT_FIND = 28, /* SNAPSHOTS_REPLY, with one or none */
    WORKER_KEY_USES = 29,      /* KEY_USES_REPLY, or DONE with the failure */
    /* the worker answers */
    WORKER_DONE = 32,
    WORKER_STATUS_REPLY = 33,
    WORKER_CHECK_REPLY = 34,
    WORKER_SNAPSHOTS_REPLY = 35,
    WORKER_RESTORE_REPLY = 40,
    WORKER_SNAPSHOT_DIFF_REPLY = 42,
    WORKER_MOUNTS_REPLY = 41,
    WORKER_TASK_SEALED = 43,    /* as it was asked, but for the parameters */
    WORKER_KEY_USES_REPLY = 44, /* as of volume_foreign_keys() */
    /* the worker tells */
    WORKER_EVENT = 64,
    WORKER_UNMOUNTED = 65, /* the kernel ended the last mount; the worker commits and ends with 0 */
    WORKER_TASK_PROGRESS = 66,
    WORKER_TASK_DONE = 67,
    WORKER_MOUNT_ENDED = 72, /* or one of several; all is committed */
    WORKER_BUCKET_ENDED =
        73, /* its bucket's process; told again to who connects until it has another */
};

enum worker_side {
    WORKER_SIDE_COFFERD,
    WORKER_SIDE_WORKER,
};

enum worker_start_flag {
    WORKER_FLAG_READ_ONLY = 1 << 0,
    WORKER_FLAG_TAKE_OVER = 1 << 1,
    WORKER_FLAG_FORMAT = 1 << 2, /* make an empty filesystem first; refused if one is there */
    WORKER_FLAG_DROP_ARRIVING = 1 << 3, /* no task brings in a snapshot: what arrived of one goes */
    WORKER_FLAG_SALVAGE = 1 << 4,       /* read-only, although records are altered */
};

/* A filesystem that was downloaded, and is not all here: with the socket of its bucket's process.
 */
struct worker_origin {
    uint8_t manifest[32]; /* of the snapshot */
    struct uuid fs;       /* whose it was */
    struct uuid reference;
};

struct worker_start {
    struct uuid uuid;
    struct uuid owner; /* this instance of cofferd */
    char meta_url[WORKER_URL_SIZE];
    char store_url[WORKER_URL_SIZE];
    uint64_t capacity;                  /* bytes; 0: no limit */
    uint64_t cache_bytes;               /* of what is read from a store that no URL opens */
    char cache_folder[WORKER_URL_SIZE]; /* where it lies; "": there is none */
    uint32_t block_size;                /* of WORKER_FLAG_FORMAT */
    uint32_t flags;                     /* enum worker_start_flag */
    uint32_t uid; /* whom a worker that runs as root becomes (sandbox_worker_user) */
    uint32_t gid;
    struct key_set keys;          /* encoding leaves it the caller's; a decoded message owns it */
    struct secret store_settings; /* likewise; of a store that no URL opens (s3_settings_pack) */
    bool has_origin;
    struct worker_origin origin;
};

struct worker_mount {
    char mountpoint[PATH_MAX]; /* for people and the log only */
    bool is_noatime;           /* reading changes no times: the kernel leaves that to who serves */
};

struct worker_snapshot_mount {
    uint64_t snapshot; /* its id */
};

struct worker_mounts_reply {
    bool has_ended; /* the filesystem itself was mounted, and is not any more */
    uint32_t count;
    uint64_t snapshots[WORKER_SNAPSHOT_MOUNTS_MAX];
};

struct worker_mount_ended {
    uint64_t snapshot; /* 0: the filesystem itself */
    int32_t code;      /* how its commit went: 0 or a negative errno */
    char text[WORKER_TEXT_SIZE];
};

struct worker_check {
    bool read_data;
};

struct worker_set_capacity {
    uint64_t capacity;
};

/* Of an uploaded snapshot: all of it, or a sample. */
struct worker_verify {
    uint8_t manifest[WORKER_MANIFEST_LEN];
    uint32_t one_in; /* 1: all */
    uint32_t uid;    /* as of START */
    uint32_t gid;
    struct key_set keys; /* likewise */
};

/* Foreign ones only. Those that the worker has already do no harm. */
struct worker_add_keys {
    struct key_set keys; /* likewise */
};

struct worker_set_cache {
    uint64_t bytes;
};

/* What an order does not use is empty. Of an update: empty stays as it is. Of a restore: new_name
 * and access_point are of the snapshot that keeps what is overwritten; empty: nothing does. */
struct worker_snapshot_order {
    char name[WORKER_NAME_SIZE];
    char new_name[WORKER_NAME_SIZE];
    char access_point[WORKER_NAME_SIZE];
};

struct worker_snapshot_list {
    uint64_t behind; /* this id; 0: from the first one on */
};

/* One that is not being removed. */
struct worker_snapshot_find {
    uint64_t id; /* 0: by its name */
    char name[WORKER_NAME_SIZE];
};

struct worker_snapshot {
    uint64_t id; /* ascending in time */
    int64_t created_ns;
    bool is_removing;
    char name[WORKER_NAME_SIZE];
    char access_point[WORKER_NAME_SIZE];
};

struct worker_snapshots_reply {
    bool has_more;
    uint32_t count;
    struct worker_snapshot items[WORKER_SNAPSHOTS_MAX];
};

/* Work that takes long, of a kind that the table in worker/job.c lists (control/tasks.h). */
struct worker_task_start {
    uint64_t task;
    uint64_t run; /* drawn for each start; one that runs already goes on under it */
    char kind[WORKER_TASK_KIND_SIZE];
    uint32_t parameters_len;
    uint8_t parameters[WORKER_TASK_PARAMETERS_MAX]; /* as its kind has them */
};

struct worker_task_stop {
    uint64_t task;
};

struct worker_task_progress {
    uint64_t task;
    uint64_t run;
    uint64_t total; /* 0: not known yet; in the unit of its kind, as the next one */
    uint64_t done;
    uint64_t moved;                     /* bytes, by this run */
    char phase[WORKER_TASK_PHASE_SIZE]; /* what it does just now, or what it waits for */
};

struct worker_task_done {
    uint64_t task;
    uint64_t run;
    int32_t code;  /* 0 or a negative errno; -ECANCELED: it was told to stop */
    bool is_final; /* of a failure: trying again changes nothing */
    char text[WORKER_TEXT_SIZE];
    char result[WORKER_TASK_RESULT_SIZE]; /* of a success, as its kind has it */
};

/* ino and count: the position behind which to go on, as in fs/diff.h; zeros at first. */
struct worker_snapshot_diff {
    char older[WORKER_NAME_SIZE];
    char newer[WORKER_NAME_SIZE]; /* empty: what the filesystem is now */
    uint64_t ino;
    uint32_t count;
};

/* Each difference is a line of fields that tabs separate: "+" added, "-" removed, "C" changed or
 * "R" renamed; "c" if content and "a" if attributes differ, or nothing; a letter of the type, as
 * find has it; the inode; the path; the old path. Paths have neither tabs nor ends of lines. */
struct worker_snapshot_diff_reply {
    bool has_more;
    uint64_t ino; /* the position behind these */
    uint32_t count;
    char text[WORKER_DIFF_SIZE];
};

struct worker_restore_reply {
    uint64_t inodes; /* that differed */
};

struct worker_done {
    int32_t code; /* 0 or a negative errno */
    char text[WORKER_TEXT_SIZE];
};

struct worker_status_reply {
    bool is_started;
    bool is_mounted;
    bool is_read_only;
    bool has_origin; /* not all of what it was made of is here */
    int32_t pid;
    struct uuid uuid; /* zero before START */
    char mountpoint[PATH_MAX];
    uint64_t capacity;
    uint64_t total; /* bytes; these five as in struct volume_statfs */
    uint64_t free;
    uint64_t used;
    uint64_t files;
    uint64_t files_free;
    uint64_t corruptions; /* events of that kind since START */
    uint32_t generation_count;
    uint32_t generations[KEY_GENERATIONS_MAX]; /* of the keys that it holds */
    uint64_t cache_used;                       /* these three are 0 without a cache */
    uint64_t cache_hits;
    uint64_t cache_misses;
    uint64_t origin_data;      /* sealed bytes of it ... */
    uint64_t origin_data_left; /* ... and those in use that are still only there */
    uint32_t speaks;           /* WORKER_SPEAKS as it was when it was built; not 0 if decoded */
    bool salvages;             /* WORKER_FLAG_SALVAGE */
};

struct worker_check_reply {
    uint64_t faults;
    bool is_cut;                     /* not every fault is in the report */
    char report[WORKER_REPORT_SIZE]; /* a sentence a line */
};

/* The same numbers and order as enum volume_event. */
enum worker_event_kind {
    WORKER_EVENT_CORRUPTION,
    WORKER_EVENT_WRITE_LOST,
    WORKER_EVENT_FULL,
    WORKER_EVENT_ROOM_AGAIN,
    WORKER_EVENT_READ_ONLY,
    WORKER_EVENT_ORIGIN_AWAY,
    WORKER_EVENT_CACHE_OFF,
    WORKER_EVENT_ORIGIN_DONE,
    WORKER_EVENT_ARRIVING_DROPPED,
    WORKER_EVENT_KEY_MISSING,
    WORKER_EVENT_COUNT,
};

struct worker_event {
    enum worker_event_kind kind;
    char text[WORKER_TEXT_SIZE];
};

struct worker_message {
    enum worker_message_type type;
    uint32_t request;
    union {
        struct worker_start start;
        struct worker_mount mount;
        struct worker_snapshot_mount snapshot_mount;
        struct worker_mounts_reply mounts;
        struct worker_mount_ended mount_ended;
        struct worker_check check;
        struct worker_set_capacity set_capacity;
        struct worker_verify verify;
        struct worker_set_cache set_cache;
        struct worker_add_keys add_keys;
        struct worker_snapshot_order snapshot;
        struct worker_snapshot_list snapshot_list;
        struct worker_snapshot_find snapshot_find;
        struct worker_task_start task_start;
        struct worker_task_stop task_stop;
        struct worker_task_progress task_progress;
        struct worker_task_done task_done;
        struct worker_done done;
        struct worker_status_reply status;
        struct worker_check_reply check_reply;
        struct worker_snapshots_reply snapshots;
        struct worker_restore_reply restored;
        struct worker_snapshot_diff snapshot_diff;
        struct worker_snapshot_diff_reply differences;
        struct foreign_key_ids key_uses;
        struct worker_event event;
        struct worker_done unmounted; /* code and text: how the last commit went */
    };
};

/* One row for each message. */
struct worker_message_info {
    enum worker_message_type type;
    const char *name;
    enum worker_side sender;
    bool has_fd;
    bool fd_is_optional;
    uint32_t since; /* the first version that has it as it is now */
};

/* NULL if there is no such message. */
const struct worker_message_info *worker_message_info(unsigned type);

/* Into ret of WORKER_PACKET_MAX bytes, which the caller wipes if there are keys in it. */
int worker_message_encode(const struct worker_message *message, uint8_t *ret, size_t *ret_len,
                          struct error *err);

/* sender: whose packet it is. *ret needs no preparation; release it whatever this returns. After a
 * failure its request number is what the packet says, or 0 if that cannot be read. */
int worker_message_decode(struct bytes packet, enum worker_side sender, struct worker_message *ret,
                          struct error *err);

void worker_message_release(struct worker_message *message);

/* The same over a socket (errors of unix_socket.h too), every buffer wiped. passed_fd: -1, or the
 * descriptor that goes with it, as the table says, which stays the caller's. */
int worker_message_send(int fd, const struct worker_message *message, int passed_fd, int timeout_ms,
                        struct error *err);
/* *ret_fd: the descriptor that came with it, the caller's to close; else -1. */
int worker_message_receive(int fd, enum worker_side sender, struct worker_message *ret, int *ret_fd,
                           int timeout_ms, struct error *err);
