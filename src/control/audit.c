/* audit.c - the log in the registry: "audit/" number for each entry, "audit-head" for the number
 * and hash of the newest, both written in one transaction.
 */
#include "control/audit_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean_text.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/log.h"
#include "control/fs_record.h"
#include "control/user_record.h"

#define HEX_SIZE (2 * HASH_LEN + 1)

_Static_assert(AUDIT_FILESYSTEM_MAX == FS_NAME_MAX && AUDIT_USER_MAX == USER_NAME_MAX,
               "an entry holds each name whole");

static _Thread_local struct audit_actor acting_for;

void audit_act_for(struct audit_actor actor)
{
    acting_for = actor;
}

struct audit_actor audit_acting_for(void)
{
    return acting_for;
}

struct audit_key audit_key_of(const struct wrapped_key *wrapped)
{
    if (!wrapped)
        return (struct audit_key){ .provider = NULL };
    return (struct audit_key){ .provider = wrapped->provider,
                               .addresses = wrapped->addresses,
                               .kms_namespace = wrapped->kms_namespace,
                               .mount_path = wrapped->mount_path,
                               .key_name = wrapped->key_name,
                               .version = wrapped->key_version };
}

const char *audit_operation_name(enum audit_operation operation)
{
    static const char *const names[AUDIT_OPERATION_COUNT] = {
        [AUDIT_CREATE] = "create",       [AUDIT_UNWRAP] = "unwrap",
        [AUDIT_REWRAP] = "rewrap",       [AUDIT_REMOVE] = "remove",
        [AUDIT_ADOPT] = "adopt",         [AUDIT_REPAIR] = "repair",
        [AUDIT_EXPORT] = "export",       [AUDIT_IMPORT] = "import",
        [AUDIT_KMS_SET] = "kms-set",     [AUDIT_BROKEN] = "log-damaged",
        [AUDIT_KMS_UNSET] = "kms-unset", [AUDIT_SHRED] = "shred",
        [AUDIT_DROP] = "drop-previous",  [AUDIT_ARCHIVE] = AUDIT_ARCHIVE_OPERATION,
        [AUDIT_UPLOAD] = "upload",       [AUDIT_UPLOAD_REMOVE] = "upload-remove",
        [AUDIT_USER_ADD] = "user-add",   [AUDIT_USER_REMOVE] = "user-remove",
        [AUDIT_USER_ROLE] = "user-role", [AUDIT_USER_PASSWORD] = "user-password",
        [AUDIT_RESTORE] = "restore",     [AUDIT_DOWNLOAD] = "download",
    };

    return names[operation];
}

/* ------------------------------------------------------------------ adding */

static void copy_text(char *to, size_t size, const char *from)
{
    clean_text(from ? from : "", to, size);
}

static void fill_key(const struct audit_key *key, struct audit_entry_key *ret)
{
    copy_text(ret->provider, sizeof(ret->provider), key->provider);
    copy_text(ret->addresses, sizeof(ret->addresses), key->addresses);
    copy_text(ret->kms_namespace, sizeof(ret->kms_namespace), key->kms_namespace);
    copy_text(ret->mount_path, sizeof(ret->mount_path), key->mount_path);
    copy_text(ret->key_name, sizeof(ret->key_name), key->key_name);
    ret->version = key->version;
}

static const char *result_name(int result)
{
    const char *name = result < 0 ? strerrorname_np(-result) : "ok";

    return name ? name : "EIO";
}

static void fill_entry(const struct audit_note *note, const struct audit_head *before,
                       struct audit_entry *ret)
{
    *ret = (struct audit_entry){ .number = before->number + 1,
                                 .time_ns = clock_wall_ns(),
                                 .is_user = acting_for.is_user,
                                 .uid = acting_for.is_user ? acting_for.uid : 0 };
    memcpy(ret->previous, before->hash, HASH_LEN);
    memcpy(ret->user, acting_for.name, sizeof(ret->user));
    if (note->uuid)
        ret->uuid = *note->uuid;
    copy_text(ret->operation, sizeof(ret->operation), audit_operation_name(note->operation));
    copy_text(ret->filesystem, sizeof(ret->filesystem), note->filesystem);
    copy_text(ret->result, sizeof(ret->result), result_name(note->result));
    copy_text(ret->text, sizeof(ret->text), note->text);
    fill_key(&note->key, &ret->key);
    fill_key(&note->old_key, &ret->old_key);
}

/* What goes to the log besides, so that a copy of it elsewhere holds the hashes too. */
static void log_entry(const struct audit_entry *entry, const struct audit_head *head)
{
    char hash[HEX_SIZE];
    char who[AUDIT_WHO_SIZE];

    hex_encode((struct bytes){ .data = head->hash, .len = HASH_LEN }, hash);
    audit_entry_who(entry, who);
    log_info("audit number=%" PRIu64 " operation=%s filesystem=%s result=%s by=\"%s\" hash=%s",
             entry->number, entry->operation, entry->filesystem, entry->result, who, hash);
}

struct batch {
    uint8_t *room; /* AUDIT_ENTRY_MAX for each */
    struct bytes *values;
    struct audit_entry entry;
    struct audit_head *heads; /* after each */
};

static void batch_release(struct batch *batch)
{
    free(batch->room);
    free(batch->values);
    free(batch->heads);
}

static int encode_batch(struct batch *batch, const struct audit_note *notes, size_t count,
                        const struct audit_head *before, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes *value = &batch->values[i];
        value->data = batch->room + i * AUDIT_ENTRY_MAX;
        fill_entry(&notes[i], i ? &batch->heads[i - 1] : before, &batch->entry);
        batch->heads[i].number = batch->entry.number;
        int r = audit_entry_encode(&batch->entry, batch->room + i * AUDIT_ENTRY_MAX, &value->len,
                                   batch->heads[i].hash, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Without these, nothing that is there could be started or removed on a full disk. What makes new
 * keys, or wraps them anew, waits for room. */
static bool may_use_reserve(const struct audit_note *notes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (notes[i].operation != AUDIT_UNWRAP && notes[i].operation != AUDIT_REMOVE &&
            notes[i].operation != AUDIT_SHRED && notes[i].operation != AUDIT_BROKEN &&
            notes[i].operation != AUDIT_ARCHIVE && notes[i].operation != AUDIT_RESTORE)
            return false;
    return true;
}

static int append_locked(struct audit *audit, struct batch *batch, const struct audit_note *notes,
                         size_t count, const struct audit_head *base, struct error *err)
    REQUIRES(audit->lock)
{
    uint8_t base_bytes[AUDIT_HEAD_LEN];
    uint8_t head[AUDIT_HEAD_LEN];
    int r = encode_batch(batch, notes, count, &audit->head, err);

    if (r < 0)
        return r;
    audit_head_encode(&batch->heads[count - 1], head);
    struct registry_entries entries = { .kind = AUDIT_KIND,
                                        .first = audit->head.number + 1,
                                        .values = batch->values,
                                        .count = count,
                                        .may_use_reserve = may_use_reserve(notes, count),
                                        .head = AUDIT_HEAD,
                                        .head_value = { .data = head, .len = sizeof(head) } };
    if (base) {
        audit_head_encode(base, base_bytes);
        entries.base = AUDIT_BASE;
        entries.base_value = (struct bytes){ .data = base_bytes, .len = sizeof(base_bytes) };
    }
    r = registry_append(audit->registry, &entries, err);
    if (r < 0)
        return r;
    audit->head = batch->heads[count - 1];
    if (base)
        audit->base = *base;
    return 0;
}

static void log_batch(struct batch *batch, size_t count)
{
    uint8_t hash[HASH_LEN];

    for (size_t i = 0; i < count; i++)
        if (audit_entry_decode(batch->values[i], &batch->entry, hash, NULL) == 0)
            log_entry(&batch->entry, &batch->heads[i]);
}

int audit_add_behind(struct audit *audit, const struct audit_note *notes, size_t count,
                     const struct audit_head *base, struct error *err)
{
    CLEANUP(batch_release) struct batch batch = { .room = NULL };

    if (count == 0)
        return 0;
    batch.room = calloc(count, AUDIT_ENTRY_MAX);
    batch.values = calloc(count, sizeof(*batch.values));
    batch.heads = calloc(count, sizeof(*batch.heads));
    if (!batch.room || !batch.values || !batch.heads)
        return error_set(err, -ENOMEM, "out of memory for the audit log");
    mutex_lock(&audit->lock);
    int r = append_locked(audit, &batch, notes, count, base, err);
    mutex_unlock(&audit->lock);
    /* Outside of the lock, so that those who add at the same time share a flush. */
    if (r == 0)
        r = registry_sync(audit->registry, err);
    if (r < 0)
        return error_prefix(err, r,
                            "the audit log cannot be written, and nothing is done to keys "
                            "without it; see to the disk of the state folder");
    log_batch(&batch, count);
    return 0;
}

int audit_add(struct audit *audit, const struct audit_note *notes, size_t count, struct error *err)
{
    return audit_add_behind(audit, notes, count, NULL, err);
}

/* ------------------------------------------------------------------ opening */

static int last_entry(uint64_t number, struct bytes value, void *arg)
{
    struct audit_head *last = arg;
    struct audit_entry entry;

    if (number > last->number) {
        last->number = number;
        memset(last->hash, 0, HASH_LEN);
        (void)audit_entry_decode(value, &entry, last->hash, NULL);
    }
    return 0;
}

/* The entry that the head names is there, and none behind it; a whole walk is for audit_verify().
 */
static int check_end(struct audit *audit, bool has_head, char damage[AUDIT_TEXT_SIZE],
                     struct error *err)
{
    struct audit_head last = { .number = 0 };
    uint64_t first = has_head && audit->head.number > 0 ? audit->head.number : 1;
    int r =
        registry_each_entry(audit->registry, AUDIT_KIND, first, UINT64_MAX, last_entry, &last, err);

    damage[0] = '\0';
    if (r < 0)
        return r;
    if (!has_head && last.number == 0)
        return 0; /* a new log */
    if (has_head && last.number == audit->head.number &&
        memcmp(last.hash, audit->head.hash, HASH_LEN) == 0)
        return 0;
    if (!has_head)
        (void)snprintf(damage, AUDIT_TEXT_SIZE, "the note of the newest entry was missing");
    else if (last.number < audit->head.number)
        (void)snprintf(damage, AUDIT_TEXT_SIZE,
                       "entry %" PRIu64 ", the newest, was missing: the end had been cut off",
                       audit->head.number);
    else
        (void)snprintf(damage, AUDIT_TEXT_SIZE,
                       "entry %" PRIu64 " or those behind it were not as they had been written",
                       audit->head.number);
    if (last.number > audit->head.number)
        audit->head = last; /* numbers are never used twice */
    return 0;
}

static int open_log(struct audit *audit, char ret_damage[AUDIT_TEXT_SIZE], struct error *err)
{
    CLEANUP(buf_release) struct buf head = BUF_INIT;
    struct uuid instance;

    registry_instance(audit->registry, &instance);
    int r = audit_chain_begin(&instance, audit->begin);
    if (r < 0)
        return error_set(err, r, "out of memory for the audit log");
    memcpy(audit->head.hash, audit->begin, HASH_LEN);
    r = registry_get_value(audit->registry, AUDIT_HEAD, &head, err);
    if (r < 0 && r != -ENOENT)
        return r;
    bool has_head = r == 0 && audit_head_decode(buf_bytes(&head), &audit->head, NULL) == 0;
    r = audit_read_base(audit, &audit->base, err);
    if (r == 0)
        r = audit_forget_rest(audit, err);
    if (r < 0)
        return r;
    r = check_end(audit, has_head, ret_damage, err);
    if (r < 0 || ret_damage[0] == '\0')
        return r;
    struct audit_note note = { .operation = AUDIT_BROKEN, .result = -EBADMSG, .text = ret_damage };
    return audit_add(audit, &note, 1, err);
}

int audit_open(struct registry *registry, struct audit **ret, char ret_damage[AUDIT_TEXT_SIZE],
               struct error *err)
{
    struct audit *audit = calloc(1, sizeof(*audit));

    if (!audit)
        return error_set(err, -ENOMEM, "out of memory");
    audit->registry = registry;
    audit->lock = MUTEX_INIT;
    int r = open_log(audit, ret_damage, err);
    if (r < 0) {
        audit_close(audit);
        return error_prefix(err, r, "cannot open the audit log");
    }
    *ret = audit;
    return 0;
}

void audit_close(struct audit *audit)
{
    free(audit);
}

/* ------------------------------------------------------------------ reading */

int audit_read_base(struct audit *audit, struct audit_head *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf stored = BUF_INIT;
    int r = registry_get_value(audit->registry, AUDIT_BASE, &stored, err);

    memcpy(ret->hash, audit->begin, HASH_LEN);
    ret->number = 0;
    if (r == -ENOENT || (r == 0 && audit_head_decode(buf_bytes(&stored), ret, NULL) < 0))
        return 0; /* a damaged one shows as entries that are missing */
    return r;
}

void audit_base(struct audit *audit, struct audit_head *ret)
{
    mutex_lock(&audit->lock);
    *ret = audit->base;
    mutex_unlock(&audit->lock);
}

void audit_newest(struct audit *audit, struct audit_head *ret)
{
    mutex_lock(&audit->lock);
    *ret = audit->head;
    mutex_unlock(&audit->lock);
}

/* One that cannot be read is shown in its place; audit_verify() says more. */
static bool take_entry(const struct journal_query *query, uint64_t number, struct bytes value,
                       void *ret_item)
{
    struct audit_listed *item = ret_item;
    struct audit_entry *entry = &item->entry;
    struct error err = { .code = 0 };

    if (audit_entry_decode(value, entry, item->hash, &err) < 0) {
        *item = (struct audit_listed){ .entry = { .number = number, .result = "EBADMSG" } };
        copy_text(entry->text, sizeof(entry->text), err.text);
    }
    return journal_wants(query, entry->filesystem, entry->operation, entry->time_ns);
}

int audit_list(struct audit *audit, const struct journal_query *query, struct audit_listed **ret,
               size_t *ret_count, struct error *err)
{
    struct audit_head newest;
    struct audit_head base;
    void *items = NULL;

    audit_newest(audit, &newest);
    audit_base(audit, &base);
    struct journal journal = { .registry = audit->registry,
                               .kind = AUDIT_KIND,
                               .first = base.number + 1,
                               .newest = newest.number,
                               .item_size = sizeof(**ret),
                               .take = take_entry };
    int r = journal_list(&journal, query, &items, ret_count, err);
    if (r == 0)
        *ret = items;
    return r;
}

struct walk {
    struct audit_chain chain;
    const struct audit_head *kept;
    bool kept_is_there;
    struct audit_head base;   /* what stands before the first entry */
    struct audit_head anchor; /* what the newest entry about an archive says of that; 0: none */
    uint64_t entries;
    audit_fault_fn *report;
    void *arg;
};

static int walk_one(uint64_t number, struct bytes value, void *arg)
{
    struct walk *walk = arg;
    struct audit_entry entry;
    uint8_t hash[HASH_LEN];

    if (number > 0 && number <= walk->base.number)
        return 0; /* archived, and not yet removed */
    audit_chain_step(&walk->chain, number, value, walk->report, walk->arg);
    if (audit_entry_decode(value, &entry, hash, NULL) == 0)
        (void)audit_anchor_read(&entry, &walk->anchor);
    walk->entries++;
    if (walk->kept && walk->kept->number == number)
        walk->kept_is_there = memcmp(walk->kept->hash, walk->chain.hash, HASH_LEN) == 0;
    return 0;
}

static void check_kept(struct walk *walk)
{
    char text[128];

    if (!walk->kept || walk->kept_is_there)
        return;
    if (walk->kept->number == walk->base.number &&
        memcmp(walk->kept->hash, walk->base.hash, HASH_LEN) == 0)
        return; /* the last one of an archive */
    (void)snprintf(text, sizeof(text),
                   walk->kept->number < walk->base.number
                       ? "entry %" PRIu64
                         " was archived; look for it in that archive (coffer audit "
                         "verify --archive FILE)"
                       : "entry %" PRIu64 " is not there with the hash that was kept: the log is "
                         "not the one that it was",
                   walk->kept->number);
    walk->chain.faults++;
    walk->report(walk->kept->number, text, walk->arg);
}

/* Whoever removes entries and notes that they were archived needs an entry that says so, too. */
static void check_base(struct walk *walk)
{
    char text[160];

    if (walk->anchor.number == walk->base.number &&
        (walk->base.number == 0 || memcmp(walk->anchor.hash, walk->base.hash, HASH_LEN) == 0))
        return;
    (void)snprintf(text, sizeof(text),
                   "the registry's note that entries up to %" PRIu64
                   " were archived does not agree "
                   "with the entry about it: the beginning of the log was changed",
                   walk->base.number);
    walk->chain.faults++;
    walk->report(walk->base.number + 1, text, walk->arg);
}

int audit_verify(struct audit *audit, const struct audit_head *kept, audit_fault_fn *report,
                 void *arg, struct audit_verdict *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf stored = BUF_INIT;
    struct walk walk = { .kept = kept, .report = report, .arg = arg };
    struct audit_head head = { .number = 0 };

    /* Nobody adds meanwhile, so that the walk and the head are of one moment. */
    mutex_lock(&audit->lock);
    int r = audit_read_base(audit, &walk.base, err);
    walk.chain.number = walk.base.number;
    memcpy(walk.chain.hash, walk.base.hash, HASH_LEN);
    if (r == 0)
        r = registry_each_entry(audit->registry, AUDIT_KIND, 0, UINT64_MAX, walk_one, &walk, err);
    int head_is = r == 0 ? registry_get_value(audit->registry, AUDIT_HEAD, &stored, err) : r;
    mutex_unlock(&audit->lock);
    if (r < 0 || (head_is < 0 && head_is != -ENOENT))
        return r < 0 ? r : head_is;
    bool has_head = head_is == 0 && audit_head_decode(buf_bytes(&stored), &head, NULL) == 0;
    audit_chain_end(&walk.chain, has_head ? &head : NULL, report, arg);
    check_base(&walk);
    check_kept(&walk);
    *ret = (struct audit_verdict){ .entries = walk.entries,
                                   .faults = walk.chain.faults,
                                   .base = walk.base };
    ret->newest.number = walk.chain.number;
    memcpy(ret->newest.hash, walk.chain.hash, HASH_LEN);
    return 0;
}
