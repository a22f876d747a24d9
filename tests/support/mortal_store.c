#include "tests/support/mortal_store.h"

#include <errno.h>

/* 1: it is to be done, and answered; 0: done, and not answered; else it is not done. */
static int begin(struct mortal_store *mortal, const char *operation, const char *name)
{
    if (mortal->left == 0)
        return -EOWNERDEAD;
    if (mortal->before) {
        int r = mortal->before(operation, name, mortal->arg);
        if (r < 0)
            return r;
    }
    atomic_fetch_add(&mortal->operations, 1);
    if (atomic_load(&mortal->left) == MORTAL_FOREVER || atomic_fetch_sub(&mortal->left, 1) > 1)
        return 1;
    return mortal->dies_unanswered ? 0 : -EOWNERDEAD;
}

static int dead(struct error *err)
{
    return error_set(err, -EOWNERDEAD, "this user of the store is dead");
}

static struct mortal_store *of(struct object_store *store)
{
    return (struct mortal_store *)store;
}

static int answer(int life, int r, struct error *err)
{
    return life == 0 ? dead(err) : r;
}

static int refuse(int life, struct error *err)
{
    return life == -EOWNERDEAD ? dead(err) : error_set(err, life, "the store fails on command");
}

static int mortal_put(struct object_store *store, const char *name, struct bytes data,
                      struct error *err)
{
    struct mortal_store *mortal = of(store);
    int life = begin(mortal, "put", name);

    if (life < 0)
        return refuse(life, err);
    int r = answer(life, object_store_put(mortal->shared, name, data, err), err);
    if (r == 0) {
        mortal->puts++;
        mortal->put_bytes += data.len;
    }
    return r;
}

static int mortal_replace(struct object_store *store, const char *name, struct bytes data,
                          struct error *err)
{
    int life = begin(of(store), "replace", name);

    if (life < 0)
        return refuse(life, err);
    return answer(life, object_store_replace(of(store)->shared, name, data, err), err);
}

static int mortal_get(struct object_store *store, const char *name, size_t max, struct buf *ret,
                      struct error *err)
{
    int life = begin(of(store), "get", name);

    if (life <= 0)
        return refuse(life < 0 ? life : -EOWNERDEAD, err);
    return object_store_get(of(store)->shared, name, max, ret, err);
}

static int mortal_open(struct object_store *store, const char *name, struct object **ret,
                       struct error *err)
{
    int life = begin(of(store), "open", name);

    if (life <= 0)
        return refuse(life < 0 ? life : -EOWNERDEAD, err);
    return object_store_open_object(of(store)->shared, name, ret, err);
}

static int mortal_remove(struct object_store *store, const char *name, struct error *err)
{
    int life = begin(of(store), "remove", name);

    if (life < 0)
        return refuse(life, err);
    return answer(life, object_store_remove(of(store)->shared, name, err), err);
}

static int mortal_list(struct object_store *store, const char *prefix, object_visit_fn *visit,
                       void *arg, struct error *err)
{
    int life = begin(of(store), "list", prefix);

    if (life <= 0)
        return refuse(life < 0 ? life : -EOWNERDEAD, err);
    if (of(store)->lists_nothing)
        return 0;
    return object_store_list(of(store)->shared, prefix, visit, arg, err);
}

static int mortal_stat(struct object_store *store, const char *name, uint64_t *ret_size,
                       struct error *err)
{
    int life = begin(of(store), "stat", name);

    if (life <= 0)
        return refuse(life < 0 ? life : -EOWNERDEAD, err);
    return object_store_stat(of(store)->shared, name, ret_size, err);
}

static void mortal_close(struct object_store *store)
{
    (void)store;
}

static const struct object_store_ops mortal_ops = {
    .type = "mortal",
    .put = mortal_put,
    .replace = mortal_replace,
    .get = mortal_get,
    .open = mortal_open,
    .remove = mortal_remove,
    .list = mortal_list,
    .stat = mortal_stat,
    .close = mortal_close,
};

void mortal_store_init(struct mortal_store *mortal, struct object_store *shared, uint64_t lives)
{
    *mortal = (struct mortal_store){ .base = { &mortal_ops }, .shared = shared, .left = lives };
}
