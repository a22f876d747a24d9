#include "keys/kms_check.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/dial.h"

#define STEP_LIMIT_MS 5000
#define DAY_S 86400
#define SOON_S (30 * (int64_t)DAY_S)

/* ------------------------------------------------------------------ reporting */

const char *kms_check_result_name(enum kms_check_result result)
{
    static const char *const names[] = {
        [KMS_CHECK_OK] = "ok",
        [KMS_CHECK_WARNING] = "warning",
        [KMS_CHECK_FAILED] = "failed",
        [KMS_CHECK_SKIPPED] = "skipped",
    };

    return names[result];
}

const char *kms_check_class_name(enum kms_check_class class)
{
    static const char *const names[] = {
        [KMS_CHECK_NONE] = "",           [KMS_CHECK_UNREACHABLE] = "unreachable",
        [KMS_CHECK_TLS] = "tls",         [KMS_CHECK_NOT_SERVING] = "not-serving",
        [KMS_CHECK_LOGIN] = "login",     [KMS_CHECK_PERMISSION] = "permission",
        [KMS_CHECK_MISSING] = "missing", [KMS_CHECK_UNUSABLE] = "unusable",
        [KMS_CHECK_ANSWER] = "answer",
    };

    return names[class];
}

enum kms_check_class kms_check_class_of(int r)
{
    switch (r) {
    case -EAGAIN:
        return KMS_CHECK_NOT_SERVING;
    case -EACCES:
        return KMS_CHECK_PERMISSION;
    case -ENOENT:
        return KMS_CHECK_MISSING;
    case -EKEYREVOKED:
    case -EINVAL:
        return KMS_CHECK_UNUSABLE;
    default:
        return KMS_CHECK_ANSWER;
    }
}

void kms_check_advise(struct kms_check *check, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(check->step.action, sizeof(check->step.action), format, args);
    va_end(args);
}

static void report(struct kms_check *check, const char *name, enum kms_check_result result,
                   const char *format, va_list args) __attribute__((format(printf, 4, 0)));

static void report(struct kms_check *check, const char *name, enum kms_check_result result,
                   const char *format, va_list args)
{
    struct kms_check_step *step = &check->step;

    step->name = name;
    step->address = check->address;
    step->result = result;
    (void)vsnprintf(step->text, sizeof(step->text), format, args);
    if (result == KMS_CHECK_OK || result == KMS_CHECK_SKIPPED)
        step->action[0] = '\0';
    check->report(check->arg, step);
    check->step = (struct kms_check_step){ .name = "" };
}

bool kms_check_ok(struct kms_check *check, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report(check, name, KMS_CHECK_OK, format, args);
    va_end(args);
    return true;
}

bool kms_check_warn(struct kms_check *check, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report(check, name, KMS_CHECK_WARNING, format, args);
    va_end(args);
    return true;
}

bool kms_check_fail(struct kms_check *check, const char *name, enum kms_check_class class,
                    const char *format, ...)
{
    va_list args;

    check->step.class = class;
    va_start(args, format);
    report(check, name, KMS_CHECK_FAILED, format, args);
    va_end(args);
    return false;
}

bool kms_check_skip(struct kms_check *check, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report(check, name, KMS_CHECK_SKIPPED, format, args);
    va_end(args);
    return false;
}

void kms_check_run(struct kms_check *check, const struct kms_check_plan *plan, size_t count,
                   void *arg)
{
    const char *blocked_by[sizeof(plan->needs) * CHAR_BIT] = { NULL }; /* by step */
    unsigned passed = 0;

    assert(count <= sizeof(blocked_by) / sizeof(blocked_by[0]));
    for (size_t i = 0; i < count; i++) {
        unsigned missing = plan[i].needs & ~passed;
        if (missing) {
            blocked_by[i] = blocked_by[__builtin_ctz(missing)];
            (void)kms_check_skip(check, plan[i].name, "it needs the step '%s'", blocked_by[i]);
        } else if (plan[i].run(arg)) {
            passed |= KMS_CHECK_NEEDS(i);
        } else {
            blocked_by[i] = plan[i].name;
        }
    }
}

/* ------------------------------------------------------------------ times */

void kms_check_span(int64_t seconds, char ret[static KMS_CHECK_TIME_SIZE])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = { { DAY_S, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
    size_t i = 0;

    while (i < 3 && seconds < 2 * units[i].seconds)
        i++;
    int64_t number = seconds / units[i].seconds;
    (void)snprintf(ret, KMS_CHECK_TIME_SIZE, "%lld %s%s", (long long)number, units[i].name,
                   number == 1 ? "" : "s");
}

void kms_check_date(int64_t at_s, char ret[static KMS_CHECK_TIME_SIZE])
{
    struct tm at = { 0 };
    const time_t seconds = at_s;

    if (!gmtime_r(&seconds, &at) ||
        strftime(ret, KMS_CHECK_TIME_SIZE, "%Y-%m-%d %H:%M UTC", &at) == 0)
        (void)snprintf(ret, KMS_CHECK_TIME_SIZE, "%lld", (long long)at_s);
}

bool kms_check_ends_soon(const struct tls_validity *validity, int64_t now_s)
{
    int64_t left = validity->until_s - now_s;
    int64_t life = validity->until_s - validity->from_s;

    return left < SOON_S && left < life / 4;
}

/* ------------------------------------------------------------------ the network */

static enum kms_check_class network_class(int r)
{
    return r == -EKEYREJECTED ? KMS_CHECK_TLS : KMS_CHECK_UNREACHABLE;
}

/* What failed, without the advice that net/dial.h adds: here there is a better one. */
static bool fail_to_reach(struct kms_check *check, const char *name, int r, struct error *err)
{
    char *advice = strstr(err->text, "check the address");

    if (advice && advice >= err->text + 2)
        advice[-2] = '\0';
    return kms_check_fail(check, name, network_class(r), "%s", err->text);
}

bool kms_check_resolve(struct kms_check_reach *reach)
{
    struct kms_check *check = reach->check;
    const struct tls_target *target = &reach->target;
    struct error err = { .code = 0 };
    char shown[256];

    int r = dial_resolve(target->host, target->port, clock_monotonic_ms() + STEP_LIMIT_MS,
                         &reach->addresses, &err);
    if (r < 0) {
        kms_check_advise(check,
                         "look it up on this host with 'getent ahosts %s'; correct the name with "
                         "'coffer security kms set', or add it to DNS or /etc/hosts",
                         target->host);
        return fail_to_reach(check, "resolve", r, &err);
    }
    dial_show(reach->addresses, shown, sizeof(shown));
    return kms_check_ok(check, "resolve", "%s is %s", target->host, shown);
}

bool kms_check_connect(struct kms_check_reach *reach)
{
    struct kms_check *check = reach->check;
    const struct tls_target *target = &reach->target;
    struct error err = { .code = 0 };

    int r = dial_connect(reach->addresses, clock_monotonic_ms() + STEP_LIMIT_MS, &reach->fd, &err);
    if (r == 0)
        return kms_check_ok(check, "connect", "port %u answers", target->port);
    if (r == -ETIMEDOUT)
        kms_check_advise(check,
                         "nothing comes back: have port %u opened in the firewalls between this "
                         "host and %s, and check the route",
                         target->port, target->host);
    else
        kms_check_advise(check,
                         "start the key server on %s, have it listen on port %u, or correct the "
                         "address with 'coffer security kms set'",
                         target->host, target->port);
    return fail_to_reach(check, "connect", r, &err);
}

static bool report_peer(struct kms_check *check, const struct tls_connection *connection)
{
    struct tls_peer peer = { .protocol = "" };
    char span[KMS_CHECK_TIME_SIZE], date[KMS_CHECK_TIME_SIZE];
    int64_t now_s = clock_wall_ns() / 1000000000;

    if (tls_peer(connection, &peer) < 0) {
        kms_check_advise(check, "look at the server's certificate; its dates cannot be read");
        return kms_check_warn(check, "tls", "the server's certificate has no readable dates");
    }
    kms_check_span(peer.certificate.until_s - now_s, span);
    kms_check_date(peer.certificate.until_s, date);
    if (!kms_check_ends_soon(&peer.certificate, now_s))
        return kms_check_ok(check, "tls", "%s, the server's certificate is good for %s, until %s",
                            peer.protocol, span, date);
    kms_check_advise(check, "renew the server's certificate before %s", date);
    return kms_check_warn(check, "tls", "%s, but the server's certificate ends in %s, at %s",
                          peer.protocol, span, date);
}

bool kms_check_tls(struct kms_check_reach *reach)
{
    CLEANUP(tls_closep) struct tls_connection *connection = NULL;
    struct kms_check *check = reach->check;
    const struct tls_target *target = &reach->target;
    struct error err = { .code = 0 };
    int fd = reach->fd;

    reach->fd = -1;
    int r = tls_start(target, fd, clock_monotonic_ms() + STEP_LIMIT_MS, &connection, &err);
    if (r == 0)
        return report_peer(check, connection);
    kms_check_advise(check,
                     "look at what the server shows with 'openssl s_client -connect %s:%u "
                     "-showcerts'; %s",
                     target->host, target->port, reach->trust_advice);
    return kms_check_fail(check, "tls", network_class(r), "%s", err.text);
}

void kms_check_reach_release(struct kms_check_reach *reach)
{
    dial_addresses_free(reach->addresses);
    reach->addresses = NULL;
    close_fd(&reach->fd);
    reach->fd = -1;
}
