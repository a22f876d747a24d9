/* download_case.h - filesystems that are made of a snapshot in the bucket of a transfer_case. Every
 * call asserts that it succeeds unless it returns a code.
 */
#pragma once

#include "tests/support/transfer_case.h"
#include "transfer/download.h"

struct download_case {
    struct volume_case volume;
    struct bucket bucket; /* as this filesystem sees it */
    struct download_place place;
    struct uuid reference;
};

/* Prepared, made, and opened, paused: nothing is brought in until download_case_go(). Through a
 * store (NULL: the case's bucket). */
void download_case_new(struct download_case *ret, struct transfer_case *from,
                       const struct locator *locator, struct object_store *store);
/* The same of a snapshot of another download: its ring has its keys. */
int download_case_try(struct download_case *ret, const struct volume_case *origin,
                      struct object_store *store, const struct locator *locator, struct error *err);
void download_case_open(struct download_case *d); /* paused */
void download_case_reopen(struct download_case *d);
/* The bucket is another store from now on; when it is opened next. */
void download_case_use(struct download_case *d, struct object_store *store);
void download_case_go(struct download_case *d);
void download_case_pause(struct download_case *d);
/* Until all is here. */
void download_case_finish(struct download_case *d);
/* Until its records are here. */
void download_case_wait_records(struct download_case *d);
void download_case_end(struct download_case *d);
