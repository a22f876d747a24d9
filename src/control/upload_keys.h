/* upload_keys.h - inside the control plane: the keys of an uploaded snapshot, unwrapped by whatever
 * its head says wrapped them, and verified (transfer/head.h): that it is a head of those keys, and,
 * of a filesystem that this instance has, that they are that filesystem's.
 *
 * Errors     negative errno and a sentence that names which key of which server is needed.
 * -EBADMSG: altered or forged. -ENOENT: no such snapshot. Those of kms_unwrap(). Ownership  what is
 * opened is the caller's to release, also after a failure. Threads    any.
 */
#pragma once

#include "control/filesystem.h"
#include "control/rings.h"
#include "keyring/key_ring.h"
#include "keys/key_provider.h"
#include "transfer/head.h"
#include "transfer/locator.h"

struct upload_opened {
    struct buf encoded;        /* the head, and ... */
    struct snapshot_head head; /* ... what stands in it */
    struct key_ring ring;
    struct fs_record *owner;                   /* the filesystem here; NULL: there is none */
    struct secret plains[KEY_GENERATIONS_MAX]; /* the key blob of each generation of the ring */
    struct key_set keys;                       /* of all its generations */
    struct rings_outcome outcome;
};

#define UPLOAD_OPENED_INIT ((struct upload_opened){ .ring = KEY_RING_INIT })

void upload_opened_release(struct upload_opened *opened);

/* Head, ring, and the owner: nothing is believed yet. */
int upload_read(struct control *control, const struct bucket *bucket, const struct locator *locator,
                struct upload_opened *ret, struct error *err);

struct upload_opening {
    struct key_provider *server; /* to use in place of the configured one, or NULL */
    const char *purpose;         /* to the audit log */
    bool may_lack_foreign;       /* only the ring is wanted, not the data: as in rings_options */
};

/* What was read: unwrapped and verified. A key of another filesystem that is refused, and that the
 * snapshot does not need, is not missed; opened->outcome tells of it. */
int upload_open(struct control *control, const struct upload_opening *opening,
                struct upload_opened *opened, struct error *err);

/* What the registry knows of the owner's keys; nothing without one. */
struct key_checks upload_known_checks(const struct upload_opened *opened);
