#include "meta/set_hash.h"

#include <string.h>

static void sum_add(uint64_t to[4], const uint64_t more[4])
{
    unsigned carry = 0;

    for (unsigned i = 0; i < 4; i++) {
        uint64_t partial;
        bool first = __builtin_add_overflow(to[i], more[i], &partial);
        bool second = __builtin_add_overflow(partial, (uint64_t)carry, &to[i]);
        carry = first || second;
    }
}

static void sum_negate(uint64_t sum[4])
{
    static const uint64_t one[4] = { 1 };

    for (unsigned i = 0; i < 4; i++)
        sum[i] = ~sum[i];
    sum_add(sum, one);
}

static int element(struct hmac *hmac, const struct bytes *pieces, size_t count, uint64_t ret[4])
{
    uint8_t hash[HASH_LEN];

    int r = hmac_sha256(hmac, pieces, count, hash);
    if (r < 0)
        return r;
    struct reader reader = reader_init((struct bytes){ .data = hash, .len = sizeof(hash) });
    for (unsigned i = 0; i < 4; i++)
        ret[i] = reader_u64(&reader);
    return 0;
}

int set_hash_add(struct set_hash *set, struct hmac *hmac, const struct bytes *pieces, size_t count)
{
    uint64_t hash[4];

    int r = element(hmac, pieces, count, hash);
    if (r < 0)
        return r;
    sum_add(set->sum, hash);
    set->count++;
    return 0;
}

int set_hash_subtract(struct set_hash *set, struct hmac *hmac, const struct bytes *pieces,
                      size_t count)
{
    uint64_t hash[4];

    int r = element(hmac, pieces, count, hash);
    if (r < 0)
        return r;
    sum_negate(hash);
    sum_add(set->sum, hash);
    set->count--;
    return 0;
}

/* The counts of altered shares may be anything. */
static int64_t count_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

void set_hash_join(struct set_hash *to, const struct set_hash *share)
{
    sum_add(to->sum, share->sum);
    to->count = count_add(to->count, share->count);
}

bool set_hash_equal(const struct set_hash *a, const struct set_hash *b)
{
    return a->count == b->count && memcmp(a->sum, b->sum, sizeof(a->sum)) == 0;
}

void set_hash_write(struct writer *writer, const struct set_hash *set)
{
    writer_u64(writer, (uint64_t)set->count);
    for (unsigned i = 0; i < 4; i++)
        writer_u64(writer, set->sum[i]);
}

void set_hash_read(struct reader *reader, struct set_hash *ret)
{
    ret->count = (int64_t)reader_u64(reader);
    for (unsigned i = 0; i < 4; i++)
        ret->sum[i] = reader_u64(reader);
}
