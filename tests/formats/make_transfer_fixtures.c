/* Writes the objects of an uploaded snapshot into the folder that it is given, and beginnings for
 * their fuzzer into the folder snap_to_object of the second. What is in the repository is never
 * written again: a later version of coffer must go on reading it. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "tests/support/transfer_samples.h"
#include "transfer/locator.h"

static const char *formats_folder, *seeds_folder;

/* The fuzzer's first byte says which reader. */
static int save(const char *name, uint8_t reader, struct bytes data)
{
    CLEANUP(buf_release) struct buf seed = BUF_INIT;
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/snapshot-%s-v1.bin", formats_folder, name);
    int r = file_replace(path, data, 0644, NULL);
    if (r == 0)
        r = buf_append(&seed, (struct bytes){ &reader, 1 });
    if (r == 0)
        r = buf_append(&seed, data);
    (void)snprintf(path, sizeof(path), "%s/snap_to_object/%s", seeds_folder, name);
    return r == 0 ? file_replace(path, buf_bytes(&seed), 0644, NULL) : r;
}

static int make_head(const struct transfer_keys *keys, const uint8_t name[static HASH_LEN],
                     uint64_t manifest_len)
{
    CLEANUP(buf_release) struct buf superblock = BUF_INIT;
    CLEANUP(buf_release) struct buf ring = BUF_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    struct snapshot_head head;
    struct locator locator;
    char text[LOCATOR_SIZE];

    transfer_sample_head(name, manifest_len, &superblock, &ring, &head);
    int r = head_encode(&head, keys, &object, NULL);
    if (r == 0)
        r = save("head", 1, buf_bytes(&object));
    memcpy(locator.manifest, name, HASH_LEN);
    if (r == 0)
        r = locator_format(&locator, text, NULL);
    return r == 0 ? save("locator", 0, (struct bytes){ (uint8_t *)text, LOCATOR_LEN }) : r;
}

static int make_manifest(const struct transfer_keys *keys)
{
    CLEANUP(manifest_release) struct manifest manifest = MANIFEST_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    uint8_t name[HASH_LEN];

    transfer_sample_manifest(&manifest);
    int r = manifest_seal(&manifest, keys, &object, name, NULL);
    if (r == 0)
        r = save("manifest", 5, buf_bytes(&object));
    if (r == 0)
        r = manifest_encode(&manifest, &plain);
    if (r == 0)
        r = save("manifest-plain", 2, buf_bytes(&plain));
    return r == 0 ? make_head(keys, name, object.len) : r;
}

static int make_shared(void)
{
    CLEANUP(name_set_release) struct name_set names = NAME_SET_INIT;
    CLEANUP(buf_release) struct buf object = BUF_INIT;
    struct reference_head reference;
    struct removing_mark mark;

    transfer_sample_reference(&reference, &names);
    int r = reference_encode(&reference, &names, &object);
    if (r == 0)
        r = save("reference", 3, buf_bytes(&object));
    transfer_sample_mark(&mark);
    if (r == 0)
        r = mark_encode(&mark, &object);
    return r == 0 ? save("mark", 4, buf_bytes(&object)) : r;
}

static int make_chunk(const struct transfer_keys *keys)
{
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    uint8_t name[CHUNK_NAME_LEN];

    transfer_sample_chunk(&plain);
    int r = save("chunk-plain", 6, buf_bytes(&plain));
    if (r == 0)
        r = chunk_name(keys, buf_bytes(&plain), name);
    if (r == 0)
        r = chunk_seal(keys, name, buf_bytes(&plain), &sealed);
    return r == 0 ? save("chunk", 7, buf_bytes(&sealed)) : r;
}

int main(int argc, char **argv)
{
    CLEANUP(transfer_keys_freep) struct transfer_keys *keys = NULL;

    if (argc != 3 || secret_heap_init(NULL) < 0)
        return 2;
    formats_folder = argv[1];
    seeds_folder = argv[2];
    transfer_sample_keys(&keys);
    int r = make_manifest(keys);
    if (r == 0)
        r = make_shared();
    if (r == 0)
        r = make_chunk(keys);
    return r < 0;
}
