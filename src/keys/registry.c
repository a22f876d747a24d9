/* registry.c - the one list of key providers. A new one is a file in keys/providers/, a line
 * here and a line in meson.build. */
#include "keys/providers.h"

#include <string.h>

static const struct {
    const char *type;
    key_provider_open_fn *open;
    key_login_new_fn *new_login; /* NULL: nothing that providers could share */
} providers[] = {
    { "vault", vault_provider_open, vault_login_new },
    { "kmip", kmip_provider_open, NULL },
    { "local", local_provider_open, NULL },
};

key_provider_open_fn *key_provider_find(const char *type)
{
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
        if (strcmp(providers[i].type, type) == 0)
            return providers[i].open;
    return NULL;
}

key_login_new_fn *key_login_find(const char *type)
{
    for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
        if (strcmp(providers[i].type, type) == 0)
            return providers[i].new_login;
    return NULL;
}
