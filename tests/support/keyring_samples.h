/* keyring_samples.h - a filesystem with fixed keys, times and names, for the tests, fixtures and
 * fuzz targets of the key ring and the superblock. Nothing protects anything with these keys.
 */
#pragma once

#include "keyring/key_ring.h"
#include "keyring/superblock.h"

extern const struct uuid sample_uuid;
extern const struct uuid sample_origin; /* of the foreign generation */

/* 32 bytes: first, first + 1, ... */
void sample_key(uint8_t first, struct secret *ret);

/* Keys of generations 1 and 2, begun with 0x10 and 0x50. */
void sample_keys(struct key_set *ret);

/* Sealed under generation 2. Name key from 0x90, chunk key from 0xb0. */
void sample_superblock(struct superblock *ret);

/* Own generations 1 (wrapped by Vault, with a previous blob) and 2 (KMIP), foreign 7 (local, its
 * key begins with 0xd0); not yet encoded, sequence 41. */
void sample_ring(struct key_ring *ret);
