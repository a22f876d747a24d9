/* sealer.h - seals the metadata of one filesystem: what stands between plain records in memory
 * and what an engine stores. Byte for byte in docs/formats/metadata.md.
 *
 * Each run of a worker seals under a key of its own, derived from a random id (its incarnation),
 * which a record names. Over all records but the superblock's copy and the commit records, the
 * sealer keeps their count and the sum of a keyed hash of each one's identity; the commit record
 * of each writer seals its share, so that a record that is gone or put back shows.
 *
 * Use: sealer_new(), sealer_hooks() into the hooks, meta_engine_open(), sealer_load(), then
 * transactions. sealer_free() after meta_close().
 *
 * Errors     -EBADMSG: a stored record was altered, or belongs to a key that is not in the set;
 *            -EPROTONOSUPPORT: a later version of the format.
 * Threads    any, once sealer_load() has returned; sealer_set_epoch() in before_durable only.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"
#include "crypto/secret.h"
#include "keyring/superblock.h"
#include "meta/meta_engine.h"

struct sealer;

struct sealer_config {
    const struct key_set *keys;    /* every generation in use; the newest seals. Not kept */
    const struct secret *name_key; /* the set hash is keyed by it. Not kept */
    struct uuid owner;             /* whose commit record this run writes */
    uint32_t batches_max;          /* of nonces, then a new incarnation; 0: SEALER_BATCHES_MAX */
    bool salvages;                 /* altered commit records are passed over; it never seals then */
};

#define SEALER_BATCHES_MAX (1u << 24)

int sealer_new(const struct sealer_config *config, struct sealer **ret, struct error *err);
void sealer_free(struct sealer *sealer); /* NULL is allowed */

static inline void sealer_freep(struct sealer **sealer)
{
    sealer_free(*sealer);
}

/* Fills seal_arg, seal, open, removed, group_record and group_end. The rest is left alone. */
void sealer_hooks(struct sealer *sealer, struct meta_hooks *hooks);

/* Reads incarnations and commit records. Once, before the first transaction. An empty database is
 * that of a new filesystem: commit 0, epoch 1. */
int sealer_load(struct sealer *sealer, struct meta_engine *engine, struct error *err);

/* The last durable commit, of any writer. Each group adds one. */
uint64_t sealer_commit_number(const struct sealer *sealer);

/* Commit records that were passed over: then the number may be too low. */
unsigned sealer_lost_commits(const struct sealer *sealer);

/* The epoch that values are sealed with: that of the group that is about to be written. */
uint64_t sealer_epoch(const struct sealer *sealer);
void sealer_set_epoch(struct sealer *sealer, uint64_t epoch);

/* True if an incarnation of this generation was ever written: then its key must be kept. */
bool sealer_uses_generation(const struct sealer *sealer, uint32_t generation);

/* Opens what is stored under key, w included. ret has room for stored.len. The record kinds that
 * are stored in clear are refused with -EINVAL. */
int sealer_open_record(struct sealer *sealer, struct bytes key, struct bytes stored,
                       uint64_t *ret_epoch, uint8_t *ret, size_t *ret_len, struct error *err);

/* Syncs, opens every stored record, and compares the set with the commit records. Calls report
 * with one sentence for each fault, which never holds a name. Returns 0 even if there are faults,
 * and their number. */
typedef void sealer_report_fn(const char *text, void *arg);
int sealer_check(struct sealer *sealer, struct meta_engine *engine, sealer_report_fn *report,
                 void *arg, uint64_t *ret_faults, struct error *err);
