#include "transfer/reference.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/hash.h"

#define VERSION 1u
#define NAME_LEN (1u + BUCKET_ID_LEN)
#define HEAD_LEN (8u + 4u + 1u + 3u * UUID_LEN + 8u + 4u)
#define MARK_LEN (8u + 4u + 2u * UUID_LEN + 8u)

static const uint8_t reference_magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'R', 'F' };
static const uint8_t mark_magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'M', 'K' };

/* What was written, and its digest behind it. */
static int add_digest(struct writer *writer)
{
    const struct bytes covered = writer_written(writer);
    uint8_t digest[HASH_LEN];

    int r = hash_sha256(&covered, 1, digest);
    writer_bytes(writer, digest, HASH_LEN);
    return r < 0 ? r : writer_done(writer);
}

/* A reader of what stands in front of a digest that is right, behind magic and version. */
static int begin(struct bytes encoded, const uint8_t magic[static 8], struct reader *ret)
{
    uint8_t digest[HASH_LEN], found[8];

    if (encoded.len < HASH_LEN)
        return -EBADMSG;
    const struct bytes covered = { encoded.data, encoded.len - HASH_LEN };
    int r = hash_sha256(&covered, 1, digest);
    if (r < 0)
        return r;
    if (memcmp(digest, encoded.data + covered.len, HASH_LEN) != 0)
        return -EBADMSG;
    *ret = reader_init(covered);
    reader_copy(ret, found, sizeof(found));
    uint32_t version = reader_u32(ret);
    if (ret->failed || memcmp(found, magic, sizeof(found)) != 0)
        return -EBADMSG;
    return version == VERSION ? 0 : -EPROTONOSUPPORT;
}

static void write_reference(struct writer *writer, const struct reference_head *head,
                            const struct name_set *names)
{
    writer_bytes(writer, reference_magic, sizeof(reference_magic));
    writer_u32(writer, VERSION);
    writer_u8(writer, (uint8_t)head->kind);
    writer_bytes(writer, head->reference.bytes, UUID_LEN);
    writer_bytes(writer, head->fs.bytes, UUID_LEN);
    writer_bytes(writer, head->instance.bytes, UUID_LEN);
    writer_u64(writer, head->written_ns);
    writer_u32(writer, (uint32_t)names->count);
    for (size_t i = 0; i < names->count; i++) {
        writer_u8(writer, names->items[i].name.kind);
        writer_bytes(writer, names->items[i].name.id, BUCKET_ID_LEN);
    }
}

int reference_encode(const struct reference_head *head, const struct name_set *names,
                     struct buf *ret)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    size_t room = HEAD_LEN + names->count * NAME_LEN + HASH_LEN;

    if (!names->is_sorted || names->count > REFERENCE_NAMES_MAX)
        return -EINVAL;
    encoded.data = malloc(room);
    if (!encoded.data)
        return -ENOMEM;
    struct writer writer = writer_init(encoded.data, room);
    write_reference(&writer, head, names);
    int r = add_digest(&writer);
    encoded.len = writer.len;
    if (r == 0)
        buf_move(ret, &encoded);
    return r;
}

/* PACK, CHUNK and MANIFEST are what can be needed. A pack's id is shorter: zeros behind it. */
static bool is_needed_name(const struct bucket_name *name)
{
    static const uint8_t zeros[BUCKET_ID_LEN];

    if (name->kind == BUCKET_PACK)
        return memcmp(name->id + UUID_LEN, zeros, BUCKET_ID_LEN - UUID_LEN) == 0;
    return name->kind == BUCKET_CHUNK || name->kind == BUCKET_MANIFEST;
}

static int read_names(struct reader *reader, struct name_set *names)
{
    struct bucket_name last = { .kind = 0 }, name;
    uint32_t count = reader_u32(reader);
    int r = 0;

    if (count > reader->len / NAME_LEN || count > REFERENCE_NAMES_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed && r == 0; i++) {
        name.kind = reader_u8(reader);
        reader_copy(reader, name.id, BUCKET_ID_LEN);
        if (!is_needed_name(&name) || bucket_name_compare(&last, &name) >= 0)
            reader_fail(reader);
        last = name;
        if (!reader->failed)
            r = name_set_add(names, &name, 0);
    }
    return r;
}

int reference_decode(struct bytes encoded, struct reference_head *ret, struct name_set *names)
{
    struct reference_head head;
    struct reader reader;

    int r = begin(encoded, reference_magic, &reader);
    if (r < 0)
        return r;
    uint8_t kind = reader_u8(&reader);
    reader_copy(&reader, head.reference.bytes, UUID_LEN);
    reader_copy(&reader, head.fs.bytes, UUID_LEN);
    reader_copy(&reader, head.instance.bytes, UUID_LEN);
    head.written_ns = reader_u64(&reader);
    if (kind != REFERENCE_UPLOAD && kind != REFERENCE_DOWNLOAD)
        reader_fail(&reader);
    head.kind = (enum reference_kind)kind;
    r = read_names(&reader, names);
    if (r == 0)
        r = reader_done(&reader);
    if (r == 0)
        *ret = head;
    return r;
}

int mark_encode(const struct removing_mark *mark, struct buf *ret)
{
    uint8_t room[MARK_LEN + HASH_LEN];
    struct writer writer = writer_init(room, sizeof(room));

    writer_bytes(&writer, mark_magic, sizeof(mark_magic));
    writer_u32(&writer, VERSION);
    writer_bytes(&writer, mark->mark.bytes, UUID_LEN);
    writer_bytes(&writer, mark->instance.bytes, UUID_LEN);
    writer_u64(&writer, mark->written_ns);
    int r = add_digest(&writer);
    return r < 0 ? r : buf_assign(ret, writer_written(&writer));
}

int mark_decode(struct bytes encoded, struct removing_mark *ret)
{
    struct removing_mark mark;
    struct reader reader;

    int r = begin(encoded, mark_magic, &reader);
    if (r < 0)
        return r;
    reader_copy(&reader, mark.mark.bytes, UUID_LEN);
    reader_copy(&reader, mark.instance.bytes, UUID_LEN);
    mark.written_ns = reader_u64(&reader);
    r = reader_done(&reader);
    if (r == 0)
        *ret = mark;
    return r;
}
