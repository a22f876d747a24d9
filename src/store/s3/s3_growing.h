/* s3_growing.h - an object that is being written: its bytes in memory, shared by its writer and by
 * who reads it meanwhile, and stored as one object when it is synced. Only for src/store.
 *
 * Errors     as in store/s3_store.h.
 * Ownership  counted references.
 * Threads    any; sync and seal wait for each other, and removal for them.
 */
#pragma once

#include "store/s3/s3_client.h"

struct s3_growing;

int s3_growing_new(struct s3_client *client, const char *name, struct s3_growing **ret,
                   struct error *err);
void s3_growing_ref(struct s3_growing *growing);
void s3_growing_unref(struct s3_growing *growing); /* NULL is allowed */

const char *s3_growing_name(const struct s3_growing *growing);
int s3_growing_write(struct s3_growing *growing, uint64_t offset, struct bytes data,
                     struct error *err);
int s3_growing_read(struct s3_growing *growing, uint64_t offset, size_t len, uint8_t *to,
                    size_t *ret_len, struct error *err);
uint64_t s3_growing_size(struct s3_growing *growing);

/* Stores what is there, unless it is stored already. is_last: it is not kept in memory then. */
int s3_growing_store(struct s3_growing *growing, bool is_last, struct error *err);

/* For a writer that is closed: what was never synced is stored, if that works. */
void s3_growing_leave(struct s3_growing *growing);

/* Whether the server has an object of this name that came from here. */
bool s3_growing_is_stored(struct s3_growing *growing);

/* From now on it is stored no more; after this returns no attempt is under way. */
void s3_growing_removed(struct s3_growing *growing);
