/* key_labels.h - the label of each use of a key: what kdf_derive() takes, and nothing else may
 * be derived. The hierarchy is drawn in docs/formats/keys.md.
 */
#pragma once

/* From the filesystem key. */
#define KEY_LABEL_SUPERBLOCK "coffer superblock"         /* AEAD: seals name and chunk key in it */
#define KEY_LABEL_SUPERBLOCK_MAC "coffer superblock mac" /* HMAC over it */
#define KEY_LABEL_RING "coffer ring"                     /* HMAC over the key ring */
#define KEY_LABEL_RING_NAMES "coffer ring names"         /* AEAD: name and chunk key in the ring */
#define KEY_LABEL_CHECK "coffer check value"             /* HMAC: the key check value */
#define KEY_LABEL_METADATA "coffer metadata"             /* from which incarnation keys derive */
#define KEY_LABEL_DATA "coffer data"                     /* from which segment keys derive */
#define KEY_LABEL_TRANSFER "coffer transfer"             /* from which those of uploads derive */
#define KEY_LABEL_TASK_NAME "coffer task name"           /* AEAD: a name in the registry */

/* From the metadata key. */
#define KEY_LABEL_INCARNATION "coffer incarnation"         /* AEAD; context: the incarnation's id */
#define KEY_LABEL_INCARNATION_MAC "coffer incarnation mac" /* HMAC over its record */

/* From the data key. */
#define KEY_LABEL_SEGMENT "coffer segment" /* AEAD; context: the segment's id */

/* From the name key, which also is itself the HMAC key of lookup keys. */
#define KEY_LABEL_SET "coffer set" /* HMAC: the set hash over all records */

/* From the transfer key. */
#define KEY_LABEL_CHUNK "coffer chunk"                   /* AEAD; context: the chunk's name */
#define KEY_LABEL_MANIFEST "coffer manifest"             /* AEAD; context: the upload's id */
#define KEY_LABEL_MANIFEST_NONCE "coffer manifest nonce" /* HMAC: nonces of manifests */
#define KEY_LABEL_HEAD_MAC "coffer head mac"             /* HMAC over heads */

/* From the chunk key, which also is itself the HMAC key of chunk names. */
#define KEY_LABEL_CHUNK_CUT "coffer chunk cut" /* HMAC: where a chunk ends */
#define KEY_LABEL_PACK_NAME "coffer pack name" /* HMAC: names of packs */
#define KEY_LABEL_DUMP_SET "coffer dump set"   /* HMAC: the set hash over a dump */
