/* audit_entry.h - one entry of the audit log as it is stored (docs/formats/audit.md), and the chain
 * that the entries form: each holds the hash of the one before, and its own over all of it.
 *
 * Units      times are nanoseconds since 1970.
 * Errors     negative errno and a sentence. -EBADMSG: it is damaged or was altered.
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "crypto/hash.h"
#include "keyring/wrapped_key.h"

#define AUDIT_ENTRY_MAX 6144u
#define AUDIT_FILESYSTEM_MAX 32u
#define AUDIT_USER_MAX 32u
#define AUDIT_TEXT_SIZE 512u

/* A key of a key server. */
struct audit_entry_key {
    char provider[16]; /* "": none */
    char addresses[WRAPPED_ADDRESSES_SIZE];
    char kms_namespace[WRAPPED_NAME_SIZE];
    char mount_path[WRAPPED_NAME_SIZE];
    char key_name[WRAPPED_NAME_SIZE];
    uint32_t version; /* 0: the server has none, or did not say */
};

struct audit_entry {
    uint64_t number; /* 1, 2, 3, ... */
    int64_t time_ns;
    uint8_t previous[HASH_LEN];
    bool is_user; /* asked for by the user uid; else by cofferd itself */
    uint32_t uid;
    char user[AUDIT_USER_MAX + 1]; /* the name that he logged in with; "": he is uid of this host */
    char operation[24];
    struct uuid uuid; /* of the filesystem; zero: none */
    char filesystem[AUDIT_FILESYSTEM_MAX + 1];
    struct audit_entry_key key;
    struct audit_entry_key old_key; /* of a rewrap: the one before */
    char result[24];                /* "ok", or the name of an errno */
    char text[AUDIT_TEXT_SIZE];
};

/* Who asked for it, as people read it: "user alice", "uid 0", "cofferd". */
#define AUDIT_WHO_SIZE 48u
void audit_entry_who(const struct audit_entry *entry, char ret[static AUDIT_WHO_SIZE]);

/* ret has AUDIT_ENTRY_MAX bytes; ret_hash is what the next entry holds. */
int audit_entry_encode(const struct audit_entry *entry, uint8_t *ret, size_t *ret_len,
                       uint8_t ret_hash[static HASH_LEN], struct error *err);

/* The form only; the hash that it carries goes to ret_hash. */
int audit_entry_decode(struct bytes encoded, struct audit_entry *ret,
                       uint8_t ret_hash[static HASH_LEN], struct error *err);

/* What the first entry of an instance's log holds in place of a hash. */
int audit_chain_begin(const struct uuid *instance, uint8_t ret[static HASH_LEN])
    __attribute__((warn_unused_result));

/* A walk along the chain. Set number to 0 and hash by audit_chain_begin(), or both to what stands
 * before: the last entry of an archive. */
struct audit_chain {
    uint64_t number; /* of the entry before */
    uint8_t hash[HASH_LEN];
    bool is_lost; /* the entry before cannot be read, so its hash is not known */
    uint64_t faults;
};

/* A sentence for each fault: number is the entry at which it shows. */
typedef void audit_fault_fn(uint64_t number, const char *text, void *arg);

/* Looks at the entry that is stored as number, and goes on behind it whatever it found. */
void audit_chain_step(struct audit_chain *chain, uint64_t number, struct bytes encoded,
                      audit_fault_fn *report, void *arg);

/* At the end: the registry's own note of the newest entry. NULL: it is missing. */
struct audit_head {
    uint64_t number;
    uint8_t hash[HASH_LEN];
};
void audit_chain_end(struct audit_chain *chain, const struct audit_head *head,
                     audit_fault_fn *report, void *arg);

/* The entry that stands where others were taken into an archive, all up to the last one: its
 * operation, and its text, from which they are read again. */
#define AUDIT_ARCHIVE_OPERATION "archive"
void audit_anchor_text(uint64_t first, const struct audit_head *last,
                       char ret[static AUDIT_TEXT_SIZE]);
bool audit_anchor_read(const struct audit_entry *entry, struct audit_head *ret_last);

#define AUDIT_HEAD_LEN (8u + HASH_LEN)
void audit_head_encode(const struct audit_head *head, uint8_t ret[static AUDIT_HEAD_LEN]);
int audit_head_decode(struct bytes encoded, struct audit_head *ret, struct error *err);
