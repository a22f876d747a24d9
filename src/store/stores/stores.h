/* stores.h - what the registry opens, and what the stores share. Only for src/store.
 *
 * Errors     as in store/object_store.h.
 * Ownership  place is the part of the URL after its prefix; it stays the caller's.
 */
#pragma once

#include <stdbool.h>

#include "store/object_store.h"

typedef int object_store_open_fn(const char *place, struct object_store **ret, struct error *err);

object_store_open_fn memory_store_open;
object_store_open_fn dir_store_open;
object_store_open_fn fault_dir_store_open; /* in layers/fault.c */

bool object_name_is_valid(const char *name);
