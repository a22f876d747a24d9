/* thread.h - mutexes whose use the compiler checks (clang -Wthread-safety). */
#pragma once

#include <assert.h>
#include <pthread.h>

#if defined(__clang__)
#define THREAD_CHECK(attribute) __attribute__((attribute))
#else
#define THREAD_CHECK(attribute)
#endif

/* On a function: the caller already holds the lock, for example REQUIRES(cache->lock). */
#define REQUIRES(lock) THREAD_CHECK(requires_capability(lock))

struct THREAD_CHECK(capability("mutex")) mutex {
    pthread_mutex_t native;
};

#define MUTEX_INIT ((struct mutex){ .native = PTHREAD_MUTEX_INITIALIZER })

static inline void mutex_lock(struct mutex *mutex) THREAD_CHECK(acquire_capability(mutex))
    THREAD_CHECK(no_thread_safety_analysis)
{
    int r = pthread_mutex_lock(&mutex->native);
    assert(r == 0);
    (void)r;
}

static inline void mutex_unlock(struct mutex *mutex) THREAD_CHECK(release_capability(mutex))
    THREAD_CHECK(no_thread_safety_analysis)
{
    int r = pthread_mutex_unlock(&mutex->native);
    assert(r == 0);
    (void)r;
}

static inline void cond_wait(pthread_cond_t *cond, struct mutex *mutex)
    THREAD_CHECK(requires_capability(mutex)) THREAD_CHECK(no_thread_safety_analysis)
{
    int r = pthread_cond_wait(cond, &mutex->native);
    assert(r == 0);
    (void)r;
}
