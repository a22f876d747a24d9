#include "base/crc32c.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */
#define SLICES 8u

/* at[k][b]: what a byte b does, k bytes further on. */
struct table {
    uint32_t at[SLICES][256];
};

/* Made for each call: a few microseconds, which nobody notices who has no instruction for it. */
static void make_table(struct table *table)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        table->at[0][b] = crc;
    }
    for (unsigned k = 1; k < SLICES; k++)
        for (uint32_t b = 0; b < 256; b++) {
            uint32_t before = table->at[k - 1][b];
            table->at[k][b] = before >> 8 ^ table->at[0][before & 0xff];
        }
}

static uint64_t load_le64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return le64toh(value);
}

uint32_t crc32c_by_table(struct bytes data)
{
    struct table table;
    uint32_t crc = UINT32_MAX;

    make_table(&table);
    for (; data.len >= SLICES; data.data += SLICES, data.len -= SLICES) {
        uint64_t word = load_le64(data.data) ^ crc;
        crc = 0;
        for (unsigned i = 0; i < SLICES; i++)
            crc ^= table.at[SLICES - 1 - i][word >> 8 * i & 0xff];
    }
    for (; data.len > 0; data.data++, data.len--)
        crc = crc >> 8 ^ table.at[0][(crc ^ *data.data) & 0xff];
    return ~crc;
}

#ifdef __x86_64__

__attribute__((target("sse4.2"))) static uint32_t by_instruction(struct bytes data)
{
    uint64_t crc = UINT32_MAX;

    for (; data.len >= 8; data.data += 8, data.len -= 8)
        crc = __builtin_ia32_crc32di(crc, load_le64(data.data));
    uint32_t rest = (uint32_t)crc;
    for (; data.len > 0; data.data++, data.len--)
        rest = __builtin_ia32_crc32qi(rest, *data.data);
    return ~rest;
}

uint32_t crc32c(struct bytes data)
{
    return __builtin_cpu_supports("sse4.2") ? by_instruction(data) : crc32c_by_table(data);
}

#else

uint32_t crc32c(struct bytes data)
{
    return crc32c_by_table(data);
}

#endif
