/* web_files.h - the web page, as it is in web/, built into the program. */
#pragma once

#include <stddef.h>

struct web_file {
    const char *path; /* "/app.js" */
    const char *type;
    const char *etag; /* with its quotes; changes with the content */
    const unsigned char *data;
    size_t len;
};

extern const struct web_file web_files[];
extern const size_t web_file_count;
