/* web_identity.h - the certificate that the HTTPS server shows: the administrator's, or one that it
 * makes by itself, keeps in the state folder (https-cert.pem, https-key.pem) and makes anew before
 * it expires.
 *
 * Errors     negative errno and a sentence that says what to do.
 * Ownership  the identity is the caller's to free.
 */
#pragma once

#include <stdbool.h>

#include "net/tls_identity.h"

int web_identity_read(const char *cert_path, const char *key_path, struct tls_identity **ret,
                      struct error *err);

/* listen_host: what it listens on, also to be in the certificate; "": all addresses. */
int web_identity_own(const char *state_dir, const char *listen_host, struct tls_identity **ret,
                     struct error *err);

/* "AB:CD:..." */
#define WEB_FINGERPRINT_SIZE (3u * HASH_LEN)
void web_fingerprint(const struct tls_identity *identity, char ret[static WEB_FINGERPRINT_SIZE]);
