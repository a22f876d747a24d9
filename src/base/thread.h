/* thread.h - mutexes whose use the compiler checks (clang -Wthread-safety), and threads that no
 * signal interrupts. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

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

/* Waits at most until the time of clock_monotonic_ms(); false once that has come. May wake early,
 * as any wait. */
static inline bool cond_wait_until(pthread_cond_t *cond, struct mutex *mutex, int64_t until_ms)
    THREAD_CHECK(requires_capability(mutex)) THREAD_CHECK(no_thread_safety_analysis)
{
    struct timespec until = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };
    int r = pthread_cond_clockwait(cond, &mutex->native, CLOCK_MONOTONIC, &until);

    assert(r == 0 || r == ETIMEDOUT);
    return r == 0;
}

/* As pthread_create(), but a negative errno: signals are for other threads than this one. */
static inline int thread_start(pthread_t *ret, void *(*run)(void *), void *arg)
{
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = -pthread_create(ret, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}
