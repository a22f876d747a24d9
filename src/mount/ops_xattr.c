/* Extended attributes. Those of the namespace system (POSIX ACLs) are not supported yet, and say
 * so, so that nobody believes that they are obeyed. */
#include "mount/session_internal.h"

#include <errno.h>
#include <string.h>

static bool is_supported(const char *name)
{
    return strncmp(name, "system.", strlen("system.")) != 0;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                 int flags)
{
    const struct bytes bytes = { (const uint8_t *)value, size };

    reply_result(req, is_supported(name) ? volume_setxattr(volume_of(req), ino, name, bytes, flags)
                                         : -EOPNOTSUPP);
}

#define TRUSTED "trusted."

/* The kernel lets only root read attributes of this namespace, but leaves it to the filesystem
 * who sees their names. Returns the new length. */
static size_t hide_trusted(char *names, size_t len)
{
    size_t kept = 0;

    for (size_t at = 0; at < len;) {
        size_t size = strlen(names + at) + 1;
        if (strncmp(names + at, TRUSTED, strlen(TRUSTED)) != 0) {
            memmove(names + kept, names + at, size);
            kept += size;
        }
        at += size;
    }
    return kept;
}

/* size 0 asks for the length; otherwise the buffer's first len bytes are the answer. */
static void reply_bytes(fuse_req_t req, int r, const uint8_t *buffer, size_t size, size_t len)
{
    if (r < 0)
        reply_result(req, r);
    else if (size == 0)
        (void)fuse_reply_xattr(req, len);
    else
        (void)fuse_reply_buf(req, (const char *)buffer, len);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    uint8_t *buffer = mount_thread_buffer(session_of(req));
    size_t len = 0;
    int r = -ENOMEM;

    if (size > MOUNT_REQUEST_MAX)
        size = MOUNT_REQUEST_MAX;
    if (!is_supported(name))
        r = -EOPNOTSUPP;
    else if (buffer)
        r = volume_getxattr(volume_of(req), ino, name, buffer, size, &len);
    reply_bytes(req, r, buffer, size, len);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    uint8_t *buffer = mount_thread_buffer(session_of(req));
    size_t len = 0;
    int r = -ENOMEM;

    if (buffer)
        r = volume_listxattr(volume_of(req), ino, (char *)buffer, MOUNT_REQUEST_MAX, &len);
    if (r == 0 && fuse_req_ctx(req)->uid != 0)
        len = hide_trusted((char *)buffer, len);
    if (r == 0 && size > 0 && len > size)
        r = -ERANGE;
    reply_bytes(req, r, buffer, size, len);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    reply_result(req,
                 is_supported(name) ? volume_removexattr(volume_of(req), ino, name) : -EOPNOTSUPP);
}
