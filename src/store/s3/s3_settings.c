/* s3_settings.c - settings of an S3 store as bytes: in the registry's record without the secret key
 * (docs/formats/registry.md), and packed with it for another process of the same version. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "store/s3_store.h"

#define PACK_VERSION 1u
#define PACK_MAX (S3_CA_CERT_MAX + 12288u)
#define FLAG_PLAIN_HTTP 1u
#define SECRET_KEY_MAX 8192u

void s3_settings_write(struct writer *writer, const struct s3_settings *settings)
{
    writer_text(writer, settings->hostname);
    writer_u16(writer, settings->port);
    writer_text(writer, settings->bucket);
    writer_text(writer, settings->region);
    writer_text(writer, settings->prefix);
    writer_text(writer, settings->access_key_id);
    writer_u16(writer, (uint16_t)settings->concurrency);
    writer_string(writer, buf_bytes(&settings->ca_cert_pem));
}

int s3_settings_read(struct reader *reader, struct s3_settings *ret)
{
    reader_text(reader, ret->hostname, sizeof(ret->hostname));
    ret->port = reader_u16(reader);
    reader_text(reader, ret->bucket, sizeof(ret->bucket));
    reader_text(reader, ret->region, sizeof(ret->region));
    reader_text(reader, ret->prefix, sizeof(ret->prefix));
    reader_text(reader, ret->access_key_id, sizeof(ret->access_key_id));
    ret->concurrency = reader_u16(reader);
    struct bytes ca_cert = reader_string(reader, S3_CA_CERT_MAX);
    return ca_cert.len > 0 ? buf_assign(&ret->ca_cert_pem, ca_cert) : 0;
}

int s3_settings_pack(const struct s3_settings *settings, const struct limit_rates *rates,
                     struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret packed = SECRET_INIT;

    if (secret_new(&packed, PACK_MAX) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    struct writer writer = writer_init(packed.data, packed.len);
    writer_u8(&writer, PACK_VERSION);
    writer_u8(&writer, settings->is_plain_http ? FLAG_PLAIN_HTTP : 0);
    writer_u64(&writer, rates->sent);
    writer_u64(&writer, rates->received);
    writer_u64(&writer, rates->removals);
    s3_settings_write(&writer, settings);
    writer_string(&writer, secret_bytes(&settings->secret_key));
    if (writer_done(&writer) < 0)
        return error_set(err, -EFBIG, "the settings of an object store are too long");
    secret_truncate(&packed, writer.len);
    secret_move(ret, &packed);
    return 0;
}

static int unpack(struct bytes packed, struct s3_settings *ret, struct limit_rates *ret_rates)
{
    struct reader reader = reader_init(packed);

    if (reader_u8(&reader) != PACK_VERSION)
        reader_fail(&reader);
    ret->is_plain_http = reader_u8(&reader) & FLAG_PLAIN_HTTP;
    ret_rates->sent = reader_u64(&reader);
    ret_rates->received = reader_u64(&reader);
    ret_rates->removals = reader_u64(&reader);
    int r = s3_settings_read(&reader, ret);
    struct bytes key = reader_string(&reader, SECRET_KEY_MAX);
    if (r == 0 && key.len > 0)
        r = secret_assign(&ret->secret_key, key);
    return r < 0 ? r : reader_done(&reader);
}

int s3_store_open_packed(struct bytes packed, struct object_store **ret, struct error *err)
{
    CLEANUP(s3_settings_release) struct s3_settings settings = S3_SETTINGS_INIT;
    struct limit_rates rates = { .sent = 0 };

    int r = unpack(packed, &settings, &rates);
    if (r < 0)
        return error_set(err, r, "the settings of the object store cannot be used: %s",
                         strerrordesc_np(-r));
    r = s3_store_open(&settings, ret, err);
    return r < 0 ? r : limit_store_wrap(&rates, ret, err);
}
