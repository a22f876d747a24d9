/* renewable.h - a store in front of one that can end, as one does that another process holds
 * (remote_store.h): it is exchanged for the next one while it is in use. What is under way ends as
 * the former one has it end; what begins later is done by the new one. An object that was opened
 * before is opened there again when it is read; a writer stays with the store that it began in.
 *
 * Errors     those of the store behind, also when it has ended; -ENOMEM.
 * Ownership  it owns the store behind, and closes a former one when nothing uses it any more.
 * Threads    any, also to renew it.
 */
#pragma once

#include "store/object_store.h"

struct renewable_store;

/* Takes over first, unless it fails. *ret_renewable lives as long as the store. */
int renewable_store_new(struct object_store *first, struct object_store **ret_store,
                        struct renewable_store **ret_renewable);

/* Takes over next; of the same objects. -ENOMEM: it is not taken over. */
int renewable_store_renew(struct renewable_store *renewable, struct object_store *next);
