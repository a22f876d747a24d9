#include "api/web_identity.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "base/log.h"

#define PEM_MAX (64UL * 1024)
#define OWN_DAYS 1825u
#define RENEW_S (30LL * 24 * 3600)
#define HOST_SIZE 65u
#define NS_PER_S 1000000000LL

void web_fingerprint(const struct tls_identity *identity, char ret[static WEB_FINGERPRINT_SIZE])
{
    uint8_t hash[HASH_LEN];

    tls_identity_fingerprint(identity, hash);
    for (size_t i = 0; i < HASH_LEN; i++)
        (void)snprintf(ret + 3 * i, WEB_FINGERPRINT_SIZE - 3 * i,
                       i + 1 < HASH_LEN ? "%02X:" : "%02X", hash[i]);
}

static int read_files(const char *cert_path, const char *key_path, struct tls_identity **ret,
                      struct error *err)
{
    CLEANUP(buf_release) struct buf cert = BUF_INIT;
    CLEANUP(buf_wipe) struct buf key = BUF_INIT;
    int r = file_read(cert_path, PEM_MAX, &cert, err);

    if (r == 0)
        r = file_read(key_path, PEM_MAX, &key, err);
    return r < 0 ? r : tls_identity_read(buf_bytes(&cert), buf_bytes(&key), ret, err);
}

static void warn_of_readers(const char *key_path)
{
    struct stat st;

    if (stat(key_path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        log_warning("%s may be used by others than its owner; it holds a private key (chmod 600)",
                    key_path);
}

int web_identity_read(const char *cert_path, const char *key_path, struct tls_identity **ret,
                      struct error *err)
{
    int r = read_files(cert_path, key_path, ret, err);

    if (r < 0)
        return error_prefix(err, r, "the certificate for HTTPS, %s with %s, cannot be used",
                            cert_path, key_path);
    warn_of_readers(key_path);
    if (tls_identity_validity(*ret).until_s <= clock_wall_ns() / NS_PER_S)
        log_warning("the certificate for HTTPS in %s has expired; replace it and restart cofferd",
                    cert_path);
    return 0;
}

/* ------------------------------------------------------------------ a certificate of its own */

static bool is_host_name(const char *name)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";

    return *name != '\0' && strspn(name, good) == strlen(name);
}

static size_t own_names(const char *listen_host, char host[static HOST_SIZE], const char **ret)
{
    size_t count = 0;

    if (gethostname(host, HOST_SIZE - 1) == 0 && is_host_name(host) &&
        strcmp(host, "localhost") != 0)
        ret[count++] = host;
    ret[count++] = "localhost";
    ret[count++] = "127.0.0.1";
    ret[count++] = "::1";
    if (listen_host[0] != '\0' && strcmp(listen_host, "localhost") != 0 &&
        strcmp(listen_host, "127.0.0.1") != 0 && strcmp(listen_host, "::1") != 0 &&
        strcmp(listen_host, host) != 0)
        ret[count++] = listen_host;
    return count;
}

/* The key first: a certificate without its key is made anew. */
static int make_own(const char *cert_path, const char *key_path, const char *listen_host,
                    struct error *err)
{
    CLEANUP(buf_release) struct buf cert = BUF_INIT;
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    char host[HOST_SIZE] = "";
    const char *names[5];
    size_t count = own_names(listen_host, host, names);
    int r = tls_identity_make(names, count, OWN_DAYS, &cert, &key, err);

    if (r == 0)
        r = file_replace(key_path, secret_bytes(&key), 0600, err);
    if (r == 0)
        r = file_replace(cert_path, buf_bytes(&cert), 0644, err);
    if (r == 0)
        log_info("made a certificate for HTTPS, %s", cert_path);
    return r;
}

static bool is_good(const struct tls_identity *identity)
{
    return tls_identity_validity(identity).until_s > clock_wall_ns() / NS_PER_S + RENEW_S;
}

int web_identity_own(const char *state_dir, const char *listen_host, struct tls_identity **ret,
                     struct error *err)
{
    CLEANUP(tls_identity_freep) struct tls_identity *identity = NULL;
    char cert_path[PATH_MAX];
    char key_path[PATH_MAX];
    struct error why = { .code = 0 };

    if (snprintf(cert_path, PATH_MAX, "%s/https-cert.pem", state_dir) >= PATH_MAX ||
        snprintf(key_path, PATH_MAX, "%s/https-key.pem", state_dir) >= PATH_MAX)
        return error_set(err, -ENAMETOOLONG, "path too long: %s", state_dir);
    int r = read_files(cert_path, key_path, &identity, &why);
    if (r < 0 && r != -ENOENT && r != -EINVAL)
        return error_set(err, r, "the certificate for HTTPS cannot be read: %s", why.text);
    if (r < 0 || !is_good(identity)) {
        tls_identity_free(TAKE(identity));
        r = make_own(cert_path, key_path, listen_host, err);
        if (r == 0)
            r = read_files(cert_path, key_path, &identity, err);
    }
    if (r < 0)
        return error_prefix(err, r, "no certificate for HTTPS");
    *ret = TAKE(identity);
    return 0;
}
