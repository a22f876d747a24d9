/* superblock.h - what a filesystem says of itself before any of its keys is known; byte for byte
 * in docs/formats/superblock.md. Kept in the store (object SUPERBLOCK_OBJECT) and, as a copy, in
 * the metadata. In clear, but for the name key and chunk key, which are sealed; all of it is
 * under a MAC.
 *
 * Errors     -EBADMSG: not a superblock, altered, or not of this key; -EPROTONOSUPPORT: a later
 *            version of the format.
 * Ownership  secrets in a struct superblock or key_set are the holder's to release.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/uuid.h"
#include "crypto/secret.h"

struct reader;
struct writer;

#define SUPERBLOCK_OBJECT "superblock"
#define SUPERBLOCK_MAX 4096u
#define KEY_GENERATIONS_MAX 64u
#define FS_KEY_LEN 32u

/* A key of another filesystem, under which what was downloaded of it is sealed. */
struct foreign_key {
    struct uuid origin;
    uint32_t generation;
    struct secret key; /* FS_KEY_LEN bytes */
};

/* The unwrapped keys of one filesystem: what cofferd hands to a worker, and no more. One thread at
 * a time may add foreign ones while others look them up: what is counted stays where it is. */
struct key_set {
    uint32_t count;
    uint32_t generations[KEY_GENERATIONS_MAX]; /* ascending */
    struct secret keys[KEY_GENERATIONS_MAX];   /* FS_KEY_LEN bytes each */
    _Atomic uint32_t foreign_count;
    struct foreign_key foreign[KEY_GENERATIONS_MAX]; /* only open what is there */
};

/* NULL if it is not in the set; 0 if the set is empty: generations count from 1. */
const struct secret *key_set_find(const struct key_set *keys, uint32_t generation);
const struct secret *key_set_find_foreign(const struct key_set *keys, const struct uuid *origin,
                                          uint32_t generation);
uint32_t key_set_newest(const struct key_set *keys);

/* The key is copied. -EEXIST, -ENOSPC, -EINVAL (generation 0), -ENOMEM. */
int key_set_add(struct key_set *keys, uint32_t generation, const struct secret *key);
int key_set_add_foreign(struct key_set *keys, const struct uuid *origin, uint32_t generation,
                        const struct secret *key);
/* Those foreign ones that *to lacks. -EBADMSG: one of them is another key there; -ENOSPC. Nothing
 * is added then; after -ENOMEM some may be. */
int key_set_join_foreign(struct key_set *to, const struct key_set *from);
int key_set_copy(struct key_set *to, const struct key_set *from); /* in place of what *to held */
void key_set_release(struct key_set *keys);

/* Which foreign keys, without the keys. */
struct foreign_key_ids {
    uint32_t count;
    struct {
        struct uuid origin;
        uint32_t generation;
    } items[KEY_GENERATIONS_MAX];
};

bool foreign_key_ids_have(const struct foreign_key_ids *ids, const struct uuid *origin,
                          uint32_t generation);
/* Unless they have it. -ENOSPC: more than a key ring can have. */
int foreign_key_ids_add(struct foreign_key_ids *ids, const struct uuid *origin,
                        uint32_t generation);
/* u8 count, then origin and u32 generation of each. Reading adds, and returns 0; what is malformed,
 * as one that is there twice, fails the reader. */
void foreign_key_ids_write(struct writer *writer, const struct foreign_key_ids *ids);
int foreign_key_ids_read(struct reader *reader, struct foreign_key_ids *ids);

struct superblock {
    struct uuid uuid;
    uint32_t generation; /* whose superblock key seals and MACs it */
    uint32_t block_size; /* plaintext bytes of a full data block */
    uint64_t created_ns;
    struct uuid owner;    /* the instance that wrote it */
    uint64_t owner_count; /* goes up each time the owner changes or opens it anew */
    uint64_t commit;      /* the last durable commit when it was written */
    uint64_t written_ns;
    bool is_clean;           /* written at a clean stop */
    struct secret name_key;  /* 32 bytes */
    struct secret chunk_key; /* 32 bytes */
};

void superblock_release(struct superblock *superblock);

/* Without keys: what stands in clear, unverified. The two keys are left empty. */
int superblock_peek(struct bytes encoded, struct superblock *ret, struct error *err);

/* Verifies the MAC under the key of the generation that it names, and opens the two keys. -ENOKEY
 * if that generation is not in the set. */
int superblock_decode(struct bytes encoded, const struct key_set *keys, struct superblock *ret,
                      struct error *err);

/* Into ret of SUPERBLOCK_MAX bytes. fs_key is the key of superblock->generation. */
int superblock_encode(const struct superblock *superblock, const struct secret *fs_key,
                      uint8_t *ret, size_t *ret_len, struct error *err);
