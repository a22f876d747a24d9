#include "host/audit_entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encoding.h"
#include "base/wire.h"

#define ENTRY_MAGIC 0x55414643u /* "CFAU" */
/* Version 2 names who logged in. All other entries stay as an older coffer reads them. */
#define ENTRY_VERSION 1u
#define ENTRY_VERSION_USER 2u
#define CHAIN_LABEL "coffer audit log"

enum entry_flags {
    FLAG_USER = 1 << 0,
};

static void write_key(struct writer *writer, const struct audit_entry_key *key)
{
    writer_text(writer, key->provider);
    writer_text(writer, key->addresses);
    writer_text(writer, key->kms_namespace);
    writer_text(writer, key->mount_path);
    writer_text(writer, key->key_name);
    writer_u32(writer, key->version);
}

static void read_key(struct reader *reader, struct audit_entry_key *ret)
{
    reader_text(reader, ret->provider, sizeof(ret->provider));
    reader_text(reader, ret->addresses, sizeof(ret->addresses));
    reader_text(reader, ret->kms_namespace, sizeof(ret->kms_namespace));
    reader_text(reader, ret->mount_path, sizeof(ret->mount_path));
    reader_text(reader, ret->key_name, sizeof(ret->key_name));
    ret->version = reader_u32(reader);
}

int audit_entry_encode(const struct audit_entry *entry, uint8_t *ret, size_t *ret_len,
                       uint8_t ret_hash[static HASH_LEN], struct error *err)
{
    struct writer writer = writer_init(ret, AUDIT_ENTRY_MAX);
    bool has_name = entry->user[0] != '\0';

    writer_u32(&writer, ENTRY_MAGIC);
    writer_u16(&writer, has_name ? ENTRY_VERSION_USER : ENTRY_VERSION);
    writer_u8(&writer, entry->is_user ? FLAG_USER : 0);
    writer_u64(&writer, entry->number);
    writer_u64(&writer, (uint64_t)entry->time_ns);
    writer_bytes(&writer, entry->previous, HASH_LEN);
    writer_u32(&writer, entry->uid);
    if (has_name)
        writer_text(&writer, entry->user);
    writer_text(&writer, entry->operation);
    writer_bytes(&writer, entry->uuid.bytes, UUID_LEN);
    writer_text(&writer, entry->filesystem);
    write_key(&writer, &entry->key);
    write_key(&writer, &entry->old_key);
    writer_text(&writer, entry->result);
    writer_text(&writer, entry->text);
    struct bytes covered = writer_written(&writer);
    int r = hash_sha256(&covered, 1, ret_hash);
    writer_bytes(&writer, ret_hash, HASH_LEN);
    if (r < 0 || writer_done(&writer) < 0)
        return error_set(err, r < 0 ? r : -ENOSPC, "an entry of the audit log cannot be made");
    *ret_len = writer.len;
    return 0;
}

int audit_entry_decode(struct bytes encoded, struct audit_entry *ret,
                       uint8_t ret_hash[static HASH_LEN], struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct audit_entry entry = { .number = 0 };

    if (reader_u32(&reader) != ENTRY_MAGIC)
        return error_set(err, -EBADMSG, "it is no entry of an audit log");
    uint16_t version = reader_u16(&reader);
    if (version != ENTRY_VERSION && version != ENTRY_VERSION_USER)
        return error_set(err, -EPROTONOSUPPORT,
                         "it was written by a later version of coffer; use that");
    uint8_t flags = reader_u8(&reader);
    entry.number = reader_u64(&reader);
    entry.time_ns = (int64_t)reader_u64(&reader);
    reader_copy(&reader, entry.previous, HASH_LEN);
    entry.uid = reader_u32(&reader);
    if (version == ENTRY_VERSION_USER)
        reader_text(&reader, entry.user, sizeof(entry.user));
    reader_text(&reader, entry.operation, sizeof(entry.operation));
    reader_copy(&reader, entry.uuid.bytes, UUID_LEN);
    reader_text(&reader, entry.filesystem, sizeof(entry.filesystem));
    read_key(&reader, &entry.key);
    read_key(&reader, &entry.old_key);
    reader_text(&reader, entry.result, sizeof(entry.result));
    reader_text(&reader, entry.text, sizeof(entry.text));
    reader_copy(&reader, ret_hash, HASH_LEN);
    bool has_name = entry.user[0] != '\0';
    if ((flags & ~FLAG_USER) || has_name != (version == ENTRY_VERSION_USER))
        reader_fail(&reader);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "it is damaged");
    entry.is_user = flags & FLAG_USER;
    *ret = entry;
    return 0;
}

void audit_entry_who(const struct audit_entry *entry, char ret[static AUDIT_WHO_SIZE])
{
    if (!entry->is_user)
        (void)snprintf(ret, AUDIT_WHO_SIZE, "cofferd");
    else if (entry->user[0] != '\0')
        (void)snprintf(ret, AUDIT_WHO_SIZE, "user %s", entry->user);
    else
        (void)snprintf(ret, AUDIT_WHO_SIZE, "uid %" PRIu32, entry->uid);
}

int audit_chain_begin(const struct uuid *instance, uint8_t ret[static HASH_LEN])
{
    const struct bytes pieces[] = {
        { .data = (const uint8_t *)CHAIN_LABEL, .len = strlen(CHAIN_LABEL) },
        { .data = instance->bytes, .len = UUID_LEN },
    };

    return hash_sha256(pieces, sizeof(pieces) / sizeof(pieces[0]), ret);
}

static void fault(struct audit_chain *chain, uint64_t number, audit_fault_fn *report, void *arg,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

static void fault(struct audit_chain *chain, uint64_t number, audit_fault_fn *report, void *arg,
                  const char *format, ...)
{
    char text[640];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    chain->faults++;
    report(number, text, arg);
}

static bool hash_is_right(struct bytes encoded, const uint8_t carried[static HASH_LEN])
{
    struct bytes covered = { .data = encoded.data, .len = encoded.len - HASH_LEN };
    uint8_t hash[HASH_LEN];

    return hash_sha256(&covered, 1, hash) == 0 && memcmp(hash, carried, HASH_LEN) == 0;
}

void audit_chain_step(struct audit_chain *chain, uint64_t number, struct bytes encoded,
                      audit_fault_fn *report, void *arg)
{
    struct audit_entry entry;
    uint8_t hash[HASH_LEN];
    struct error err = { .code = 0 };
    uint64_t expected = chain->number + 1;
    bool may_follow = number == expected && !chain->is_lost;

    if (number < expected) {
        fault(chain, number, report, arg, "there is something among the entries that is none");
        return;
    }
    if (number > expected)
        fault(chain, expected, report, arg,
              "entries %" PRIu64 " to %" PRIu64 " are missing: they were deleted", expected,
              number - 1);
    chain->number = number;
    chain->is_lost = false;
    if (audit_entry_decode(encoded, &entry, hash, &err) < 0) {
        fault(chain, number, report, arg, "entry %" PRIu64 " cannot be read: %s", number, err.text);
        memset(chain->hash, 0, HASH_LEN);
        chain->is_lost = true;
        return;
    }
    if (!hash_is_right(encoded, hash))
        fault(chain, number, report, arg, "entry %" PRIu64 " was altered: its hash is wrong",
              number);
    if (entry.number != number)
        fault(chain, number, report, arg,
              "entry %" PRIu64 " stands in the place of entry %" PRIu64 ": they were exchanged",
              entry.number, number);
    else if (may_follow && memcmp(entry.previous, chain->hash, HASH_LEN) != 0)
        fault(chain, number, report, arg,
              "entry %" PRIu64 " does not follow what stands before it: one of them was replaced",
              number);
    memcpy(chain->hash, hash, HASH_LEN);
}

void audit_chain_end(struct audit_chain *chain, const struct audit_head *head,
                     audit_fault_fn *report, void *arg)
{
    if (!head) {
        if (chain->number > 0)
            fault(chain, chain->number, report, arg,
                  "the registry's note of the newest entry is missing: it was deleted");
    } else if (head->number > chain->number) {
        fault(chain, chain->number + 1, report, arg,
              "entries %" PRIu64 " to %" PRIu64 " are missing: the end of the log was cut off",
              chain->number + 1, head->number);
    } else if (head->number < chain->number) {
        fault(chain, chain->number, report, arg,
              "the registry's note names entry %" PRIu64 " as the newest, but there are entries up "
              "to %" PRIu64 ": they were put there, or the note was put back",
              head->number, chain->number);
    } else if (!chain->is_lost && memcmp(head->hash, chain->hash, HASH_LEN) != 0) {
        fault(chain, chain->number, report, arg,
              "entry %" PRIu64 " is not the one that the registry notes as the newest: it was "
              "replaced",
              chain->number);
    }
}

void audit_head_encode(const struct audit_head *head, uint8_t ret[static AUDIT_HEAD_LEN])
{
    struct writer writer = writer_init(ret, AUDIT_HEAD_LEN);

    writer_u64(&writer, head->number);
    writer_bytes(&writer, head->hash, HASH_LEN);
}

int audit_head_decode(struct bytes encoded, struct audit_head *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct audit_head head;

    head.number = reader_u64(&reader);
    reader_copy(&reader, head.hash, HASH_LEN);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "the registry's note of the audit log's end is damaged");
    *ret = head;
    return 0;
}

#define HEX_SIZE (2 * HASH_LEN + 1)

void audit_anchor_text(uint64_t first, const struct audit_head *last,
                       char ret[static AUDIT_TEXT_SIZE])
{
    char hash[HEX_SIZE];

    hex_encode((struct bytes){ .data = last->hash, .len = HASH_LEN }, hash);
    (void)snprintf(ret, AUDIT_TEXT_SIZE,
                   "entries %" PRIu64 " to %" PRIu64 " are in an archive; the last is %" PRIu64
                   ":%s",
                   first, last->number, last->number, hash);
}

/* Only what audit_anchor_text() writes. */
bool audit_anchor_read(const struct audit_entry *entry, struct audit_head *ret_last)
{
    static const char beginning[] = "entries ";
    static const char middle[] = "; the last is ";
    char expected[AUDIT_TEXT_SIZE];
    struct audit_head last;
    const char *at = strstr(entry->text, middle);
    char *end = NULL;

    if (strcmp(entry->operation, AUDIT_ARCHIVE_OPERATION) != 0 ||
        strcmp(entry->result, "ok") != 0 || !at ||
        strncmp(entry->text, beginning, sizeof(beginning) - 1) != 0)
        return false;
    uint64_t first = strtoull(entry->text + sizeof(beginning) - 1, NULL, 10);
    last.number = strtoull(at + sizeof(middle) - 1, &end, 10);
    if (*end != ':' || hex_decode(end + 1, last.hash, HASH_LEN) < 0)
        return false;
    audit_anchor_text(first, &last, expected);
    if (strcmp(expected, entry->text) != 0)
        return false;
    *ret_last = last;
    return true;
}
