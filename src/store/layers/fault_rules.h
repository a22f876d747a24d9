/* fault_rules.h - which operations are to fail, and as what. For layers/fault.h, which says what
 * the rules mean.
 *
 * Errors     0 or a negative errno. -EINVAL: the text is none of rules; the sentence names the
 * line. Threads    one at a time.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "store/layers/fault.h"

#define FAULT_RULES_MAX 32u

struct fault_rule {
    enum fault_op op;
    char prefix[OBJECT_NAME_MAX + 1];
    unsigned skip;
    unsigned times;
    int code;
};

struct fault_rules {
    struct fault_rule rules[FAULT_RULES_MAX];
    unsigned count;
};

int fault_rules_add(struct fault_rules *rules, const struct fault_rule *rule, struct error *err);

/* On success *ret is what the text says; else it is left alone. */
int fault_rules_parse(struct bytes text, struct fault_rules *ret, struct error *err);

/* Counts a call; true if a rule hits it, of which *ret_code is the code. */
bool fault_rules_hit(struct fault_rules *rules, enum fault_op op, const char *name, int *ret_code);
