/* remote_room.h - memory that a remote store and its server share: what the one reads the other
 * puts there, in the place of the socket. It has a part of REMOTE_READ_MAX for each slot.
 *
 *     client  remote_room_new ──fd, by ROOM──► server  remote_room_map
 *             READ_ROOM ──────────────────────►        remote_room_part, fills it
 *             takes a copy ◄────── how much ──
 *
 * Neither side trusts the other with it. Its size is sealed, so that nobody's memory goes away: of
 * what a server takes out of it the client finds zeros. (They need memory; where the kernel grants
 * none, with vm.overcommit_memory=2, such a server can end the client by a signal.) The server only
 * writes to it. The client takes a copy and looks at that, which nobody else can change while it is
 * verified and used; to read() it, page by page, would cost twice as much as memcpy() does. Only a
 * verification, which uses nothing of it, looks at it where it is (object_look()): a server that
 * shows good bytes to that and others later needs no shared memory for it.
 *
 * Units      bytes.
 * Errors     negative errno, and where a person will read it a sentence.
 * Ownership  of the descriptor: in each comment.
 * Threads    each function may be called by many, for different slots.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The client's; *ret_fd is to be closed. No memory is used yet. */
int remote_room_new(int *ret_fd);

/* All of it, for reading, and until it is unmapped. */
int remote_room_view(int fd, uint8_t **ret);

/* Gives the memory of a slot's part back to the system, but for the first keep bytes. */
void remote_room_trim(int fd, unsigned slot, size_t keep);

/* The server's: where the room begins. -EBADMSG: it is none. fd stays the caller's and can be
 * closed. */
int remote_room_map(int fd, uint8_t **ret, struct error *err);
void remote_room_unmap(uint8_t *room); /* NULL is allowed */

/* Where the slot's part begins. */
uint8_t *remote_room_part(uint8_t *room, unsigned slot);
/* Puts memory behind len bytes of it. -ENOMEM. */
int remote_room_ready(uint8_t *part, size_t len);
