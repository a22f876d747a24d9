/* caller.h - who sends a request, and what which role may ask for.
 *
 * Threads    any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "api/sessions.h"
#include "control/audit.h"
#include "control/user_record.h"

/* What a route needs of its caller. The roles that have it are in caller.c, one line for each. */
enum api_need {
    NEED_NOTHING,    /* anybody, also without a login */
    NEED_LOGIN,      /* anybody who is logged in */
    NEED_VIEW,       /* to see how things stand, and what happened */
    NEED_ATTENTION,  /* to mute alerts */
    NEED_FILESYSTEM, /* to use filesystems that are there: start, stop, check, snapshots */
    NEED_KEYS,       /* to change which keys wrap, and the key server */
    NEED_ADMIN,      /* to make and remove filesystems, take copies of keys, change users and object
                        stores */
    NEED_COUNT,
};

struct api_caller {
    bool is_known; /* false: nobody is logged in; nothing below counts but the address */
    enum user_role role;
    struct audit_actor actor;
    bool is_local;                  /* he uses the socket of this host: he is root or its owner */
    char token[SESSION_TOKEN_SIZE]; /* of his session; "": he has none */
    bool is_bearer;
    char from[64];       /* his address, as people read it */
    uint8_t address[16]; /* so much of it as one attacker has for himself */
    size_t address_len;
};

/* "user alice", "uid 0" */
#define API_WHO_SIZE 48u
void api_caller_who(const struct api_caller *caller, char ret[static API_WHO_SIZE]);

/* 0, or -EACCES and a sentence that says who may. */
int api_caller_may(const struct api_caller *caller, enum api_need need, struct error *err);
