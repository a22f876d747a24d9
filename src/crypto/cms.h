/* cms.h - secrets sealed to the holders of certificates (CMS, RFC 5652 and 5083): what is sealed
 * here opens only with a recipient's private key, which need not be on this host. As
 * 'openssl cms -encrypt' and '-decrypt' do it: AES-256-GCM; RSA with OAEP, or ECDH.
 *
 * The plain text is in secret memory only; it is sealed from there and opened into it.
 *
 * Errors     -EINVAL: not a certificate that can be sealed to, not a private key, not a CMS
 *            message; -EACCES: not for this key, or altered: the two cannot be told apart.
 * Ownership  what is returned is the caller's to release.
 * Threads    any.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/secret.h"

#define CMS_RECIPIENTS_MAX 16u
#define CMS_MESSAGE_MAX (256u * 1024u)

/* Who they are, for a log: "CN=a, SHA-256 0123...; ...", perhaps cut. Also checks that each can be
 * sealed to and is valid now. */
int cms_recipients(struct bytes certificates_pem, char *ret, size_t size, struct error *err);

/* Each of the certificates' keys alone opens it. ret is PEM. */
int cms_seal(struct bytes certificates_pem, struct bytes plain, struct buf *ret, struct error *err);

/* A private key with a passphrase has OpenSSL ask for that on the terminal. max: of the plain
 * text. */
int cms_open(struct bytes message_pem, struct bytes key_pem, size_t max, struct secret *ret,
             struct error *err);
