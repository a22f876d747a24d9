#include "control/kms.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/ca_cert.h"
#include "control/credentials.h"
#include "control/idle_provider.h"
#include "net/tls.h"

struct kms {
    char *state_dir;
    struct mutex storing; /* one replacement at a time; taken before lock */
    struct mutex lock;    /* guards all below */
    struct key_provider_config config;
    struct key_provider_config staged; /* no type: no change is under way */
    bool staged_converts;
    struct kms_logins logins; /* of filesystems */
    struct buf ca_cert_pem;   /* of vaults; empty: the system's */
    unsigned generation;      /* goes up with each configuration */
    struct idle_provider idle;
    struct kms_status status;
    struct error load_error; /* why the credentials could not be read; code 0 if they could */
};

static void copy_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from); /* both sides have the same size */
}

static const char *auth_method(const struct key_provider_config *config)
{
    if (config->role_id[0])
        return "approle";
    if (config->kubernetes_role[0])
        return "kubernetes";
    return config->token.len > 0 ? "token" : "client-certificate";
}

static void describe_config_locked(struct kms *kms) REQUIRES(kms->lock)
{
    struct kms_status *status = &kms->status;
    const struct key_provider_config *config = &kms->config;
    struct tls_validity validity;

    *status = (struct kms_status){ .is_configured = config->type[0] != '\0' };
    copy_text(status->type, sizeof(status->type), config->type);
    copy_text(status->addresses, sizeof(status->addresses), config->addresses);
    copy_text(status->key_name, sizeof(status->key_name), config->key_name);
    copy_text(status->kms_namespace, sizeof(status->kms_namespace), config->kms_namespace);
    copy_text(status->mount_path, sizeof(status->mount_path), config->mount_path);
    copy_text(status->auth_method, sizeof(status->auth_method), auth_method(config));
    copy_text(status->auth_path, sizeof(status->auth_path), config->auth_path);
    copy_text(status->role, sizeof(status->role),
              config->role_id[0] ? config->role_id : config->kubernetes_role);
    copy_text(status->username, sizeof(status->username), config->username);
    if (strcmp(config->type, "kmip") == 0)
        copy_text(status->cipher_mode, sizeof(status->cipher_mode),
                  wrap_mode_name(config->uses_gcm ? WRAP_MODE_GCM : WRAP_MODE_CBC_PKCS5));
    status->leaves_renewal = config->leaves_renewal;
    status->is_insecure = config->allows_insecure_http;
    if (config->client_cert_pem.len > 0 &&
        tls_certificate_validity(buf_bytes(&config->client_cert_pem), &validity, NULL) == 0)
        status->certificate_until_s = validity.until_s;
}

/* What is taken out is released without the lock: that may log out, which asks the server. */
static void swap_configs(struct key_provider_config *a, struct key_provider_config *b)
{
    struct key_provider_config kept = *a;

    *a = *b;
    *b = kept;
}

static void swap_logins(struct kms_logins *a, struct kms_logins *b)
{
    struct kms_logins kept = *a;

    *a = *b;
    *b = kept;
}

static bool is_vault(const struct key_provider_config *config)
{
    return strcmp(config->type, "vault") == 0;
}

/* Once they were part of the configuration. */
static int load_ca_cert(struct kms *kms, struct error *err)
{
    struct bytes own = buf_bytes(&kms->config.ca_cert_pem);
    int r = ca_cert_load(kms->state_dir, &kms->ca_cert_pem, err);

    if (r < 0 || kms->ca_cert_pem.len > 0 || own.len == 0 || !is_vault(&kms->config))
        return r;
    r = ca_cert_store(kms->state_dir, own, err);
    if (r == 0 && buf_assign(&kms->ca_cert_pem, own) < 0)
        r = error_set(err, -ENOMEM, "out of memory for the CA certificates");
    return r;
}

static void load_staged(struct kms *kms)
{
    struct error err = { .code = 0 };
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    int r = credentials_load(kms->state_dir, CREDENTIALS_STAGED, &read, &err);

    if (r == 0) {
        swap_configs(&kms->staged, &read.config);
        kms->staged_converts = read.converts;
    }
    if (r == 0)
        r = kms_complete(kms, &kms->staged, &err);
    if (r < 0 && r != -ENOENT)
        log_error("the KMS that was about to be set is not known: %s", err.text);
}

int kms_open(const char *state_dir, struct kms **ret, struct error *err)
{
    struct kms *kms = calloc(1, sizeof(*kms));

    if (!kms)
        return error_set(err, -ENOMEM, "out of memory");
    kms->storing = MUTEX_INIT;
    kms->lock = MUTEX_INIT;
    kms->state_dir = strdup(state_dir);
    if (!kms->state_dir) {
        kms_close(kms);
        return error_set(err, -ENOMEM, "out of memory");
    }
    struct error load_error = { .code = 0 };
    CLEANUP(credentials_release) struct credentials read = CREDENTIALS_INIT;
    int r = credentials_load(state_dir, CREDENTIALS_IN_USE, &read, &load_error);
    if (r == 0) {
        swap_configs(&kms->config, &read.config);
        swap_logins(&kms->logins, &read.logins);
    }
    if (r == 0 || r == -ENOENT) {
        int ca = load_ca_cert(kms, &load_error);
        r = ca < 0 ? ca : r;
    }
    if (r == 0)
        r = kms_complete(kms, &kms->config, &load_error);
    load_staged(kms);
    mutex_lock(&kms->lock);
    describe_config_locked(kms);
    if (r < 0 && r != -ENOENT) {
        kms->load_error = load_error;
        copy_text(kms->status.error, sizeof(kms->status.error), load_error.text);
        kms->status.error_code = r;
    }
    mutex_unlock(&kms->lock);
    *ret = kms;
    return 0;
}

void kms_close(struct kms *kms)
{
    if (!kms)
        return;
    key_provider_close(kms->idle.provider);
    key_provider_config_release(&kms->config);
    key_provider_config_release(&kms->staged);
    kms_logins_release(&kms->logins);
    buf_release(&kms->ca_cert_pem);
    free(kms->state_dir);
    free(kms);
}

void kms_status(struct kms *kms, struct kms_status *ret)
{
    mutex_lock(&kms->lock);
    *ret = kms->status;
    key_login_status(kms->config.login, &ret->login);
    mutex_unlock(&kms->lock);
}

bool kms_is_configured(struct kms *kms)
{
    mutex_lock(&kms->lock);
    bool is_configured = kms->status.is_configured;
    mutex_unlock(&kms->lock);
    return is_configured;
}

static void note_locked(struct kms *kms, int r, const struct error *err) REQUIRES(kms->lock)
{
    kms->status.is_reachable = r != -EAGAIN;
    if (r == 0)
        kms->status.last_success_ns = clock_wall_ns();
    kms->status.error_code = r;
    copy_text(kms->status.error, sizeof(kms->status.error), r < 0 ? err->text : "");
}

void kms_note(struct kms *kms, int r, const struct error *err)
{
    mutex_lock(&kms->lock);
    if (kms->status.is_configured)
        note_locked(kms, r, err);
    mutex_unlock(&kms->lock);
}

static int config_of(struct kms *kms, struct key_provider_config *ret, unsigned *ret_generation,
                     struct error *err)
{
    int r;

    mutex_lock(&kms->lock);
    struct error load_error = kms->load_error;
    bool is_configured = kms->status.is_configured;
    *ret_generation = kms->generation;
    r = key_provider_config_copy(ret, &kms->config);
    mutex_unlock(&kms->lock);

    if (load_error.code < 0)
        return error_set(err, load_error.code, "%s", load_error.text);
    if (!is_configured)
        return error_set(err, -ENOKEY,
                         "no KMS is configured; set one with 'coffer security kms set'");
    return r < 0 ? error_set(err, r, "out of memory for the KMS configuration") : 0;
}

int kms_config(struct kms *kms, struct key_provider_config *ret, struct error *err)
{
    unsigned generation;

    return config_of(kms, ret, &generation, err);
}

static int provider_of(struct kms *kms, struct key_provider **ret, unsigned *ret_generation,
                       struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    int r = config_of(kms, &config, ret_generation, err);

    return r < 0 ? r : key_provider_open(&config, ret, err);
}

int kms_provider(struct kms *kms, struct key_provider **ret, struct error *err)
{
    unsigned generation;

    return provider_of(kms, ret, &generation, err);
}

int kms_borrow(struct kms *kms, struct key_provider **ret, unsigned *ret_generation,
               struct error *err)
{
    bool is_usable = false;

    mutex_lock(&kms->lock);
    struct key_provider *idle = idle_provider_take(&kms->idle, kms->generation, &is_usable);
    *ret_generation = kms->generation;
    mutex_unlock(&kms->lock);
    if (is_usable) {
        *ret = idle;
        return 0;
    }
    key_provider_close(idle);
    return provider_of(kms, ret, ret_generation, err);
}

void kms_give_back(struct kms *kms, struct key_provider *provider, unsigned generation, int r)
{
    mutex_lock(&kms->lock);
    bool is_kept = r == 0 && generation == kms->generation &&
                   idle_provider_put(&kms->idle, provider, generation);
    mutex_unlock(&kms->lock);
    if (!is_kept)
        key_provider_close(provider);
}

static void drop_stale_provider(struct kms *kms)
{
    mutex_lock(&kms->lock);
    struct key_provider *stale = idle_provider_take_stale(&kms->idle, kms->generation);
    mutex_unlock(&kms->lock);
    key_provider_close(stale);
}

/* ------------------------------------------------------------------ filesystems' own */

/* Nothing of the instance's login is left but, between two AppRoles, the path. */
static int use_role(struct key_provider_config *config, const char *role_id,
                    const struct secret *secret_id)
{
    if (config->role_id[0] == '\0')
        config->auth_path[0] = '\0';
    key_login_unref(config->login);
    config->login = NULL;
    secret_release(&config->token);
    config->kubernetes_role[0] = '\0';
    config->kubernetes_token_path[0] = '\0';
    config->leaves_renewal = false;
    copy_text(config->role_id, sizeof(config->role_id), role_id);
    return secret_assign(&config->secret_id, secret_bytes(secret_id));
}

static int use_known_role(struct kms *kms, struct key_provider_config *config,
                          const struct fs_kms_key *key, struct error *err)
{
    mutex_lock(&kms->lock);
    const struct kms_own_login *own =
        kms_logins_find(&kms->logins, key->kms_namespace, key->role_id);
    int r = own ? use_role(config, key->role_id, &own->secret_id) : -ENOENT;
    mutex_unlock(&kms->lock);
    if (r == -ENOENT)
        return error_set(err, -EACCES,
                         "the secret ID of its own role %s is not known; give it with 'coffer fs "
                         "update' and --kms-role-id",
                         key->role_id);
    return r < 0 ? error_set(err, r, "no locked memory for the login to the KMS") : 0;
}

int kms_adapt(struct kms *kms, const struct fs_kms_key *key, const struct secret *secret_id,
              struct key_provider_config *config, struct error *err)
{
    if (key->kms_namespace[0] && !is_vault(config))
        return error_set(err, -EINVAL, "only a vault has namespaces, and the KMS is %s",
                         config->type);
    if (key->role_id[0] && !is_vault(config))
        return error_set(err, -EINVAL, "only a vault has roles, and the KMS is %s", config->type);
    if (key->key[0])
        copy_text(config->key_name, sizeof(config->key_name), key->key);
    if (key->kms_namespace[0])
        copy_text(config->kms_namespace, sizeof(config->kms_namespace), key->kms_namespace);
    if (!key->role_id[0])
        return 0;
    if (!secret_id)
        return use_known_role(kms, config, key, err);
    return use_role(config, key->role_id, secret_id) < 0
               ? error_set(err, -ENOMEM, "no locked memory for the login to the KMS")
               : 0;
}

/* The login of the role that is there already. */
static struct key_login *shared_login(struct kms *kms, const struct fs_kms_key *key,
                                      unsigned generation)
{
    mutex_lock(&kms->lock);
    const struct kms_own_login *own =
        kms_logins_find(&kms->logins, key->kms_namespace, key->role_id);
    struct key_login *login =
        own && own->generation == generation ? key_login_ref(own->login) : NULL;
    mutex_unlock(&kms->lock);
    return login;
}

/* Unless the configuration or the secret was changed meanwhile. Whoever came first stays. */
static void share_login(struct kms *kms, const struct fs_kms_key *key, unsigned generation,
                        struct key_provider_config *config)
{
    struct key_login *other = NULL;

    mutex_lock(&kms->lock);
    struct kms_own_login *own = kms_logins_find(&kms->logins, key->kms_namespace, key->role_id);
    bool is_same = own && kms->generation == generation &&
                   secret_equal(secret_bytes(&own->secret_id), secret_bytes(&config->secret_id));
    if (is_same && own->login && own->generation == generation) {
        other = config->login;
        config->login = key_login_ref(own->login);
    } else if (is_same) {
        other = own->login;
        own->login = key_login_ref(config->login);
        own->generation = generation;
    }
    mutex_unlock(&kms->lock);
    key_login_unref(other);
}

static int log_in_own(struct kms *kms, const struct fs_kms_key *key, unsigned generation,
                      struct key_provider_config *config, struct error *err)
{
    config->login = shared_login(kms, key, generation);
    if (config->login)
        return 0;
    int r = key_provider_config_share_login(config, err);
    if (r == 0)
        share_login(kms, key, generation, config);
    return r;
}

int kms_provider_for(struct kms *kms, const struct fs_kms_key *key, const struct secret *secret_id,
                     struct key_provider **ret, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    unsigned generation;
    int r = config_of(kms, &config, &generation, err);

    if (r == 0)
        r = kms_adapt(kms, key, secret_id, &config, err);
    if (r == 0 && key->role_id[0] && !secret_id)
        r = log_in_own(kms, key, generation, &config, err);
    return r < 0 ? r : key_provider_open(&config, ret, err);
}

void kms_own_login_status(struct kms *kms, const struct fs_kms_key *key,
                          struct key_login_status *ret)
{
    mutex_lock(&kms->lock);
    const struct kms_own_login *own =
        kms_logins_find(&kms->logins, key->kms_namespace, key->role_id);
    key_login_status(own && own->generation == kms->generation ? own->login : NULL, ret);
    mutex_unlock(&kms->lock);
}

static bool same_namespace(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);

    while (a_len > 0 && a[a_len - 1] == '/')
        a_len--;
    while (b_len > 0 && b[b_len - 1] == '/')
        b_len--;
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

bool kms_key_names(struct kms *kms, const struct fs_kms_key *key, const struct wrapped_key *wrapped)
{
    mutex_lock(&kms->lock);
    const struct key_provider_config *config = &kms->config;
    bool names = strcmp(config->type, wrapped->provider) == 0 &&
                 strcmp(key->key[0] ? key->key : config->key_name, wrapped->key_name) == 0 &&
                 same_namespace(key->kms_namespace[0] ? key->kms_namespace : config->kms_namespace,
                                wrapped->kms_namespace);
    mutex_unlock(&kms->lock);
    return names;
}

/* The table as it was, with references to its logins, goes without the lock. */
static int store_logins(struct kms *kms, struct kms_logins *changed, struct error *err)
    REQUIRES(kms->storing)
{
    int r =
        credentials_store(kms->state_dir, CREDENTIALS_IN_USE, &kms->config, false, changed, err);

    if (r < 0)
        return r;
    mutex_lock(&kms->lock);
    swap_logins(&kms->logins, changed);
    mutex_unlock(&kms->lock);
    return 0;
}

static int copy_logins(struct kms *kms, struct kms_logins *ret, struct error *err)
{
    mutex_lock(&kms->lock);
    int r = kms_logins_copy(ret, &kms->logins);
    mutex_unlock(&kms->lock);
    return r < 0 ? error_set(err, r, "no locked memory for the logins to the KMS") : 0;
}

int kms_put_login(struct kms *kms, const struct fs_kms_key *key, const struct secret *secret_id,
                  struct error *err)
{
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };

    mutex_lock(&kms->storing);
    int r = kms->config.type[0] ? copy_logins(kms, &logins, err)
                                : error_set(err, -ENOKEY, "no KMS is configured");
    if (r == 0) {
        r = kms_logins_put(&logins, key->kms_namespace, key->role_id, secret_bytes(secret_id));
        if (r == -ENOSPC)
            (void)error_set(err, r,
                            "at most %u roles can be known; let filesystems share them, or use the "
                            "login of the instance",
                            KMS_LOGINS_MAX);
        else if (r < 0)
            (void)error_set(err, r, "no locked memory for the logins to the KMS");
    }
    if (r == 0)
        r = store_logins(kms, &logins, err);
    mutex_unlock(&kms->storing);
    return r;
}

int kms_keep_logins(struct kms *kms, kms_login_wanted_fn *is_wanted, void *arg, struct error *err)
{
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };

    mutex_lock(&kms->storing);
    int r = copy_logins(kms, &logins, err);
    if (r == 0 && kms_logins_keep(&logins, is_wanted, arg) > 0)
        r = store_logins(kms, &logins, err);
    mutex_unlock(&kms->storing);
    return r;
}

/* ------------------------------------------------------------------ looking at it */

void kms_refresh(struct kms *kms)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct key_description seen = { .algorithm = "" };
    struct error err = { .code = 0 };
    unsigned generation;

    drop_stale_provider(kms);
    int r = provider_of(kms, &provider, &generation, &err);

    if (r == -ENOKEY)
        return;
    if (r == 0)
        r = key_provider_describe(provider, &seen, &err);
    mutex_lock(&kms->lock);
    if (generation == kms->generation) {
        note_locked(kms, r, &err);
        if (r == 0)
            kms->status.key = seen;
    }
    mutex_unlock(&kms->lock);
}

int kms_local_provider(struct kms *kms, const char *uuid_text, bool make, struct key_provider **ret,
                       struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    int r = make ? local_key_make(kms->state_dir, uuid_text, &config.local_key, err)
                 : local_key_load(kms->state_dir, uuid_text, &config.local_key, err);

    if (r < 0)
        return r;
    copy_text(config.type, sizeof(config.type), "local");
    copy_text(config.key_name, sizeof(config.key_name), uuid_text);
    return key_provider_open(&config, ret, err);
}

bool kms_has_local_key(struct kms *kms, const char *uuid_text)
{
    return local_key_exists(kms->state_dir, uuid_text);
}

int kms_shred_local_key(struct kms *kms, const char *uuid_text, struct error *err)
{
    return local_key_shred(kms->state_dir, uuid_text, err);
}

int kms_remove_local_key(struct kms *kms, const char *uuid_text, struct error *err)
{
    return local_key_remove(kms->state_dir, uuid_text, err);
}

static int copy_config(struct key_provider_config *to, const struct key_provider_config *from,
                       struct error *err)
{
    int r = key_provider_config_copy(to, from);

    return r < 0 ? error_set(err, r, "out of memory for the KMS configuration") : 0;
}

int kms_stage(struct kms *kms, const struct key_provider_config *config, bool converts,
              struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config copy = KEY_PROVIDER_CONFIG_INIT;
    int r = copy_config(&copy, config, err);

    if (r == 0)
        r = key_provider_config_share_login(&copy, err);
    if (r < 0)
        return r;
    mutex_lock(&kms->storing);
    r = credentials_store(kms->state_dir, CREDENTIALS_STAGED, config, converts, NULL, err);
    if (r == 0) {
        mutex_lock(&kms->lock);
        swap_configs(&kms->staged, &copy);
        kms->staged_converts = converts;
        mutex_unlock(&kms->lock);
    }
    mutex_unlock(&kms->storing);
    return r;
}

int kms_unstage(struct kms *kms, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config staged = KEY_PROVIDER_CONFIG_INIT;

    mutex_lock(&kms->storing);
    int r = credentials_remove(kms->state_dir, CREDENTIALS_STAGED, err);
    if (r == 0) {
        mutex_lock(&kms->lock);
        swap_configs(&kms->staged, &staged);
        mutex_unlock(&kms->lock);
    }
    mutex_unlock(&kms->storing);
    return r;
}

bool kms_is_staged(struct kms *kms)
{
    mutex_lock(&kms->lock);
    bool is_staged = kms->staged.type[0] != '\0';
    mutex_unlock(&kms->lock);
    return is_staged;
}

int kms_staged(struct kms *kms, struct key_provider_config *ret, bool *ret_converts,
               struct error *err)
{
    mutex_lock(&kms->lock);
    bool is_staged = kms->staged.type[0] != '\0';
    int r = copy_config(ret, &kms->staged, err);
    if (ret_converts)
        *ret_converts = kms->staged_converts;
    mutex_unlock(&kms->lock);
    return r == 0 && !is_staged ? error_set(err, -ENOENT, "no change of the KMS is under way") : r;
}

/* What is stored always comes by way of the staged file, so that the new one is in use and no
 * longer staged in one step. */
static int store_promoted(struct kms *kms, const struct key_provider_config *config,
                          struct error *err) REQUIRES(kms->storing)
{
    int r = credentials_store(kms->state_dir, CREDENTIALS_STAGED, config, false, &kms->logins, err);

    return r < 0 ? r : credentials_promote(kms->state_dir, err);
}

/* Those of the configuration before: filesystems log in anew. They end with the copy. */
static void drop_logins_locked(struct kms *kms) REQUIRES(kms->lock)
{
    for (size_t i = 0; i < kms->logins.count; i++) {
        key_login_unref(kms->logins.items[i].login);
        kms->logins.items[i].login = NULL;
    }
}

int kms_replace(struct kms *kms, const struct key_provider_config *config,
                const struct key_description *seen, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config copy = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_config_release)
    struct key_provider_config staged = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };
    int r = copy_config(&copy, config, err);

    if (r == 0)
        r = key_provider_config_share_login(&copy, err);
    if (r < 0)
        return r;
    mutex_lock(&kms->storing);
    r = copy_logins(kms, &logins, err);
    if (r == 0)
        r = store_promoted(kms, config, err);
    if (r == 0) {
        mutex_lock(&kms->lock);
        swap_configs(&kms->config, &copy);
        swap_configs(&kms->staged, &staged);
        drop_logins_locked(kms);
        kms->generation++;
        kms->load_error = (struct error){ .code = 0 };
        describe_config_locked(kms);
        kms->status.key = *seen;
        kms->status.is_reachable = true;
        kms->status.last_success_ns = clock_wall_ns();
        mutex_unlock(&kms->lock);
    }
    mutex_unlock(&kms->storing);
    drop_stale_provider(kms);
    return r;
}

int kms_forget(struct kms *kms, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(key_provider_config_release)
    struct key_provider_config staged = KEY_PROVIDER_CONFIG_INIT;
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };

    mutex_lock(&kms->storing);
    int r = credentials_remove(kms->state_dir, CREDENTIALS_STAGED, err);
    if (r == 0)
        r = credentials_remove(kms->state_dir, CREDENTIALS_IN_USE, err);
    if (r == 0) {
        mutex_lock(&kms->lock);
        swap_configs(&kms->config, &config);
        swap_configs(&kms->staged, &staged);
        swap_logins(&kms->logins, &logins);
        kms->generation++;
        kms->load_error = (struct error){ .code = 0 };
        describe_config_locked(kms);
        mutex_unlock(&kms->lock);
    }
    mutex_unlock(&kms->storing);
    drop_stale_provider(kms);
    return r;
}

int kms_ca_cert(struct kms *kms, struct buf *ret, struct error *err)
{
    mutex_lock(&kms->lock);
    int r = buf_assign(ret, buf_bytes(&kms->ca_cert_pem));
    mutex_unlock(&kms->lock);
    return r < 0 ? error_set(err, r, "out of memory for the CA certificates") : 0;
}

int kms_complete(struct kms *kms, struct key_provider_config *config, struct error *err)
{
    if (is_vault(config)) {
        int r = kms_ca_cert(kms, &config->ca_cert_pem, err);
        if (r < 0)
            return r;
    }
    return key_provider_config_share_login(config, err);
}

/* One of the two, with the CA certificates as they are now and a login of its own. */
static int renew_config(struct kms *kms, struct key_provider_config *place, struct error *err)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config copy = KEY_PROVIDER_CONFIG_INIT;

    mutex_lock(&kms->lock);
    int r = copy_config(&copy, place, err);
    mutex_unlock(&kms->lock);
    if (r < 0 || !is_vault(&copy))
        return r;
    key_login_unref(copy.login);
    copy.login = NULL;
    r = kms_complete(kms, &copy, err);
    if (r < 0)
        return r;
    CLEANUP(kms_logins_release) struct kms_logins logins = { .count = 0 };
    r = copy_logins(kms, &logins, err);
    if (r < 0)
        return r;
    mutex_lock(&kms->lock);
    swap_configs(place, &copy);
    drop_logins_locked(kms);
    kms->generation++;
    mutex_unlock(&kms->lock);
    drop_stale_provider(kms);
    return 0;
}

int kms_set_ca_cert(struct kms *kms, struct bytes pem, struct error *err)
{
    struct buf copy = BUF_INIT;
    int r = buf_assign(&copy, pem);

    if (r < 0)
        return error_set(err, r, "out of memory for the CA certificates");
    mutex_lock(&kms->storing);
    r = ca_cert_store(kms->state_dir, pem, err);
    if (r == 0) {
        mutex_lock(&kms->lock);
        struct buf old = kms->ca_cert_pem;
        kms->ca_cert_pem = copy;
        copy = old;
        mutex_unlock(&kms->lock);
        r = renew_config(kms, &kms->config, err);
    }
    if (r == 0)
        r = renew_config(kms, &kms->staged, err);
    mutex_unlock(&kms->storing);
    buf_release(&copy);
    return r;
}
