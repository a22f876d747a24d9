/* fake_transit.h - a Vault in this process that has the key FAKE_KEY and answers what its transit
 * engine does (encrypt, decrypt, rewrap, also in batches), so that the control plane can be tested
 * against a key server that ends at any request. Any failure in here fails the test.
 *
 * It also has the keys "own-ROLE", which tokens alone may use that a login as the AppRole ROLE
 * gave; and those may use no other.
 *
 * What it wraps holds the plaintext in clear: for tests only.
 *
 * Threads    it serves on a thread of its own; the functions may be called meanwhile.
 */
#pragma once

#define FAKE_KEY "key"

struct fake_transit;

struct fake_transit *fake_transit_start(void);
void fake_transit_stop(struct fake_transit *transit); /* NULL is allowed */

/* http://127.0.0.1:PORT */
const char *fake_transit_url(const struct fake_transit *transit);

void fake_transit_rotate(struct fake_transit *transit);

/* Whether what that version wrapped is decrypted; at first all is. */
void fake_transit_allow(struct fake_transit *transit, unsigned version, int is_allowed);

/* Whether it has no time (503) for what that version wrapped; at first it has for all. */
void fake_transit_be_busy(struct fake_transit *transit, unsigned version, int is_busy);

/* As if it had been restored from a backup of the other one's first version. */
void fake_transit_copy_key(struct fake_transit *transit, struct fake_transit *from);

/* The key is deleted, and made anew under its name. */
void fake_transit_make_anew(struct fake_transit *transit);

/* After so many more requests about keys it is sealed. Negative: never. */
void fake_transit_seal_after(struct fake_transit *transit, int requests);

/* Whether that has come. */
int fake_transit_is_sealed(struct fake_transit *transit);

/* Answers encrypt and rewrap with what it cannot decrypt itself. */
void fake_transit_lie(struct fake_transit *transit, int lies);

/* The secret ID of all roles; at first FAKE_SECRET_ID. */
#define FAKE_SECRET_ID "secret-1"
void fake_transit_set_secret_id(struct fake_transit *transit, const char *secret_id);

/* What a lookup of that says: it ends in so many seconds, of so long a life; 0: never. */
void fake_transit_set_secret_life(struct fake_transit *transit, long left_s, long life_s);

/* Logins as a role so far. */
unsigned fake_transit_logins(struct fake_transit *transit);

/* Requests about keys so far. */
unsigned fake_transit_requests(struct fake_transit *transit);
