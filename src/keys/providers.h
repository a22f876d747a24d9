/* providers.h - how each provider is opened: for registry.c alone. Each checks its own
 * configuration and contacts nobody. */
#pragma once

#include "keys/key_provider.h"

typedef int key_provider_open_fn(const struct key_provider_config *config,
                                 struct key_provider **ret, struct error *err);

typedef int key_login_new_fn(const struct key_provider_config *config, struct key_login **ret,
                             struct error *err);

key_provider_open_fn vault_provider_open;
key_provider_open_fn kmip_provider_open;
key_provider_open_fn local_provider_open;

key_login_new_fn vault_login_new;

/* The provider with this name, or NULL; what makes a login for it, or NULL. */
key_provider_open_fn *key_provider_find(const char *type);
key_login_new_fn *key_login_find(const char *type);
