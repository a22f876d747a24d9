/* crc32c.h - the checksum CRC-32C (RFC 3720, 12.1): finds what was altered by accident, and nothing
 * that was altered on purpose.
 *
 * Threads    any.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

uint32_t crc32c(struct bytes data);

/* The same, without what the processor may have for it: slower. */
uint32_t crc32c_by_table(struct bytes data);
