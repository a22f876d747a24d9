/* locators.h - which snapshots of our filesystems are uploaded where, as far as this instance did
 * it: so that the list of snapshots shows it without asking an object store. What is in a store is
 * told by the store (uploads.h). Byte for byte in docs/formats/registry.md.
 *
 * Units      times are nanoseconds since 1970.
 * Errors     negative errno and a sentence. -EBADMSG, -EPROTONOSUPPORT: of a record.
 * Threads    any.
 */
#pragma once

#include "control/control.h"
#include "control/store_record.h"
#include "transfer/locator.h"

#define LOCATOR_RECORD_MAX 256u

struct locator_record {
    struct uuid fs;
    uint64_t snapshot; /* its id */
    char store[STORE_NAME_MAX + 1];
    int64_t uploaded_ns;
    char locator[LOCATOR_SIZE];
};

int locator_record_encode(const struct locator_record *record,
                          uint8_t ret[static LOCATOR_RECORD_MAX], size_t *ret_len,
                          struct error *err);
int locator_record_decode(struct bytes encoded, struct locator_record *ret, struct error *err);

int locators_put(struct control *control, const struct locator_record *record, struct error *err);

/* Those of a filesystem, by snapshot, then store. *ret is the caller's to free. */
int locators_list(struct control *control, const struct uuid *fs, struct locator_record **ret,
                  size_t *ret_count, struct error *err);

int control_locators(struct control *control, const char *fs_name, struct locator_record **ret,
                     size_t *ret_count, struct error *err);

/* The uploaded snapshot is gone from that store. One that is not known is no error. */
int locators_forget(struct control *control, const char *store, const char *locator,
                    struct error *err);
/* All of a filesystem, or of a store. */
int locators_forget_filesystem(struct control *control, const struct uuid *fs, struct error *err);
int locators_forget_store(struct control *control, const char *store, struct error *err);
