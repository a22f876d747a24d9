/* What a downloaded filesystem fetches in the background, it fetches while this job runs: who reads
 * what is not here yet gets it at any time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/origin.h"
#include "worker/job.h"

#define LOOK_EVERY_MS 200
/* Since it failed, in a row: if it waits then, somebody should know for what. */
#define PATIENCE_LOOKS 25u

static void report(struct job *job, const struct origin_progress *progress)
{
    uint64_t left = progress->data_left < progress->data ? progress->data_left : progress->data;
    struct worker_task_progress report = { .total = progress->data,
                                           .done = progress->data - left,
                                           .moved = progress->fetched };

    (void)snprintf(report.phase, sizeof(report.phase), "%s",
                   progress->chunks_done < progress->chunks ? "metadata" : "data");
    job_report(job, &report);
}

/* Until all is here. */
static int watch(struct job *job, struct error *err)
{
    struct origin_progress progress = { .data = 0 };
    unsigned looks = 0;

    while (volume_origin_progress(job->volume, &progress)) {
        report(job, &progress);
        looks = progress.failures > 0 ? looks + 1 : 0;
        if (looks >= PATIENCE_LOOKS && progress.waits_for.code < 0)
            return error_set(err, progress.waits_for.code, "%s", progress.waits_for.text);
        int r = job_sleep(job, LOOK_EVERY_MS);
        if (r < 0)
            return r;
    }
    report(job, &progress);
    return 0;
}

int download_job(struct job *job, struct error *err)
{
    volume_origin_pause(job->volume, false);
    int r = watch(job, err);
    volume_origin_pause(job->volume, true);
    return r;
}
