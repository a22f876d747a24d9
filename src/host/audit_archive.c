#include "host/audit_archive.h"

#include <errno.h>
#include <string.h>

#include "base/wire.h"

#define VERSION 1u

static const uint8_t magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'A', 'A' };

static void write_head(struct writer *writer, const struct audit_head *head)
{
    writer_u64(writer, head->number);
    writer_bytes(writer, head->hash, HASH_LEN);
}

static void read_head(struct reader *reader, struct audit_head *ret)
{
    ret->number = reader_u64(reader);
    reader_copy(reader, ret->hash, HASH_LEN);
}

void audit_archive_begin(const struct audit_archive *archive,
                         uint8_t ret[static AUDIT_ARCHIVE_BEGIN_LEN])
{
    struct writer writer = writer_init(ret, AUDIT_ARCHIVE_BEGIN_LEN);

    writer_bytes(&writer, magic, sizeof(magic));
    writer_u32(&writer, VERSION);
    writer_bytes(&writer, archive->instance.bytes, UUID_LEN);
    write_head(&writer, &archive->begin);
}

void audit_archive_end(const struct audit_archive *archive,
                       uint8_t ret[static AUDIT_ARCHIVE_END_LEN])
{
    struct writer writer = writer_init(ret, AUDIT_ARCHIVE_END_LEN);

    writer_u32(&writer, 0);
    write_head(&writer, &archive->end);
}

static int read_begin(struct reader *reader, struct audit_archive *ret, struct error *err)
{
    uint8_t found[sizeof(magic)];

    reader_copy(reader, found, sizeof(found));
    uint32_t version = reader_u32(reader);
    reader_copy(reader, ret->instance.bytes, UUID_LEN);
    read_head(reader, &ret->begin);
    if (reader->failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG, "it is no archive of an audit log");
    return version == VERSION
               ? 0
               : error_set(err, -EPROTONOSUPPORT,
                           "the archive was written by a later version of coffer; use that");
}

struct walk {
    struct audit_chain chain;
    audit_fault_fn *report;
    void *arg;
    bool kept_is_there;
};

static void read_entries(struct reader *reader, struct walk *walk, const struct audit_head *kept,
                         struct audit_archive *archive)
{
    for (uint32_t len = reader_u32(reader); len > 0 && !reader->failed; len = reader_u32(reader)) {
        struct bytes stored = reader_bytes(reader, len);
        if (reader->failed)
            return;
        uint64_t number = walk->chain.number + 1;
        audit_chain_step(&walk->chain, number, stored, walk->report, walk->arg);
        archive->entries++;
        if (kept && kept->number == number)
            walk->kept_is_there = memcmp(kept->hash, walk->chain.hash, HASH_LEN) == 0;
    }
}

static void fault(struct walk *walk, const char *text)
{
    walk->chain.faults++;
    walk->report(walk->chain.number, text, walk->arg);
}

/* The first archive of an instance begins with what every chain begins with. */
static int check_begin(struct walk *walk, const struct audit_archive *archive, struct error *err)
{
    uint8_t begin[HASH_LEN];

    if (archive->begin.number > 0)
        return 0;
    int r = audit_chain_begin(&archive->instance, begin);
    if (r < 0)
        return error_set(err, r, "out of memory for the archive");
    if (memcmp(begin, archive->begin.hash, HASH_LEN) != 0)
        fault(walk, "the archive does not begin as the log of its instance: it was altered");
    return 0;
}

int audit_archive_verify(struct bytes file, const struct audit_head *kept, audit_fault_fn *report,
                         void *arg, struct audit_archive *ret, struct error *err)
{
    struct reader reader = reader_init(file);
    struct audit_archive archive = { .entries = 0 };
    struct walk walk = { .report = report, .arg = arg };
    int r = read_begin(&reader, &archive, err);

    if (r == 0)
        r = check_begin(&walk, &archive, err);
    if (r < 0)
        return r;
    walk.chain.number = archive.begin.number;
    memcpy(walk.chain.hash, archive.begin.hash, HASH_LEN);
    read_entries(&reader, &walk, kept, &archive);
    read_head(&reader, &archive.end);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "the archive is damaged, or its end was cut off");
    if (archive.end.number != walk.chain.number ||
        memcmp(archive.end.hash, walk.chain.hash, HASH_LEN) != 0)
        fault(&walk, "the archive does not end with the entry that it names as its last");
    if (kept && !walk.kept_is_there)
        fault(&walk, "the entry that was kept is not in it with that hash");
    archive.faults = walk.chain.faults;
    *ret = archive;
    return 0;
}
