/* Operations on one inode by its number: attributes, references, targets of symbolic links. */
#include "fs/snapshot_view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define DAY_NS (24 * 3600 * (int64_t)1000000000)
#define PERMISSIONS 07777u

struct reading {
    uint64_t ino;
    struct inode *inode;
};

static int read_inode(struct volume_txn *txn, void *arg)
{
    const struct reading *reading = arg;

    return inode_get(txn, reading->ino, reading->inode);
}

static int view_inode(struct volume *volume, uint64_t ino, struct inode *ret)
{
    struct reading reading = { .ino = inode_number(ino), .inode = ret };

    return volume_view_of(volume, ino, read_inode, &reading);
}

int volume_getattr(struct volume *volume, uint64_t ino, struct volume_attr *ret)
{
    struct inode inode;

    if (is_snapshots_folder(ino))
        return snapshots_attr(volume, ret);
    int r = view_inode(volume, ino, &inode);
    if (r == 0)
        inode_attr(ino, &inode, ret);
    return r;
}

void volume_reference(struct volume *volume, uint64_t ino)
{
    if (inode_slot(ino) != 0)
        return; /* what a snapshot sees stays without */
    /* Without memory it stays uncounted: an unlinked file may then go while it is open. */
    (void)references_add(&volume->references, ino, 1);
}

void volume_forget(struct volume *volume, uint64_t ino, uint64_t references)
{
    if (inode_slot(ino) != 0)
        return;
    enum references_left left = references_drop(&volume->references, ino, references);
    if (left == REFERENCES_LAST_ORPHAN && !volume->is_read_only)
        reap_later(volume, ino);
}

int volume_readlink(struct volume *volume, uint64_t ino, char *ret)
{
    struct inode inode;
    int r = view_inode(volume, ino, &inode);

    if (r < 0)
        return r;
    if (!S_ISLNK(inode.mode))
        return -EINVAL;
    memcpy(ret, inode.body, inode.body_len);
    ret[inode.body_len] = '\0';
    return 0;
}

void volume_leave_times(struct volume *volume)
{
    atomic_store(&volume->leaves_times, true);
}

struct setting {
    uint64_t ino;
    const struct volume_attr *attr;
    unsigned which;
    bool must_trim_first; /* nothing was changed */
    bool must_put;        /* the record has to change */
    bool has_more;        /* to trim behind the new size */
    struct volume_attr result;
};

static int set_size(struct volume_txn *txn, struct setting *setting, struct inode *inode)
{
    if (S_ISDIR(inode->mode))
        return -EISDIR;
    if (!S_ISREG(inode->mode))
        return -EINVAL;
    if (inode->flags & INODE_UNTRIMMED) {
        setting->must_trim_first = true;
        return 0;
    }
    return file_set_size(txn, setting->ino, inode, setting->attr->size, &setting->has_more);
}

static void set_others(const struct volume_txn *txn, const struct setting *setting,
                       struct inode *inode)
{
    const struct volume_attr *attr = setting->attr;
    unsigned which = setting->which;

    if (which & VOLUME_SET_MODE)
        inode->mode = (inode->mode & S_IFMT) | (attr->mode & PERMISSIONS);
    if (which & VOLUME_SET_UID)
        inode->uid = attr->uid;
    if (which & VOLUME_SET_GID)
        inode->gid = attr->gid;
    if (which & VOLUME_SET_ATIME)
        inode->atime_ns = attr->atime_ns;
    if (which & VOLUME_SET_MTIME)
        inode->mtime_ns = attr->mtime_ns;
    if (which & VOLUME_SET_CTIME)
        inode->ctime_ns = attr->ctime_ns;
    else if (!S_ISREG(inode->mode) || !atomic_load(&txn->volume->leaves_times))
        inode->ctime_ns = txn->now_ns;
}

static int set_attr(struct volume_txn *txn, void *arg)
{
    struct setting *setting = arg;
    struct inode inode;
    int r = inode_get(txn, setting->ino, &inode);

    setting->must_trim_first = false;
    setting->has_more = false;
    if (r == 0 && (setting->which & VOLUME_SET_SIZE))
        r = set_size(txn, setting, &inode);
    if (r < 0 || setting->must_trim_first)
        return r;
    set_others(txn, setting, &inode);
    inode_attr(setting->ino, &inode, &setting->result);
    return inode_put(txn, setting->ino, &inode);
}

#define KERNELS_TIMES ((unsigned)(VOLUME_SET_MTIME | VOLUME_SET_CTIME))

static int set_last_times(struct volume_txn *txn, void *arg)
{
    struct setting *setting = arg;
    struct inode inode;
    int r = inode_get(txn, setting->ino, &inode);

    if (r < 0)
        return r;
    setting->must_put = inode.nlink > 0 || !S_ISREG(inode.mode);
    set_others(txn, setting, &inode);
    inode_attr(setting->ino, &inode, &setting->result);
    return 0;
}

/* A kernel that keeps the times of files tells them once more of each file that was removed, just
 * before it forgets it: nobody will ask for them. If the file gets a name again, it tells again. */
static bool needs_no_record(struct volume *volume, struct setting *setting)
{
    if (!atomic_load(&volume->leaves_times) || (setting->which & ~KERNELS_TIMES) != 0 ||
        volume->is_read_only || !references_is_orphan(&volume->references, setting->ino))
        return false;
    return volume_view(volume, set_last_times, setting) == 0 && !setting->must_put;
}

int volume_setattr(struct volume *volume, uint64_t ino, const struct volume_attr *attr,
                   unsigned which, struct volume_attr *ret)
{
    struct setting setting = { .ino = ino, .attr = attr, .which = which };
    /* Most changes of size cut, and a full volume must allow them. */
    enum meta_access access = which & VOLUME_SET_SIZE ? META_FREE : META_WRITE;
    int r = 0;

    if (inode_slot(ino) != 0)
        return -EROFS;
    if (needs_no_record(volume, &setting)) {
        *ret = setting.result;
        return 0;
    }
    do {
        r = volume_change(volume, access, set_attr, &setting);
        if (r == 0 && setting.must_trim_first)
            r = inode_reap(volume, ino);
    } while (r == 0 && setting.must_trim_first);
    if (r < 0)
        return r;
    /* The size is set; the rest is trimmed at the next open if it cannot be done now. */
    if (setting.has_more && inode_reap(volume, ino) == 0)
        return volume_getattr(volume, ino, ret);
    *ret = setting.result;
    return 0;
}

/* relatime: as the kernel decides it for other filesystems. */
bool inode_atime_is_old(const struct inode *inode, int64_t now_ns)
{
    int64_t age_ns;

    if (inode->mtime_ns >= inode->atime_ns || inode->ctime_ns >= inode->atime_ns)
        return true;
    return __builtin_sub_overflow(now_ns, inode->atime_ns, &age_ns) || age_ns >= DAY_NS;
}

struct touch {
    uint64_t ino;
    bool is_old;
};

static int look_at_atime(struct volume_txn *txn, void *arg)
{
    struct touch *touch = arg;
    struct inode inode;
    int r = inode_get(txn, touch->ino, &inode);

    touch->is_old = r == 0 && inode_atime_is_old(&inode, txn->now_ns);
    return r;
}

static int set_atime(struct volume_txn *txn, void *arg)
{
    const struct touch *touch = arg;
    struct inode inode;
    int r = inode_get(txn, touch->ino, &inode);

    if (r < 0 || !inode_atime_is_old(&inode, txn->now_ns))
        return r;
    inode.atime_ns = txn->now_ns;
    return inode_put(txn, touch->ino, &inode);
}

void volume_set_noatime(struct volume *volume, bool is_noatime)
{
    atomic_store(&volume->is_noatime, is_noatime);
}

int volume_touch_atime(struct volume *volume, uint64_t ino)
{
    struct touch touch = { .ino = ino };

    if (volume->is_read_only || inode_slot(ino) != 0 || atomic_load(&volume->is_noatime))
        return 0;
    int r = volume_view(volume, look_at_atime, &touch);
    if (r < 0 || !touch.is_old)
        return r;
    return volume_change(volume, META_WRITE, set_atime, &touch);
}
