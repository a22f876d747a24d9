/* Names of what changed. An entry of a directory that changed is in the index; of other inodes a
 * name is found by looking through all names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/diff_internal.h"

#define NAMES_AT_ONCE 8192u /* in one transaction */
#define DEPTH_MAX DIFF_PATH_MAX

static struct diff_name *name_new(enum diff_side side, uint64_t parent,
                                  const struct dirent_record *dirent)
{
    struct diff_name *name = malloc(sizeof(*name) + dirent->name_len);

    if (name == NULL)
        return NULL;
    *name = (struct diff_name){ .side = side, .parent = parent, .len = dirent->name_len };
    memcpy(name->text, dirent->name, dirent->name_len);
    return name;
}

/* The same key may be in the index more than once. */
static bool has_name(const struct diff_item *item, enum diff_side side, uint64_t parent,
                     const struct dirent_record *dirent)
{
    for (const struct diff_name *name = item->names; name != NULL; name = name->next)
        if (name->side == side && name->parent == parent && name->len == dirent->name_len &&
            memcmp(name->text, dirent->name, name->len) == 0)
            return true;
    return false;
}

static int add_name(struct volume_diff *diff, enum diff_side side, uint64_t parent,
                    const struct dirent_record *dirent)
{
    struct diff_item *item = diff_find(diff->noting, dirent->ino);

    if (item == NULL || has_name(item, side, parent, dirent))
        return 0;
    struct diff_name *name = name_new(side, parent, dirent);
    if (name == NULL)
        return -ENOMEM;
    name->next = item->names;
    item->names = name;
    return 0;
}

int diff_note_name(struct volume_diff *diff, struct volume_txn *txn, const struct record_key *key)
{
    struct dirent_record entries[DIFF_SIDES] = { { .ino = 0 } };
    uint8_t lookup[LOOKUP_KEY_LEN];
    struct bytes value;
    uint64_t parent = 0;

    int r = record_key_lookup(record_key_bytes(key), RECORD_DIRENT, &parent, lookup);
    for (unsigned side = 0; side < DIFF_SIDES && r == 0; side++) {
        r = diff_get(diff, txn, side, key, &value);
        if (r == 0)
            r = dirent_decode(value, &entries[side]);
        r = r == -ENOENT ? 0 : r;
    }
    if (r < 0 || entries[DIFF_OLD].ino == entries[DIFF_NEW].ino)
        return r;
    for (unsigned side = 0; side < DIFF_SIDES && r == 0; side++)
        if (entries[side].ino != 0)
            r = add_name(diff, side, parent, &entries[side]);
    return r;
}

/* --- all names --- */

struct search {
    struct volume_diff *diff;
    struct diff_items *items;
    size_t missing;
    size_t seen; /* in this transaction */
    struct record_key from;
    struct record_key end;
    int r;
};

static bool is_changed_in_place(const struct diff_item *item)
{
    bool has[DIFF_SIDES] = { false };

    for (const struct diff_name *name = item->names; name != NULL; name = name->next)
        has[name->side] = true;
    return diff_item_stays(item) && item->flags != 0 && !(has[DIFF_OLD] && has[DIFF_NEW]);
}

static bool is_folder_in_place(const struct diff_item *item)
{
    return item->names == NULL;
}

typedef bool wants_name_fn(const struct diff_item *item);

static int visit_name(struct bytes key, struct bytes value, void *arg)
{
    struct search *search = arg;
    uint8_t lookup[LOOKUP_KEY_LEN];
    struct dirent_record dirent = { .ino = 0 };
    uint64_t parent = 0;

    if (search->seen++ == NAMES_AT_ONCE) {
        memcpy(search->from.data, key.data, key.len);
        search->from.len = key.len;
        return 1;
    }
    search->r = record_key_lookup(key, RECORD_DIRENT, &parent, lookup);
    if (search->r == 0)
        search->r = dirent_decode(value, &dirent);
    if (search->r < 0)
        return 2;
    struct diff_item *item = diff_find(search->items, dirent.ino);
    if (item == NULL || item->stays == NULL || item->stays->parent != 0)
        return 0;
    struct diff_name *name = name_new(DIFF_NEW, parent, &dirent);
    if (name == NULL)
        search->r = -ENOMEM;
    else
        free(item->stays);
    if (name != NULL)
        item->stays = name;
    return name == NULL || --search->missing == 0 ? 2 : 0;
}

static int search_some(struct volume_txn *txn, void *arg)
{
    struct search *search = arg;

    search->seen = 0;
    search->r = 0;
    txn->snapshot = search->diff->epochs[DIFF_NEW];
    int r = txn_scan(txn, &search->from, &search->end, visit_name, search);
    txn->snapshot = 0;
    return r == 2 ? search->r : r;
}

/* What wants a name has one without a parent until it is found, and none if it is not. */
static int find_names(struct volume_diff *diff, struct diff_items *items, wants_name_fn *wants)
{
    static const struct dirent_record nothing = { .name_len = 0 };
    struct search search = { .diff = diff, .items = items };
    int r = 0;

    for (size_t i = 0; i < items->count; i++) {
        if (items->items[i].ino == VOLUME_ROOT || !wants(&items->items[i]))
            continue;
        items->items[i].stays = name_new(DIFF_NEW, 0, &nothing);
        if (items->items[i].stays == NULL)
            return -ENOMEM;
        search.missing++;
    }
    kind_range(RECORD_DIRENT, &search.from, &search.end);
    if (search.missing > 0)
        r = diff_repeat(diff, search_some, &search);
    return r;
}

/* --- the folders that lead to what changed --- */

struct inos {
    uint64_t *items;
    size_t count;
    size_t room;
};

static void inos_release(struct inos *inos)
{
    free(inos->items);
}

static int inos_add(struct inos *inos, uint64_t ino)
{
    if (ino == 0 || ino == VOLUME_ROOT || (inos->count > 0 && inos->items[inos->count - 1] == ino))
        return 0;
    if (inos->count == inos->room) {
        size_t room = inos->room == 0 ? 256 : 2 * inos->room;
        uint64_t *items = reallocarray(inos->items, room, sizeof(*items));
        if (items == NULL)
            return -ENOMEM;
        inos->items = items;
        inos->room = room;
    }
    inos->items[inos->count++] = ino;
    return 0;
}

static int compare_inos(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return (*a > *b) - (*a < *b);
}

static void inos_settle(struct inos *inos)
{
    size_t kept = 0;

    if (inos->count == 0)
        return;
    qsort(inos->items, inos->count, sizeof(inos->items[0]), compare_inos);
    for (size_t i = 0; i < inos->count; i++)
        if (kept == 0 || inos->items[kept - 1] != inos->items[i])
            inos->items[kept++] = inos->items[i];
    inos->count = kept;
}

static int add_parents_of_names(const struct diff_items *items, struct inos *ret)
{
    int r = 0;

    for (size_t i = 0; i < items->count && r == 0; i++) {
        const struct diff_item *item = &items->items[i];
        for (const struct diff_name *name = item->names; name != NULL && r == 0; name = name->next)
            r = inos_add(ret, name->parent);
        if (r == 0 && item->stays != NULL)
            r = inos_add(ret, item->stays->parent);
    }
    return r;
}

/* Until none is new. */
static int find_folders(struct volume_diff *diff)
{
    CLEANUP(inos_release) struct inos inos = { .items = NULL };
    size_t known = SIZE_MAX;
    int r = add_parents_of_names(&diff->changed, &inos);

    inos_settle(&inos);
    while (r == 0 && inos.count != known) {
        known = inos.count;
        diff_items_release(&diff->folders);
        r = diff_items_fill(diff, &diff->folders, inos.items, inos.count);
        for (size_t i = 0; i < diff->folders.count && r == 0; i++)
            for (unsigned side = 0; side < DIFF_SIDES && r == 0; side++)
                r = inos_add(&inos, diff->folders.items[i].parent[side]);
        inos_settle(&inos);
    }
    return r;
}

int diff_complete_names(struct volume_diff *diff)
{
    int r = find_names(diff, &diff->changed, is_changed_in_place);

    if (r == 0)
        r = find_folders(diff);
    if (r < 0 || diff->folders.count == 0)
        return r;
    diff->noting = &diff->folders;
    r = diff_look_again(diff);
    return r < 0 ? r : find_names(diff, &diff->folders, is_folder_in_place);
}

/* --- paths --- */

static const struct diff_name *folder_name(const struct diff_item *folder, enum diff_side side)
{
    for (const struct diff_name *name = folder->names; name != NULL; name = name->next)
        if (name->side == side)
            return name;
    return folder->stays != NULL && folder->stays->parent != 0 ? folder->stays : NULL;
}

/* In front of what begins at *at. False: there is no room. */
static bool put_in_front(char *room, size_t *at, const char *text, size_t len)
{
    if (*at < len + 4)
        return false;
    *at -= len;
    memcpy(room + *at, text, len);
    return true;
}

/* How many bytes at the start are one character of UTF-8 that may be printed; 0: none is. */
static size_t printable(const uint8_t *text, size_t len)
{
    uint32_t code = text[0];
    size_t more = code < 0x80 ? 0 : code < 0xe0 ? 1 : code < 0xf0 ? 2 : 3;
    static const uint32_t least[] = { 0x20, 0xa0, 0x800, 0x10000 };

    if (code < 0x80)
        return code >= 0x20 && code != 0x7f && code != '\\';
    if (code < 0xc2 || code > 0xf4 || len <= more)
        return 0;
    code &= 0x3fu >> more;
    for (size_t i = 1; i <= more; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    bool is_possible = code >= least[more] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return is_possible ? more + 1 : 0;
}

static void make_safe(const char *from, size_t len, char *ret)
{
    const uint8_t *text = (const uint8_t *)from;

    while (len > 0) {
        size_t as_it_is = printable(text, len);
        size_t step = as_it_is > 0 ? as_it_is : 1;
        if (as_it_is > 0) {
            memcpy(ret, text, as_it_is);
            ret += as_it_is;
        } else {
            *ret++ = '\\';
            *ret++ = (char)('0' + (text[0] >> 6));
            *ret++ = (char)('0' + (text[0] >> 3 & 7));
            *ret++ = (char)('0' + (text[0] & 7));
        }
        text += step;
        len -= step;
    }
    *ret = '\0';
}

void diff_path(const struct volume_diff *diff, const struct diff_name *name, char *ret)
{
    enum diff_side side = name->side;
    char room[DIFF_PATH_MAX];
    size_t at = sizeof(room);
    bool fits = true;

    for (unsigned depth = 0; fits && depth < DEPTH_MAX; depth++) {
        fits = put_in_front(room, &at, name->text, name->len);
        if (!fits || name->parent == VOLUME_ROOT)
            break;
        const struct diff_item *folder = diff_find(&diff->folders, name->parent);
        name = folder != NULL ? folder_name(folder, side) : NULL;
        fits = put_in_front(room, &at, "/", 1) && name != NULL;
    }
    if (!fits) /* too long, or what it is changed while it was looked at */
        (void)put_in_front(room, &at, "...", 3);
    make_safe(room + at, sizeof(room) - at, ret);
}
