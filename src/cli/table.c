/* A table is made in three steps: the columns that are shown are chosen, the rows are filtered
 * and sorted (by what is shown, but numbers by their value), and one of four printers runs. */
#include "cli/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/capacity.h"

#define COLUMNS_MAX 32u
#define CELL_SIZE 64

struct sort_key {
    const struct column *column;
    bool descending;
};

struct table {
    const struct table_request *request;
    const struct column *shown[COLUMNS_MAX];
    size_t n_shown;
    struct sort_key sort[COLUMNS_MAX];
    size_t n_sort;
    json_t **rows; /* borrowed */
    size_t n_rows;
};

static void table_release(struct table *table)
{
    free(table->rows);
}

int table_format_parse(const char *text, enum table_format *ret, struct error *err)
{
    static const char *const names[] = { "view", "csv", "markdown", "json" };

    for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *ret = (enum table_format)i;
            return 0;
        }
    }
    return error_set(err, -EINVAL,
                     "'%s' is no output format; give --format view, csv, markdown or json", text);
}

/* ------------------------------------------------------------------ names of columns */

static bool same_name(const char *a, const char *b, size_t b_len)
{
    const char *end = b + b_len;

    for (;;) {
        while (*a == '_' || *a == '-')
            a++;
        while (b < end && (*b == '_' || *b == '-'))
            b++;
        if (*a == '\0' || b == end)
            return *a == '\0' && b == end;
        if (strncasecmp(a++, b++, 1) != 0)
            return false;
    }
}

static const struct column *find_column(const struct column *columns, const char *name, size_t len)
{
    for (; columns->heading; columns++) {
        if (same_name(columns->key, name, len))
            return columns;
    }
    return NULL;
}

static int no_such_column(const struct column *columns, const char *name, size_t len,
                          struct error *err)
{
    char known[400] = "";
    size_t used = 0;

    for (; columns->heading && used < sizeof(known); columns++) {
        int n =
            snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", columns->key);
        used += n > 0 ? (size_t)n : 0;
    }
    return error_set(err, -EINVAL, "there is no column '%.*s'; there are %s", (int)len, name,
                     known);
}

static int choose_columns(struct table *table, const struct column *columns, struct error *err)
{
    const char *text = table->request->columns;

    for (const struct column *c = columns; !text && c->heading; c++) {
        if ((!c->hidden || table->request->all_columns) && table->n_shown < COLUMNS_MAX)
            table->shown[table->n_shown++] = c;
    }
    while (text && *text != '\0') {
        size_t len = strcspn(text, ",");
        const struct column *column = find_column(columns, text, len);
        if (!column)
            return no_such_column(columns, text, len, err);
        if (table->n_shown == COLUMNS_MAX)
            return error_set(err, -EINVAL, "too many columns; give at most %u", COLUMNS_MAX);
        table->shown[table->n_shown++] = column;
        text += len + (text[len] == ',');
    }
    if (table->n_shown == 0)
        return error_set(err, -EINVAL, "no columns were named; give --output name,status");
    return 0;
}

static int choose_order(struct table *table, const struct column *columns, struct error *err)
{
    const char *text = table->request->sort;

    while (text && *text != '\0') {
        struct sort_key key = { .descending = *text == '-' };
        text += *text == '-' || *text == '+';
        size_t len = strcspn(text, ",");
        key.column = find_column(columns, text, len);
        if (!key.column)
            return no_such_column(columns, text, len, err);
        if (table->n_sort == COLUMNS_MAX)
            return error_set(err, -EINVAL, "too many columns to sort by");
        table->sort[table->n_sort++] = key;
        text += len + (text[len] == ',');
    }
    return 0;
}

/* ------------------------------------------------------------------ cells */

/* What is shown: a string of the row, or written into room. */
static const char *cell_text(const struct column *column, const json_t *row, bool raw_units,
                             char room[static CELL_SIZE])
{
    const json_t *value = json_object_get(row, column->key);

    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_boolean(value))
        return json_is_true(value) ? "true" : "false";
    if (!json_is_integer(value))
        return "";

    json_int_t number = json_integer_value(value);
    if (number == 0 && column->zero_is && !raw_units)
        (void)snprintf(room, CELL_SIZE, "%s", column->zero_is);
    else if (column->kind != COLUMN_CAPACITY || raw_units || number < 0)
        (void)snprintf(room, CELL_SIZE, "%lld", (long long)number);
    else
        capacity_format((uint64_t)number, room);
    return room;
}

static bool cell_equals(const struct column *column, const json_t *row, const char *wanted)
{
    char room[CELL_SIZE];
    const json_t *value = json_object_get(row, column->key);

    if (strcasecmp(cell_text(column, row, false, room), wanted) == 0 ||
        strcasecmp(cell_text(column, row, true, room), wanted) == 0)
        return true;

    /* "1GiB" finds what is shown as "1.00 GiB". */
    uint64_t bytes = 0;
    return column->kind == COLUMN_CAPACITY && json_is_integer(value) &&
           capacity_parse(wanted, &bytes, NULL) == 0 &&
           json_integer_value(value) == (json_int_t)bytes;
}

static int compare_cells(const struct column *column, const json_t *a, const json_t *b)
{
    const json_t *left = json_object_get(a, column->key);
    const json_t *right = json_object_get(b, column->key);
    char left_room[CELL_SIZE];
    char right_room[CELL_SIZE];

    if (json_is_integer(left) && json_is_integer(right)) {
        json_int_t x = json_integer_value(left);
        json_int_t y = json_integer_value(right);
        return (x > y) - (x < y);
    }
    return strcasecmp(cell_text(column, a, true, left_room),
                      cell_text(column, b, true, right_room));
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct table *table = context;
    const json_t *left = *(json_t *const *)a;
    const json_t *right = *(json_t *const *)b;

    for (size_t i = 0; i < table->n_sort; i++) {
        int order = compare_cells(table->sort[i].column, left, right);
        if (order != 0)
            return table->sort[i].descending ? -order : order;
    }
    return 0;
}

/* ------------------------------------------------------------------ rows */

/* 1: the row stays; 0: it does not. */
static int row_passes(const struct table_request *request, const struct column *columns,
                      const json_t *row, struct error *err)
{
    for (size_t i = 0; i < request->n_filters; i++) {
        const char *filter = request->filters[i];
        size_t len = strcspn(filter, "=");
        if (filter[len] != '=') {
            return error_set(err, -EINVAL, "'%s' is no filter; write --filter column=value",
                             filter);
        }
        const struct column *column = find_column(columns, filter, len);
        if (!column)
            return no_such_column(columns, filter, len, err);
        const char *wanted = filter + len + 1;
        bool negated = *wanted == '~';
        if (cell_equals(column, row, wanted + negated) == negated)
            return 0;
    }
    return 1;
}

static int choose_rows(struct table *table, const struct column *columns, const json_t *rows,
                       struct error *err)
{
    size_t n = json_array_size(rows);

    /* A wrong filter is told about even when there is nothing to filter. */
    if (n == 0)
        return row_passes(table->request, columns, NULL, err) < 0 ? -EINVAL : 0;

    table->rows = calloc(n, sizeof(json_t *)); /* NOLINT(bugprone-sizeof-expression) */
    if (!table->rows)
        return error_set(err, -ENOMEM, "there is not enough memory for the list");
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array_get(rows, i);
        int r = row_passes(table->request, columns, row, err);
        if (r < 0)
            return r;
        if (r > 0)
            table->rows[table->n_rows++] = row;
    }
    if (table->n_sort > 0)
        qsort_r(table->rows, table->n_rows,
                sizeof(json_t *), /* NOLINT(bugprone-sizeof-expression) */
                compare_rows, table);
    return 0;
}

/* ------------------------------------------------------------------ printers */

static const char *status_color(const char *status)
{
    static const struct {
        const char *status;
        const char *color;
    } colors[] = {
        { "mounted", "green" },   { "started", "green" },
        { "starting", "yellow" }, { "waiting-for-kms", "yellow" },
        { "failed", "red" },      { "critical", "red" },
        { "ok", "green" },        { "warning", "yellow" },
    };

    for (size_t i = 0; i < sizeof(colors) / sizeof(colors[0]); i++) {
        if (strcmp(status, colors[i].status) == 0)
            return colors[i].color;
    }
    return NULL;
}

static int add_line(struct libscols_table *view, const struct table *table, const json_t *row)
{
    struct libscols_line *line = scols_table_new_line(view, NULL);
    char room[CELL_SIZE];
    int r = line ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < table->n_shown; i++) {
        const struct column *column = table->shown[i];
        const char *text = cell_text(column, row, table->request->raw_units, room);
        r = scols_line_set_data(line, i, text);
        const char *color = column->kind == COLUMN_STATUS ? status_color(text) : NULL;
        if (r == 0 && color && table->request->color)
            r = scols_cell_set_color(scols_line_get_cell(line, i), color);
    }
    return r;
}

static void unref_view(struct libscols_table **view)
{
    scols_unref_table(*view);
}

static int print_view(FILE *out, const struct table *table)
{
    CLEANUP(unref_view) struct libscols_table *view = scols_new_table();

    if (!view)
        return -ENOMEM;
    (void)scols_table_set_stream(view, out);
    (void)scols_table_enable_noheadings(view, table->request->no_header);
    (void)scols_table_enable_colors(view, table->request->color);
    if (!isatty(fileno(out)))
        (void)scols_table_set_termforce(view, SCOLS_TERMFORCE_NEVER);
    for (size_t i = 0; i < table->n_shown; i++) {
        bool is_number =
            table->shown[i]->kind == COLUMN_NUMBER || table->shown[i]->kind == COLUMN_CAPACITY;
        if (!scols_table_new_column(view, table->shown[i]->heading, 0,
                                    is_number ? SCOLS_FL_RIGHT : 0))
            return -ENOMEM;
    }
    for (size_t i = 0; i < table->n_rows; i++) {
        int r = add_line(view, table, table->rows[i]);
        if (r < 0)
            return r;
    }
    return scols_print_table(view);
}

/* RFC 4180: quoted when it must be, a quote doubled. */
static void print_csv_cell(FILE *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        (void)fputs(text, out);
        return;
    }
    (void)fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            (void)fputc('"', out);
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

static void print_markdown_cell(FILE *out, const char *text)
{
    (void)fputc(' ', out);
    for (; *text != '\0'; text++) {
        if (*text == '|')
            (void)fputc('\\', out);
        (void)fputc(*text == '\n' ? ' ' : *text, out);
    }
    (void)fputs(" |", out);
}

/* The line of names in CSV: the key, which --output and --filter take as well. */
static void print_csv(FILE *out, const struct table *table)
{
    char room[CELL_SIZE];

    for (size_t i = 0; !table->request->no_header && i < table->n_shown; i++)
        (void)fprintf(out, "%s%s", table->shown[i]->key, i + 1 < table->n_shown ? "," : "\n");
    for (size_t row = 0; row < table->n_rows; row++) {
        for (size_t i = 0; i < table->n_shown; i++) {
            print_csv_cell(
                out, cell_text(table->shown[i], table->rows[row], table->request->raw_units, room));
            (void)fputc(i + 1 < table->n_shown ? ',' : '\n', out);
        }
    }
}

static void print_markdown(FILE *out, const struct table *table)
{
    char room[CELL_SIZE];

    if (!table->request->no_header) {
        (void)fputc('|', out);
        for (size_t i = 0; i < table->n_shown; i++)
            print_markdown_cell(out, table->shown[i]->heading);
        (void)fputs("\n|", out);
        for (size_t i = 0; i < table->n_shown; i++)
            (void)fputs(" --- |", out);
        (void)fputc('\n', out);
    }
    for (size_t row = 0; row < table->n_rows; row++) {
        (void)fputc('|', out);
        for (size_t i = 0; i < table->n_shown; i++)
            print_markdown_cell(
                out, cell_text(table->shown[i], table->rows[row], table->request->raw_units, room));
        (void)fputc('\n', out);
    }
}

/* Whole objects, or with --output only the keys that it names. */
static json_t *json_row(const struct table *table, json_t *row)
{
    if (!table->request->columns)
        return json_incref(row);

    json_t *chosen = json_object();
    for (size_t i = 0; chosen && i < table->n_shown; i++) {
        const char *key = table->shown[i]->key;
        json_t *value = json_object_get(row, key);
        if (value && json_object_set(chosen, key, value) < 0) {
            json_decref(chosen);
            return NULL;
        }
    }
    return chosen;
}

static int print_json(FILE *out, const struct table *table)
{
    json_t *rows = json_array();
    int r = rows ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < table->n_rows; i++) {
        json_t *row = json_row(table, table->rows[i]);
        r = row && json_array_append_new(rows, row) == 0 ? 0 : -ENOMEM;
    }
    if (r == 0 && json_dumpf(rows, out, JSON_INDENT(2)) < 0)
        r = -EIO;
    if (r == 0)
        (void)fputc('\n', out);
    json_decref(rows);
    return r;
}

int table_print(FILE *out, const struct column *columns, const json_t *rows,
                const struct table_request *request, struct error *err)
{
    CLEANUP(table_release) struct table table = { .request = request };
    int r = choose_columns(&table, columns, err);

    if (r == 0)
        r = choose_order(&table, columns, err);
    if (r == 0)
        r = choose_rows(&table, columns, rows, err);
    if (r < 0)
        return r;

    switch (request->format) {
    case TABLE_VIEW:
        r = print_view(out, &table);
        break;
    case TABLE_CSV:
        print_csv(out, &table);
        break;
    case TABLE_MARKDOWN:
        print_markdown(out, &table);
        break;
    case TABLE_JSON:
        r = print_json(out, &table);
        break;
    }
    if (r < 0)
        return error_set(err, r, "cannot print the list: %s", strerrordesc_np(-r));
    return 0;
}
