/* audit.h - the audit log: every operation on keys, who asked for it, which key of which server,
 * and how it ended. Entries are only added, and chained by hash, so that a gap, a change, an
 * exchange or a cut at the end shows (audit_entry.h, docs/formats/audit.md).
 *
 * Who changes keys adds an entry *before* the change takes effect, and ends if that fails; if the
 * change then fails, a second entry says so. What fails before anything was changed has one entry.
 * So nothing is ever done that the log does not know. Never a secret in an entry.
 *
 * Errors     negative errno and a sentence that says what to do.
 * Ownership  inputs stay the caller's.
 * Threads    any. It takes no lock but the registry's, so it may be called under every other.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "control/journal.h"
#include "control/registry.h"
#include "control/user_record.h"
#include "host/audit_entry.h"

struct audit;

enum audit_operation {
    AUDIT_CREATE, /* a key was drawn and wrapped */
    AUDIT_UNWRAP, /* a key was unwrapped, for a start or a check; without a filesystem: all */
    AUDIT_REWRAP, /* a key was wrapped anew */
    AUDIT_DROP,   /* what wrapped a key before, rings kept aside, unused keys were destroyed */
    AUDIT_REMOVE, /* a filesystem and its wrapped keys were deleted */
    AUDIT_SHRED,  /* the same, and every copy of its wrapped keys was destroyed first */
    AUDIT_ADOPT,  /* a filesystem was brought back */
    AUDIT_REPAIR, /* a key ring or superblock was put back from its other place */
    AUDIT_EXPORT,
    AUDIT_IMPORT,
    AUDIT_KMS_SET,   /* the key server was configured */
    AUDIT_KMS_UNSET, /* its configuration was removed */
    AUDIT_USER_ADD,  /* somebody may log in ... */
    AUDIT_USER_REMOVE,
    AUDIT_USER_ROLE,     /* ... in another role */
    AUDIT_USER_PASSWORD, /* ... with another password */
    AUDIT_ARCHIVE,       /* entries of the log were taken into an archive, and removed */
    AUDIT_UPLOAD,        /* a snapshot, and the wrapped keys, go to an object store */
    AUDIT_DOWNLOAD,      /* an uploaded snapshot becomes one of a filesystem */
    AUDIT_UPLOAD_REMOVE, /* an uploaded snapshot, and the wrapped keys in its head, were deleted */
    AUDIT_RESTORE,       /* a filesystem was put back to one of its snapshots */
    AUDIT_BROKEN,        /* the log itself was found damaged and goes on behind the damage */
    AUDIT_OPERATION_COUNT,
};

/* As entries have it, and docs/formats/audit.md lists it. */
const char *audit_operation_name(enum audit_operation operation);

/* A key of a key server. Texts may be NULL. */
struct audit_key {
    const char *provider;
    const char *addresses;
    const char *kms_namespace;
    const char *mount_path;
    const char *key_name;
    uint32_t version;
};

struct audit_note {
    enum audit_operation operation;
    const struct uuid *uuid; /* NULL: of no filesystem */
    const char *filesystem;  /* its name, or NULL */
    struct audit_key key;
    struct audit_key old_key; /* of a rewrap */
    int result;               /* 0, or the negative errno that it ended with */
    const char *text;         /* what it was for, or why it failed; or NULL */
};

/* NULL gives none. The texts are those of wrapped. */
struct audit_key audit_key_of(const struct wrapped_key *wrapped);

/* Adds them in this order in one step. They are durable when it returns 0. Many at once cost as
 * much as one. */
int audit_add(struct audit *audit, const struct audit_note *notes, size_t count, struct error *err);

/* Who asks for what this thread does next: set by whoever receives a request, and handed on to the
 * threads that work for it. A thread for which nobody set it is cofferd itself. */
struct audit_actor {
    bool is_user;
    uint32_t uid;                 /* of whoever uses the socket of this host, or ... */
    char name[USER_NAME_MAX + 1]; /* ... the name that he logged in with; "": he did not */
};
void audit_act_for(struct audit_actor actor);
struct audit_actor audit_acting_for(void);

/* A log that is found damaged gets an entry that says so, and goes on; ret_damage, of AUDIT_TEXT
 * bytes, then tells what was found, else it is "". */
int audit_open(struct registry *registry, struct audit **ret, char ret_damage[AUDIT_TEXT_SIZE],
               struct error *err);
void audit_close(struct audit *audit); /* NULL is allowed */

/* The newest entry. Kept elsewhere, its number and hash prove later that nothing was cut off. */
void audit_newest(struct audit *audit, struct audit_head *ret);

struct audit_listed {
    struct audit_entry entry;
    uint8_t hash[HASH_LEN];
};

/* In the order of their numbers; the query's type is an operation by its name. *ret is the caller's
 * to free. */
int audit_list(struct audit *audit, const struct journal_query *query, struct audit_listed **ret,
               size_t *ret_count, struct error *err);

struct audit_verdict {
    uint64_t entries;
    uint64_t faults; /* 0: all is as it was written */
    struct audit_head newest;
    struct audit_head base; /* what stands before the first: the last one of an archive; 0: none */
};

/* Walks the whole chain. kept: a number and a hash that were noted at some time, which must still
 * be in it; or NULL. */
int audit_verify(struct audit *audit, const struct audit_head *kept, audit_fault_fn *report,
                 void *arg, struct audit_verdict *ret, struct error *err);

/* What stands before the first entry: number 0, or the last one that was archived. */
void audit_base(struct audit *audit, struct audit_head *ret);

/* Visits the entries behind after, as they are stored, up to the first that is not older than
 * until_ns, and at most limit. */
typedef int audit_stored_fn(uint64_t number, struct bytes stored, void *arg);
int audit_each_stored(struct audit *audit, uint64_t after, int64_t until_ns, size_t limit,
                      audit_stored_fn *visit, void *arg, struct error *err);

/* Removes the entries up to last, which whoever asks has in an archive: an entry that says so comes
 * first. -EINVAL: there is no such entry; -EUCLEAN: the log has faults, and stays as evidence. */
int audit_forget(struct audit *audit, const struct audit_head *last, struct error *err);
