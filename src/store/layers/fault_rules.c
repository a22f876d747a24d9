#include "store/layers/fault_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRNO_MAX 200
#define LINE_SIZE 512u
#define FIELDS 5u

const char *fault_op_name(enum fault_op op)
{
    static const char *const names[] = { "read-short", "read-flip",  "write-torn",
                                         "sync-lose",  "sync-large", "sync-dense" };

    if (op < FAULT_READ_SHORT)
        return store_op_name((enum store_op)op);
    return names[op - FAULT_READ_SHORT];
}

/* Whether a call that a rule of this kind hits returns its code. */
static bool has_code(enum fault_op op)
{
    return op != FAULT_READ_SHORT && op != FAULT_READ_FLIP;
}

int fault_rules_add(struct fault_rules *rules, const struct fault_rule *rule, struct error *err)
{
    if (has_code(rule->op) != (rule->code < 0))
        return error_set(err, -EINVAL, "a rule for %s with code %d", fault_op_name(rule->op),
                         rule->code);
    if (rules->count == FAULT_RULES_MAX)
        return error_set(err, -EINVAL, "more than %u rules", FAULT_RULES_MAX);
    rules->rules[rules->count++] = *rule;
    return 0;
}

bool fault_rules_hit(struct fault_rules *rules, enum fault_op op, const char *name, int *ret_code)
{
    for (unsigned i = 0; i < rules->count; i++) {
        struct fault_rule *rule = &rules->rules[i];
        if (rule->op != op || strncmp(name, rule->prefix, strlen(rule->prefix)) != 0)
            continue;
        if (rule->skip > 0) {
            rule->skip--;
            continue;
        }
        if (rule->times == 0)
            continue;
        if (rule->times != FAULT_ALWAYS)
            rule->times--;
        *ret_code = rule->code;
        return true;
    }
    return false;
}

static bool parse_op(const char *word, enum fault_op *ret)
{
    for (unsigned op = 0; op < FAULT_OPS; op++) {
        if (strcmp(fault_op_name((enum fault_op)op), word) == 0) {
            *ret = (enum fault_op)op;
            return true;
        }
    }
    return false;
}

static bool parse_number(const char *word, unsigned *ret)
{
    char *end = NULL;

    if (word[0] < '0' || word[0] > '9' || strlen(word) > 9)
        return false;
    *ret = (unsigned)strtoul(word, &end, 10);
    return *end == '\0';
}

static bool parse_times(const char *word, unsigned *ret)
{
    if (strcmp(word, "*") != 0)
        return parse_number(word, ret);
    *ret = FAULT_ALWAYS;
    return true;
}

static bool parse_code(const char *word, int *ret)
{
    if (strcmp(word, "0") == 0) {
        *ret = 0;
        return true;
    }
    for (int code = 1; code < ERRNO_MAX; code++) {
        const char *name = strerrorname_np(code);
        if (name != NULL && strcmp(name, word) == 0) {
            *ret = -code;
            return true;
        }
    }
    return false;
}

static bool parse_prefix(const char *word, char to[static OBJECT_NAME_MAX + 1])
{
    if (strlen(word) > OBJECT_NAME_MAX)
        return false;
    if (strcmp(word, "*") == 0)
        word = "";
    memcpy(to, word, strlen(word) + 1);
    return true;
}

/* The words of the line, which is cut up; more than there is room for count, too. */
static unsigned split(char *line, char *ret_words[static FIELDS])
{
    unsigned count = 0;
    char *word;

    while ((word = strsep(&line, " \t")) != NULL) {
        if (word[0] == '\0')
            continue;
        if (count < FIELDS)
            ret_words[count] = word;
        count++;
    }
    return count;
}

static int parse_line(char *line, struct fault_rules *rules, struct error *err)
{
    struct fault_rule rule = { .code = 0 };
    char *words[FIELDS];

    unsigned count = split(line, words);
    if (count == 0 || words[0][0] == '#')
        return 0;
    if (count != FIELDS || !parse_op(words[0], &rule.op) || !parse_prefix(words[1], rule.prefix) ||
        !parse_number(words[2], &rule.skip) || !parse_times(words[3], &rule.times) ||
        !parse_code(words[4], &rule.code))
        return error_set(err, -EINVAL, "not of the form OPERATION PREFIX SKIP TIMES ERRNO");
    return fault_rules_add(rules, &rule, err);
}

int fault_rules_parse(struct bytes text, struct fault_rules *ret, struct error *err)
{
    struct fault_rules rules = { .count = 0 };
    char line[LINE_SIZE];

    for (unsigned number = 1; text.len > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        if (len >= sizeof(line) || memchr(text.data, '\0', len) != NULL)
            return error_set(err, -EINVAL, "line %u is no text of a rule", number);
        memcpy(line, text.data, len);
        line[len] = '\0';
        int r = parse_line(line, &rules, err);
        if (r < 0)
            return error_prefix(err, r, "line %u", number);
        len += end != NULL;
        text = (struct bytes){ text.data + len, text.len - len };
    }
    *ret = rules;
    return 0;
}
