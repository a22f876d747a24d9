/* client.h - questions to Vault and OpenBao over HTTP, at a list of addresses: URLs, headers,
 * redirects by standbys, and the next address when one cannot answer.
 *
 * URLs are built from names that were checked, and are never followed elsewhere but for a
 * standby's 307, by hand, to an address that would itself be accepted.
 *
 * Errors     the classes of key_provider.h.
 * Ownership  inputs stay the caller's.
 * Threads    one client is used by one thread at a time.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"
#include "keys/address_list.h"
#include "net/http.h"

#define VAULT_PATH_SIZE (2 * WRAPPED_NAME_SIZE + 32)

struct vault_client {
    struct address_list addresses;
    struct http_client *http;
    bool allows_insecure_http;
};

struct vault_client_options {
    const char *addresses; /* URLs, separated by commas */
    bool allows_insecure_http;
    struct bytes ca_cert_pem; /* empty: the system's trust store */
};

/* Contacts nobody. The client must not be moved afterwards. */
int vault_client_init(struct vault_client *client, const struct vault_client_options *options,
                      struct error *err);
void vault_client_release(struct vault_client *client); /* one that is all zero is allowed */

struct vault_call {
    const char *method;
    const char *path; /* below /v1/ */
    const char *key_name;
    const char *kms_namespace;  /* "": the root */
    const struct secret *token; /* NULL: sends none */
    struct bytes body;
    bool accepts_batch;             /* a 400 that tells of each item is an answer */
    struct http_response *response; /* out */
    const char **ret_address;       /* out: the one that was asked last; NULL: no interest */
};

/* Asks the addresses in turn until one answers. */
int vault_client_ask(struct vault_client *client, const struct vault_call *call, struct error *err);

/* Asks one of them, once, and takes at most this long. */
int vault_client_ask_once(struct vault_client *client, const struct vault_call *call,
                          int64_t limit_ms, struct error *err);

/* Letters, digits, '.', '_' and '-', and '/' between parts if they are allowed; no part is "."
 * or "..". What passes needs no encoding in a URL. */
bool vault_is_name(const char *text, bool allows_parts);

/* Without slashes at its end. */
void vault_strip_slashes(char *text);
