#include "host/instance.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOUNT_SUFFIX ".mount"

static const char *given(const char *option, const char *variable)
{
    if (option && option[0] != '\0')
        return option;
    const char *value = getenv(variable);
    return value && value[0] != '\0' ? value : NULL;
}

static int too_long(const char *what, struct error *err)
{
    return error_set(err, -ENAMETOOLONG,
                     "the path of the %s is too long; give a shorter one with "
                     "--state-dir or --socket",
                     what);
}

/* Programs that go to the background change their folder: a path must not depend on it. */
static int make_absolute(char path[static PATH_MAX], struct error *err)
{
    char cwd[PATH_MAX];
    char whole[PATH_MAX];

    if (path[0] == '/')
        return 0;
    if (!getcwd(cwd, sizeof(cwd)))
        return error_set(err, -errno, "cannot find the current folder: %s", strerrordesc_np(errno));
    if (snprintf(whole, sizeof(whole), "%s/%s", cwd, path) >= (int)sizeof(whole))
        return too_long("instance", err);
    memcpy(path, whole, sizeof(whole));
    return 0;
}

static int home_folder(char ret[static PATH_MAX], struct error *err)
{
    const char *home = getenv("HOME");
    const struct passwd *user = home && home[0] == '/' ? NULL : getpwuid(geteuid());

    if (user)
        home = user->pw_dir;
    if (!home || home[0] != '/')
        return error_set(err, -ENOENT, "no home folder is known; set HOME or give --state-dir");
    if (snprintf(ret, PATH_MAX, "%s", home) >= PATH_MAX)
        return too_long("home folder", err);
    return 0;
}

static int default_state_dir(bool is_user, char ret[static PATH_MAX], struct error *err)
{
    const char *xdg = getenv("XDG_STATE_HOME");
    char home[PATH_MAX];

    if (!is_user) {
        (void)snprintf(ret, PATH_MAX, "/var/lib/coffer");
        return 0;
    }
    if (xdg && xdg[0] == '/')
        return snprintf(ret, PATH_MAX, "%s/coffer", xdg) < PATH_MAX ? 0
                                                                    : too_long("state folder", err);
    int r = home_folder(home, err);
    if (r < 0)
        return r;
    if (snprintf(ret, PATH_MAX, "%s/.local/state/coffer", home) >= PATH_MAX)
        return too_long("state folder", err);
    return 0;
}

static int default_socket(bool is_user, const char *state_dir, char ret[static PATH_MAX],
                          struct error *err)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    int n;

    if (!is_user)
        n = snprintf(ret, PATH_MAX, "/run/coffer/cofferd.sock");
    else if (xdg && xdg[0] == '/')
        n = snprintf(ret, PATH_MAX, "%s/coffer/cofferd.sock", xdg);
    else /* no login session: beside the state */
        n = snprintf(ret, PATH_MAX, "%s/cofferd.sock", state_dir);
    return n < PATH_MAX ? 0 : too_long("socket", err);
}

static int choose_state_dir(struct instance *instance, const char *option, struct error *err)
{
    int r = 0;

    if (!option)
        r = default_state_dir(instance->is_user, instance->state_dir, err);
    else if (snprintf(instance->state_dir, PATH_MAX, "%s", option) >= PATH_MAX)
        r = too_long("state folder", err);
    return r < 0 ? r : make_absolute(instance->state_dir, err);
}

static int choose_socket(struct instance *instance, const char *option, bool state_given,
                         struct error *err)
{
    char path[PATH_MAX];
    int r = 0;

    if (option)
        r = snprintf(path, sizeof(path), "%s", option) < (int)sizeof(path)
                ? 0
                : too_long("socket", err);
    else if (state_given)
        r = instance_path(instance, path, err, "cofferd.sock");
    else
        r = default_socket(instance->is_user, instance->state_dir, path, err);
    if (r == 0)
        r = make_absolute(path, err);
    if (r < 0)
        return r;

    size_t len = strlen(path);
    if (len + sizeof(MOUNT_SUFFIX) > INSTANCE_SOCKET_SIZE)
        return too_long("socket", err);
    memcpy(instance->socket, path, len + 1);
    memcpy(instance->mount_socket, path, len);
    memcpy(instance->mount_socket + len, MOUNT_SUFFIX, sizeof(MOUNT_SUFFIX));
    return 0;
}

int instance_init(struct instance *ret, const char *state_dir, const char *socket, bool is_user,
                  struct error *err)
{
    struct instance instance = { .is_user = is_user || geteuid() != 0 };

    state_dir = given(state_dir, "COFFER_STATE_DIR");
    socket = given(socket, "COFFER_SOCKET");
    int r = choose_state_dir(&instance, state_dir, err);
    if (r == 0)
        r = choose_socket(&instance, socket, state_dir != NULL, err);
    if (r == 0)
        *ret = instance;
    return r;
}

int instance_path(const struct instance *instance, char ret[static PATH_MAX], struct error *err,
                  const char *format, ...)
{
    char path[PATH_MAX];
    va_list args;

    int start = snprintf(path, sizeof(path), "%s/", instance->state_dir);
    if (start >= (int)sizeof(path))
        return too_long("state folder", err);
    va_start(args, format);
    int n = vsnprintf(path + start, sizeof(path) - (size_t)start, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(path) - (size_t)start)
        return too_long("state folder", err);
    memcpy(ret, path, sizeof(path));
    return 0;
}
