/* check.h - `kms check` for Vault and OpenBao: the steps that keys/kms_check.h describes.
 *
 * Steps of each address: resolve, connect, tls, server, login, token, permission-* (one by one),
 * key, key-type, key-settings, encrypt, decrypt, rewrap. Nothing is changed on the server; the key
 * is read before it is used, since encrypt could make a missing one.
 */
#pragma once

#include "keys/key_provider.h"
#include "keys/kms_check.h"
#include "keys/vault/client.h"

struct vault_checked {
    struct key_provider *provider;
    struct vault_client *client; /* its own */
    const struct key_provider_config *config;
    struct key_login *login;
};

void vault_check(const struct vault_checked *checked, struct kms_check *check);

/* As key_provider_ops.advise. */
void vault_advise(const struct key_provider_config *config, int r, struct kms_check *check);
