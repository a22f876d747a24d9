#include "store/packed_store.h"

#include <errno.h>

#include "base/cleanup.h"

/* In place of the version of a packed bucket. */
#define PACK_FOLDER 128u
#define PACK_MAX (PATH_MAX + 64u)

int packed_folder_pack(const struct packed_folder *folder, struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret packed = SECRET_INIT;

    if (secret_new(&packed, PACK_MAX) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    struct writer writer = writer_init(packed.data, packed.len);
    writer_u8(&writer, PACK_FOLDER);
    writer_u64(&writer, folder->rates.sent);
    writer_u64(&writer, folder->rates.received);
    writer_u64(&writer, folder->rates.removals);
    writer_text(&writer, folder->path);
    writer_bytes(&writer, folder->mark.bytes, UUID_LEN);
    if (writer_done(&writer) < 0)
        return error_set(err, -ENAMETOOLONG, "the path of an object store is too long");
    secret_truncate(&packed, writer.len);
    secret_move(ret, &packed);
    return 0;
}

bool packed_is_folder(struct bytes packed)
{
    return packed.len > 0 && packed.data[0] == PACK_FOLDER;
}

int packed_folder_unpack(struct bytes packed, struct packed_folder *ret, struct error *err)
{
    struct reader reader = reader_init(packed);

    if (reader_u8(&reader) != PACK_FOLDER)
        reader_fail(&reader);
    ret->rates.sent = reader_u64(&reader);
    ret->rates.received = reader_u64(&reader);
    ret->rates.removals = reader_u64(&reader);
    reader_text(&reader, ret->path, sizeof(ret->path));
    reader_copy(&reader, ret->mark.bytes, UUID_LEN);
    if (reader_done(&reader) < 0 || ret->path[0] != '/')
        return error_set(err, -EBADMSG, "the settings of the object store cannot be used");
    return 0;
}
