/* The changes of a key ring, all in memory; key_ring_encode() then makes bytes of it. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keyring/key_labels.h"
#include "keyring/key_ring.h"

int key_generation_set_names(struct key_generation *generation, const struct secret *key,
                             const struct secret *name_key, const struct secret *chunk_key,
                             struct error *err)
{
    const struct names_context context = { KEY_LABEL_RING_NAMES, &generation->origin,
                                           generation->number };
    uint8_t sealed[SEALED_NAMES_LEN];

    int r = sealed_names_seal(&context, key, name_key, chunk_key, sealed);
    if (r < 0)
        return error_set(err, r, "cannot seal the name key: %s", strerrordesc_np(-r));
    memcpy(generation->names, sealed, sizeof(sealed));
    generation->has_names = true;
    return 0;
}

static int make_generation(const struct key_generation_new *new, const struct uuid *origin,
                           struct key_generation *ret, struct error *err)
{
    *ret = (struct key_generation){
        .number = new->number,
        .origin = *origin,
        .state = KEY_STATE_ACTIVE,
        .created_ns = new->now_ns,
        .current = { .key = *new->wrapped, .wrapped_ns = new->now_ns },
    };
    int r = key_check_value(origin, new->number, new->key, ret->check);
    if (r < 0)
        return error_set(err, r, "cannot add a key: out of memory");
    if (new->name_key &&new->chunk_key)
        r = key_generation_set_names(ret, new->key, new->name_key, new->chunk_key, err);
    return r;
}

int key_ring_add(struct key_ring *ring, const struct key_generation_new *new, struct error *err)
{
    const struct uuid *origin = new->origin ? new->origin : &ring->uuid;
    bool is_own = uuid_equal(origin, &ring->uuid);
    uint32_t own = key_ring_own_count(ring);
    struct key_generation made;

    assert(new->number > 0 && new->key->len == FS_KEY_LEN);
    if (key_ring_find(ring, origin, new->number) ||
        (is_own && own > 0 && ring->generations[own - 1].number > new->number))
        return error_set(err, -EEXIST, "the key ring has generation %u or a later one already",
                         new->number);
    if (ring->count == KEY_GENERATIONS_MAX)
        return error_set(err, -ENOSPC, "the key ring holds %u generations, and no more fit",
                         KEY_GENERATIONS_MAX);
    int r = make_generation(new, origin, &made, err);
    if (r < 0)
        return r;
    struct key_generation *grown =
        reallocarray(ring->generations, ring->count + 1, sizeof(*ring->generations));
    if (!grown)
        return error_set(err, -ENOMEM, "cannot add a key: out of memory");

    ring->generations = grown;
    uint32_t at = ring->count;
    if (is_own) {
        at = own;
        memmove(&grown[at + 1], &grown[at], (ring->count - at) * sizeof(*grown));
        for (uint32_t i = 0; i < own; i++)
            grown[i].state = KEY_STATE_RETIRED;
    } else {
        made.state = KEY_STATE_RETIRED; /* it opens what came from elsewhere; nothing is sealed */
    }
    grown[at] = made;
    ring->count++;
    return 0;
}

void key_generation_replace(struct key_generation *generation, const struct wrapped_key *wrapped,
                            uint64_t now_ns)
{
    if (!generation->has_previous)
        generation->previous = generation->current;
    generation->has_previous = true;
    generation->current = (struct key_wrapping){ .key = *wrapped, .wrapped_ns = now_ns };
}

void key_generation_drop_previous(struct key_generation *generation)
{
    generation->has_previous = false;
    generation->previous = (struct key_wrapping){ .wrapped_ns = 0 };
}

int key_ring_remove(struct key_ring *ring, const struct uuid *origin, uint32_t number,
                    struct error *err)
{
    uint32_t own = key_ring_own_count(ring);
    struct key_generation *found = key_ring_find(ring, origin, number);

    if (!found)
        return error_set(err, -ENOENT, "the key ring has no generation %u", number);
    if (own > 0 && found == &ring->generations[own - 1])
        return error_set(err, -EBUSY, "generation %u is the newest: new data is sealed under it",
                         number);
    size_t at = (size_t)(found - ring->generations);
    memmove(found, found + 1, (ring->count - at - 1) * sizeof(*found));
    ring->count--;
    return 0;
}
