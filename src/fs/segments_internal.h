/* segments_internal.h - what the files behind segments.h share.
 *
 *   segment_table.c   which segments there are, where ranges lie, what is in use; no store
 *   segment_groups.c  the account on its way into metadata records; announced ids; dead objects
 *   segment_append.c  the current segment, sealing, pieces in memory
 *   segment_sync.c    durability, footers
 *   segment_rescue.c  what a failed sync may have lost, brought elsewhere
 *   segment_read.c    reading and verifying
 *   segment_move.c    ciphertext copied as it is, for compaction and from outside
 *   segment_fetch.c   and from packs
 *   segment_bring.c   where what was copied from outside lies
 *   segment_salvage.c what the store tells of when records are lost
 *
 * Locks, in this order: sync_lock (one thread makes things durable), lock (short; never across a
 * store's call). The engine's write transaction may be held around lock, never the other way.
 */
#pragma once

#include <pthread.h>

#include "base/thread.h"
#include "fs/segment_format.h"
#include "fs/segments.h"

/* Memory of what waits for a sync: from the first on, who appends also syncs; at the second,
 * all wait. */
#define NOT_DURABLE_SYNC ((uint64_t)24 * 1024 * 1024)
#define NOT_DURABLE_MAX ((uint64_t)48 * 1024 * 1024)

/* Ids known to be announced: new ones are drawn when there are fewer than the first. */
#define IDS_KEPT 16u /* for rescues, without which a group may never be durable again */
#define IDS_WANTED (IDS_KEPT + 16u) /* with fewer a group should be closed soon */
#define IDS_LOW (IDS_KEPT + 32u)    /* with fewer it announces more */
#define IDS_FULL (IDS_KEPT + 64u)

#define PUSHES_MAX 4u /* of segments_push(), at once */

#define READERS_MAX 256u /* open objects and ciphers */

/* Sealed blocks in memory: as long as they are not durable. */
struct piece {
    struct piece *next;
    struct block_identity identity; /* of its first block */
    uint32_t offset;                /* in the object */
    uint32_t len;
    struct segment_entry *entries; /* what it holds: its own, or those of one with many */
    unsigned entry_count;
    struct segment_entry own_entries[APPEND_RUNS_MAX];
    size_t room; /* of data */
    uint8_t data[];
};

#define PIECE_ROOM ((size_t)CHUNK_SIZE + 65536u) /* of who writes */
#define PIECE_SIZES 3u                           /* and PACK_SPAN_SMALL, PACK_SPAN_MAX */

/* Those of one of these sizes that nobody uses. */
struct piece_pool {
    struct piece *first;
    unsigned count;
};

/* A range of a segment's addresses that lies in another object. */
struct location {
    uint32_t first;
    uint32_t len;
    uint32_t live;
    uint32_t offset;
    struct segment *object;
    struct block_identity identity;
    bool is_changed;
};

/* Of the last two there is no USAGE record, and no object in the store: they are what LOCATION
 * records of a downloaded snapshot speak of. */
enum segment_kind {
    SEGMENT_OWN,
    SEGMENT_FOREIGN, /* of another filesystem: all that is in use of it lies elsewhere */
    SEGMENT_PACK,    /* an object of a bucket */
};

/* An id, and the object of that name. */
struct segment {
    struct uuid id;
    enum segment_kind kind;
    struct uuid fs; /* of a foreign one: whose key seals it */
    struct segment *next_in_bucket;
    struct segment *next_listed;  /* in the one struct segment_list that it is in */
    struct segment *next_changed; /* which it may be besides */

    enum segment_state state;
    uint32_t generation;
    uint32_t size;          /* what its object holds */
    uint64_t live;          /* sealed bytes in its object in use */
    uint32_t pending;       /* appends that were not released yet */
    bool is_changed;        /* is in the list of changed */
    bool is_victim;         /* is being compacted */
    bool is_deleted;        /* its object is gone */
    bool is_gone;           /* the id is forgotten; freed by its last reader */
    struct location *moved; /* ascending */
    size_t moved_count;
    size_t moved_room;

    uint64_t check_expected; /* live when a check began */
    uint64_t check_found;
    bool is_checked;
    bool is_shifted; /* since a check began, ranges went from or to it: only the sum of all such
                      * tells whether what is found is what was expected */

    /* While it is written. */
    struct object_writer *writer;
    uint32_t in_flight; /* writes that have not returned */
    bool is_full;       /* nothing is appended any more */
    bool has_failed;    /* its writer is only good for close */
    bool is_dirty;      /* is in the list of dirty */
    bool is_syncing;    /* a sync has it */
    uint64_t push;      /* the number of the one that had it; 0: none */
    struct segment *next_dirty;
    struct piece *pieces;
    struct piece **pieces_end;
    struct piece *syncing; /* those that a sync or a push is to make durable; of one thread */
    struct segment_entry *entries;
    uint32_t entry_count;
    uint32_t entry_room;

    /* While it is read. */
    struct object *object;
    struct aead *aead;
    unsigned readers;
    struct segment *newer; /* in the list of those that are open for reading */
    struct segment *older;
};

/* A list through next_listed. */
struct segment_list {
    struct segment *first;
    struct segment **end;
    unsigned count;
};

/* Where is appended. The first lane is for all who write; of the others a thread that fetches has
 * one to itself: in a folder, writes to one file wait for each other. */
struct lane {
    struct segment *current; /* NULL: none yet */
    bool is_opening;         /* a thread makes the next one */
    bool is_taken;
};

#define FETCH_LANES 3u

/* A record of the group that is being written, from after it was closed. */
struct extra_record {
    struct record_key key;
    uint8_t value[LOCATION_VALUE_LEN];
    size_t len;
};

struct segments {
    struct object_store *store;
    const struct segment_packs *packs; /* may be NULL */
    struct uuid fs;
    struct key_set keys;
    uint32_t generation;             /* of new segments */
    uint32_t segment_size;           /* likewise */
    segments_trouble_fn *on_trouble; /* may be NULL */
    void *trouble_arg;
    bool salvages;

    struct mutex sync_lock;

    struct mutex lock;      /* guards all below */
    pthread_cond_t changed; /* ids, the current segment, room to append */

    struct segment **buckets;
    size_t bucket_count;
    size_t segment_count;
    uint64_t stored; /* sum of size over objects that are there */
    uint64_t live;   /* without what lies in packs */
    uint64_t live_in_packs;
    uint64_t not_durable; /* memory of all pieces */
    uint64_t appended;    /* ever */
    unsigned unsettled;   /* transactions that are accounted for and may still fail */
    bool needs_recount;   /* the account is not to be relied on */
    bool is_rescued;      /* something was, since a recount began: that may be wrong */
    bool recount_noted;   /* and the stored metadata says so */

    bool is_checking; /* what lies where is looked up as of when that began: none is forgotten */

    struct segment *changed_first;  /* their usage or locations are to be written */
    struct segment_list announcing; /* ids in the group that collects, or is being written */
    struct segment_list announced;  /* durable, but the superblock does not know */
    struct segment_list usable;
    struct segment *probe; /* usable, but for what may be left of a rescue that failed; or NULL */
    unsigned id_waiters;   /* threads that wait for one */
    uint64_t id_failures;
    struct error id_error; /* of the last failure */

    struct segment_list dying; /* dead in the group that is being written */
    struct segment_list dead;  /* its object may be deleted */

    struct lane lanes[1 + FETCH_LANES];
    struct segment *dirty;
    uint64_t pushes_begun;
    uint64_t pushing[PUSHES_MAX]; /* the numbers of those under way; 0: none */

    struct extra_record *extras;
    size_t extra_count;
    size_t extra_sent; /* of these are in the group that is being written */
    size_t extra_room;
    struct extra_record extra_given; /* the one that who writes it looks at */

    struct run_list freed_of_victims; /* while any is_victim */
    bool has_victims;

    struct segment *newest_reader;
    struct segment *oldest_reader;
    unsigned reader_count;

    unsigned demands;  /* threads that read blocks of packs */
    unsigned fetching; /* threads that fetch some */
    pthread_cond_t fetch_turn;

    struct piece_pool spares[PIECE_SIZES];
};

/* segment_read.c: of an object, or, for what must not come from a copy on the way to the store. */
int segment_read_object(struct object *object, bool from_origin, uint64_t offset, size_t len,
                        uint8_t *to, size_t *ret_len, struct error *err);

/* segment_table.c */
struct segment *segment_find(struct segments *segments, const struct uuid *id)
    REQUIRES(segments->lock);
struct segment *segment_add(struct segments *segments, const struct uuid *id)
    REQUIRES(segments->lock); /* NULL: -ENOMEM */
/* One without an object, of which LOCATION records tell. */
struct segment *segment_add_foreign(struct segments *segments, const struct uuid *id,
                                    const struct block_identity *identity) REQUIRES(segments->lock);
void segment_drop(struct segments *segments, struct segment *segment) REQUIRES(segments->lock);
void segment_free(struct segments *segments, struct segment *segment) REQUIRES(segments->lock);
int segment_add_location(struct segment *segment, const struct location *location);
int segment_insert_location(struct segment *segment, size_t index, const struct location *location);
void segment_changed(struct segments *segments, struct segment *segment) REQUIRES(segments->lock);
void segment_list_push(struct segment_list *list, struct segment *segment);
struct segment *segment_list_pop(struct segment_list *list);

/* Where the address of a segment lies. */
struct place {
    struct segment *object;
    uint32_t offset;
    uint32_t len; /* this far on, everything lies together; UINT32_MAX: to the end */
    struct block_identity identity;
};

/* -ENOENT: no such segment. */
int segment_resolve(struct segments *segments, const struct uuid *id, uint32_t address,
                    struct place *ret) REQUIRES(segments->lock);

/* How many of the len bytes from address on lie together; or, not known, lie nowhere. */
uint32_t segment_together(struct segments *segments, const struct uuid *id, uint32_t address,
                          uint32_t len, bool *ret_is_known) REQUIRES(segments->lock);

/* The len bytes from address on lie in object at offset from now on; all of them lay in one place
 * before. live of them are in use. identity is that of the first block. */
int segment_relocate(struct segments *segments, const struct uuid *id, uint32_t address,
                     const struct block_identity *identity, uint32_t len, uint32_t live,
                     struct segment *object, uint32_t offset) REQUIRES(segments->lock);
void segments_drop_dead_location(struct segments *segments, struct segment *segment, size_t index)
    REQUIRES(segments->lock);

/* Makes each location inside or outside of what begins at address. */
int segment_split_location(struct segment *segment, uint32_t address);
/* Of those that end behind address, the index of the first. */
size_t segment_find_location(const struct segment *segment, uint32_t address);
/* So many bytes more of an object are in use. */
void segment_account(struct segments *segments, struct segment *object, int64_t bytes)
    REQUIRES(segments->lock);

/* segment_groups.c: it, or where a range of it lies, is of no use any more. */
bool segment_is_to_forget(const struct segment *segment);

/* segment_append.c */
struct room {
    struct segment *segment;
    uint32_t offset;
};

/* Takes len bytes of the current segment, or of a new one; in_flight and pending count it. Who
 * makes things durable must not wait for an announced id, which may be waiting for him: -EAGAIN. */
int segment_reserve(struct segments *segments, uint32_t len, bool may_wait, struct room *ret,
                    struct error *err);
/* The same in a lane of who fetches. Waits for one; where objects are stored whole all have the
 * first one. */
struct lane *segments_take_lane(struct segments *segments);
int segment_reserve_in(struct segments *segments, struct lane *lane, uint32_t len, bool may_wait,
                       struct room *ret, struct error *err);
void segments_give_lane(struct segments *segments, struct lane *lane);
/* Never waits, and may take the last id. */
int segment_reserve_for_rescue(struct segments *segments, uint32_t len, struct room *ret,
                               struct error *err);
int segment_write_header(struct segments *segments, const struct segment *segment,
                         struct object_writer *writer, struct error *err);
/* Writes the piece, and keeps it if that went well; else it stays the caller's. Ends what
 * segment_reserve() began, but for pending after a success. */
int segment_write(struct segments *segments, struct segment *segment, struct piece *piece,
                  struct error *err);
/* The same of ciphertext that is copied as it is: run, to the room that was reserved. The piece is
 * taken. *ret: where it lies then. */
int segment_write_copy(struct segments *segments, const struct room *room, struct piece *piece,
                       const struct block_run *run, struct segment_copy *ret, struct error *err);
/* What it does besides the write, which returned r. */
int segment_keep(struct segments *segments, struct segment *segment, struct piece *piece)
    REQUIRES(segments->lock); /* -ENOMEM */
void segment_end_write(struct segments *segments, struct segment *segment, int r)
    REQUIRES(segments->lock);
/* The piece, as it is, at a new place: where its entries lie changes, not its identity. */
void piece_place(struct piece *piece, uint32_t offset);
void segment_note_dirty(struct segments *segments, struct segment *segment)
    REQUIRES(segments->lock);
struct piece *piece_new(struct segments *segments, size_t len);
/* Room for so many entries. */
int piece_entries(struct piece *piece, size_t count);
void piece_free(struct segments *segments, struct piece *piece);
/* Nothing more is appended to it. */
void segments_end_segment(struct segments *segments, struct segment *segment)
    REQUIRES(segments->lock);
/* Likewise of the current ones, if there are any; the next sync completes them. */
void segments_end_current_locked(struct segments *segments) REQUIRES(segments->lock);
void segment_unpend(struct segments *segments, struct segment *segment) REQUIRES(segments->lock);
/* Who appends pays for what is not durable yet: one thread syncs, and too far on all wait. */
int segments_push_back(struct segments *segments, struct error *err);

/* segment_rescue.c */
/* Brings the pieces of a segment which a sync had, and which failed, into the current one. What
 * could not be written stays with it. */
int segment_rescue(struct segments *segments, struct segment *segment, bool *ret_has_moved,
                   struct error *err);
/* Likewise those of several, when ids are few: into objects of their own, in which they are durable
 * then; what fails takes no id. */
int segments_rescue_apart(struct segments *segments, struct segment *const *failed, size_t count,
                          struct error *err);

/* segment_sync.c */
void pieces_free(struct segments *segments, struct piece *pieces);
int segments_sync_locked(struct segments *segments, struct error *err)
    REQUIRES(segments->sync_lock);

/* segment_read.c */
void segment_close_reader(struct segments *segments, struct segment *segment)
    REQUIRES(segments->lock);
/* Held: neither closed nor freed until given back. */
void segment_reader_take(struct segments *segments, struct segment *segment)
    REQUIRES(segments->lock);
void segment_reader_put(struct segments *segments, struct segment *segment);

/* "segment ..." or "pack ...", as the object is called in the store or the bucket: for errors. */
#define SEGMENT_TEXT_SIZE (UUID_TEXT_SIZE + 8u)
void segment_describe(const struct segment *segment, char ret[static SEGMENT_TEXT_SIZE]);

/* The same by its id, with its cipher or, of a pack, with its object. -ENOENT: it is not known any
 * more. */
int segment_hold(struct segments *segments, const struct uuid *id, struct segment **ret,
                 struct error *err);

/* segment_fetch.c: around each read of blocks that lie in a pack. */
void segments_demand(struct segments *segments);
void segments_demand_end(struct segments *segments);

/* segment_salvage.c: adds segments of which there is only the object. At open. */
int segments_find_unknown(struct segments *segments, struct error *err) REQUIRES(segments->lock);

/* Where an address lies now, with what reading it takes. */
struct source {
    struct place place;
    struct segment *sealed_by; /* whose cipher */
};

/* is_opened: what is read is opened, too, for which -ENOKEY says that the key is not at hand. What
 * is taken as it is needs none. */
int source_get(struct segments *segments, const struct uuid *id, uint32_t address, bool is_opened,
               struct source *ret, struct error *err);
void source_put(struct segments *segments, struct source *source);
