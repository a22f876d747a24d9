#include "keyring/wrapped_key.h"

#include <stdbool.h>

static bool has_control(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            return true;
    return false;
}

static void read_text(struct reader *reader, char *to, size_t size)
{
    reader_text(reader, to, size);
    if (has_control(to))
        reader_fail(reader);
}

/* A u8 length, at most max, then so many bytes. */
static uint8_t read_short(struct reader *reader, uint8_t *to, uint8_t max)
{
    uint8_t len = reader_u8(reader);

    if (len > max) {
        reader_fail(reader);
        return 0;
    }
    reader_copy(reader, to, len);
    return len;
}

static void write_short(struct writer *writer, const uint8_t *from, uint8_t len)
{
    writer_u8(writer, len);
    writer_bytes(writer, from, len);
}

const char *wrap_mode_name(enum wrap_mode mode)
{
    switch (mode) {
    case WRAP_MODE_CBC_PKCS5:
        return "cbc";
    case WRAP_MODE_GCM:
        return "gcm";
    case WRAP_MODE_SERVER:
    default:
        return "";
    }
}

void wrapped_key_write(struct writer *writer, const struct wrapped_key *wrapped)
{
    writer_text(writer, wrapped->provider);
    writer_text(writer, wrapped->addresses);
    writer_text(writer, wrapped->kms_namespace);
    writer_text(writer, wrapped->mount_path);
    writer_text(writer, wrapped->key_name);
    writer_u32(writer, wrapped->key_version);
    writer_u8(writer, (uint8_t)wrapped->mode);
    write_short(writer, wrapped->iv, wrapped->iv_len);
    write_short(writer, wrapped->tag, wrapped->tag_len);
    writer_string(writer, (struct bytes){ wrapped->blob, wrapped->blob_len });
}

void wrapped_key_read(struct reader *reader, struct wrapped_key *ret)
{
    *ret = (struct wrapped_key){ .provider = "" };
    read_text(reader, ret->provider, sizeof(ret->provider));
    read_text(reader, ret->addresses, sizeof(ret->addresses));
    read_text(reader, ret->kms_namespace, sizeof(ret->kms_namespace));
    read_text(reader, ret->mount_path, sizeof(ret->mount_path));
    read_text(reader, ret->key_name, sizeof(ret->key_name));
    ret->key_version = reader_u32(reader);
    uint8_t mode = reader_u8(reader);
    if (mode > WRAP_MODE_GCM)
        reader_fail(reader);
    else
        ret->mode = (enum wrap_mode)mode;
    ret->iv_len = read_short(reader, ret->iv, WRAPPED_IV_MAX);
    ret->tag_len = read_short(reader, ret->tag, WRAPPED_TAG_MAX);
    ret->blob_len = reader_u16(reader);
    if (ret->blob_len > WRAPPED_BLOB_MAX) {
        ret->blob_len = 0;
        reader_fail(reader);
    }
    reader_copy(reader, ret->blob, ret->blob_len);
}
