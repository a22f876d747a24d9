/* kms_probe TYPE ACTION FILE... - does one thing with a key provider, for tests that change the
 * server in between. Which server: kms_settings.h. Says "OK ..." or "ENOENT: the sentence".
 *
 *   verify            describe and try the key
 *   wrap FILE         wrap a fixed key into FILE
 *   unwrap FILE...    unwrap them in one call and compare with that key
 *   rewrap FILE NEW   rewrap FILE into NEW
 *   check             each step of the check as "result|step|class|text|action", after OK
 *   session           take such actions from the lines of standard input, with one login and a new
 *                     provider for each; also
 *   login             tell of the login
 *   herd              describe the key from many threads at once
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "base/thread.h"
#include "keys/key_provider.h"
#include "keys/kms_check.h"
#include "tests/support/kms_settings.h"

#define FILES_MAX 64
#define HERD 16u

static const uint8_t fixed_key[32] = "a key that a test has wrapped...";

static struct bytes key_bytes(void)
{
    return (struct bytes){ fixed_key, sizeof(fixed_key) };
}

static int load(const char *path, struct wrapped_key *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf data = BUF_INIT;
    int r = file_read(path, sizeof(*ret), &data, err);

    if (r == 0 && data.len != sizeof(*ret))
        r = error_set(err, -EINVAL, "%s is not a wrapped key", path);
    if (r == 0)
        memcpy(ret, data.data, sizeof(*ret));
    return r;
}

static int save(const char *path, const struct wrapped_key *wrapped, struct error *err)
{
    const struct bytes data = { (const uint8_t *)wrapped, sizeof(*wrapped) };
    int r = file_replace(path, data, 0600, err);

    if (r == 0)
        printf("OK version %u\n", wrapped->key_version);
    return r;
}

static int verify(struct key_provider *provider, struct error *err)
{
    struct key_description description;
    int r = key_provider_verify(provider, &description, err);

    if (r == 0)
        printf("OK %s, %s, version %u, from %u, %s\n", description.algorithm, description.state,
               description.latest_version, description.min_decrypt_version, description.server);
    return r;
}

static void print_step(void *arg, const struct kms_check_step *step)
{
    (void)arg;
    printf("\n%s|%s|%s|%s|%s", kms_check_result_name(step->result), step->name,
           kms_check_class_name(step->class), step->text, step->action);
}

static int check(struct key_provider *provider, struct error *err)
{
    struct kms_check report = { .report = print_step };

    printf("OK");
    return key_provider_check(provider, &report, err);
}

static int unwrap(struct key_provider *provider, char **paths, int count, struct error *err)
{
    static struct wrapped_key wrapped[FILES_MAX];
    struct secret plain[FILES_MAX] = { 0 };
    int r = 0;

    for (int i = 0; r == 0 && i < count && i < FILES_MAX; i++)
        r = load(paths[i], &wrapped[i], err);
    if (r == 0)
        r = key_provider_unwrap(provider, wrapped, (size_t)count, plain, err);
    for (int i = 0; i < count; i++) {
        if (r == 0 && !secret_equal(secret_bytes(&plain[i]), key_bytes()))
            r = error_set(err, -EBADMSG, "%s unwraps to something else", paths[i]);
        secret_release(&plain[i]);
    }
    if (r == 0)
        printf("OK %d\n", count);
    return r;
}

static int act(struct key_provider *provider, int argc, char **argv, struct error *err)
{
    struct wrapped_key wrapped, rewrapped;
    const char *action = argv[2];
    int r;

    memset(&wrapped, 0, sizeof(wrapped));
    if (strcmp(action, "verify") == 0)
        return verify(provider, err);
    if (strcmp(action, "check") == 0)
        return check(provider, err);
    if (strcmp(action, "wrap") == 0 && argc == 4) {
        r = key_provider_wrap(provider, key_bytes(), &wrapped, err);
        return r < 0 ? r : save(argv[3], &wrapped, err);
    }
    if (strcmp(action, "unwrap") == 0 && argc > 3 && argc - 3 <= FILES_MAX)
        return unwrap(provider, argv + 3, argc - 3, err);
    if (strcmp(action, "rewrap") == 0 && argc == 5) {
        r = load(argv[3], &wrapped, err);
        if (r == 0)
            r = key_provider_rewrap(provider, &wrapped, 1, &rewrapped, err);
        return r < 0 ? r : save(argv[4], &rewrapped, err);
    }
    return error_set(err, -EINVAL, "usage: kms_probe TYPE check|verify|wrap|unwrap|rewrap FILE...");
}

static void report(int r, const struct error *err)
{
    if (r < 0)
        printf("%s: %s\n", strerrorname_np(-r), err->text);
    if (r < 0 && err->code != r)
        printf("but the error says %d\n", err->code);
}

static int act_once(const struct key_provider_config *config, int argc, char **argv,
                    struct error *err)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    int r = key_provider_open(config, &provider, err);

    return r < 0 ? r : act(provider, argc, argv, err);
}

static void print_login(const struct key_provider_config *config)
{
    struct key_login_status status;

    key_login_status(config->login, &status);
    printf("OK %s, %s, %s, life %lld, %s\n", status.is_known ? "known" : "unknown",
           status.has_end ? "ends" : "endless", status.is_kept ? "kept" : "not kept",
           (long long)(status.life_ms / 1000), status.obstacle);
}

struct herd {
    const struct key_provider_config *config;
    struct mutex lock; /* guards all below */
    unsigned well;
    struct error failure; /* of one of the others */
};

static void *describe_once(void *arg)
{
    CLEANUP(key_provider_closep) struct key_provider *provider = NULL;
    struct herd *herd = arg;
    struct key_description description;
    struct error err = { 0 };
    int r = key_provider_open(herd->config, &provider, &err);

    if (r == 0)
        r = key_provider_describe(provider, &description, &err);
    mutex_lock(&herd->lock);
    if (r == 0)
        herd->well++;
    else
        herd->failure = err;
    mutex_unlock(&herd->lock);
    return NULL;
}

static void run_herd(const struct key_provider_config *config)
{
    struct herd herd = { .config = config, .lock = MUTEX_INIT };
    pthread_t threads[HERD];
    size_t count = 0;

    while (count < HERD && pthread_create(&threads[count], NULL, describe_once, &herd) == 0)
        count++;
    for (size_t i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
    printf("%u of %u %s\n", herd.well, HERD, herd.failure.text);
}

static int session(struct key_provider_config *config, char *program, char *type, struct error *err)
{
    char line[1024];
    int r = key_provider_config_share_login(config, err);

    while (r == 0 && fgets(line, sizeof(line), stdin)) {
        char *words[FILES_MAX + 2] = { program, type };
        struct error own = { 0 };
        char *save = NULL;
        int count = 2;

        for (char *word = strtok_r(line, " \n", &save); word && count < FILES_MAX;
             word = strtok_r(NULL, " \n", &save))
            words[count++] = word;
        if (count == 3 && strcmp(words[2], "login") == 0)
            print_login(config);
        else if (count == 3 && strcmp(words[2], "herd") == 0)
            run_herd(config);
        else if (count > 2)
            report(act_once(config, count, words, &own), &own);
        (void)fflush(stdout);
    }
    return r;
}

int main(int argc, char **argv)
{
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = KEY_PROVIDER_CONFIG_INIT;
    struct error err = { 0 };
    int r = argc > 2 ? secret_heap_init(&err) : -EINVAL;

    if (r == 0)
        r = kms_settings_read(argv[1], &config, &err);
    if (r == 0 && strcmp(argv[2], "session") == 0)
        r = session(&config, argv[0], argv[1], &err);
    else if (r == 0)
        r = act_once(&config, argc, argv, &err);
    report(r, &err);
    return r < 0;
}
