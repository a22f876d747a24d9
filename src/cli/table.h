/* table.h - a list of JSON objects as a table for people, or as CSV, Markdown or JSON for
 * programs, with the columns, the order and the rows that were asked for.
 *
 * Columns are named in any case, and with or without '_' and '-': kms_key, kmsKey and kms-key
 * are one. The names never change the keys of JSON output.
 *
 * Errors     -EINVAL with a sentence: an unknown column or format, a filter without '='.
 * Ownership  the caller keeps the rows.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

enum column_kind {
    COLUMN_TEXT,
    COLUMN_NUMBER,
    COLUMN_CAPACITY, /* bytes */
    COLUMN_FLAG,
    COLUMN_STATUS, /* coloured by its word */
};

struct column {
    const char *key;     /* of the JSON object */
    const char *heading; /* NULL ends a table of columns */
    enum column_kind kind;
    bool hidden;         /* shown only when named, or with --verbose */
    const char *zero_is; /* what 0 is called unless raw units are wanted, or NULL */
};

enum table_format {
    TABLE_VIEW,
    TABLE_CSV,
    TABLE_MARKDOWN,
    TABLE_JSON,
};

#define TABLE_FILTERS_MAX 16u

struct table_request {
    enum table_format format;
    const char *columns; /* separated by commas; NULL: those that are not hidden */
    const char *sort;    /* columns, each with '-' in front to turn it round; or NULL */
    const char *filters[TABLE_FILTERS_MAX]; /* column=value, or column=~value for all others */
    size_t n_filters;
    bool all_columns;
    bool no_header;
    bool raw_units; /* capacities in bytes */
    bool color;
};

int table_format_parse(const char *text, enum table_format *ret, struct error *err);

int table_print(FILE *out, const struct column *columns, const json_t *rows,
                const struct table_request *request, struct error *err);
