/* ops.c - how many operations on names a filesystem does in a second:
 *
 *     ops create|stat|unlink FOLDER FILES JOBS [SECONDS]
 *
 * FILES empty files in all, in a folder of its own for each job (FOLDER/0, FOLDER/1, ...), which
 * create makes and unlink leaves. With SECONDS each job goes over its files again and again until
 * they have passed (stat only). Prints operations per second of all jobs together. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64u

struct bench {
    int (*operation)(int folder, const char *name);
    const char *folder;
    unsigned files; /* of each job */
    double seconds;
    pthread_barrier_t start;
};

struct job {
    struct bench *bench;
    pthread_t thread;
    unsigned number;
    double from;
    double until;
    unsigned long done;
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    (void)fprintf(stderr, "ops: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

static int create_one(int folder, const char *name)
{
    int fd = openat(folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

    return fd < 0 ? fd : close(fd);
}

static int stat_one(int folder, const char *name)
{
    struct stat st;

    return fstatat(folder, name, &st, 0);
}

static int unlink_one(int folder, const char *name)
{
    return unlinkat(folder, name, 0);
}

static void *work(void *arg)
{
    struct job *job = arg;
    struct bench *bench = job->bench;
    char name[32];
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/%u", bench->folder, job->number);
    if (bench->operation == create_one && mkdir(path, 0755) < 0 && errno != EEXIST)
        must(-1, path);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(folder, path);
    (void)pthread_barrier_wait(&bench->start);
    job->from = now_s();
    do {
        for (unsigned i = 0; i < bench->files; i++) {
            (void)snprintf(name, sizeof(name), "file-%08u", i);
            must(bench->operation(folder, name), name);
        }
        job->done += bench->files;
        job->until = now_s();
    } while (job->until - job->from < bench->seconds);
    (void)close(folder);
    return NULL;
}

static double measure(struct bench *bench, unsigned count)
{
    struct job jobs[JOBS_MAX] = { 0 };
    unsigned long done = 0;

    for (unsigned i = 0; i < count; i++) {
        jobs[i] = (struct job){ .bench = bench, .number = i };
        errno = pthread_create(&jobs[i].thread, NULL, work, &jobs[i]);
        must(errno == 0 ? 0 : -1, "thread");
    }
    for (unsigned i = 0; i < count; i++)
        (void)pthread_join(jobs[i].thread, NULL);
    double from = jobs[0].from;
    double until = jobs[0].until;
    for (unsigned i = 0; i < count; i++) {
        done += jobs[i].done;
        from = jobs[i].from < from ? jobs[i].from : from;
        until = jobs[i].until > until ? jobs[i].until : until;
    }
    return (double)done / (until - from);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*operation)(int folder, const char *name);
    } actions[] = { { "create", create_one }, { "stat", stat_one }, { "unlink", unlink_one } };
    unsigned jobs = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    struct bench bench = { .folder = argc > 2 ? argv[2] : NULL,
                           .files = jobs ? (unsigned)strtoul(argv[3], NULL, 10) / jobs : 0,
                           .seconds = argc > 5 ? strtod(argv[5], NULL) : 0 };

    for (size_t i = 0; argc > 1 && i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(argv[1], actions[i].name) == 0)
            bench.operation = actions[i].operation;
    if (!bench.operation || bench.files == 0 || jobs > JOBS_MAX ||
        (bench.seconds > 0 && bench.operation != stat_one)) {
        (void)fprintf(stderr, "usage: ops create|stat|unlink FOLDER FILES JOBS [SECONDS]\n");
        return 2;
    }
    errno = pthread_barrier_init(&bench.start, NULL, jobs);
    must(errno == 0 ? 0 : -1, "barrier");
    (void)printf("%.1f\n", measure(&bench, jobs));
    (void)pthread_barrier_destroy(&bench.start);
    return 0;
}
