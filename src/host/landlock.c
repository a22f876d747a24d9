#include "host/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Later than Debian 12's headers; the numbers are the kernel's ABI. */
#define ACCESS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define ACCESS_IOCTL_DEV (1ULL << 15) /* ABI 5 */

#define ACCESS_READ                                                                                \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_FILE                                                                                \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE |   \
     ACCESS_TRUNCATE | ACCESS_IOCTL_DEV)
#define ACCESS_WRITE                                                                               \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |  \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                              \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER |        \
     ACCESS_TRUNCATE)

/* Everything that this kernel can forbid. */
static uint64_t access_known(int abi)
{
    uint64_t access = (1ULL << 13) - 1;

    if (abi >= 2)
        access |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        access |= ACCESS_TRUNCATE;
    if (abi >= 5)
        access |= ACCESS_IOCTL_DEV;
    return access;
}

static int add_path(int ruleset_fd, uint64_t known, const struct landlock_path *path)
{
    CLEANUP(close_fd) int fd = open(path->path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return errno == ENOENT && path->is_read_only ? 0 : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    struct landlock_path_beneath_attr rule = {
        .allowed_access = (path->is_read_only ? ACCESS_READ : ACCESS_WRITE) & known,
        .parent_fd = fd,
    };
    if (!S_ISDIR(st.st_mode)) /* the kernel refuses rights that only a folder can have */
        rule.allowed_access &= ACCESS_FILE;
    return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
               ? -errno
               : 0;
}

int landlock_enter(const struct landlock_path *paths, size_t count, struct error *err)
{
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    if (abi <= 0)
        return error_set(err, -EOPNOTSUPP, "this kernel has no Landlock");
    const struct landlock_ruleset_attr attr = { .handled_access_fs = access_known(abi) };
    CLEANUP(close_fd)
    int ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset_fd < 0)
        return error_set(err, -errno, "cannot make Landlock rules: %s", strerrordesc_np(errno));
    for (size_t i = 0; i < count; i++) {
        int r = add_path(ruleset_fd, attr.handled_access_fs, &paths[i]);
        if (r < 0)
            return error_set(err, r, "cannot make a Landlock rule for %s: %s", paths[i].path,
                             strerrordesc_np(-r));
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0)
        return error_set(err, -errno, "cannot enter the Landlock rules: %s",
                         strerrordesc_np(errno));
    return 0;
}
