/* What is found in the place of a key ring. A ring has one encoding only, so that what was read
 * is written back as it was; and none but the real one verifies. */
#include <stdlib.h>
#include <string.h>

#include "keyring/key_ring_format.h"
#include "tests/support/keyring_samples.h"

static struct key_set keys;
static uint8_t superblock[SUPERBLOCK_MAX];
static size_t superblock_len;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct superblock sb;

    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    sample_keys(&keys);
    sample_superblock(&sb);
    if (superblock_encode(&sb, key_set_find(&keys, sb.generation), superblock, &superblock_len,
                          NULL) < 0)
        abort();
    superblock_release(&sb);
    return 0;
}

static void must_write_back(struct bytes covered, const struct key_ring *ring)
{
    static uint8_t written[KEY_RING_MAX];
    struct writer writer = writer_init(written, sizeof(written));

    key_ring_write(&writer, ring);
    if (writer_done(&writer) < 0 || writer.len != covered.len ||
        memcmp(written, covered.data, covered.len) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct key_ring_evidence evidence = { .superblock = { superblock, superblock_len },
                                                .keys = &keys };
    struct key_ring_parts parts;
    struct key_ring ring = KEY_RING_INIT;
    struct bytes input = { data, size };

    if (key_ring_parse(input, &parts, NULL) == 0) {
        must_write_back(parts.covered, &parts.ring);
        key_ring_release(&parts.ring);
    }
    if (key_ring_verify(input, &evidence, &ring, NULL) == 0)
        key_ring_release(&ring);
    return 0;
}
