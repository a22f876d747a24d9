/* check.h - `kms check` for KMIP: the steps that keys/kms_check.h describes.
 *
 * Steps of each address: resolve, connect, client-certificate, tls, login, protocol, server, key,
 * key-type, key-state, key-usage, encrypt, decrypt. Nothing is changed on the server.
 */
#pragma once

#include "keys/address_list.h"
#include "keys/key_provider.h"
#include "keys/kmip/message.h"
#include "keys/kms_check.h"

struct kmip_checked {
    struct key_provider *provider;
    const struct key_provider_config *config;
    struct kmip_credential credential;
    struct address_list *addresses;   /* its own */
    const struct tls_target *targets; /* one for each address */
    /* Reads the configured key, at the one address that the list is restricted to. */
    int (*read_key)(struct key_provider *provider, struct kmip_attributes *ret, struct error *err);
};

void kmip_check(const struct kmip_checked *checked, struct kms_check *check);

/* As key_provider_ops.advise. */
void kmip_advise(const char *uid, int r, struct kms_check *check);
