#include "crypto/secret.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"

#define SECRET_MIN_BYTES 32u /* the heap's smallest piece */

/* If there were a dump all the same, or root made one (gcore), it would hold nothing of the memory:
 * OpenSSL keeps keys that are in use in its contexts, too. Where /proc is not there the rest must
 * do.
 */
static void empty_core_dumps(void)
{
    CLEANUP(close_fd) int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        (void)!write(fd, "0", 1);
}

int secret_heap_init(struct error *err)
{
    const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };

    empty_core_dumps(); /* while the file still belongs to us */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        return error_set(err, -errno, "cannot forbid core dumps: %s", strerrordesc_np(errno));

    /* 2 means that the heap is there but could not be locked. */
    int r = CRYPTO_secure_malloc_init(SECRET_HEAP_BYTES, SECRET_MIN_BYTES);
    if (r == 2)
        return error_set(err, -EPERM,
                         "cannot lock %u KiB of memory for keys: raise the limit on locked memory "
                         "(ulimit -l, LimitMEMLOCK=)",
                         SECRET_HEAP_BYTES / 1024);
    if (r != 1)
        return error_set(err, -ENOMEM, "cannot set up locked memory for keys");
    return 0;
}

int secret_new(struct secret *secret, size_t len)
{
    /* Without a heap OpenSSL would quietly fall back to ordinary memory. */
    if (!CRYPTO_secure_malloc_initialized())
        return -ENOMEM;
    uint8_t *data = OPENSSL_secure_zalloc(len ? len : 1);
    if (!data)
        return -ENOMEM;
    secret_release(secret);
    *secret = (struct secret){ .data = data, .len = len };
    return 0;
}

int secret_assign(struct secret *secret, struct bytes from)
{
    struct secret copy = SECRET_INIT;
    int r = secret_new(&copy, from.len);

    if (r < 0)
        return r;
    if (from.len)
        memcpy(copy.data, from.data, from.len);
    secret_move(secret, &copy);
    return 0;
}

void secret_move(struct secret *to, struct secret *from)
{
    secret_release(to);
    *to = *from;
    *from = SECRET_INIT;
}

void secret_release(struct secret *secret)
{
    if (secret->data)
        OPENSSL_secure_clear_free(secret->data, OPENSSL_secure_actual_size(secret->data));
    *secret = SECRET_INIT;
}

void secret_truncate(struct secret *secret, size_t len)
{
    assert(len <= secret->len);
    secret->len = len;
}

bool secret_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

void memory_wipe(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}

void buf_wipe(struct buf *buf)
{
    if (buf->data)
        memory_wipe(buf->data, buf->len);
    buf_release(buf);
}
