#include "control/object_stores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/filesystem.h"
#include "control/left_references.h"
#include "control/locators.h"
#include "control/tasks.h"
#include "store/place_mark.h"
#include "store/probe.h"

#define KIND "store/"
#define KEY_SIZE (sizeof(KIND) + STORE_NAME_MAX)

/* --- reading --- */

static int no_store(const char *name, struct error *err)
{
    return error_set(err, -ENOENT,
                     "there is no object store %.64s; coffer fs tier lists those that there are",
                     name);
}

static int key_of(const char *name, char ret[static KEY_SIZE], struct error *err)
{
    if (strlen(name) > STORE_NAME_MAX)
        return no_store(name, err);
    (void)snprintf(ret, KEY_SIZE, "%s%s", KIND, name);
    return 0;
}

static int load(struct control *control, const char *name, struct store_record *ret,
                struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct error why = { .code = 0 };
    char key[KEY_SIZE];

    int r = key_of(name, key, err);
    if (r < 0)
        return r;
    r = registry_get_value(control->registry, key, &encoded, &why);
    if (r == -ENOENT)
        return no_store(name, err);
    if (r < 0)
        return error_set(err, r, "%s", why.text);
    return store_record_decode(buf_bytes(&encoded), ret, err);
}

int object_stores_load(struct control *control, const char *name, struct store_record *ret,
                       struct error *err)
{
    int r = load(control, name, ret, err);

    if (r == 0 && ret->kind == STORE_KIND_S3)
        r = store_secret_load(control->state_dir, ret, err);
    return r;
}

static void view_of(const struct store_record *record, struct store_view *ret)
{
    const struct s3_settings *s3 = &record->s3;

    *ret = (struct store_view){ .kind = record->kind,
                                .site = record->site,
                                .created_ns = record->created_ns,
                                .port = s3->port,
                                .is_plain_http = s3->is_plain_http,
                                .has_ca_cert = s3->ca_cert_pem.len > 0,
                                .concurrency = s3->concurrency,
                                .rates = record->rates };
    memcpy(ret->name, record->name, sizeof(ret->name));
    memcpy(ret->path, record->path, sizeof(ret->path));
    memcpy(ret->hostname, s3->hostname, sizeof(ret->hostname));
    memcpy(ret->bucket, s3->bucket, sizeof(ret->bucket));
    memcpy(ret->region, s3->region, sizeof(ret->region));
    memcpy(ret->prefix, s3->prefix, sizeof(ret->prefix));
    memcpy(ret->access_key_id, s3->access_key_id, sizeof(ret->access_key_id));
}

int control_store_get(struct control *control, const char *name, struct store_view *ret,
                      struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    int r = load(control, name, &record, err);
    if (r == 0)
        view_of(&record, ret);
    return r;
}

struct listing {
    struct store_view *views;
    struct uuid *secrets;
    size_t count;
    size_t room;
};

static int grow(struct listing *listing)
{
    if (listing->count < listing->room)
        return 0;
    size_t room = listing->room == 0 ? 8 : 2 * listing->room;
    struct store_view *views = reallocarray(listing->views, room, sizeof(*views));
    if (views == NULL)
        return -ENOMEM;
    listing->views = views;
    struct uuid *secrets = reallocarray(listing->secrets, room, sizeof(*secrets));
    if (secrets == NULL)
        return -ENOMEM;
    listing->secrets = secrets;
    listing->room = room;
    return 0;
}

/* One that cannot be read is reported and passed over. */
static int visit_record(struct bytes value, void *arg)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;
    struct listing *listing = arg;
    struct error err = { .code = 0 };

    if (store_record_decode(value, &record, &err) < 0) {
        log_error("an object store of the registry is passed over: %s", err.text);
        return 0;
    }
    if (grow(listing) < 0)
        return -ENOMEM;
    listing->secrets[listing->count] = record.secret_id;
    view_of(&record, &listing->views[listing->count++]);
    return 0;
}

static int list_all(struct control *control, struct listing *listing, struct error *err)
{
    int r = registry_each_value(control->registry, KIND, visit_record, listing, err);

    return r == -ENOMEM ? error_set(err, r, "out of memory for the list of object stores") : r;
}

int control_store_list(struct control *control, struct store_view **ret, size_t *ret_count,
                       struct error *err)
{
    struct listing listing = { .count = 0 };

    int r = list_all(control, &listing, err);
    free(listing.secrets);
    if (r < 0) {
        free(listing.views);
        return r;
    }
    *ret = listing.views; /* the registry's keys are sorted */
    *ret_count = listing.count;
    return 0;
}

/* --- choosing --- */

static int no_only_one(size_t count, const char *site, struct error *err)
{
    const char *of = site ? " of site " : "";

    site = site ? site : "";
    if (count > 1)
        return error_set(
            err, -EINVAL,
            "there are %zu object stores%s%s; say which one with --object-store NAME%s", count, of,
            site, *site ? "" : ", or with --site local or remote");
    if (*site)
        return error_set(
            err, -EINVAL,
            "there is no object store of site %s; coffer fs tier lists those that "
            "there are, and coffer fs tier s3 update NAME --site %s, or dir, moves one",
            site, site);
    return error_set(err, -EINVAL,
                     "there is no object store for snapshots; add one with 'coffer fs tier s3 add' "
                     "or 'coffer fs tier dir add'");
}

/* site: NULL for any. */
static int choose_only(struct control *control, const enum store_site *site,
                       char ret[static STORE_NAME_MAX + 1], struct error *err)
{
    CLEANUP(free_ptr) struct store_view *views = NULL;
    const struct store_view *found = NULL;
    size_t count = 0, fitting = 0;

    int r = control_store_list(control, &views, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (site && views[i].site != *site)
            continue;
        found = &views[i];
        fitting++;
    }
    if (fitting != 1)
        return no_only_one(fitting, site ? store_site_name(*site) : NULL, err);
    memcpy(ret, found->name, sizeof(found->name));
    return 0;
}

struct store_choice store_choice_read(const char *text)
{
    bool is_site = strncmp(text, STORE_SITE, strlen(STORE_SITE)) == 0;

    return is_site ? (struct store_choice){ .site = text + strlen(STORE_SITE) }
                   : (struct store_choice){ .name = text };
}

int control_store_choose(struct control *control, const struct store_choice *given,
                         char ret[static STORE_NAME_MAX + 1], struct error *err)
{
    CLEANUP(free_ptr) struct store_view *view = calloc(1, sizeof(*view));
    enum store_site site = STORE_SITE_LOCAL;

    if (!view)
        return error_set(err, -ENOMEM, "out of memory");
    if (given->name && given->site)
        return error_set(err, -EINVAL,
                         "the object store is given twice; give --object-store or --site");
    int r = given->site ? store_site_parse(given->site, &site, err) : 0;
    if (r == 0 && !given->name)
        return choose_only(control, given->site ? &site : NULL, ret, err);
    if (r == 0)
        r = control_store_get(control, given->name, view, err);
    if (r == 0)
        memcpy(ret, view->name, sizeof(view->name));
    return r;
}

int object_stores_tidy(struct control *control, struct error *err)
{
    struct listing listing = { .count = 0 };

    int r = list_all(control, &listing, err);
    if (r == 0)
        r = store_secrets_tidy(control->state_dir, listing.secrets, listing.count, err);
    free(listing.views);
    free(listing.secrets);
    return r;
}

/* --- places of filesystems --- */

bool place_is_s3(const char *url)
{
    return strncmp(url, PLACE_S3, strlen(PLACE_S3)) == 0;
}

int place_name(const char *given, const struct uuid *uuid, char *ret, size_t size,
               struct error *err)
{
    const char *name = given + strlen(PLACE_S3);
    char id[UUID_TEXT_SIZE];

    if (*name == '\0' || strchr(name, '/') != NULL)
        return error_set(err, -EINVAL,
                         "the store '%.128s' is not of the form s3:NAME, the name of one that "
                         "coffer fs tier s3 lists",
                         given);
    uuid_format(uuid, id);
    return snprintf(ret, size, "%s/%s", given, id) >= (int)size
               ? error_set(err, -ENAMETOOLONG, "the store's name is too long")
               : 0;
}

/* The record of the store, its prefix that of the part. */
static int load_place(struct control *control, const char *url, struct store_record *ret,
                      struct error *err)
{
    char name[STORE_NAME_MAX + 1], prefix[2 * S3_PREFIX_SIZE];
    const char *at = url + strlen(PLACE_S3);
    size_t len = strcspn(at, "/");

    if (len == 0 || len > STORE_NAME_MAX || at[len] != '/' || at[len + 1] == '\0')
        return error_set(err, -EINVAL, "the store '%.128s' is not of the form s3:NAME/PART", url);
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, at);
    int r = object_stores_load(control, name, ret, err);
    if (r == -ENOENT) /* not to be taken for a missing object */
        return error_recode(err, -ENXIO);
    if (r < 0)
        return r;
    if (ret->kind != STORE_KIND_S3)
        return error_set(err, -EINVAL, "object store %s is a folder: give dir:%.256s", name,
                         ret->path);
    const char *present = ret->s3.prefix;
    bool has_slash = *present == '\0' || present[strlen(present) - 1] == '/';
    if (snprintf(prefix, sizeof(prefix), "%s%s%s", present, has_slash ? "" : "/", at + len + 1) >=
        (int)S3_PREFIX_SIZE)
        return error_set(err, -ENAMETOOLONG,
                         "the prefix of object store %s is too long for a filesystem below it",
                         name);
    memcpy(ret->s3.prefix, prefix, S3_PREFIX_SIZE);
    return 0;
}

int place_open(struct control *control, const char *url, struct object_store **ret,
               struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    if (!place_is_s3(url))
        return object_store_open(url, ret, err);
    int r = load_place(control, url, &record, err);
    return r < 0 ? r : s3_store_open(&record.s3, ret, err); /* rings are small: without a limit */
}

int place_pack(struct control *control, const char *url, struct secret *ret, struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    if (!place_is_s3(url))
        return 0;
    int r = load_place(control, url, &record, err);
    return r < 0 ? r : s3_settings_pack(&record.s3, &record.rates, ret, err);
}

/* --- changing --- */

static int save(struct control *control, const struct store_record *record, struct error *err)
{
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    char key[KEY_SIZE];

    int r = key_of(record->name, key, err);
    if (r == 0)
        r = store_record_encode(record, &encoded, err);
    return r < 0 ? r : registry_put_value(control->registry, key, buf_bytes(&encoded), err);
}

/* Somebody waits for it: what does not pass within a second is told. */
static int probe(struct store_record *record, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;

    record->s3.retry = &retry_policy_default;
    int r = store_record_open(record, &store, err);
    return r < 0 ? r : object_store_probe(store, err);
}

/* Of a folder that is new to us. One that was not tried, since it may perhaps only be read, has a
 * mark that somebody else made, or none. */
static int mark_folder(struct store_record *record, bool verify, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;

    if (record->kind != STORE_KIND_DIR || !uuid_is_zero(&record->mark))
        return 0;
    int r = store_record_open(record, &store, verify ? err : NULL);
    if (verify)
        return r < 0 ? r : place_mark_take(store, &record->mark, err);
    if (r == 0)
        (void)place_mark_read(store, &record->mark, NULL);
    return 0;
}

static int try_store(struct store_record *record, bool verify, struct error *err)
{
    int r = verify ? probe(record, err) : 0;

    return r < 0 ? r : mark_folder(record, verify, err);
}

/* Of a new record, or of one whose secret key is a new one. A secret that then is not needed goes
 * with the next start at the latest. */
static int keep(struct control *control, struct store_record *record, bool has_new_secret,
                struct error *err)
{
    int r = has_new_secret ? store_secret_save(control->state_dir, record, err) : 0;

    if (r == 0)
        r = save(control, record, err);
    if (r < 0 && has_new_secret)
        (void)store_secret_remove(control->state_dir, &record->secret_id, NULL);
    return r;
}

static int add_locked(struct control *control, struct store_record *record, bool verify,
                      struct error *err) REQUIRES(control->stores_changing)
{
    CLEANUP(store_record_release) struct store_record present = STORE_RECORD_INIT;

    if (load(control, record->name, &present, NULL) != -ENOENT)
        return error_set(err, -EEXIST,
                         "there already is an object store %s; change it with update, or choose "
                         "another name",
                         record->name);
    int r = try_store(record, verify, err);
    if (r == 0)
        r = keep(control, record, record->kind == STORE_KIND_S3, err);
    return r;
}

static void tell(struct control *control, const char *type, const struct store_record *record,
                 const char *what)
{
    if (record->kind == STORE_KIND_S3)
        events_add(&control->events, LOG_LEVEL_INFO, type, "",
                   "object store %s was %s: bucket %s at %s, access key id %s", record->name, what,
                   record->s3.bucket, record->s3.hostname, record->s3.access_key_id);
    else
        events_add(&control->events, LOG_LEVEL_INFO, type, "", "object store %s was %s: %.256s",
                   record->name, what, record->path);
}

int control_store_add(struct control *control, struct store_record *record, bool verify,
                      struct store_view *ret, struct error *err)
{
    int r = store_record_check(record, err);

    if (r < 0)
        return r;
    record->created_ns = clock_wall_ns();
    if (record->kind == STORE_KIND_S3 && record->s3.region[0] == '\0')
        memcpy(record->s3.region, "us-east-1", sizeof("us-east-1"));
    mutex_lock(&control->stores_changing);
    r = add_locked(control, record, verify, err);
    mutex_unlock(&control->stores_changing);
    if (r < 0)
        return r;
    tell(control, "object-store-added", record, "added");
    view_of(record, ret);
    return 0;
}

struct use {
    const char *name;
    char filesystem[FS_NAME_MAX + 1]; /* "": none */
    bool is_origin;
};

static bool has_data_in(const struct filesystem *fs, const char *name)
{
    const char *url = fs->record.store_url; /* never changes */
    size_t len = strlen(name);

    return place_is_s3(url) && strncmp(url + strlen(PLACE_S3), name, len) == 0 &&
           url[strlen(PLACE_S3) + len] == '/';
}

static bool is_being_downloaded_from(struct filesystem *fs, const char *name)
{
    mutex_lock(&fs->lock);
    bool is_so = fs->record.has_origin && strcmp(fs->record.origin.store, name) == 0;
    mutex_unlock(&fs->lock);
    return is_so;
}

static int look_for_use(struct filesystem *fs, void *arg, struct error *err)
{
    struct use *use = arg;

    (void)err;
    use->is_origin = !has_data_in(fs, use->name);
    if (use->is_origin && !is_being_downloaded_from(fs, use->name))
        return 0;
    memcpy(use->filesystem, fs->record.name, sizeof(use->filesystem));
    return 1;
}

static int expect_unused(struct control *control, const char *name, struct error *err)
{
    struct use use = { .name = name };

    (void)control_each(control, look_for_use, &use, NULL);
    if (use.filesystem[0] == '\0')
        return 0;
    if (use.is_origin)
        return error_set(err, -EBUSY,
                         "filesystem %s was downloaded from the object store %s, and not all of it "
                         "is here yet; wait until it is, or name another object store with the "
                         "snapshot (coffer fs update %s --object-store STORE)",
                         use.filesystem, name, use.filesystem);
    return error_set(err, -EBUSY,
                     "object store %s holds the data of filesystem %s; remove that first", name,
                     use.filesystem);
}

/* Of one that filesystems need: the server may have another address, not their data another place.
 */
static int expect_same_place(struct control *control, const struct store_record *record,
                             const char *bucket, const char *prefix, struct error *err)
{
    bool is_same = strcmp(record->s3.bucket, bucket) == 0 && strcmp(record->s3.prefix, prefix) == 0;

    return is_same ? 0 : expect_unused(control, record->name, err);
}

static int update_locked(struct control *control, struct store_record *record, store_edit_fn *edit,
                         void *arg, bool verify, struct error *err)
    REQUIRES(control->stores_changing)
{
    struct uuid old_secret = record->secret_id;
    char bucket[S3_BUCKET_SIZE], prefix[S3_PREFIX_SIZE];

    memcpy(bucket, record->s3.bucket, sizeof(bucket));
    memcpy(prefix, record->s3.prefix, sizeof(prefix));
    int r = edit(record, arg, err);
    if (r == 0)
        r = expect_same_place(control, record, bucket, prefix, err);
    if (r < 0)
        return r;
    bool has_new_secret = record->s3.secret_key.len > 0;
    if (record->kind == STORE_KIND_S3 && !has_new_secret)
        r = store_secret_load(control->state_dir, record, err);
    if (r == 0)
        r = store_record_check(record, err);
    if (r == 0)
        r = try_store(record, verify, err);
    if (r == 0)
        r = keep(control, record, has_new_secret, err);
    if (r == 0 && has_new_secret)
        (void)store_secret_remove(control->state_dir, &old_secret, NULL); /* or at the next start */
    return r;
}

int control_store_update(struct control *control, const char *name, store_edit_fn *edit, void *arg,
                         bool verify, struct store_view *ret, struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    mutex_lock(&control->stores_changing);
    int r = load(control, name, &record, err);
    if (r == 0)
        r = update_locked(control, &record, edit, arg, verify, err);
    mutex_unlock(&control->stores_changing);
    if (r < 0)
        return r;
    tell(control, "object-store-changed", &record, "changed");
    view_of(&record, ret);
    return 0;
}

static int remove_locked(struct control *control, const struct store_record *record,
                         struct error *err) REQUIRES(control->stores_changing)
{
    char key[KEY_SIZE];
    /* expect_unused() knows of filesystems that need it, whether a task stands for that or not. */
    const struct task_use use = { .store = record->name, .ignores_companions = true };
    int r = key_of(record->name, key, err);

    if (r == 0)
        r = tasks_expect_none(control, &use, err);
    if (r == 0)
        r = expect_unused(control, record->name, err);
    if (r == 0)
        r = locators_forget_store(control, record->name, err);
    if (r == 0)
        r = registry_put_value(control->registry, key, (struct bytes){ .len = 0 }, err);
    if (r == 0)
        r = left_references_forget(control, record->name, err);
    if (r == 0)
        r = store_secret_remove(control->state_dir, &record->secret_id, err);
    return r;
}

int control_store_remove(struct control *control, const char *name, struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    mutex_lock(&control->stores_changing);
    int r = load(control, name, &record, err);
    if (r == 0)
        r = remove_locked(control, &record, err);
    mutex_unlock(&control->stores_changing);
    if (r == 0)
        tell(control, "object-store-removed", &record, "removed");
    return r;
}

int control_store_open(struct control *control, const char *name, struct object_store **ret,
                       struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    int r = object_stores_load(control, name, &record, err);
    return r < 0 ? r : store_record_open(&record, ret, err);
}

int control_store_check(struct control *control, const char *name, struct error *err)
{
    CLEANUP(store_record_release) struct store_record record = STORE_RECORD_INIT;

    int r = object_stores_load(control, name, &record, err);
    return r < 0 ? r : probe(&record, err);
}
