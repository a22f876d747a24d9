/* engines.h - the engines that meta_engine_open() knows, one opener each. path is what follows
 * "type:" in the URL. */
#pragma once

#include "meta/meta_engine.h"

typedef int meta_engine_open_fn(const char *path, const struct meta_options *options,
                                const struct meta_hooks *hooks, struct meta_engine **ret,
                                struct error *err);

meta_engine_open_fn memory_engine_open;
meta_engine_open_fn lmdb_engine_open;
