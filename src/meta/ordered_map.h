/* ordered_map.h - an ordered map of bytes in memory that keeps the versions of each value, so
 * that many threads read, each as of one moment, while one writes. Nobody waits.
 *
 * A skip list for the order, and a hash table for single keys, whose nodes are never taken out (a
 * removed key holds a version that says so) and whose memory is given back only with the whole
 * map: readers need no lock for that reason.
 * A version may be a patch: a few bytes in the place of others of the version before it, so that a
 * long value of which little changes again and again does not fill the memory.
 *
 * Units      a moment is a sequence number: a reader of seq sees the newest version that is not
 *            later. The writer gives ascending ones.
 * Errors     -ENOMEM, and what ordered_map_patch() says.
 * Ownership  keys and values are copied; what is returned points into the map and stays as it is
 *            until the map is freed.
 * Threads    one writer at a time (put, commit, rollback, free), any number of readers beside it.
 *            That a reader sees what the writer did with seq is up to who tells it of seq.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/spliced.h"

struct ordered_map;
struct ordered_map_node;
struct ordered_map_version;

int ordered_map_new(struct ordered_map **ret);
void ordered_map_free(struct ordered_map *map); /* NULL is allowed */

enum ordered_map_found {
    ORDERED_MAP_ABSENT,  /* the map knows nothing of the key */
    ORDERED_MAP_REMOVED, /* the key was removed */
    ORDERED_MAP_VALUE,
};

/* What one put changed; for who keeps count. */
struct ordered_map_change {
    enum ordered_map_found before;
    size_t before_len;
};

/* A new version of the key's value, uncommitted. removed: that it is gone, and value is not
 * looked at. */
int ordered_map_put(struct ordered_map *map, struct bytes key, struct bytes value, bool removed,
                    uint64_t seq, struct ordered_map_change *ret);

/* A new version of the key's newest value, uncommitted. -ENOENT: the map has no value of the key,
 * or enough patches upon it: put it whole. -EINVAL: it is not that long. */
int ordered_map_patch(struct ordered_map *map, struct bytes key, const struct splice *patch,
                      uint64_t seq);

/* Keeps, or takes back, everything put or patched since the last of either. */
void ordered_map_commit(struct ordered_map *map);
void ordered_map_rollback(struct ordered_map *map);
bool ordered_map_is_changed(const struct ordered_map *map); /* since then */

enum ordered_map_found ordered_map_get(const struct ordered_map *map, struct bytes key,
                                       uint64_t seq, struct spliced *ret);

/* What is known of a key at one moment, to find out later whether anybody has put or patched it
 * since. */
struct ordered_map_mark {
    const struct ordered_map_node *node; /* NULL: the map knew nothing of the key */
    const struct ordered_map_version *version;
};

struct ordered_map_mark ordered_map_mark(const struct ordered_map *map, struct bytes key,
                                         uint64_t seq);
/* What ordered_map_get() gives for it. */
enum ordered_map_found ordered_map_read(const struct ordered_map_mark *mark, struct spliced *ret);
/* By the writer. */
bool ordered_map_is_current(const struct ordered_map *map, struct bytes key,
                            const struct ordered_map_mark *mark);

/* Bytes of memory in use, versions that nobody can see any more included. */
size_t ordered_map_memory(const struct ordered_map *map);

/* Walks in ascending order over what is visible at seq, removed keys included. */
struct ordered_map_cursor {
    const struct ordered_map_node *node; /* NULL: behind the last one */
    uint64_t seq;
    struct bytes key;
    const struct ordered_map_version *version;
    bool removed;
};

/* To the first key that is not less than first. map may be NULL: empty. */
void ordered_map_seek(struct ordered_map_cursor *cursor, const struct ordered_map *map,
                      struct bytes first, uint64_t seq);
void ordered_map_next(struct ordered_map_cursor *cursor);

/* Of where the cursor stands, which is not a removed key. */
void ordered_map_value(const struct ordered_map_cursor *cursor, struct spliced *ret);
