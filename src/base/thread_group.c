#include "base/thread_group.h"

#include <stdlib.h>

struct member {
    struct thread_group *group;
    thread_work_fn *work;
    void *arg;
};

void thread_group_init(struct thread_group *group)
{
    *group = (struct thread_group){ .lock = MUTEX_INIT };
    (void)pthread_cond_init(&group->idle, NULL);
}

/* The caller is the one to be joined next; true with the one that was, who is past its work. */
static bool take_turn(struct thread_group *group, pthread_t *ret)
{
    mutex_lock(&group->lock);
    bool has_ended = group->has_ended;
    *ret = group->ended;
    group->has_ended = true;
    group->ended = pthread_self();
    if (--group->running == 0)
        (void)pthread_cond_broadcast(&group->idle);
    mutex_unlock(&group->lock);
    return has_ended;
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct thread_group *group = member->group;
    pthread_t before;

    member->work(member->arg);
    free(member);
    if (take_turn(group, &before))
        (void)pthread_join(before, NULL);
    return NULL;
}

static void end_one(struct thread_group *group)
{
    mutex_lock(&group->lock);
    if (--group->running == 0)
        (void)pthread_cond_broadcast(&group->idle);
    mutex_unlock(&group->lock);
}

int thread_group_start(struct thread_group *group, unsigned max, thread_work_fn *work, void *arg)
{
    struct member *member = malloc(sizeof(*member));
    pthread_t thread;

    if (!member)
        return -ENOMEM;
    *member = (struct member){ .group = group, .work = work, .arg = arg };
    mutex_lock(&group->lock);
    int r = max && group->running >= max ? -EBUSY : 0;
    group->running += r == 0;
    mutex_unlock(&group->lock);
    if (r == 0) {
        r = thread_start(&thread, member_main, member);
        if (r < 0)
            end_one(group);
    }
    if (r < 0)
        free(member);
    return r;
}

void thread_group_wait(struct thread_group *group)
{
    mutex_lock(&group->lock);
    while (group->running > 0)
        cond_wait(&group->idle, &group->lock);
    bool has_ended = group->has_ended;
    pthread_t ended = group->ended;
    group->has_ended = false;
    mutex_unlock(&group->lock);
    if (has_ended)
        (void)pthread_join(ended, NULL);
}

void thread_group_destroy(struct thread_group *group)
{
    (void)pthread_cond_destroy(&group->idle);
}
