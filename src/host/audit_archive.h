/* audit_archive.h - a file with entries that were taken out of an audit log, whose chain can be
 * verified without cofferd; byte for byte in docs/formats/audit.md.
 *
 * Errors     -EBADMSG: not such a file, or cut; -EPROTONOSUPPORT: of a later version.
 * Ownership  what is written into a buf is the caller's.
 */
#pragma once

#include "host/audit_entry.h"

#define AUDIT_ARCHIVE_MAX ((size_t)2 << 30)
#define AUDIT_ARCHIVE_BEGIN_LEN (8u + 4u + UUID_LEN + AUDIT_HEAD_LEN)
#define AUDIT_ARCHIVE_END_LEN (4u + AUDIT_HEAD_LEN)

struct audit_archive {
    struct uuid instance;
    struct audit_head begin; /* what stands before its first entry */
    struct audit_head end;   /* its last entry */
    uint64_t entries;
    uint64_t faults;
};

/* In front of the entries: instance and begin. Each entry then follows its length (u32). */
void audit_archive_begin(const struct audit_archive *archive,
                         uint8_t ret[static AUDIT_ARCHIVE_BEGIN_LEN]);
void audit_archive_end(const struct audit_archive *archive,
                       uint8_t ret[static AUDIT_ARCHIVE_END_LEN]);

/* Walks the chain in it. kept: a number and hash that must be in it, or NULL. */
int audit_archive_verify(struct bytes file, const struct audit_head *kept, audit_fault_fn *report,
                         void *arg, struct audit_archive *ret, struct error *err);
