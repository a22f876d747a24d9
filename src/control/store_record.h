/* store_record.h - what the registry knows of one object store that was configured, and the file
 * with its secret key, which is not in the registry. Byte for byte in docs/formats/registry.md.
 *
 * The file is named by a random id that the record holds. A new secret key is a new file; the
 * record then names it, and the old file goes. So at each moment the record and its key fit
 * together.
 *
 * Units      sizes are bytes, times nanoseconds since 1970; texts end with NUL.
 * Errors     -EBADMSG: not such a record; -EPROTONOSUPPORT: of a later version. -EINVAL: it cannot
 *            be used. Sentences never hold the secret key.
 * Ownership  a record owns its settings.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "store/layers/limit.h"
#include "store/s3_store.h"

#define STORE_NAME_MAX 32u

enum store_kind {
    STORE_KIND_DIR = 1, /* a folder: a disk, or what is mounted there */
    STORE_KIND_S3 = 2,
};

/* Where it stands, as people chose: beside this host or far from it. It says which one --site
 * means, and nothing else. */
enum store_site {
    STORE_SITE_LOCAL = 0,
    STORE_SITE_REMOTE = 1,
};

struct store_record {
    char name[STORE_NAME_MAX + 1];
    enum store_kind kind;
    enum store_site site;
    int64_t created_ns;
    char path[PATH_MAX];      /* of a folder; "" otherwise */
    struct uuid mark;         /* by which the folder is known (store/place_mark.h); zero: none */
    struct s3_settings s3;    /* of S3; its secret key is there while that is needed */
    struct uuid secret_id;    /* of the file with the secret key; zero: none */
    struct limit_rates rates; /* bytes a second */
};

#define STORE_RECORD_INIT ((struct store_record){ .kind = STORE_KIND_DIR })

void store_record_release(struct store_record *record);

const char *store_kind_name(enum store_kind kind);

/* "local", "remote"; read in any case. */
const char *store_site_name(enum store_site site);
int store_site_parse(const char *text, enum store_site *ret, struct error *err);

/* Name and settings, the secret key too. */
int store_record_check(const struct store_record *record, struct error *err);

/* Without the secret key. ret is replaced. */
int store_record_encode(const struct store_record *record, struct buf *ret, struct error *err);
int store_record_decode(struct bytes encoded, struct store_record *ret, struct error *err);

/* STATE/object-stores/ID, mode 0600. A secret that is stored gets a new id. */
int store_secret_save(const char *state_dir, struct store_record *record, struct error *err);
int store_secret_load(const char *state_dir, struct store_record *record, struct error *err);
int store_secret_remove(const char *state_dir, const struct uuid *id, struct error *err);

/* Removes the files whose id none of these has: what a crash left. */
int store_secrets_tidy(const char *state_dir, const struct uuid *ids, size_t count,
                       struct error *err);

/* With its limits as a layer. -ENXIO: the folder is there, without its mark. */
int store_record_open(const struct store_record *record, struct object_store **ret,
                      struct error *err);
