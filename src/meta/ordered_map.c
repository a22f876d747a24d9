#include "meta/ordered_map.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "meta/arena.h"

#define LEVELS_MAX 14u /* with a quarter of the nodes on each next level: 4^14 */
#define ARENA_BLOCK ((size_t)256 * 1024)

/* Never more: what fills the memory for one map makes chains of a few nodes. */
#define BUCKETS_BITS 14u
#define BUCKETS ((size_t)1 << BUCKETS_BITS)
#define SIZE_REMOVED UINT32_MAX

struct ordered_map_version {
    struct ordered_map_version *older;
    uint64_t seq;
    uint32_t size;    /* of the value that a reader gets; SIZE_REMOVED: the key is gone */
    uint32_t patches; /* this one and those below it, down to a whole value; 0: it is whole */
    /* Of a patch: what is in value takes the place of removed bytes of the older version. */
    uint32_t at;
    uint32_t removed;
    uint32_t len; /* of value */
    uint8_t value[];
};

struct link {
    _Atomic(struct ordered_map_node *) to;
};

/* The first 16 bytes of the key as numbers in front decide nearly all comparisons without a look
 * at the key itself. The key stands behind next[levels]. */
struct ordered_map_node {
    struct ordered_map_node *bucket_next; /* fixed once the node is in its bucket */
    uint64_t prefix[2];
    _Atomic(struct ordered_map_version *) newest;
    uint16_t key_len;
    uint8_t levels;
    struct link next[];
};

struct ordered_map {
    struct arena arena;
    struct link *buckets; /* BUCKETS */
    uint64_t random;
    atomic_uint levels;
    /* Nodes that got a version since the last commit, in that order. */
    struct ordered_map_node **pending;
    size_t pending_count;
    size_t pending_size;
    struct ordered_map_node *head; /* before all keys, LEVELS_MAX levels */
};

struct probe {
    struct bytes key;
    uint64_t prefix[2];
};

static uint64_t prefix_part(struct bytes key, size_t at)
{
    uint8_t part[8] = { 0 };

    if (key.len > at)
        memcpy(part, key.data + at, key.len - at < 8 ? key.len - at : 8);
    uint64_t value;
    memcpy(&value, part, 8);
    return __builtin_bswap64(value);
}

static struct probe probe_of(struct bytes key)
{
    return (struct probe){ .key = key, .prefix = { prefix_part(key, 0), prefix_part(key, 8) } };
}

static const uint8_t *node_key(const struct ordered_map_node *node)
{
    return (const uint8_t *)&node->next[node->levels];
}

static bool node_less(const struct ordered_map_node *node, const struct probe *probe)
{
    if (node->prefix[0] != probe->prefix[0])
        return node->prefix[0] < probe->prefix[0];
    if (node->prefix[1] != probe->prefix[1])
        return node->prefix[1] < probe->prefix[1];
    size_t common = node->key_len < probe->key.len ? node->key_len : probe->key.len;
    int order = common == 0 ? 0 : memcmp(node_key(node), probe->key.data, common);
    return order != 0 ? order < 0 : node->key_len < probe->key.len;
}

static bool node_is(const struct ordered_map_node *node, const struct probe *probe)
{
    return node->prefix[0] == probe->prefix[0] && node->prefix[1] == probe->prefix[1] &&
           node->key_len == probe->key.len &&
           (node->key_len <= sizeof(node->prefix) ||
            memcmp(node_key(node), probe->key.data, node->key_len) == 0);
}

/* The first node not less than the key, and where ret_before is given the last ones before it on
 * each level. */
static struct ordered_map_node *find(const struct ordered_map *map, const struct probe *probe,
                                     struct ordered_map_node *ret_before[LEVELS_MAX])
{
    struct ordered_map_node *node = map->head;
    struct ordered_map_node *passed = NULL; /* known not to be less */
    unsigned level = atomic_load_explicit(&map->levels, memory_order_relaxed);

    while (level-- > 0) {
        struct ordered_map_node *next;
        while ((next = atomic_load_explicit(&node->next[level].to, memory_order_acquire)) !=
                   passed &&
               next != NULL && node_less(next, probe))
            node = next;
        passed = next;
        if (ret_before != NULL)
            ret_before[level] = node;
    }
    return passed;
}

/* Multiply and mix, of the whole key. Names are hashed under a secret key before they get here, and
 * numbers are our own, so that nobody can choose keys that meet. */
static struct link *bucket_of(const struct ordered_map *map, const struct probe *probe)
{
    uint64_t hash = probe->key.len;

    for (size_t at = 0; at < probe->key.len; at += 8) {
        uint64_t part = at < 16 ? probe->prefix[at / 8] : prefix_part(probe->key, at);
        hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return &map->buckets[hash * 0x9e3779b97f4a7c15u >> (64 - BUCKETS_BITS)];
}

/* The node of the key, or NULL. */
static struct ordered_map_node *lookup(const struct ordered_map *map, const struct probe *probe)
{
    struct ordered_map_node *node =
        atomic_load_explicit(&bucket_of(map, probe)->to, memory_order_acquire);

    while (node != NULL && !node_is(node, probe))
        node = node->bucket_next;
    return node;
}

static struct ordered_map_node *node_new(struct ordered_map *map, const struct probe *probe,
                                         unsigned levels)
{
    size_t links = levels * sizeof(struct link);
    struct ordered_map_node *node =
        arena_alloc(&map->arena, sizeof(*node) + links + probe->key.len);
    if (node == NULL)
        return NULL;

    node->prefix[0] = probe->prefix[0];
    node->prefix[1] = probe->prefix[1];
    atomic_init(&node->newest, NULL);
    node->key_len = (uint16_t)probe->key.len;
    node->levels = (uint8_t)levels;
    for (unsigned i = 0; i < levels; i++)
        atomic_init(&node->next[i].to, NULL);
    if (probe->key.len > 0)
        memcpy((uint8_t *)&node->next[levels], probe->key.data, probe->key.len);
    return node;
}

int ordered_map_new(struct ordered_map **ret)
{
    struct ordered_map *map = calloc(1, sizeof(*map));
    if (map == NULL)
        return -ENOMEM;
    map->arena = arena_init(ARENA_BLOCK);
    map->buckets = calloc(BUCKETS, sizeof(*map->buckets)); /* mapped: not there until used */
    map->random = 0x9e3779b97f4a7c15u;
    atomic_init(&map->levels, 1);
    map->head = node_new(map, &(struct probe){ 0 }, LEVELS_MAX);
    if (map->buckets == NULL || map->head == NULL) {
        ordered_map_free(map);
        return -ENOMEM;
    }
    *ret = map;
    return 0;
}

void ordered_map_free(struct ordered_map *map)
{
    if (map == NULL)
        return;
    arena_release(&map->arena);
    free(map->buckets);
    free(map->pending);
    free(map);
}

/* xorshift64: the heights need to look random to nobody but the keys. */
static unsigned random_levels(struct ordered_map *map)
{
    map->random ^= map->random << 13;
    map->random ^= map->random >> 7;
    map->random ^= map->random << 17;

    unsigned levels = 1 + (unsigned)__builtin_ctzll(map->random | 1ull << 62) / 2;
    return levels < LEVELS_MAX ? levels : LEVELS_MAX;
}

static struct ordered_map_node *insert(struct ordered_map *map, const struct probe *probe,
                                       struct ordered_map_node *before[LEVELS_MAX])
{
    unsigned levels = random_levels(map);
    unsigned known = atomic_load_explicit(&map->levels, memory_order_relaxed);
    struct ordered_map_node *node = node_new(map, probe, levels);
    if (node == NULL)
        return NULL;

    for (unsigned i = known; i < levels; i++)
        before[i] = map->head;
    for (unsigned i = 0; i < levels; i++) {
        struct ordered_map_node *next =
            atomic_load_explicit(&before[i]->next[i].to, memory_order_relaxed);
        atomic_store_explicit(&node->next[i].to, next, memory_order_relaxed);
        atomic_store_explicit(&before[i]->next[i].to, node, memory_order_release);
    }
    if (levels > known)
        atomic_store_explicit(&map->levels, levels, memory_order_relaxed);
    struct link *bucket = bucket_of(map, probe);
    node->bucket_next = atomic_load_explicit(&bucket->to, memory_order_relaxed);
    atomic_store_explicit(&bucket->to, node, memory_order_release);
    return node;
}

static int pending_reserve(struct ordered_map *map)
{
    if (map->pending_count < map->pending_size)
        return 0;
    size_t size = map->pending_size == 0 ? 64 : 2 * map->pending_size;
    struct ordered_map_node **pending = reallocarray(map->pending, size, sizeof(*pending));
    if (pending == NULL)
        return -ENOMEM;
    map->pending = pending;
    map->pending_size = size;
    return 0;
}

static struct ordered_map_change change_of(const struct ordered_map_version *before)
{
    if (before == NULL)
        return (struct ordered_map_change){ .before = ORDERED_MAP_ABSENT };
    if (before->size == SIZE_REMOVED)
        return (struct ordered_map_change){ .before = ORDERED_MAP_REMOVED };
    return (struct ordered_map_change){ .before = ORDERED_MAP_VALUE, .before_len = before->size };
}

/* A whole value, until patches says otherwise. Room for noting its node is there, too. */
static struct ordered_map_version *version_new(struct ordered_map *map, struct bytes value,
                                               uint64_t seq)
{
    if (pending_reserve(map) < 0)
        return NULL;
    struct ordered_map_version *version =
        arena_alloc(&map->arena, offsetof(struct ordered_map_version, value) + value.len);
    if (version == NULL)
        return NULL;
    version->seq = seq;
    version->size = (uint32_t)value.len;
    version->patches = 0;
    version->len = (uint32_t)value.len;
    if (value.len > 0)
        memcpy(version->value, value.data, value.len);
    return version;
}

static void push_version(struct ordered_map *map, struct ordered_map_node *node,
                         struct ordered_map_version *version)
{
    version->older = atomic_load_explicit(&node->newest, memory_order_relaxed);
    atomic_store_explicit(&node->newest, version, memory_order_release);
    map->pending[map->pending_count++] = node;
}

int ordered_map_put(struct ordered_map *map, struct bytes key, struct bytes value, bool removed,
                    uint64_t seq, struct ordered_map_change *ret)
{
    struct ordered_map_node *before[LEVELS_MAX];
    struct probe probe = probe_of(key);

    struct ordered_map_version *version =
        version_new(map, removed ? (struct bytes){ 0 } : value, seq);
    if (version == NULL)
        return -ENOMEM;
    if (removed)
        version->size = SIZE_REMOVED;
    struct ordered_map_node *node = lookup(map, &probe);
    if (node == NULL) {
        (void)find(map, &probe, before);
        node = insert(map, &probe, before);
    }
    if (node == NULL)
        return -ENOMEM;
    push_version(map, node, version);
    *ret = change_of(version->older);
    return 0;
}

int ordered_map_patch(struct ordered_map *map, struct bytes key, const struct splice *patch,
                      uint64_t seq)
{
    struct probe probe = probe_of(key);
    struct ordered_map_node *node = lookup(map, &probe);
    const struct ordered_map_version *below =
        node != NULL ? atomic_load_explicit(&node->newest, memory_order_relaxed) : NULL;

    if (below == NULL || below->size == SIZE_REMOVED || below->patches == SPLICES_MAX)
        return -ENOENT;
    if (!splice_fits(patch, below->size))
        return -EINVAL;
    struct ordered_map_version *version = version_new(map, patch->added, seq);
    if (version == NULL)
        return -ENOMEM;
    version->size = (uint32_t)splice_len(patch, below->size);
    version->patches = below->patches + 1;
    version->at = (uint32_t)patch->at;
    version->removed = (uint32_t)patch->removed;
    push_version(map, node, version);
    return 0;
}

void ordered_map_commit(struct ordered_map *map)
{
    map->pending_count = 0;
}

bool ordered_map_is_changed(const struct ordered_map *map)
{
    return map->pending_count > 0;
}

void ordered_map_rollback(struct ordered_map *map)
{
    while (map->pending_count > 0) {
        struct ordered_map_node *node = map->pending[--map->pending_count];
        struct ordered_map_version *newest =
            atomic_load_explicit(&node->newest, memory_order_relaxed);
        atomic_store_explicit(&node->newest, newest->older, memory_order_release);
    }
}

static const struct ordered_map_version *visible(const struct ordered_map_node *node, uint64_t seq)
{
    const struct ordered_map_version *version =
        atomic_load_explicit(&node->newest, memory_order_acquire);

    while (version != NULL && version->seq > seq)
        version = version->older;
    return version;
}

static struct splice patch_of(const struct ordered_map_version *version)
{
    return (struct splice){ .at = version->at,
                            .removed = version->removed,
                            .added = { .data = version->value, .len = version->len } };
}

/* The whole value with the patches upon it. */
static void version_value(const struct ordered_map_version *version, struct spliced *ret)
{
    ret->len = version->size;
    ret->count = version->patches;
    for (; version->patches > 0; version = version->older)
        ret->splices[version->patches - 1] = patch_of(version);
    ret->base = (struct bytes){ .data = version->value, .len = version->len };
}

struct ordered_map_mark ordered_map_mark(const struct ordered_map *map, struct bytes key,
                                         uint64_t seq)
{
    struct probe probe = probe_of(key);
    const struct ordered_map_node *node = lookup(map, &probe);

    if (node == NULL)
        return (struct ordered_map_mark){ 0 };
    return (struct ordered_map_mark){ .node = node, .version = visible(node, seq) };
}

bool ordered_map_is_current(const struct ordered_map *map, struct bytes key,
                            const struct ordered_map_mark *mark)
{
    const struct ordered_map_mark now = mark->node == NULL
                                            ? ordered_map_mark(map, key, UINT64_MAX)
                                            : (struct ordered_map_mark){ .node = mark->node };
    if (now.node == NULL)
        return true;
    return atomic_load_explicit(&now.node->newest, memory_order_relaxed) == mark->version;
}

enum ordered_map_found ordered_map_read(const struct ordered_map_mark *mark, struct spliced *ret)
{
    if (mark->version == NULL)
        return ORDERED_MAP_ABSENT;
    if (mark->version->size == SIZE_REMOVED)
        return ORDERED_MAP_REMOVED;
    version_value(mark->version, ret);
    return ORDERED_MAP_VALUE;
}

enum ordered_map_found ordered_map_get(const struct ordered_map *map, struct bytes key,
                                       uint64_t seq, struct spliced *ret)
{
    const struct ordered_map_mark found = ordered_map_mark(map, key, seq);

    return ordered_map_read(&found, ret);
}

size_t ordered_map_memory(const struct ordered_map *map)
{
    return BUCKETS * sizeof(*map->buckets) + map->arena.total - map->arena.left;
}

/* Goes on from cursor->node to the first that has something to show. */
static void cursor_settle(struct ordered_map_cursor *cursor)
{
    for (; cursor->node != NULL;
         cursor->node = atomic_load_explicit(&cursor->node->next[0].to, memory_order_acquire)) {
        const struct ordered_map_version *version = visible(cursor->node, cursor->seq);
        if (version == NULL)
            continue;
        cursor->key = (struct bytes){ .data = node_key(cursor->node), cursor->node->key_len };
        cursor->removed = version->size == SIZE_REMOVED;
        cursor->version = version;
        return;
    }
}

void ordered_map_seek(struct ordered_map_cursor *cursor, const struct ordered_map *map,
                      struct bytes first, uint64_t seq)
{
    struct probe probe = probe_of(first);

    *cursor = (struct ordered_map_cursor){ .seq = seq };
    if (map == NULL)
        return;
    cursor->node = find(map, &probe, NULL);
    cursor_settle(cursor);
}

void ordered_map_next(struct ordered_map_cursor *cursor)
{
    cursor->node = atomic_load_explicit(&cursor->node->next[0].to, memory_order_acquire);
    cursor_settle(cursor);
}

void ordered_map_value(const struct ordered_map_cursor *cursor, struct spliced *ret)
{
    version_value(cursor->version, ret);
}
