/* A dump: how it is cut, what a change of its records changes, and how it is read. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tests/support/transfer_samples.h"
#include "transfer/dump.h"

/* A set of records by number, with gaps: what record i looks like depends on i and its version. */
#define RECORDS 24000u

struct model {
    bool is_there[RECORDS];
    uint8_t version[RECORDS];
};

struct case_ {
    struct object_store *store;
    struct bucket bucket;
    struct transfer_keys *keys;
    struct model model;
};

static int setup(void **state)
{
    struct case_ *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    assert_int_equal(object_store_open("memory:", &c->store, NULL), 0);
    assert_int_equal(bucket_init(&c->bucket, c->store, "test", NULL), 0);
    transfer_sample_keys(&c->keys);
    for (unsigned i = 0; i < RECORDS; i++)
        c->model.is_there[i] = i % 2 == 0;
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct case_ *c = *state;

    transfer_keys_free(c->keys);
    object_store_close(c->store);
    free(c);
    return 0;
}

struct sample {
    uint8_t key[10];
    uint8_t value[400];
    struct dump_record record;
};

static void sample_record(const struct model *model, unsigned i, struct sample *ret)
{
    size_t len = 40 + (i * 31u + model->version[i]) % 300;
    struct writer writer = writer_init(ret->key, sizeof(ret->key));

    writer_u8(&writer, 0);
    writer_u8(&writer, 16);
    writer_u64be(&writer, i);
    for (size_t k = 0; k < len; k++)
        ret->value[k] = (uint8_t)(i * 7 + k * 3 + model->version[i]);
    ret->record = (struct dump_record){ { ret->key, sizeof(ret->key) }, { ret->value, len } };
}

struct upload {
    struct case_ *c;
    struct manifest manifest;
    uint64_t put_bytes, all_bytes;
    unsigned put_chunks;
    size_t shortest, longest; /* plain, without the last one */
    size_t last;
};

static int on_cut(const struct dump_cut *cut, void *arg, struct error *err)
{
    struct upload *upload = arg;
    const struct bucket_name name = bucket_name_of(BUCKET_CHUNK, cut->name);
    CLEANUP(buf_release) struct buf sealed = BUF_INIT;
    uint64_t size = 0;

    assert_int_equal(chunk_seal(upload->c->keys, cut->name, cut->plain, &sealed), 0);
    if (bucket_stat(&upload->c->bucket, &name, &size, NULL) == -ENOENT) {
        upload->put_bytes += sealed.len;
        upload->put_chunks++;
    }
    upload->all_bytes += sealed.len;
    if (upload->last > 0 && (upload->shortest == 0 || upload->last < upload->shortest))
        upload->shortest = upload->last;
    upload->longest = cut->plain.len > upload->longest ? cut->plain.len : upload->longest;
    upload->last = cut->plain.len;
    assert_int_equal(bucket_put(&upload->c->bucket, &name, buf_bytes(&sealed), err), 0);
    return manifest_add_chunk(&upload->manifest, cut->name, (uint32_t)sealed.len, cut->records,
                              cut->first_key, err);
}

static void write_all(struct case_ *c, struct upload *ret)
{
    CLEANUP(dump_writer_freep) struct dump_writer *writer = NULL;
    struct sample sample;

    *ret = (struct upload){ .c = c };
    assert_int_equal(dump_writer_new(c->keys, on_cut, ret, &writer), 0);
    for (unsigned i = 0; i < RECORDS; i++) {
        if (!c->model.is_there[i])
            continue;
        sample_record(&c->model, i, &sample);
        assert_int_equal(dump_writer_add(writer, &sample.record, NULL), 0);
    }
    assert_int_equal(dump_writer_finish(writer, &ret->manifest.records, &ret->manifest.set, NULL),
                     0);
}

static struct dump_source source_of(const struct upload *upload)
{
    return (struct dump_source){ &upload->c->bucket, upload->c->keys, &upload->manifest };
}

static void expect_record(const struct case_ *c, unsigned i, const struct dump_record *found)
{
    struct sample sample;

    sample_record(&c->model, i, &sample);
    assert_int_equal(found->key.len, sample.record.key.len);
    assert_memory_equal(found->key.data, sample.key, found->key.len);
    assert_int_equal(found->value.len, sample.record.value.len);
    assert_memory_equal(found->value.data, sample.value, found->value.len);
}

static void what_was_written_is_read_in_order(void **state)
{
    struct case_ *c = *state;
    struct upload upload;
    struct dump_reader reader;
    struct dump_record record;
    struct set_hash set = { .count = 0 };

    write_all(c, &upload);
    assert_true(upload.manifest.chunk_count > 10);
    assert_true(upload.shortest >= DUMP_CHUNK_MIN);
    assert_true(upload.longest <= DUMP_CHUNK_MAX);
    struct dump_source source = source_of(&upload);
    dump_reader_init(&reader, &source);
    for (unsigned i = 0; i < RECORDS; i++) {
        if (!c->model.is_there[i])
            continue;
        assert_int_equal(dump_reader_next(&reader, &record, NULL), 0);
        expect_record(c, i, &record);
        assert_int_equal(dump_set_add(c->keys, &set, &record), 0);
    }
    assert_int_equal(dump_reader_next(&reader, &record, NULL), -ENODATA);
    assert_true(set_hash_equal(&set, &upload.manifest.set));
    assert_int_equal(upload.manifest.records, RECORDS / 2);
    dump_reader_release(&reader);
    manifest_release(&upload.manifest);
}

static void a_reader_finds_any_key_and_what_is_behind_one_that_is_not_there(void **state)
{
    struct case_ *c = *state;
    struct upload upload;
    struct dump_reader reader;
    struct dump_record record;
    struct sample sample;

    write_all(c, &upload);
    struct dump_source source = source_of(&upload);
    dump_reader_init(&reader, &source);
    for (unsigned i = 0; i < RECORDS; i += 97) {
        unsigned expected = i % 2 == 0 ? i : i + 1;
        sample_record(&c->model, i, &sample);
        assert_int_equal(dump_reader_seek(&reader, sample.record.key, NULL), 0);
        if (expected == RECORDS) {
            assert_int_equal(dump_reader_next(&reader, &record, NULL), -ENODATA);
            continue;
        }
        assert_int_equal(dump_reader_next(&reader, &record, NULL), 0);
        expect_record(c, expected, &record);
    }
    assert_int_equal(dump_reader_seek(&reader, (struct bytes){ (const uint8_t *)"\xff", 1 }, NULL),
                     0);
    assert_int_equal(dump_reader_next(&reader, &record, NULL), -ENODATA);
    assert_int_equal(dump_reader_seek(&reader, (struct bytes){ .data = NULL }, NULL), 0);
    assert_int_equal(dump_reader_next(&reader, &record, NULL), 0);
    expect_record(c, 0, &record);
    dump_reader_release(&reader);
    manifest_release(&upload.manifest);
}

static void an_empty_dump_has_no_chunk(void **state)
{
    struct case_ *c = *state;
    struct upload upload;
    struct dump_reader reader;
    struct dump_record record;

    memset(c->model.is_there, 0, sizeof(c->model.is_there));
    write_all(c, &upload);
    assert_int_equal(upload.manifest.chunk_count, 0);
    struct dump_source source = source_of(&upload);
    dump_reader_init(&reader, &source);
    assert_int_equal(dump_reader_seek(&reader, (struct bytes){ .data = NULL }, NULL), 0);
    assert_int_equal(dump_reader_next(&reader, &record, NULL), -ENODATA);
    manifest_release(&upload.manifest);
}

/* The property for which there are chunks: whatever is inserted, removed or changed in one place,
 * only chunks there are new. Also by keys of other lengths of life: 100 different places. */
static void a_change_in_one_place_changes_few_chunks(void **state)
{
    struct case_ *c = *state;
    struct upload first, upload;
    uint64_t bytes = 0;
    unsigned chunks = 0;

    write_all(c, &first);
    assert_int_equal(first.put_chunks, first.manifest.chunk_count);
    for (unsigned round = 0; round < 40; round++) {
        unsigned at = (round * 7919u + 11) % RECORDS;
        if (round % 3 == 0)
            c->model.is_there[at] = !c->model.is_there[at]; /* inserted or removed */
        else
            c->model.version[at & ~1u]++; /* another value, of another length */
        write_all(c, &upload);
        assert_true(upload.put_chunks <= 6);
        bytes += upload.put_bytes;
        chunks += upload.put_chunks;
        manifest_release(&upload.manifest);
    }
    /* On average little more than the chunk in which it is. */
    assert_true(chunks <= 40 * 3 / 2);
    assert_true(bytes <= (uint64_t)40 * 2 * DUMP_CHUNK_MEAN);
    print_message("# %u chunks, %llu bytes of %llu for 40 changes\n", chunks,
                  (unsigned long long)bytes, (unsigned long long)first.all_bytes);
    manifest_release(&first.manifest);
}

static void many_records_inserted_together_change_little_else(void **state)
{
    struct case_ *c = *state;
    struct upload first, upload;
    uint64_t inserted = 0;
    struct sample sample;

    write_all(c, &first);
    for (unsigned i = 10001; i < 12000; i += 2) {
        c->model.is_there[i] = true;
        sample_record(&c->model, i, &sample);
        inserted += dump_record_len(&sample.record);
    }
    write_all(c, &upload);
    /* What was there between them goes again; and the ends. */
    assert_true(upload.put_bytes <= 2 * inserted + 4 * (uint64_t)DUMP_CHUNK_MAX);
    assert_true(upload.put_bytes < upload.all_bytes / 2);
    manifest_release(&first.manifest);
    manifest_release(&upload.manifest);
}

static void where_chunks_end_depends_on_the_key(void **state)
{
    struct case_ *c = *state;
    struct upload first, other;
    struct superblock superblock;
    struct key_set keys;
    unsigned same = 0;

    write_all(c, &first);
    sample_superblock(&superblock);
    sample_keys(&keys);
    sample_key(0xb1, &superblock.chunk_key);
    transfer_keys_free(c->keys);
    assert_int_equal(transfer_keys_new(&superblock, key_set_find(&keys, 2), &c->keys), 0);
    superblock_release(&superblock);
    key_set_release(&keys);
    write_all(c, &other);
    for (uint32_t i = 1; i < other.manifest.chunk_count; i++) {
        struct bytes key = manifest_first_key(&other.manifest, i);
        uint32_t found = manifest_find_chunk(&first.manifest, key);
        same += dump_key_compare(manifest_first_key(&first.manifest, found), key) == 0;
    }
    assert_true(same <= 2); /* by chance */
    manifest_release(&first.manifest);
    manifest_release(&other.manifest);
}

/* Records of 64 KiB and of a few bytes. */
static void records_of_any_length_fit(void **state)
{
    struct case_ *c = *state;
    CLEANUP(dump_writer_freep) struct dump_writer *writer = NULL;
    struct upload upload = { .c = c };
    static uint8_t value[META_VALUE_MAX + 1];
    uint8_t key[META_KEY_MAX + 1] = { 0 };
    struct dump_reader reader;
    struct dump_record record = { { key, 4 }, { value, 0 } };
    struct error err = { .code = 0 };

    assert_int_equal(dump_writer_new(c->keys, on_cut, &upload, &writer), 0);
    for (unsigned i = 1; i <= 60; i++) {
        key[0] = (uint8_t)i;
        record.key.len = i % 2 ? META_KEY_MAX : 4;
        record.value.len = i % 3 ? META_VALUE_MAX : 0;
        assert_int_equal(dump_writer_add(writer, &record, &err), 0);
    }
    assert_int_equal(dump_writer_add(writer, &record, &err), -EINVAL); /* again */
    key[0] = 5;
    assert_int_equal(dump_writer_add(writer, &record, &err), -EINVAL); /* in front */
    key[0] = 200;
    record.value.len = META_VALUE_MAX + 1;
    assert_int_equal(dump_writer_add(writer, &record, &err), -EINVAL);
    record.value.len = 0;
    record.key.len = META_KEY_MAX + 1;
    assert_int_equal(dump_writer_add(writer, &record, &err), -EINVAL);
    assert_int_equal(
        dump_writer_finish(writer, &upload.manifest.records, &upload.manifest.set, NULL), 0);
    assert_int_equal(upload.manifest.records, 60);
    struct dump_source source = source_of(&upload);
    dump_reader_init(&reader, &source);
    for (unsigned i = 1; i <= 60; i++) {
        assert_int_equal(dump_reader_next(&reader, &record, NULL), 0);
        assert_int_equal(record.key.data[0], i);
        assert_int_equal(record.value.len, i % 3 ? META_VALUE_MAX : 0);
    }
    dump_reader_release(&reader);
    manifest_release(&upload.manifest);
}

/* Replaces an object by what is given. */
static void put_other(struct case_ *c, const struct bucket_name *name, struct bytes data)
{
    char text[OBJECT_NAME_MAX + 1];

    bucket_object_name(&c->bucket, name, text);
    assert_int_equal(object_store_replace(c->store, text, data, NULL), 0);
}

static void a_chunk_that_is_not_as_it_was_is_found_and_named(void **state)
{
    struct case_ *c = *state;
    CLEANUP(buf_release) struct buf good = BUF_INIT;
    CLEANUP(buf_release) struct buf other = BUF_INIT;
    CLEANUP(buf_release) struct buf plain = BUF_INIT;
    struct dump_chunk chunk;
    struct upload upload;
    struct error err = { .code = 0 };

    write_all(c, &upload);
    const struct dump_source source = source_of(&upload);
    const struct bucket_name name = bucket_name_of(BUCKET_CHUNK, upload.manifest.chunks[3].name);
    const struct bucket_name next = bucket_name_of(BUCKET_CHUNK, upload.manifest.chunks[4].name);
    assert_int_equal(bucket_get(&c->bucket, &name, 1 << 20, &good, NULL), 0);
    assert_int_equal(bucket_get(&c->bucket, &next, 1 << 20, &other, NULL), 0);

    good.data[good.len / 2] ^= 1; /* altered */
    put_other(c, &name, buf_bytes(&good));
    assert_int_equal(dump_chunk_get(&source, 3, &plain, &chunk, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "chunk "));
    good.data[good.len / 2] ^= 1;
    put_other(c, &name, (struct bytes){ good.data, good.len - 1 }); /* cut short */
    assert_int_equal(dump_chunk_get(&source, 3, &plain, &chunk, &err), -EBADMSG);
    put_other(c, &name, buf_bytes(&other)); /* exchanged */
    assert_int_equal(dump_chunk_get(&source, 3, &plain, &chunk, &err), -EBADMSG);
    assert_int_equal(bucket_remove(&c->bucket, &name, NULL), 0); /* missing */
    assert_int_equal(dump_chunk_get(&source, 3, &plain, &chunk, &err), -ENOENT);
    assert_non_null(strstr(err.text, "missing"));

    /* A put mends what has another length. */
    put_other(c, &name, (struct bytes){ good.data, 5 });
    assert_int_equal(bucket_put(&c->bucket, &name, buf_bytes(&good), NULL), 0);
    assert_int_equal(dump_chunk_get(&source, 3, &plain, &chunk, &err), 0);
    upload.manifest.chunks[3].records++; /* a list that is wrong */
    assert_int_equal(dump_chunk_get(&source, 3, &plain, &chunk, &err), -EBADMSG);
    manifest_release(&upload.manifest);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(what_was_written_is_read_in_order),
        EACH(a_reader_finds_any_key_and_what_is_behind_one_that_is_not_there),
        EACH(an_empty_dump_has_no_chunk),
        EACH(a_change_in_one_place_changes_few_chunks),
        EACH(many_records_inserted_together_change_little_else),
        EACH(where_chunks_end_depends_on_the_key),
        EACH(records_of_any_length_fit),
        EACH(a_chunk_that_is_not_as_it_was_is_found_and_named),
    };

    if (secret_heap_init(NULL) < 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
