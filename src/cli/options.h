/* options.h - splits a command line into options and words by tables of what may be given.
 *
 * Options stand anywhere, before, between and after the words, until "--". A long one takes its
 * value behind '=' or as the next argument, a short one as the rest of its argument or the next.
 *
 * Errors     -EINVAL with a sentence: an option that no table has, a missing or superfluous
 *            value, too many of everything.
 * Ownership  values and words point into argv.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define OPTIONS_GIVEN_MAX 32u
#define WORDS_MAX 16u
#define OPTION_TABLES_MAX 4u

struct option_spec {
    char letter;       /* 0: it has none */
    const char *name;  /* without the dashes */
    const char *value; /* what stands for the value in the help text; NULL: it takes none */
    const char *help;
};

/* Each table ends with an entry without a name. The first match counts. */
struct option_tables {
    const struct option_spec *tables[OPTION_TABLES_MAX];
    size_t count;
};

struct option_given {
    const struct option_spec *spec;
    char *value; /* NULL: a flag */
};

struct option_scan {
    char **argv;
    int argc;
    int at;           /* of the argument to look at next */
    char *cluster;    /* the short options left in the argument before, or NULL */
    bool only_words;  /* "--" was seen */
    const bool *skip; /* words that arguments_read() leaves out, by place in argv; or NULL */
};

enum option_found {
    OPTION_END,
    OPTION_OPTION,
    OPTION_WORD,
};

/* The next option or word, or a negative errno. A word is in ret->value. */
int option_next(struct option_scan *scan, const struct option_tables *tables,
                struct option_given *ret, struct error *err);

struct arguments {
    struct option_given options[OPTIONS_GIVEN_MAX];
    size_t n_options;
    char *words[WORDS_MAX];
    size_t n_words;
};

/* Everything that is left of a scan. */
int arguments_read(struct option_scan *scan, const struct option_tables *tables,
                   struct arguments *ret, struct error *err);

/* The value given last, or NULL. */
const char *arguments_value(const struct arguments *arguments, const char *name);
bool arguments_has(const struct arguments *arguments, const char *name);
