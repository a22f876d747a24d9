/* tree_model.h - what a volume holds, kept beside it in memory: names, content, attributes. One
 * random change at a time is made to both, or to the model only, and always the same by the same
 * number, so that what a volume must be after so many changes can be found out later.
 */
#pragma once

#include "tests/support/volume_case.h"

#define TREE_NODES 48u
#define TREE_NAMES 96u

struct tree_node {
    uint32_t mode; /* 0: not in use */
    uint64_t size;
    uint8_t *data; /* of a regular file; as many */
    char xattr[24];
};

struct tree_name {
    unsigned parent; /* a node */
    unsigned node;
    char name[16]; /* empty: not in use */
};

/* Node 0 is the root. */
struct tree_model {
    struct tree_node nodes[TREE_NODES];
    struct tree_name names[TREE_NAMES];
};

void tree_model_new(struct tree_model *tree);
void tree_model_copy(const struct tree_model *from, struct tree_model *ret);
void tree_model_free(struct tree_model *tree);

/* Change number number; volume NULL: of the model only. */
void tree_model_change(struct tree_model *tree, struct volume *volume, uint64_t number);

/* True if all that is under the directory root (of the live tree or a snapshot) is as in the
 * model. If not, and is_asserted, the test fails and says where. */
bool tree_model_compare(const struct tree_model *tree, struct volume *volume, uint64_t root,
                        bool is_asserted);
