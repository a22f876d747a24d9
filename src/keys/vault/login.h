/* login.h - how coffer is logged in to Vault: with a token that was given, or with one that it
 * gets by AppRole or as a Kubernetes service account, and keeps.
 *
 *   given token   looked up once; renewed at half of its life if it can be, and may be
 *   AppRole,      logged in when a token is needed; at half of its life renewed, or logged in
 *   Kubernetes    again where that is not possible or no longer lengthens it; logged in again
 *                 when the token is not accepted. A token that is given up is revoked, unless it
 *                 is a batch token, which takes no room in the server.
 *
 * Half is less a random part, so that many instances do not come at the same moment. A renewal
 * that fails while the token is still good is no failure: it is tried again, and
 * key_login_status() tells.
 *
 * It is made by vault_login_new() (keys/providers.h), which says -EINVAL if the configuration lacks
 * something, or has too much.
 *
 * A login that the server refuses is not tried again for minutes, because Vault locks out a role
 * that is refused often.
 *
 * Errors     the classes of key_provider.h. -EACCES also: the token has a limited number of uses.
 * Threads    any; whoever comes while one logs in waits for that result.
 */
#pragma once

#include "keys/key_login.h"
#include "keys/key_provider.h"

/* A token to use now, which is the number-th; what is due is done first. */
int vault_login_token(struct key_login *base, struct secret *ret, uint64_t *ret_number,
                      struct error *err);

/* The server did not accept the token of that number. True if vault_login_token() may have
 * another one. */
bool vault_login_refused(struct key_login *base, uint64_t number);
