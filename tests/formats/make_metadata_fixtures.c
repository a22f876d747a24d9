/* Writes metadata-v1.bin into the folder that it is given, and each record of it, as the fuzzer
 * takes them, into the second. What is in the repository is never written again: a later version
 * of coffer must go on reading it. */
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/wire.h"
#include "meta/meta_engine.h"
#include "meta/record_kinds.h"
#include "meta/sealer.h"
#include "tests/support/meta_samples.h"

static int put_samples(struct meta_engine *engine)
{
    struct meta_txn *txn = NULL;

    int r = meta_begin(engine, META_WRITE, &txn, NULL);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < META_SAMPLES && r == 0; i++)
        r = meta_put(txn, meta_sample(i).key, meta_sample(i).value, NULL);
    return r < 0 ? r : meta_commit(txn, NULL);
}

static int keep(struct bytes key, struct bytes stored, void *arg)
{
    return meta_sample_append(arg, key, stored);
}

static int save_seeds(const char *folder, struct bytes file)
{
    struct bytes key;
    struct bytes stored;

    for (unsigned i = 0; file.len > 0; i++) {
        uint8_t room[1024];
        char path[512];
        struct writer writer = writer_init(room, sizeof(room));
        if (meta_sample_next(&file, &key, &stored) < 0)
            return -1;
        writer_u8(&writer, (uint8_t)key.len);
        writer_bytes(&writer, key.data, key.len);
        writer_bytes(&writer, stored.data, stored.len);
        (void)snprintf(path, sizeof(path), "%s/record-%u", folder, i);
        if (writer_done(&writer) < 0 || file_replace(path, writer_written(&writer), 0644, NULL) < 0)
            return -1;
    }
    return 0;
}

static int make(struct meta_engine *engine, const char *folder, const char *seeds)
{
    static const uint8_t end[] = { RECORD_TREE_NONE };
    struct buf file = BUF_INIT;
    char path[512];

    int r = put_samples(engine);
    if (r == 0)
        r = meta_sync(engine, NULL);
    if (r == 0)
        r = meta_scan_stored(engine, (struct bytes){ 0 }, (struct bytes){ end, 1 }, keep, &file,
                             NULL);
    (void)snprintf(path, sizeof(path), "%s/metadata-v1.bin", folder);
    if (r == 0)
        r = file_replace(path, buf_bytes(&file), 0644, NULL);
    if (r == 0)
        r = save_seeds(seeds, buf_bytes(&file));
    buf_release(&file);
    return r;
}

int main(int argc, char **argv)
{
    struct key_set keys;
    struct secret name_key;
    struct sealer_config config = { .keys = &keys, .name_key = &name_key };
    struct meta_options options = { .create = true };
    struct meta_hooks hooks = { 0 };
    struct meta_engine *engine = NULL;
    struct sealer *sealer = NULL;

    if (argc != 3 || secret_heap_init(NULL) < 0)
        return 2;
    meta_sample_keys(&keys, &name_key);
    meta_sample_owner(&config.owner);
    if (sealer_new(&config, &sealer, NULL) < 0)
        return 1;
    sealer_hooks(sealer, &hooks);
    sealer_set_epoch(sealer, 5);
    if (meta_engine_open("memory:", &options, &hooks, &engine, NULL) < 0)
        return 1;
    int r = make(engine, argv[1], argv[2]);
    (void)meta_close(engine, NULL);
    sealer_free(sealer);
    return r < 0;
}
