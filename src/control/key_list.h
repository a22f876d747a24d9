/* key_list.h - the different keys of key servers that some rings name. Local keys are none.
 * As bytes: docs/formats/registry.md.
 *
 * Errors     -ENOMEM; -EBADMSG: no such bytes; -EPROTONOSUPPORT: of a later version.
 * Ownership  the list owns its keys.
 */
#pragma once

#include "control/control.h"
#include "keyring/key_ring.h"

struct key_list {
    struct rewrap_key *keys;
    size_t count;
};

void key_list_release(struct key_list *list);

/* Of what wraps each generation, and of what did before. */
int key_list_add_ring(struct key_list *list, const struct key_ring *ring, struct error *err);

/* One more, if it is a key server's and not there yet. */
int key_list_add(struct key_list *list, const struct rewrap_key *key, struct error *err);

/* -ENOSPC: longer than a value of the registry may be. */
int key_list_encode(const struct key_list *list, struct buf *ret, struct error *err);

/* Adds what the bytes hold. */
int key_list_decode(struct bytes encoded, struct key_list *list, struct error *err);

/* By name, then version. */
void key_list_sort(struct key_list *list);
bool key_list_has(const struct key_list *list, const struct rewrap_key *key);

void key_list_describe(const struct wrapped_key *wrapped, struct rewrap_key *ret);
