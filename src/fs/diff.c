#include "fs/diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "fs/diff_internal.h"

#define ITEMS_MAX 65536u
#define BATCHES_AT_ONCE 16u /* of the index, in one transaction */

struct diff_item *diff_find(const struct diff_items *items, uint64_t ino)
{
    size_t low = 0;
    size_t high = items->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (items->items[middle].ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low < items->count && items->items[low].ino == ino ? &items->items[low] : NULL;
}

void diff_items_release(struct diff_items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        struct diff_name *name = items->items[i].names;
        free(items->items[i].stays);
        while (name != NULL) {
            struct diff_name *next = name->next;
            free(name);
            name = next;
        }
    }
    free(items->items);
    *items = (struct diff_items){ .items = NULL };
}

int diff_get(struct volume_diff *diff, struct volume_txn *txn, enum diff_side side,
             const struct record_key *key, struct bytes *ret)
{
    txn->snapshot = diff->epochs[side];
    int r = txn_get(txn, key, ret);
    txn->snapshot = 0;
    return r;
}

struct repeated {
    struct volume_diff *diff;
    volume_txn_fn *fn;
    void *arg;
};

/* As long as both snapshots are there, all that they see is. */
static int run_once(struct volume_txn *txn, void *arg)
{
    const struct repeated *repeated = arg;
    const struct volume_diff *diff = repeated->diff;

    for (unsigned side = 0; side < DIFF_SIDES; side++)
        if (diff->epochs[side] != 0 &&
            !snapshot_set_has_kept(&diff->volume->snapshots, diff->epochs[side],
                                   diff->epochs[side]))
            return -ESTALE;
    return repeated->fn(txn, repeated->arg);
}

int diff_repeat(struct volume_diff *diff, volume_txn_fn *fn, void *arg)
{
    struct repeated repeated = { .diff = diff, .fn = fn, .arg = arg };
    int r;

    do
        r = volume_view(diff->volume, run_once, &repeated);
    while (r > 0);
    return r;
}

/* --- which inodes changed --- */

/* Of those from diff->from on that the index names, the first ITEMS_MAX. */
struct gathering {
    struct volume_diff *diff;
    struct record_key from;
    uint64_t *inos; /* twice ITEMS_MAX */
    size_t count;
    uint64_t limit; /* no more than this is of interest */
};

static int compare_inos(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;

    return (*a > *b) - (*a < *b);
}

static void settle(struct gathering *gathering)
{
    size_t kept = 0;

    qsort(gathering->inos, gathering->count, sizeof(gathering->inos[0]), compare_inos);
    for (size_t i = 0; i < gathering->count; i++)
        if (kept == 0 || gathering->inos[kept - 1] != gathering->inos[i])
            gathering->inos[kept++] = gathering->inos[i];
    if (kept > ITEMS_MAX) {
        kept = ITEMS_MAX;
        gathering->limit = gathering->inos[kept - 1];
    }
    gathering->count = kept;
}

/* The inode that a record describes; 0: it is no such record. */
static uint64_t described_inode(const struct record_key *key)
{
    struct bytes bytes = record_key_bytes(key);
    uint8_t lookup[LOOKUP_KEY_LEN];
    uint64_t ino = 0;
    uint32_t chunk;
    int r = -EBADMSG;

    switch (record_kind_of(bytes)) {
    case RECORD_INODE:
        r = record_key_inode(bytes, RECORD_INODE, &ino, NULL);
        break;
    case RECORD_EXTENTS:
        r = record_key_inode(bytes, RECORD_EXTENTS, &ino, &chunk);
        break;
    case RECORD_XATTR:
        r = record_key_lookup(bytes, RECORD_XATTR, &ino, lookup);
        break;
    default:
        break;
    }
    return r < 0 ? 0 : ino;
}

/* Behind all that the newer side sees of the index. */
static uint64_t index_end(const struct volume_diff *diff)
{
    uint64_t epoch = diff->epochs[DIFF_NEW];

    return epoch == 0 ? UINT64_MAX : epoch + 1;
}

typedef int entry_fn(struct volume_txn *txn, const struct record_key *key, void *arg);

/* Some entries of the index. 1: there are more. */
static int walk_index(struct volume_diff *diff, struct volume_txn *txn, struct record_key *from,
                      entry_fn *visit, void *arg)
{
    struct index_batch *index = diff->index;
    struct record_key at = *from;
    int r = 0;

    for (unsigned batches = 0; batches < BATCHES_AT_ONCE; batches++) {
        r = history_index_read(txn, &at, index_end(diff), index);
        for (size_t i = 0; i < index->count && r == 0; i++)
            r = visit(txn, &index->entries[i].key, arg);
        if (r < 0 || !index->has_more)
            return r;
        at = index->next;
    }
    *from = at;
    return 1;
}

static int gather_one(struct volume_txn *txn, const struct record_key *key, void *arg)
{
    struct gathering *gathering = arg;
    uint64_t ino = described_inode(key);

    (void)txn;
    if (ino < gathering->diff->from || ino == 0 || ino > gathering->limit)
        return 0;
    if (gathering->count > 0 && gathering->inos[gathering->count - 1] == ino)
        return 0;
    gathering->inos[gathering->count++] = ino;
    if (gathering->count == (size_t)2 * ITEMS_MAX)
        settle(gathering);
    return 0;
}

static int gather(struct volume_txn *txn, void *arg)
{
    struct gathering *gathering = arg;

    return walk_index(gathering->diff, txn, &gathering->from, gather_one, gathering);
}

/* --- what became of each --- */

static int read_inode(struct volume_diff *diff, struct volume_txn *txn, enum diff_side side,
                      uint64_t ino, struct inode *ret)
{
    struct record_key key;
    struct bytes value;

    inode_key(ino, &key);
    int r = diff_get(diff, txn, side, &key, &value);
    if (r == 0)
        r = txn_refused(txn, inode_decode(value, ret), "a record", ino);
    return r;
}

static unsigned compare_inodes(const struct inode *a, const struct inode *b)
{
    unsigned flags = 0;

    if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->rdev != b->rdev)
        flags |= DIFFERENCE_ATTRIBUTES;
    if (S_ISDIR(a->mode)) /* the rest is told by what is in it */
        return flags;
    if (a->mtime_ns != b->mtime_ns)
        flags |= DIFFERENCE_ATTRIBUTES;
    if (a->size != b->size || a->body_len != b->body_len ||
        memcmp(a->body, b->body, a->body_len) != 0)
        flags |= DIFFERENCE_CONTENT;
    return flags;
}

static int fill_item(struct volume_diff *diff, struct volume_txn *txn, struct diff_item *item)
{
    struct inode inodes[DIFF_SIDES];

    for (unsigned side = 0; side < DIFF_SIDES; side++) {
        int r = read_inode(diff, txn, side, item->ino, &inodes[side]);
        if (r < 0 && r != -ENOENT)
            return r;
        item->is_there[side] = r == 0 && inodes[side].nlink > 0;
        if (!item->is_there[side])
            continue;
        item->type = inodes[side].mode & S_IFMT;
        item->parent[side] = inodes[side].parent;
    }
    if (diff_item_stays(item))
        item->flags = compare_inodes(&inodes[DIFF_OLD], &inodes[DIFF_NEW]);
    return 0;
}

struct filling {
    struct volume_diff *diff;
    struct diff_items *items;
    size_t done;
};

static int fill(struct volume_txn *txn, void *arg)
{
    struct filling *filling = arg;
    size_t end = filling->done + (size_t)BATCHES_AT_ONCE * INDEX_BATCH;
    int r = 0;

    if (end > filling->items->count)
        end = filling->items->count;
    for (size_t i = filling->done; i < end && r == 0; i++)
        r = fill_item(filling->diff, txn, &filling->items->items[i]);
    if (r < 0)
        return r;
    filling->done = end;
    return end < filling->items->count;
}

int diff_items_fill(struct volume_diff *diff, struct diff_items *items, const uint64_t *inos,
                    size_t count)
{
    struct filling filling = { .diff = diff, .items = items };

    items->items = calloc(count + 1, sizeof(*items->items));
    if (items->items == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        items->items[i].ino = inos[i];
    items->count = count;
    return diff_repeat(diff, fill, &filling);
}

static int compare_records(struct volume_diff *diff, struct volume_txn *txn,
                           const struct record_key *key, unsigned flag, struct diff_item *item)
{
    struct bytes values[DIFF_SIDES];
    bool is_there[DIFF_SIDES];

    for (unsigned side = 0; side < DIFF_SIDES; side++) {
        int r = diff_get(diff, txn, side, key, &values[side]);
        if (r < 0 && r != -ENOENT)
            return r;
        is_there[side] = r == 0;
    }
    if (is_there[0] != is_there[1] ||
        (is_there[0] && (values[0].len != values[1].len ||
                         memcmp(values[0].data, values[1].data, values[0].len) != 0)))
        item->flags |= flag;
    return 0;
}

struct second_walk {
    struct volume_diff *diff;
    struct record_key from;
};

static int look_at_record(struct volume_txn *txn, const struct record_key *key, void *arg)
{
    const struct second_walk *walk = arg;
    uint8_t kind = record_kind_of(record_key_bytes(key));

    if (kind == RECORD_DIRENT)
        return diff_note_name(walk->diff, txn, key);
    if (walk->diff->noting != &walk->diff->changed ||
        (kind != RECORD_EXTENTS && kind != RECORD_XATTR))
        return 0;
    unsigned flag = kind == RECORD_EXTENTS ? DIFFERENCE_CONTENT : DIFFERENCE_ATTRIBUTES;
    struct diff_item *item = diff_find(&walk->diff->changed, described_inode(key));
    if (item == NULL || !diff_item_stays(item) || (item->flags & flag))
        return 0;
    return compare_records(walk->diff, txn, key, flag, item);
}

static int look_again(struct volume_txn *txn, void *arg)
{
    struct second_walk *walk = arg;

    return walk_index(walk->diff, txn, &walk->from, look_at_record, walk);
}

int diff_look_again(struct volume_diff *diff)
{
    struct second_walk walk = { .diff = diff };

    history_index_start(diff->epochs[DIFF_OLD], &walk.from);
    return diff_repeat(diff, look_again, &walk);
}

/* The batch that begins with inode from. */
static int load_batch(struct volume_diff *diff, uint64_t from)
{
    CLEANUP(free_ptr) uint64_t *inos = calloc((size_t)2 * ITEMS_MAX, sizeof(*inos));
    struct gathering gathering = { .diff = diff, .inos = inos, .limit = UINT64_MAX };

    diff_items_release(&diff->changed);
    diff_items_release(&diff->folders);
    if (inos == NULL)
        return -ENOMEM;
    diff->from = from;
    history_index_start(diff->epochs[DIFF_OLD], &gathering.from);
    int r = diff_repeat(diff, gather, &gathering);
    if (r < 0)
        return r;
    settle(&gathering);
    bool is_last = gathering.limit == UINT64_MAX;
    diff->end = is_last ? UINT64_MAX : gathering.limit + 1;
    r = diff_items_fill(diff, &diff->changed, inos, gathering.count);
    diff->noting = &diff->changed;
    if (r == 0)
        r = diff_look_again(diff);
    if (r == 0)
        r = diff_complete_names(diff);
    if (r < 0)
        diff->end = diff->from; /* it is not there */
    return r;
}

/* --- telling --- */

struct telling {
    struct volume_diff *diff;
    struct difference_position *position;
    uint32_t count; /* of this inode, so far */
    difference_fn *visit;
    void *arg;
};

static int tell(struct telling *telling, const struct diff_item *item, enum difference_kind kind,
                const struct diff_name *name, const struct diff_name *old)
{
    struct difference_position *position = telling->position;
    char **paths = telling->diff->paths;
    bool is_told = position->ino == item->ino && telling->count < position->count;

    telling->count++;
    if (is_told)
        return 0;
    diff_path(telling->diff, name, paths[0]);
    paths[1][0] = '\0';
    if (old != NULL)
        diff_path(telling->diff, old, paths[1]);
    const struct difference difference = {
        .ino = item->ino,
        .kind = kind,
        .flags = kind == DIFFERENCE_ADDED || kind == DIFFERENCE_REMOVED ? 0 : item->flags,
        .type = item->type,
        .path = paths[0],
        .old_path = paths[1],
    };
    int r = telling->visit(&difference, telling->arg);
    if (r == 0)
        *position = (struct difference_position){ .ino = item->ino, .count = telling->count };
    return r;
}

static const struct diff_name *next_of(const struct diff_name *name, enum diff_side side)
{
    while (name != NULL && name->side != side)
        name = name->next;
    return name;
}

/* Old names and new ones in pairs are renamings; what is left of either was removed or added. */
static int tell_names(struct telling *telling, const struct diff_item *item, bool stays)
{
    const struct diff_name *old = next_of(item->names, DIFF_OLD);
    const struct diff_name *new = next_of(item->names, DIFF_NEW);
    int r = 0;

    while (r == 0 && (old != NULL || new != NULL)) {
        bool is_renamed = stays && old != NULL && new != NULL;
        if (is_renamed)
            r = tell(telling, item, DIFFERENCE_RENAMED, new, old);
        else if (old != NULL)
            r = tell(telling, item, DIFFERENCE_REMOVED, old, NULL);
        if (r == 0 && new != NULL && !is_renamed)
            r = tell(telling, item, DIFFERENCE_ADDED, new, NULL);
        old = old != NULL ? next_of(old->next, DIFF_OLD) : NULL;
        new = new != NULL ? next_of(new->next, DIFF_NEW) : NULL;
    }
    return r;
}

static int tell_item(struct telling *telling, const struct diff_item *item)
{
    int r = 0;

    telling->count = 0;
    if (item->stays != NULL && item->stays->parent != 0) /* else it went meanwhile */
        r = tell(telling, item, DIFFERENCE_CHANGED, item->stays, NULL);
    return r != 0 ? r : tell_names(telling, item, diff_item_stays(item));
}

static int tell_batch(struct telling *telling)
{
    const struct diff_items *items = &telling->diff->changed;
    int r = 0;

    for (size_t i = 0; i < items->count && r == 0; i++)
        if (items->items[i].ino >= telling->position->ino)
            r = tell_item(telling, &items->items[i]);
    return r;
}

static int read_on(struct volume_diff *diff, struct difference_position *position,
                   difference_fn *visit, void *arg)
{
    struct telling telling = { .diff = diff, .position = position, .visit = visit, .arg = arg };
    uint64_t at = position->ino;
    int r = 0;

    do {
        if (at < diff->from || at >= diff->end)
            r = load_batch(diff, at);
        if (r == 0)
            r = tell_batch(&telling);
        at = diff->end;
    } while (r == 0 && at != UINT64_MAX);
    return r;
}

int volume_diff_read(struct volume_diff *diff, struct difference_position *position,
                     difference_fn *visit, void *arg, struct error *err)
{
    int r = read_on(diff, position, visit, arg);

    if (r == -ESTALE)
        return error_set(err, r, "a snapshot was removed while it was compared");
    return r < 0 ? error_set(err, r, "the snapshots cannot be compared: %s", strerrordesc_np(-r))
                 : r;
}

static int find_epoch(struct volume *volume, const char *name, uint64_t *ret, struct error *err)
{
    struct snapshot_entry entry;

    if (!snapshot_set_find(&volume->snapshots, name, &entry))
        return error_set(err, -ENOENT, "there is no snapshot '%s'", name);
    *ret = entry.epoch;
    return 0;
}

static int find_sides(struct volume_diff *diff, const char *older, const char *newer,
                      struct error *err)
{
    int r = find_epoch(diff->volume, older, &diff->epochs[DIFF_OLD], err);

    if (r == 0 && newer != NULL)
        r = find_epoch(diff->volume, newer, &diff->epochs[DIFF_NEW], err);
    if (r == 0 && newer != NULL && diff->epochs[DIFF_NEW] <= diff->epochs[DIFF_OLD])
        r = error_set(err, -EINVAL,
                      "the second snapshot must be newer than the first; name them the other way "
                      "round");
    return r;
}

static struct volume_diff *diff_new(struct volume *volume, const char *older, const char *newer)
{
    struct volume_diff *diff = calloc(1, sizeof(*diff));

    if (diff == NULL)
        return NULL;
    diff->volume = volume;
    (void)snprintf(diff->names[DIFF_OLD], sizeof(diff->names[DIFF_OLD]), "%s", older);
    (void)snprintf(diff->names[DIFF_NEW], sizeof(diff->names[DIFF_NEW]), "%s",
                   newer != NULL ? newer : "");
    diff->index = calloc(1, sizeof(*diff->index));
    for (unsigned i = 0; i < 2; i++)
        diff->paths[i] = malloc(DIFF_PATH_SIZE);
    if (diff->index != NULL && diff->paths[0] != NULL && diff->paths[1] != NULL)
        return diff;
    volume_diff_close(diff);
    return NULL;
}

int volume_diff_open(struct volume *volume, const char *older, const char *newer,
                     struct volume_diff **ret, struct error *err)
{
    struct volume_diff *diff = diff_new(volume, older, newer);

    if (diff == NULL)
        return error_set(err, -ENOMEM, "no memory to compare snapshots");
    int r = find_sides(diff, older, newer, err);
    if (r < 0) {
        volume_diff_close(diff);
        return r;
    }
    *ret = diff;
    return 0;
}

void volume_diff_close(struct volume_diff *diff)
{
    if (diff == NULL)
        return;
    diff_items_release(&diff->changed);
    diff_items_release(&diff->folders);
    free(diff->paths[0]);
    free(diff->paths[1]);
    free(diff->index);
    free(diff);
}

bool volume_diff_is_of(const struct volume_diff *diff, const char *older, const char *newer)
{
    return strcmp(diff->names[DIFF_OLD], older) == 0 &&
           strcmp(diff->names[DIFF_NEW], newer != NULL ? newer : "") == 0;
}
