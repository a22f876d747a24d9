#include "control/task_record.h"

#include <errno.h>

#include "base/wire.h"

#define RECORD_MAGIC 0x4b544643u /* "CFTK" */
#define RECORD_VERSION 1u

int task_record_encode(const struct task_record *record, uint8_t ret[static TASK_RECORD_MAX],
                       size_t *ret_len, struct error *err)
{
    struct writer writer = writer_init(ret, TASK_RECORD_MAX);

    writer_u32(&writer, RECORD_MAGIC);
    writer_u16(&writer, RECORD_VERSION);
    writer_u8(&writer, (uint8_t)record->state);
    writer_u64(&writer, record->id);
    writer_text(&writer, record->kind);
    writer_bytes(&writer, record->uuid.bytes, UUID_LEN);
    writer_bytes(&writer, record->fs.bytes, UUID_LEN);
    writer_text(&writer, record->filesystem);
    writer_text(&writer, record->store);
    writer_u64(&writer, record->snapshot);
    writer_u64(&writer, (uint64_t)record->created_ns);
    writer_u64(&writer, (uint64_t)record->ended_ns);
    writer_u64(&writer, record->total);
    writer_u64(&writer, record->done);
    writer_u64(&writer, record->moved);
    writer_u32(&writer, (uint32_t)record->code);
    writer_text(&writer, record->text);
    writer_text(&writer, record->result);
    writer_string(&writer, (struct bytes){ record->parameters, record->parameters_len });
    int r = writer_done(&writer);
    if (r < 0)
        return error_set(err, r, "the record of task %llu does not fit",
                         (unsigned long long)record->id);
    *ret_len = writer.len;
    return 0;
}

static void read_record(struct reader *reader, struct task_record *ret)
{
    uint8_t state = reader_u8(reader);

    ret->state = (enum task_state)state;
    ret->id = reader_u64(reader);
    reader_text(reader, ret->kind, sizeof(ret->kind));
    reader_copy(reader, ret->uuid.bytes, UUID_LEN);
    reader_copy(reader, ret->fs.bytes, UUID_LEN);
    reader_text(reader, ret->filesystem, sizeof(ret->filesystem));
    reader_text(reader, ret->store, sizeof(ret->store));
    ret->snapshot = reader_u64(reader);
    ret->created_ns = (int64_t)reader_u64(reader);
    ret->ended_ns = (int64_t)reader_u64(reader);
    ret->total = reader_u64(reader);
    ret->done = reader_u64(reader);
    ret->moved = reader_u64(reader);
    ret->code = (int32_t)reader_u32(reader);
    reader_text(reader, ret->text, sizeof(ret->text));
    reader_text(reader, ret->result, sizeof(ret->result));
    struct bytes parameters = reader_string(reader, sizeof(ret->parameters));
    if (parameters.len > 0)
        memcpy(ret->parameters, parameters.data, parameters.len);
    ret->parameters_len = (uint32_t)parameters.len;
    if (state < TASK_RUNNING || state > TASK_ABORTED || ret->id == 0 || ret->code > 0)
        reader_fail(reader);
}

int task_record_decode(struct bytes encoded, struct task_record *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);

    if (reader_u32(&reader) != RECORD_MAGIC)
        return error_set(err, -EBADMSG, "a record of the registry is not one of a task");
    if (reader_u16(&reader) != RECORD_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "a record of a task was written by a later version of coffer");
    memset(ret, 0, sizeof(*ret));
    read_record(&reader, ret);
    return reader_done(&reader) < 0 ? error_set(err, -EBADMSG, "a record of a task is damaged") : 0;
}
