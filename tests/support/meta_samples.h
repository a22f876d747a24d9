/* meta_samples.h - a small sealed database with fixed keys, and its form in a file: for each
 * record, in order, a u16 length and the key, a u16 length and the stored value. */
#pragma once

#include "base/buf.h"
#include "base/uuid.h"
#include "crypto/secret.h"
#include "keyring/superblock.h"

struct meta_sample {
    struct bytes key;
    struct bytes value; /* plain */
};

#define META_SAMPLES 4u

void meta_sample_keys(struct key_set *ret_keys, struct secret *ret_name_key);
void meta_sample_owner(struct uuid *ret);
struct meta_sample meta_sample(unsigned number);

/* One record at the front of what such a file holds; it is then taken off. */
int meta_sample_next(struct bytes *file, struct bytes *ret_key, struct bytes *ret_stored);
int meta_sample_append(struct buf *file, struct bytes key, struct bytes stored);
