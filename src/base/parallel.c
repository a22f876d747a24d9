#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

#define THREADS_MAX 32u

struct parallel {
    parallel_work_fn *work;
    void *arg;
    size_t count;
    atomic_size_t next; /* the first index that nobody has taken */
};

static void *take_each(void *arg)
{
    struct parallel *parallel = arg;
    size_t index;

    while ((index = atomic_fetch_add(&parallel->next, 1)) < parallel->count)
        parallel->work(parallel->arg, index);
    return NULL;
}

void parallel_each(size_t count, unsigned threads, parallel_work_fn *work, void *arg)
{
    struct parallel parallel = { .work = work, .arg = arg, .count = count };
    pthread_t helpers[THREADS_MAX];
    unsigned started = 0;

    while (started + 1 < threads && started + 1 < count && started < THREADS_MAX &&
           pthread_create(&helpers[started], NULL, take_each, &parallel) == 0)
        started++;
    (void)take_each(&parallel);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(helpers[i], NULL);
}
