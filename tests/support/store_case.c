#include "tests/support/store_case.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "store/layers/cache.h"
#include "store/layers/fault.h"
#include "store/layers/limit.h"
#include "store/layers/renewable.h"
#include "store/layers/retry.h"
#include "store/layers/trace.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/remote_case.h"
#include "tests/support/s3_case.h"

typedef int wrap_fn(struct object_store *inner, struct object_store **ret);

/* Of so few blocks that some go all the time; of names that never mean another object. */
static int wrap_in_cache(struct object_store *inner, struct object_store **ret)
{
    struct cache_config config = { .max_bytes = 4 * CACHE_BLOCK, .prefix = "seg" };
    struct cache_store *cache;

    assert_int_equal(cache_file_open("/tmp", &config.fd, NULL), 0);
    return cache_store_new(inner, &config, ret, &cache);
}

static int wrap_in_fault(struct object_store *inner, struct object_store **ret)
{
    struct fault_store *fault;

    return fault_store_new(inner, ret, &fault);
}

static int wrap_in_limit(struct object_store *inner, struct object_store **ret)
{
    const struct limit_rates rates = { .sent = 1u << 30, .received = 1u << 30, .removals = 100000 };

    return limit_store_new(inner, &rates, NULL, ret);
}

static int wrap_in_renewable(struct object_store *inner, struct object_store **ret)
{
    struct renewable_store *renewable;

    return renewable_store_new(inner, ret, &renewable);
}

static int wrap_in_retry(struct object_store *inner, struct object_store **ret)
{
    return retry_store_new(inner, &retry_policy_default, ret);
}

static int wrap_in_trace(struct object_store *inner, struct object_store **ret)
{
    struct trace_store *trace;

    return trace_store_new(inner, ret, &trace);
}

static const struct {
    const char *name;
    wrap_fn *wrap;
} layers[] = {
    { "cache", wrap_in_cache }, { "fault", wrap_in_fault },
    { "limit", wrap_in_limit }, { "renewable", wrap_in_renewable },
    { "retry", wrap_in_retry }, { "remote", wrap_in_remote },
    { "trace", wrap_in_trace }, { NULL, NULL },
};

static void wrap_in(const char *layer, size_t len, struct object_store **store)
{
    for (size_t i = 0; layers[i].name != NULL; i++) {
        if (strlen(layers[i].name) != len || memcmp(layers[i].name, layer, len) != 0)
            continue;
        assert_int_equal(layers[i].wrap(*store, store), 0);
        return;
    }
    fail_msg("there is no layer '%s'", layer);
}

/* --- the case --- */

bool store_case_has_folder(const struct store_case *c)
{
    return strncmp(c->kind, "dir", 3) == 0;
}

bool store_case_is_s3(const struct store_case *c)
{
    return strncmp(c->kind, "s3", 2) == 0;
}

static struct object_store *open_s3(const struct store_case *c)
{
    static bool has_secret_heap;

    if (!has_secret_heap)
        assert_int_equal(secret_heap_init(NULL), 0);
    has_secret_heap = true;
    return s3_case_open(c->folder);
}

struct object_store *store_case_open(const struct store_case *c)
{
    const char *layer = c->kind + strcspn(c->kind, "+");
    struct object_store *store = NULL;
    struct error err = { 0 };
    char url[128];

    (void)snprintf(url, sizeof(url), "%.*s:%s", (int)(layer - c->kind), c->kind, c->folder);
    if (store_case_is_s3(c))
        store = open_s3(c);
    else if (object_store_open(url, &store, &err) != 0)
        fail_msg("%s", err.text);
    while (*layer == '+') {
        size_t len = strcspn(++layer, "+");
        wrap_in(layer, len, &store);
        layer += len;
    }
    return store;
}

void store_case_reopen(struct store_case *c)
{
    assert_true(store_case_has_folder(c));
    object_store_close(c->store);
    c->store = store_case_open(c);
}

int store_case_setup(void **state)
{
    struct store_case *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    c->kind = *state;
    if (store_case_has_folder(c)) {
        (void)snprintf(c->folder, sizeof(c->folder), "/tmp/coffer-store-XXXXXX");
        assert_non_null(mkdtemp(c->folder));
    }
    if (store_case_is_s3(c)) { /* in a place of its own */
        struct uuid id;
        char id_text[UUID_TEXT_SIZE];
        random_uuid(&id);
        uuid_format(&id, id_text);
        (void)snprintf(c->folder, sizeof(c->folder), "cases/%s", id_text);
    }
    c->store = store_case_open(c);
    *state = c;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

int store_case_teardown(void **state)
{
    struct store_case *c = *state;

    object_store_close(c->store);
    if (store_case_has_folder(c))
        assert_int_equal(nftw(c->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(c);
    return 0;
}

struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

void store_case_put(struct store_case *c, const char *name, const char *value)
{
    struct error err = { 0 };

    if (object_store_put(c->store, name, text(value), &err) != 0)
        fail_msg("%s", err.text);
}

void store_case_expect(struct store_case *c, const char *name, const char *value)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;
    struct error err = { 0 };

    int r = object_store_get(c->store, name, 1u << 20, &found, &err);
    if (value == NULL) {
        store_case_expect_error(r, -ENOENT, &err);
        return;
    }
    if (r != 0)
        fail_msg("%s", err.text);
    assert_int_equal(found.len, strlen(value));
    assert_memory_equal(found.data, value, found.len);
}

void store_case_expect_error(int r, int code, struct error *err)
{
    assert_int_equal(r, code);
    assert_int_equal(err->code, code);
    assert_true(strlen(err->text) > 10);
    *err = (struct error){ 0 };
}

void store_case_fill(uint8_t *to, size_t len, unsigned block)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(1 + (block * 37 + i * 11) % 255);
}

struct object_writer *store_case_create(struct store_case *c, const char *name)
{
    struct object_writer *writer = NULL;
    struct error err = { 0 };

    if (object_store_create(c->store, name, &writer, &err) != 0)
        fail_msg("%s", err.text);
    return writer;
}

struct object *store_case_open_object(struct store_case *c, const char *name)
{
    struct object *object = NULL;
    struct error err = { 0 };

    if (object_store_open_object(c->store, name, &object, &err) != 0)
        fail_msg("%s", err.text);
    return object;
}

void store_case_write(struct object_writer *writer, uint64_t offset, const char *value)
{
    struct error err = { 0 };

    if (object_writer_write(writer, offset, text(value), &err) != 0)
        fail_msg("%s", err.text);
}

void store_case_expect_size(struct store_case *c, const char *name, uint64_t expected)
{
    uint64_t size = 0;

    assert_int_equal(object_store_stat(c->store, name, &size, NULL), 0);
    assert_int_equal(size, expected);
}
