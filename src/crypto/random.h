/* random.h - bytes from the kernel's generator, getrandom(2), and nothing else: it alone learns
 * when a virtual machine was cloned or resumed, which a generator in the process would not.
 *
 * Errors     none: a kernel that cannot answer ends the process, since no key or nonce may be
 *            made without it.
 * Threads    any.
 */
#pragma once

#include <stddef.h>

#include "base/uuid.h"

void random_bytes(void *to, size_t len);

/* A version 4 UUID. */
void random_uuid(struct uuid *ret);
