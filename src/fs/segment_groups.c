/* The account on its way into the metadata: usage and location records of each group, ids that
 * are announced before they are used, and objects that nothing uses any more.
 *
 *   drawn ─group─► announcing ─durable─► announced ─superblock─► usable ──► current
 *   closed, nothing live ─group─► dying ─durable─► dead ─object deleted─► record removed */
#include "fs/segments_internal.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"

static int put_usage(struct meta_txn *txn, const struct segment *segment, struct error *err)
{
    const struct usage_record usage = { .state = segment->state,
                                        .generation = segment->generation,
                                        .size = segment->size,
                                        .live = segment->live };
    uint8_t value[USAGE_VALUE_LEN];
    struct record_key key;
    size_t len;

    usage_key(&segment->id, &key);
    int r = usage_encode(&usage, value, &len);
    if (r < 0)
        return error_set(err, r, "the usage of a segment cannot be stored");
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = value, .len = len }, err);
}

/* A range that was rescued before the transaction that it belongs to was accounted for is counted
 * twice until the recount that is due then. */
static uint32_t live_of(const struct location *location)
{
    return location->live < location->len ? location->live : location->len;
}

static int put_location(struct meta_txn *txn, const struct segment *segment,
                        const struct location *location, struct error *err)
{
    const struct location_record record = { .len = location->len,
                                            .live = live_of(location),
                                            .object = location->object->id,
                                            .offset = location->offset,
                                            .identity = location->identity };
    uint8_t value[LOCATION_VALUE_LEN];
    struct record_key key;
    size_t len;

    location_key(&segment->id, location->first, &key);
    int r = location_encode(&record, value, &len);
    if (r < 0)
        return error_set(err, r, "the location of blocks cannot be stored");
    return meta_put(txn, record_key_bytes(&key), (struct bytes){ .data = value, .len = len }, err);
}

/* Counts say for certain that nothing in use would be given up. */
static bool may_give_up(const struct segments *segments, const struct segment *segment)
    REQUIRES(segments->lock)
{
    return segment->pending == 0 && segments->unsettled == 0 && !segments->needs_recount;
}

static bool is_dead(const struct segments *segments, const struct segment *segment)
    REQUIRES(segments->lock)
{
    bool is_ended = segment->state == SEGMENT_CLOSED || segment->state == SEGMENT_ENDED;

    /* A victim's object is read until the round is over. */
    return is_ended && segment->live == 0 && segment->writer == NULL && !segment->is_dirty &&
           !segment->is_victim && may_give_up(segments, segment);
}

static int put_locations(struct segments *segments, struct meta_txn *txn, struct segment *segment,
                         struct error *err) REQUIRES(segments->lock)
{
    bool drop = may_give_up(segments, segment) && !segments->is_checking;
    struct record_key key;

    for (size_t i = 0; i < segment->moved_count;) {
        struct location *location = &segment->moved[i];
        int r = 0;
        if (location->live == 0 && drop) {
            location_key(&segment->id, location->first, &key);
            r = meta_remove(txn, record_key_bytes(&key), err);
            if (r == 0)
                segments_drop_dead_location(segments, segment, i);
        } else {
            if (location->is_changed)
                r = put_location(txn, segment, location, err);
            location->is_changed = r < 0;
            i++;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* Returns 1 if the segment is forgotten now. */
static int put_segment(struct segments *segments, struct meta_txn *txn, struct segment *segment,
                       struct error *err) REQUIRES(segments->lock)
{
    struct record_key key;

    int r = put_locations(segments, txn, segment, err);
    if (r < 0)
        return r;
    bool is_empty = segment->moved_count == 0 && segment->pending == 0 && !segments->is_checking;
    if (segment->kind != SEGMENT_OWN) /* which has no record */
        return segment->kind == SEGMENT_FOREIGN && is_empty;
    if (segment->is_deleted && is_empty) {
        usage_key(&segment->id, &key);
        r = meta_remove(txn, record_key_bytes(&key), err);
        return r < 0 ? r : 1;
    }
    if (is_dead(segments, segment)) {
        segment->state = SEGMENT_DEAD;
        segment_list_push(&segments->dying, segment);
    }
    return put_usage(txn, segment, err);
}

bool segment_is_to_forget(const struct segment *segment)
{
    for (size_t i = 0; i < segment->moved_count; i++)
        if (segment->moved[i].live == 0)
            return true;
    return segment->is_deleted && segment->moved_count == 0;
}

/* A segment that is not settled yet stays for the next group. */
static bool stays_changed(const struct segments *segments, const struct segment *segment)
    REQUIRES(segments->lock)
{
    bool is_ended = segment->state == SEGMENT_CLOSED || segment->state == SEGMENT_ENDED;

    if (is_ended && segment->live == 0 && !segment->is_deleted)
        return true;
    return !segments->is_checking && segment_is_to_forget(segment);
}

static int put_changed(struct segments *segments, struct meta_txn *txn, struct error *err)
    REQUIRES(segments->lock)
{
    struct segment *next = TAKE(segments->changed_first);
    int r = 0;

    while (next != NULL) {
        struct segment *segment = next;
        next = segment->next_changed;
        segment->is_changed = false;
        if (r >= 0)
            r = put_segment(segments, txn, segment, err);
        if (r == 1)
            segment_drop(segments, segment);
        else if (r < 0 || stays_changed(segments, segment))
            segment_changed(segments, segment);
    }
    return r < 0 ? r : 0;
}

static int announce(struct segments *segments, struct meta_txn *txn, struct error *err)
    REQUIRES(segments->lock)
{
    unsigned known = segments->usable.count + segments->announced.count;

    for (; known + segments->announcing.count < IDS_FULL;) {
        struct uuid id;
        random_uuid(&id);
        struct segment *segment = segment_add(segments, &id);
        if (segment == NULL)
            return error_set(err, -ENOMEM, "no memory for a segment");
        segment->state = SEGMENT_ANNOUNCED;
        segment_list_push(&segments->announcing, segment);
        int r = put_usage(txn, segment, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int put_recount(struct segments *segments, struct meta_txn *txn, struct error *err)
    REQUIRES(segments->lock)
{
    struct record_key key;

    state_key(STATE_RECOUNT, &key);
    if (segments->needs_recount) {
        segments->recount_noted = true;
        return meta_put(txn, record_key_bytes(&key), (struct bytes){ 0 }, err);
    }
    if (!segments->recount_noted)
        return 0;
    segments->recount_noted = false;
    return meta_remove(txn, record_key_bytes(&key), err);
}

/* What was put is taken back. */
static void put_all_again(struct segments *segments) REQUIRES(segments->lock)
{
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket) {
            for (size_t k = 0; k < s->moved_count; k++)
                s->moved[k].is_changed = true;
            segment_changed(segments, s);
        }
}

/* Extra records that are still here were noted since the group before was written, and the table
 * has had them since: this group has it all, and maybe what was changed after them, by a recount
 * and a compaction. As they come last in a group, they would bring back where blocks were before.
 */
int segments_close_group(struct segments *segments, struct meta_txn *txn, struct error *err)
{
    mutex_lock(&segments->lock);
    unsigned known =
        segments->usable.count + segments->announced.count + segments->announcing.count;
    int r = put_recount(segments, txn, err);
    if (r == 0)
        r = put_changed(segments, txn, err);
    if (r == 0 && known < IDS_LOW)
        r = announce(segments, txn, err);
    if (r == 0)
        segments->extra_count = 0;
    else
        put_all_again(segments);
    mutex_unlock(&segments->lock);
    return r;
}

int segments_group_record(struct segments *segments, unsigned index, struct bytes *ret_key,
                          struct bytes *ret_plain)
{
    int r = -ENOENT;

    mutex_lock(&segments->lock);
    if (index == 0)
        segments->extra_sent = segments->extra_count;
    if (index < segments->extra_sent) {
        const struct extra_record *extra = &segments->extra_given;
        segments->extra_given = segments->extras[index]; /* these move when more are noted */
        *ret_key = record_key_bytes(&extra->key);
        *ret_plain = (struct bytes){ .data = extra->value, .len = extra->len };
        r = 0;
    }
    mutex_unlock(&segments->lock);
    return r;
}

static void move_list(struct segment_list *to, struct segment_list *from)
{
    struct segment *segment;

    while ((segment = segment_list_pop(from)) != NULL)
        segment_list_push(to, segment);
}

void segments_group_end(struct segments *segments, bool is_durable)
{
    mutex_lock(&segments->lock);
    if (is_durable) {
        segments->extra_count -= segments->extra_sent;
        if (segments->extra_sent > 0)
            memmove(segments->extras, segments->extras + segments->extra_sent,
                    segments->extra_count * sizeof(struct extra_record));
        move_list(&segments->announced, &segments->announcing);
        move_list(&segments->dead, &segments->dying);
    }
    segments->extra_sent = 0;
    mutex_unlock(&segments->lock);
}

void segments_confirm(struct segments *segments, unsigned count)
{
    mutex_lock(&segments->lock);
    for (; count > 0 && segments->announced.count > 0; count--)
        segment_list_push(&segments->usable, segment_list_pop(&segments->announced));
    (void)pthread_cond_broadcast(&segments->changed);
    mutex_unlock(&segments->lock);
}

unsigned segments_announced(struct segments *segments)
{
    mutex_lock(&segments->lock);
    unsigned count = segments->announced.count;
    mutex_unlock(&segments->lock);
    return count;
}

void segments_ids_failed(struct segments *segments, const struct error *why)
{
    mutex_lock(&segments->lock);
    segments->id_failures++;
    segments->id_error = *why;
    (void)pthread_cond_broadcast(&segments->changed);
    mutex_unlock(&segments->lock);
}

/* One object; false if there is none, or the store does not let it go now. */
static bool delete_one(struct segments *segments)
{
    char name[SEGMENT_NAME_SIZE];

    mutex_lock(&segments->lock);
    struct segment *segment = segment_list_pop(&segments->dead);
    if (segment != NULL)
        segment_object_name(&segment->id, name);
    mutex_unlock(&segments->lock);
    if (segment == NULL)
        return false;
    int r = object_store_remove(segments->store, name, NULL);

    mutex_lock(&segments->lock);
    if (r < 0) {
        segment_list_push(&segments->dead, segment);
    } else {
        segments->stored -= segment->size;
        segment->size = 0;
        segment->is_deleted = true;
        if (segment->readers == 0)
            segment_close_reader(segments, segment); /* it would keep the room on the disk */
        segment_changed(segments, segment);
    }
    mutex_unlock(&segments->lock);
    return r == 0;
}

bool segments_delete_dead(struct segments *segments)
{
    bool has_deleted = false;

    while (delete_one(segments))
        has_deleted = true;
    return has_deleted;
}
