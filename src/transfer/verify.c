#include "transfer/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/altered.h"
#include "base/cleanup.h"
#include "base/parallel.h"
#include "base/thread.h"
#include "crypto/random.h"
#include "fs/chunk_scan.h"
#include "fs/segment_format.h"
#include "transfer/placed.h"
#include "transfer/sharing.h"

#define AT_ONCE 4u    /* requests, each of up to PACK_SPAN_MAX */
#define SPANS_MAX 64u /* that are begun together: at their end there are fewer requests */

struct span {
    struct pack_span span;
    struct object *object; /* its pack; NULL: who reads it opens it, as it is all there is of it */
};

struct verify {
    const struct verify_config *config;
    struct superblock superblock;
    struct transfer_keys *keys;
    struct manifest manifest;
    struct placed_list placed;
    struct name_set there;
    struct run_list blocks;        /* that the chunks that were read show */
    struct pack_blocks_list found; /* where they lie */
    uint64_t records;
    struct set_hash set;

    struct span spans[SPANS_MAX];      /* of packs that are open, */
    struct object *objects[SPANS_MAX]; /* these */
    unsigned span_count, object_count;

    struct mutex lock; /* while several threads read: guards what is below */
    uint64_t faults;
    struct verify_progress progress;
    bool has_no_memory;
    bool is_stopped;
    struct error failure;    /* of a read: the first one that is no fault of the snapshot */
    uint8_t *rooms[AT_ONCE]; /* of PACK_SPAN_MAX, which nobody uses */
    unsigned room_count;
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
    mutex_lock(&verify->lock);
    verify->faults++;
    verify->config->report(text, verify->config->arg);
    mutex_unlock(&verify->lock);
}

static int no_memory(struct verify *verify)
{
    return error_set(verify->err, -ENOMEM, "cannot verify a snapshot: out of memory");
}

bool verify_is_fault(int code)
{
    return is_altered(code) || code == -ENOENT || code == -EFBIG || code == -ENOKEY;
}

static bool is_sampled(const struct verify *verify)
{
    uint32_t drawn;

    if (verify->config->one_in <= 1)
        return true;
    random_bytes(&drawn, sizeof(drawn));
    return drawn % verify->config->one_in == 0;
}

/* By one thread at a time. */
static void ask_stop(struct verify *verify)
{
    const struct verify_config *config = verify->config;

    if (config->should_stop && config->should_stop(&verify->progress, config->arg))
        verify->is_stopped = true;
}

static int check_stop(struct verify *verify)
{
    ask_stop(verify);
    return verify->is_stopped ? error_set(verify->err, -ECANCELED, "the verification was stopped")
                              : 0;
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
static int check_references(struct verify *verify, const struct name_set *needed)
{
    CLEANUP(name_set_release) struct name_set named = NAME_SET_INIT;
    struct error err = { .code = 0 };
    size_t missing = 0;

    int r = bucket_references(verify->config->bucket, join_names, &named, &err);
    if (r == -ENOMEM)
        return no_memory(verify);
    if (r < 0 && !verify_is_fault(r))
        return error_set(verify->err, r, "references cannot be read: %s", err.text);
    if (r < 0) {
        report(verify, "references cannot be read: %s", err.text);
        return 0;
    }
    name_set_sort(&named);
    for (size_t i = 0; i < needed->count; i++)
        missing += name_set_find(&named, &needed->items[i].name) == NULL;
    if (missing > 0)
        report(verify, "%zu objects of the snapshot are named by no reference", missing);
    return 0;
}

/* Of what a read was answered with: what the listing lacked, check_there() has told. */
static bool was_reported(const struct verify *verify, const struct bucket_name *name, int r)
{
    return r == -ENOENT && !name_set_find(&verify->there, name);
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
    return check_references(verify, &needed);
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
    const struct bucket_name name =
        bucket_name_of(BUCKET_CHUNK, verify->manifest.chunks[index].name);
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct error err = { .code = 0 };
    struct dump_record record;
    struct dump_chunk chunk;

    int r = dump_chunk_get(&source, index, &plain, &chunk, &err);
    verify->progress.chunks_done++;
    if (was_reported(verify, &name, r))
        return 0;
    if (r < 0 && !verify_is_fault(r))
        return error_set(verify->err, r, "%s", err.text);
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

static int add_found(struct verify *verify, const struct block_run *run, const struct placed *at)
{
    struct pack_blocks blocks = { .offset = at->offset, .run = *run, .identity = at->identity };

    memcpy(blocks.pack.bytes, at->pack, PACK_ID_LEN);
    return pack_blocks_add(&verify->found, &blocks) < 0 ? no_memory(verify) : 0;
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
                r = add_found(verify, &front, &at);
            }
            run.address += (uint32_t)block_run_sealed(&front);
        }
    }
    return r;
}

static const char *pack_text(const struct verify *verify, const struct uuid *pack,
                             char text[static OBJECT_NAME_MAX + 1])
{
    const struct bucket_name name = bucket_name_of(BUCKET_PACK, pack->bytes);

    bucket_object_name(verify->config->bucket, &name, text);
    return text;
}

static bool is_in_manifest(struct verify *verify, const struct uuid *pack)
{
    char text[OBJECT_NAME_MAX + 1];

    if (manifest_find_pack(&verify->manifest, pack->bytes))
        return true;
    report(verify, "%s is used and not in the manifest", pack_text(verify, pack, text));
    return false;
}

static void not_read(struct verify *verify, const struct uuid *pack, int r, const struct error *why)
{
    const struct bucket_name name = bucket_name_of(BUCKET_PACK, pack->bytes);
    char text[OBJECT_NAME_MAX + 1];

    (void)pack_text(verify, pack, text);
    if (was_reported(verify, &name, r))
        return;
    if (verify_is_fault(r)) {
        report(verify, "%s cannot be read: %s", text, why->text);
        return;
    }
    mutex_lock(&verify->lock);
    if (verify->failure.code == 0)
        (void)error_set(&verify->failure, r, "%s cannot be read: %s", text, why->text);
    mutex_unlock(&verify->lock);
}

/* Of one in the manifest. NULL: there is none that can be read, which was reported. */
static struct object *open_pack(struct verify *verify, const struct uuid *pack)
{
    const struct pack_entry *entry = manifest_find_pack(&verify->manifest, pack->bytes);
    char text[OBJECT_NAME_MAX + 1];
    struct object *object = NULL;
    struct error err = { .code = 0 };

    int r = object_store_open_sized(verify->config->bucket->store, pack_text(verify, pack, text),
                                    entry->len, &object, &err);
    if (r < 0)
        not_read(verify, pack, r, &err);
    mutex_lock(&verify->lock);
    verify->progress.packs_done++;
    mutex_unlock(&verify->lock);
    return object;
}

/* One span, in the hands of a thread. */
struct opening {
    struct verify *verify;
    struct bytes sealed; /* what could be read */
    uint32_t offset;
    struct aead *aead; /* of the segment that was used last */
    struct block_identity aead_of;
};

static int take_aead(struct opening *opening, const struct block_identity *identity)
{
    const struct block_identity *last = &opening->aead_of;
    const struct verify *verify = opening->verify;

    if (opening->aead && uuid_equal(&last->segment, &identity->segment) &&
        last->generation == identity->generation && uuid_equal(&last->fs, &identity->fs))
        return 0;
    aead_free(TAKE(opening->aead));
    opening->aead_of = *identity;
    return block_aead_new(verify->config->keys, &verify->superblock.uuid, identity, &opening->aead);
}

static void no_memory_here(struct verify *verify)
{
    mutex_lock(&verify->lock);
    verify->has_no_memory = true;
    mutex_unlock(&verify->lock);
}

/* False if something is wrong with it, which was reported. */
static bool check_item(struct opening *opening, const struct pack_blocks *blocks)
{
    const uint32_t step = blocks->run.block_len + BLOCK_OVERHEAD;
    const size_t skip = blocks->offset - opening->offset, len = block_run_sealed(&blocks->run);
    const size_t left = opening->sealed.len > skip ? opening->sealed.len - skip : 0;
    const struct bytes sealed = { opening->sealed.data + skip, len < left ? len : left };
    char text[OBJECT_NAME_MAX + 1];
    uint32_t bad = 0;

    int cipher = take_aead(opening, &blocks->identity);
    int r = cipher == 0 ? pack_blocks_check(blocks, opening->aead, sealed, &bad) : cipher;
    if (r == -ENOMEM)
        no_memory_here(opening->verify);
    if (r == 0 || r == -ENOMEM)
        return true;
    report(opening->verify, "%s: the block at byte %u %s",
           pack_text(opening->verify, &blocks->pack, text), blocks->offset + bad * step,
           cipher < 0                               ? "is sealed under a key that is not at hand"
           : (bad + (size_t)1) * step <= sealed.len ? "was altered, or exchanged for another"
                                                    : "is not there: the object is too short");
    return false;
}

static void check_items(struct verify *verify, const struct pack_span *span, struct bytes sealed)
{
    const struct pack_blocks *items = &verify->found.items[span->first], *bad = NULL;
    struct opening opening = { .verify = verify, .sealed = sealed, .offset = span->offset };

    for (size_t i = 0; i < span->count; i++) {
        /* One fault for each row of blocks is enough. */
        bool is_told = bad && uuid_equal(&bad->run.segment, &items[i].run.segment) &&
                       bad->run.address + (items[i].offset - bad->offset) == items[i].run.address;
        if (!is_told && !check_item(&opening, &items[i]))
            bad = &items[i];
    }
    aead_free(opening.aead);
}

/* Of one long block a span may be longer. */
static uint8_t *take_room(struct verify *verify, size_t len)
{
    uint8_t *room = NULL;

    mutex_lock(&verify->lock);
    if (len <= PACK_SPAN_MAX && verify->room_count > 0)
        room = verify->rooms[--verify->room_count];
    mutex_unlock(&verify->lock);
    return room ? room : malloc(len > PACK_SPAN_MAX ? len : PACK_SPAN_MAX);
}

static void give_room(struct verify *verify, uint8_t *room, size_t len)
{
    mutex_lock(&verify->lock);
    if (len <= PACK_SPAN_MAX && room && verify->room_count < AT_ONCE)
        verify->rooms[verify->room_count++] = TAKE(room);
    mutex_unlock(&verify->lock);
    free(room);
}

static bool is_over(struct verify *verify)
{
    mutex_lock(&verify->lock);
    bool is = verify->is_stopped || verify->has_no_memory || verify->failure.code < 0;
    mutex_unlock(&verify->lock);
    return is;
}

struct looking {
    struct verify *verify;
    const struct pack_span *span;
    size_t found;
};

static void look_at_span(struct bytes found, void *arg)
{
    struct looking *looking = arg;

    looking->found = found.len;
    check_items(looking->verify, looking->span, found);
}

static void read_span(struct verify *verify, const struct pack_span *span, struct object *object,
                      uint8_t *room)
{
    struct looking looking = { .verify = verify, .span = span };
    const struct object_look look = { look_at_span, &looking, room };
    struct error err = { .code = 0 };

    int r = object_look(object, span->offset, span->len, &look, &err);
    if (r < 0) {
        not_read(verify, &verify->found.items[span->first].pack, r, &err);
        return;
    }
    mutex_lock(&verify->lock);
    verify->progress.read_bytes += looking.found;
    ask_stop(verify);
    mutex_unlock(&verify->lock);
}

static void check_span(void *arg, size_t index)
{
    struct verify *verify = arg;
    const struct span *span = &verify->spans[index];
    CLEANUP(object_closep) struct object *opened = NULL;
    uint8_t *room;

    if (is_over(verify))
        return;
    if (!span->object)
        opened = open_pack(verify, &verify->found.items[span->span.first].pack);
    if (!span->object && !opened)
        return;
    room = take_room(verify, span->span.len);
    if (room)
        read_span(verify, &span->span, opened ? opened : span->object, room);
    else
        no_memory_here(verify);
    give_room(verify, room, span->span.len);
}

static int give_up(struct verify *verify)
{
    if (verify->failure.code < 0) {
        *verify->err = verify->failure;
        return verify->failure.code;
    }
    return verify->has_no_memory ? no_memory(verify) : check_stop(verify);
}

/* Those that were gathered; their packs are closed but for the last one, of which more may come. */
static int check_spans(struct verify *verify)
{
    parallel_each(verify->span_count, AT_ONCE, check_span, verify);
    verify->span_count = 0;
    for (unsigned i = 0; i + 1 < verify->object_count; i++)
        object_close(verify->objects[i]);
    if (verify->object_count > 1) {
        verify->objects[0] = verify->objects[verify->object_count - 1];
        verify->object_count = 1;
    }
    return give_up(verify);
}

/* The span that ends in front of item at is all there is of its pack. */
static bool is_alone(const struct verify *verify, const struct pack_span *span, size_t at)
{
    const struct pack_blocks *items = verify->found.items;
    const struct uuid *pack = &items[span->first].pack;

    return (span->first == 0 || !uuid_equal(&items[span->first - 1].pack, pack)) &&
           (at == verify->found.count || !uuid_equal(&items[at].pack, pack));
}

/* The pack that spans are of from now on. */
struct pack_at {
    const struct uuid *id;
    bool is_read; /* it is of the sample, and can be read as far as is known */
    struct object *object;
};

static int next_pack(struct verify *verify, const struct uuid *id, bool is_alone,
                     struct pack_at *ret)
{
    *ret = (struct pack_at){ .id = id };
    ret->is_read = is_sampled(verify) && is_in_manifest(verify, id);
    if (!ret->is_read || is_alone)
        return 0;
    ret->object = open_pack(verify, id);
    ret->is_read = ret->object != NULL;
    if (ret->object)
        verify->objects[verify->object_count++] = ret->object;
    return verify->failure.code < 0 ? give_up(verify) : 0;
}

static int check_blocks(struct verify *verify)
{
    struct pack_at pack = { .id = NULL };
    struct pack_span span;
    size_t at = 0;

    int r = find_blocks(verify);
    pack_blocks_sort(&verify->found);
    while (r == 0 && pack_span_next(&verify->found, PACK_SPAN_MAX, &at, &span)) {
        const struct uuid *of = &verify->found.items[span.first].pack;
        if (verify->span_count == SPANS_MAX || verify->object_count == SPANS_MAX)
            r = check_spans(verify);
        if (r == 0 && (!pack.id || !uuid_equal(pack.id, of)))
            r = next_pack(verify, of, is_alone(verify, &span, at), &pack);
        if (r == 0 && pack.is_read)
            verify->spans[verify->span_count++] = (struct span){ span, pack.object };
    }
    return r == 0 ? check_spans(verify) : r;
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
    pack_blocks_release(&verify->found);
    for (unsigned i = 0; i < verify->object_count; i++)
        object_close(verify->objects[i]);
    while (verify->room_count > 0)
        free(verify->rooms[--verify->room_count]);
    (void)pthread_mutex_destroy(&verify->lock.native);
}

int verify_run(const struct verify_config *config, struct verify_progress *ret_progress,
               uint64_t *ret_faults, struct error *err)
{
    struct error why = { .code = 0 };
    struct verify verify = {
        .config = config, .there = NAME_SET_INIT, .lock = MUTEX_INIT, .err = &why
    };

    int r = run(&verify);
    *ret_progress = verify.progress;
    *ret_faults = verify.faults;
    release(&verify);
    if (r < 0 && err)
        *err = why;
    return r;
}
