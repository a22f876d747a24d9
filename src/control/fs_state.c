#include "control/fs_state.h"

#include <assert.h>

#define TO(state) (1u << (state))

static const struct {
    const char *name;
    unsigned moves; /* set of states that may follow */
} states[FS_STATE_COUNT] = {
    [FS_STOPPED] = { "stopped", TO(FS_STARTING) | TO(FS_REMOVING) },
    [FS_STARTING] = { "starting", TO(FS_STOPPED) | TO(FS_WAITING_FOR_KMS) | TO(FS_STARTED) |
                                      TO(FS_MOUNTED) | TO(FS_FAILED) },
    [FS_WAITING_FOR_KMS] = { "waiting-for-kms", TO(FS_STARTING) | TO(FS_STOPPED) },
    [FS_STARTED] = { "started", TO(FS_MOUNTED) | TO(FS_STOPPED) | TO(FS_FAILED) },
    [FS_MOUNTED] = { "mounted", TO(FS_STARTED) | TO(FS_STOPPED) | TO(FS_FAILED) },
    [FS_FAILED] = { "failed", TO(FS_STARTING) | TO(FS_STOPPED) },
    /* A removal that could not be finished leaves it stopped; it can only be removed again. */
    [FS_REMOVING] = { "removing", TO(FS_STOPPED) },
};

const char *fs_state_name(enum fs_state state)
{
    assert(state < FS_STATE_COUNT);
    return states[state].name;
}

bool fs_state_allows(enum fs_state from, enum fs_state to)
{
    assert(from < FS_STATE_COUNT && to < FS_STATE_COUNT);
    return from == to || (states[from].moves & TO(to)) != 0;
}

bool fs_state_has_worker(enum fs_state state)
{
    return state == FS_STARTING || state == FS_STARTED || state == FS_MOUNTED;
}
