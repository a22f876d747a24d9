/* reference.h - the bytes of references and marks, by which those who share a bucket tell each
 * other what they need and what they remove; byte for byte in docs/formats/snap-to-object.md. In
 * clear, as whoever removes something has not the keys of others; a digest shows what was cut.
 *
 * A reference is a number of parts, each an object that never changes; all together they name what
 * one upload, uploaded snapshot or downloaded filesystem needs.
 *
 * Errors     -EBADMSG: not such bytes; -EPROTONOSUPPORT: of a later version; -ENOMEM.
 */
#pragma once

#include "transfer/bucket.h"

#define REFERENCE_MAX (16u * 1024u * 1024u)
#define REFERENCE_NAMES_MAX 400000u /* in one part */
#define MARK_MAX 4096u

enum reference_kind {
    REFERENCE_UPLOAD = 1,   /* a running upload, or the snapshot that it became */
    REFERENCE_DOWNLOAD = 2, /* a filesystem whose data is still here */
};

struct reference_head {
    enum reference_kind kind;
    struct uuid reference;
    struct uuid fs;       /* whose */
    struct uuid instance; /* who wrote it */
    uint64_t written_ns;
};

int reference_encode(const struct reference_head *head, const struct name_set *names,
                     struct buf *ret);
/* Adds the names to the set, which may have to be sorted then. */
int reference_decode(struct bytes encoded, struct reference_head *ret, struct name_set *names);

/* Who removes something at present. */
struct removing_mark {
    struct uuid mark;
    struct uuid instance;
    uint64_t written_ns;
};

int mark_encode(const struct removing_mark *mark, struct buf *ret);
int mark_decode(struct bytes encoded, struct removing_mark *ret);
