/* log.h - one line for each event, to standard error or, under systemd, to the journal by it.
 *
 * Only programs/, mount/, control/ and api/ log above debug; libraries return errors. A line is
 * a sentence, then key=value pairs. Never a key, a token, a password, a file name or content.
 *
 * Threads    any; a line is written with one write(2).
 */
#pragma once

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* Once, before the first thread: what is printed, and the name that stands in front. */
void log_init(const char *program, enum log_level level);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
