/* ca_cert.h - the CA certificates that this instance trusts for Vault in place of the system's:
 * STATE/ca-cert.pem, mode 0600, replaced as a whole (docs/formats/registry.md).
 *
 * Errors     negative errno and a sentence that names the file.
 * Ownership  what is returned into is the caller's to release.
 * Threads    any, but one at a time for one state folder when storing.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/* Empty: there are none, and the system's are trusted. */
int ca_cert_load(const char *state_dir, struct buf *ret, struct error *err);

/* Empty: none from now on. Whoever calls has looked at them (net/ca_bundle.h). */
int ca_cert_store(const char *state_dir, struct bytes pem, struct error *err);
