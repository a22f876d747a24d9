/* Objects against the account: the store's side of a check. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "fs/segments_internal.h"

#define END_LEN ((size_t)16 * 1024) /* room for the footer of most segments */
#define AT_ONCE 4u                  /* of a store that is far away */

void segments_check_begin(struct segments *segments)
{
    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket) {
            s->check_expected = s->live;
            s->check_found = 0;
            s->is_checked = true;
            s->is_shifted = false;
        }
    segments->is_checking = true;
    mutex_unlock(&segments->lock);
}

/* What was kept for it goes with the next group. */
void segments_check_end(struct segments *segments)
{
    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count && segments->is_checking; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            if (segment_is_to_forget(s))
                segment_changed(segments, s);
    segments->is_checking = false;
    mutex_unlock(&segments->lock);
}

int segments_check_run(struct segments *segments, const struct block_run *run)
{
    uint64_t left = block_run_sealed(run);
    uint32_t address = run->address;
    struct place place;
    int r = 0;

    mutex_lock(&segments->lock);
    while (left > 0 && r == 0) {
        r = segment_resolve(segments, &run->segment, address, &place);
        if (r < 0)
            break;
        uint32_t part = left < place.len ? (uint32_t)left : place.len;
        place.object->check_found += part;
        address += part;
        left -= part;
    }
    mutex_unlock(&segments->lock);
    return r;
}

struct object_check {
    struct segments *segments;
    segments_report_fn *report;
    void *arg;
};

static void fault(const struct object_check *check, const struct uuid *id, const char *what)
{
    char text[UUID_TEXT_SIZE];
    struct error sentence = { 0 };

    uuid_format(id, text);
    error_write(&sentence, -EIO, "Segment %s %s.", text, what);
    check->report(sentence.text, check->arg);
}

/* Objects come and go while they are checked: what is no longer in use is no fault. */
static bool is_in_use(struct segments *segments, const struct uuid *id)
{
    mutex_lock(&segments->lock);
    const struct segment *segment = segment_find(segments, id);
    bool is = segment != NULL && segment->live > 0 && !segment->is_deleted;
    mutex_unlock(&segments->lock);
    return is;
}

static int visit_object(const char *name, uint64_t size, void *arg)
    THREAD_CHECK(no_thread_safety_analysis)
{
    struct object_check *check = arg;
    struct uuid id;

    if (segment_of_object_name(name, &id) < 0) {
        check->report("The store holds an object among the segments that is none.", check->arg);
        return 0;
    }
    mutex_lock(&check->segments->lock);
    bool is_known = segment_find(check->segments, &id) != NULL;
    mutex_unlock(&check->segments->lock);
    if (!is_known && object_store_stat(check->segments->store, name, &size, NULL) != -ENOENT)
        fault(check, &id, "is in the store, but the metadata does not know it");
    return 0;
}

static int check_header(const struct segments *segments, const struct segment *segment,
                        struct object *object)
{
    const struct block_identity identity = { .fs = segments->fs,
                                             .generation = segment->generation,
                                             .segment = segment->id };
    uint8_t wanted[SEGMENT_HEADER_LEN];
    uint8_t found[SEGMENT_HEADER_LEN];
    size_t len = 0;

    segment_header_encode(&identity, wanted);
    int r = segment_read_object(object, true, 0, sizeof(found), found, &len, NULL);
    if (r < 0)
        return r;
    return len == sizeof(found) && memcmp(wanted, found, len) == 0 ? 0 : -EBADMSG;
}

/* The footer, of which the end may be here already. */
static int read_footer(struct object *object, const struct segment_tail *tail, struct bytes end,
                       uint32_t end_offset, uint8_t *to)
{
    size_t len = 0;

    if (tail->footer_offset >= end_offset) {
        memcpy(to, end.data + (tail->footer_offset - end_offset), tail->footer_len);
        return 0;
    }
    int r =
        segment_read_object(object, true, tail->footer_offset, tail->footer_len, to, &len, NULL);
    return r == 0 && len != tail->footer_len ? -EBADMSG : r;
}

static int check_footer(const struct segments *segments, const struct segment *segment,
                        struct object *object, struct bytes end)
{
    const struct block_identity identity = { .fs = segments->fs,
                                             .generation = segment->generation,
                                             .segment = segment->id };
    CLEANUP(free_ptr) struct segment_entry *entries = NULL;
    CLEANUP(free_ptr) uint8_t *sealed = NULL;
    CLEANUP(aead_freep) struct aead *aead = NULL;
    const struct bytes tail = { end.data + end.len - SEGMENT_TAIL_LEN, SEGMENT_TAIL_LEN };
    uint32_t at = segment->size - SEGMENT_TAIL_LEN;
    struct segment_tail named;
    uint32_t count;

    int r = segment_tail_decode(tail, &named);
    if (r != 0)
        return r;
    if (named.footer_offset + (uint64_t)named.footer_len != at)
        return -EBADMSG;
    sealed = malloc(named.footer_len);
    if (sealed == NULL)
        return -ENOMEM;
    r = read_footer(object, &named, end, segment->size - (uint32_t)end.len, sealed);
    if (r == 0)
        r = segment_aead_new(&segments->keys, segment->generation, &segment->id, &aead);
    if (r == 0)
        r = segment_footer_decode(aead, &identity,
                                  (struct bytes){ .data = sealed, .len = named.footer_len }, tail,
                                  &entries, &count);
    return r;
}

/* Its length and its footer, as a rule by one request: a store that is far away is asked for the
 * end, and for a byte behind it. */
static const char *end_fault(const struct segments *segments, const struct segment *segment,
                             struct object *object)
{
    static const char *const altered = "has a footer that was altered";
    CLEANUP(free_ptr) uint8_t *end = malloc(END_LEN + 1);
    size_t len = segment->size < END_LEN ? segment->size : END_LEN;
    size_t found = 0;

    if (end == NULL || len < SEGMENT_HEADER_LEN + SEGMENT_TAIL_LEN ||
        segment_read_object(object, true, segment->size - len, len + 1, end, &found, NULL) < 0)
        return altered;
    if (found != len)
        return "has another length than was written";
    return check_footer(segments, segment, object, (struct bytes){ end, len }) < 0 ? altered : NULL;
}

static const char *object_fault(struct segments *segments, const struct segment *segment)
{
    CLEANUP(object_closep) struct object *object = NULL;
    char name[SEGMENT_NAME_SIZE];

    segment_object_name(&segment->id, name);
    if (object_store_open_object(segments->store, name, &object, NULL) < 0)
        return "is in use, but its object cannot be opened";
    if (check_header(segments, segment, object) < 0)
        return "has a header that was altered";
    return segment->state == SEGMENT_CLOSED ? end_fault(segments, segment, object) : NULL;
}

/* What is found out about each, by several threads. */
struct finding {
    struct segments *segments;
    struct segment segment; /* a copy, so that the store is asked without the lock */
    const char *fault;      /* NULL: none */
};

static void find_fault(void *arg, size_t index)
{
    struct finding *finding = (struct finding *)arg + index;
    const struct segment *segment = &finding->segment;

    if (segment->live > 0 && segment->check_found > 0 && segment->kind == SEGMENT_OWN)
        finding->fault = object_fault(finding->segments, segment);
}

static int copy_checked(struct segments *segments, struct finding **ret, size_t *ret_count)
{
    size_t count = 0;

    mutex_lock(&segments->lock);
    struct finding *copies = calloc(segments->segment_count + 1, sizeof(*copies));
    for (size_t i = 0; copies != NULL && i < segments->bucket_count; i++)
        for (struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            if (s->is_checked)
                copies[count++] = (struct finding){ .segments = segments, .segment = *s };
    mutex_unlock(&segments->lock);
    *ret = copies;
    *ret_count = count;
    return copies == NULL ? -ENOMEM : 0;
}

/* A run is found once, before or after it was moved, so together they are right. */
static bool shifted_differ(struct segments *segments)
{
    uint64_t expected = 0;
    uint64_t found = 0;

    mutex_lock(&segments->lock);
    for (size_t i = 0; i < segments->bucket_count; i++)
        for (const struct segment *s = segments->buckets[i]; s != NULL; s = s->next_in_bucket)
            if (s->is_shifted) {
                expected += s->check_expected;
                found += s->check_found;
            }
    mutex_unlock(&segments->lock);
    return expected != found;
}

int segments_check_objects(struct segments *segments, segments_report_fn *report, void *arg,
                           struct error *err)
{
    struct object_check check = { .segments = segments, .report = report, .arg = arg };
    CLEANUP(free_ptr) struct finding *findings = NULL;
    bool is_far = object_store_prefers_sealing(segments->store);
    size_t count = 0;

    bool has_counts = !segments_need_recount(segments);
    if (copy_checked(segments, &findings, &count) < 0)
        return error_set(err, -ENOMEM, "no memory to check so many segments");
    parallel_each(count, is_far ? AT_ONCE : 1, find_fault, findings);
    for (size_t i = 0; i < count; i++) {
        const struct segment *segment = &findings[i].segment;
        if (has_counts && !segment->is_shifted && segment->check_expected != segment->check_found)
            fault(&check, &segment->id, "has another amount of data in use than is counted");
        if (findings[i].fault != NULL && is_in_use(segments, &segment->id))
            fault(&check, &segment->id, findings[i].fault);
    }
    if (has_counts && shifted_differ(segments))
        report("The segments between which data was moved during the check have another amount "
               "of it in use than is counted.",
               arg);
    return object_store_list(segments->store, SEGMENT_PREFIX, visit_object, &check, err);
}
