/* s3_store.h - an object store behind the S3 protocol: a bucket, or what begins with a prefix in
 * one. Requests are signed by our own signer (net/sigv4.h), the body's SHA-256 included, so that
 * what was altered on the way is refused; connections are kept and used again, at most so many at
 * once; what can pass (a busy server, a cut connection) is tried again, a few times.
 *
 * Objects are put whole. A writer keeps what is written in memory and stores it, as one object, at
 * each sync; so who appends to such a store seals at each sync (prefers_sealing). put and a
 * writer's first sync never overwrite (If-None-Match); a writer whose name another process took
 * meanwhile learns that at its first sync. One that is closed with bytes that were never synced
 * tries to store them.
 *
 * An object that was opened and is then removed, or replaced, can still be read if it is small
 * (S3_SMALL_LEN) or was being written here; else reading it says -ENOENT or -ESTALE.
 *
 * Units      bytes, milliseconds.
 * Errors     those of store/object_store.h; -EACCES: the server refuses the credentials or a
 *            permission; -ENXIO: there is no such bucket, or it lies in another region;
 *            -EKEYREJECTED: its certificate; -EIO, -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH: it
 *            fails or is away, also after all tries. Each sentence names the server and bucket.
 * Ownership  settings are copied, the secret key into secret memory.
 * Threads    as of store/object_store.h; s3_store_probe() as any other function.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/wire.h"
#include "crypto/secret.h"
#include "store/layers/limit.h"
#include "store/layers/retry.h"
#include "store/object_store.h"

#define S3_HOSTNAME_SIZE 256u
#define S3_BUCKET_SIZE 64u
#define S3_REGION_NAME_SIZE 64u
#define S3_ACCESS_KEY_SIZE 129u
#define S3_PREFIX_SIZE 129u
#define S3_SMALL_LEN (16u * 1024u)
#define S3_CONCURRENCY_MAX 64u
#define S3_CA_CERT_MAX (48u * 1024u)
#define S3_PART_MIN (5u * 1024u * 1024u) /* what the protocol allows */

struct s3_settings {
    char hostname[S3_HOSTNAME_SIZE]; /* or an address */
    uint16_t port;                   /* 0: that of the protocol */
    bool is_plain_http;
    char bucket[S3_BUCKET_SIZE];
    char region[S3_REGION_NAME_SIZE]; /* "": us-east-1 */
    char access_key_id[S3_ACCESS_KEY_SIZE];
    struct secret secret_key;
    struct buf ca_cert_pem;      /* trusted instead of the system's store; empty: that store */
    char prefix[S3_PREFIX_SIZE]; /* of every name: "backup/coffer"; "": none */

    unsigned concurrency;             /* requests at once; 0: 16 */
    size_t part_len;                  /* of an upload in parts; 0: 16 MiB */
    const struct retry_policy *retry; /* kept, not copied; NULL: six tries in some ten seconds */
};

#define S3_SETTINGS_INIT ((struct s3_settings){ .port = 0 })

void s3_settings_release(struct s3_settings *settings);

/* Whether all members can be used: the sentence names the first that cannot. -EINVAL. */
int s3_settings_check(const struct s3_settings *settings, struct error *err);

/* All but the secret key and the protocol, as the registry has them. */
void s3_settings_write(struct writer *writer, const struct s3_settings *settings);
int s3_settings_read(struct reader *reader, struct s3_settings *ret); /* -ENOMEM only */

/* All of it, with the rates of a limit around the store, for another process of this version. */
int s3_settings_pack(const struct s3_settings *settings, const struct limit_rates *rates,
                     struct secret *ret, struct error *err);
int s3_store_open_packed(struct bytes packed, struct object_store **ret, struct error *err);

/* Contacts nobody. */
int s3_store_open(const struct s3_settings *settings, struct object_store **ret, struct error *err);
