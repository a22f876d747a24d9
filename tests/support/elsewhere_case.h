/* elsewhere_case.h - for tests of keys that come from other filesystems: one that was made
 * elsewhere of a snapshot of ours and has a key of its own, and the download of its snapshots into
 * ours. The control plane is that of kms_case.h. Any failure in here fails the test.
 */
#pragma once

#include "control/rings.h"
#include "control/snapshot_download.h"
#include "tests/support/kms_case.h"
#include "tests/support/upload_case.h"

#define STORE "bucket"
#define NAME "one" /* ours */

/* Made of a snapshot of ours, as its head shows it. */
struct elsewhere {
    struct rings_opened opened;
    struct buf superblock;
};

void elsewhere_release(struct elsewhere *elsewhere);

/* Of a filesystem of this instance. */
void open_rings(struct servers *servers, const char *name, struct rings_opened *ret);
/* A generation with a key of its own, as a key server wraps it. */
void add_generation(struct servers *servers, struct rings_opened *to, const struct uuid *origin,
                    uint32_t number);
/* With the name key of that one, which it inherited. */
void make_elsewhere(struct servers *servers, const char *name, struct elsewhere *ret);
/* Its snapshot into STORE. more: a key that the head says it needs besides, or NULL. */
void publish(struct servers *servers, struct elsewhere *elsewhere, const struct key_needed *more,
             char *ret_locator);

/* Ours, started; STORE; and one elsewhere, which has not published anything. */
void prepare(struct servers *servers, struct elsewhere *ret);
/* The download of a snapshot into ours. */
int bring(struct servers *servers, const char *locator, struct task_view *ret, struct error *err);
struct task_view wait_task_until(struct servers *servers, uint64_t id,
                                 bool (*is_there)(enum task_state state));
struct task_view wait_task(struct servers *servers, uint64_t id);
/* What the worker says of the task from now on. */
void set_word(struct servers *servers, const char *word);

void read_places(struct servers *servers, struct buf *registry, struct buf *store);
/* Verified, and with the key in both places. */
void assert_joined(struct servers *servers, const struct elsewhere *elsewhere);
/* The ring as it was, whatever is tried. */
void assert_refused(struct servers *servers, const char *locator, int code, const char *text);
