/* s3_explain.c - what a refusal of an S3 server means, and what to do about it. The codes are those
 * of AWS, and where others have their own, those too. */
#include <errno.h>
#include <string.h>

#include "base/clean_text.h"
#include "store/s3/s3_client.h"

static bool is_one_of(const char *code, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(code, *list) == 0)
            return true;
    return false;
}

bool s3_may_pass(int status, const struct s3_fault *fault)
{
    static const char *const codes[] = {
        "SlowDown",
        "RequestTimeout",
        "InternalError",
        "ServiceUnavailable",
        "ServerBusy",
        "Throttling",
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
        "OperationAborted",
        "ConditionalRequestConflict",
        NULL,
    };

    if (status >= 200 && status < 300)
        return false;
    return status == 429 || status == 408 || (status >= 500 && status != 501 && status != 507) ||
           is_one_of(fault->code, codes);
}

/* What the policy of the access key must allow for a call. */
static const char *permission(const struct s3_call *call)
{
    if (call->name == NULL)
        return "s3:ListBucket";
    if (strcmp(call->method, "GET") == 0 || strcmp(call->method, "HEAD") == 0)
        return "s3:GetObject (and s3:ListBucket, to be told that an object is not there)";
    if (strcmp(call->method, "DELETE") == 0)
        return call->query != NULL ? "s3:AbortMultipartUpload" : "s3:DeleteObject";
    return "s3:PutObject";
}

static int explain_key(const struct s3_refusal *refusal, struct error *err)
{
    static const char *const unknown[] = { "InvalidAccessKeyId", "XAdminUserNotFound",
                                           "InvalidToken", "ExpiredToken", NULL };
    const char *code = refusal->fault.code;

    if (strcmp(code, "SignatureDoesNotMatch") == 0)
        return error_set(err, -EACCES,
                         "%s does not accept the signature: the secret key is not that of the "
                         "access key id %s; give the right one with --secret-key",
                         refusal->place, refusal->settings->access_key_id);
    if (is_one_of(code, unknown))
        return error_set(err, -EACCES,
                         "%s does not know the access key id %s, or it was disabled: check it, and "
                         "give the right one with --access-key-id",
                         refusal->place, refusal->settings->access_key_id);
    return 0;
}

static int explain_time(const struct s3_refusal *refusal, struct error *err)
{
    char date[64];

    if (strcmp(refusal->fault.code, "RequestTimeTooSkewed") != 0 &&
        strcmp(refusal->fault.code, "RequestExpired") != 0)
        return 0;
    clean_text(refusal->server_date, date, sizeof(date));
    return error_set(err, -EACCES,
                     "%s refuses requests because the clock of this host and its own differ too "
                     "much (there it is %s): set the clock, and have it kept by NTP",
                     refusal->place, date[0] != '\0' ? date : "another time");
}

static int explain_region(const struct s3_refusal *refusal, struct error *err)
{
    static const char *const codes[] = { "AuthorizationHeaderMalformed",
                                         "PermanentRedirect",
                                         "TemporaryRedirect",
                                         "InvalidRegion",
                                         "IllegalLocationConstraintException",
                                         NULL };
    char region[S3_REGION_SIZE];

    clean_text(refusal->server_region[0] != '\0' ? refusal->server_region : refusal->fault.region,
               region, sizeof(region));
    if (!is_one_of(refusal->fault.code, codes) && refusal->status != 301 &&
        refusal->status != 307 &&
        !(refusal->status == 400 && strcmp(region, refusal->settings->region) != 0 &&
          region[0] != '\0'))
        return 0;
    if (region[0] != '\0' && strcmp(region, refusal->settings->region) != 0)
        return error_set(err, -ENXIO,
                         "%s lies in the region %s and not in %s: give --region %s and the host "
                         "name of that region",
                         refusal->place, region, refusal->settings->region, region);
    return error_set(err, -ENXIO,
                     "%s is not served here under the region %s (%s): give the bucket's region "
                     "with --region, and the host name that belongs to it",
                     refusal->place, refusal->settings->region,
                     refusal->fault.message[0] != '\0' ? refusal->fault.message
                                                       : "the server redirects");
}

static int explain_place(const struct s3_refusal *refusal, struct error *err)
{
    if (strcmp(refusal->fault.code, "NoSuchBucket") == 0)
        return error_set(err, -ENXIO,
                         "there is no %s: create the bucket, or name another one with --bucket",
                         refusal->place);
    if (refusal->status == 507 || strcmp(refusal->fault.code, "QuotaExceeded") == 0 ||
        strcmp(refusal->fault.code, "XMinioStorageFull") == 0)
        return error_set(err, -ENOSPC, "%s is full, or its quota is used up", refusal->place);
    if (refusal->status == 403)
        return error_set(
            err, -EACCES, "%s denies access to the access key id %s: its policy must allow %s",
            refusal->place, refusal->settings->access_key_id, permission(refusal->call));
    if (refusal->status == 501)
        return error_set(err, -EOPNOTSUPP,
                         "%s cannot do what coffer needs (%s): it must support If-None-Match and "
                         "signature version 4",
                         refusal->place,
                         refusal->fault.message[0] != '\0' ? refusal->fault.message : "status 501");
    return 0;
}

int s3_explain(const struct s3_refusal *refusal, struct error *err)
{
    int r = explain_key(refusal, err);

    if (r == 0)
        r = explain_time(refusal, err);
    if (r == 0)
        r = explain_region(refusal, err);
    if (r == 0)
        r = explain_place(refusal, err);
    if (r < 0)
        return r;
    return error_set(err, -EIO, "%s answers %s with status %d%s%s%s%s", refusal->place,
                     refusal->call->method, refusal->status,
                     refusal->fault.code[0] != '\0' ? ", " : "", refusal->fault.code,
                     refusal->fault.message[0] != '\0' ? ": " : "", refusal->fault.message);
}
