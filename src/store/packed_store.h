/* packed_store.h - a store in a few bytes, for another process of this version that opens it: a
 * bucket (s3_settings_pack(), in s3_store.h) or, by what is here, a folder. coffer-store opens
 * both.
 *
 * Errors     -EBADMSG: not such bytes.
 * Ownership  what is packed is the caller's to release.
 */
#pragma once

#include <limits.h>

#include "base/error.h"
#include "base/uuid.h"
#include "base/wire.h"
#include "crypto/secret.h"
#include "store/layers/limit.h"

struct packed_folder {
    char path[PATH_MAX]; /* absolute */
    struct limit_rates rates;
    struct uuid mark; /* by which it is known (place_mark.h); zero: by none */
};

int packed_folder_pack(const struct packed_folder *folder, struct secret *ret, struct error *err);

/* Whether it is a folder at all; else it is a bucket. */
bool packed_is_folder(struct bytes packed);
int packed_folder_unpack(struct bytes packed, struct packed_folder *ret, struct error *err);
