/* error.h - an errno for the program and a sentence for the person.
 *
 * A function that can fail returns 0, or a negative errno. If a person will need to know more
 * it also takes a struct error as its last parameter, which may be NULL.
 *
 * The function that first sees the failure writes the sentence. A caller may put context in
 * front with error_prefix(); nobody replaces it. On success the struct is left alone.
 *
 * Reporting never allocates, so it also works when memory has run out. Text that does not fit
 * is cut.
 */
#pragma once

struct error {
    int code; /* negative errno, 0 if nothing failed */
    char text[512];
};

/* Both are worth code, so that a failing function can say:
 * return error_set(err, -EIO, "cannot read %s", name);
 * They are macros so that compilers and analysers see that it is the code that is returned. */
#define error_set(err, code, ...)                                                                  \
    __extension__({                                                                                \
        int set_code_ = (code);                                                                    \
        error_write(err, set_code_, __VA_ARGS__);                                                  \
        set_code_;                                                                                 \
    })
#define error_prefix(err, code, ...)                                                               \
    __extension__({                                                                                \
        int prefix_code_ = (code);                                                                 \
        error_write_prefix(err, prefix_code_, __VA_ARGS__);                                        \
        prefix_code_;                                                                              \
    })

void error_write(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void error_write_prefix(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Keeps the sentence and changes the code, where a layer sorts errors anew. */
int error_recode(struct error *err, int code);
