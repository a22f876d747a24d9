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

/* Both return code, so that a failing function can say: return error_set(err, -EIO, "..."). */
int error_set(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int error_prefix(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Keeps the sentence and changes the code, where a layer sorts errors anew. */
int error_recode(struct error *err, int code);
