/* audit_forget.c - entries of the audit log that are in an archive are given out and removed.
 *
 *   1 who archives reads them, and makes the archive durable       nothing is changed
 *   2 an entry about it, with the note of what stands before now    the log begins behind it
 *   3 the entries are removed, a part at a time                     a start goes on with that
 */
#include "control/audit_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define PART 1000u

struct giving {
    int64_t until_ns;
    size_t left;
    audit_stored_fn *visit;
    void *arg;
};

#define ENOUGH 1

static int give(uint64_t number, struct bytes value, void *arg)
{
    struct giving *giving = arg;
    struct audit_entry entry;
    uint8_t hash[HASH_LEN];

    if (giving->left == 0 ||
        (audit_entry_decode(value, &entry, hash, NULL) == 0 && entry.time_ns >= giving->until_ns))
        return ENOUGH;
    giving->left--;
    return giving->visit(number, value, giving->arg);
}

int audit_each_stored(struct audit *audit, uint64_t after, int64_t until_ns, size_t limit,
                      audit_stored_fn *visit, void *arg, struct error *err)
{
    struct giving giving = { .until_ns = until_ns, .left = limit, .visit = visit, .arg = arg };
    struct audit_head base;

    audit_base(audit, &base);
    int r = registry_each_entry(audit->registry, AUDIT_KIND,
                                (after > base.number ? after : base.number) + 1, UINT64_MAX, give,
                                &giving, err);
    return r == ENOUGH ? 0 : r;
}

static int take_first(uint64_t number, struct bytes value, void *arg)
{
    (void)value;
    *(uint64_t *)arg = number;
    return ENOUGH;
}

int audit_forget_rest(struct audit *audit, struct error *err)
{
    struct audit_head base;

    audit_base(audit, &base);
    for (;;) {
        uint64_t first = 0;
        int r = registry_each_entry(audit->registry, AUDIT_KIND, 1, base.number + 1, take_first,
                                    &first, err);
        if (r <= 0)
            return r; /* there is none */
        struct registry_entries part = {
            .kind = AUDIT_KIND,
            .forget_below = base.number - first < PART ? base.number + 1 : first + PART,
            .may_use_reserve = true,
        };
        r = registry_append(audit->registry, &part, err);
        if (r == 0)
            r = registry_sync(audit->registry, err);
        if (r < 0)
            return r;
    }
}

static int compare_last(uint64_t number, struct bytes value, void *arg)
{
    const struct audit_head *last = arg;
    struct audit_entry entry;
    uint8_t hash[HASH_LEN];

    return number == last->number && audit_entry_decode(value, &entry, hash, NULL) == 0 &&
                   memcmp(hash, last->hash, HASH_LEN) == 0
               ? ENOUGH
               : 0;
}

static void pass_over(uint64_t number, const char *text, void *arg)
{
    (void)number;
    (void)text;
    (void)arg;
}

static int check_last(struct audit *audit, const struct audit_head *last, struct error *err)
{
    struct audit_verdict verdict = { .faults = 0 };
    struct audit_head copy = *last;
    int r = last->number > 0 && last->number < UINT64_MAX
                ? registry_each_entry(audit->registry, AUDIT_KIND, last->number, last->number + 1,
                                      compare_last, &copy, err)
                : 0;

    if (r == 0)
        return error_set(err, -EINVAL,
                         "there is no entry %" PRIu64
                         " with that hash in the audit log; archive it "
                         "anew",
                         last->number);
    if (r == ENOUGH)
        r = audit_verify(audit, NULL, pass_over, NULL, &verdict, err);
    if (r == 0 && verdict.faults > 0)
        r = error_set(
            err, -EUCLEAN,
            "the audit log has faults, which coffer audit verify tells; it stays as it is, "
            "as evidence");
    return r;
}

int audit_forget(struct audit *audit, const struct audit_head *last, struct error *err)
{
    char text[AUDIT_TEXT_SIZE];
    struct audit_note note = { .operation = AUDIT_ARCHIVE, .text = text };
    struct audit_head base;
    int r = check_last(audit, last, err);

    audit_base(audit, &base);
    if (r == 0 && last->number <= base.number)
        r = error_set(err, -EINVAL, "entry %" PRIu64 " was archived before", last->number);
    if (r < 0)
        return r;
    audit_anchor_text(base.number + 1, last, text);
    r = audit_add_behind(audit, &note, 1, last, err);
    return r < 0 ? r : audit_forget_rest(audit, err);
}
