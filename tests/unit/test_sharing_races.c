/* Several users of one bucket at the same time, killed at any step. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "crypto/random.h"
#include "tests/support/s3_case.h"
#include "tests/support/sharing_case.h"
#include "tests/support/store_case.h"

struct world {
    struct object_store *store;
    unsigned rounds;
    atomic_uint uploaders;                            /* that have not ended */
    atomic_uint uploads, downloads, removals, deaths; /* that ended well; and not */
};

struct actor {
    struct world *world;
    unsigned seed;
};

static const char *fault(const char *text)
{
    return text;
}

/* So that others come in between. */
static int be_interrupted(const char *operation, const char *name, void *arg)
{
    struct actor *actor = arg;

    (void)operation;
    (void)name;
    for (unsigned i = (unsigned)rand_r(&actor->seed) % 8; i > 6; i--)
        (void)usleep((unsigned)rand_r(&actor->seed) % 300);
    return 0;
}

/* Half of them die within so many operations. */
static void begin_life(struct actor *actor, struct mortal_store *ret, unsigned longest)
{
    bool is_mortal = rand_r(&actor->seed) % 2 == 0;

    mortal_store_init(ret, actor->world->store,
                      is_mortal ? 1 + (unsigned)rand_r(&actor->seed) % longest : MORTAL_FOREVER);
    ret->dies_unanswered = rand_r(&actor->seed) % 2 == 0;
    ret->before = be_interrupted;
    ret->arg = actor;
}

static bool pick_head(struct actor *actor, const struct bucket *bucket, struct bucket_name *ret)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;

    if (bucket_list(bucket, BUCKET_HEAD, &heads, NULL) < 0 || heads.count == 0)
        return false;
    size_t chosen = (size_t)rand_r(&actor->seed) % heads.count;
    *ret = bucket_name_of(BUCKET_MANIFEST, heads.items[chosen].name.id);
    return true;
}

/* One upload, which after its death goes on or is given up. */
static const char *act_upload(struct actor *actor)
{
    const struct bucket immortal = sharing_bucket(actor->world->store);
    struct mortal_store mortal;
    struct sharing_snapshot snapshot;
    uint64_t size;

    sharing_draw(&snapshot, &actor->seed);
    begin_life(actor, &mortal, 40);
    const struct bucket bucket = sharing_bucket(&mortal.base);
    int r = sharing_upload(&bucket, &snapshot, &sharing_patience);
    if (r == -ECANCELED)
        return NULL; /* somebody removed it at once */
    if (r < 0 && mortal.left > 0)
        return fault("an upload failed although nobody killed it");
    if (r < 0) {
        atomic_fetch_add(&actor->world->deaths, 1);
        if (rand_r(&actor->seed) % 2 == 0)
            r = sharing_upload(&immortal, &snapshot, &sharing_patience);
    }
    const struct bucket_name head = sharing_head(&snapshot);
    if (r < 0 && bucket_stat(&immortal, &head, &size, NULL) < 0)
        (void)reference_drop(&immortal, &snapshot.upload, NULL);
    else if (r == 0)
        atomic_fetch_add(&actor->world->uploads, 1);
    return sharing_check_heads(&immortal);
}

/* Relies on a snapshot for a while. */
static const char *act_download(struct actor *actor)
{
    const struct bucket immortal = sharing_bucket(actor->world->store);
    struct sharing_snapshot snapshot;
    struct bucket_name manifest;
    struct mortal_store mortal;
    const char *wrong = NULL;
    struct uuid id;

    random_uuid(&id);
    begin_life(actor, &mortal, 12);
    const struct bucket bucket = sharing_bucket(&mortal.base);
    if (!pick_head(actor, &immortal, &manifest) ||
        sharing_read_manifest(&immortal, &manifest, &snapshot) < 0)
        return NULL;
    if (sharing_download(&bucket, &snapshot, &id, &sharing_patience) == 0) {
        atomic_fetch_add(&actor->world->downloads, 1);
        for (unsigned i = 0; i < 20 && !wrong; i++, (void)sched_yield())
            if (!sharing_is_complete(&immortal, &snapshot))
                wrong = fault("a downloaded filesystem lost what it needs");
    }
    (void)reference_drop(&immortal, &id, NULL);
    return wrong;
}

/* Removes a snapshot, or only what nobody needs; after its death goes on, or its mark is expired.
 */
static const char *act_remove(struct actor *actor)
{
    const struct bucket immortal = sharing_bucket(actor->world->store);
    struct removal_counts counts;
    struct bucket_name manifest;
    struct mortal_store mortal;
    struct error err = { .code = 0 };
    struct uuid mark;

    bool has_one = rand_r(&actor->seed) % 4 != 0 && pick_head(actor, &immortal, &manifest);
    const struct bucket_name *chosen = has_one ? &manifest : NULL;
    random_uuid(&mark);
    begin_life(actor, &mortal, 40);
    const struct bucket bucket = sharing_bucket(&mortal.base);
    int r = sharing_remove(&bucket, &mark, chosen, &counts, &err);
    if (r < 0 && mortal.left > 0)
        return fault("a removal failed although nobody killed it");
    if (r < 0) {
        atomic_fetch_add(&actor->world->deaths, 1);
        if (rand_r(&actor->seed) % 2 == 0)
            r = sharing_remove(&immortal, &mark, chosen, &counts, &err);
        else
            r = mark_expire(&immortal, &mark, &err);
    }
    if (r < 0)
        return fault("what was left of a removal could not be ended");
    atomic_fetch_add(&actor->world->removals, 1);
    return sharing_check_heads(&immortal);
}

typedef const char *act_fn(struct actor *actor);

struct role {
    struct actor actor;
    act_fn *act;
};

/* Downloads go on as long as there are uploads. */
static bool goes_on(struct role *role, unsigned round)
{
    if (role->act == act_download)
        return sched_yield() == 0 && atomic_load(&role->actor.world->uploaders) > 0;
    return round < role->actor.world->rounds;
}

static void *live(void *arg)
{
    struct role *role = arg;
    const char *wrong = NULL;

    for (unsigned i = 0; goes_on(role, i) && !wrong; i++)
        wrong = role->act(&role->actor);
    if (wrong)
        atomic_store(&sharing_stopped, true);
    if (role->act == act_upload)
        atomic_fetch_sub(&role->actor.world->uploaders, 1);
    return (void *)(uintptr_t)wrong;
}

#define ROLES 6u

static void run_all(struct world *world)
{
    static act_fn *const acts[ROLES] = { act_upload,   act_upload, act_upload,
                                         act_download, act_remove, act_remove };
    struct role roles[ROLES];
    pthread_t threads[ROLES];
    unsigned seed;

    for (unsigned i = 0; i < ROLES; i++)
        atomic_fetch_add(&world->uploaders, acts[i] == act_upload);
    random_bytes(&seed, sizeof(seed));
    print_message("# seed %u\n", seed);
    for (unsigned i = 0; i < ROLES; i++) {
        roles[i] = (struct role){ { world, seed + i }, acts[i] };
        assert_int_equal(pthread_create(&threads[i], NULL, live, &roles[i]), 0);
    }
    for (unsigned i = 0; i < ROLES; i++) {
        void *wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong)
            fail_msg("%s", (const char *)wrong);
    }
}

/* What is left of a removal that was killed between head and reference. */
static int drop_headless(const struct reference_head *head, const struct name_set *names, void *arg)
{
    const struct bucket *bucket = arg;
    uint64_t size;

    for (size_t i = 0; i < names->count; i++) {
        const struct bucket_name name = bucket_name_of(BUCKET_HEAD, names->items[i].name.id);
        if (names->items[i].name.kind == BUCKET_MANIFEST &&
            bucket_stat(bucket, &name, &size, NULL) == -ENOENT)
            return reference_drop(bucket, &head->reference, NULL);
    }
    return 0;
}

static int count_reference(const struct reference_head *head, const struct name_set *names,
                           void *arg)
{
    (void)head;
    (void)names;
    ++*(unsigned *)arg;
    return 0;
}

/* When all have ended, what is there is what the snapshots need, and no more. */
static void expect_nothing_left_over(struct bucket *bucket)
{
    CLEANUP(name_set_release) struct name_set heads = NAME_SET_INIT;
    CLEANUP(name_set_release) struct name_set needed = NAME_SET_INIT;
    struct removal_counts counts;
    unsigned references = 0;
    struct uuid mark;

    random_uuid(&mark);
    assert_int_equal(bucket_references(bucket, drop_headless, bucket, NULL), 0);
    assert_int_equal(sharing_remove(bucket, &mark, NULL, &counts, NULL), 0);
    assert_null(sharing_check_heads(bucket));
    assert_int_equal(bucket_list(bucket, BUCKET_HEAD, &heads, NULL), 0);
    for (size_t i = 0; i < heads.count; i++) {
        const struct bucket_name manifest = bucket_name_of(BUCKET_MANIFEST, heads.items[i].name.id);
        struct sharing_snapshot snapshot;
        assert_int_equal(sharing_read_manifest(bucket, &manifest, &snapshot), 0);
        sharing_names(&snapshot, &needed);
    }
    assert_int_equal(sharing_count(bucket, BUCKET_CHUNK) + sharing_count(bucket, BUCKET_MANIFEST),
                     needed.count);
    assert_int_equal(bucket_references(bucket, count_reference, &references, NULL), 0);
    assert_int_equal(references, heads.count);
    assert_int_equal(sharing_count(bucket, BUCKET_MARK), 0);
}

static void users_of_one_bucket_do_not_hurt_each_other(void **state)
{
    struct store_case *c = *state;
    struct bucket bucket = sharing_bucket(c->store);
    bool is_slow = strcmp(c->kind, "memory") != 0;
    struct world world = { .store = c->store,
                           .rounds = store_case_is_s3(c) ? 5
                                     : is_slow           ? 15
                                                         : 150 };

    run_all(&world);
    assert_true(atomic_load(&world.uploads) > 0);
    expect_nothing_left_over(&bucket);
    print_message("# %u uploads, %u downloads, %u removals, %u deaths\n",
                  atomic_load(&world.uploads), atomic_load(&world.downloads),
                  atomic_load(&world.removals), atomic_load(&world.deaths));
}

/* In the long runs there are many buckets: in one that is used for long snapshots pile up, and each
 * user looks at all of them. */
#define BUCKETS_MAX 80u

static size_t add(struct CMUnitTest *tests, size_t count, const char *kind)
{
    size_t buckets = getenv("COFFER_DEEP") != NULL ? BUCKETS_MAX / 2 : 1;

    for (size_t i = 0; i < buckets; i++)
        tests[count++] =
            (struct CMUnitTest){ "users_of_one_bucket_do_not_hurt_each_other",
                                 users_of_one_bucket_do_not_hurt_each_other, store_case_setup,
                                 store_case_teardown, (void *)(uintptr_t)kind };
    return count;
}

int main(void)
{
    struct CMUnitTest tests[BUCKETS_MAX];
    size_t count = 0;

    if (s3_case_is_there()) {
        count = add(tests, count, "s3");
    } else {
        count = add(tests, count, "memory");
        count = add(tests, count, "dir");
    }
    return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}
