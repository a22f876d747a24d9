/* buf.h - bytes borrowed (struct bytes) and bytes owned (struct buf).
 *
 * Errors     -ENOMEM only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *data;
    size_t len;
};

struct buf {
    uint8_t *data;
    size_t len;
};

#define BUF_INIT ((struct buf){ .data = NULL })

int buf_assign(struct buf *buf, struct bytes from);
int buf_append(struct buf *buf, struct bytes more);
void buf_move(struct buf *to, struct buf *from); /* from ends up empty */
void buf_release(struct buf *buf);

static inline struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){ .data = buf->data, .len = buf->len };
}
