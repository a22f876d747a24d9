#include "control/policy_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/wire.h"

#define POLICY_MAGIC 0x4f505343u     /* "CSPO" */
#define ATTACHMENT_MAGIC 0x41505343u /* "CSPA" */
#define VERSION 1u
#define POLICY_MAX 512u
#define MADE_LEN 19u
#define ATTACHMENT_MAX (256u + POLICY_MADE_MAX * MADE_LEN)

static int check_name(const char *name, struct error *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    if (name[0] == '\0' || name[0] == '-' || name[0] == '.' || strspn(name, allowed) < strlen(name))
        return error_set(err, -EINVAL,
                         "a policy's name is made of letters, digits, '.', '_' and '-', and begins "
                         "with a letter or digit");
    return 0;
}

int policy_check(const struct policy *policy, struct error *err)
{
    bool has_one = false;
    int r = check_name(policy->name, err);

    for (unsigned i = 0; r == 0 && i < POLICY_PERIODS; i++) {
        const struct policy_schedule *schedule = &policy->schedules[i];
        has_one |= schedule->is_on;
        if (!policy_schedule_is_sane((enum policy_period)i, schedule))
            r = error_set(err, -EINVAL, "the retention of %s snapshots is 1 to %u",
                          policy_period_name((enum policy_period)i), POLICY_RETENTION_MAX);
    }
    if (r == 0 && !has_one)
        r = error_set(err, -EINVAL,
                      "a policy needs at least one of --hourly, --daily, --weekly and --monthly");
    return r;
}

/* --- policies --- */

static void write_schedule(struct writer *writer, const struct policy_schedule *schedule)
{
    writer_u8(writer, schedule->is_on);
    writer_u8(writer, schedule->minute);
    writer_u8(writer, schedule->hour);
    writer_u8(writer, schedule->weekdays);
    writer_u8(writer, schedule->day);
    writer_u16(writer, schedule->retention);
    writer_u64(writer, (uint64_t)schedule->since_ns);
    writer_text(writer, schedule->upload);
}

static bool read_bool(struct reader *reader)
{
    uint8_t value = reader_u8(reader);

    if (value > 1)
        reader_fail(reader);
    return value == 1;
}

static void read_schedule(struct reader *reader, enum policy_period period,
                          struct policy_schedule *ret)
{
    ret->is_on = read_bool(reader);
    ret->minute = reader_u8(reader);
    ret->hour = reader_u8(reader);
    ret->weekdays = reader_u8(reader);
    ret->day = reader_u8(reader);
    ret->retention = reader_u16(reader);
    ret->since_ns = (int64_t)reader_u64(reader);
    reader_text(reader, ret->upload, sizeof(ret->upload));
    if (!policy_schedule_is_sane(period, ret))
        reader_fail(reader);
}

int policy_encode(const struct policy *policy, struct buf *ret, struct error *err)
{
    uint8_t room[POLICY_MAX];
    struct writer writer = writer_init(room, sizeof(room));

    writer_u32(&writer, POLICY_MAGIC);
    writer_u16(&writer, VERSION);
    writer_u64(&writer, (uint64_t)policy->created_ns);
    writer_text(&writer, policy->name);
    for (unsigned i = 0; i < POLICY_PERIODS; i++)
        write_schedule(&writer, &policy->schedules[i]);
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the record of policy %s does not fit", policy->name);
    return buf_assign(ret, writer_written(&writer)) < 0 ? error_set(err, -ENOMEM, "out of memory")
                                                        : 0;
}

static int begin(struct reader *reader, uint32_t magic, struct error *err)
{
    if (reader_u32(reader) != magic)
        return error_set(err, -EBADMSG, "a record of the registry is not one of a snapshot policy");
    if (reader_u16(reader) != VERSION && !reader->failed)
        return error_set(err, -EPROTONOSUPPORT,
                         "a record of the registry was written by a later version of coffer");
    return 0;
}

static int end(const struct reader *reader, struct error *err)
{
    return reader_done(reader) < 0
               ? error_set(err, -EBADMSG, "a record of a snapshot policy is damaged")
               : 0;
}

int policy_decode(struct bytes encoded, struct policy *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);
    struct policy policy = { .name = "" };
    int r = begin(&reader, POLICY_MAGIC, err);

    if (r < 0)
        return r;
    policy.created_ns = (int64_t)reader_u64(&reader);
    reader_text(&reader, policy.name, sizeof(policy.name));
    for (unsigned i = 0; i < POLICY_PERIODS; i++)
        read_schedule(&reader, (enum policy_period)i, &policy.schedules[i]);
    if (check_name(policy.name, NULL) < 0)
        reader_fail(&reader);
    r = end(&reader, err);
    if (r == 0)
        *ret = policy;
    return r;
}

/* --- what it made --- */

void policy_snapshot_name(const char *policy, const struct policy_mark *mark,
                          char ret[static POLICY_SNAPSHOT_NAME_SIZE])
{
    time_t taken = (time_t)(mark->taken_ns / 1000000000);
    struct tm at = { .tm_year = 70, .tm_mday = 1 };
    char number[8] = "";

    (void)gmtime_r(&taken, &at);
    if (mark->number > 0)
        (void)snprintf(number, sizeof(number), ".%u", (unsigned)mark->number);
    (void)snprintf(ret, POLICY_SNAPSHOT_NAME_SIZE, "%.32s-%s.%02d%02d%02d%02d%02d%s", policy,
                   policy_period_name(mark->period), at.tm_year % 100, at.tm_mon + 1, at.tm_mday,
                   at.tm_hour, at.tm_min, number);
}

void policy_attachment_release(struct policy_attachment *attachment)
{
    free(attachment->made);
    *attachment = POLICY_ATTACHMENT_INIT;
}

int policy_attachment_add(struct policy_attachment *attachment, const struct policy_made *made,
                          struct error *err)
{
    if (attachment->made_count >= POLICY_MADE_MAX)
        return error_set(err, -ENOSPC,
                         "policy %s has %u snapshots that could not be removed; remove some",
                         attachment->policy, POLICY_MADE_MAX);
    struct policy_made *grown =
        reallocarray(attachment->made, attachment->made_count + 1, sizeof(*grown));
    if (!grown)
        return error_set(err, -ENOMEM, "out of memory");
    attachment->made = grown;
    grown[attachment->made_count++] = *made;
    return 0;
}

void policy_attachment_drop(struct policy_attachment *attachment, size_t index)
{
    memmove(&attachment->made[index], &attachment->made[index + 1],
            (attachment->made_count - index - 1) * sizeof(*attachment->made));
    attachment->made_count--;
}

static void write_mark(struct writer *writer, const struct policy_mark *mark)
{
    writer_u8(writer, (uint8_t)mark->period);
    writer_u8(writer, mark->number);
    writer_u64(writer, (uint64_t)mark->taken_ns);
}

static void read_mark(struct reader *reader, struct policy_mark *ret)
{
    uint8_t period = reader_u8(reader);

    ret->number = reader_u8(reader);
    ret->taken_ns = (int64_t)reader_u64(reader);
    if (period >= POLICY_PERIODS)
        reader_fail(reader);
    else
        ret->period = (enum policy_period)period;
}

static void write_attachment(struct writer *writer, const struct policy_attachment *attachment)
{
    writer_u32(writer, ATTACHMENT_MAGIC);
    writer_u16(writer, VERSION);
    writer_bytes(writer, attachment->filesystem.bytes, UUID_LEN);
    writer_text(writer, attachment->policy);
    writer_u64(writer, (uint64_t)attachment->attached_ns);
    for (unsigned i = 0; i < POLICY_PERIODS; i++) {
        writer_u64(writer, (uint64_t)attachment->done_ns[i]);
        writer_u8(writer, attachment->is_pending[i]);
        if (attachment->is_pending[i])
            write_mark(writer, &attachment->pending[i]);
    }
    writer_u16(writer, (uint16_t)attachment->made_count);
    for (size_t i = 0; i < attachment->made_count; i++) {
        write_mark(writer, &attachment->made[i].mark);
        writer_u8(writer, attachment->made[i].is_to_upload);
        writer_u64(writer, attachment->made[i].id);
    }
}

int policy_attachment_encode(const struct policy_attachment *attachment, struct buf *ret,
                             struct error *err)
{
    CLEANUP(free_ptr) uint8_t *room = malloc(ATTACHMENT_MAX);

    if (!room)
        return error_set(err, -ENOMEM, "out of memory");
    struct writer writer = writer_init(room, ATTACHMENT_MAX);
    write_attachment(&writer, attachment);
    if (writer_done(&writer) < 0)
        return error_set(err, -ENOSPC, "the record of what policy %s made does not fit",
                         attachment->policy);
    return buf_assign(ret, writer_written(&writer)) < 0 ? error_set(err, -ENOMEM, "out of memory")
                                                        : 0;
}

static int read_made(struct reader *reader, struct policy_attachment *ret, struct error *err)
{
    uint16_t count = reader_u16(reader);

    if (count > POLICY_MADE_MAX || (size_t)count * MADE_LEN != reader->len) {
        reader_fail(reader);
        return 0;
    }
    ret->made = calloc((size_t)count + 1, sizeof(*ret->made));
    if (!ret->made)
        return error_set(err, -ENOMEM, "out of memory");
    for (; ret->made_count < count; ret->made_count++) {
        struct policy_made *made = &ret->made[ret->made_count];
        read_mark(reader, &made->mark);
        made->is_to_upload = read_bool(reader);
        made->id = reader_u64(reader);
    }
    return 0;
}

static int read_attachment(struct reader *reader, struct policy_attachment *ret, struct error *err)
{
    reader_copy(reader, ret->filesystem.bytes, UUID_LEN);
    reader_text(reader, ret->policy, sizeof(ret->policy));
    ret->attached_ns = (int64_t)reader_u64(reader);
    for (unsigned i = 0; i < POLICY_PERIODS; i++) {
        ret->done_ns[i] = (int64_t)reader_u64(reader);
        ret->is_pending[i] = read_bool(reader);
        if (!ret->is_pending[i])
            continue;
        read_mark(reader, &ret->pending[i]);
        if (ret->pending[i].period != (enum policy_period)i)
            reader_fail(reader);
    }
    if (check_name(ret->policy, NULL) < 0)
        reader_fail(reader);
    return read_made(reader, ret, err);
}

int policy_attachment_decode(struct bytes encoded, struct policy_attachment *ret, struct error *err)
{
    struct reader reader = reader_init(encoded);

    policy_attachment_release(ret);
    int r = begin(&reader, ATTACHMENT_MAGIC, err);
    if (r == 0)
        r = read_attachment(&reader, ret, err);
    if (r == 0)
        r = end(&reader, err);
    if (r < 0)
        policy_attachment_release(ret);
    return r;
}
