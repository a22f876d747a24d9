#include "store/remote_protocol.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "store/stores/stores.h"

#define PROTOCOL_VERSION 1u
#define ERRNO_MAX 4095

/* In the order in which they stand in a body. */
enum {
    NAME = 1 << 0,     /* u16 length, so many bytes */
    HANDLE = 1 << 1,   /* u32 */
    OFFSET = 1 << 2,   /* u64 */
    SIZE = 1 << 3,     /* u64 */
    FREE = 1 << 4,     /* u64 */
    FLAG = 1 << 5,     /* u8, 0 or 1 */
    CODE = 1 << 6,     /* i32, at most 0 */
    TEXT = 1 << 7,     /* u16 length, so many bytes */
    USER = 1 << 8,     /* u32 uid, u32 gid */
    DATA = 1 << 9,     /* what is left */
    ENTRIES = 1 << 10, /* likewise, and made of names */
};

/* The whole trust boundary between a store's user and the process that holds the store. The
 * handlers stand in the table of remote_server.c. */
static const struct remote_info messages[] = {
    /* number               name        sender         answered by        fields */
    { REMOTE_HELLO, "HELLO", REMOTE_CLIENT, REMOTE_HELLO_REPLY, 0 },
    { REMOTE_PUT, "PUT", REMOTE_CLIENT, REMOTE_DONE, NAME | SIZE | DATA },
    { REMOTE_REPLACE, "REPLACE", REMOTE_CLIENT, REMOTE_DONE, NAME | SIZE | DATA },
    { REMOTE_PIECE, "PIECE", REMOTE_CLIENT, (enum remote_type)0, DATA },
    { REMOTE_GET, "GET", REMOTE_CLIENT, REMOTE_DATA, NAME | SIZE },
    { REMOTE_OPEN, "OPEN", REMOTE_CLIENT, REMOTE_HANDLE, NAME },
    { REMOTE_READ, "READ", REMOTE_CLIENT, REMOTE_DATA, HANDLE | OFFSET | SIZE },
    { REMOTE_REMOVE, "REMOVE", REMOTE_CLIENT, REMOTE_DONE, NAME },
    { REMOTE_LIST, "LIST", REMOTE_CLIENT, REMOTE_NAMES, NAME },
    { REMOTE_STAT, "STAT", REMOTE_CLIENT, REMOTE_SIZE, NAME },
    { REMOTE_CREATE, "CREATE", REMOTE_CLIENT, REMOTE_HANDLE, NAME },
    { REMOTE_WRITE, "WRITE", REMOTE_CLIENT, REMOTE_DONE, HANDLE | OFFSET | DATA },
    { REMOTE_SYNC, "SYNC", REMOTE_CLIENT, REMOTE_DONE, HANDLE },
    { REMOTE_SEAL, "SEAL", REMOTE_CLIENT, REMOTE_DONE, HANDLE },
    { REMOTE_CLOSE, "CLOSE", REMOTE_CLIENT, REMOTE_DONE, HANDLE },
    { REMOTE_SPACE, "SPACE", REMOTE_CLIENT, REMOTE_SPACE_REPLY, 0 },
    { REMOTE_START, "START", REMOTE_CLIENT, REMOTE_DONE, USER | DATA },
    { REMOTE_ROOM, "ROOM", REMOTE_CLIENT, REMOTE_DONE, 0 },
    { REMOTE_READ_ROOM, "READ_ROOM", REMOTE_CLIENT, REMOTE_SIZE, HANDLE | OFFSET | SIZE | FLAG },
    { REMOTE_OPEN_SIZED, "OPEN_SIZED", REMOTE_CLIENT, REMOTE_HANDLE, NAME | SIZE },
    { REMOTE_DONE, "DONE", REMOTE_SERVER, (enum remote_type)0, CODE | TEXT },
    { REMOTE_HELLO_REPLY, "HELLO_REPLY", REMOTE_SERVER, (enum remote_type)0, FLAG },
    { REMOTE_DATA, "DATA", REMOTE_SERVER, (enum remote_type)0, FLAG | DATA },
    { REMOTE_NAMES, "NAMES", REMOTE_SERVER, (enum remote_type)0, FLAG | ENTRIES },
    { REMOTE_HANDLE, "HANDLE", REMOTE_SERVER, (enum remote_type)0, HANDLE },
    { REMOTE_SIZE, "SIZE", REMOTE_SERVER, (enum remote_type)0, SIZE },
    { REMOTE_SPACE_REPLY, "SPACE_REPLY", REMOTE_SERVER, (enum remote_type)0, SIZE | FREE },
};

const struct remote_info *remote_info(unsigned type)
{
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        if ((unsigned)messages[i].type == type)
            return &messages[i];
    return NULL;
}

/* --- one message --- */

static void put_fields(struct writer *writer, uint32_t fields, const struct remote_message *message)
{
    if (fields & NAME)
        writer_text(writer, message->name);
    if (fields & HANDLE)
        writer_u32(writer, message->handle);
    if (fields & OFFSET)
        writer_u64(writer, message->offset);
    if (fields & SIZE)
        writer_u64(writer, message->size);
    if (fields & FREE)
        writer_u64(writer, message->free);
    if (fields & FLAG)
        writer_u8(writer, message->flag);
    if (fields & CODE)
        writer_u32(writer, (uint32_t)message->code);
    if (fields & TEXT)
        writer_text(writer, message->text);
    if (fields & USER) {
        writer_u32(writer, message->uid);
        writer_u32(writer, message->gid);
    }
}

int remote_encode(const struct remote_message *message,
                  uint8_t ret[static REMOTE_HEAD_LEN + REMOTE_FIELDS_MAX], size_t *ret_len,
                  struct error *err)
{
    const struct remote_info *info = remote_info(message->type);
    struct writer head = writer_init(ret, REMOTE_HEAD_LEN);
    struct writer fields = writer_init(ret + REMOTE_HEAD_LEN, REMOTE_FIELDS_MAX);

    assert(info != NULL && message->data.len <= REMOTE_DATA_MAX);
    assert(message->data.len == 0 || info->fields & (DATA | ENTRIES));
    put_fields(&fields, info->fields, message);
    writer_u8(&head, PROTOCOL_VERSION);
    writer_u8(&head, (uint8_t)message->type);
    writer_u16(&head, message->slot);
    writer_u32(&head, (uint32_t)(fields.len + message->data.len));
    if (writer_done(&fields) < 0)
        return error_set(err, -EMSGSIZE, "a %s message became too long", info->name);
    *ret_len = head.len + fields.len;
    return 0;
}

static bool entries_are_whole(struct bytes entries)
{
    char name[OBJECT_NAME_MAX + 1];
    uint64_t size;

    while (entries.len > 0)
        if (!remote_name_take(&entries, name, &size))
            return false;
    return true;
}

static void get_flag(struct reader *reader, bool *ret)
{
    uint8_t value = reader_u8(reader);

    *ret = value == 1;
    if (value > 1)
        reader_fail(reader);
}

static void get_code(struct reader *reader, int32_t *ret)
{
    *ret = (int32_t)reader_u32(reader);
    if (*ret > 0 || *ret < -ERRNO_MAX)
        reader_fail(reader);
}

static void get_data(struct reader *reader, bool is_names, struct bytes *ret)
{
    *ret = reader_bytes(reader, reader->len);
    if (ret->len > REMOTE_DATA_MAX || (is_names && !entries_are_whole(*ret)))
        reader_fail(reader);
}

static void get_fields(struct reader *reader, uint32_t fields, struct remote_message *ret)
{
    if (fields & NAME)
        reader_text(reader, ret->name, sizeof(ret->name));
    if (fields & HANDLE)
        ret->handle = reader_u32(reader);
    if (fields & OFFSET)
        ret->offset = reader_u64(reader);
    if (fields & SIZE)
        ret->size = reader_u64(reader);
    if (fields & FREE)
        ret->free = reader_u64(reader);
    if (fields & FLAG)
        get_flag(reader, &ret->flag);
    if (fields & CODE)
        get_code(reader, &ret->code);
    if (fields & TEXT)
        reader_text(reader, ret->text, sizeof(ret->text));
    if (fields & USER) {
        ret->uid = reader_u32(reader);
        ret->gid = reader_u32(reader);
    }
    if (fields & (DATA | ENTRIES))
        get_data(reader, fields & ENTRIES, &ret->data);
}

/* Of a head: who may send it, and how long its body is. */
static int get_head(struct reader *reader, enum remote_side sender, struct remote_message *ret,
                    size_t *ret_body_len, struct error *err)
{
    uint8_t version = reader_u8(reader);
    uint8_t type = reader_u8(reader);
    uint16_t slot = reader_u16(reader);
    uint32_t body_len = reader_u32(reader);
    const struct remote_info *info = remote_info(type);

    if (!reader->failed && version != PROTOCOL_VERSION)
        return error_set(err, -EPROTONOSUPPORT,
                         "the other side speaks version %u of the store protocol, this one %u; "
                         "restart what is older",
                         version, PROTOCOL_VERSION);
    if (reader->failed || slot >= REMOTE_SLOTS || body_len > REMOTE_FIELDS_MAX + REMOTE_DATA_MAX)
        return error_set(err, -EBADMSG, "a store message has a malformed beginning");
    if (info == NULL || info->sender != sender)
        return error_set(err, -EPROTO, "store message %u is not for this side to send", type);
    memset(ret, 0, sizeof(*ret));
    ret->type = info->type;
    ret->slot = slot;
    *ret_body_len = body_len;
    return 0;
}

int remote_decode(struct bytes whole, enum remote_side sender, struct remote_message *ret,
                  struct error *err)
{
    struct reader reader = reader_init(whole);
    size_t body_len = 0;

    int r = get_head(&reader, sender, ret, &body_len, err);
    if (r < 0)
        return r;
    if (body_len != reader.len)
        reader_fail(&reader);
    const struct remote_info *info = remote_info(ret->type);
    assert(info != NULL);
    get_fields(&reader, info->fields, ret);
    if (reader_done(&reader) < 0)
        return error_set(err, -EBADMSG, "a %s message of the store protocol is malformed",
                         info->name);
    return 0;
}

/* --- names --- */

size_t remote_name_put(const char *name, uint64_t size, uint8_t to[static REMOTE_NAME_ENTRY_MAX])
{
    struct writer writer = writer_init(to, REMOTE_NAME_ENTRY_MAX);

    writer_u64(&writer, size);
    writer_text(&writer, name);
    assert(writer_done(&writer) == 0);
    return writer.len;
}

bool remote_name_take(struct bytes *entries, char ret_name[static OBJECT_NAME_MAX + 1],
                      uint64_t *ret_size)
{
    struct reader reader = reader_init(*entries);

    *ret_size = reader_u64(&reader);
    reader_text(&reader, ret_name, OBJECT_NAME_MAX + 1);
    *entries = (struct bytes){ reader.data, reader.len };
    return !reader.failed && object_name_is_valid(ret_name);
}

/* --- sockets --- */

static int broken(int code, const char *what, struct error *err)
{
    if (code == -ECONNRESET)
        code = -EPIPE;
    return error_set(err, code, "cannot %s: %s", what,
                     code == -EPIPE ? "the other side has closed" : strerrordesc_np(-code));
}

static int send_all(int fd, struct bytes from, struct error *err)
{
    while (from.len > 0) {
        ssize_t n = send(fd, from.data, from.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return broken(-errno, "send", err);
        from.data += n;
        from.len -= (size_t)n;
    }
    return 0;
}

int remote_send(int fd, const struct remote_message *message, struct error *err)
{
    uint8_t head[REMOTE_HEAD_LEN + REMOTE_FIELDS_MAX];
    size_t len;

    int r = remote_encode(message, head, &len, err);
    if (r == 0)
        r = send_all(fd, (struct bytes){ head, len }, err);
    return r < 0 ? r : send_all(fd, message->data, err);
}

union descriptor_room {
    struct cmsghdr head;
    uint8_t data[CMSG_SPACE(sizeof(int))];
};

int remote_send_descriptor(int fd, const struct remote_message *message, int descriptor,
                           struct error *err)
{
    uint8_t head[REMOTE_HEAD_LEN + REMOTE_FIELDS_MAX];
    union descriptor_room room = { .data = { 0 } };
    struct iovec iov = { .iov_base = head };
    struct msghdr packet = { .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = room.data,
                             .msg_controllen = sizeof(room.data) };
    ssize_t n;

    assert(message->data.len == 0);
    int r = remote_encode(message, head, &iov.iov_len, err);
    if (r < 0)
        return r;
    struct cmsghdr *attached = &room.head;
    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(attached), &descriptor, sizeof(int));
    while ((n = sendmsg(fd, &packet, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return broken(-errno, "send", err);
    return send_all(fd, (struct bytes){ head + n, iov.iov_len - (size_t)n }, err);
}

static int receive_all(int fd, uint8_t *to, size_t len, struct error *err)
{
    while (len > 0) {
        ssize_t n = recv(fd, to, len, MSG_WAITALL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return broken(n < 0 ? -errno : -EPIPE, "receive", err);
        to += n;
        len -= (size_t)n;
    }
    return 0;
}

/* What is behind the first done bytes of the head. */
static int receive_behind(int fd, enum remote_side sender, uint8_t *room, size_t done,
                          struct remote_message *ret, struct error *err)
{
    struct reader reader = reader_init((struct bytes){ room, REMOTE_HEAD_LEN });
    size_t body_len = 0;

    int r = receive_all(fd, room + done, REMOTE_HEAD_LEN - done, err);
    if (r == 0)
        r = get_head(&reader, sender, ret, &body_len, err);
    if (r == 0)
        r = receive_all(fd, room + REMOTE_HEAD_LEN, body_len, err);
    if (r < 0)
        return r;
    return remote_decode((struct bytes){ room, REMOTE_HEAD_LEN + body_len }, sender, ret, err);
}

int remote_receive(int fd, enum remote_side sender, uint8_t *room, struct remote_message *ret,
                   struct error *err)
{
    return receive_behind(fd, sender, room, 0, ret, err);
}

/* A descriptor comes with the first byte of a message. There is room for one, and none behind it,
 * where the kernel would put a second one: it closes all others. */
int remote_receive_descriptor(int fd, enum remote_side sender, uint8_t *room,
                              struct remote_message *ret, int *ret_descriptor, struct error *err)
{
    union descriptor_room attached;
    struct iovec iov = { .iov_base = room, .iov_len = REMOTE_HEAD_LEN };
    struct msghdr packet = { .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = attached.data,
                             .msg_controllen = CMSG_LEN(sizeof(int)) };
    CLEANUP(close_fd) int descriptor = -1;
    ssize_t n;

    while ((n = recvmsg(fd, &packet, MSG_WAITALL | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (n <= 0)
        return broken(n < 0 ? -errno : -EPIPE, "receive", err);
    const struct cmsghdr *first = CMSG_FIRSTHDR(&packet);
    if (first != NULL && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS &&
        first->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&descriptor, CMSG_DATA(first), sizeof(int));
    int r = receive_behind(fd, sender, room, (size_t)n, ret, err);
    if (r < 0)
        return r;
    *ret_descriptor = -1;
    if (ret->type == REMOTE_ROOM) {
        *ret_descriptor = descriptor;
        descriptor = -1;
    }
    return 0;
}
