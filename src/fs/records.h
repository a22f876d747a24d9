/* records.h - keys and plain values of the filesystem's records; byte for byte in
 * docs/formats/metadata.md. Only encodings: nothing here knows an engine.
 *
 * Units      sizes: bytes; times: nanoseconds since 1970; inode numbers below 2^48.
 * Errors     -EBADMSG: not such a value; -EPROTONOSUPPORT: a later version of it; -EINVAL,
 *            -ENAMETOOLONG: a value that cannot be stored.
 * Ownership  decoded names, values and targets are copied into the struct, except xattr values,
 *            which point into the bytes given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/uuid.h"
#include "fs/extents.h"
#include "meta/record_kinds.h"

#define RECORD_VALUE_VERSION 1u
#define LOOKUP_KEY_LEN 16u
#define NAME_MAX_LEN 255u
#define INLINE_MAX 2048u     /* of a regular file's content */
#define INODE_BODY_MAX 4096u /* inline content, or the target of a symbolic link */
#define INODE_NUMBER_MAX (((uint64_t)1 << 48) - 1)

/* Keys. Each returns what to give to meta_get and its kin. */
void inode_key(uint64_t ino, struct record_key *ret);
void dirent_key(uint64_t parent, const uint8_t lookup[static LOOKUP_KEY_LEN],
                struct record_key *ret);
void extents_key(uint64_t ino, uint32_t chunk, struct record_key *ret);
void xattr_key(uint64_t ino, const uint8_t lookup[static LOOKUP_KEY_LEN], struct record_key *ret);
void orphan_key(uint64_t ino, struct record_key *ret);
void usage_key(const struct uuid *segment, struct record_key *ret);
void location_key(const struct uuid *segment, uint32_t first, struct record_key *ret);
void state_key(uint8_t number, struct record_key *ret);
void snapshot_key(uint64_t epoch, struct record_key *ret);
void restore_key(uint64_t epoch, struct record_key *ret);
void superblock_key(struct record_key *ret);

/* The range of all keys of a kind, or of one inode (INODE, EXTENTS, XATTR, DIRENT: of the parent):
 * from *ret_first up to, without, *ret_end. */
void kind_range(enum record_kind kind, struct record_key *ret_first, struct record_key *ret_end);
void inode_range(enum record_kind kind, uint64_t ino, struct record_key *ret_first,
                 struct record_key *ret_end);
/* From one chunk on to the last one of the inode. */
void chunk_range(uint64_t ino, uint32_t first_chunk, struct record_key *ret_first,
                 struct record_key *ret_end);

/* What stands in a key of this kind: -EBADMSG if it is not one. ret_chunk (of EXTENTS) and
 * ret_first (of LOCATION) may be NULL. */
int record_key_inode(struct bytes key, enum record_kind kind, uint64_t *ret_ino,
                     uint32_t *ret_chunk);
int record_key_lookup(struct bytes key, enum record_kind kind, uint64_t *ret_ino,
                      uint8_t ret_lookup[static LOOKUP_KEY_LEN]);
/* Of SNAPSHOT and RESTORE. */
int record_key_epoch(struct bytes key, enum record_kind kind, uint64_t *ret_epoch);
int record_key_segment(struct bytes key, enum record_kind kind, struct uuid *ret_segment,
                       uint32_t *ret_first);

enum inode_flag {
    INODE_UNTRIMMED = 1 << 0, /* extents behind its size may still be there; it is in ORPHAN, too */
    INODE_XATTRS = 1 << 1,    /* it has, or once had, extended attributes */
};

struct inode {
    uint8_t flags;
    uint32_t mode;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint64_t rdev;
    uint64_t size;   /* of a directory: number of its entries */
    uint64_t stored; /* of a regular file: bytes really there, inline or shown by extents */
    uint64_t parent; /* of a directory; 0 of anything else */
    int64_t atime_ns;
    int64_t mtime_ns;
    int64_t ctime_ns;
    uint32_t body_len; /* inline content, or the target of a symbolic link */
    uint8_t body[INODE_BODY_MAX];
};

#define INODE_VALUE_MAX (80u + INODE_BODY_MAX)
int inode_encode(const struct inode *inode, uint8_t ret[static INODE_VALUE_MAX], size_t *ret_len);
int inode_decode(struct bytes value, struct inode *ret);

struct dirent_record {
    uint64_t ino;
    uint8_t type; /* of the mode: (st_mode & S_IFMT) >> 12 */
    uint8_t name_len;
    char name[NAME_MAX_LEN + 1]; /* ended with NUL */
};

#define DIRENT_VALUE_MAX (16u + NAME_MAX_LEN)
int dirent_encode(const struct dirent_record *dirent, uint8_t ret[static DIRENT_VALUE_MAX],
                  size_t *ret_len);
int dirent_decode(struct bytes value, struct dirent_record *ret);

#define EXTENT_LEN 36u /* as it is stored */
#define EXTENTS_VALUE_MAX (8u + EXTENTS_MAX * EXTENT_LEN)
/* ret has room for EXTENTS_VALUE_MAX bytes. */
int extents_encode(const struct extents *list, uint8_t *ret, size_t *ret_len);
int extents_decode(struct bytes value, struct extents *ret); /* ret is EXTENTS_INIT or reused */
/* What happens to a record when one block takes the place of another. It points into itself. */
struct block_exchange {
    struct splice count; /* nothing is added or removed: it stays */
    struct splice extents;
    struct extent replaced; /* shows what is shown no more: one whole block */
    uint8_t count_bytes[2];
    uint8_t extent_bytes[3 * EXTENT_LEN];
};

/* with shows all of one block, and takes the place of a block of the same length. -ENOENT: there
 * is none in that place, or the list would not be what extents_replace() makes of it. */
int extents_exchange(const struct spliced *value, const struct extent *with,
                     struct block_exchange *ret);
/* Only those that show something of offset up to, without, end; only these are looked at, and
 * those on the way to them. */
int extents_decode_part(const struct spliced *value, uint32_t offset, uint32_t end,
                        struct extents *ret);

struct xattr_record {
    uint8_t name_len;
    char name[NAME_MAX_LEN + 1];
    struct bytes value; /* at most 48 KiB */
};

#define XATTR_VALUE_MAX (16u + NAME_MAX_LEN + 48u * 1024u)
int xattr_encode(const struct xattr_record *xattr, uint8_t *ret, size_t *ret_len);
int xattr_decode(struct bytes value, struct xattr_record *ret);

/* ORPHAN has a value of one byte, its version. */
int orphan_encode(uint8_t ret[static 1], size_t *ret_len);
int orphan_decode(struct bytes value);

enum segment_state {
    SEGMENT_ANNOUNCED = 1, /* the id may be used from when this is durable; no object yet */
    SEGMENT_OPEN = 2,      /* being appended to, by the run that wrote this */
    SEGMENT_CLOSED = 3,    /* complete, with a footer */
    SEGMENT_ENDED = 4,     /* nothing is appended any more; it has no footer */
    SEGMENT_DEAD = 5,      /* nothing in its object is used: being deleted */
};

/* USAGE: of one segment id, and of the object of that name. */
struct usage_record {
    enum segment_state state;
    uint32_t generation; /* of its key; 0 while announced */
    uint32_t size;       /* of the object with its footer, once closed */
    uint64_t live;       /* sealed bytes in the object that are in use */
};

#define USAGE_VALUE_LEN 18u
int usage_encode(const struct usage_record *usage, uint8_t ret[static USAGE_VALUE_LEN],
                 size_t *ret_len);
int usage_decode(struct bytes value, struct usage_record *ret);

/* Under what a block was sealed: its associated data. */
struct block_identity {
    struct uuid fs;
    uint32_t generation;
    struct uuid segment;
    uint32_t address;
};

/* LOCATION: a range of addresses of a segment that lies elsewhere now. */
struct location_record {
    uint32_t len;                   /* sealed bytes */
    uint32_t live;                  /* of these in use */
    struct uuid object;             /* the segment in whose object it lies */
    uint32_t offset;                /* there */
    struct block_identity identity; /* of the first block; addresses count on from there */
};

#define LOCATION_VALUE_LEN 69u
int location_encode(const struct location_record *location, uint8_t ret[static LOCATION_VALUE_LEN],
                    size_t *ret_len);
int location_decode(struct bytes value, struct location_record *ret);

/* STATE 0: counters. STATE 1: an empty value; the usage counts must be made anew. STATE 2: what
 * only snapshots hold. STATE 4: where a downloaded filesystem came from, until all of it is here.
 * STATE 5: how far its records are (meta/underlay.h). */
#define STATE_COUNTERS 0u
#define STATE_RECOUNT 1u
#define STATE_HELD 2u
#define STATE_ORIGIN 4u
#define STATE_IMPORT 5u

struct counters_record {
    uint64_t next_ino;
    uint64_t files;  /* inodes, orphans included */
    uint64_t stored; /* sum over all inodes */
};

#define COUNTERS_VALUE_LEN 25u
int counters_encode(const struct counters_record *counters, uint8_t ret[static COUNTERS_VALUE_LEN],
                    size_t *ret_len);
int counters_decode(struct bytes value, struct counters_record *ret);

/* Sealed bytes of blocks that no live file shows any more. has_branches: there are RESTORE records,
 * without which nobody can account for blocks; who does not know of them cannot read this either.
 */
#define HELD_VALUE_LEN 9u
int held_encode(uint64_t held, bool has_branches, uint8_t ret[static HELD_VALUE_LEN],
                size_t *ret_len);
int held_decode(struct bytes value, uint64_t *ret);

enum origin_state {
    ORIGIN_NEEDED = 1, /* something is still only in the bucket */
    ORIGIN_DONE = 2,   /* all is here; the reference is to be dropped */
};

#define MANIFEST_HASH_LEN 32u

struct origin_record {
    enum origin_state state;
    struct uuid fs;      /* whose snapshot it was */
    uint32_t generation; /* of its key, under which the snapshot's records are sealed */
    struct uuid reference;
    uint8_t manifest[MANIFEST_HASH_LEN];
    uint64_t data_len; /* sealed bytes that were to be fetched at first */
};

#define ORIGIN_VALUE_LEN 78u
int origin_encode(const struct origin_record *origin, uint8_t ret[static ORIGIN_VALUE_LEN],
                  size_t *ret_len);
int origin_decode(struct bytes value, struct origin_record *ret);

enum snapshot_state {
    SNAPSHOT_KEPT = 1,
    SNAPSHOT_REMOVING = 2, /* nobody sees it any more; what was saved for it is being removed */
    SNAPSHOT_ARRIVING =
        3, /* nobody sees it yet; what it is to show is being put (snapshot_import.h) */
};

struct snapshot_record {
    enum snapshot_state state;
    uint16_t slot; /* in the upper 16 bits of its inode numbers; not 0 and not 65535 */
    int64_t created_ns;
    char name[NAME_MAX_LEN + 1];
    char access_point[NAME_MAX_LEN + 1]; /* its folder in .snapshots */
};

/* Fit to be a name in a folder, and to be shown. */
bool snapshot_name_is_possible(const char *name);

#define SNAPSHOT_VALUE_MAX (16u + 2 * (NAME_MAX_LEN + 1))
int snapshot_encode(const struct snapshot_record *snapshot, uint8_t ret[static SNAPSHOT_VALUE_MAX],
                    size_t *ret_len);
int snapshot_decode(struct bytes value, struct snapshot_record *ret);

/* RESTORE: the filesystem was put back to a snapshot, or is being put back. Or the epoch in the key
 * is a snapshot from outside, and what came after it goes on from the epoch before. */
enum restore_state {
    RESTORE_RUNNING = 1,
    RESTORE_DONE = 2,
    RESTORE_OUTSIDE = 3,
};

struct restore_record {
    enum restore_state state;
    bool is_mixed;   /* to what came from outside: history_branch.c */
    uint64_t target; /* the epoch of the snapshot; before the one in the key */
};

#define RESTORE_VALUE_LEN 10u
int restore_encode(const struct restore_record *restore, uint8_t ret[static RESTORE_VALUE_LEN],
                   size_t *ret_len);
int restore_decode(struct bytes value, struct restore_record *ret);
