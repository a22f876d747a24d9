/* fake_s3.h - plays an S3 server that answers by a script, for what a real one does not do on
 * command: it is busy, breaks off, lies. It keeps what it was asked. One connection at a time, so
 * the client's concurrency is 1. Any failure in here fails the test.
 *
 * Ownership  the script is the caller's and stays until the server ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_answer {
    int status;          /* 0: the connection is closed without an answer */
    const char *headers; /* "A: b\r\n"; "%MARK%" or "%SUM%" stands for the last put's mark, or its
                          * checksum; NULL: none */
    const char *body;    /* NULL: none, and Content-Length only if headers have one */
    size_t cut;          /* so many bytes of the body are not sent, and the connection closed */
};

struct fake_s3;

struct fake_s3 *fake_s3_start(const struct fake_answer *script, size_t count);
uint16_t fake_s3_port(const struct fake_s3 *fake);

/* Ends it. All of the script was used, else the test fails. */
void fake_s3_end(struct fake_s3 *fake);

/* The first line and headers of the n-th request, from 0 on; "" if there were not so many. */
const char *fake_s3_request(const struct fake_s3 *fake, size_t n);
