#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Set once before the first thread, read-only afterwards. */
static struct {
    const char *program;
    enum log_level level;
} log_config = { .program = "coffer", .level = LOG_LEVEL_INFO };

void log_init(const char *program, enum log_level level)
{
    log_config.program = program;
    log_config.level = level;
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const names[] = { "error", "warning", "info", "debug" };
    char line[1024];
    struct tm utc;

    if (level > log_config.level)
        return;

    time_t now = time(NULL);
    size_t used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    int head = snprintf(line + used, sizeof(line) - used, " %s[%d] %s: ", log_config.program,
                        (int)getpid(), names[level]);
    used += head > 0 ? (size_t)head : 0;

    va_list args;
    va_start(args, format);
    int body = vsnprintf(line + used, sizeof(line) - used, format, args);
    va_end(args);
    used += body > 0 ? (size_t)body : 0;
    if (used > sizeof(line) - 1)
        used = sizeof(line) - 1; /* what does not fit is cut */
    line[used++] = '\n';
    (void)!write(STDERR_FILENO, line, used); /* nowhere is left to report that to */
}
