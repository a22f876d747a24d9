/* transfer_samples.h - an uploaded snapshot's objects with fixed content, for the tests, fixtures
 * and fuzz targets of Snap-To-Object. Its filesystem is that of keyring_samples.h.
 */
#pragma once

#include "tests/support/keyring_samples.h"
#include "transfer/head.h"
#include "transfer/reference.h"

extern const struct uuid sample_upload;
extern const struct uuid sample_instance;

void transfer_sample_keys(struct transfer_keys **ret);

/* Two chunks, three packs. */
void transfer_sample_manifest(struct manifest *ret);

/* Of a manifest of that name and length. superblock and ring are the head's, to be released when
 * it is no longer used. */
void transfer_sample_head(const uint8_t manifest[static HASH_LEN], uint64_t manifest_len,
                          struct buf *superblock, struct buf *ring, struct snapshot_head *ret);

void transfer_sample_reference(struct reference_head *ret, struct name_set *ret_names);
void transfer_sample_mark(struct removing_mark *ret);

/* Three records, in their plain form. */
void transfer_sample_chunk(struct buf *ret);
