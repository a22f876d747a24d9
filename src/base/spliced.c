#include "base/spliced.h"

/* Where len bytes lie that are at that place, if they lie together; else NULL. */
static const uint8_t *find(const struct spliced *spliced, size_t at, size_t len)
{
    for (unsigned i = spliced->count; i-- > 0;) {
        const struct splice *splice = &spliced->splices[i];
        if (at + len <= splice->at)
            continue;
        if (at >= splice->at + splice->added.len) {
            at += splice->removed;
            at -= splice->added.len;
            continue;
        }
        bool is_inside = at >= splice->at && at + len <= splice->at + splice->added.len;
        return is_inside ? splice->added.data + (at - splice->at) : NULL;
    }
    return at <= spliced->base.len && len <= spliced->base.len - at ? spliced->base.data + at
                                                                    : NULL;
}

bool spliced_read(const struct spliced *spliced, size_t at, size_t len, uint8_t *ret)
{
    if (at > spliced->len || len > spliced->len - at)
        return false;
    const uint8_t *together = len > 0 ? find(spliced, at, len) : NULL;
    if (together) {
        memcpy(ret, together, len);
        return true;
    }
    for (size_t i = 0; i < len; i++) { /* rare: part of it was spliced in */
        const uint8_t *one = find(spliced, at + i, 1);
        if (!one)
            return false;
        ret[i] = *one;
    }
    return true;
}

size_t spliced_room(const struct spliced *spliced)
{
    size_t len = spliced->base.len;
    size_t room = len;

    for (unsigned i = 0; i < spliced->count; i++) {
        len = splice_len(&spliced->splices[i], len);
        room = len > room ? len : room;
    }
    return room;
}

void spliced_flatten(const struct spliced *spliced, uint8_t *ret)
{
    size_t len = spliced->base.len;

    if (len > 0)
        memcpy(ret, spliced->base.data, len);
    for (unsigned i = 0; i < spliced->count; i++) {
        splice_apply(&spliced->splices[i], ret, len);
        len = splice_len(&spliced->splices[i], len);
    }
}
