/* processor.h - processor time that was used so far, in seconds: of this process, with the one
 * whose pid is in STORE_PID if there is one, and of the server whose pid is in SERVER_PID (without
 * one: 0). On a machine that others use, too, it says more than the clock. To be included by one
 * file of a program.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct processor {
    double own;
    double server;
};

static double processor_of_s(const char *pid)
{
    char path[64];
    char line[1024] = "";

    (void)snprintf(path, sizeof(path), "/proc/%s/stat", pid != NULL ? pid : "");
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    char *at = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
    (void)fclose(file);
    for (unsigned field = 2; at != NULL && field < 14; field++) /* see proc(5) */
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return 0;
    double ticks = (double)strtoul(at, &at, 10);
    ticks += (double)strtoul(at, NULL, 10);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static struct processor processor_now(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct processor){
        .own = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 +
               processor_of_s(getenv("STORE_PID")),
        .server = processor_of_s(getenv("SERVER_PID")),
    };
}
