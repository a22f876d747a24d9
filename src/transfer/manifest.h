/* manifest.h - what an uploaded snapshot is made of: its chunks with the first key of each, its
 * packs, and what describes it; byte for byte in docs/formats/snap-to-object.md. Sealed; its
 * SHA-256 is its name and the name of the head, and in the locator.
 *
 * Where each range of file data lies is not in here but in the chunks: LOCATION records, behind
 * all others. So they are read on demand, and chunks of them shared by snapshots, as all are.
 *
 * Errors     -EBADMSG: not a manifest, altered, or of another key; -EPROTONOSUPPORT: of a later
 *            version; -EFBIG: the snapshot has more chunks or packs than one can hold; -ENOMEM.
 * Ownership  a struct manifest owns its lists. First keys belong to it, too.
 */
#pragma once

#include "meta/set_hash.h"
#include "transfer/bucket.h"
#include "transfer/chunk.h"
#include "transfer/transfer_keys.h"

#define MANIFEST_MAX (256u * 1024u * 1024u)
#define MANIFEST_CHUNKS_MAX (1u << 20)
#define MANIFEST_PACKS_MAX (1u << 22)
#define MANIFEST_HEAD_LEN (8u + 4u + UUID_LEN + 4u + UUID_LEN + AEAD_NONCE_LEN)
#define MANIFEST_NAME_SIZE 256u

struct chunk_entry {
    uint8_t name[CHUNK_NAME_LEN];
    uint32_t len; /* sealed */
    uint32_t records;
    size_t key_at; /* of its first key, in the manifest's keys */
    uint16_t key_len;
};

struct pack_entry {
    uint8_t id[PACK_ID_LEN];
    uint32_t len;
};

/* A key under which something of the snapshot is sealed. */
struct key_needed {
    struct uuid origin;
    uint32_t generation;
};

struct snapshot_about {
    uint64_t epoch;
    uint64_t created_ns;  /* the snapshot */
    uint64_t uploaded_ns; /* when the upload began */
    uint64_t size;        /* bytes of file data, as the inodes count them */
    uint64_t inodes;
    char filesystem[MANIFEST_NAME_SIZE];
    char snapshot[MANIFEST_NAME_SIZE];
    char access_point[MANIFEST_NAME_SIZE];
    uint32_t needed_count;
    struct key_needed needed[KEY_GENERATIONS_MAX];
};

struct manifest {
    struct uuid fs;
    uint32_t generation;
    struct uuid upload; /* drawn for each */
    struct snapshot_about about;
    uint32_t block_size;
    uint64_t data_len; /* ciphertext that is used in packs */
    uint64_t records;
    struct set_hash set;        /* over all records: of key and value */
    struct chunk_entry *chunks; /* by their first keys */
    uint32_t chunk_count, chunk_room;
    struct pack_entry *packs; /* by id */
    uint32_t pack_count, pack_room;
    struct buf keys; /* first keys */
};

#define MANIFEST_INIT ((struct manifest){ .chunks = NULL })

void manifest_release(struct manifest *manifest);

struct bytes manifest_first_key(const struct manifest *manifest, uint32_t chunk);
int manifest_add_chunk(struct manifest *manifest, const uint8_t name[static CHUNK_NAME_LEN],
                       uint32_t len, uint32_t records, struct bytes first_key, struct error *err);
int manifest_add_pack(struct manifest *manifest, const uint8_t id[static PACK_ID_LEN], uint32_t len,
                      struct error *err);
/* Of packs that were added: by id, each once. */
void manifest_sort_packs(struct manifest *manifest);
const struct pack_entry *manifest_find_pack(const struct manifest *manifest,
                                            const uint8_t id[static PACK_ID_LEN]);
/* The chunk in which a key is, if it is anywhere: the last one that does not begin behind it. The
 * first one if all do. */
uint32_t manifest_find_chunk(const struct manifest *manifest, struct bytes key);

/* All names that it needs but its own. */
int manifest_names(const struct manifest *manifest, struct name_set *ret);

/* The object, and its name. */
int manifest_seal(const struct manifest *manifest, const struct transfer_keys *keys,
                  struct buf *ret, uint8_t ret_name[static HASH_LEN], struct error *err);
/* name: what it must be, from a locator. */
int manifest_open(const struct transfer_keys *keys, const uint8_t name[static HASH_LEN],
                  struct bytes object, struct manifest *ret, struct error *err);
/* The same of what is in the bucket; ret_len: of the object. -ENOENT: it is missing. */
int manifest_get(const struct bucket *bucket, const struct transfer_keys *keys,
                 const uint8_t name[static HASH_LEN], struct manifest *ret, size_t *ret_len,
                 struct error *err);

/* The part that is sealed. */
int manifest_encode(const struct manifest *manifest, struct buf *ret);
int manifest_decode(struct bytes plain, struct manifest *ret);

/* Names of filesystems and snapshots: without control characters. */
void about_text_write(struct writer *writer, const char *text);
void about_text_read(struct reader *reader, char to[static MANIFEST_NAME_SIZE]);
void needed_write(struct writer *writer, uint32_t count, const struct key_needed *needed);
/* Ascending and each once, so that there is one encoding only. */
uint32_t needed_read(struct reader *reader, struct key_needed ret[static KEY_GENERATIONS_MAX]);
