/* sharing_case.h - users of one bucket, for tests of transfer/sharing.h. In the place of real
 * snapshots stand small ones: a manifest is the list of its chunks, and these are few, so that
 * snapshots have many in common.
 */
#pragma once

#include <stdatomic.h>

#include "tests/support/mortal_store.h"
#include "transfer/sharing.h"

#define UNIVERSE 16u /* chunks that there can be */
#define CHOSEN 6u    /* of them in each snapshot */

extern const struct uuid some_fs, some_instance;

/* Looks again at once, until all shall stop. */
extern atomic_bool sharing_stopped;
extern const struct share_wait sharing_patience;

struct sharing_snapshot {
    struct uuid upload;
    uint8_t chunks[CHOSEN];
    struct bucket_name manifest;
};

struct bucket sharing_bucket(struct object_store *store);
struct bucket_name sharing_chunk(unsigned i);
int sharing_put_chunk(const struct bucket *bucket, const struct bucket_name *name);

/* A new one, of chunks by chance; or of the first CHOSEN from so and so on. */
void sharing_draw(struct sharing_snapshot *ret, unsigned *seed);
void sharing_choose(struct sharing_snapshot *ret, uint8_t first);
struct bucket_name sharing_head(const struct sharing_snapshot *snapshot);
void sharing_names(const struct sharing_snapshot *snapshot, struct name_set *ret);
struct reference_head sharing_reference_head(enum reference_kind kind, const struct uuid *id);

/* As those do it for whom the protocol is; may be called again after they failed. */
int sharing_upload(const struct bucket *bucket, const struct sharing_snapshot *snapshot,
                   const struct share_wait *wait);
int sharing_settle(struct reference *reference, const struct sharing_snapshot *snapshot,
                   const struct name_set *needed, const struct share_wait *wait);
/* id: of its reference, which stays. -ENOENT: the snapshot was removed meanwhile. */
int sharing_download(const struct bucket *bucket, const struct sharing_snapshot *snapshot,
                     const struct uuid *id, const struct share_wait *wait);
/* manifest NULL: only what nobody needs. */
int sharing_remove(const struct bucket *bucket, const struct uuid *mark,
                   const struct bucket_name *manifest, struct removal_counts *ret,
                   struct error *err);

int sharing_read_manifest(const struct bucket *bucket, const struct bucket_name *manifest,
                          struct sharing_snapshot *ret);
bool sharing_is_complete(const struct bucket *bucket, const struct sharing_snapshot *snapshot);

/* Every snapshot whose head is there, also behind the look at its parts, has all of them. NULL, or
 * what is wrong. */
const char *sharing_check_heads(const struct bucket *bucket);
unsigned sharing_count(const struct bucket *bucket, enum bucket_kind kind);
