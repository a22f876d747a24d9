/* What of a downloaded snapshot lies in packs, on its way into segments of its own: much of a pack
 * is read at a time, checked once, and appended as it is. As a rule all that one request brought
 * follows each other: then it is not even copied. */
#include "fs/segments_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"

#define WHOLE_OF_SEGMENT 4u /* a piece is as long as a span only if so many fit into a segment */

/* One span. */
struct fetching {
    struct segments *segments;
    const struct pack_blocks *items;
    size_t count;
    uint32_t offset;    /* in the pack: of what was read */
    struct piece *read; /* into its data */
    size_t got;
    struct segment *sealed_by; /* held; NULL: none yet */
    struct segment_copy *copies;
    size_t copied;
    int failed; /* the first failure; its sentence is in err */
    struct error *err;
};

/* --- whose turn it is --- */

void segments_demand(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments->demands++;
    mutex_unlock(&segments->lock);
}

void segments_demand_end(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments->demands--;
    if (segments->demands == 0)
        (void)pthread_cond_broadcast(&segments->fetch_turn);
    mutex_unlock(&segments->lock);
}

static void begin(struct segments *segments)
{
    mutex_lock(&segments->lock);
    while (segments->fetching >= (segments->demands > 0 ? 1 : SEGMENT_FETCHES_MAX))
        cond_wait(&segments->fetch_turn, &segments->lock);
    segments->fetching++;
    mutex_unlock(&segments->lock);
}

static void end(struct segments *segments)
{
    mutex_lock(&segments->lock);
    segments->fetching--;
    (void)pthread_cond_broadcast(&segments->fetch_turn);
    mutex_unlock(&segments->lock);
}

/* --- reading --- */

static int read_span(struct fetching *fetching, const struct pack_span *span)
{
    struct segments *segments = fetching->segments;
    struct segment *pack;

    int r = segment_hold(segments, &fetching->items[0].pack, &pack, fetching->err);
    if (r < 0)
        return r;
    r = object_read(pack->object, span->offset, span->len, fetching->read->data, &fetching->got,
                    fetching->err);
    segment_reader_put(segments, pack);
    return r;
}

static void let_cipher_go(struct fetching *fetching)
{
    if (fetching->sealed_by != NULL)
        segment_reader_put(fetching->segments, TAKE(fetching->sealed_by));
}

static int take_cipher(struct fetching *fetching, const struct uuid *segment, struct error *err)
{
    if (fetching->sealed_by != NULL && uuid_equal(&fetching->sealed_by->id, segment))
        return 0;
    let_cipher_go(fetching);
    return segment_hold(fetching->segments, segment, &fetching->sealed_by, err);
}

/* What was read of an item. */
static struct bytes sealed_of(const struct fetching *fetching, const struct pack_blocks *item)
{
    const size_t skip = item->offset - fetching->offset, len = block_run_sealed(&item->run);
    const size_t left = fetching->got > skip ? fetching->got - skip : 0;

    return (struct bytes){ fetching->read->data + skip, len < left ? len : left };
}

static int altered(const struct pack_blocks *item, uint32_t block, bool is_there, int r,
                   struct error *err)
{
    char id[2 * UUID_LEN + 1];

    hex_encode((struct bytes){ item->pack.bytes, UUID_LEN }, id); /* as the bucket has it */
    return error_set(err, r, "what lies at byte %u of pack %s cannot be opened: %s",
                     item->offset + block * (item->run.block_len + BLOCK_OVERHEAD), id,
                     r != -EBADMSG ? strerrordesc_np(-r)
                     : is_there    ? "it was altered"
                                   : "it is not there");
}

static int check_item(struct fetching *fetching, const struct pack_blocks *item, struct error *err)
{
    const struct bytes sealed = sealed_of(fetching, item);
    uint32_t bad = 0;

    int r = take_cipher(fetching, &item->identity.segment, err);
    if (r < 0)
        return r;
    r = pack_blocks_check(item, fetching->sealed_by->aead, sealed, &bad);
    return r < 0 ? altered(item, bad, sealed.len == block_run_sealed(&item->run), r, err) : 0;
}

/* --- appending --- */

static bool follows(const struct pack_blocks *left, const struct pack_blocks *right)
{
    const uint32_t len = (uint32_t)block_run_sealed(&left->run);

    return left->offset + len == right->offset && left->run.address + len == right->run.address &&
           left->identity.address + len == right->identity.address &&
           left->identity.generation == right->identity.generation &&
           uuid_equal(&left->identity.segment, &right->identity.segment) &&
           uuid_equal(&left->identity.fs, &right->identity.fs) &&
           uuid_equal(&left->run.segment, &right->run.segment);
}

static uint32_t len_of(const struct pack_blocks *items, size_t count)
{
    const struct pack_blocks *last = &items[count - 1];

    return last->offset + (uint32_t)block_run_sealed(&last->run) - items[0].offset;
}

/* What the piece holds: all but its data. */
static int describe_piece(struct piece *piece, const struct pack_blocks *items, size_t count)
{
    int r = piece_entries(piece, count);

    if (r < 0)
        return r;
    piece->identity = items[0].identity;
    piece->offset = items[0].offset;
    piece->len = len_of(items, count);
    piece->entry_count = (unsigned)count;
    for (size_t i = 0; i < count; i++)
        piece->entries[i] = (struct segment_entry){ .offset = items[i].offset,
                                                    .count = items[i].run.count,
                                                    .block_len = items[i].run.block_len,
                                                    .ino = items[i].ino,
                                                    .file_offset = items[i].file_offset,
                                                    .identity = items[i].identity };
    return 0;
}

/* The piece, which is taken. */
static int store_in(struct fetching *fetching, struct lane *lane, struct piece *piece,
                    const struct block_run *run, struct error *err)
{
    struct segments *segments = fetching->segments;
    struct room room;

    int r = segment_reserve_in(segments, lane, piece->len, false, &room, err);
    if (r != 0) {
        piece_free(segments, piece);
        return r;
    }
    r = segment_write_copy(segments, &room, piece, run, &fetching->copies[fetching->copied], err);
    if (r == 0)
        fetching->copied++;
    return r;
}

static int store(struct fetching *fetching, struct piece *piece, const struct block_run *run,
                 struct error *err)
{
    struct segments *segments = fetching->segments;

    int r = segments_push_back(segments, err);
    if (r < 0) {
        piece_free(segments, piece);
        return r;
    }
    struct lane *lane = segments_take_lane(segments);
    r = store_in(fetching, lane, piece, run, err);
    segments_give_lane(segments, lane);
    return r;
}

/* Items that follow each other: one copy. */
static int append(struct fetching *fetching, const struct pack_blocks *items, size_t count,
                  struct error *err)
{
    struct piece *piece = piece_new(fetching->segments, len_of(items, count));

    if (piece == NULL || describe_piece(piece, items, count) < 0) {
        piece_free(fetching->segments, piece);
        return error_set(err, -ENOMEM, "no memory to fetch blocks");
    }
    memcpy(piece->data, sealed_of(fetching, items).data, piece->len);
    return store(fetching, piece, &items[0].run, err);
}

static void note(struct fetching *fetching, int r, const struct error *why)
{
    if (r == 0 || fetching->failed < 0)
        return;
    fetching->failed = r;
    *fetching->err = *why;
}

/* From the first item on, as many as are good and follow each other; returns how many were dealt
 * with. */
static size_t fetch_some(struct fetching *fetching, const struct pack_blocks *items, size_t count)
{
    struct error why = { .code = 0 };
    size_t good = 0;
    int r = 0;

    while (good < count && r == 0 &&
           (good == 0 ||
            (follows(&items[good - 1], &items[good]) && len_of(items, good + 1) <= PIECE_ROOM))) {
        r = check_item(fetching, &items[good], &why);
        good += r == 0 ? 1 : 0;
    }
    size_t done = r < 0 ? good + 1 : good;
    note(fetching, r == -ENOENT ? 0 : r, &why); /* -ENOENT: it was freed since it was found */
    if (good > 0)
        note(fetching, append(fetching, items, good, &why), &why);
    return done;
}

/* The span is what one piece may be. */
static bool is_whole(const struct fetching *fetching)
{
    const struct pack_blocks *items = fetching->items;
    size_t i = 1;

    while (i < fetching->count && follows(&items[i - 1], &items[i]))
        i++;
    return i == fetching->count &&
           len_of(items, i) <= fetching->segments->segment_size / WHOLE_OF_SEGMENT;
}

/* All of it at once, if it is one piece and as it should be; else nothing was done. */
static bool fetch_whole(struct fetching *fetching)
{
    struct error why = { .code = 0 };
    size_t good = 0;

    if (!is_whole(fetching))
        return false;
    while (good < fetching->count && check_item(fetching, &fetching->items[good], &why) == 0)
        good++;
    if (good < fetching->count || describe_piece(fetching->read, fetching->items, good) < 0)
        return false;
    note(fetching, store(fetching, TAKE(fetching->read), &fetching->items[0].run, &why), &why);
    return true;
}

static int fetch_all(struct fetching *fetching, const struct pack_span *span)
{
    fetching->read = piece_new(fetching->segments, span->len);
    if (fetching->read == NULL)
        return error_set(fetching->err, -ENOMEM, "no memory to fetch blocks");
    int r = read_span(fetching, span);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!fetch_whole(fetching))
        for (size_t i = 0; i < fetching->count;)
            i += fetch_some(fetching, &fetching->items[i], fetching->count - i);
    return fetching->failed;
}

int segments_fetch(struct segments *segments, const struct pack_blocks_list *list,
                   const struct pack_span *span, struct segment_copy *ret, size_t *ret_count,
                   struct error *err)
{
    struct error why = { .code = 0 };
    struct fetching fetching = { .segments = segments,
                                 .items = &list->items[span->first],
                                 .count = span->count,
                                 .offset = span->offset,
                                 .copies = ret,
                                 .err = &why };

    begin(segments);
    int r = fetch_all(&fetching, span);
    let_cipher_go(&fetching);
    piece_free(segments, fetching.read);
    end(segments);
    *ret_count = fetching.copied;
    if (r < 0 && err != NULL)
        *err = why;
    return r;
}

/* --- the table --- */

/* What was freed since is left behind: it is not in use any more. */
static int fetched_one(struct segments *segments, const struct segment_copy *copy)
    REQUIRES(segments->lock)
{
    struct segment *segment = segment_find(segments, &copy->segment);
    struct segment *object = segment_find(segments, &copy->object);
    uint32_t first = copy->address, end = first + copy->len;

    if (object == NULL)
        return -ENOENT;
    if (segment == NULL)
        return 0;
    int r = segment_split_location(segment, first);
    if (r == 0)
        r = segment_split_location(segment, end);
    if (r < 0)
        return r;
    for (size_t i = segment_find_location(segment, first);
         i < segment->moved_count && segment->moved[i].first < end; i++) {
        struct location *location = &segment->moved[i];
        bool is_freed = location->live == 0 && !segments->needs_recount;
        if (location->object->kind != SEGMENT_PACK || is_freed)
            continue;
        location->object->is_shifted = true;
        object->is_shifted = true;
        segment_account(segments, location->object, -(int64_t)location->live);
        segment_account(segments, object, location->live);
        location->object = object;
        location->offset = copy->offset + (location->first - first);
        location->is_changed = true;
        segment_changed(segments, segment);
    }
    return 0;
}

int segments_fetched(struct segments *segments, const struct segment_copy *copies, size_t count)
{
    int r = 0;

    mutex_lock(&segments->lock);
    for (size_t i = 0; i < count && r == 0; i++)
        r = fetched_one(segments, &copies[i]);
    mutex_unlock(&segments->lock);
    return r;
}
