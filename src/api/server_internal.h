/* server_internal.h - what server.c has in common for both faces, and what each adds: server.c the
 * Unix socket, web.c HTTPS.
 */
#pragma once

#include <microhttpd.h>

#include "api/connections.h"
#include "api/server.h"

/* Where a request is. */
enum api_phase {
    PHASE_RECEIVING, /* the body: the headers are here */
    PHASE_WORKING,
    PHASE_SENDING,
    PHASE_IDLE,
};

/* How one face tells who sends a request, and what it adds to answers. */
struct api_face {
    /* Before the body is read. A failure is answered with its sentence, and with *ret_status unless
     * that is 0; a caller that is not known may be served all the same. */
    int (*identify)(const struct api_server *server, struct MHD_Connection *connection,
                    const char *method, struct api_caller *ret, unsigned *ret_status,
                    struct error *err);
    /* Answers what is no route; false: there is nothing. May be NULL. */
    bool (*answer_page)(const struct api_server *server, struct MHD_Connection *connection,
                        const char *method, const char *path, enum MHD_Result *ret);
    /* May be NULL. */
    void (*add_headers)(const struct api_server *server, struct MHD_Response *response,
                        const struct api_reply *reply);
    /* May be NULL. */
    void (*on_phase)(const struct api_server *server, struct MHD_Connection *connection,
                     enum api_phase phase);
};

struct api_server {
    struct api_context context;
    const struct api_face *face;
    struct MHD_Daemon *daemon;
    struct connections *connections; /* of HTTPS */
};

/* The callbacks of MHD_start_daemon(); their argument is the server. */
enum MHD_Result api_on_request(void *arg, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data,
                               size_t *data_len, void **state);
void api_on_completed(void *arg, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode code);

/* libmicrohttpd only reads the bytes of an answer, but its prototypes do not say so. */
static inline void *api_response_bytes(const void *bytes)
{
    union {
        const void *given;
        void *wanted;
    } pointer = { .given = bytes };

    return pointer.wanted;
}

/* NULL without memory. */
struct api_server *api_server_new(const struct api_context *context, const struct api_face *face);
