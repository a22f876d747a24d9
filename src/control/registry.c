#include "control/registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"
#include "crypto/random.h"
#include "meta/meta_engine.h"

#define FOUND_MAX 64u
#define PREFIX_SIZE 64u

struct registry {
    struct meta_engine *engine; /* has its own locks */
    struct uuid instance;       /* never changes after open */
};

struct key {
    uint8_t data[PREFIX_SIZE];
    size_t len;
};

static struct bytes key_bytes(const struct key *key)
{
    return (struct bytes){ .data = key->data, .len = key->len };
}

static struct bytes text_bytes(const char *text)
{
    return (struct bytes){ .data = (const uint8_t *)text, .len = strlen(text) };
}

static struct key key_of(const char *kind, const struct uuid *uuid)
{
    struct key key = { .len = 0 };
    struct writer writer = writer_init(key.data, sizeof(key.data));

    writer_bytes(&writer, kind, strlen(kind));
    if (uuid)
        writer_bytes(&writer, uuid->bytes, UUID_LEN);
    key.len = writer.len;
    return key;
}

/* The first key behind all that begin with prefix, none of which ends in 0xff before it. */
static struct key key_behind(struct key prefix)
{
    for (size_t i = prefix.len; i > 0; i--) {
        if (prefix.data[i - 1] != 0xff) {
            prefix.data[i - 1]++;
            prefix.len = i;
            break;
        }
    }
    return prefix;
}

/* Nothing in the registry opens anything: values go out and in as they are. */
static int pass_seal(void *arg, struct bytes key, struct bytes plain, struct bytes old,
                     uint8_t *ret, size_t *ret_len, struct error *err)
{
    (void)arg;
    (void)key;
    (void)old;
    (void)err;
    if (plain.len > 0)
        memcpy(ret, plain.data, plain.len);
    *ret_len = plain.len;
    return 0;
}

static int pass_open(void *arg, struct bytes key, struct bytes stored, uint8_t *ret,
                     size_t *ret_len, uint64_t *ret_epoch, struct error *err)
{
    *ret_epoch = 0;
    return pass_seal(arg, key, stored, (struct bytes){ .len = 0 }, ret, ret_len, err);
}

/* One write transaction, run again while another writer wins, and made durable. When the disk is
 * full, META_FREE may use what the engine keeps back: for what makes room, and for the little
 * without which what is there could not be used. */
typedef int change_fn(struct meta_txn *txn, void *arg, struct error *err);

static int run_unsynced(struct registry *registry, enum meta_access access, change_fn *change,
                        void *arg, struct error *err)
{
    int r = -EAGAIN;

    while (r == -EAGAIN) {
        struct meta_txn *txn = NULL;
        r = meta_begin(registry->engine, access, &txn, err);
        if (r < 0)
            return r;
        r = change(txn, arg, err);
        if (r < 0)
            meta_abort(txn);
        else
            r = meta_commit(txn, err);
    }
    return r;
}

static int run_change(struct registry *registry, enum meta_access access, change_fn *change,
                      void *arg, struct error *err)
{
    int r = run_unsynced(registry, access, change, arg, err);

    return r < 0 ? r : meta_sync(registry->engine, err);
}

static int put_instance(struct meta_txn *txn, void *arg, struct error *err)
{
    struct registry *registry = arg;
    struct bytes value;
    int r = meta_get(txn, text_bytes("instance"), &value, err);

    if (r == 0 && value.len != UUID_LEN)
        return error_set(err, -EBADMSG, "the registry's record of its instance is damaged");
    if (r == 0) {
        memcpy(registry->instance.bytes, value.data, UUID_LEN);
        return 0;
    }
    if (r != -ENOENT)
        return r;
    random_uuid(&registry->instance);
    value = (struct bytes){ .data = registry->instance.bytes, .len = UUID_LEN };
    return meta_put(txn, text_bytes("instance"), value, err);
}

int registry_open(const char *url, struct registry **ret, struct error *err)
{
    static const struct meta_hooks hooks = { .seal = pass_seal, .open = pass_open };
    CLEANUP(registry_closep) struct registry *registry = calloc(1, sizeof(*registry));
    struct meta_options options = { .create = true };

    if (!registry)
        return error_set(err, -ENOMEM, "out of memory");
    struct error first = { .code = 0 };
    int r = meta_engine_open(url, &options, &hooks, &registry->engine, &first);
    if (r == -EEXIST) {
        options.create = false;
        r = meta_engine_open(url, &options, &hooks, &registry->engine, &first);
    }
    if (r < 0)
        return error_set(err, r, "cannot open the registry: %s", first.text);
    r = run_change(registry, META_WRITE, put_instance, registry, err);
    if (r < 0)
        return r;
    *ret = TAKE(registry);
    return 0;
}

void registry_close(struct registry *registry)
{
    struct error err = { .code = 0 };

    if (!registry)
        return;
    if (registry->engine && meta_close(registry->engine, &err) < 0)
        log_error("the registry was not closed cleanly: %s", err.text);
    free(registry);
}

void registry_instance(const struct registry *registry, struct uuid *ret)
{
    *ret = registry->instance;
}

struct each {
    registry_visit_fn *visit;
    void *arg;
};

static int visit_record(struct bytes key, struct bytes value, void *arg)
{
    const struct each *each = arg;
    CLEANUP(free_ptr) struct fs_record *record = malloc(sizeof(*record));
    struct error err = { .code = 0 };

    (void)key;
    if (!record)
        return -ENOMEM;
    if (fs_record_decode(value, record, &err) < 0) {
        log_error("a filesystem of the registry is passed over: %s", err.text);
        return 0;
    }
    return each->visit(record, each->arg);
}

int registry_each(struct registry *registry, registry_visit_fn *visit, void *arg, struct error *err)
{
    struct each each = { .visit = visit, .arg = arg };
    struct key first = key_of("fs/", NULL);
    struct key end = key_behind(first);
    struct meta_txn *txn = NULL;
    int r = meta_begin(registry->engine, META_READ, &txn, err);

    if (r < 0)
        return r;
    r = meta_scan(txn, key_bytes(&first), key_bytes(&end), visit_record, &each, err);
    meta_abort(txn);
    return r;
}

/* Collects the keys that begin with a prefix, since a visitor may not change anything. */
struct found_keys {
    struct key keys[FOUND_MAX];
    size_t count;
};

static int visit_key(struct bytes key, struct bytes value, void *arg)
{
    struct found_keys *found = arg;

    (void)value;
    if (found->count == FOUND_MAX)
        return 1; /* the next round takes the rest */
    if (key.len > PREFIX_SIZE)
        return -EBADMSG;
    struct key *to = &found->keys[found->count++];
    memcpy(to->data, key.data, key.len);
    to->len = key.len;
    return 0;
}

static int remove_range(struct meta_txn *txn, struct key first, struct key end, struct error *err)
{
    for (;;) {
        struct found_keys found = { .count = 0 };
        int r = meta_scan(txn, key_bytes(&first), key_bytes(&end), visit_key, &found, err);
        if (r < 0 || found.count == 0)
            return r < 0 ? r : 0;
        for (size_t i = 0; i < found.count; i++) {
            r = meta_remove(txn, key_bytes(&found.keys[i]), err);
            if (r < 0)
                return r;
        }
    }
}

static int remove_prefix(struct meta_txn *txn, struct key prefix, struct error *err)
{
    return remove_range(txn, prefix, key_behind(prefix), err);
}

struct put_arg {
    const struct fs_record *record;
    struct bytes ring;
    uint8_t encoded[FS_RECORD_MAX];
    size_t encoded_len;
};

static int change_put(struct meta_txn *txn, void *arg, struct error *err)
{
    struct put_arg *put = arg;
    struct key key = key_of("fs/", &put->record->uuid);
    struct key ring_key = key_of("ring/", &put->record->uuid);
    struct bytes value = { .data = put->encoded, .len = put->encoded_len };
    int r = meta_put(txn, key_bytes(&key), value, err);

    if (r < 0 || put->ring.len == 0)
        return r;
    return meta_put(txn, key_bytes(&ring_key), put->ring, err);
}

int registry_put(struct registry *registry, const struct fs_record *record, struct bytes ring,
                 struct error *err)
{
    CLEANUP(free_ptr) struct put_arg *put = malloc(sizeof(*put));

    if (!put)
        return error_set(err, -ENOMEM, "out of memory");
    put->record = record;
    put->ring = ring;
    int r = fs_record_encode(record, put->encoded, &put->encoded_len, err);
    if (r == 0)
        r = run_change(registry, ring.len == 0 ? META_FREE : META_WRITE, change_put, put, err);
    return r < 0 ? error_prefix(err, r, "cannot store filesystem %s in the registry", record->name)
                 : 0;
}

static int get_copy(struct registry *registry, struct bytes key, struct buf *ret, struct error *err)
{
    struct meta_txn *txn = NULL;
    struct bytes value;
    int r = meta_begin(registry->engine, META_READ, &txn, err);

    if (r < 0)
        return r;
    r = meta_get(txn, key, &value, err);
    if (r == 0 && (r = buf_assign(ret, value)) < 0)
        (void)error_set(err, r, "out of memory for what the registry holds");
    meta_abort(txn);
    return r;
}

int registry_get_ring(struct registry *registry, const struct uuid *uuid, struct buf *ret,
                      struct error *err)
{
    struct key key = key_of("ring/", uuid);
    int r = get_copy(registry, key_bytes(&key), ret, err);

    if (r == -ENOENT)
        return error_set(err, r, "the registry has no key ring of this filesystem");
    return r;
}

int registry_peek_ring(struct registry *registry, const struct uuid *uuid, struct key_ring *ret,
                       struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    int r = registry_get_ring(registry, uuid, &encoded, err);

    return r < 0 ? r : key_ring_peek(buf_bytes(&encoded), ret, err);
}

int registry_get_shred(struct registry *registry, const struct uuid *uuid, struct buf *ret,
                       struct error *err)
{
    struct key key = key_of("shred/", uuid);

    return get_copy(registry, key_bytes(&key), ret, err);
}

int registry_scrub(struct registry *registry, struct error *err)
{
    int r = meta_scrub(registry->engine, err);

    return r < 0 ? error_prefix(err, r,
                                "the registry could not be written anew, and wrapped keys that "
                                "were removed may still be in unused parts of its file")
                 : 0;
}

struct rings_arg {
    const struct registry_ring *rings;
    size_t count;
};

static int change_rings(struct meta_txn *txn, void *arg, struct error *err)
{
    const struct rings_arg *put = arg;
    int r = 0;

    for (size_t i = 0; r == 0 && i < put->count; i++) {
        struct key key = key_of("ring/", put->rings[i].uuid);
        r = meta_put(txn, key_bytes(&key), put->rings[i].ring, err);
    }
    return r;
}

int registry_put_rings(struct registry *registry, const struct registry_ring *rings, size_t count,
                       struct error *err)
{
    struct rings_arg put = { .rings = rings, .count = count };
    int r = run_change(registry, META_WRITE, change_rings, &put, err);

    return r < 0 ? error_prefix(err, r, "cannot store a key ring in the registry") : 0;
}

int registry_put_ring(struct registry *registry, const struct uuid *uuid, struct bytes ring,
                      struct error *err)
{
    const struct registry_ring one = { .uuid = uuid, .ring = ring };

    return registry_put_rings(registry, &one, 1, err);
}

struct one_arg {
    struct key key;
    struct bytes value;
};

static int change_one(struct meta_txn *txn, void *arg, struct error *err)
{
    const struct one_arg *one = arg;

    return meta_put(txn, key_bytes(&one->key), one->value, err);
}

int registry_put_shred(struct registry *registry, const struct uuid *uuid, struct bytes keys,
                       struct error *err)
{
    struct one_arg one = { .key = key_of("shred/", uuid), .value = keys };

    return run_change(registry, META_FREE, change_one, &one, err);
}

int registry_keep_ring(struct registry *registry, const struct uuid *uuid, char place,
                       struct bytes ring, struct error *err)
{
    struct one_arg keep = { .key = key_of("kept/", uuid), .value = ring };
    struct writer writer = writer_init(keep.key.data + keep.key.len, 9);

    writer_u64be(&writer, (uint64_t)clock_wall_ns());
    writer_u8(&writer, (uint8_t)place);
    keep.key.len += writer.len;
    int r = run_change(registry, META_WRITE, change_one, &keep, err);
    return r < 0 ? error_prefix(err, r, "cannot keep a key ring aside") : 0;
}

static int change_remove_kept(struct meta_txn *txn, void *arg, struct error *err)
{
    return remove_prefix(txn, key_of("kept/", arg), err);
}

static int change_remove_rings(struct meta_txn *txn, void *arg, struct error *err)
{
    int r = remove_prefix(txn, key_of("ring/", arg), err);

    return r < 0 ? r : change_remove_kept(txn, arg, err);
}

int registry_remove_rings(struct registry *registry, const struct uuid *uuid, struct error *err)
{
    struct uuid copy = *uuid;
    int r = run_change(registry, META_FREE, change_remove_rings, &copy, err);

    return r < 0 ? error_prefix(err, r, "cannot remove key rings from the registry") : 0;
}

int registry_remove_kept(struct registry *registry, const struct uuid *uuid, struct error *err)
{
    struct uuid copy = *uuid;
    int r = run_change(registry, META_FREE, change_remove_kept, &copy, err);

    return r < 0 ? error_prefix(err, r, "cannot remove key rings that were kept aside") : 0;
}

struct value_visit {
    registry_value_fn *visit;
    void *arg;
};

static int visit_value(struct bytes key, struct bytes value, void *arg)
{
    const struct value_visit *visit = arg;

    (void)key;
    return visit->visit(value, visit->arg);
}

static int each_behind(struct registry *registry, struct key first, registry_value_fn *visit,
                       void *arg, struct error *err)
{
    struct value_visit value = { .visit = visit, .arg = arg };
    struct key end = key_behind(first);
    struct meta_txn *txn = NULL;
    int r = meta_begin(registry->engine, META_READ, &txn, err);

    if (r < 0)
        return r;
    r = meta_scan(txn, key_bytes(&first), key_bytes(&end), visit_value, &value, err);
    meta_abort(txn);
    return r;
}

int registry_each_kept(struct registry *registry, const struct uuid *uuid, registry_value_fn *visit,
                       void *arg, struct error *err)
{
    return each_behind(registry, key_of("kept/", uuid), visit, arg, err);
}

int registry_each_value(struct registry *registry, const char *prefix, registry_value_fn *visit,
                        void *arg, struct error *err)
{
    return each_behind(registry, key_of(prefix, NULL), visit, arg, err);
}

static int change_remove(struct meta_txn *txn, void *arg, struct error *err)
{
    int r = change_remove_rings(txn, arg, err);

    if (r == 0)
        r = remove_prefix(txn, key_of("shred/", arg), err);
    return r < 0 ? r : remove_prefix(txn, key_of("fs/", arg), err);
}

int registry_remove(struct registry *registry, const struct uuid *uuid, struct error *err)
{
    struct uuid copy = *uuid;
    int r = run_change(registry, META_FREE, change_remove, &copy, err);

    return r < 0 ? error_prefix(err, r, "cannot remove a filesystem from the registry") : 0;
}

static struct key entry_key(const char *kind, uint64_t number)
{
    struct key key = key_of(kind, NULL);
    struct writer writer = writer_init(key.data + key.len, sizeof(uint64_t));

    writer_u64be(&writer, number);
    key.len += writer.len;
    return key;
}

static int change_append(struct meta_txn *txn, void *arg, struct error *err)
{
    const struct registry_entries *entries = arg;
    int r = 0;

    for (size_t i = 0; r == 0 && i < entries->count; i++) {
        struct key key = entry_key(entries->kind, entries->first + i);
        r = meta_put(txn, key_bytes(&key), entries->values[i], err);
    }
    if (r == 0 && entries->forget_below > 0)
        r = remove_range(txn, key_of(entries->kind, NULL),
                         entry_key(entries->kind, entries->forget_below), err);
    if (r == 0 && entries->head)
        r = meta_put(txn, text_bytes(entries->head), entries->head_value, err);
    if (r == 0 && entries->base)
        r = meta_put(txn, text_bytes(entries->base), entries->base_value, err);
    return r;
}

int registry_append(struct registry *registry, const struct registry_entries *entries,
                    struct error *err)
{
    struct registry_entries copy = *entries;

    return run_unsynced(registry, copy.may_use_reserve ? META_FREE : META_WRITE, change_append,
                        &copy, err);
}

int registry_sync(struct registry *registry, struct error *err)
{
    return meta_sync(registry->engine, err);
}

struct entry_visit {
    size_t kind_len;
    registry_entry_fn *visit;
    void *arg;
};

static int visit_entry(struct bytes key, struct bytes value, void *arg)
{
    const struct entry_visit *visit = arg;
    struct reader reader = reader_init(key);

    (void)reader_bytes(&reader, visit->kind_len);
    uint64_t number = reader_u64be(&reader);
    return visit->visit(reader_done(&reader) < 0 ? 0 : number, value, visit->arg);
}

int registry_each_entry(struct registry *registry, const char *kind, uint64_t first, uint64_t end,
                        registry_entry_fn *visit, void *arg, struct error *err)
{
    struct entry_visit entry = { .kind_len = strlen(kind), .visit = visit, .arg = arg };
    struct key from = entry_key(kind, first);
    struct key to = entry_key(kind, end);
    struct meta_txn *txn = NULL;
    int r = meta_begin(registry->engine, META_READ, &txn, err);

    if (r < 0)
        return r;
    r = meta_scan(txn, key_bytes(&from), key_bytes(&to), visit_entry, &entry, err);
    meta_abort(txn);
    return r;
}

int registry_get_value(struct registry *registry, const char *name, struct buf *ret,
                       struct error *err)
{
    return get_copy(registry, text_bytes(name), ret, err);
}

struct value_arg {
    const char *name;
    struct bytes value;
};

static int change_value(struct meta_txn *txn, void *arg, struct error *err)
{
    const struct value_arg *value = arg;

    if (value->value.len == 0)
        return meta_remove(txn, text_bytes(value->name), err);
    return meta_put(txn, text_bytes(value->name), value->value, err);
}

int registry_put_value(struct registry *registry, const char *name, struct bytes value,
                       struct error *err)
{
    struct value_arg arg = { .name = name, .value = value };

    return run_change(registry, value.len == 0 ? META_FREE : META_WRITE, change_value, &arg, err);
}
