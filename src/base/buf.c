#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int buf_assign(struct buf *buf, struct bytes from)
{
    uint8_t *copy = malloc(from.len ? from.len : 1);
    if (!copy)
        return -ENOMEM;
    if (from.len)
        memcpy(copy, from.data, from.len);

    buf_release(buf);
    *buf = (struct buf){ .data = copy, .len = from.len };
    return 0;
}

int buf_append(struct buf *buf, struct bytes more)
{
    if (more.len == 0)
        return 0;
    uint8_t *grown = realloc(buf->data, buf->len + more.len);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + buf->len, more.data, more.len);
    buf->data = grown;
    buf->len += more.len;
    return 0;
}

void buf_release(struct buf *buf)
{
    free(buf->data);
    *buf = BUF_INIT;
}

void buf_move(struct buf *to, struct buf *from)
{
    buf_release(to);
    *to = *from;
    *from = BUF_INIT;
}
