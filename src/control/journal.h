/* journal.h - the numbered entries of the registry, read backwards: whoever looks at a log wants
 * the newest.
 *
 * Errors     negative errno and a sentence.
 * Threads    any.
 */
#pragma once

#include "base/error.h"
#include "control/registry.h"

/* Visits first <= number < before of one kind (such as "event/"), the newest first. A visitor that
 * returns something else than 0 ends it; a negative value is returned. */
int journal_newest_first(struct registry *registry, const char *kind, uint64_t first,
                         uint64_t before, registry_entry_fn *visit, void *arg, struct error *err);
