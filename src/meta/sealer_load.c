/* What the sealer reads of a database: at its start, and to check it. */
#include "meta/sealer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "meta/record_kinds.h"
#include "meta/sealer_internal.h"

/* Behind every key: no tree has this number. */
static const uint8_t past_all[] = { RECORD_TREE_NONE };

struct load {
    struct sealer *sealer;
    struct error *err;
};

/* One that cannot be read is left out: what it sealed opens without it, and a check reports it. */
static int load_incarnation(struct bytes key, struct bytes stored, void *arg)
{
    struct load *load = arg;
    struct incarnation_record record;
    struct incarnation *incarnation = NULL;

    if (key.len != 2 + INCARNATION_ID_LEN)
        return 0;
    int r = incarnation_verify(load->sealer, key, stored, &record);
    /* Of a generation that is gone, so that records which name it say why they do not open. */
    if (r == -ENOKEY)
        r = incarnation_decode(stored, &record);
    if (r < 0)
        return 0;
    if (incarnation_add(load->sealer, key.data + 2, &record, &incarnation) < 0)
        return error_set(load->err, -ENOMEM, "No memory for the keys of the metadata.");
    return 0;
}

static int read_commit(struct sealer *sealer, struct bytes key, struct bytes stored,
                       struct commit_body *ret, struct error *err)
{
    uint8_t plain[COMMIT_BODY_LEN + SEALED_OVERHEAD];
    size_t len = 0;
    uint64_t epoch;

    if (stored.len > sizeof(plain))
        return error_set(err, -EBADMSG, "A commit record of the metadata was altered.");
    int r = sealer_open_record(sealer, key, stored, &epoch, plain, &len, err);
    if (r < 0)
        return r;
    r = commit_body_decode((struct bytes){ .data = plain, .len = len }, ret);
    return r < 0 ? error_set(err, r, "A commit record of the metadata was altered.") : 0;
}

static int load_commit(struct bytes key, struct bytes stored, void *arg)
{
    struct load *load = arg;
    struct sealer *sealer = load->sealer;
    struct commit_body body;

    int r = read_commit(sealer, key, stored, &body, load->err);
    if (sealer->salvages && is_altered(r)) {
        sealer->lost_commits++;
        return 0;
    }
    if (r < 0)
        return r;
    if (body.commit > atomic_load(&sealer->commit))
        atomic_store(&sealer->commit, body.commit);
    if (body.epoch > atomic_load(&sealer->epoch))
        atomic_store(&sealer->epoch, body.epoch);
    return 0;
}

static int scan_kind(struct meta_engine *engine, enum record_kind kind, meta_visit_fn *visit,
                     void *arg, struct error *err)
{
    const uint8_t first[] = { RECORD_TREE_LIVE, (uint8_t)kind };
    const uint8_t end[] = { RECORD_TREE_LIVE, (uint8_t)(kind + 1) };

    return meta_scan_stored(engine, (struct bytes){ .data = first, .len = sizeof(first) },
                            (struct bytes){ .data = end, .len = sizeof(end) }, visit, arg, err);
}

int sealer_load(struct sealer *sealer, struct meta_engine *engine, struct error *err)
{
    struct load load = { .sealer = sealer, .err = err };

    int r = scan_kind(engine, RECORD_INCARNATION, load_incarnation, &load, err);
    return r < 0 ? r : scan_kind(engine, RECORD_COMMIT, load_commit, &load, err);
}

bool sealer_uses_generation(const struct sealer *sealer, uint32_t generation)
{
    for (unsigned i = 0; i < INCARNATION_BUCKETS; i++) {
        const struct incarnation *incarnation = atomic_load(&sealer->buckets[i]);
        for (; incarnation != NULL; incarnation = incarnation->next) {
            if (incarnation->generation == generation)
                return true;
        }
    }
    return false;
}

struct check {
    struct sealer *sealer;
    sealer_report_fn *report;
    void *arg;
    uint64_t faults;
    struct set_hash found;
    struct set_hash expected;
    uint8_t *room; /* for an opened value */
};

static void fault(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void fault(struct check *check, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* one that is too long is cut */
    va_end(args);
    check->faults++;
    check->report(text, check->arg);
}

static void check_incarnation(struct check *check, struct bytes key, struct bytes stored)
{
    struct incarnation_record record;

    if (key.len != 2 + INCARNATION_ID_LEN ||
        incarnation_verify(check->sealer, key, stored, &record) < 0)
        fault(check, "A record that names a run of the filesystem was altered, or its key is not "
                     "in the ring.");
}

static void check_commit(struct check *check, struct bytes key, struct bytes stored)
{
    struct commit_body body;
    struct error err = { 0 };

    if (read_commit(check->sealer, key, stored, &body, &err) < 0)
        fault(check, "%s", err.text);
    else
        set_hash_join(&check->expected, &body.share);
}

static void check_value(struct check *check, struct bytes key, struct bytes stored)
{
    struct error err = { 0 };
    uint64_t epoch;
    size_t len;

    if (stored.len > META_VALUE_MAX + META_SEAL_OVERHEAD_MAX)
        fault(check, "A metadata record is longer than any that was written.");
    else if (sealer_open_record(check->sealer, key, stored, &epoch, check->room, &len, &err) < 0)
        fault(check, "%s", err.text);
}

static int check_record(struct bytes key, struct bytes stored, void *arg)
{
    struct check *check = arg;

    switch (record_kind_of(key)) {
    case RECORD_SUPERBLOCK: /* its MAC is verified by who reads it */
        break;
    case RECORD_COMMIT:
        check_commit(check, key, stored);
        break;
    case RECORD_INCARNATION:
        check_incarnation(check, key, stored);
        break;
    default:
        check_value(check, key, stored);
    }
    return sealer_counts(key) ? sealer_count(check->sealer, &check->found, key, stored) : 0;
}

static void compare(struct check *check)
{
    if (check->found.count != check->expected.count)
        fault(check,
              "The metadata holds %" PRId64 " records, and its commits tell of %" PRId64
              ": records were deleted or added from outside.",
              check->found.count, check->expected.count);
    else if (!set_hash_equal(&check->found, &check->expected))
        fault(check, "The metadata holds other records than those that its commits tell of: some "
                     "were put back from an older copy, or altered.");
}

int sealer_check(struct sealer *sealer, struct meta_engine *engine, sealer_report_fn *report,
                 void *arg, uint64_t *ret_faults, struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(META_VALUE_MAX + META_SEAL_OVERHEAD_MAX);
    struct check check = { .sealer = sealer, .report = report, .arg = arg, .room = room };

    if (room == NULL)
        return error_set(err, -ENOMEM, "No memory to check the metadata.");
    int r = meta_sync(engine, err);
    if (r == 0)
        r = meta_scan_stored(engine, (struct bytes){ 0 },
                             (struct bytes){ .data = past_all, .len = sizeof(past_all) },
                             check_record, &check, err);
    if (r < 0)
        return r;
    compare(&check);
    *ret_faults = check.faults;
    return 0;
}
