/* kms_options.h - what "security kms set" is given, checked before anybody is contacted: which
 * parameters each type of KMS needs and which it must not have.
 *
 * Errors     -EINVAL: one sentence for each rule, which says what to give instead.
 * Ownership  texts are borrowed from the command line.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

struct kms_options {
    const char *type;
    const char *address;
    const char *key;
    const char *token;      /* "-": standard input */
    const char *token_file; /* "-": likewise */
    bool secret_from_stdin; /* the word "-": token, secret ID or password */
    bool no_token_renewal;
    const char *role_id;
    const char *secret_id;      /* "-": standard input */
    const char *secret_id_file; /* "-": likewise */
    const char *kubernetes_role;
    const char *kubernetes_token_path;
    const char *auth_path;
    const char *namespace;
    const char *transit_path;
    const char *client_cert; /* paths of PEM files */
    const char *client_key;
    const char *ca_cert;
    const char *username;
    const char *password_file; /* "-": standard input */
    const char *cipher_mode;   /* "cbc", "gcm" */
    bool insecure_http;
    bool converts; /* filesystems with a key of their own to this one */
};

bool kms_options_is_vault(const struct kms_options *options);

/* Which secret logs in to a vault. A role of Kubernetes needs none from here. */
bool kms_options_needs_token(const struct kms_options *options);
bool kms_options_needs_secret_id(const struct kms_options *options);
bool kms_options_needs_password(const struct kms_options *options);

int kms_options_check(const struct kms_options *options, struct error *err);
