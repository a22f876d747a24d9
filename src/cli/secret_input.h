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

/* Where one secret may be: the first of these that is given. */
struct secret_source {
    const char *what;      /* "token" */
    const char *needed_by; /* "vault" */
    const char *option;    /* "--token" */
    const char *variable;  /* of the environment */
    const char *alias;     /* another name for it, or NULL; both are given: they must be equal */
    const char *question;  /* "Vault token" */
    const char *text;      /* the option's value; "-": standard input; NULL: not given */
    const char *file;      /* path; "-": likewise; NULL */
    bool from_stdin;
    bool is_free_text; /* blanks and other characters belong to it */
    bool asks_twice;   /* on the terminal: it is a new one */
};

/* A token or the like: one line, without the line's end. Asks on the terminal, without an echo,
 * if it is nowhere else. */
int secret_input_read(const struct secret_source *source, struct secret *ret, struct error *err);

/* The secret ID of a vault's AppRole; option: "--secret-id". */
struct secret_source secret_source_of_role(const char *option, const char *text, const char *file,
                                           bool from_stdin);

/* A whole PEM file. what names it in sentences: "client certificate". */
int secret_input_pem(const char *path, const char *what, bool is_key, struct secret *ret,
                     struct error *err);
