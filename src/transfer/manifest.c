#include "transfer/manifest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"

static struct bytes key_at(const struct manifest *manifest, const struct chunk_entry *chunk)
{
    return (struct bytes){ manifest->keys.data + chunk->key_at, chunk->key_len };
}

struct bytes manifest_first_key(const struct manifest *manifest, uint32_t chunk)
{
    return key_at(manifest, &manifest->chunks[chunk]);
}

void manifest_release(struct manifest *manifest)
{
    free(manifest->chunks);
    free(manifest->packs);
    buf_release(&manifest->keys);
    *manifest = MANIFEST_INIT;
}

/* Room for one more of so many bytes. */
static int grow(void **items, uint32_t count, uint32_t *room, size_t item_len)
{
    if (count < *room)
        return 0;
    uint32_t more = *room ? *room * 2 : 64;
    void *grown = reallocarray(*items, more, item_len);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *room = more;
    return 0;
}

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM,
                     "cannot keep the list of what a snapshot consists of: out of"
                     " memory");
}

int manifest_add_chunk(struct manifest *manifest, const uint8_t name[static CHUNK_NAME_LEN],
                       uint32_t len, uint32_t records, struct bytes first_key, struct error *err)
{
    if (manifest->chunk_count == MANIFEST_CHUNKS_MAX)
        return error_set(err, -EFBIG,
                         "the snapshot has more metadata than one upload can hold: %u chunks",
                         MANIFEST_CHUNKS_MAX);
    void *chunks = manifest->chunks;
    int r = grow(&chunks, manifest->chunk_count, &manifest->chunk_room, sizeof(struct chunk_entry));
    manifest->chunks = chunks;
    struct chunk_entry entry = { .len = len,
                                 .records = records,
                                 .key_at = manifest->keys.len,
                                 .key_len = (uint16_t)first_key.len };
    if (r == 0)
        r = buf_append(&manifest->keys, first_key);
    if (r < 0)
        return no_memory(err);
    memcpy(entry.name, name, CHUNK_NAME_LEN);
    manifest->chunks[manifest->chunk_count++] = entry;
    return 0;
}

int manifest_add_pack(struct manifest *manifest, const uint8_t id[static PACK_ID_LEN], uint32_t len,
                      struct error *err)
{
    if (manifest->pack_count == MANIFEST_PACKS_MAX)
        return error_set(err, -EFBIG,
                         "the snapshot has more data than one upload can hold: %u packs",
                         MANIFEST_PACKS_MAX);
    void *packs = manifest->packs;
    int r = grow(&packs, manifest->pack_count, &manifest->pack_room, sizeof(struct pack_entry));
    manifest->packs = packs;
    if (r < 0)
        return no_memory(err);
    struct pack_entry *entry = &manifest->packs[manifest->pack_count++];
    memcpy(entry->id, id, PACK_ID_LEN);
    entry->len = len;
    return 0;
}

static int compare_packs(const void *a, const void *b)
{
    const struct pack_entry *left = a, *right = b;

    return memcmp(left->id, right->id, PACK_ID_LEN);
}

void manifest_sort_packs(struct manifest *manifest)
{
    uint32_t kept = 0;

    if (manifest->pack_count == 0)
        return;
    qsort(manifest->packs, manifest->pack_count, sizeof(*manifest->packs), compare_packs);
    for (uint32_t i = 0; i < manifest->pack_count; i++)
        if (kept == 0 || compare_packs(&manifest->packs[kept - 1], &manifest->packs[i]) != 0)
            manifest->packs[kept++] = manifest->packs[i];
    manifest->pack_count = kept;
}

const struct pack_entry *manifest_find_pack(const struct manifest *manifest,
                                            const uint8_t id[static PACK_ID_LEN])
{
    struct pack_entry wanted;

    if (manifest->pack_count == 0)
        return NULL;
    memcpy(wanted.id, id, PACK_ID_LEN);
    return bsearch(&wanted, manifest->packs, manifest->pack_count, sizeof(wanted), compare_packs);
}

uint32_t manifest_find_chunk(const struct manifest *manifest, struct bytes key)
{
    uint32_t first = 0, end = manifest->chunk_count;

    while (end - first > 1) {
        uint32_t middle = first + (end - first) / 2;
        if (dump_key_compare(manifest_first_key(manifest, middle), key) <= 0)
            first = middle;
        else
            end = middle;
    }
    return first;
}

int manifest_names(const struct manifest *manifest, struct name_set *ret)
{
    int r = 0;

    for (uint32_t i = 0; i < manifest->pack_count && r == 0; i++) {
        const struct bucket_name name = bucket_name_of(BUCKET_PACK, manifest->packs[i].id);
        r = name_set_add(ret, &name, manifest->packs[i].len);
    }
    for (uint32_t i = 0; i < manifest->chunk_count && r == 0; i++) {
        const struct bucket_name name = bucket_name_of(BUCKET_CHUNK, manifest->chunks[i].name);
        r = name_set_add(ret, &name, manifest->chunks[i].len);
    }
    name_set_sort(ret);
    return r;
}

/* --- the part that is sealed --- */

#define VERSION 1u

static bool is_shown(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

void about_text_write(struct writer *writer, const char *text)
{
    if (!is_shown(text))
        writer->failed = true;
    writer_text(writer, text);
}

void about_text_read(struct reader *reader, char to[static MANIFEST_NAME_SIZE])
{
    reader_text(reader, to, MANIFEST_NAME_SIZE);
    if (!reader->failed && !is_shown(to))
        reader_fail(reader);
}

void needed_write(struct writer *writer, uint32_t count, const struct key_needed *needed)
{
    writer_u32(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        writer_bytes(writer, needed[i].origin.bytes, UUID_LEN);
        writer_u32(writer, needed[i].generation);
    }
}

uint32_t needed_read(struct reader *reader, struct key_needed ret[static KEY_GENERATIONS_MAX])
{
    uint32_t count = reader_u32(reader);

    if (count > KEY_GENERATIONS_MAX)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        reader_copy(reader, ret[i].origin.bytes, UUID_LEN);
        ret[i].generation = reader_u32(reader);
        int order = i == 0 ? -1 : memcmp(ret[i - 1].origin.bytes, ret[i].origin.bytes, UUID_LEN);
        if (ret[i].generation == 0 || order > 0 ||
            (order == 0 && ret[i - 1].generation >= ret[i].generation))
            reader_fail(reader);
    }
    return reader->failed ? 0 : count;
}

static void write_about(struct writer *writer, const struct snapshot_about *about)
{
    writer_u64(writer, about->epoch);
    writer_u64(writer, about->created_ns);
    writer_u64(writer, about->uploaded_ns);
    writer_u64(writer, about->size);
    writer_u64(writer, about->inodes);
    about_text_write(writer, about->filesystem);
    about_text_write(writer, about->snapshot);
    about_text_write(writer, about->access_point);
    needed_write(writer, about->needed_count, about->needed);
}

static void read_about(struct reader *reader, struct snapshot_about *ret)
{
    ret->epoch = reader_u64(reader);
    ret->created_ns = reader_u64(reader);
    ret->uploaded_ns = reader_u64(reader);
    ret->size = reader_u64(reader);
    ret->inodes = reader_u64(reader);
    about_text_read(reader, ret->filesystem);
    about_text_read(reader, ret->snapshot);
    about_text_read(reader, ret->access_point);
    ret->needed_count = needed_read(reader, ret->needed);
}

/* Version, numbers, counts; three texts; keys. */
#define ABOUT_MAX (128u + 3u * MANIFEST_NAME_SIZE + 4u + KEY_GENERATIONS_MAX * (UUID_LEN + 4u))
#define CHUNK_ENTRY_LEN (CHUNK_NAME_LEN + 4u + 4u + 2u)
#define PACK_ENTRY_LEN (PACK_ID_LEN + 4u)

static void write_lists(struct writer *writer, const struct manifest *manifest)
{
    writer_u32(writer, manifest->pack_count);
    for (uint32_t i = 0; i < manifest->pack_count; i++) {
        writer_bytes(writer, manifest->packs[i].id, PACK_ID_LEN);
        writer_u32(writer, manifest->packs[i].len);
    }
    writer_u32(writer, manifest->chunk_count);
    for (uint32_t i = 0; i < manifest->chunk_count; i++) {
        writer_bytes(writer, manifest->chunks[i].name, CHUNK_NAME_LEN);
        writer_u32(writer, manifest->chunks[i].len);
        writer_u32(writer, manifest->chunks[i].records);
        writer_string(writer, manifest_first_key(manifest, i));
    }
}

int manifest_encode(const struct manifest *manifest, struct buf *ret)
{
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    size_t room = ABOUT_MAX + (size_t)manifest->pack_count * PACK_ENTRY_LEN +
                  (size_t)manifest->chunk_count * CHUNK_ENTRY_LEN + manifest->keys.len;

    if (room > MANIFEST_MAX)
        return -EFBIG;
    plain.data = malloc(room);
    if (!plain.data)
        return -ENOMEM;
    struct writer writer = writer_init(plain.data, room);
    writer_u32(&writer, VERSION);
    write_about(&writer, &manifest->about);
    writer_u32(&writer, manifest->block_size);
    writer_u64(&writer, manifest->data_len);
    writer_u64(&writer, manifest->records);
    set_hash_write(&writer, &manifest->set);
    write_lists(&writer, manifest);
    if (writer_done(&writer) < 0)
        return -EINVAL;
    plain.len = writer.len;
    buf_move(ret, &plain);
    return 0;
}

static int read_packs(struct reader *reader, struct manifest *manifest)
{
    uint32_t count = reader_u32(reader);
    uint8_t id[PACK_ID_LEN];
    int r = 0;

    if (count > reader->len / PACK_ENTRY_LEN)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed && r == 0; i++) {
        reader_copy(reader, id, PACK_ID_LEN);
        uint32_t len = reader_u32(reader);
        if (len == 0 || (i > 0 && memcmp(manifest->packs[i - 1].id, id, PACK_ID_LEN) >= 0))
            reader_fail(reader);
        r = manifest_add_pack(manifest, id, len, NULL);
    }
    return r;
}

static int read_chunks(struct reader *reader, struct manifest *manifest)
{
    uint32_t count = reader_u32(reader);
    uint8_t name[CHUNK_NAME_LEN];
    int r = 0;

    if (count > reader->len / CHUNK_ENTRY_LEN)
        reader_fail(reader);
    for (uint32_t i = 0; i < count && !reader->failed && r == 0; i++) {
        reader_copy(reader, name, CHUNK_NAME_LEN);
        uint32_t len = reader_u32(reader);
        uint32_t records = reader_u32(reader);
        struct bytes key = reader_string(reader, META_KEY_MAX);
        if (len <= AEAD_TAG_LEN || len > DUMP_CHUNK_MAX + AEAD_TAG_LEN || records == 0 ||
            key.len == 0 ||
            (i > 0 && dump_key_compare(manifest_first_key(manifest, i - 1), key) >= 0))
            reader_fail(reader);
        if (!reader->failed)
            r = manifest_add_chunk(manifest, name, len, records, key, NULL);
    }
    return r;
}

int manifest_decode(struct bytes plain, struct manifest *ret)
{
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    struct reader reader = reader_init(plain);

    uint32_t version = reader_u32(&reader);
    if (reader.failed || plain.len > MANIFEST_MAX)
        return -EBADMSG;
    if (version != VERSION)
        return -EPROTONOSUPPORT;
    read_about(&reader, &manifest.about);
    manifest.block_size = reader_u32(&reader);
    manifest.data_len = reader_u64(&reader);
    manifest.records = reader_u64(&reader);
    set_hash_read(&reader, &manifest.set);
    int r = read_packs(&reader, &manifest);
    if (r == 0)
        r = read_chunks(&reader, &manifest);
    if (r == -EFBIG || (r == 0 && reader_done(&reader) < 0))
        r = -EBADMSG;
    if (r < 0)
        return r;
    *ret = manifest;
    manifest = MANIFEST_INIT;
    return 0;
}

/* --- the object --- */

static const uint8_t magic[8] = { 'C', 'O', 'F', 'F', 'E', 'R', 'M', 'F' };

static void write_head(struct writer *writer, const struct manifest *manifest)
{
    writer_bytes(writer, magic, sizeof(magic));
    writer_u32(writer, VERSION);
    writer_bytes(writer, manifest->fs.bytes, UUID_LEN);
    writer_u32(writer, manifest->generation);
    writer_bytes(writer, manifest->upload.bytes, UUID_LEN);
}

static int seal(const struct manifest *manifest, const struct transfer_keys *keys,
                struct bytes plain, struct buf *object)
{
    CLEANUP(aead_freep) struct aead *aead = NULL;
    uint8_t nonce[AEAD_NONCE_LEN];
    struct writer writer = writer_init(object->data, MANIFEST_HEAD_LEN);

    write_head(&writer, manifest);
    const struct bytes aad = writer_written(&writer);
    int r = manifest_aead(keys, &manifest->upload, &aead);
    if (r == 0)
        r = manifest_nonce(keys, &manifest->upload, plain, nonce);
    if (r < 0)
        return r;
    writer_bytes(&writer, nonce, AEAD_NONCE_LEN);
    return aead_seal(aead, nonce, aad, plain, object->data + MANIFEST_HEAD_LEN);
}

int manifest_seal(const struct manifest *manifest, const struct transfer_keys *keys,
                  struct buf *ret, uint8_t ret_name[static HASH_LEN], struct error *err)
{
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    uint8_t name[HASH_LEN];

    int r = manifest_encode(manifest, &plain);
    if (r == -EFBIG)
        return error_set(err, r, "the snapshot has more parts than one upload can hold");
    if (r == -EINVAL)
        return error_set(err, r, "the name of a filesystem or snapshot cannot be uploaded");
    if (r == 0) {
        object.len = MANIFEST_HEAD_LEN + plain.len + AEAD_TAG_LEN;
        object.data = malloc(object.len);
        r = object.data ? seal(manifest, keys, buf_bytes(&plain), &object) : -ENOMEM;
    }
    const struct bytes whole = buf_bytes(&object);
    if (r == 0)
        r = hash_sha256(&whole, 1, name);
    if (r < 0)
        return no_memory(err);
    memcpy(ret_name, name, HASH_LEN);
    buf_move(ret, &object);
    return 0;
}

/* What stands in front, in clear. */
static int read_head(struct reader *reader, struct manifest *ret, struct error *err)
{
    uint8_t found[sizeof(magic)];

    reader_copy(reader, found, sizeof(found));
    uint32_t version = reader_u32(reader);
    if (reader->failed || memcmp(found, magic, sizeof(magic)) != 0)
        return error_set(err, -EBADMSG, "the manifest is not one: its beginning is altered");
    if (version != VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the manifest is of format version %u, and this coffer reads only %u: use"
                         " a newer coffer",
                         version, VERSION);
    reader_copy(reader, ret->fs.bytes, UUID_LEN);
    ret->generation = reader_u32(reader);
    reader_copy(reader, ret->upload.bytes, UUID_LEN);
    return 0;
}

static int open_sealed(const struct transfer_keys *keys, const struct manifest *head,
                       struct bytes object, struct buf *ret)
{
    CLEANUP(aead_freep) struct aead *aead = NULL;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    const struct bytes aad = { object.data, MANIFEST_HEAD_LEN - AEAD_NONCE_LEN };
    const struct bytes sealed = { object.data + MANIFEST_HEAD_LEN, object.len - MANIFEST_HEAD_LEN };

    plain.data = malloc(sealed.len);
    if (!plain.data)
        return -ENOMEM;
    plain.len = sealed.len - AEAD_TAG_LEN;
    int r = manifest_aead(keys, &head->upload, &aead);
    if (r == 0)
        r = aead_open(aead, object.data + aad.len, aad, sealed, plain.data);
    if (r == 0)
        buf_move(ret, &plain);
    return r;
}

static int refused(int r, struct error *err)
{
    switch (r) {
    case -ENOMEM:
        return no_memory(err);
    case -EPROTONOSUPPORT:
        return error_set(err, r, "the manifest was written by a later version of coffer: use that");
    default:
        return error_set(err, -EBADMSG, "the manifest is malformed, or of another key");
    }
}

int manifest_open(const struct transfer_keys *keys, const uint8_t name[static HASH_LEN],
                  struct bytes object, struct manifest *ret, struct error *err)
{
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct manifest head = MANIFEST_INIT;
    struct reader reader = reader_init(object);
    char text[2 * HASH_LEN + 1];
    uint8_t found[HASH_LEN];

    if (hash_sha256(&object, 1, found) < 0)
        return no_memory(err);
    hex_encode((struct bytes){ name, HASH_LEN }, text);
    if (memcmp(found, name, HASH_LEN) != 0)
        return error_set(
            err, -EBADMSG,
            "the manifest %s is not the one that the locator names: it was altered, cut"
            " short, or another one put in its place",
            text);
    int r = read_head(&reader, &head, err);
    if (r < 0)
        return r;
    if (!uuid_equal(&head.fs, &keys->fs) || head.generation != keys->generation)
        return error_set(err, -EBADMSG,
                         "the manifest is of another filesystem or key generation than its head");
    if (object.len < MANIFEST_HEAD_LEN + AEAD_TAG_LEN)
        return refused(-EBADMSG, err);
    r = open_sealed(keys, &head, object, &plain);
    if (r == 0)
        r = manifest_decode(buf_bytes(&plain), &manifest);
    if (r < 0)
        return refused(r, err);
    manifest.fs = head.fs;
    manifest.generation = head.generation;
    manifest.upload = head.upload;
    *ret = manifest;
    manifest = MANIFEST_INIT;
    return 0;
}

int manifest_get(const struct bucket *bucket, const struct transfer_keys *keys,
                 const uint8_t name[static HASH_LEN], struct manifest *ret, size_t *ret_len,
                 struct error *err)
{
    const struct bucket_name object_name = bucket_name_of(BUCKET_MANIFEST, name);
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    char text[OBJECT_NAME_MAX + 1];

    int r = bucket_get(bucket, &object_name, MANIFEST_MAX, &object, err);
    bucket_object_name(bucket, &object_name, text);
    if (r == -ENOENT)
        return error_set(err, r, "the snapshot's manifest %s is missing", text);
    *ret_len = object.len;
    return r < 0 ? r : manifest_open(keys, name, buf_bytes(&object), ret, err);
}
