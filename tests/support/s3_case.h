/* s3_case.h - the S3 server of tests: where it is, the variables COFFER_TEST_S3_HOSTNAME, _PORT,
 * _BUCKET, _ACCESS_KEY_ID and _SECRET_KEY say. If COFFER_TEST_STORE_PROGRAM is set,
 * too, that program (coffer-store) holds the bucket. Any failure in here ends the program.
 */
#pragma once

#include <stdbool.h>

#include "store/s3_store.h"

bool s3_case_is_there(void);

/* With the smallest parts that there can be. The caller's to release; secret_heap_init() came
 * before. */
void s3_case_settings(struct s3_settings *ret);

/* Below this prefix, or below one that is drawn (NULL). */
struct object_store *s3_case_open(const char *prefix);
