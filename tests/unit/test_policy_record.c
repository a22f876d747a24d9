/* Snapshot policies, and snapshots that are mounted: times, and their records in the registry. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "control/policy_record.h"
#include "control/snapshot_mount.h"

#define S 1000000000LL

static const struct uuid filesystem = { .bytes = { 1, 2, 3 } };

static int64_t at(const char *text)
{
    struct tm parts = { .tm_sec = 0 };

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &parts));
    return (int64_t)timegm(&parts) * S;
}

static void set(struct policy *policy, enum policy_period period, const char *when,
                uint16_t retention)
{
    assert_int_equal(policy_schedule_parse(period, when, &policy->schedules[period], NULL), 0);
    policy->schedules[period].retention = retention;
}

/* --- times --- */

static const struct {
    enum policy_period period;
    const char *when;
    const char *now;
    const char *latest;
    const char *next;
} moments[] = {
    { POLICY_HOURLY, "15", "2026-11-27 10:14", "2026-11-27 09:15", "2026-11-27 10:15" },
    { POLICY_HOURLY, "15", "2026-11-27 10:15", "2026-11-27 10:15", "2026-11-27 11:15" },
    { POLICY_HOURLY, "0", "2026-12-31 23:59", "2026-12-31 23:00", "2027-01-01 00:00" },
    { POLICY_DAILY, "23:00", "2026-11-27 22:59", "2026-11-26 23:00", "2026-11-27 23:00" },
    { POLICY_DAILY, "00:00", "2026-11-27 00:00", "2026-11-27 00:00", "2026-11-28 00:00" },
    /* 2026-11-27 is a Friday. */
    { POLICY_WEEKLY, "friday 10:00", "2026-11-27 09:59", "2026-11-20 10:00", "2026-11-27 10:00" },
    { POLICY_WEEKLY, "fri 10:00", "2026-11-27 10:00", "2026-11-27 10:00", "2026-12-04 10:00" },
    { POLICY_WEEKLY, "sun,wed 01:30", "2026-11-27 10:00", "2026-11-25 01:30", "2026-11-29 01:30" },
    { POLICY_WEEKLY, "sun,wed 01:30", "2026-11-29 01:30", "2026-11-29 01:30", "2026-12-02 01:30" },
    { POLICY_MONTHLY, "1 00:30", "2026-11-27 10:00", "2026-11-01 00:30", "2026-12-01 00:30" },
    { POLICY_MONTHLY, "31 12:00", "2026-11-30 12:00", "2026-11-30 12:00", "2026-12-31 12:00" },
    { POLICY_MONTHLY, "31 12:00", "2026-11-30 11:59", "2026-10-31 12:00", "2026-11-30 12:00" },
    { POLICY_MONTHLY, "30 12:00", "2028-02-29 12:00", "2028-02-29 12:00", "2028-03-30 12:00" },
    { POLICY_MONTHLY, "15 12:00", "2027-01-01 00:00", "2026-12-15 12:00", "2027-01-15 12:00" },
};

static void each_period_has_its_moments(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        struct policy_schedule schedule = { .retention = 1 };
        enum policy_period period = moments[i].period;
        assert_int_equal(policy_schedule_parse(period, moments[i].when, &schedule, NULL), 0);
        int64_t now = at(moments[i].now) / S;
        assert_int_equal(policy_schedule_latest(period, &schedule, now), at(moments[i].latest) / S);
        assert_int_equal(policy_schedule_next(period, &schedule, now), at(moments[i].next) / S);
        assert_int_equal(policy_schedule_next(period, &schedule,
                                              now + 59 >= at(moments[i].next) / S ? now : now + 59),
                         at(moments[i].next) / S);
    }
}

static void times_are_read_and_written_alike_and_others_refused(void **state)
{
    static const struct {
        enum policy_period period;
        const char *given;
        const char *shown;
    } good[] = {
        { POLICY_HOURLY, ":05", "5" },
        { POLICY_DAILY, "7:05", "07:05" },
        { POLICY_WEEKLY, "Wed,sunday 23:00", "sunday,wednesday 23:00" },
        { POLICY_WEEKLY, "sun,mon,tue,wed,thu,fri,sat 23:59",
          "sunday,monday,tuesday,wednesday,thursday,friday,saturday 23:59" },
        { POLICY_MONTHLY, "31 00:00", "31 00:00" },
        { POLICY_DAILY, "off", "" },
    };
    static const struct {
        enum policy_period period;
        const char *given;
    } bad[] = {
        { POLICY_HOURLY, "60" },        { POLICY_HOURLY, "" },
        { POLICY_HOURLY, "10:10" },     { POLICY_DAILY, "24:00" },
        { POLICY_DAILY, "10" },         { POLICY_DAILY, "10:10 " },
        { POLICY_WEEKLY, "10:00" },     { POLICY_WEEKLY, "su 10:00" },
        { POLICY_WEEKLY, "sun,10:00" }, { POLICY_MONTHLY, "0 1:00" },
        { POLICY_MONTHLY, "32 1:00" },  { POLICY_MONTHLY, "1" },
        { POLICY_DAILY, "100:00" },     { POLICY_WEEKLY, "sundays 1:00" },
    };
    char shown[POLICY_WHEN_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct policy_schedule schedule = { .retention = 1 };
        assert_int_equal(policy_schedule_parse(good[i].period, good[i].given, &schedule, NULL), 0);
        policy_schedule_format(good[i].period, &schedule, shown);
        assert_string_equal(shown, good[i].shown);
        assert_true(policy_schedule_is_sane(good[i].period, &schedule));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct policy_schedule schedule = { .retention = 1 };
        if (policy_schedule_parse(bad[i].period, bad[i].given, &schedule, NULL) != -EINVAL)
            fail_msg("'%s' was taken", bad[i].given);
    }
}

/* --- records --- */

static void fill(struct policy *policy)
{
    *policy = (struct policy){ .name = "nightly", .created_ns = 1795774860123456789 };
    set(policy, POLICY_HOURLY, "15", 24);
    set(policy, POLICY_WEEKLY, "sun,wed 23:30", 4);
    set(policy, POLICY_MONTHLY, "31 01:02", 12);
    policy->schedules[POLICY_WEEKLY].since_ns = 1795774860000000000;
    (void)snprintf(policy->schedules[POLICY_MONTHLY].upload, STORE_NAME_MAX + 1, "backup");
}

static void fill_attachment(struct policy_attachment *attachment)
{
    const struct policy_made made[] = {
        { .mark = { POLICY_HOURLY, 0, 1795774500000000000 }, .id = 7 },
        { .mark = { POLICY_MONTHLY, 2, 1795774560000000000 }, .is_to_upload = true, .id = 9 },
    };

    attachment->filesystem = filesystem;
    (void)snprintf(attachment->policy, sizeof(attachment->policy), "nightly");
    attachment->attached_ns = 1795774000000000000;
    attachment->done_ns[POLICY_HOURLY] = 1795774500000000000;
    attachment->is_pending[POLICY_WEEKLY] = true;
    attachment->pending[POLICY_WEEKLY] =
        (struct policy_mark){ POLICY_WEEKLY, 1, 1795774600000000000 };
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(policy_attachment_add(attachment, &made[i], NULL), 0);
}

static void must_be_filled(const struct policy *policy)
{
    struct policy wanted;

    fill(&wanted);
    assert_string_equal(policy->name, wanted.name);
    assert_int_equal(policy->created_ns, wanted.created_ns);
    for (unsigned i = 0; i < POLICY_PERIODS; i++) {
        const struct policy_schedule *a = &policy->schedules[i];
        const struct policy_schedule *b = &wanted.schedules[i];
        assert_int_equal(a->is_on, b->is_on);
        assert_int_equal(a->minute, b->minute);
        assert_int_equal(a->hour, b->hour);
        assert_int_equal(a->weekdays, b->weekdays);
        assert_int_equal(a->day, b->day);
        assert_int_equal(a->retention, b->retention);
        assert_int_equal(a->since_ns, b->since_ns);
        assert_string_equal(a->upload, b->upload);
    }
}

static void must_be_filled_attachment(const struct policy_attachment *attachment)
{
    assert_true(uuid_equal(&attachment->filesystem, &filesystem));
    assert_string_equal(attachment->policy, "nightly");
    assert_int_equal(attachment->attached_ns, 1795774000000000000);
    assert_int_equal(attachment->done_ns[POLICY_HOURLY], 1795774500000000000);
    assert_int_equal(attachment->done_ns[POLICY_DAILY], 0);
    assert_false(attachment->is_pending[POLICY_HOURLY]);
    assert_true(attachment->is_pending[POLICY_WEEKLY]);
    assert_int_equal(attachment->pending[POLICY_WEEKLY].number, 1);
    assert_int_equal(attachment->made_count, 2);
    assert_int_equal(attachment->made[0].id, 7);
    assert_true(attachment->made[1].is_to_upload);
    assert_int_equal(attachment->made[1].mark.period, POLICY_MONTHLY);
    assert_int_equal(attachment->made[1].mark.taken_ns, 1795774560000000000);
}

static void version_1_is_read(void **state)
{
    CLEANUP(policy_attachment_release) struct policy_attachment attachment = POLICY_ATTACHMENT_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct policy policy;
    (void)state;

    assert_int_equal(file_read(FORMATS_FOLDER "/policy-v1.bin", 65536, &encoded, NULL), 0);
    assert_int_equal(policy_decode(buf_bytes(&encoded), &policy, NULL), 0);
    must_be_filled(&policy);
    assert_int_equal(file_read(FORMATS_FOLDER "/policy-of-v1.bin", 65536, &encoded, NULL), 0);
    assert_int_equal(policy_attachment_decode(buf_bytes(&encoded), &attachment, NULL), 0);
    must_be_filled_attachment(&attachment);
}

static void what_is_written_is_read_again_and_nothing_else(void **state)
{
    CLEANUP(policy_attachment_release) struct policy_attachment written = POLICY_ATTACHMENT_INIT;
    CLEANUP(policy_attachment_release) struct policy_attachment read = POLICY_ATTACHMENT_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct policy policy;
    (void)state;

    fill(&policy);
    assert_int_equal(policy_encode(&policy, &encoded, NULL), 0);
    for (size_t len = 0; len < encoded.len; len++)
        assert_int_equal(policy_decode((struct bytes){ encoded.data, len }, &policy, NULL),
                         -EBADMSG);
    assert_int_equal(policy_decode(buf_bytes(&encoded), &policy, NULL), 0);
    must_be_filled(&policy);
    encoded.data[4] = 2;
    assert_int_equal(policy_decode(buf_bytes(&encoded), &policy, NULL), -EPROTONOSUPPORT);

    fill_attachment(&written);
    assert_int_equal(policy_attachment_encode(&written, &encoded, NULL), 0);
    for (size_t len = 0; len < encoded.len; len++)
        assert_int_equal(policy_attachment_decode((struct bytes){ encoded.data, len }, &read, NULL),
                         -EBADMSG);
    assert_int_equal(policy_attachment_decode(buf_bytes(&encoded), &read, NULL), 0);
    must_be_filled_attachment(&read);
    encoded.data[4] = 2;
    assert_int_equal(policy_attachment_decode(buf_bytes(&encoded), &read, NULL), -EPROTONOSUPPORT);
}

static void as_many_snapshots_as_can_be_fit_into_a_record(void **state)
{
    CLEANUP(policy_attachment_release) struct policy_attachment attachment = POLICY_ATTACHMENT_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    const struct policy_made made = { .id = 1 };
    (void)state;

    (void)snprintf(attachment.policy, sizeof(attachment.policy), "%032d", 1);
    for (unsigned i = 0; i < POLICY_MADE_MAX; i++)
        assert_int_equal(policy_attachment_add(&attachment, &made, NULL), 0);
    assert_int_equal(policy_attachment_add(&attachment, &made, NULL), -ENOSPC);
    assert_int_equal(policy_attachment_encode(&attachment, &encoded, NULL), 0);
    assert_true(encoded.len < 60000);
    assert_int_equal(policy_attachment_decode(buf_bytes(&encoded), &attachment, NULL), 0);
    assert_int_equal(attachment.made_count, POLICY_MADE_MAX);
}

static void a_mounted_snapshot_is_read_as_it_was_written(void **state)
{
    CLEANUP(buf_release) struct buf stored = BUF_INIT;
    CLEANUP(buf_release) struct buf written = BUF_INIT;
    struct snapshot_mount mount;
    (void)state;

    assert_int_equal(file_read(FORMATS_FOLDER "/snapshot-mount-v1.bin", 4096, &stored, NULL), 0);
    assert_int_equal(snapshot_mount_decode(buf_bytes(&stored), &mount, NULL), 0);
    assert_int_equal(mount.snapshot, 7);
    assert_int_equal(mount.flags, 3);
    assert_string_equal(mount.mountpoint, "/srv/them");
    assert_int_equal(snapshot_mount_encode(&mount, &written, NULL), 0);
    assert_int_equal(written.len, stored.len);
    assert_memory_equal(written.data, stored.data, stored.len);
    for (size_t len = 0; len < stored.len; len++)
        assert_int_equal(snapshot_mount_decode((struct bytes){ stored.data, len }, &mount, NULL),
                         -EBADMSG);
    stored.data[4] = 2;
    assert_int_equal(snapshot_mount_decode(buf_bytes(&stored), &mount, NULL), -EPROTONOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_period_has_its_moments),
        cmocka_unit_test(times_are_read_and_written_alike_and_others_refused),
        cmocka_unit_test(version_1_is_read),
        cmocka_unit_test(what_is_written_is_read_again_and_nothing_else),
        cmocka_unit_test(a_mounted_snapshot_is_read_as_it_was_written),
        cmocka_unit_test(as_many_snapshots_as_can_be_fit_into_a_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
