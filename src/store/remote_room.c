#include "store/remote_room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/remote_protocol.h"

#define ROOM_LEN ((size_t)REMOTE_SLOTS * REMOTE_READ_MAX)
#define ROOM_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int remote_room_new(int *ret_fd)
{
    CLEANUP(close_fd) int fd = memfd_create("coffer-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)ROOM_LEN) < 0 || fcntl(fd, F_ADD_SEALS, ROOM_SEALS) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int remote_room_view(int fd, uint8_t **ret)
{
    void *room = mmap(NULL, ROOM_LEN, PROT_READ, MAP_SHARED, fd, 0);

    if (room == MAP_FAILED)
        return -errno;
    *ret = room;
    return 0;
}

void remote_room_trim(int fd, unsigned slot, size_t keep)
{
    size_t from = slot * (size_t)REMOTE_READ_MAX + keep;

    /* If it cannot be done the memory stays until the room is closed. */
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                    (off_t)(REMOTE_READ_MAX - keep));
}

static bool is_room(int fd)
{
    struct stat stat;
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstat(fd, &stat) == 0 &&
           stat.st_size == (off_t)ROOM_LEN;
}

int remote_room_map(int fd, uint8_t **ret, struct error *err)
{
    if (!is_room(fd))
        return error_set(err, -EBADMSG, "what came as room for objects is none");
    void *room = mmap(NULL, ROOM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (room == MAP_FAILED)
        return error_set(err, -errno, "the room for objects cannot be used: %s",
                         strerrordesc_np(errno));
    *ret = room;
    return 0;
}

void remote_room_unmap(uint8_t *room)
{
    if (room != NULL)
        (void)munmap(room, ROOM_LEN);
}

uint8_t *remote_room_part(uint8_t *room, unsigned slot)
{
    return room + slot * (size_t)REMOTE_READ_MAX;
}

/* Who wrote to a page that there is no memory for would be ended by a signal. */
int remote_room_ready(uint8_t *part, size_t len)
{
    if (len == 0 || madvise(part, len, MADV_POPULATE_WRITE) == 0)
        return 0;
    return errno == EINVAL ? 0 : -ENOMEM; /* older kernels do not know it */
}
