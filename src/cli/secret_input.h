/* secret_input.h - secrets from where people keep them: a file, standard input, the environment
 * or the keyboard.
 *
 * Errors     -EINVAL and a sentence that names the source and never the secret.
 * Ownership  secrets are in struct secret.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "crypto/secret.h"

/* A token: one line, without the line's end. "-" reads standard input. */
int secret_input_token_file(const char *path, struct secret *ret, struct error *err);

/* The same rules for a token that stands in memory already, such as an argument. */
int secret_input_token_text(const char *text, const char *source, struct secret *ret,
                            struct error *err);

/* Asks on the terminal without an echo. -ENOTTY: there is none. */
int secret_input_prompt(const char *question, struct secret *ret, struct error *err);

/* A whole PEM file. what names it in sentences: "client certificate". */
int secret_input_pem(const char *path, const char *what, bool is_key, struct secret *ret,
                     struct error *err);
