#include "fs/segment_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "crypto/kdf.h"
#include "keyring/key_labels.h"

#define SEGMENT_VERSION 1u
static const char header_magic[8] = "COFFSEG";
static const char tail_magic[8] = "COFFEND";

void segment_object_name(const struct uuid *segment, char ret[static SEGMENT_NAME_SIZE])
{
    char text[UUID_TEXT_SIZE];

    uuid_format(segment, text);
    (void)snprintf(ret, SEGMENT_NAME_SIZE, SEGMENT_PREFIX "%s", text);
}

int segment_of_object_name(const char *name, struct uuid *ret)
{
    size_t prefix = strlen(SEGMENT_PREFIX);
    char canonical[SEGMENT_NAME_SIZE];

    if (strncmp(name, SEGMENT_PREFIX, prefix) != 0 || uuid_parse(name + prefix, ret) < 0)
        return -EBADMSG;
    segment_object_name(ret, canonical);
    return strcmp(canonical, name) == 0 ? 0 : -EBADMSG;
}

void segment_header_encode(const struct block_identity *segment,
                           uint8_t ret[static SEGMENT_HEADER_LEN])
{
    struct writer writer = writer_init(ret, SEGMENT_HEADER_LEN);

    memset(ret, 0, SEGMENT_HEADER_LEN);
    writer_bytes(&writer, header_magic, sizeof(header_magic));
    writer_u32(&writer, SEGMENT_VERSION);
    writer_u32(&writer, segment->generation);
    writer_bytes(&writer, segment->fs.bytes, UUID_LEN);
    writer_bytes(&writer, segment->segment.bytes, UUID_LEN);
}

/* The address varies from block to block, so it is last. */
void block_aad(const struct block_identity *block, uint8_t ret[static BLOCK_AAD_LEN])
{
    struct writer writer = writer_init(ret, BLOCK_AAD_LEN);

    writer_bytes(&writer, block->fs.bytes, UUID_LEN);
    writer_u32(&writer, block->generation);
    writer_bytes(&writer, block->segment.bytes, UUID_LEN);
    writer_u64(&writer, block->address);
}

static void secret_releasep(struct secret *secret)
{
    secret_release(secret);
}

static int derive_aead(const struct secret *key, const struct uuid *segment, struct aead **ret)
{
    CLEANUP(secret_releasep) struct secret data_key = SECRET_INIT;
    CLEANUP(secret_releasep) struct secret segment_key = SECRET_INIT;

    if (key == NULL)
        return -ENOKEY;
    int r = kdf_derive(key, KEY_LABEL_DATA, (struct bytes){ 0 }, &data_key);
    if (r == 0)
        r = kdf_derive(&data_key, KEY_LABEL_SEGMENT,
                       (struct bytes){ .data = segment->bytes, .len = UUID_LEN }, &segment_key);
    return r < 0 ? r : aead_new(&segment_key, ret);
}

int segment_aead_new(const struct key_set *keys, uint32_t generation, const struct uuid *segment,
                     struct aead **ret)
{
    return derive_aead(key_set_find(keys, generation), segment, ret);
}

int block_aead_new(const struct key_set *keys, const struct uuid *own,
                   const struct block_identity *identity, struct aead **ret)
{
    if (uuid_equal(own, &identity->fs))
        return segment_aead_new(keys, identity->generation, &identity->segment, ret);
    return derive_aead(key_set_find_foreign(keys, &identity->fs, identity->generation),
                       &identity->segment, ret);
}

int block_seal(struct aead *aead, const struct block_identity *block, struct nonce_batch *nonces,
               struct bytes plain, uint8_t *ret)
{
    uint8_t aad[BLOCK_AAD_LEN];

    block_aad(block, aad);
    (void)nonce_next(nonces, ret);
    return aead_seal(aead, ret, (struct bytes){ .data = aad, .len = sizeof(aad) }, plain,
                     ret + AEAD_NONCE_LEN);
}

int block_open(struct aead *aead, const struct block_identity *block, struct bytes sealed,
               uint8_t *ret)
{
    uint8_t aad[BLOCK_AAD_LEN];

    if (sealed.len <= BLOCK_OVERHEAD)
        return -EBADMSG;
    block_aad(block, aad);
    return aead_open(
        aead, sealed.data, (struct bytes){ .data = aad, .len = sizeof(aad) },
        (struct bytes){ .data = sealed.data + AEAD_NONCE_LEN, .len = sealed.len - AEAD_NONCE_LEN },
        ret);
}

int block_check(struct aead *aead, const struct block_identity *block, struct bytes sealed)
{
    uint8_t aad[BLOCK_AAD_LEN];

    if (sealed.len <= BLOCK_OVERHEAD)
        return -EBADMSG;
    block_aad(block, aad);
    return aead_check(
        aead, sealed.data, (struct bytes){ .data = aad, .len = sizeof(aad) },
        (struct bytes){ .data = sealed.data + AEAD_NONCE_LEN, .len = sealed.len - AEAD_NONCE_LEN });
}

static void write_entry(struct writer *writer, const struct segment_entry *entry)
{
    writer_u32(writer, entry->offset);
    writer_u32(writer, entry->count);
    writer_u32(writer, entry->block_len);
    writer_u64(writer, entry->ino);
    writer_u64(writer, entry->file_offset);
    writer_bytes(writer, entry->identity.fs.bytes, UUID_LEN);
    writer_u32(writer, entry->identity.generation);
    writer_bytes(writer, entry->identity.segment.bytes, UUID_LEN);
    writer_u32(writer, entry->identity.address);
}

static int read_entry(struct reader *reader, uint32_t end, struct segment_entry *ret)
{
    ret->offset = reader_u32(reader);
    ret->count = reader_u32(reader);
    ret->block_len = reader_u32(reader);
    ret->ino = reader_u64(reader);
    ret->file_offset = reader_u64(reader);
    reader_copy(reader, ret->identity.fs.bytes, UUID_LEN);
    ret->identity.generation = reader_u32(reader);
    reader_copy(reader, ret->identity.segment.bytes, UUID_LEN);
    ret->identity.address = reader_u32(reader);
    if (reader->failed || ret->offset < SEGMENT_HEADER_LEN || ret->count == 0 ||
        ret->block_len == 0 || ret->block_len > CHUNK_SIZE || ret->offset > end ||
        segment_entry_sealed(ret) > end - ret->offset)
        return -EBADMSG;
    return 0;
}

static void write_tail(const struct segment_tail *tail, uint8_t ret[static SEGMENT_TAIL_LEN])
{
    struct writer writer = writer_init(ret, SEGMENT_TAIL_LEN);

    memset(ret, 0, SEGMENT_TAIL_LEN);
    writer_u32(&writer, SEGMENT_VERSION);
    writer_u32(&writer, tail->footer_offset);
    writer_u32(&writer, tail->footer_len);
    writer_u32(&writer, tail->count);
    writer_u64(&writer, 0);
    writer_bytes(&writer, tail_magic, sizeof(tail_magic));
}

/* The footer vouches for the tail, too. */
static void footer_aad(const struct block_identity *segment, uint32_t offset, const uint8_t *tail,
                       uint8_t ret[static BLOCK_AAD_LEN + SEGMENT_TAIL_LEN])
{
    struct block_identity identity = *segment;

    identity.address = offset;
    block_aad(&identity, ret);
    memcpy(ret + BLOCK_AAD_LEN, tail, SEGMENT_TAIL_LEN);
}

int segment_footer_encode(struct aead *aead, const struct block_identity *segment, uint32_t offset,
                          const struct segment_entry *entries, uint32_t count, struct buf *ret)
{
    size_t plain_len = (size_t)count * SEGMENT_ENTRY_LEN;
    size_t sealed_len = plain_len + BLOCK_OVERHEAD;
    uint8_t aad[BLOCK_AAD_LEN + SEGMENT_TAIL_LEN];
    struct nonce_batch nonces = { 0 };

    if (count > SEGMENT_ENTRIES_MAX)
        return -EFBIG;
    CLEANUP(free_ptr) uint8_t *plain = malloc(plain_len + 1); /* of none, too */
    CLEANUP(free_ptr) uint8_t *out = malloc(sealed_len + SEGMENT_TAIL_LEN);
    if (plain == NULL || out == NULL)
        return -ENOMEM;
    struct writer writer = writer_init(plain, plain_len);
    for (uint32_t i = 0; i < count; i++)
        write_entry(&writer, &entries[i]);
    const struct segment_tail tail = { .footer_offset = offset,
                                       .footer_len = (uint32_t)sealed_len,
                                       .count = count };
    write_tail(&tail, out + sealed_len);
    footer_aad(segment, offset, out + sealed_len, aad);
    (void)nonce_next(&nonces, out);
    int r = aead_seal(aead, out, (struct bytes){ .data = aad, .len = sizeof(aad) },
                      (struct bytes){ .data = plain, .len = plain_len }, out + AEAD_NONCE_LEN);
    if (r < 0)
        return r;
    *ret = (struct buf){ .data = TAKE(out), .len = sealed_len + SEGMENT_TAIL_LEN };
    return 0;
}

int segment_tail_decode(struct bytes tail, struct segment_tail *ret)
{
    struct reader reader = reader_init(tail);
    struct segment_tail found;

    uint32_t version = reader_u32(&reader);
    found.footer_offset = reader_u32(&reader);
    found.footer_len = reader_u32(&reader);
    found.count = reader_u32(&reader);
    uint64_t zero = reader_u64(&reader);
    struct bytes magic = reader_bytes(&reader, sizeof(tail_magic));
    if (reader_done(&reader) < 0 || memcmp(magic.data, tail_magic, sizeof(tail_magic)) != 0)
        return -EBADMSG;
    if (version != SEGMENT_VERSION)
        return version > SEGMENT_VERSION ? -EPROTONOSUPPORT : -EBADMSG;
    if (zero != 0 || found.count > SEGMENT_ENTRIES_MAX ||
        found.footer_len != found.count * SEGMENT_ENTRY_LEN + BLOCK_OVERHEAD ||
        found.footer_offset < SEGMENT_HEADER_LEN)
        return -EBADMSG;
    *ret = found;
    return 0;
}

static int decode_entries(struct bytes plain, const struct segment_tail *tail,
                          struct segment_entry *ret)
{
    struct reader reader = reader_init(plain);

    for (uint32_t i = 0; i < tail->count; i++) {
        int r = read_entry(&reader, tail->footer_offset, &ret[i]);
        if (r < 0)
            return r;
    }
    return reader_done(&reader);
}

int segment_footer_decode(struct aead *aead, const struct block_identity *segment,
                          struct bytes sealed, struct bytes tail, struct segment_entry **ret,
                          uint32_t *ret_count)
{
    uint8_t aad[BLOCK_AAD_LEN + SEGMENT_TAIL_LEN];
    struct segment_tail named;

    int r = segment_tail_decode(tail, &named);
    if (r == 0 && sealed.len != named.footer_len)
        r = -EBADMSG;
    if (r < 0)
        return r;
    size_t plain_len = sealed.len - BLOCK_OVERHEAD;
    CLEANUP(free_ptr) uint8_t *plain = malloc(plain_len + 1);
    CLEANUP(free_ptr) struct segment_entry *entries = calloc(named.count + 1u, sizeof(*entries));
    if (plain == NULL || entries == NULL)
        return -ENOMEM;
    footer_aad(segment, named.footer_offset, tail.data, aad);
    r = aead_open(
        aead, sealed.data, (struct bytes){ .data = aad, .len = sizeof(aad) },
        (struct bytes){ .data = sealed.data + AEAD_NONCE_LEN, .len = sealed.len - AEAD_NONCE_LEN },
        plain);
    if (r == 0)
        r = decode_entries((struct bytes){ .data = plain, .len = plain_len }, &named, entries);
    if (r < 0)
        return r;
    *ret = TAKE(entries);
    *ret_count = named.count;
    return 0;
}
