/* remote_protocol.h - all that a user of an object store (stores/remote.c) and the process that
 * holds the store (remote_server.h) can say to each other, over a stream socket.
 *
 * A message is a head of REMOTE_HEAD_LEN bytes and a body: u8 version, u8 number, u16 slot, u32
 * length of the body; then the fields that the table in remote_protocol.c lists for that number.
 * Integers are little-endian. Anything that is not in the table is refused.
 *
 * The client asks in one of REMOTE_SLOTS slots and uses it again when it was answered: so many
 * requests are under way at once, and never more. What is longer than REMOTE_DATA_MAX comes in
 * pieces: PUT and REPLACE tell the whole size and are followed by PIECE in the same slot; DATA and
 * NAMES say whether more of them follow. A request is answered by what belongs to it, or by DONE
 * with the failure.
 *
 * Units      bytes.
 * Errors     negative errno and a sentence. -EBADMSG: malformed; -EPROTO: not in the table, or not
 *            for this side to send; -EPROTONOSUPPORT: another version of coffer; -EPIPE: the other
 *            side has closed. After any of them the connection is good for nothing more.
 * Ownership  data of a decoded message points into the bytes it was decoded from.
 * Threads    any; a socket is read by one thread at a time and written by one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "store/object_store.h"

#define REMOTE_HEAD_LEN 8u
#define REMOTE_DATA_MAX (1024u * 1024u)           /* in one message */
#define REMOTE_FIELDS_MAX 1024u                   /* all the others in one message */
#define REMOTE_READ_MAX (16u * REMOTE_DATA_MAX)   /* by one READ */
#define REMOTE_OBJECT_MAX (256u * 1024u * 1024u)  /* put, replace and get at once */
#define REMOTE_LISTING_MAX (512u * 1024u * 1024u) /* all NAMES of one listing */
#define REMOTE_MESSAGE_MAX (REMOTE_HEAD_LEN + REMOTE_FIELDS_MAX + REMOTE_DATA_MAX)
#define REMOTE_TEXT_SIZE 512u
#define REMOTE_SLOTS 8u
#define REMOTE_HANDLES_MAX 4096u /* objects and writers that one connection has open */

enum remote_type {
    /* the client asks */
    REMOTE_HELLO = 1,       /* HELLO_REPLY */
    REMOTE_PUT = 2,         /* DONE */
    REMOTE_REPLACE = 3,     /* DONE */
    REMOTE_PIECE = 4,       /* more of a PUT or REPLACE; without an answer of its own */
    REMOTE_GET = 5,         /* DATA */
    REMOTE_OPEN = 6,        /* HANDLE */
    REMOTE_READ = 7,        /* DATA */
    REMOTE_REMOVE = 8,      /* DONE */
    REMOTE_LIST = 9,        /* NAMES */
    REMOTE_STAT = 10,       /* SIZE */
    REMOTE_CREATE = 11,     /* HANDLE */
    REMOTE_WRITE = 12,      /* DONE */
    REMOTE_SYNC = 13,       /* DONE */
    REMOTE_SEAL = 14,       /* DONE */
    REMOTE_CLOSE = 15,      /* DONE */
    REMOTE_SPACE = 16,      /* SPACE_REPLY */
    REMOTE_START = 17,      /* DONE; before all others, from whoever started the process */
    REMOTE_ROOM = 18,       /* DONE; with a descriptor: memory for READ_ROOM, see remote_room.h */
    REMOTE_READ_ROOM = 19,  /* SIZE: so much of it is in the slot's part of that */
    REMOTE_OPEN_SIZED = 20, /* HANDLE; what it is said to have, and may only show when it is read */
    /* the server answers */
    REMOTE_DONE = 64,
    REMOTE_HELLO_REPLY = 65,
    REMOTE_DATA = 66,
    REMOTE_NAMES = 67,
    REMOTE_HANDLE = 68,
    REMOTE_SIZE = 69,
    REMOTE_SPACE_REPLY = 70,
};

enum remote_side {
    REMOTE_CLIENT,
    REMOTE_SERVER,
};

/* What a message's row in the table does not list is zeros. */
struct remote_message {
    enum remote_type type;
    uint16_t slot;
    char name[OBJECT_NAME_MAX + 1]; /* LIST: the prefix */
    uint32_t handle;
    uint64_t offset;
    uint64_t size; /* PUT, REPLACE: of the whole object; GET, READ, READ_ROOM: at most; OPEN_SIZED:
                    * as it is said; SPACE_REPLY: total */
    uint64_t free;
    uint32_t uid; /* START: whom a process that runs as root becomes */
    uint32_t gid;
    bool flag;    /* DATA, NAMES: more follow; HELLO_REPLY: the store prefers sealing; READ_ROOM:
                   * the slot's part may have no memory behind it yet */
    int32_t code; /* DONE: 0 or a negative errno */
    char text[REMOTE_TEXT_SIZE];
    struct bytes data; /* NAMES: for remote_name_take; START: of s3_settings_pack, secret */
};

/* One row for each message. */
struct remote_info {
    enum remote_type type;
    const char *name;
    enum remote_side sender;
    enum remote_type reply; /* of a request; else 0 */
    uint32_t fields;
};

/* NULL if there is no such message. */
const struct remote_info *remote_info(unsigned type);

/* All but the data into ret; the data goes behind it as it is. */
int remote_encode(const struct remote_message *message,
                  uint8_t ret[static REMOTE_HEAD_LEN + REMOTE_FIELDS_MAX], size_t *ret_len,
                  struct error *err);

/* whole: head and body, nothing else. */
int remote_decode(struct bytes whole, enum remote_side sender, struct remote_message *ret,
                  struct error *err);

/* Waits as long as it takes; who must end it shuts the socket down. */
int remote_send(int fd, const struct remote_message *message, struct error *err);

/* A message without data, and a descriptor with it. */
int remote_send_descriptor(int fd, const struct remote_message *message, int descriptor,
                           struct error *err);

/* Into room of REMOTE_MESSAGE_MAX bytes. */
int remote_receive(int fd, enum remote_side sender, uint8_t *room, struct remote_message *ret,
                   struct error *err);

/* Likewise, with the descriptor that came with it: the caller's to close; -1: none. Only ROOM has
 * one; others are closed. */
int remote_receive_descriptor(int fd, enum remote_side sender, uint8_t *room,
                              struct remote_message *ret, int *ret_descriptor, struct error *err);

/* The entries in the data of NAMES: u64 size, u16 length of the name, the name. */
#define REMOTE_NAME_ENTRY_MAX (8u + 2u + OBJECT_NAME_MAX)
size_t remote_name_put(const char *name, uint64_t size, uint8_t to[static REMOTE_NAME_ENTRY_MAX]);

/* Takes one from the beginning of entries; false if it is malformed. Not on what is empty. */
bool remote_name_take(struct bytes *entries, char ret_name[static OBJECT_NAME_MAX + 1],
                      uint64_t *ret_size);
