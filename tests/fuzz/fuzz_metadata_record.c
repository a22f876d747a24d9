/* What a database holds under a key: a length and the key, then what is stored. */
#include <stdlib.h>

#include "base/wire.h"
#include "meta/record_kinds.h"
#include "meta/sealed_record.h"
#include "meta/sealer.h"
#include "tests/support/meta_samples.h"

static struct sealer *sealer;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct key_set keys;
    static struct secret name_key;
    struct sealer_config config = { .keys = &keys, .name_key = &name_key };

    (void)argc;
    (void)argv;
    if (secret_heap_init(NULL) < 0)
        abort();
    meta_sample_keys(&keys, &name_key);
    if (sealer_new(&config, &sealer, NULL) < 0)
        abort();
    return 0;
}

static void decode_key(struct bytes key)
{
    struct record_key live;
    struct record_key again;
    enum history_what what;
    uint64_t epoch;

    if (history_key_decode(key, &live, &epoch) == 0 &&
        (history_key_encode(record_key_bytes(&live), epoch, &again) < 0 || again.len != key.len))
        abort();
    if (history_index_decode(key, &live, &epoch, &what) == 0 &&
        (history_index_encode(record_key_bytes(&live), epoch, what, &again) < 0 ||
         again.len != key.len))
        abort();
}

static void decode_value(struct bytes key, struct bytes stored)
{
    struct incarnation_record incarnation;
    struct commit_body commit;
    uint64_t epoch;
    size_t len = 0;
    uint8_t *room = malloc(stored.len + 1);

    if (room == NULL)
        abort();
    (void)incarnation_decode(stored, &incarnation);
    (void)commit_body_decode(stored, &commit);
    if (sealer_open_record(sealer, key, stored, &epoch, room, &len, NULL) == 0 &&
        len + SEALED_OVERHEAD != stored.len)
        abort();
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_init((struct bytes){ data, size });

    size_t key_len = reader_u8(&reader);
    struct bytes key = reader_bytes(&reader, key_len);
    struct bytes stored = reader_bytes(&reader, reader.len);
    if (reader.failed)
        return 0;
    decode_key(key);
    decode_value(key, stored);
    return 0;
}
