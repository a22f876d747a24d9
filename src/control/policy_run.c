/* policy_run.c - one filesystem's turn: what is due is taken, what is to be uploaded is, and what
 * the retention does not want any more is removed.
 *
 * Each step is stored before the next: that a snapshot of this name is being taken; that it is
 * there, as one of the policy's; that it is gone. So a crash between any two leaves neither a
 * snapshot that nobody removes nor one that is removed although it is somebody else's. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/policies_internal.h"

#define NS_PER_S 1000000000LL
#define NUMBERS_MAX 100u /* of one minute */

struct turn {
    struct policy_run *run;
    const struct policy_world *world;
    struct policy_attachment record;
};

static int save(struct turn *turn, struct error *err)
{
    return policy_run_save(turn->run->policies, turn->run->attachment, &turn->record, err);
}

static void name_of(const struct turn *turn, const struct policy_mark *mark,
                    char ret[static POLICY_SNAPSHOT_NAME_SIZE])
{
    policy_snapshot_name(turn->run->policy.name, mark, ret);
}

static const struct policy_schedule *schedule_of(const struct turn *turn, enum policy_period period)
{
    return &turn->run->policy.schedules[period];
}

/* --- taking --- */

static int note_taken(struct turn *turn, enum policy_period period, uint64_t id, int64_t moment_ns,
                      struct error *err)
{
    struct policy_attachment *record = &turn->record;
    const struct policy_made made = { .mark = record->pending[period],
                                      .is_to_upload = schedule_of(turn, period)->upload[0] != '\0',
                                      .id = id };
    int r = policy_attachment_add(record, &made, err);

    if (r < 0)
        return r;
    record->is_pending[period] = false;
    if (moment_ns > record->done_ns[period])
        record->done_ns[period] = moment_ns;
    r = save(turn, err);
    if (r == 0) {
        turn->run->done_ns[period] = record->done_ns[period];
        turn->run->forced &= ~(1u << period);
    }
    return r;
}

/* What an attempt that was interrupted has left. -ENOENT: nothing. */
static int find_pending(struct turn *turn, enum policy_period period, int64_t moment_ns,
                        struct error *err)
{
    char name[POLICY_SNAPSHOT_NAME_SIZE];
    uint64_t id = 0;

    if (!turn->record.is_pending[period])
        return -ENOENT;
    name_of(turn, &turn->record.pending[period], name);
    int r = turn->world->find(turn->world->arg, &turn->run->filesystem, name, &id, err);
    return r < 0 ? r : note_taken(turn, period, id, moment_ns, err);
}

static int take_new(struct turn *turn, enum policy_period period, int64_t moment_ns,
                    struct error *err)
{
    struct policy_attachment *record = &turn->record;
    char name[POLICY_SNAPSHOT_NAME_SIZE];
    uint64_t id = 0;
    int r = -EEXIST;

    for (unsigned number = 0; r == -EEXIST && number < NUMBERS_MAX; number++) {
        record->is_pending[period] = true;
        record->pending[period] = (struct policy_mark){ .period = period,
                                                        .number = (uint8_t)number,
                                                        .taken_ns = turn->run->now_ns };
        r = save(turn, err);
        if (r < 0)
            return r;
        name_of(turn, &record->pending[period], name);
        r = turn->world->take(turn->world->arg, &turn->run->filesystem, name, &id, err);
    }
    return r < 0 ? r : note_taken(turn, period, id, moment_ns, err);
}

/* The moment for which one is to be taken; 0: none is. */
static int64_t due_moment(const struct turn *turn, enum policy_period period)
{
    const struct policy_run *run = turn->run;
    const struct policy_schedule *schedule = schedule_of(turn, period);
    int64_t latest = policy_schedule_latest(period, schedule, run->now_ns / NS_PER_S) * NS_PER_S;
    int64_t base = policy_base_ns(schedule, turn->record.attached_ns, turn->record.done_ns[period],
                                  run->now_ns);

    return latest > base || run->forced & 1u << period ? latest : 0;
}

static int take_due(struct turn *turn, enum policy_period period, struct error *err)
{
    const struct policy_run *run = turn->run;
    int r = 0;

    if (!schedule_of(turn, period)->is_on)
        return 0;
    if (policy_clock_went_back(turn->record.done_ns[period], run->now_ns)) {
        turn->record.done_ns[period] = run->now_ns;
        r = save(turn, err);
        turn->run->done_ns[period] = run->now_ns;
    }
    int64_t moment_ns = due_moment(turn, period);
    if (r < 0 || moment_ns == 0)
        return r;
    r = find_pending(turn, period, moment_ns, err);
    return r == -ENOENT ? take_new(turn, period, moment_ns, err) : r;
}

/* --- uploading --- */

static int begin_uploads(struct turn *turn, enum policy_period period, struct error *err)
{
    struct policy_attachment *record = &turn->record;
    const char *store = schedule_of(turn, period)->upload;
    char name[POLICY_SNAPSHOT_NAME_SIZE];

    for (size_t i = 0; i < record->made_count; i++) {
        struct policy_made *made = &record->made[i];
        if (made->mark.period != period || !made->is_to_upload)
            continue;
        name_of(turn, &made->mark, name);
        /* A schedule that does not upload any more has nothing left to upload. */
        int r = store[0] == '\0' ? 0
                                 : turn->world->upload(turn->world->arg, &turn->run->filesystem,
                                                       name, store, err);
        if (r < 0 && r != -EALREADY && r != -ENOENT)
            return r;
        made->is_to_upload = false;
        r = save(turn, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- removing --- */

static size_t count_of(const struct policy_attachment *record, enum policy_period period)
{
    size_t count = 0;

    for (size_t i = 0; i < record->made_count; i++)
        count += record->made[i].mark.period == period;
    return count;
}

/* 1: it is not the policy's any more, one way or another. 0: it stays. */
static int remove_one(struct turn *turn, const struct policy_made *made, struct error *err)
{
    char name[POLICY_SNAPSHOT_NAME_SIZE];

    if (made->is_to_upload)
        return 0;
    name_of(turn, &made->mark, name);
    int r = turn->world->remove(turn->world->arg, &turn->run->filesystem, made->id, name, err);
    if (r == -EBUSY)
        return 0; /* it is in use: the next turn tries again */
    return r == 0 || r == -ENOENT || r == -ESTALE ? 1 : r;
}

/* The oldest first. */
static int remove_surplus(struct turn *turn, enum policy_period period, struct error *err)
{
    struct policy_attachment *record = &turn->record;
    const struct policy_schedule *schedule = schedule_of(turn, period);
    size_t i = 0;

    if (!schedule->is_on)
        return 0;
    for (size_t left = count_of(record, period); left > schedule->retention; left--) {
        while (record->made[i].mark.period != period)
            i++;
        int r = remove_one(turn, &record->made[i], err);
        if (r == 1) {
            policy_attachment_drop(record, i);
            r = save(turn, err);
        } else {
            i++;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- all of it --- */

static int run_period(struct turn *turn, enum policy_period period, struct error *err)
{
    int r = take_due(turn, period, err);

    if (r == 0)
        r = begin_uploads(turn, period, err);
    return r < 0 ? r : remove_surplus(turn, period, err);
}

/* What fails does not keep the others from their turn, unless the filesystem is away. */
void policy_run(struct policy_run *run)
{
    struct turn turn = { .run = run, .world = &run->policies->world };
    struct error err = { .code = 0 };
    int r = 0;

    run->is_parked = !turn.world->is_up(turn.world->arg, &run->filesystem);
    if (run->is_parked) {
        (void)error_set(&run->failure, -EBUSY, "the filesystem is not started");
        return;
    }
    r = policy_run_load(run->policies, &run->filesystem, run->policy.name, &turn.record, &err);
    if (r < 0)
        (void)error_set(&run->failure, r, "%s", err.text);
    for (unsigned i = POLICY_PERIODS; r == 0 && i-- > 0;) {
        int failed = run_period(&turn, (enum policy_period)i, &err);
        if (failed < 0 && run->failure.code == 0)
            (void)error_set(&run->failure, failed, "%s snapshot: %s",
                            policy_period_name((enum policy_period)i), err.text);
        run->is_parked |= failed == -EBUSY;
        r = failed == -EBUSY || failed == -ECANCELED ? failed : 0;
    }
    policy_attachment_release(&turn.record);
}
