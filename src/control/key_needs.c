#include "control/key_needs.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/wire.h"
#include "control/filesystem.h"
#include "control/object_stores.h"
#include "control/uploads.h"

#define AUDIT_PAGE 256u

static int need_of_ring(struct filesystem *filesystem, void *arg, struct error *err)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    struct registry *registry = filesystem->control->registry;

    if (registry_peek_ring(registry, &filesystem->record.uuid, &ring, NULL) < 0)
        return 0;
    return key_list_add_ring(arg, &ring, err);
}

static int add_logged(struct key_list *list, const struct audit_entry_key *logged,
                      struct error *err)
{
    struct rewrap_key key = { .version = logged->version };

    memcpy(key.type, logged->provider, sizeof(key.type));
    memcpy(key.kms_namespace, logged->kms_namespace, sizeof(key.kms_namespace));
    memcpy(key.mount_path, logged->mount_path, sizeof(key.mount_path));
    memcpy(key.key, logged->key_name, sizeof(key.key));
    return key_list_add(list, &key, err);
}

/* What wrapped a key of this instance at any time: a snapshot may have been uploaded then, or a
 * backup made. */
static int need_of_log(struct control *control, const char *operation, struct key_list *list,
                       struct error *err)
{
    struct journal_query query = { .limit = AUDIT_PAGE, .type = operation };
    size_t count = AUDIT_PAGE;
    int r = 0;

    while (r == 0 && count == AUDIT_PAGE) {
        CLEANUP(free_ptr) struct audit_listed *listed = NULL;
        r = audit_list(control->audit, &query, &listed, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
            const struct audit_entry *entry = &listed[i].entry;
            if (strcmp(entry->result, "ok") != 0)
                continue;
            r = add_logged(list, &entry->key, err);
            if (r == 0)
                r = add_logged(list, &entry->old_key, err);
        }
        if (r == 0 && count > 0)
            query.before = listed[0].entry.number;
    }
    return r;
}

/* What the part of the log told that was archived. */
static int need_of_archive(struct control *control, struct key_list *list, struct error *err)
{
    CLEANUP(buf_release) struct buf noted = BUF_INIT;
    int r = registry_get_value(control->registry, KEY_NEEDS_NOTED, &noted, err);

    return r < 0 ? (r == -ENOENT ? 0 : r) : key_list_decode(buf_bytes(&noted), list, err);
}

int key_needs_known(struct control *control, struct key_list *ret, struct error *err)
{
    static const char *const operations[] = { "create", "rewrap", "adopt", "import" };
    int r = control_each(control, need_of_ring, ret, err);

    for (size_t i = 0; r == 0 && i < sizeof(operations) / sizeof(operations[0]); i++)
        r = need_of_log(control, operations[i], ret, err);
    if (r == 0)
        r = need_of_archive(control, ret, err);
    key_list_sort(ret);
    return r;
}

/* --- what nothing needs --- */

#define UNNEEDED "unneeded-keys"

struct scan {
    struct key_list *needed;
    struct error *err;
};

static int need_of_upload(const struct uploaded_view *view, void *arg)
{
    struct scan *scan = arg;
    int r = 0;

    if (view->fault.code < 0)
        return error_set(scan->err, view->fault.code, "%s: %s", view->locator, view->fault.text);
    for (size_t i = 0; r == 0 && i < view->key_count; i++)
        r = key_list_add(scan->needed, &view->keys[i].key, scan->err);
    return r;
}

static int need_of_stores(struct control *control, struct key_list *needed, struct error *err)
{
    CLEANUP(free_ptr) struct store_view *views = NULL;
    struct scan scan = { .needed = needed, .err = err };
    size_t count = 0;

    int r = control_store_list(control, &views, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = control_uploads_each(control, views[i].name, NULL, SIZE_MAX, need_of_upload, &scan,
                                 err);
        if (r < 0)
            return error_prefix(err, r, "object store %s", views[i].name);
    }
    return r;
}

/* Of both, what only the first has. */
static int subtract(const struct key_list *from, const struct key_list *needed,
                    struct key_list *ret, struct error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < from->count; i++)
        if (!key_list_has(needed, &from->keys[i]))
            r = key_list_add(ret, &from->keys[i], err);
    key_list_sort(ret);
    return r;
}

static int store_unneeded(struct control *control, const struct key_list *list, struct error *err)
{
    CLEANUP(buf_release) struct buf value = BUF_INIT;
    CLEANUP(buf_release) struct buf keys = BUF_INIT;
    uint8_t time[8];
    struct writer writer = writer_init(time, sizeof(time));

    writer_u64(&writer, (uint64_t)clock_wall_ns());
    int r = key_list_encode(list, &keys, err);
    if (r < 0)
        return r;
    if (buf_append(&value, writer_written(&writer)) < 0 || buf_append(&value, buf_bytes(&keys)) < 0)
        return error_set(err, -ENOMEM, "out of memory");
    return registry_put_value(control->registry, UNNEEDED, buf_bytes(&value), err);
}

static int scan_all(struct control *control, struct error *err)
{
    CLEANUP(key_list_release) struct key_list known = { .count = 0 };
    CLEANUP(key_list_release) struct key_list needed = { .count = 0 };
    CLEANUP(key_list_release) struct key_list unneeded = { .count = 0 };

    int r = key_needs_known(control, &known, err);
    if (r == 0)
        r = control_each(control, need_of_ring, &needed, err);
    if (r == 0)
        r = need_of_stores(control, &needed, err);
    if (r == 0)
        r = subtract(&known, &needed, &unneeded, err);
    return r < 0 ? r : store_unneeded(control, &unneeded, err);
}

int key_needs_scan(struct control *control, struct error *err)
{
    int r = scan_all(control, err);

    if (r < 0)
        (void)registry_put_value(control->registry, UNNEEDED, (struct bytes){ .len = 0 }, NULL);
    return r;
}

int key_needs_unneeded(struct control *control, struct key_list *ret, int64_t *ret_as_of_ns,
                       struct error *err)
{
    CLEANUP(buf_release) struct buf value = BUF_INIT;
    CLEANUP(key_list_release) struct key_list found = { .count = 0 };
    CLEANUP(key_list_release) struct key_list needed = { .count = 0 };

    int r = registry_get_value(control->registry, UNNEEDED, &value, err);
    if (r < 0)
        return r;
    struct reader reader = reader_init(buf_bytes(&value));
    *ret_as_of_ns = (int64_t)reader_u64(&reader);
    if (reader.failed)
        return error_set(err, -EBADMSG, "what the registry knows of keys is damaged");
    r = key_list_decode((struct bytes){ reader.data, reader.len }, &found, err);
    if (r == 0)
        r = control_each(control, need_of_ring, &needed, err);
    return r < 0 ? r : subtract(&found, &needed, ret, err);
}

/* For api/: a copy. */
int control_unneeded_keys(struct control *control, struct rewrap_key **ret, size_t *ret_count,
                          int64_t *ret_as_of_ns, struct error *err)
{
    CLEANUP(key_list_release) struct key_list list = { .count = 0 };

    int r = key_needs_unneeded(control, &list, ret_as_of_ns, err);
    if (r < 0)
        return r;
    *ret_count = list.count;
    *ret = TAKE(list.keys);
    return 0;
}
