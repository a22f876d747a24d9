/* store_case.h - an object store that is tested: opened anew for each test, wrapped by the layers
 * that its kind names.
 *
 * A kind is "memory", "dir" or "s3", and then "+layer" for each layer around it, the innermost
 * first: "dir+fault". Where the S3 server is, the variables COFFER_TEST_S3_HOSTNAME, _PORT,
 * _BUCKET, _ACCESS_KEY_ID and _SECRET_KEY say. Any failure in here fails the test.
 */
#pragma once

#include <stdbool.h>

#include "store/object_store.h"

struct store_case {
    const char *kind;
    char folder[64]; /* or a prefix in a bucket; empty, if the store has none */
    struct object_store *store;
};

/* cmocka's: *state is the kind before, the struct store_case after. */
int store_case_setup(void **state);
int store_case_teardown(void **state);

bool store_case_has_folder(const struct store_case *c);
bool store_case_is_s3(const struct store_case *c);

/* A store of the same kind over the same folder, for the caller to close. */
struct object_store *store_case_open(const struct store_case *c);

/* Closes and opens again. Only for a store that has a folder: others forget. */
void store_case_reopen(struct store_case *c);

struct bytes text(const char *s);

/* put must work. */
void store_case_put(struct store_case *c, const char *name, const char *value);

/* The object is that; NULL: there is none. */
void store_case_expect(struct store_case *c, const char *name, const char *value);

/* The same for an object that is appended to, and for one that is read. */
struct object_writer *store_case_create(struct store_case *c, const char *name);
struct object *store_case_open_object(struct store_case *c, const char *name);
void store_case_write(struct object_writer *writer, uint64_t offset, const char *value);
void store_case_expect_size(struct store_case *c, const char *name, uint64_t expected);

/* r is that code, the error says so in a sentence; it is emptied for the next call. */
void store_case_expect_error(int r, int code, struct error *err);

/* The bytes of a block of a test's object, which differ from those of others, and are not zeros. */
void store_case_fill(uint8_t *to, size_t len, unsigned block);
