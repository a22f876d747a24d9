/* scripted_s3.h - an S3 store whose server answers by a script (fake_s3.h), and whose pauses are
 * noted and not slept. Any failure in here fails the test. */
#pragma once

#include "base/error.h"
#include "store/s3_store.h"
#include "tests/support/fake_s3.h"

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define FAULT(code, message)                                                                       \
    XML "<Error><Code>" code "</Code><Message>" message "</Message></Error>"

struct scripted {
    struct fake_s3 *fake;
    struct object_store *store;
    struct retry_policy retry;
    int64_t pauses[16];
    unsigned pause_count;
    struct error err;
};

#define BEGIN(s, script) scripted_begin(s, script, sizeof(script) / sizeof((script)[0]))

void scripted_begin(struct scripted *s, const struct fake_answer *script, size_t count);
/* All of the script was used, and no error named the secret key. */
void scripted_end(struct scripted *s);

/* Of a server on this port. The caller's to release. */
void scripted_settings(struct s3_settings *settings, uint16_t port);

/* r is code, and the sentence in s->err has part in it. */
void scripted_expect(struct scripted *s, int r, int code, const char *part);
void expect_part(const char *text, const char *part);
