#include "host/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file_io.h"
#include "host/landlock.h"
#include "host/syscall_filter.h"

#define NOBODY 65534u

void sandbox_worker_user(uid_t *ret_uid, gid_t *ret_gid)
{
    const struct passwd *user = getpwnam("coffer");

    *ret_uid = user && user->pw_uid != 0 ? user->pw_uid : NOBODY;
    *ret_gid = user && user->pw_uid != 0 ? user->pw_gid : NOBODY;
}

static int give_entry(const FTSENT *entry, uid_t uid, gid_t gid)
{
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
        return -entry->fts_errno;
    bool is_folder = entry->fts_info == FTS_D;
    bool is_file = entry->fts_info == FTS_F && S_ISREG(entry->fts_statp->st_mode) &&
                   entry->fts_statp->st_nlink == 1;
    if (!is_folder && !is_file)
        return 0;
    return lchown(entry->fts_accpath, uid, gid) < 0 ? -errno : 0;
}

int sandbox_give_folder(const char *path, uid_t uid, gid_t gid, struct error *err)
{
    char copy[PATH_MAX];
    char *const roots[] = { copy, NULL };
    struct stat st;

    int r = folder_make(path, 0700, err);
    if (r < 0)
        return r;
    if (stat(path, &st) < 0)
        return error_set(err, -errno, "cannot use folder %s: %s", path, strerrordesc_np(errno));
    if (st.st_uid != 0 || uid == 0)
        return 0;
    (void)snprintf(copy, sizeof(copy), "%s", path);
    /* COMFOLLOW: the folder itself may be reached by a link, which an administrator made. */
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (!tree)
        return error_set(err, -errno, "cannot read folder %s: %s", path, strerrordesc_np(errno));
    for (FTSENT *entry = fts_read(tree); entry && r == 0; entry = fts_read(tree))
        if (entry->fts_level > 0)
            r = give_entry(entry, uid, gid);
    (void)fts_close(tree);
    /* The folder comes last: it marks that all is done. */
    if (r == 0 && chown(path, uid, gid) < 0)
        r = -errno;
    return r < 0 ? error_set(err, r, "cannot give folder %s to user %u: %s", path, uid,
                             strerrordesc_np(-r))
                 : 0;
}

static int become(uid_t uid, gid_t gid)
{
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    return 0;
}

static int drop_capabilities(void)
{
    cap_t none = cap_init();

    if (!none)
        return -errno;
    int r = cap_set_proc(none) < 0 ? -errno : 0;
    (void)cap_free(none);
    return r;
}

/* Everything about who the process is. Only root can take capabilities out of the bounding set;
 * for others no_new_privs has the same effect. */
static int give_up_privileges(const struct sandbox *sandbox, struct error *err)
{
    int r = 0;

    if (geteuid() == 0) {
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
            (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* a container may lack CAP_SETPCAP */
        if (sandbox->uid != 0)
            r = become(sandbox->uid, sandbox->gid);
    }
    if (r == 0)
        r = drop_capabilities();
    /* A change of user allows dumps again. */
    if (r == 0 &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0))
        r = -errno;
    return r < 0 ? error_set(err, r, "cannot give up privileges: %s", strerrordesc_np(-r)) : 0;
}

static bool can_use(const struct sandbox *sandbox, const char *folder)
{
    return access(folder, R_OK | W_OK | X_OK) == 0 ||
           (errno == EROFS && sandbox->may_be_read_only && access(folder, R_OK | X_OK) == 0);
}

/* The folder's own path if it can be used, else the way through its descriptor. */
static int name_inside(const struct sandbox *sandbox, const char *folder, int fd,
                       char ret[static PATH_MAX], struct error *err)
{
    if (can_use(sandbox, folder))
        (void)snprintf(ret, PATH_MAX, "%s", folder);
    else
        (void)snprintf(ret, PATH_MAX, "/proc/self/fd/%d", fd);
    if (!can_use(sandbox, ret))
        return error_set(err, -errno, "user %u may not use folder %s: %s; give it to that user",
                         geteuid(), folder, strerrordesc_np(errno));
    return 0;
}

/* How names are resolved, and whom the system trusts. /etc as a whole, since resolv.conf is
 * replaced while the worker runs; what only root may read there stays root's. */
static const char *const network_paths[] = { "/etc", "/usr/share/ca-certificates",
                                             "/run/systemd/resolve", "/run/NetworkManager",
                                             "/run/resolvconf" };
#define NETWORK_PATHS (sizeof(network_paths) / sizeof(network_paths[0]))

static int restrict_paths(const struct sandbox *sandbox,
                          char paths[static SANDBOX_FOLDERS_MAX][PATH_MAX], bool *ret_has_landlock,
                          struct error *err)
{
    /* For libgcc_s (thread cancellation), OpenSSL's configuration and the number of processors. */
    struct landlock_path rules[SANDBOX_FOLDERS_MAX + 8 + NETWORK_PATHS] = {
        { "/usr/lib", true },
        { "/lib", true },
        { "/lib64", true },
        { "/etc/ssl", true },
        { "/etc/ld.so.cache", true },
        { "/proc/self", true },
        { "/sys/devices/system/cpu", true },
        { "/dev/null", true },
    };
    size_t count = 8;
    struct error reason;

    for (size_t i = 0; i < sandbox->folder_count; i++)
        rules[count++] = (struct landlock_path){ .path = paths[i] };
    for (size_t i = 0; i < NETWORK_PATHS && sandbox->needs_network; i++)
        rules[count++] = (struct landlock_path){ network_paths[i], true };
    int r = landlock_enter(rules, count, &reason);
    if (r < 0 && r != -EOPNOTSUPP)
        return error_set(err, r, "%s", reason.text);
    *ret_has_landlock = r == 0;
    return 0;
}

int sandbox_enter(const struct sandbox *sandbox,
                  char ret_paths[static SANDBOX_FOLDERS_MAX][PATH_MAX], bool *ret_has_landlock,
                  struct error *err)
{
    int fds[SANDBOX_FOLDERS_MAX] = { -1, -1, -1, -1 };
    int r = 0;

    assert(sandbox->folder_count <= SANDBOX_FOLDERS_MAX);
    /* Opened while we still may. They stay open: paths go through them. */
    for (size_t i = 0; i < sandbox->folder_count; i++) {
        fds[i] = open(sandbox->folders[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fds[i] < 0)
            return error_set(err, -errno, "cannot open folder %s: %s", sandbox->folders[i],
                             strerrordesc_np(errno));
    }
    r = give_up_privileges(sandbox, err);
    for (size_t i = 0; i < sandbox->folder_count && r == 0; i++)
        r = name_inside(sandbox, sandbox->folders[i], fds[i], ret_paths[i], err);
    if (r == 0)
        r = restrict_paths(sandbox, ret_paths, ret_has_landlock, err);
    if (r == 0)
        r = syscall_filter_enter(sandbox->needs_network, err);
    return r;
}
