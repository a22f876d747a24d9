#include "transfer/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "crypto/random.h"
#include "fs/chunk_scan.h"
#include "fs/segment_format.h"
#include "transfer/placed.h"
#include "transfer/sharing.h"

#define READ_LEN (1u << 20)    /* at most so much of a pack is opened at a time */
#define WINDOW_PART (2u << 20) /* of a pack is asked for in one request, */
#define WINDOW_PARTS 4u        /* so many requests at once */

/* Blocks, and where they lie. */
struct found_blocks {
    uint8_t pack[PACK_ID_LEN];
    uint32_t offset;
    struct block_run run;
    struct block_identity identity;
};

/* What was read of a pack. */
struct window {
    uint8_t *data;
    uint32_t offset;
    size_t len; /* up to the first byte that could not be read */
    int code;   /* why that could not be */
    struct error err;
};

/* One request of a window. */
struct window_part {
    struct object *object;
    uint64_t offset;
    size_t len, got;
    uint8_t *to;
    int code;
    struct error err;
};

struct verify {
    const struct verify_config *config;
    struct superblock superblock;
    struct transfer_keys *keys;
    struct manifest manifest;
    struct placed_list placed;
    struct name_set there;
    struct run_list blocks; /* that the chunks that were read show */
    struct found_blocks *found;
    size_t found_count;
    const struct found_blocks *current; /* of these */
    uint64_t faults;
    uint64_t records;
    struct set_hash set;
    struct verify_progress progress;

    /* The pack and the segment that were used last. */
    struct object *object;
    bool pack_is_bad;
    struct window window;
    struct aead *aead;
    struct block_identity aead_of;
    uint8_t *plain;
    struct error *err;
};

__attribute__((format(printf, 2, 3))) static void report(struct verify *verify, const char *format,
                                                         ...)
{
    char text[600];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    verify->faults++;
    verify->config->report(text, verify->config->arg);
}

static int no_memory(struct verify *verify)
{
    return error_set(verify->err, -ENOMEM, "cannot verify a snapshot: out of memory");
}

static bool is_sampled(const struct verify *verify)
{
    uint32_t drawn;

    if (verify->config->one_in <= 1)
        return true;
    random_bytes(&drawn, sizeof(drawn));
    return drawn % verify->config->one_in == 0;
}

static int check_stop(struct verify *verify)
{
    const struct verify_config *config = verify->config;

    if (config->should_stop && config->should_stop(&verify->progress, config->arg))
        return error_set(verify->err, -ECANCELED, "the verification was stopped");
    return 0;
}

/* --- head and manifest --- */

static int open_head(struct verify *verify)
{
    const struct verify_config *config = verify->config;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct snapshot_head head;

    int r = head_get(config->bucket, config->locator.manifest, &encoded, verify->err);
    if (r == 0)
        r = head_decode(buf_bytes(&encoded), &head, verify->err);
    if (r == 0)
        r = head_verify(buf_bytes(&encoded), config->keys, config->known, &verify->superblock,
                        &verify->keys, verify->err);
    return r;
}

static int open_manifest(struct verify *verify)
{
    const struct verify_config *config = verify->config;
    size_t len = 0;

    int r = open_head(verify);
    return r < 0 ? r
                 : manifest_get(config->bucket, verify->keys, config->locator.manifest,
                                &verify->manifest, &len, verify->err);
}

/* --- which objects there are --- */

static void check_there(struct verify *verify, const struct bucket_object *needed)
{
    const struct bucket_object *found = name_set_find(&verify->there, &needed->name);
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(verify->config->bucket, &needed->name, text);
    if (!found)
        report(verify, "%s is missing", text);
    else if (found->size != needed->size)
        report(verify, "%s has %llu bytes in the place of %llu", text,
               (unsigned long long)found->size, (unsigned long long)needed->size);
}

static int join_names(const struct reference_head *head, const struct name_set *names, void *arg)
{
    (void)head;
    return name_set_join(arg, names);
}

/* A removal anywhere spares only what a reference names. */
static void check_references(struct verify *verify, const struct name_set *needed)
{
    CLEANUP(name_set_release) struct name_set named = NAME_SET_INIT;
    struct error err = { .code = 0 };
    size_t missing = 0;

    if (bucket_references(verify->config->bucket, join_names, &named, &err) < 0) {
        report(verify, "references cannot be read: %s", err.text);
        return;
    }
    name_set_sort(&named);
    for (size_t i = 0; i < needed->count; i++)
        missing += name_set_find(&named, &needed->items[i].name) == NULL;
    if (missing > 0)
        report(verify, "%zu objects of the snapshot are named by no reference", missing);
}

static int check_objects(struct verify *verify)
{
    const struct bucket *bucket = verify->config->bucket;
    const struct bucket_name manifest =
        bucket_name_of(BUCKET_MANIFEST, verify->config->locator.manifest);
    CLEANUP(name_set_release) struct name_set needed = NAME_SET_INIT;

    int r = bucket_list(bucket, BUCKET_PACK, &verify->there, verify->err);
    if (r == 0)
        r = bucket_list(bucket, BUCKET_CHUNK, &verify->there, verify->err);
    if (r < 0)
        return r;
    if (manifest_names(&verify->manifest, &needed) < 0)
        return no_memory(verify);
    for (size_t i = 0; i < needed.count; i++)
        check_there(verify, &needed.items[i]);
    if (name_set_add(&needed, &manifest, 0) < 0)
        return no_memory(verify);
    check_references(verify, &needed);
    return 0;
}

/* --- chunks --- */

static int add_location(struct verify *verify, const struct dump_record *record)
{
    struct placed_list *list = &verify->placed;
    struct placed placed;

    if (placed_decode(record, &placed) < 0 ||
        (list->count > 0 && placed_find(list, &placed.segment, placed.first) < list->count)) {
        report(verify, "a location record is malformed");
        return 0;
    }
    return placed_list_add(list, &placed) < 0 ? no_memory(verify) : 0;
}

static int add_extents(struct verify *verify, const struct dump_record *record)
{
    CLEANUP(extents_release) struct extents list = EXTENTS_INIT;

    int r = extents_decode(record->value, &list);
    if (r == 0)
        r = chunk_blocks(&list, &verify->blocks);
    if (r == -ENOMEM)
        return no_memory(verify);
    if (r < 0)
        report(verify, "a record of file data is malformed");
    return 0;
}

static int look_at_record(struct verify *verify, const struct dump_record *record)
{
    static _Thread_local struct inode inode;

    verify->records++;
    if (dump_set_add(verify->keys, &verify->set, record) < 0)
        return no_memory(verify);
    switch (record_kind_of(record->key)) {
    case RECORD_LOCATION:
        return add_location(verify, record);
    case RECORD_EXTENTS:
        return add_extents(verify, record);
    case RECORD_INODE:
        if (inode_decode(record->value, &inode) < 0)
            report(verify, "an inode's record is malformed");
        return 0;
    default:
        return 0;
    }
}

/* Where blocks lie is read always; without that no block can be looked at. */
static bool has_locations(const struct verify *verify, uint32_t index)
{
    struct record_key first, end;

    kind_range(RECORD_LOCATION, &first, &end);
    return index + 1 == verify->manifest.chunk_count ||
           dump_key_compare(manifest_first_key(&verify->manifest, index + 1),
                            record_key_bytes(&first)) >= 0;
}

static int check_chunk(struct verify *verify, uint32_t index)
{
    const struct dump_source source = { verify->config->bucket, verify->keys, &verify->manifest };
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct error err = { .code = 0 };
    struct dump_record record;
    struct dump_chunk chunk;

    int r = dump_chunk_get(&source, index, &plain, &chunk, &err);
    verify->progress.chunks_done++;
    if (r == -ENOENT)
        return 0; /* it was reported as missing */
    if (r < 0) {
        report(verify, "%s", err.text);
        return 0;
    }
    verify->progress.read_bytes += plain.len;
    while (r == 0 && dump_record_next(&chunk.body, &record))
        r = look_at_record(verify, &record);
    return r;
}

static int check_chunks(struct verify *verify)
{
    const struct manifest *manifest = &verify->manifest;
    int r = 0;

    verify->progress.chunks = manifest->chunk_count;
    for (uint32_t i = 0; i < manifest->chunk_count && r == 0; i++) {
        r = check_stop(verify);
        if (r == 0 && (has_locations(verify, i) || is_sampled(verify)))
            r = check_chunk(verify, i);
    }
    if (r == 0 && verify->progress.chunks_done == manifest->chunk_count && verify->faults == 0 &&
        (verify->records != manifest->records || !set_hash_equal(&verify->set, &manifest->set)))
        report(verify, "the records are not those that were uploaded: their sum is another one");
    return r;
}

/* --- blocks --- */

static int add_found(struct verify *verify, const struct block_run *run, const struct placed *at,
                     size_t *room)
{
    if (verify->found_count == *room) {
        size_t more = *room ? 2 * *room : 64;
        struct found_blocks *found = reallocarray(verify->found, more, sizeof(*found));
        if (!found)
            return no_memory(verify);
        verify->found = found;
        *room = more;
    }
    struct found_blocks *blocks = &verify->found[verify->found_count++];
    *blocks = (struct found_blocks){ .offset = at->offset, .run = *run, .identity = at->identity };
    memcpy(blocks->pack, at->pack, PACK_ID_LEN);
    return 0;
}

static void report_lost(struct verify *verify, const struct block_run *run)
{
    char id[UUID_TEXT_SIZE];

    uuid_format(&run->segment, id);
    report(verify, "the snapshot does not say where the block at byte %u of segment %s lies",
           run->address, id);
}

static int find_blocks(struct verify *verify)
{
    size_t room = 0;
    int r = 0;

    run_list_sort(&verify->blocks);
    for (size_t i = 0; i < verify->blocks.count && r == 0; i++) {
        struct block_run run = verify->blocks.items[i], front;
        struct placed at;
        for (; run.count > 0 && r == 0; run.count -= front.count) {
            front = run;
            front.count = placed_blocks(&verify->placed, &run, &at);
            if (front.count == 0) {
                report_lost(verify, &run);
                front.count = 1;
            } else {
                r = add_found(verify, &front, &at, &room);
            }
            run.address += (uint32_t)block_run_sealed(&front);
        }
    }
    return r;
}

static int compare_found(const void *a, const void *b)
{
    const struct found_blocks *left = a, *right = b;
    int order = memcmp(left->pack, right->pack, PACK_ID_LEN);

    return order != 0 ? order : (left->offset > right->offset) - (left->offset < right->offset);
}

static const char *pack_text(const struct verify *verify, const struct found_blocks *blocks,
                             char text[static OBJECT_NAME_MAX + 1])
{
    const struct bucket_name name = bucket_name_of(BUCKET_PACK, blocks->pack);

    bucket_object_name(verify->config->bucket, &name, text);
    return text;
}

static void open_pack(struct verify *verify, const struct found_blocks *blocks)
{
    char text[OBJECT_NAME_MAX + 1];
    struct error err = { .code = 0 };

    object_close(TAKE(verify->object));
    verify->window.len = 0;
    verify->pack_is_bad = false;
    if (!manifest_find_pack(&verify->manifest, blocks->pack)) {
        report(verify, "%s is used and not in the manifest", pack_text(verify, blocks, text));
        verify->pack_is_bad = true;
        return;
    }
    int r = object_store_open_object(verify->config->bucket->store, pack_text(verify, blocks, text),
                                     &verify->object, &err);
    verify->pack_is_bad = r < 0;
    if (r < 0 && r != -ENOENT) /* which was reported */
        report(verify, "%s cannot be read: %s", text, err.text);
    verify->progress.packs_done++;
}

static int take_aead(struct verify *verify, const struct block_identity *identity)
{
    const struct block_identity *last = &verify->aead_of;

    if (verify->aead && uuid_equal(&last->segment, &identity->segment) &&
        last->generation == identity->generation && uuid_equal(&last->fs, &identity->fs))
        return 0;
    aead_free(TAKE(verify->aead));
    int r = block_aead_new(verify->config->keys, &verify->superblock.uuid, identity, &verify->aead);
    verify->aead_of = *identity;
    return r;
}

static void read_part(void *arg, size_t index)
{
    struct window_part *part = (struct window_part *)arg + index;

    part->code =
        object_read(part->object, part->offset, part->len, part->to, &part->got, &part->err);
}

static void fill_window(struct verify *verify, uint32_t offset, size_t len)
{
    struct window_part parts[WINDOW_PARTS] = { { .len = 0 } };
    struct window *window = &verify->window;
    size_t count = (len + WINDOW_PART - 1) / WINDOW_PART;

    for (size_t i = 0; i < count; i++) {
        size_t at = i * WINDOW_PART;
        parts[i] = (struct window_part){ .object = verify->object,
                                         .offset = offset + at,
                                         .len = len - at < WINDOW_PART ? len - at : WINDOW_PART,
                                         .to = window->data + at };
    }
    parallel_each(count, WINDOW_PARTS, read_part, parts);
    window->offset = offset;
    window->len = 0;
    window->code = 0;
    for (size_t i = 0; i < count && window->len == i * WINDOW_PART; i++) {
        window->code = parts[i].code;
        window->err = parts[i].err;
        window->len += parts[i].code == 0 ? parts[i].got : 0;
    }
}

/* How much follows in the pack that is wanted, without a gap, from the start of one run on. */
static size_t wanted_from(const struct verify *verify, const struct found_blocks *blocks)
{
    const struct found_blocks *next = verify->current + 1;
    const struct found_blocks *end = verify->found + verify->found_count;
    uint64_t stop = verify->current->offset + block_run_sealed(&verify->current->run);
    const size_t most = WINDOW_PART * (size_t)WINDOW_PARTS;

    for (; next < end && next->offset == stop && stop - blocks->offset < most &&
           memcmp(next->pack, blocks->pack, PACK_ID_LEN) == 0;
         next++)
        stop += block_run_sealed(&next->run);
    return stop - blocks->offset < most ? (size_t)(stop - blocks->offset) : most;
}

/* len bytes of the pack, or as many as there are; NULL: they cannot be read. */
static uint8_t *read_window(struct verify *verify, const struct found_blocks *blocks, size_t len,
                            size_t *ret_got)
{
    struct window *window = &verify->window;
    bool is_inside = window->len > 0 && blocks->offset >= window->offset &&
                     blocks->offset + len <= window->offset + window->len;

    if (!is_inside)
        fill_window(verify, blocks->offset, wanted_from(verify, blocks));
    size_t skip = blocks->offset - window->offset;
    size_t left = window->len - skip;
    *ret_got = len < left ? len : left;
    return *ret_got < len && window->code < 0 ? NULL : window->data + skip;
}

/* Blocks of one run, as many as fit. */
static int check_part(struct verify *verify, const struct found_blocks *blocks)
{
    const uint32_t step = blocks->run.block_len + BLOCK_OVERHEAD;
    const size_t len = (size_t)block_run_sealed(&blocks->run);
    struct block_identity identity = blocks->identity;
    char text[OBJECT_NAME_MAX + 1];
    size_t got = 0;

    uint8_t *sealed = read_window(verify, blocks, len, &got);
    if (!sealed) {
        report(verify, "%s cannot be read: %s", pack_text(verify, blocks, text),
               verify->window.err.text);
        return 0;
    }
    verify->progress.read_bytes += got;
    int r = take_aead(verify, &identity);
    if (r == -ENOMEM)
        return no_memory(verify);
    for (uint32_t i = 0; i < blocks->run.count; i++, identity.address += step) {
        const size_t at = (size_t)i * step;
        if (r == 0 && at + step <= got &&
            block_open(verify->aead, &identity, (struct bytes){ sealed + at, step },
                       verify->plain) == 0)
            continue;
        report(verify, "%s: the block at byte %zu %s", pack_text(verify, blocks, text),
               blocks->offset + at,
               r < 0              ? "is sealed under a key that is not at hand"
               : at + step <= got ? "was altered, or exchanged for another"
                                  : "is not there: the object is too short");
        return 0; /* one for each run is enough */
    }
    return 0;
}

static int check_run(struct verify *verify, struct found_blocks blocks)
{
    const uint32_t step = blocks.run.block_len + BLOCK_OVERHEAD;
    const uint32_t most = READ_LEN / step > 0 ? READ_LEN / step : 1;
    uint32_t left = blocks.run.count;
    int r = 0;

    while (left > 0 && r == 0) {
        blocks.run.count = left < most ? left : most;
        r = check_part(verify, &blocks);
        left -= blocks.run.count;
        blocks.offset += blocks.run.count * step;
        blocks.identity.address += blocks.run.count * step;
    }
    return r;
}

static int check_blocks(struct verify *verify)
{
    const struct found_blocks *last = NULL;
    bool is_chosen = false;

    int r = find_blocks(verify);
    if (r < 0)
        return r;
    if (verify->found_count > 0)
        qsort(verify->found, verify->found_count, sizeof(*verify->found), compare_found);
    verify->window.data = malloc(WINDOW_PART * (size_t)WINDOW_PARTS);
    verify->plain = malloc((1u << 20) + BLOCK_OVERHEAD);
    if (!verify->window.data || !verify->plain)
        return no_memory(verify);
    for (size_t i = 0; i < verify->found_count && r == 0; i++) {
        const struct found_blocks *blocks = &verify->found[i];
        if (!last || memcmp(last->pack, blocks->pack, PACK_ID_LEN) != 0) {
            r = check_stop(verify);
            is_chosen = is_sampled(verify);
            if (r == 0 && is_chosen)
                open_pack(verify, blocks);
        }
        last = verify->current = blocks;
        if (r == 0 && is_chosen && !verify->pack_is_bad)
            r = check_run(verify, *blocks);
    }
    return r;
}

/* --- all --- */

static int run(struct verify *verify)
{
    int r = open_manifest(verify);

    if (r < 0)
        return r;
    verify->progress.packs = verify->manifest.pack_count;
    r = check_objects(verify);
    if (r == 0)
        r = check_chunks(verify);
    return r == 0 ? check_blocks(verify) : r;
}

static void release(struct verify *verify)
{
    superblock_release(&verify->superblock);
    transfer_keys_free(verify->keys);
    manifest_release(&verify->manifest);
    placed_list_release(&verify->placed);
    name_set_release(&verify->there);
    run_list_release(&verify->blocks);
    free(verify->found);
    object_close(verify->object);
    aead_free(verify->aead);
    free(verify->window.data);
    if (verify->plain)
        memory_wipe(verify->plain, 1u << 20);
    free(verify->plain);
}

int verify_run(const struct verify_config *config, struct verify_progress *ret_progress,
               uint64_t *ret_faults, struct error *err)
{
    struct error why = { .code = 0 };
    struct verify verify = { .config = config, .there = NAME_SET_INIT, .err = &why };

    int r = run(&verify);
    *ret_progress = verify.progress;
    *ret_faults = verify.faults;
    release(&verify);
    if (r < 0 && err)
        *err = why;
    return r;
}
