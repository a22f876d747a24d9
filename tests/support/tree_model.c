#include "tests/support/tree_model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "tests/support/cmocka_all.h"

#define MIB ((uint64_t)1 << 20)
#define SIZE_MAX_OF_FILE (MIB + MIB / 4)

static uint64_t draw(uint64_t *random, uint64_t below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 24) % below;
}

void tree_model_new(struct tree_model *tree)
{
    *tree = (struct tree_model){ .nodes[0].mode = S_IFDIR | 0755 };
}

void tree_model_copy(const struct tree_model *from, struct tree_model *ret)
{
    *ret = *from;
    for (unsigned i = 0; i < TREE_NODES; i++) {
        if (from->nodes[i].data == NULL)
            continue;
        ret->nodes[i].data = malloc(from->nodes[i].size + 1);
        assert_non_null(ret->nodes[i].data);
        memcpy(ret->nodes[i].data, from->nodes[i].data, from->nodes[i].size);
    }
}

void tree_model_free(struct tree_model *tree)
{
    for (unsigned i = 0; i < TREE_NODES; i++)
        free(TAKE(tree->nodes[i].data));
}

/* A change in the making. */
struct change {
    struct tree_model *tree;
    struct volume *volume;
    uint64_t random;
};

static unsigned links_of(const struct tree_model *tree, unsigned node)
{
    unsigned count = 0;

    for (unsigned i = 0; i < TREE_NAMES; i++)
        count += tree->names[i].name[0] != '\0' && tree->names[i].node == node;
    return count;
}

static bool has_entries(const struct tree_model *tree, unsigned node)
{
    for (unsigned i = 0; i < TREE_NAMES; i++)
        if (tree->names[i].name[0] != '\0' && tree->names[i].parent == node)
            return true;
    return false;
}

static bool is_below(const struct tree_model *tree, unsigned node, unsigned top)
{
    while (node != top && node != 0) {
        unsigned i = 0;
        while (tree->names[i].name[0] == '\0' || tree->names[i].node != node)
            i++;
        node = tree->names[i].parent;
    }
    return node == top;
}

/* A node of that type, drawn; -1: none. */
static int draw_node(struct change *change, uint32_t type)
{
    unsigned first = (unsigned)draw(&change->random, TREE_NODES);

    for (unsigned i = 0; i < TREE_NODES; i++) {
        unsigned node = (first + i) % TREE_NODES;
        if ((change->tree->nodes[node].mode & S_IFMT) == type)
            return (int)node;
    }
    return -1;
}

static int draw_name(struct change *change)
{
    unsigned first = (unsigned)draw(&change->random, TREE_NAMES);

    for (unsigned i = 0; i < TREE_NAMES; i++)
        if (change->tree->names[(first + i) % TREE_NAMES].name[0] != '\0')
            return (int)((first + i) % TREE_NAMES);
    return -1;
}

static struct tree_name *free_name(struct tree_model *tree)
{
    for (unsigned i = 0; i < TREE_NAMES; i++)
        if (tree->names[i].name[0] == '\0')
            return &tree->names[i];
    return NULL;
}

/* NOLINTBEGIN(misc-no-recursion): as deep as the tree, which has few nodes. */
/* The inode of a node, found by its path; it holds a reference, but for the root. */
static uint64_t resolve(struct change *change, unsigned node)
{
    struct volume_attr attr;
    unsigned i = 0;

    if (node == 0)
        return VOLUME_ROOT;
    while (change->tree->names[i].name[0] == '\0' || change->tree->names[i].node != node)
        i++;
    uint64_t parent = resolve(change, change->tree->names[i].parent);
    assert_int_equal(volume_lookup(change->volume, parent, change->tree->names[i].name, &attr), 0);
    if (parent != VOLUME_ROOT)
        volume_forget(change->volume, parent, 1);
    return attr.ino;
}

/* NOLINTEND(misc-no-recursion) */

static void release(struct change *change, uint64_t ino)
{
    if (ino != VOLUME_ROOT)
        volume_forget(change->volume, ino, 1);
}

static void make(struct change *change, uint32_t mode)
{
    const struct volume_owner owner = { .uid = 7, .gid = 8 };
    struct tree_name *name = free_name(change->tree);
    int parent = draw_node(change, S_IFDIR);
    int node = draw_node(change, 0);
    struct volume_attr attr;

    if (name == NULL || node < 0)
        return;
    if (change->volume != NULL) {
        uint64_t ino = resolve(change, (unsigned)parent);
        char text[16];
        (void)snprintf(text, sizeof(text), "n%llx", (unsigned long long)change->random % 0xffffff);
        assert_int_equal(volume_mknod(change->volume, ino, text, mode, 0, &owner, &attr), 0);
        release(change, attr.ino);
        release(change, ino);
    }
    (void)snprintf(name->name, sizeof(name->name), "n%llx",
                   (unsigned long long)change->random % 0xffffff);
    name->parent = (unsigned)parent;
    name->node = (unsigned)node;
    change->tree->nodes[node] = (struct tree_node){ .mode = mode };
}

static void set_size(struct tree_node *node, uint64_t size)
{
    uint8_t *data = realloc(node->data, size + 1);

    assert_non_null(data);
    if (size > node->size)
        memset(data + node->size, 0, size - node->size);
    node->data = data;
    node->size = size;
}

static void do_write(struct change *change)
{
    static const uint64_t limits[] = { 20, 300, 2100, 9000, 9000, 70000, 400000 };
    int index = draw_node(change, S_IFREG);

    if (index < 0)
        return;
    struct tree_node *node = &change->tree->nodes[index];
    uint64_t len = 1 + draw(&change->random, limits[draw(&change->random, 7)]);
    uint64_t offset =
        draw(&change->random, 3) == 0 ? node->size : draw(&change->random, node->size + 5000);
    if (draw(&change->random, 3) == 0)
        offset = offset / 4096 * 4096;
    if (offset + len > SIZE_MAX_OF_FILE)
        offset = SIZE_MAX_OF_FILE - len;
    if (offset + len > node->size)
        set_size(node, offset + len);
    for (uint64_t i = 0; i < len; i++)
        node->data[offset + i] = (uint8_t)(1 + (change->random + i * 7 + i / 251) % 255);
    if (change->volume == NULL)
        return;
    uint64_t ino = resolve(change, (unsigned)index);
    const struct bytes data = { node->data + offset, len };
    assert_int_equal(volume_write(change->volume, ino, offset, data), 0);
    release(change, ino);
}

static void do_truncate(struct change *change)
{
    int index = draw_node(change, S_IFREG);

    if (index < 0)
        return;
    struct tree_node *node = &change->tree->nodes[index];
    uint64_t size = draw(&change->random, 4) == 0 ? draw(&change->random, 3000)
                                                  : draw(&change->random, node->size + 9000);
    set_size(node, size < SIZE_MAX_OF_FILE ? size : SIZE_MAX_OF_FILE);
    if (change->volume == NULL)
        return;
    struct volume_attr attr = { .size = node->size };
    uint64_t ino = resolve(change, (unsigned)index);
    assert_int_equal(volume_setattr(change->volume, ino, &attr, VOLUME_SET_SIZE, &attr), 0);
    release(change, ino);
}

static void do_hole(struct change *change)
{
    int index = draw_node(change, S_IFREG);

    if (index < 0 || change->tree->nodes[index].size == 0)
        return;
    struct tree_node *node = &change->tree->nodes[index];
    uint64_t offset = draw(&change->random, node->size);
    uint64_t len = 1 + draw(&change->random, node->size - offset);
    memset(node->data + offset, 0, len);
    if (change->volume == NULL)
        return;
    uint64_t ino = resolve(change, (unsigned)index);
    assert_int_equal(volume_fallocate(change->volume, ino,
                                      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len),
                     0);
    release(change, ino);
}

static void do_remove(struct change *change)
{
    int index = draw_name(change);

    if (index < 0)
        return;
    struct tree_name *name = &change->tree->names[index];
    struct tree_node *node = &change->tree->nodes[name->node];
    if (S_ISDIR(node->mode) && has_entries(change->tree, name->node))
        return;
    if (change->volume != NULL) {
        uint64_t parent = resolve(change, name->parent);
        assert_int_equal(S_ISDIR(node->mode) ? volume_rmdir(change->volume, parent, name->name)
                                             : volume_unlink(change->volume, parent, name->name),
                         0);
        release(change, parent);
    }
    name->name[0] = '\0';
    if (links_of(change->tree, name->node) > 0)
        return;
    free(node->data);
    *node = (struct tree_node){ .mode = 0 };
}

static void do_rename(struct change *change)
{
    int index = draw_name(change);
    int parent = draw_node(change, S_IFDIR);
    char text[16];

    if (index < 0 || is_below(change->tree, (unsigned)parent, change->tree->names[index].node))
        return;
    struct tree_name *name = &change->tree->names[index];
    (void)snprintf(text, sizeof(text), "r%llx", (unsigned long long)change->random % 0xffffff);
    if (change->volume != NULL) {
        uint64_t from = resolve(change, name->parent);
        uint64_t to = resolve(change, (unsigned)parent);
        assert_int_equal(volume_rename(change->volume, from, name->name, to, text, 0), 0);
        release(change, from);
        release(change, to);
    }
    memcpy(name->name, text, sizeof(text));
    name->parent = (unsigned)parent;
}

static void do_link(struct change *change)
{
    struct tree_name *name = free_name(change->tree);
    int node = draw_node(change, S_IFREG);
    int parent = draw_node(change, S_IFDIR);
    struct volume_attr attr;
    char text[16];

    if (name == NULL || node < 0)
        return;
    (void)snprintf(text, sizeof(text), "l%llx", (unsigned long long)change->random % 0xffffff);
    if (change->volume != NULL) {
        uint64_t ino = resolve(change, (unsigned)node);
        uint64_t to = resolve(change, (unsigned)parent);
        assert_int_equal(volume_link(change->volume, ino, to, text, &attr), 0);
        volume_forget(change->volume, ino, 2);
        release(change, to);
    }
    memcpy(name->name, text, sizeof(text));
    name->parent = (unsigned)parent;
    name->node = (unsigned)node;
}

static void do_xattr(struct change *change)
{
    int index = draw_node(change, draw(&change->random, 4) == 0 ? S_IFDIR : S_IFREG);

    if (index < 0)
        return;
    struct tree_node *node = &change->tree->nodes[index];
    bool is_removed = node->xattr[0] != '\0' && draw(&change->random, 3) == 0;
    (void)snprintf(node->xattr, sizeof(node->xattr), "%llx", (unsigned long long)change->random);
    if (is_removed)
        node->xattr[0] = '\0';
    if (change->volume == NULL)
        return;
    uint64_t ino = resolve(change, (unsigned)index);
    const struct bytes value = { (const uint8_t *)node->xattr, strlen(node->xattr) };
    assert_int_equal(is_removed ? volume_removexattr(change->volume, ino, "user.model")
                                : volume_setxattr(change->volume, ino, "user.model", value, 0),
                     0);
    release(change, ino);
}

static void do_mode(struct change *change)
{
    int index = draw_node(change, draw(&change->random, 2) == 0 ? S_IFDIR : S_IFREG);

    if (index < 0)
        return;
    struct tree_node *node = &change->tree->nodes[index];
    node->mode = (node->mode & S_IFMT) | (uint32_t)draw(&change->random, 01000);
    if (change->volume == NULL)
        return;
    struct volume_attr attr = { .mode = node->mode };
    uint64_t ino = resolve(change, (unsigned)index);
    assert_int_equal(volume_setattr(change->volume, ino, &attr, VOLUME_SET_MODE, &attr), 0);
    release(change, ino);
}

void tree_model_change(struct tree_model *tree, struct volume *volume, uint64_t number)
{
    struct change change = { .tree = tree,
                             .volume = volume,
                             .random = number * 0x9e3779b97f4a7c15u + 12345 };

    (void)draw(&change.random, 2);
    switch (draw(&change.random, 16)) {
    case 0:
    case 1:
        make(&change, S_IFREG | 0644);
        break;
    case 2:
        make(&change, S_IFDIR | 0755);
        break;
    case 3:
        do_truncate(&change);
        break;
    case 4:
        do_hole(&change);
        break;
    case 5:
        do_remove(&change);
        break;
    case 6:
        do_rename(&change);
        break;
    case 7:
        do_link(&change);
        break;
    case 8:
    case 9:
        do_xattr(&change);
        break;
    case 10:
        do_mode(&change);
        break;
    default:
        do_write(&change);
    }
}

struct comparison {
    const struct tree_model *tree;
    struct volume *volume;
    bool is_asserted;
    bool is_same;
};

static void differ(struct comparison *comparison, const char *what, unsigned node)
{
    if (comparison->is_asserted)
        fail_msg("node %u: %s", node, what);
    comparison->is_same = false;
}

static void compare_data(struct comparison *comparison, unsigned index, uint64_t ino)
{
    const struct tree_node *node = &comparison->tree->nodes[index];
    CLEANUP(free_ptr) uint8_t *found = malloc(node->size + 16);
    size_t got = 0;

    assert_non_null(found);
    int r = volume_read(comparison->volume, ino, 0, node->size + 16, found, &got);
    if (r != 0 || got != node->size)
        differ(comparison, "cannot be read, or has another length", index);
    else if (node->size > 0 && memcmp(found, node->data, node->size) != 0)
        differ(comparison, "other content", index);
}

static void compare_xattr(struct comparison *comparison, unsigned index, uint64_t ino)
{
    const char *expected = comparison->tree->nodes[index].xattr;
    uint8_t found[32];
    size_t len = 0;

    int r = volume_getxattr(comparison->volume, ino, "user.model", found, sizeof(found), &len);
    bool is_same = expected[0] == '\0'
                       ? r == -ENODATA
                       : r == 0 && len == strlen(expected) && memcmp(found, expected, len) == 0;
    if (!is_same)
        differ(comparison, "another attribute", index);
}

static int count_entry(const char *name, const struct volume_attr *attr, uint64_t next, void *arg)
{
    (void)attr;
    (void)next;
    *(unsigned *)arg += strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    return 0;
}

/* NOLINTBEGIN(misc-no-recursion): likewise. */
static void compare_node(struct comparison *comparison, unsigned index, uint64_t ino);

static void compare_entries(struct comparison *comparison, unsigned index, uint64_t ino)
{
    unsigned expected = 0;
    unsigned found = 0;
    struct volume_attr attr;

    for (unsigned i = 0; i < TREE_NAMES && comparison->is_same; i++) {
        const struct tree_name *name = &comparison->tree->names[i];
        if (name->name[0] == '\0' || name->parent != index)
            continue;
        expected++;
        if (volume_lookup(comparison->volume, ino, name->name, &attr) != 0) {
            differ(comparison, "a name is missing", index);
            return;
        }
        compare_node(comparison, name->node, attr.ino);
        volume_forget(comparison->volume, attr.ino, 1);
    }
    int r = volume_readdir(comparison->volume, ino, 0, true, count_entry, &found);
    if (comparison->is_same && (r != 0 || found != expected))
        differ(comparison, "more names, or fewer", index);
}

static void compare_node(struct comparison *comparison, unsigned index, uint64_t ino)
{
    const struct tree_node *node = &comparison->tree->nodes[index];
    struct volume_attr attr;

    if (volume_getattr(comparison->volume, ino, &attr) != 0 || attr.ino != ino ||
        (index != 0 && attr.mode != node->mode)) {
        differ(comparison, "other attributes", index);
        return;
    }
    compare_xattr(comparison, index, ino);
    if (S_ISDIR(node->mode)) {
        compare_entries(comparison, index, ino);
        return;
    }
    if (attr.size != node->size || attr.nlink != links_of(comparison->tree, index))
        differ(comparison, "another size or count of links", index);
    else
        compare_data(comparison, index, ino);
}

/* NOLINTEND(misc-no-recursion) */

bool tree_model_compare(const struct tree_model *tree, struct volume *volume, uint64_t root,
                        bool is_asserted)
{
    struct comparison comparison = {
        .tree = tree, .volume = volume, .is_asserted = is_asserted, .is_same = true
    };

    compare_node(&comparison, 0, root);
    return comparison.is_same;
}
