/* record_kinds.h - how the keys of metadata records begin, and those of history; byte for byte
 * in docs/formats/metadata.md.
 *
 * A key is the number of a tree (u8), a kind (u8), and what the kind says, with integers
 * big-endian, so that records sort by (tree, kind, inode, ...). All keys of one kind have the
 * same length, so that no key is the beginning of another.
 *
 * Units      epochs count from 1; 0 is that of records that were imported.
 * Errors     -EBADMSG: not such a key; -ENOSPC: longer than META_KEY_MAX.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "meta/meta_engine.h"

/* The live filesystem; others are snapshots brought in from outside. */
#define RECORD_TREE_LIVE 0u
#define RECORD_TREE_NONE 255u

/* The numbers are on disk and never change. The name of what follows the kind is in brackets. */
enum record_kind {
    RECORD_SUPERBLOCK = 1,     /* [] stored in clear as given; it has its own MAC */
    RECORD_INCARNATION = 2,    /* [id 16] in clear with a MAC */
    RECORD_COMMIT = 3,         /* [owner 16] one for each writer */
    RECORD_STATE = 4,          /* [number u8] what the filesystem keeps once: counters */
    RECORD_INODE = 16,         /* [inode u64] */
    RECORD_DIRENT = 17,        /* [parent u64, lookup key of the name] */
    RECORD_EXTENTS = 18,       /* [inode u64, chunk u32] */
    RECORD_XATTR = 19,         /* [inode u64, lookup key of the name] */
    RECORD_ORPHAN = 20,        /* [inode u64] */
    RECORD_QUOTA = 21,         /* [inode u64] */
    RECORD_USAGE = 22,         /* [segment 16] segment usage */
    RECORD_LOCATION = 23,      /* [segment 16, first offset u32] */
    RECORD_SNAPSHOT = 24,      /* [epoch u64] */
    RECORD_RESTORE = 25,       /* [epoch u64] */
    RECORD_HISTORY = 32,       /* [kind u8, rest of the live key, epoch u64] */
    RECORD_HISTORY_INDEX = 33, /* [epoch u64, what u8, kind u8, rest of the live key] */
};

/* The kind of a key, 0 if it is too short to have one. */
static inline uint8_t record_kind_of(struct bytes key)
{
    return key.len >= 2 ? key.data[1] : 0;
}

/* Why an epoch's index names a key. */
enum history_what {
    HISTORY_SAVED = 1,   /* the version that was current until the end of that epoch was saved */
    HISTORY_CREATED = 2, /* it was created in that epoch */
};

struct record_key {
    uint8_t data[META_KEY_MAX];
    size_t len;
};

static inline struct bytes record_key_bytes(const struct record_key *key)
{
    return (struct bytes){ .data = key->data, .len = key->len };
}

/* Where the version of a live record is saved whose last epoch was epoch. */
int history_key_encode(struct bytes live, uint64_t epoch, struct record_key *ret);
int history_key_decode(struct bytes key, struct record_key *ret_live, uint64_t *ret_epoch);

int history_index_encode(struct bytes live, uint64_t epoch, enum history_what what,
                         struct record_key *ret);
int history_index_decode(struct bytes key, struct record_key *ret_live, uint64_t *ret_epoch,
                         enum history_what *ret_what);
