#include "control/upload_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encoding.h"

void upload_opened_release(struct upload_opened *opened)
{
    for (uint32_t i = 0; i < KEY_GENERATIONS_MAX; i++)
        secret_release(&opened->plains[i]);
    key_set_release(&opened->keys);
    key_ring_release(&opened->ring);
    buf_release(&opened->encoded);
    free(opened->owner);
    *opened = UPLOAD_OPENED_INIT;
}

struct search {
    const struct uuid *uuid;
    struct fs_record *found;
};

static int find_owner(struct filesystem *fs, void *arg, struct error *err)
{
    struct search *search = arg;

    if (!uuid_equal(&fs->record.uuid, search->uuid)) /* it never changes */
        return 0;
    search->found = filesystem_copy_record(fs);
    return search->found ? 1 : error_set(err, -ENOMEM, "out of memory");
}

/* What is wrong with it, of which object. */
static int head_error(const struct upload_opened *opened, int r, const struct error *why,
                      struct error *err)
{
    char name[2 * HASH_LEN + 1];

    hex_encode((struct bytes){ opened->head.manifest, HASH_LEN }, name);
    return error_set(err, r, "the head %s: %s", name, why->text);
}

int upload_read(struct control *control, const struct bucket *bucket, const struct locator *locator,
                struct upload_opened *ret, struct error *err)
{
    struct search search = { .uuid = &ret->ring.uuid };
    struct error why = { .code = 0 };

    int r = head_get(bucket, locator->manifest, &ret->encoded, err);
    if (r == 0)
        r = head_decode(buf_bytes(&ret->encoded), &ret->head, err);
    if (r == 0)
        r = key_ring_peek(ret->head.ring, &ret->ring, &why);
    if (r < 0 && why.text[0] != '\0')
        return head_error(ret, r, &why, err);
    if (r == 0)
        r = control_each(control, find_owner, &search, err);
    ret->owner = search.found;
    return r < 0 ? r : 0;
}

struct key_checks upload_known_checks(const struct upload_opened *opened)
{
    return opened->owner ? (struct key_checks){ .items = opened->owner->checks,
                                                .count = opened->owner->check_count }
                         : (struct key_checks){ .count = 0 };
}

/* "vault key coffer-key, version 3, in namespace team, path other, of https://..." */
static void describe(const struct wrapped_key *wrapped, char *ret, size_t size)
{
    char version[32] = "", in_namespace[96] = "", path[96] = "";
    const char *addresses = wrapped->addresses;

    if (wrapped->key_version > 0)
        (void)snprintf(version, sizeof(version), ", version %u", wrapped->key_version);
    if (wrapped->kms_namespace[0])
        (void)snprintf(in_namespace, sizeof(in_namespace), ", in namespace %.64s",
                       wrapped->kms_namespace);
    if (wrapped->mount_path[0] && strcmp(wrapped->mount_path, "transit") != 0)
        (void)snprintf(path, sizeof(path), ", path %.64s", wrapped->mount_path);
    if (strcmp(wrapped->provider, "local") == 0)
        addresses = "the host that uploaded it, where no KMS was set";
    (void)snprintf(ret, size, "%s key %.80s%s%s%s, of %.120s", wrapped->provider, wrapped->key_name,
                   version, in_namespace, path, addresses);
}

/* The first that is not unwrapped: a filesystem that was downloaded itself has keys that may have
 * been wrapped at different times. */
static const struct wrapped_key *find_missing(struct control *control,
                                              const struct rings_options *options,
                                              const struct key_ring *ring)
{
    for (uint32_t i = 0; i + 1 < ring->count; i++) {
        CLEANUP(secret_release) struct secret plain = SECRET_INIT;
        const struct wrapped_key *wrapped = &ring->generations[i].current.key;
        if (kms_try_unwrap(control->kms, options->server, options->owner, wrapped, 1, &plain,
                           NULL) < 0)
            return wrapped;
    }
    return &ring->generations[ring->count - 1].current.key;
}

static int needs_key(const struct wrapped_key *wrapped, const struct error *why, struct error *err)
{
    char needed[512];

    describe(wrapped, needed, sizeof(needed));
    return error_set(err, why->code, "the snapshot needs %s: %s", needed, why->text);
}

/* Of what does not open, as the head says, which was verified. */
static int expect_needed(const struct upload_opened *opened, struct error *err)
{
    const struct snapshot_about *about = &opened->head.about;

    for (uint32_t i = 0; i < about->needed_count; i++) {
        const struct key_generation *found =
            key_ring_find(&opened->ring, &about->needed[i].origin, about->needed[i].generation);
        if (found && rings_lacks(&opened->outcome, (uint32_t)(found - opened->ring.generations)))
            return needs_key(&found->current.key, &opened->outcome.why, err);
    }
    return 0;
}

static int collect_keys(struct upload_opened *opened, struct error *err)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < opened->ring.count; i++) {
        CLEANUP(secret_release) struct secret key = SECRET_INIT;
        const struct key_generation *generation = &opened->ring.generations[i];
        if (rings_lacks(&opened->outcome, i))
            continue;
        r = key_generation_open(generation, &opened->plains[i], &key, err);
        if (r < 0)
            break;
        r = key_generation_is_own(&opened->ring, generation)
                ? key_set_add(&opened->keys, generation->number, &key)
                : key_set_add_foreign(&opened->keys, &generation->origin, generation->number, &key);
        if (r < 0)
            (void)error_set(err, r, "out of secret memory");
    }
    return r;
}

static int unwrap(struct control *control, struct key_provider *server,
                  struct upload_opened *opened, struct error *err)
{
    const struct rings_options options = { .server = server,
                                           .owner = opened->owner,
                                           .may_lack_foreign = true };
    struct error why = { .code = 0 };

    if (opened->ring.count == 0)
        return error_set(err, -EBADMSG, "the key ring of the snapshot has no key");
    int r =
        rings_unwrap_all(control, &opened->ring, &options, opened->plains, &opened->outcome, &why);
    return r == 0 ? collect_keys(opened, err)
                  : needs_key(find_missing(control, &options, &opened->ring), &why, err);
}

static int verify(struct upload_opened *opened, struct error *err)
{
    struct superblock superblock = { .name_key = SECRET_INIT, .chunk_key = SECRET_INIT };
    struct transfer_keys *keys = NULL;
    struct error why = { .code = 0 };

    int r = head_verify(buf_bytes(&opened->encoded), &opened->keys, upload_known_checks(opened),
                        &superblock, &keys, &why);
    if (r < 0)
        return head_error(opened, r, &why, err);
    transfer_keys_free(keys);
    superblock_release(&superblock);
    return 0;
}

static int audit_unwrap(struct control *control, const struct upload_opened *opened,
                        const char *purpose, int result, const struct error *why, struct error *err)
{
    char text[AUDIT_TEXT_SIZE];
    const struct audit_note note = {
        .operation = AUDIT_UNWRAP,
        .uuid = &opened->ring.uuid,
        .filesystem = opened->owner ? opened->owner->name : NULL,
        .key = audit_key_of(rings_newest(&opened->ring)),
        .result = result,
        .text = text,
    };

    (void)snprintf(text, sizeof(text), "%s%s%.400s", purpose, result < 0 ? ": " : "",
                   result < 0 ? why->text : "");
    return audit_add(control->audit, &note, 1, err);
}

int upload_open(struct control *control, const struct upload_opening *opening,
                struct upload_opened *opened, struct error *err)
{
    struct error why = { .code = 0 };
    struct error lost = { .code = 0 };

    int r = unwrap(control, opening->server, opened, &why);
    if (r == 0)
        r = verify(opened, &why);
    if (r == 0 && !opening->may_lack_foreign)
        r = expect_needed(opened, &why);
    int audited = audit_unwrap(control, opened, opening->purpose, r, &why, &lost);
    if (r < 0) {
        if (audited < 0)
            events_add(&control->events, LOG_LEVEL_ERROR, "audit-not-written", "", "%s", lost.text);
        return error_set(err, r, "%s", why.text);
    }
    return audited < 0 ? error_set(err, audited, "%s", lost.text) : 0;
}
