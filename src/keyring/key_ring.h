/* key_ring.h - the wrapped keys of one filesystem, all of its generations: kept in the registry
 * and, as a copy, in the store (object KEY_RING_OBJECT); byte for byte in docs/formats/key-ring.md.
 *
 * A ring is read before it can be verified: key_ring_peek() tells what to have unwrapped, and
 * nothing in it may be believed, nor any address in it contacted. Then
 *
 *     key_generation_open()    for each unwrapped blob: it is the key of that generation
 *     key_ring_choose()        of the two copies, the one that is believed (key_ring_verify())
 *
 * Whoever may encrypt with a shared master key and write to the store can forge a blob, but not
 * the MACs over the ring under the keys that were there before, nor a superblock.
 *
 * To change a ring: verify it, change it (the functions below), key_ring_encode(), which raises
 * the sequence number, then write the registry, then the store. A generation is added to the
 * ring before the superblock is sealed under it, and removed after no superblock is any more.
 *
 * Errors     -EBADMSG: not a ring, altered, or forged; -EPROTONOSUPPORT: a later version of the
 *            format; -ENOKEY: the set lacks a key that is needed; -ENOENT: no such generation.
 * Ownership  a ring owns its generations; keys and bytes that are handed in stay the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "crypto/secret.h"
#include "keyring/sealed_names.h"
#include "keyring/superblock.h"
#include "keyring/wrapped_key.h"

#define KEY_RING_OBJECT "keyring"
#define KEY_RING_MAX (60u * 1024u) /* encoded: fits one record of any metadata engine */
#define KEY_CHECK_LEN 32u

enum key_state {
    KEY_STATE_ACTIVE = 1,  /* new writes may use it: the newest one does */
    KEY_STATE_RETIRED = 2, /* only opens what it once sealed */
};

struct key_wrapping {
    struct wrapped_key key;
    uint64_t wrapped_ns; /* when */
};

struct key_generation {
    uint32_t number;    /* from 1, counted by its origin */
    struct uuid origin; /* the filesystem that it was made for; a foreign one if not the ring's */
    enum key_state state;
    uint64_t created_ns;
    uint8_t check[KEY_CHECK_LEN]; /* HMAC of origin and number under a key derived from the key */
    bool has_names;
    uint8_t names[SEALED_NAMES_LEN]; /* the name key and chunk key, if has_names */
    struct key_wrapping current;
    bool has_previous;            /* current has not yet been proved by a later unwrap */
    struct key_wrapping previous; /* the last one that was proved */
};

struct key_ring {
    struct uuid uuid;
    uint64_t sequence;
    uint32_t count;
    struct key_generation *generations; /* own ones ascending by number, then foreign ones */
};

#define KEY_RING_INIT ((struct key_ring){ .generations = NULL })

/* What the registry knows for certain: a generation's check value never changes. */
struct key_check {
    uint32_t generation;
    uint8_t value[KEY_CHECK_LEN];
};

struct key_checks {
    const struct key_check *items;
    size_t count;
};

/* A ring without generations. */
void key_ring_init(struct key_ring *ring, const struct uuid *uuid);
void key_ring_release(struct key_ring *ring);

static inline bool key_generation_is_own(const struct key_ring *ring,
                                         const struct key_generation *generation)
{
    return uuid_equal(&ring->uuid, &generation->origin);
}

/* Own generations come first: the newest is the last of so many. */
uint32_t key_ring_own_count(const struct key_ring *ring);

/* NULL if there is none. origin NULL: the ring's own. */
struct key_generation *key_ring_find(const struct key_ring *ring, const struct uuid *origin,
                                     uint32_t number);

/* What stands in it, unverified. */
int key_ring_peek(struct bytes encoded, struct key_ring *ret, struct error *err);

/* Of what a key server unwrapped for this generation: the key, if it is that of this origin and
 * number and its check value is right. */
int key_generation_open(const struct key_generation *generation, const struct secret *unwrapped,
                        struct secret *ret_key, struct error *err);

/* -ENOENT if the generation has none. */
int key_generation_open_names(const struct key_generation *generation, const struct secret *key,
                              struct secret *ret_name_key, struct secret *ret_chunk_key,
                              struct error *err);

/* Believes a ring if, with the unwrapped keys of its own generations:
 *   the generation that the superblock is sealed under is among them, and opens it;
 *   the MAC and the check value of every own generation whose key is at hand are right;
 *   each own generation that known names has the check value that known says, and, unless known
 *   is empty, the superblock's generation is one of them;
 *   the name key and chunk key in it, if any, are the superblock's.
 * keys holds own generations only. */
struct key_ring_evidence {
    struct bytes superblock;
    const struct key_set *keys;
    struct key_checks known;
};

int key_ring_verify(struct bytes encoded, const struct key_ring_evidence *evidence,
                    struct key_ring *ret, struct error *err);

/* The two places, and which of them is believed. */
enum key_ring_place { KEY_RING_IN_REGISTRY, KEY_RING_IN_STORE, KEY_RING_PLACES };

struct key_ring_copy {
    struct bytes encoded;                     /* empty: nothing was found there */
    const struct key_ring_evidence *evidence; /* NULL: its keys could not be unwrapped */
};

struct key_ring_choice {
    struct key_ring ring;
    enum key_ring_place place;
    bool must_repair;   /* the other place: write what stands in this one there */
    bool keep_aside;    /* but first keep what is there: it is not just empty or an older state */
    struct error other; /* why the other one is not believed; code 0 if it is the same or older */
};

/* The highest sequence number that verifies wins. On failure err tells about both. Two that
 * verify with equal numbers and different bytes: the registry's wins, the other is kept aside. */
int key_ring_choose(const struct key_ring_copy copies[static KEY_RING_PLACES],
                    struct key_ring_choice *ret, struct error *err);
void key_ring_choice_release(struct key_ring_choice *choice);

/* Raises the sequence number and makes a MAC for each own generation; keys holds all of them. */
int key_ring_encode(struct key_ring *ring, const struct key_set *keys, struct buf *ret,
                    struct error *err);

/* -ENOSPC: with every generation wrapped anew, and what wrapped it before kept, the ring would be
 * too long. One like that must not come to be, as its keys could not be wrapped anew any more. */
int key_ring_check_room(const struct key_ring *ring, struct error *err);

/* Changes, in memory. */

struct key_generation_new {
    uint32_t number;
    const struct uuid *origin; /* NULL: the ring's own */
    const struct secret *key;
    const struct wrapped_key *wrapped;
    uint64_t now_ns;
    const struct secret *name_key;  /* NULL: not known yet, see key_generation_set_names() */
    const struct secret *chunk_key; /* likewise */
};

/* An own generation has a number above all own ones, which become retired. -EEXIST: that number
 * and origin is there, or an own number is too low; -ENOSPC: there are KEY_GENERATIONS_MAX. */
int key_ring_add(struct key_ring *ring, const struct key_generation_new *new, struct error *err);

/* Seals the name key and chunk key under this generation, whose key is given. */
int key_generation_set_names(struct key_generation *generation, const struct secret *key,
                             const struct secret *name_key, const struct secret *chunk_key,
                             struct error *err);

/* Takes what was wrapped anew, and has been unwrapped and compared since. What it replaces stays
 * as previous if it had been proved; else the previous one stays. */
void key_generation_replace(struct key_generation *generation, const struct wrapped_key *wrapped,
                            uint64_t now_ns);

/* The current blob was proved by a later unwrap, or the previous one must go at once. */
void key_generation_drop_previous(struct key_generation *generation);

/* Nothing is sealed under it any more, the superblock included. -EBUSY: it is the newest. */
int key_ring_remove(struct key_ring *ring, const struct uuid *origin, uint32_t number,
                    struct error *err);

/* The check value that a key has: for what is compared without a ring. */
int key_check_value(const struct uuid *origin, uint32_t number, const struct secret *key,
                    uint8_t ret[static KEY_CHECK_LEN]);
