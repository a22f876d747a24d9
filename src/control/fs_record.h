/* fs_record.h - what the registry knows of one filesystem, but for its key ring. Byte for byte in
 * docs/formats/registry.md. Nothing in it is secret.
 *
 * Units      sizes are bytes, times nanoseconds since 1970; texts end with NUL.
 * Errors     -EBADMSG: not such a record; -EPROTONOSUPPORT: of a later version.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "control/store_record.h"
#include "keyring/key_ring.h"

#define FS_NAME_MAX 32u
#define FS_URL_SIZE 1024u
#define FS_MOUNTPOINT_SIZE 4096u
#define FS_BLOCK_SIZE (4u * 1024u)
#define FS_CAPACITY_MIN (1ull << 30)
#define FS_CACHE_MIN (16ull << 20)
#define FS_CACHE_DEFAULT (1ull << 30)
#define FS_RECORD_MAX (12u * 1024u)
#define FS_MANIFEST_LEN 32u /* of its SHA-256 */

/* How far its life has come; kept on disk so that a crash in the middle of an addition or a
 * removal is seen and finished. */
enum fs_phase {
    FS_PHASE_CREATING = 1, /* its ring is in the registry; perhaps no more of it exists */
    FS_PHASE_READY = 2,
    FS_PHASE_REMOVING = 3,  /* its data is being deleted; it never comes back */
    FS_PHASE_SHREDDING = 4, /* likewise, and its wrapped keys are destroyed before */
};

/* Which key of the key server wraps those of a filesystem, and who asks for it. */
struct fs_kms_key {
    char key[WRAPPED_NAME_SIZE];           /* "": the configured one */
    char kms_namespace[WRAPPED_NAME_SIZE]; /* where that is; "": in the configured one */
    char role_id[WRAPPED_NAME_SIZE];       /* of an AppRole there; "": the login of the instance */
};

/* Where one that was downloaded came from, as long as not all of it is here. */
struct fs_origin {
    char store[STORE_NAME_MAX + 1]; /* an object store of this instance */
    uint8_t manifest[FS_MANIFEST_LEN];
    struct uuid fs; /* whose snapshot it was */
    struct uuid reference;
};

struct fs_record {
    char name[FS_NAME_MAX + 1];
    struct uuid uuid;
    enum fs_phase phase;
    uint64_t capacity; /* 0: as much as the store has */
    uint64_t created_ns;
    char store_url[FS_URL_SIZE];
    char meta_url[FS_URL_SIZE];
    struct uuid owner;  /* what its superblock calls the owner */
    bool has_own_store; /* in the state folder, made by us and deleted as a whole */
    bool has_own_meta;
    bool is_wanted;                      /* started: comes back by itself */
    bool lacks_keys;                     /* foreign ones of its ring did not open the last time */
    uint32_t mount_flags;                /* MS_... of its last mount, for the next one */
    char mountpoint[FS_MOUNTPOINT_SIZE]; /* where it is to be mounted when started; "" if not */
    struct fs_kms_key own;               /* of its own, if it has one */
    bool has_next; /* while a change of that is under way, or was interrupted: */
    struct fs_kms_key next;
    uint64_t cache_bytes;           /* of what is read from a bucket, on a local disk; 0: none */
    char cache_folder[FS_URL_SIZE]; /* where; "": in the state folder */
    bool has_origin;
    struct fs_origin origin;
    uint32_t check_count; /* of each generation, as first seen; they never change */
    struct key_check checks[KEY_GENERATIONS_MAX];
};

static inline bool fs_record_has_own_key(const struct fs_record *record)
{
    return record->own.key[0] != '\0';
}

static inline bool fs_record_has_own_login(const struct fs_record *record)
{
    return record->own.role_id[0] != '\0';
}

static inline bool fs_record_is_going(const struct fs_record *record)
{
    return record->phase == FS_PHASE_REMOVING || record->phase == FS_PHASE_SHREDDING;
}

/* 0 if name is 1 to FS_NAME_MAX characters of [A-Za-z0-9._-], does not begin with a dash and is
 * not "." or ".."; else -EINVAL and a sentence. */
int fs_name_check(const char *name, struct error *err);

/* Into ret of FS_RECORD_MAX bytes. */
int fs_record_encode(const struct fs_record *record, uint8_t *ret, size_t *ret_len,
                     struct error *err);
int fs_record_decode(struct bytes encoded, struct fs_record *ret, struct error *err);
