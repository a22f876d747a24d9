/* policy_record.h - what the registry knows of a snapshot policy, and of a filesystem that it is
 * attached to: which snapshots it took there. Byte for byte in docs/formats/registry.md.
 *
 * Units      times are nanoseconds since 1970; texts end with NUL.
 * Errors     -EBADMSG: not such a record; -EPROTONOSUPPORT: of a later version; -EINVAL.
 */
#pragma once

#include "base/buf.h"
#include "base/uuid.h"
#include "control/policy_schedule.h"

#define POLICY_NAME_MAX 32u

struct policy {
    char name[POLICY_NAME_MAX + 1];
    int64_t created_ns;
    struct policy_schedule schedules[POLICY_PERIODS];
};

/* Its name and schedules, one of which is on. */
int policy_check(const struct policy *policy, struct error *err);

/* ret is replaced. */
int policy_encode(const struct policy *policy, struct buf *ret, struct error *err);
int policy_decode(struct bytes encoded, struct policy *ret, struct error *err);

/* A snapshot by the policy. Its name, which is its access point too, follows from these. */
struct policy_mark {
    enum policy_period period;
    uint8_t number; /* of several of one minute: 0, 1, ... */
    int64_t taken_ns;
};

/* "NAME-daily.2611272300", UTC, and ".1" if it has a number. */
#define POLICY_SNAPSHOT_NAME_SIZE 128u
void policy_snapshot_name(const char *policy, const struct policy_mark *mark,
                          char ret[static POLICY_SNAPSHOT_NAME_SIZE]);

struct policy_made {
    struct policy_mark mark;
    bool is_to_upload; /* and nothing has begun to */
    uint64_t id;       /* of the snapshot */
};

/* More than any retention can leave, also if some are in use and cannot be removed. */
#define POLICY_MADE_MAX 2500u

struct policy_attachment {
    struct uuid filesystem;
    char policy[POLICY_NAME_MAX + 1];
    int64_t attached_ns;
    int64_t done_ns[POLICY_PERIODS]; /* the moment for which the last one was taken; 0: none */
    bool is_pending[POLICY_PERIODS]; /* one is being taken, or was when cofferd ended: */
    struct policy_mark pending[POLICY_PERIODS];
    size_t made_count;
    struct policy_made *made; /* in the order in which they were taken */
};

#define POLICY_ATTACHMENT_INIT ((struct policy_attachment){ .made_count = 0 })

void policy_attachment_release(struct policy_attachment *attachment);
int policy_attachment_add(struct policy_attachment *attachment, const struct policy_made *made,
                          struct error *err);
void policy_attachment_drop(struct policy_attachment *attachment, size_t index);

int policy_attachment_encode(const struct policy_attachment *attachment, struct buf *ret,
                             struct error *err);
/* *ret is replaced, also after a failure. */
int policy_attachment_decode(struct bytes encoded, struct policy_attachment *ret,
                             struct error *err);
