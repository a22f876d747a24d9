/* To mount takes four steps, each of which undoes those before it if it fails: the worker is
 * started, the folder is mounted, the descriptor goes to cofferd, cofferd passes it to the worker.
 */
#include "cli/mounting.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/client.h"
#include "host/fuse_device.h"
#include "host/unix_socket.h"

#define ANSWER_MAX 4096u
#define ANSWER_TIMEOUT_MS (60 * 1000)
#define UNMOUNT_PATIENCE_MS (60 * 1000)
#define UNMOUNT_LOOK_MS 20

static int post(const struct instance *instance, const char *name, const char *action, json_t *body,
                struct error *err)
{
    CLEANUP(json_freep) json_t *owned = body;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(name, action, path, err);

    if (r < 0)
        return r;
    struct client_request request = { .method = "POST", .path = path };
    request.body = TAKE(owned);
    return client_call(instance, &request, NULL, err);
}

static int check_folder(const char *folder, char ret[static PATH_MAX], struct error *err)
{
    struct stat st;
    int r = fuse_device_resolve(folder, ret, err);

    if (r == -ENOENT)
        return error_set(err, r, "there is no folder %s; make it first (mkdir -p %s)", folder,
                         folder);
    if (r < 0)
        return r;
    if (stat(ret, &st) < 0)
        return error_set(err, -errno, "cannot mount on %s: %s; unmount it first", ret,
                         strerrordesc_np(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, -ENOTDIR, "%s is not a folder; give one to mount on", ret);
    return 0;
}

/* -EALREADY if it is mounted and is to be; else whether a worker of it runs. */
static int look_at(const struct instance *instance, const struct mounting *mounting,
                   bool *ret_is_running, struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    const char *name = mounting->name;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(name, "", path, err);

    if (r < 0)
        return r;
    struct client_request request = { .method = "GET", .path = path };
    r = client_call(instance, &request, &row, err);
    if (r < 0)
        return r;
    const char *status = client_text(row, "status");
    bool is_mounted = strcmp(status, "mounted") == 0;
    if (is_mounted && !mounting->snapshot)
        return error_set(err, -EALREADY,
                         "filesystem %s is already mounted at %s; unmount it first (coffer fs "
                         "umount %s)",
                         name, client_text(row, "mounted_at"), name);
    *ret_is_running = is_mounted || strcmp(status, "started") == 0;
    return 0;
}

static int read_answer(const uint8_t *text, size_t len, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;

    if (json_parse_object((struct bytes){ text, len }, &answer, NULL) < 0)
        return error_set(err, -EBADMSG,
                         "cofferd's answer cannot be read; check that coffer and "
                         "cofferd are of one version");
    const char *sentence = client_text(answer, "error");
    return *sentence == '\0' ? 0 : error_set(err, -EIO, "%s", sentence);
}

/* cofferd answers when the worker serves the mount. */
static int pass_descriptor(const struct instance *instance, const struct mounting *mounting,
                           const char *folder, int device_fd, struct error *err)
{
    CLEANUP(json_freep)
    json_t *message = json_pack("{s:s,s:s,s:s*}", "filesystem", mounting->name, "mountpoint",
                                folder, "snapshot", mounting->snapshot);
    CLEANUP(buf_release) struct buf packet = BUF_INIT;
    CLEANUP(close_fd) int fd = -1;
    uint8_t answer[ANSWER_MAX];
    size_t len = 0;

    if (!message || json_write(message, &packet) < 0)
        return error_set(err, -EINVAL,
                         "the path %s, or the name of the snapshot, is not UTF-8 text; use another",
                         folder);
    int r = unix_socket_connect(instance->mount_socket, SOCK_SEQPACKET, &fd, err);
    if (r == 0)
        r = unix_socket_send(fd, buf_bytes(&packet), device_fd, ANSWER_TIMEOUT_MS, err);
    if (r == 0)
        r = unix_socket_receive(fd, answer, sizeof(answer), &len, NULL, ANSWER_TIMEOUT_MS, err);
    return r < 0 ? r : read_answer(answer, len, err);
}

static int mount_and_pass(const struct instance *instance, const struct mounting *mounting,
                          const char *folder, struct error *err)
{
    CLEANUP(close_fd) int device_fd = -1;
    const struct fuse_device_mount mount = {
        .name = mounting->name,
        .mountpoint = folder,
        .flags = mounting->flags | (mounting->snapshot ? MS_RDONLY : 0),
        .is_private = geteuid() != 0,
    };
    int r = fuse_device_mount(&mount, &device_fd, err);

    if (r < 0)
        return r;
    r = pass_descriptor(instance, mounting, folder, device_fd, err);
    if (r < 0)
        (void)fuse_device_unmount(folder, true, NULL); /* the first failure is the one to tell */
    return r;
}

int mounting_mount(const struct instance *instance, const struct mounting *mounting,
                   char ret_folder[static PATH_MAX], struct error *err)
{
    char folder[PATH_MAX];
    bool was_running = false;
    int r = check_folder(mounting->folder, folder, err);

    if (r == 0)
        r = look_at(instance, mounting, &was_running, err);
    if (r == 0 && !(was_running && mounting->snapshot))
        r = post(
            instance, mounting->name, "/start",
            json_pack("{s:b,s:b}", "take_over", mounting->take_over, "salvage", mounting->salvage),
            err);
    if (r < 0)
        return r;
    r = mount_and_pass(instance, mounting, folder, err);
    if (r < 0 && !was_running)
        (void)post(instance, mounting->name, "/stop", NULL, NULL); /* likewise */
    if (r == 0)
        memcpy(ret_folder, folder, sizeof(folder));
    return r;
}

/* ------------------------------------------------------------------ unmount */

/* By name, or by the folder that it is mounted on. */
static int find_mounted(const struct instance *instance, const char *name_or_folder, json_t **ret,
                        struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    char folder[PATH_MAX] = "";
    struct client_request request = { .method = "GET", .path = "/api/v1/filesystems" };
    int r = client_call(instance, &request, &rows, err);

    if (r < 0)
        return r;
    if (strchr(name_or_folder, '/') && fuse_device_resolve(name_or_folder, folder, NULL) < 0)
        folder[0] = '\0';
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        const char *at = client_text(row, "mounted_at");
        if (strcmp(client_text(row, "name"), name_or_folder) == 0 ||
            (folder[0] != '\0' && strcmp(at, folder) == 0)) {
            *ret = json_incref(row);
            return 0;
        }
    }
    return error_set(err, -ENOENT, "there is no filesystem %s%s; coffer fs lists them",
                     name_or_folder,
                     strchr(name_or_folder, '/') ? ", and none is mounted there"
                                                 : " (a folder is written with a slash, as ./DIR)");
}

static int unmount_here(const char *folder, struct error *err)
{
    bool is_mounted = false;
    int r = *folder != '\0' ? fuse_device_is_mounted(folder, &is_mounted, NULL, err) : 0;

    /* Mounted in another namespace, or not at all: the worker ends that when it stops. */
    if (r < 0 || !is_mounted)
        return r;
    r = fuse_device_unmount(folder, false, err);
    if (r == -EBUSY)
        return error_set(err, r,
                         "%s is in use; end the programs that use it (fuser -vm %s lists them) and "
                         "try again",
                         folder, folder);
    return r;
}

/* The snapshot of that name, or that is mounted there; none if neither. */
static int find_snapshot(const struct instance *instance, const char *name, const char *snapshot,
                         const char *folder, json_t **ret, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = NULL;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(name, "/snapshots", path, err);
    struct client_request request = { .method = "GET", .path = path };

    if (r == 0)
        r = client_call(instance, &request, &rows, err);
    for (size_t i = 0; r == 0 && !*ret && i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        if (strcmp(snapshot ? client_text(row, "name") : client_text(row, "mounted_at"),
                   snapshot ? snapshot : folder) == 0)
            *ret = json_incref(row);
    }
    return r;
}

static int is_stopped(const struct instance *instance, const char *name, bool *ret,
                      struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    char path[CLIENT_PATH_SIZE];
    int r = client_filesystem_path(name, "", path, err);
    struct client_request request = { .method = "GET", .path = path };

    if (r == 0)
        r = client_call(instance, &request, &row, err);
    *ret = r == 0 && strcmp(client_text(row, "status"), "stopped") == 0;
    return r;
}

/* cofferd hears of it from the worker, a moment later; the filesystem may be stopped then. */
static int look_unmounted(const struct instance *instance, const char *name, const char *folder,
                          bool *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    int r = is_stopped(instance, name, ret, err);

    if (r < 0 || *ret)
        return r;
    r = find_snapshot(instance, name, NULL, folder, &row, err);
    *ret = r == 0 && !row;
    return r;
}

static int wait_unmounted(const struct instance *instance, const char *name, const char *folder,
                          struct error *err)
{
    int64_t until_ms = clock_monotonic_ms() + UNMOUNT_PATIENCE_MS;
    bool is_gone = false;
    int r = 0;

    /* A failure is not the last word: the worker may just be ending. */
    for (;;) {
        r = look_unmounted(instance, name, folder, &is_gone, err);
        if (is_gone || clock_monotonic_ms() >= until_ms)
            break;
        clock_sleep_ms(UNMOUNT_LOOK_MS);
    }
    if (r == 0 && !is_gone)
        r = error_set(err, -ETIMEDOUT, "%s is unmounted, but cofferd has not noticed", folder);
    return r;
}

static int find_folder(const struct instance *instance, const char *name_or_folder,
                       const char *snapshot, char ret[static PATH_MAX],
                       char ret_name[static FUSE_DEVICE_NAME_SIZE], struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    bool is_mounted = false;
    int r = 0;

    (void)snprintf(ret_name, FUSE_DEVICE_NAME_SIZE, "%s", name_or_folder);
    if (snapshot) {
        r = find_snapshot(instance, name_or_folder, snapshot, NULL, &row, err);
        (void)snprintf(ret, PATH_MAX, "%s", row ? client_text(row, "mounted_at") : "");
    } else if (fuse_device_resolve(name_or_folder, ret, NULL) < 0) {
        ret[0] = '\0';
    }
    if (r == 0 && ret[0] != '\0')
        r = fuse_device_is_mounted(ret, &is_mounted, ret_name, err);
    if (r == 0 && !is_mounted)
        return error_set(err, -ENOENT,
                         "%s%s%s is not mounted here; coffer fs snapshot shows what is",
                         snapshot ? "snapshot " : "", snapshot ? snapshot : name_or_folder,
                         snapshot ? " by itself" : "");
    return r;
}

int mounting_umount_snapshot(const struct instance *instance, const char *name_or_folder,
                             const char *snapshot, char ret_folder[static PATH_MAX],
                             struct error *err)
{
    char folder[PATH_MAX];
    char name[FUSE_DEVICE_NAME_SIZE];
    int r = find_folder(instance, name_or_folder, snapshot, folder, name, err);

    if (r == 0)
        r = unmount_here(folder, err);
    if (r == 0)
        r = wait_unmounted(instance, name, folder, err);
    if (r == 0)
        memcpy(ret_folder, folder, sizeof(folder));
    return r;
}

int mounting_umount(const struct instance *instance, const char *name_or_folder,
                    char ret_name[static MOUNTING_NAME_SIZE], struct error *err)
{
    CLEANUP(json_freep) json_t *row = NULL;
    int r = find_mounted(instance, name_or_folder, &row, err);

    if (r < 0)
        return r;
    const char *name = client_text(row, "name");
    const char *status = client_text(row, "status");
    if (strcmp(status, "stopped") == 0)
        return error_set(err, -EALREADY, "filesystem %s is not mounted; coffer fs shows what is",
                         name);
    bool was_mounted = strcmp(status, "mounted") == 0;
    r = unmount_here(client_text(row, "mounted_at"), err);
    if (r < 0)
        return r;
    r = post(instance, name, "/stop", NULL, err);
    if (r == -EBUSY && was_mounted)
        return error_prefix(err, r, "%s is unmounted, but goes on", name);
    if (r == 0)
        (void)snprintf(ret_name, MOUNTING_NAME_SIZE, "%s", name);
    return r;
}
