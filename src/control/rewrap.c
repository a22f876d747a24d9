#include "control/rewrap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parallel.h"
#include "control/key_list.h"
#include "control/rings.h"

#define CHUNK UNWRAPPED_FILESYSTEMS
/* Each waits for two flushes of its disk, which flushes for all who wait. */
#define STORES_AT_ONCE 16u

/* One filesystem of a chunk. */
struct item {
    struct filesystem *fs;
    struct fs_record record;
    struct rings_opened opened;
    bool is_new;                               /* it has no superblock yet */
    bool has_no_ring;                          /* it is being made or removed: there is no row */
    struct secret plains[KEY_GENERATIONS_MAX]; /* the key blob of each generation */
    struct wrapped_key *made;                  /* for each generation; no provider: it stays */
    struct rewrap_row *row;
    bool is_in_registry; /* the changed ring */
    bool is_kms;         /* a failure is the key server's */
    int result;
    struct error err;
};

struct run {
    struct control *control;
    const struct rewrap_target *target;
    struct rewrap_report *report;
    struct error stopped; /* code < 0: the server is away or refuses; no more is tried */
};

/* A server that is away is not asked again for each that is left. */
static void fail(struct run *run, struct item *item, int r)
{
    item->result = r;
    if (r == -EAGAIN && item->is_kms && run->stopped.code == 0)
        run->stopped = item->err;
}

/* ------------------------------------------------------------------ opening */

/* All of a chunk in as few questions as the server allows. If that fails for one, each is asked
 * for by itself; a server that is away is asked once, unless there is another that may open what
 * wrapped before. */
static void unwrap_ahead(struct run *run, const struct item *items, size_t count,
                         struct unwrapped *ret)
{
    struct error err = { .code = 0 };

    for (size_t i = 0; i < count; i++)
        unwrapped_collect(ret, run->control, &items[i].record);
    int r = kms_unwrap(run->control->kms, NULL, NULL, ret->wrapped, ret->count, ret->plains, &err);
    if (r == -EAGAIN && !kms_is_staged(run->control->kms))
        run->stopped = err;
}

static int open_item(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    struct control *control = run->control;
    struct rings_options options = { .owner = &item->record,
                                     .unwrapped = unwrapped,
                                     .asks_nobody = run->target->known != NULL,
                                     .may_repair = !run->target->is_dry,
                                     .may_lack_foreign = true,
                                     .waits_for_busy =
                                         run->target->is_other_server || !run->target->provider };
    int r = item->is_new
                ? rings_open_new(control, &item->record, &item->opened, &item->is_kms, &item->err)
                : rings_open(control, &item->record, &options, &item->opened, &item->is_kms,
                             &item->err);

    if (r == 0 && !run->target->is_dry)
        r = filesystem_learn(item->fs, &item->record, NULL, &item->err);
    if (r < 0)
        return r;
    item->made = calloc(item->opened.ring.count + 1, sizeof(*item->made));
    if (!item->made)
        return error_set(&item->err, -ENOMEM, "out of memory");
    if (rings_newest(&item->opened.ring))
        key_list_describe(rings_newest(&item->opened.ring), &item->row->from);
    item->is_kms = true;
    return rings_unwrap_all(control, &item->opened.ring, &options, item->plains,
                            &item->opened.outcome, &item->err);
}

/* ------------------------------------------------------------------ wrapping */

static bool is_as_wanted(const struct rewrap_target *target, const struct wrapped_key *wrapped)
{
    if (!target->provider)
        return strcmp(wrapped->provider, "local") == 0;
    return !target->is_other_server && key_provider_names(target->provider, wrapped) &&
           wrapped->key_version == target->key.version;
}

static bool must_wrap(const struct run *run, const struct item *item, uint32_t generation)
{
    if (rings_lacks(&item->opened.outcome, generation))
        return false; /* it stays as it is, until what wrapped it opens it again */
    /* What the server no longer unwraps is wrapped anew even if it names the right version. */
    return run->target->known || item->opened.outcome.used_previous ||
           !is_as_wanted(run->target, &item->opened.ring.generations[generation].current.key);
}

static int open_target(const struct run *run, const struct item *item,
                       struct key_provider **ret_opened, struct key_provider **ret,
                       struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    *ret = run->target->provider;
    if (*ret)
        return 0;
    uuid_format(&item->record.uuid, uuid);
    int r = kms_local_provider(run->control->kms, uuid, true, ret_opened, err);
    *ret = *ret_opened;
    return r;
}

static bool can_rewrap_inside(const struct run *run, const struct item *item,
                              const struct wrapped_key *wrapped)
{
    const struct rewrap_target *target = run->target;

    return target->provider && !target->known && !target->is_other_server &&
           !item->opened.outcome.used_previous && key_provider_rewraps_inside(target->provider) &&
           key_provider_names(target->provider, wrapped);
}

static int wrap_one(const struct run *run, struct item *item, struct key_provider *provider,
                    uint32_t generation, struct error *err)
{
    const struct wrapped_key *current = &item->opened.ring.generations[generation].current.key;
    struct wrapped_key *made = &item->made[generation];
    int r = can_rewrap_inside(run, item, current)
                ? key_provider_rewrap(provider, current, 1, made, err)
                : key_provider_wrap(provider, secret_bytes(&item->plains[generation]), made, err);

    /* A local key is one file for each filesystem; the ring names which. */
    if (r == 0 && strcmp(made->provider, "local") == 0)
        uuid_format(&item->record.uuid, made->key_name);
    return r;
}

/* Those generations that the batch has not. */
static int wrap_item(const struct run *run, struct item *item)
{
    CLEANUP(key_provider_closep) struct key_provider *opened = NULL;
    struct key_provider *provider = NULL;
    int r = open_target(run, item, &opened, &provider, &item->err);

    for (uint32_t i = 0; r == 0 && i < item->opened.ring.count; i++)
        if (item->made[i].provider[0] == '\0' && must_wrap(run, item, i))
            r = wrap_one(run, item, provider, i, &item->err);
    return r;
}

struct place {
    struct item *item;
    uint32_t generation;
};

/* The blobs of a chunk that the server can wrap anew by itself. */
struct batch {
    struct place places[UNWRAPPED_MAX];
    struct wrapped_key *from;
    struct wrapped_key *to;
    size_t count;
};

static void add_to_batch(const struct run *run, struct item *item, struct batch *batch)
{
    for (uint32_t i = 0; i < item->opened.ring.count && batch->count < UNWRAPPED_MAX; i++) {
        const struct wrapped_key *current = &item->opened.ring.generations[i].current.key;
        if (!must_wrap(run, item, i) || !can_rewrap_inside(run, item, current))
            continue;
        batch->places[batch->count] = (struct place){ .item = item, .generation = i };
        batch->from[batch->count++] = *current;
    }
}

/* If it fails for one, each is asked for by itself, and the failure is told of then. */
static void wrap_batch(const struct run *run, struct item *items, size_t count)
{
    CLEANUP(free_ptr) struct wrapped_key *from = calloc(UNWRAPPED_MAX, sizeof(*from));
    CLEANUP(free_ptr) struct wrapped_key *to = calloc(UNWRAPPED_MAX, sizeof(*to));
    struct batch batch = { .from = from, .to = to };

    if (!from || !to)
        return;
    for (size_t i = 0; i < count; i++)
        if (items[i].result == 0 && !items[i].has_no_ring)
            add_to_batch(run, &items[i], &batch);
    if (batch.count < 2 ||
        key_provider_rewrap(run->target->provider, from, batch.count, to, NULL) < 0)
        return;
    for (size_t i = 0; i < batch.count; i++)
        batch.places[i].item->made[batch.places[i].generation] = to[i];
}

/* ------------------------------------------------------------------ verifying */

static int check_made(const struct item *item, uint32_t generation, const struct secret *plain,
                      struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    int r = key_generation_open(&item->opened.ring.generations[generation], plain, &key, err);

    return r < 0 ? error_prefix(err, r,
                                "the KMS unwraps something else than it had wrapped, and the key "
                                "stays wrapped as it was")
                 : 0;
}

/* With the blobs that were unwrapped together, or by itself. */
static int verify_item(const struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    CLEANUP(key_provider_closep) struct key_provider *opened = NULL;
    struct key_provider *provider = NULL;
    int r = open_target(run, item, &opened, &provider, &item->err);
    size_t at = 0;

    for (uint32_t i = 0; r == 0 && i < item->opened.ring.count; i++) {
        CLEANUP(secret_release) struct secret plain = SECRET_INIT;
        const struct secret *seen = &plain;
        if (item->made[i].provider[0] == '\0')
            continue;
        while (at < unwrapped->count &&
               memcmp(unwrapped->wrapped[at].blob, item->made[i].blob, WRAPPED_BLOB_MAX) != 0)
            at++;
        if (at < unwrapped->count)
            seen = &unwrapped->plains[at];
        else
            r = key_provider_unwrap(provider, &item->made[i], 1, &plain, &item->err);
        if (r == 0)
            r = check_made(item, i, seen, &item->err);
    }
    return r;
}

/* What was made, unwrapped in as few questions as the server allows. Empty if that fails. */
static void unwrap_made(const struct run *run, const struct item *items, size_t count,
                        struct unwrapped *ret)
{
    if (!run->target->provider)
        return; /* each has a key of its own */
    for (size_t i = 0; i < count; i++)
        for (uint32_t g = 0;
             items[i].result == 0 && items[i].made && g < items[i].opened.ring.count; g++)
            if (items[i].made[g].provider[0] != '\0' && ret->count < UNWRAPPED_MAX)
                ret->wrapped[ret->count++] = items[i].made[g];
    if (key_provider_unwrap(run->target->provider, ret->wrapped, ret->count, ret->plains, NULL) < 0)
        ret->count = 0;
}

/* ------------------------------------------------------------------ writing */

static void audit_failure(struct run *run, struct item *item)
{
    struct error err = { .code = 0 };
    const struct wrapped_key *newest = rings_newest(&item->opened.ring);
    struct audit_note note = { .operation = AUDIT_REWRAP,
                               .uuid = &item->record.uuid,
                               .filesystem = item->record.name,
                               .old_key = audit_key_of(newest),
                               .result = item->result,
                               .text = item->err.text };

    if (item->result != CONTROL_CRASHED && !run->target->is_dry &&
        audit_add(run->control->audit, &note, 1, &err) < 0)
        events_add(&run->control->events, LOG_LEVEL_ERROR, "audit-not-written", item->record.name,
                   "%s", err.text);
}

static void note_item(const struct item *item, struct audit_note *notes, size_t *count)
{
    for (uint32_t i = 0; i < item->opened.ring.count && *count < UNWRAPPED_MAX; i++)
        if (item->made[i].provider[0] != '\0')
            notes[(*count)++] = (struct audit_note){
                .operation = AUDIT_REWRAP,
                .uuid = &item->record.uuid,
                .filesystem = item->record.name,
                .key = audit_key_of(&item->made[i]),
                .old_key = audit_key_of(&item->opened.ring.generations[i].current.key),
            };
}

/* Before any ring of the chunk is written. */
static int audit_chunk(struct run *run, const struct item *items, size_t count, struct error *err)
{
    CLEANUP(free_ptr) struct audit_note *notes = calloc(UNWRAPPED_MAX, sizeof(*notes));
    size_t n = 0;

    if (!notes)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        if (items[i].result == 0 && items[i].made)
            note_item(&items[i], notes, &n);
    return n > 0 ? audit_add(run->control->audit, notes, n, err) : 0;
}

/* The changed ring, in memory. */
static int change_item(struct item *item)
{
    struct key_ring *ring = &item->opened.ring;
    uint64_t now = (uint64_t)clock_wall_ns();

    item->row->result = REWRAP_UNCHANGED;
    for (uint32_t i = 0; i < ring->count; i++) {
        if (item->made[i].provider[0] == '\0')
            continue;
        key_generation_replace(&ring->generations[i], &item->made[i], now);
        item->row->result = REWRAP_DONE;
    }
    return item->row->result == REWRAP_UNCHANGED
               ? 0
               : key_ring_encode(ring, &item->opened.keys, &item->opened.encoded, &item->err);
}

static bool is_to_be_written(const struct item *item)
{
    return !item->has_no_ring && item->result == 0 && item->row->result == REWRAP_DONE;
}

/* All of a chunk in one step. */
static int write_registry(struct run *run, struct item *items, size_t count, struct error *err)
{
    struct registry_ring rings[CHUNK];
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (is_to_be_written(&items[i]))
            rings[n++] = (struct registry_ring){ .uuid = &items[i].record.uuid,
                                                 .ring = buf_bytes(&items[i].opened.encoded) };
    return n > 0 ? registry_put_rings(run->control->registry, rings, n, err) : 0;
}

/* That it is in the registry; it goes to the store together with those of others. */
static int check_registry(struct run *run, struct item *item)
{
    if (!is_to_be_written(item))
        return 0;
    int r = rings_check_registry(run->control, &item->record, &item->opened, &item->err);
    item->is_in_registry = r == 0;
    return r;
}

static void write_store(void *arg, size_t index)
{
    struct item *item = (struct item *)arg + index;

    if (item->is_in_registry && !item->is_new)
        item->result =
            rings_write_store(item->fs->control, &item->record, &item->opened, &item->err);
}

/* What is in the registry opens, and is to be proved, whether or not the store has it, too. */
static int end_write(struct item *item)
{
    mutex_lock(&item->fs->lock);
    item->fs->proof_due_ms = clock_monotonic_ms() + FILESYSTEM_PROOF_AFTER_MS;
    mutex_unlock(&item->fs->lock);
    return item->result < 0 ? item->result
                            : filesystem_learn(item->fs, &item->record,
                                               rings_newest(&item->opened.ring), &item->err);
}

static void show_planned(const struct run *run, struct item *item)
{
    bool is_planned = false;

    for (uint32_t i = 0; i < item->opened.ring.count; i++)
        is_planned |= must_wrap(run, item, i);
    item->row->result = is_planned ? REWRAP_PLANNED : REWRAP_UNCHANGED;
}

/* ------------------------------------------------------------------ a chunk */

static void begin_item(struct run *run, struct filesystem *fs, struct item *ret)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    ret->fs = fs;
    filesystem_hold_rings(fs);
    mutex_lock(&fs->lock);
    ret->record = fs->record;
    mutex_unlock(&fs->lock);
    ret->is_new = ret->record.phase == FS_PHASE_CREATING;
    ret->has_no_ring =
        fs_record_is_going(&ret->record) ||
        registry_get_ring(run->control->registry, &ret->record.uuid, &encoded, NULL) == -ENOENT;
    if (ret->has_no_ring)
        return;
    ret->row = &run->report->rows[run->report->count++];
    (void)snprintf(ret->row->name, sizeof(ret->row->name), "%s", ret->record.name);
}

static void end_item(struct run *run, struct item *item)
{
    filesystem_let_rings(item->fs);
    if (item->row && item->result == 0)
        (void)rings_tell_unopened(&item->opened.outcome, item->row->text, sizeof(item->row->text));
    if (item->row && item->result < 0) {
        audit_failure(run, item);
        item->row->result = REWRAP_FAILED;
        (void)snprintf(item->row->text, sizeof(item->row->text), "%s", item->err.text);
        run->report->failed++;
    } else if (item->row && item->row->result == REWRAP_PLANNED) {
        item->row->to = run->target->key;
    } else if (item->row && rings_newest(&item->opened.ring)) {
        key_list_describe(rings_newest(&item->opened.ring), &item->row->to);
    }
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&item->plains[i]);
    rings_opened_release(&item->opened);
    free(item->made);
}

/* Runs a step of each that is still well; one that finds the server away, or crashes in a test,
 * ends the run. */
typedef int step_fn(struct run *run, struct item *item, const struct unwrapped *unwrapped);

static void each(struct run *run, struct item *items, size_t count, step_fn *step,
                 const struct unwrapped *unwrapped)
{
    for (size_t i = 0; i < count; i++) {
        struct item *item = &items[i];
        if (item->has_no_ring || item->result < 0)
            continue;
        if (run->stopped.code < 0) {
            item->err = run->stopped;
            item->result = run->stopped.code;
            continue;
        }
        int r = step(run, item, unwrapped);
        if (r < 0)
            fail(run, item, r);
        if (r == CONTROL_CRASHED)
            return;
    }
}

static int step_open(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    return open_item(run, item, unwrapped);
}

static int step_wrap(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    (void)unwrapped;
    return wrap_item(run, item);
}

static int step_verify(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    return verify_item(run, item, unwrapped);
}

static int step_change(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    (void)run;
    (void)unwrapped;
    item->is_kms = false;
    return change_item(item);
}

static int step_check(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    (void)unwrapped;
    return check_registry(run, item);
}

static int step_show(struct run *run, struct item *item, const struct unwrapped *unwrapped)
{
    (void)unwrapped;
    show_planned(run, item);
    return 0;
}

/* What is verified is worth keeping, even if the server is away now. */
static int write_chunk(struct run *run, struct item *items, size_t count, struct error *err)
{
    const struct error stopped = run->stopped;
    int r = audit_chunk(run, items, count, err);

    if (r < 0)
        return r;
    run->stopped.code = 0;
    each(run, items, count, step_change, NULL);
    r = write_registry(run, items, count, err);
    if (r == 0)
        each(run, items, count, step_check, NULL);
    parallel_each(count, STORES_AT_ONCE, write_store, items);
    for (size_t i = 0; i < count; i++)
        if (items[i].is_in_registry)
            items[i].result = end_write(&items[i]);
    run->stopped = stopped;
    return r;
}

static int work_on(struct run *run, struct item *items, size_t count, struct error *err)
{
    CLEANUP(unwrapped_release) struct unwrapped ahead = { .count = 0 };
    CLEANUP(unwrapped_release) struct unwrapped made = { .count = 0 };
    int r = unwrapped_init(&ahead, err);

    if (r == 0)
        r = unwrapped_init(&made, err);
    if (r != 0)
        return r;
    if (run->stopped.code == 0 && !run->target->known)
        unwrap_ahead(run, items, count, &ahead);
    each(run, items, count, step_open, run->target->known ? run->target->known : &ahead);
    if (run->target->is_dry) {
        each(run, items, count, step_show, NULL);
        return 0;
    }
    if (run->stopped.code == 0)
        wrap_batch(run, items, count);
    each(run, items, count, step_wrap, NULL);
    unwrap_made(run, items, count, &made);
    each(run, items, count, step_verify, &made);
    return write_chunk(run, items, count, err);
}

/* CONTROL_CRASHED or 0: what failed for all of them is in the rows of all. */
static int run_chunk(struct run *run, struct filesystem *const *filesystems, size_t count,
                     struct error *err)
{
    CLEANUP(free_ptr) struct item *items = calloc(count, sizeof(*items));
    struct error why = { .code = 0 };
    int crashed = 0;

    if (!items)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        begin_item(run, filesystems[i], &items[i]);
    int r = work_on(run, items, count, &why);
    for (size_t i = 0; i < count; i++) {
        if (items[i].result == CONTROL_CRASHED)
            crashed = CONTROL_CRASHED;
        if (r < 0 && items[i].result == 0) {
            items[i].result = r;
            items[i].err = why;
        }
        end_item(run, &items[i]);
    }
    return crashed;
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const struct rewrap_row *)a)->name, ((const struct rewrap_row *)b)->name);
}

int rewrap_run(struct control *control, const struct rewrap_target *target,
               struct filesystem *const *filesystems, size_t count, struct rewrap_report *ret,
               struct error *err)
{
    struct run run = { .control = control, .target = target, .report = ret };
    int r = 0;

    ret->rows = calloc(count + 1, sizeof(*ret->rows));
    if (!ret->rows)
        return error_set(err, -ENOMEM, "out of memory");
    for (size_t at = 0; r == 0 && at < count; at += CHUNK)
        r = run_chunk(&run, filesystems + at, count - at < CHUNK ? count - at : CHUNK, err);
    qsort(ret->rows, ret->count, sizeof(*ret->rows), compare_rows);
    return r;
}

int rewrap_report_append(struct rewrap_report *to, const struct rewrap_report *from,
                         struct error *err)
{
    struct rewrap_row *rows = reallocarray(to->rows, to->count + from->count + 1, sizeof(*rows));

    if (!rows)
        return error_set(err, -ENOMEM, "out of memory");
    to->rows = rows;
    if (from->count > 0)
        memcpy(rows + to->count, from->rows, from->count * sizeof(*rows));
    to->count += from->count;
    to->failed += from->failed;
    qsort(rows, to->count, sizeof(*rows), compare_rows);
    return 0;
}

void rewrap_list_failed(const struct rewrap_report *report, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < report->count && used + 1 < size; i++)
        if (report->rows[i].result == REWRAP_FAILED)
            used += (size_t)snprintf(ret + used, size - used, "%s%s (%s)", used ? "; " : "",
                                     report->rows[i].name, report->rows[i].text);
}

void rewrap_tell(struct control *control, const struct rewrap_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct rewrap_row *row = &report->rows[i];
        if (row->result == REWRAP_DONE)
            events_add(&control->events, LOG_LEVEL_INFO, "rewrapped", row->name,
                       "its key is now wrapped by %s key %s, version %u; before by %s key %s, "
                       "version %u",
                       row->to.type, row->to.key, row->to.version, row->from.type, row->from.key,
                       row->from.version);
        else if (row->result == REWRAP_FAILED)
            events_add(&control->events, LOG_LEVEL_ERROR, "rewrap-failed", row->name, "%s",
                       row->text);
        if (row->result != REWRAP_FAILED && row->text[0] != '\0')
            events_add(&control->events, LOG_LEVEL_WARNING, "keys-left", row->name, "%s",
                       row->text);
    }
}
