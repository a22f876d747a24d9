/* audit_internal.h - what the files of the audit log share: audit.c adds and verifies,
 * audit_forget.c removes what was archived.
 *
 * In the registry: "audit/" number for each entry; "audit-head", the number and hash of the newest,
 * written along with it; "audit-base", those of the last one that was archived, written along with
 * the entry about that. Entries up to it are removed afterwards, a part at a time.
 */
#pragma once

#include "base/thread.h"
#include "control/audit.h"

#define AUDIT_KIND "audit/"
#define AUDIT_HEAD "audit-head"
#define AUDIT_BASE "audit-base"

struct audit {
    struct registry *registry;
    uint8_t begin[HASH_LEN]; /* what stands before the first entry; never changes */
    struct mutex lock;       /* guards all below, also while entries go to the registry */
    struct audit_head head;
    struct audit_head base;
};

/* audit_add(), with everything up to base archived from then on. */
int audit_add_behind(struct audit *audit, const struct audit_note *notes, size_t count,
                     const struct audit_head *base, struct error *err);
int audit_read_base(struct audit *audit, struct audit_head *ret, struct error *err);

/* Removes what is left of the entries up to base. */
int audit_forget_rest(struct audit *audit, struct error *err);
