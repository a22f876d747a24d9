/* rings_unwrap.c - the key blobs of a ring's generations: of what is current, or of what wrapped
 * them before.
 *
 * The filesystem's own all open, or nothing does. Foreign ones are asked for after them and
 * quietly: by then the key server has been seen to answer, so that what it says of such a one is
 * about that key, and not about the server. */
#include "control/rings.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static_assert(KEY_GENERATIONS_MAX <= 64, "a bit for each generation");

struct unwrapping {
    struct control *control;
    const struct rings_options *options;
    bool is_quiet; /* a failure says nothing of the key server */
};

static bool same_blob(const struct wrapped_key *a, const struct wrapped_key *b)
{
    return strcmp(a->provider, b->provider) == 0 && strcmp(a->key_name, b->key_name) == 0 &&
           strcmp(a->mount_path, b->mount_path) == 0 &&
           strcmp(a->kms_namespace, b->kms_namespace) == 0 && a->blob_len == b->blob_len &&
           memcmp(a->blob, b->blob, a->blob_len) == 0 && a->iv_len == b->iv_len &&
           memcmp(a->iv, b->iv, a->iv_len) == 0;
}

static const struct secret *find_unwrapped(const struct unwrapped *unwrapped,
                                           const struct wrapped_key *wrapped)
{
    for (size_t i = 0; unwrapped && i < unwrapped->count; i++)
        if (unwrapped->plains[i].data && same_blob(&unwrapped->wrapped[i], wrapped))
            return &unwrapped->plains[i];
    return NULL;
}

static int ask(const struct unwrapping *unwrapping, const struct wrapped_key *wrapped,
               uint32_t count, struct secret *ret, struct error *err)
{
    const struct rings_options *options = unwrapping->options;
    struct kms *kms = unwrapping->control->kms;

    if (options->asks_nobody)
        return error_set(err, -ENOKEY, "the recovery copy does not have it");
    return unwrapping->is_quiet
               ? kms_try_unwrap(kms, options->server, options->owner, wrapped, count, ret, err)
               : kms_unwrap(kms, options->server, options->owner, wrapped, count, ret, err);
}

static int unwrap_blob(const struct unwrapping *unwrapping, const struct wrapped_key *wrapped,
                       struct secret *ret, struct error *err)
{
    const struct secret *known = find_unwrapped(unwrapping->options->unwrapped, wrapped);

    if (!known)
        return ask(unwrapping, wrapped, 1, ret, err);
    return secret_assign(ret, secret_bytes(known)) < 0
               ? error_set(err, -ENOMEM, "out of secret memory")
               : 0;
}

/* In one batch, unless they are known. */
static int unwrap_current(const struct unwrapping *unwrapping, const struct key_ring *ring,
                          struct secret *ret, struct error *err)
{
    CLEANUP(free_ptr) struct wrapped_key *wrapped = calloc(KEY_GENERATIONS_MAX, sizeof(*wrapped));
    CLEANUP(free_ptr) struct secret *plains = calloc(KEY_GENERATIONS_MAX, sizeof(*plains));
    const struct unwrapped *unwrapped = unwrapping->options->unwrapped;
    uint32_t count = 0;
    int r = 0;

    if (!wrapped || !plains)
        return error_set(err, -ENOMEM, "out of memory");
    for (uint32_t i = 0; r == 0 && i < ring->count; i++) {
        const struct wrapped_key *current = &ring->generations[i].current.key;
        if (find_unwrapped(unwrapped, current))
            r = unwrap_blob(unwrapping, current, &ret[i], err);
        else
            wrapped[count++] = *current;
    }
    if (r == 0 && count > 0)
        r = ask(unwrapping, wrapped, count, plains, err);
    for (uint32_t i = 0, at = 0; r == 0 && i < ring->count; i++)
        if (!ret[i].data)
            secret_move(&ret[i], &plains[at++]);
    return r;
}

static void release_plains(struct secret *plains, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        secret_release(&plains[i]);
}

/* Nothing is left in *ret after a failure. */
static int open_blob(const struct unwrapping *unwrapping, const struct key_generation *generation,
                     const struct wrapped_key *wrapped, struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    int r = unwrap_blob(unwrapping, wrapped, ret, err);

    if (r == 0)
        r = key_generation_open(generation, ret, &key, err);
    if (r < 0)
        secret_release(ret);
    return r;
}

/* The one blob or the other of a generation; the first one's error, unless the second one may yet
 * open: then it is not known to be refused. */
static int unwrap_either(const struct unwrapping *unwrapping,
                         const struct key_generation *generation, struct secret *ret,
                         bool *ret_used_previous, struct error *err)
{
    struct error first = { .code = 0 };
    struct error second = { .code = 0 };
    int r = open_blob(unwrapping, generation, &generation->current.key, ret, &first);

    if (r == 0)
        return 0;
    if (!generation->has_previous)
        return error_set(err, r, "%s", first.text);
    int with_previous = open_blob(unwrapping, generation, &generation->previous.key, ret, &second);
    if (with_previous == -EAGAIN)
        return error_set(err, with_previous, "%s", second.text);
    if (with_previous < 0)
        return error_set(err, r, "%s", first.text);
    *ret_used_previous = true;
    return 0;
}

static int check_generations(const struct key_ring *ring, const struct secret *plains,
                             struct error *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < ring->count; i++) {
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        r = key_generation_open(&ring->generations[i], &plains[i], &key, err);
    }
    return r;
}

/* All of them, each of what is current or else of what was before: the server that wrapped last may
 * be away, or gone back to a state before. */
static int unwrap_all(const struct unwrapping *unwrapping, const struct key_ring *ring,
                      struct secret *ret, bool *ret_used_previous, struct error *err)
{
    bool has_previous = false;
    int r = unwrap_current(unwrapping, ring, ret, err);

    if (r == 0)
        r = check_generations(ring, ret, err);
    for (uint32_t i = 0; i < ring->count; i++)
        has_previous |= ring->generations[i].has_previous;
    if (r == 0)
        return 0;
    release_plains(ret, ring->count);
    if (!has_previous)
        return r;
    r = 0;
    for (uint32_t i = 0; r == 0 && i < ring->count; i++)
        r = unwrap_either(unwrapping, &ring->generations[i], &ret[i], ret_used_previous, err);
    return r;
}

/* --- foreign ones --- */

/* That a key server of this kind opened one of the filesystem's own just now: what it then says of
 * another key is meant for that. */
static bool server_has_answered(const struct unwrapping *unwrapping, const struct key_ring *ring,
                                const struct wrapped_key *wrapped)
{
    for (uint32_t i = 0; i < key_ring_own_count(ring); i++) {
        const struct wrapped_key *own = &ring->generations[i].current.key;
        if (strcmp(own->provider, wrapped->provider) == 0 &&
            !find_unwrapped(unwrapping->options->unwrapped, own))
            return true;
    }
    return false;
}

static bool did_without(const struct unwrapping *unwrapping)
{
    const struct fs_record *owner = unwrapping->options->owner;

    return owner && owner->lacks_keys;
}

/* Whether waiting does not help, as far as one can tell: it is refused by name. A login that is not
 * accepted, or an answer that makes no sense, may be the server's state and not the key's. What was
 * lacking the last time is not waited for either: the server that has it may be gone for ever; but
 * before that is left, it is, while it answers. */
static bool is_refused(const struct unwrapping *unwrapping, const struct key_ring *ring,
                       const struct key_generation *generation, int r)
{
    bool has_answered = server_has_answered(unwrapping, ring, &generation->current.key);

    switch (r) {
    case -ENOENT:
    case -EKEYREVOKED:
    case -EBADMSG:
    case -EINVAL:
    case -ENOKEY:
        return true;
    case -EACCES:
    case -EPROTO:
        return did_without(unwrapping) || has_answered;
    case -EAGAIN:
        return did_without(unwrapping) && !(unwrapping->options->waits_for_busy && has_answered);
    default:
        return false;
    }
}

static int unwrap_each(const struct unwrapping *unwrapping, const struct key_ring *ring,
                       uint32_t first, struct secret *plains, struct rings_outcome *ret,
                       struct error *err)
{
    for (uint32_t i = first; i < ring->count; i++) {
        const struct key_generation *generation = &ring->generations[i];
        struct error why = { .code = 0 };
        int r = unwrap_either(unwrapping, generation, &plains[i], &ret->used_previous, &why);
        if (r < 0 && !is_refused(unwrapping, ring, generation, r))
            return error_set(err, r, "%s", why.text);
        if (r < 0 && ret->unopened == 0)
            ret->why = why;
        if (r < 0)
            ret->unopened |= UINT64_C(1) << i;
    }
    return 0;
}

static int unwrap_foreign(const struct unwrapping *unwrapping, const struct key_ring *ring,
                          uint32_t first, struct secret *plains, struct rings_outcome *ret,
                          struct error *err)
{
    const struct key_ring foreign = { .uuid = ring->uuid,
                                      .count = ring->count - first,
                                      .generations = ring->generations + first };
    bool used_previous = ret->used_previous;

    if (unwrap_all(unwrapping, &foreign, plains + first, &used_previous, NULL) == 0) {
        ret->used_previous = used_previous;
        return 0;
    }
    release_plains(plains + first, foreign.count);
    return unwrap_each(unwrapping, ring, first, plains, ret, err);
}

int rings_unwrap_all(struct control *control, const struct key_ring *ring,
                     const struct rings_options *options, struct secret *ret_plains,
                     struct rings_outcome *ret, struct error *err)
{
    struct unwrapping unwrapping = { .control = control, .options = options };
    struct key_ring part = *ring;
    uint32_t own = key_ring_own_count(ring);

    *ret = (struct rings_outcome){ .unopened = 0 };
    if (options->may_lack_foreign)
        part.count = own;
    int r = unwrap_all(&unwrapping, &part, ret_plains, &ret->used_previous, err);
    ret->opens_own = r == 0;
    if (r < 0 || part.count == ring->count)
        return r;
    unwrapping.is_quiet = true;
    r = unwrap_foreign(&unwrapping, ring, own, ret_plains, ret, err);
    if (r < 0)
        release_plains(ret_plains, ring->count);
    return r;
}
