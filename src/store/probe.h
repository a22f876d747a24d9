/* probe.h - tries, with an object of its own, whether a store does what coffer relies on: puts that
 * never overwrite, whole replacements, ranges, and a list that shows at once what was put and what
 * was removed. Nothing stays behind when all is well.
 *
 * Errors     -EPROTO: the store works but does something else, which the sentence names. Else what
 *            the store says.
 * Threads    any.
 */
#pragma once

#include "store/object_store.h"

int object_store_probe(struct object_store *store, struct error *err);
