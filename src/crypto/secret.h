/* secret.h - memory for keys, tokens and passwords: locked, left out of core dumps, wiped when
 * released, compared in constant time, and never printed.
 *
 * It is OpenSSL's secure heap (SECRET_HEAP_BYTES in all). Before secret_heap_init() there is no
 * secret memory and every secret_new() fails.
 *
 * Errors     -ENOMEM: the secure heap is full or was never set up.
 * Ownership  a struct secret owns its bytes. SECRET_INIT holds nothing.
 * Threads    a secret is used by one thread at a time, or only read by all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define SECRET_HEAP_BYTES (512u * 1024u)

struct secret {
    uint8_t *data;
    size_t len;
};

#define SECRET_INIT ((struct secret){ .data = NULL })

/* Once for the process, before its first thread. Also forbids core dumps and tracing by other
 * processes of the same user. Fails where memory cannot be locked. */
int secret_heap_init(struct error *err);

/* len zero bytes in place of what *secret held. */
int secret_new(struct secret *secret, size_t len);
int secret_assign(struct secret *secret, struct bytes from);
void secret_move(struct secret *to, struct secret *from); /* from ends up empty */
void secret_release(struct secret *secret);               /* wipes; empty is allowed */

/* Shortens to len bytes; the rest is wiped when the secret is released. */
void secret_truncate(struct secret *secret, size_t len);

static inline struct bytes secret_bytes(const struct secret *secret)
{
    return (struct bytes){ .data = secret->data, .len = secret->len };
}

/* In a time that depends on the lengths only. */
bool secret_equal(struct bytes a, struct bytes b);

/* For what had to stand in ordinary memory for a moment: a TLS buffer's copy, a parsed reply. */
void memory_wipe(void *data, size_t len);
void buf_wipe(struct buf *buf); /* wipes and releases */
