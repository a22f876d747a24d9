/* unwrapped.h - blobs of several key rings that were unwrapped together, so that a server that
 * takes batches is asked few times.
 *
 * Ownership  what it holds is its own, to be released also after a failure.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "control/fs_record.h"
#include "crypto/secret.h"
#include "keyring/wrapped_key.h"

struct control;

/* So many filesystems at a time: their keys are in secret memory meanwhile. */
#define UNWRAPPED_FILESYSTEMS 32u
#define UNWRAPPED_MAX (UNWRAPPED_FILESYSTEMS * 4u)

struct unwrapped {
    struct wrapped_key *wrapped; /* UNWRAPPED_MAX of them, if unwrapped_init() made it */
    struct secret *plains;
    size_t count;
};

int unwrapped_init(struct unwrapped *ret, struct error *err);
void unwrapped_release(struct unwrapped *unwrapped);

/* Adds what is current in the registry's ring of a filesystem and a server has to unwrap, but what
 * a login of its own asks for, as far as there is room. An unreadable ring is told of later. */
void unwrapped_collect(struct unwrapped *unwrapped, struct control *control,
                       const struct fs_record *record);
