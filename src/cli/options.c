#include "cli/options.h"

#include <errno.h>
#include <string.h>

static const struct option_spec *find_long(const struct option_tables *tables, const char *name,
                                           size_t len)
{
    for (size_t i = 0; i < tables->count; i++) {
        for (const struct option_spec *spec = tables->tables[i]; spec->name; spec++) {
            if (strlen(spec->name) == len && memcmp(spec->name, name, len) == 0)
                return spec;
        }
    }
    return NULL;
}

static const struct option_spec *find_short(const struct option_tables *tables, char letter)
{
    for (size_t i = 0; i < tables->count; i++) {
        for (const struct option_spec *spec = tables->tables[i]; spec->name; spec++) {
            if (spec->letter == letter)
                return spec;
        }
    }
    return NULL;
}

static int take_next(struct option_scan *scan, struct option_given *given, struct error *err)
{
    if (scan->at >= scan->argc) {
        return error_set(err, -EINVAL, "--%s needs a value: --%s <%s>", given->spec->name,
                         given->spec->name, given->spec->value);
    }
    given->value = scan->argv[scan->at++];
    return OPTION_OPTION;
}

static int read_long(struct option_scan *scan, const struct option_tables *tables, char *text,
                     struct option_given *ret, struct error *err)
{
    size_t len = strcspn(text, "=");
    struct option_given given = { .spec = find_long(tables, text, len) };

    if (!given.spec)
        return error_set(err, -EINVAL, "there is no option --%.*s here", (int)len, text);
    if (!given.spec->value && text[len] == '=')
        return error_set(err, -EINVAL, "--%s takes no value", given.spec->name);
    if (given.spec->value && text[len] == '=') {
        given.value = text + len + 1;
    } else if (given.spec->value) {
        int r = take_next(scan, &given, err);
        if (r < 0)
            return r;
    }
    *ret = given;
    return OPTION_OPTION;
}

static int read_short(struct option_scan *scan, const struct option_tables *tables, char *text,
                      struct option_given *ret, struct error *err)
{
    struct option_given given = { .spec = find_short(tables, text[0]) };

    scan->cluster = NULL;
    if (!given.spec)
        return error_set(err, -EINVAL, "there is no option -%c here", text[0]);
    if (given.spec->value && text[1] != '\0') {
        given.value = text + 1;
    } else if (given.spec->value) {
        int r = take_next(scan, &given, err);
        if (r < 0)
            return r;
    } else if (text[1] != '\0') {
        scan->cluster = text + 1;
    }
    *ret = given;
    return OPTION_OPTION;
}

int option_next(struct option_scan *scan, const struct option_tables *tables,
                struct option_given *ret, struct error *err)
{
    if (scan->cluster)
        return read_short(scan, tables, scan->cluster, ret, err);
    if (!scan->only_words && scan->at < scan->argc && strcmp(scan->argv[scan->at], "--") == 0) {
        scan->only_words = true;
        scan->at++;
    }
    if (scan->at >= scan->argc)
        return OPTION_END;

    char *text = scan->argv[scan->at++];
    /* A lone "-" is a word: it stands for standard input. */
    if (scan->only_words || text[0] != '-' || text[1] == '\0') {
        *ret = (struct option_given){ .value = text };
        return OPTION_WORD;
    }
    if (text[1] == '-')
        return read_long(scan, tables, text + 2, ret, err);
    return read_short(scan, tables, text + 1, ret, err);
}

static int keep(struct arguments *arguments, int found, const struct option_given *given,
                struct error *err)
{
    if (found == OPTION_WORD) {
        if (arguments->n_words == WORDS_MAX)
            return error_set(err, -EINVAL, "too many words; quote those that belong together");
        arguments->words[arguments->n_words++] = given->value;
        return 0;
    }
    if (arguments->n_options == OPTIONS_GIVEN_MAX)
        return error_set(err, -EINVAL, "too many options; give each once");
    arguments->options[arguments->n_options++] = *given;
    return 0;
}

int arguments_read(struct option_scan *scan, const struct option_tables *tables,
                   struct arguments *ret, struct error *err)
{
    for (;;) {
        struct option_given given;
        int found = option_next(scan, tables, &given, err);
        if (found == OPTION_END)
            return 0;
        if (found == OPTION_WORD && scan->skip && scan->skip[scan->at - 1])
            continue;
        if (found > 0)
            found = keep(ret, found, &given, err);
        if (found < 0)
            return found;
    }
}

const char *arguments_value(const struct arguments *arguments, const char *name)
{
    for (size_t i = arguments->n_options; i-- > 0;) {
        if (strcmp(arguments->options[i].spec->name, name) == 0)
            return arguments->options[i].value;
    }
    return NULL;
}

bool arguments_has(const struct arguments *arguments, const char *name)
{
    for (size_t i = 0; i < arguments->n_options; i++) {
        if (strcmp(arguments->options[i].spec->name, name) == 0)
            return true;
    }
    return false;
}
