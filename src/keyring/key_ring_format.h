/* key_ring_format.h - the bytes of a key ring and the MACs over them; used by key_ring.c and the
 * tests only.
 */
#pragma once

#include "crypto/hash.h"
#include "keyring/key_ring.h"

struct key_ring_mac {
    uint32_t generation;
    uint8_t value[HASH_LEN];
};

/* A decoded ring with its MACs and what they cover, which points into the encoded bytes. */
struct key_ring_parts {
    struct key_ring ring;
    struct bytes covered;
    uint32_t mac_count;
    struct key_ring_mac macs[KEY_GENERATIONS_MAX];
};

int key_ring_parse(struct bytes encoded, struct key_ring_parts *ret, struct error *err);

/* All but the MAC list. */
void key_ring_write(struct writer *writer, const struct key_ring *ring);

int key_ring_mac_of(const struct secret *fs_key, struct bytes covered,
                    uint8_t ret[static HASH_LEN]);
