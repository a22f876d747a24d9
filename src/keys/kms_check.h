/* kms_check.h - what `kms check` finds out: each step of the chain from the name of the server to
 * a trial of the key, its result, and what to do where it is not well.
 *
 * A provider describes its steps as a table; a step that needs one that failed is skipped. Steps
 * are reported as they are done. Nothing is changed on the server, and no key is ever made.
 *
 * Units      seconds since 1970 for dates.
 * Errors     none: a failure is a step.
 * Ownership  a reported step is valid during the call; its name and address are the provider's.
 * Threads    one check is used by one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/tls.h"

struct dial_addresses;

enum kms_check_result {
    KMS_CHECK_OK,
    KMS_CHECK_WARNING, /* it works, but should not stay so */
    KMS_CHECK_FAILED,
    KMS_CHECK_SKIPPED,
};

/* What kind of failure: the exit code of `coffer security kms check` tells it. */
enum kms_check_class {
    KMS_CHECK_NONE,
    KMS_CHECK_UNREACHABLE, /* no such name, nobody answers, no answer in time */
    KMS_CHECK_TLS,         /* no trusted connection */
    KMS_CHECK_NOT_SERVING, /* sealed, not initialised, overloaded, without a leader */
    KMS_CHECK_LOGIN,       /* who we are is not accepted */
    KMS_CHECK_PERMISSION,  /* we may not do what is needed */
    KMS_CHECK_MISSING,     /* no such namespace, engine or key */
    KMS_CHECK_UNUSABLE,    /* the key is of a wrong kind or state */
    KMS_CHECK_ANSWER,      /* the answer makes no sense */
};

struct kms_check_step {
    const char *name;    /* "resolve", "tls", ... */
    const char *address; /* as configured; "" if it is about no single one */
    enum kms_check_result result;
    enum kms_check_class class;
    char text[640];
    char action[640]; /* what to do; "" with KMS_CHECK_OK and KMS_CHECK_SKIPPED */
};

typedef void kms_check_report_fn(void *arg, const struct kms_check_step *step);

struct kms_check {
    kms_check_report_fn *report;
    void *arg;
    const char *address; /* that the next steps are about */
    struct kms_check_step step;
};

/* "ok", "tls": as the REST interface names them. */
const char *kms_check_result_name(enum kms_check_result result);
const char *kms_check_class_name(enum kms_check_class class);

/* What to do; goes with the warning or failure that is reported next. */
void kms_check_advise(struct kms_check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Each reports one step, and is worth whether those that need it may go on. */
bool kms_check_ok(struct kms_check *check, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool kms_check_warn(struct kms_check *check, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool kms_check_fail(struct kms_check *check, const char *name, enum kms_check_class class,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
bool kms_check_skip(struct kms_check *check, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The class of what a provider's call returned. */
enum kms_check_class kms_check_class_of(int r);

#define KMS_CHECK_NEEDS(index) (1u << (index))

struct kms_check_plan {
    const char *name;
    unsigned needs;         /* KMS_CHECK_NEEDS() of earlier ones */
    bool (*run)(void *arg); /* reports itself */
};

void kms_check_run(struct kms_check *check, const struct kms_check_plan *plan, size_t count,
                   void *arg);

/* How long something that ends is good for: "29 days", "5 hours". */
#define KMS_CHECK_TIME_SIZE 48u
void kms_check_span(int64_t seconds, char ret[static KMS_CHECK_TIME_SIZE]);
void kms_check_date(int64_t at_s, char ret[static KMS_CHECK_TIME_SIZE]);

/* True if so much of a certificate's life is over that it must be renewed: less than 30 days and
 * less than a quarter of it are left. */
bool kms_check_ends_soon(const struct tls_validity *validity, int64_t now_s);

/* The network's part, for all providers. Steps: resolve, connect, tls. */
struct kms_check_reach {
    struct kms_check *check;
    struct tls_target target;
    const char *trust_advice; /* how a private CA comes to be trusted */
    struct dial_addresses *addresses;
    int fd; /* -1 */
};

bool kms_check_resolve(struct kms_check_reach *reach);
bool kms_check_connect(struct kms_check_reach *reach);
bool kms_check_tls(struct kms_check_reach *reach);
void kms_check_reach_release(struct kms_check_reach *reach);
