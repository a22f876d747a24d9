/* fake_worker - speaks a worker's side of host/worker_protocol.h and keeps no files: for the tests
 * of the control plane. It formats (a superblock in both places), refuses keys that do not open
 * the superblock, holds the descriptor of a mount, and ends as a worker does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "base/log.h"
#include "crypto/random.h"
#include "crypto/secret.h"
#include "host/unix_socket.h"
#include "host/worker_protocol.h"
#include "meta/meta_engine.h"
#include "meta/record_kinds.h"
#include "store/object_store.h"

struct fake {
    bool is_started;
    bool is_mounted;
    bool must_end;
    struct uuid uuid;
    int fuse_fd;
    char store[WORKER_URL_SIZE]; /* its folder */
    uint64_t task;               /* that runs; 0: none */
    uint64_t run;
    unsigned stops; /* of it, while it dies */
    bool has_new_keys;
    bool salvages;
    struct foreign_key_ids foreign; /* that it was given */
};

static int pass(void *arg, struct bytes key, struct bytes plain, struct bytes old, uint8_t *ret,
                size_t *ret_len, struct error *err)
{
    (void)arg;
    (void)key;
    (void)old;
    (void)err;
    memcpy(ret, plain.data, plain.len);
    *ret_len = plain.len;
    return 0;
}

static int pass_open(void *arg, struct bytes key, struct bytes stored, uint8_t *ret,
                     size_t *ret_len, uint64_t *ret_epoch, struct error *err)
{
    *ret_epoch = 0;
    return pass(arg, key, stored, (struct bytes){ .len = 0 }, ret, ret_len, err);
}

static int put_in_metadata(const char *url, struct bytes superblock, struct error *err)
{
    static const uint8_t key[] = { RECORD_TREE_LIVE, RECORD_SUPERBLOCK };
    struct meta_options options = { .create = true };
    struct meta_hooks hooks = { .seal = pass, .open = pass_open };
    struct meta_engine *engine = NULL;
    struct meta_txn *txn = NULL;
    int r = meta_engine_open(url, &options, &hooks, &engine, err);

    if (r == 0)
        r = meta_begin(engine, META_WRITE, &txn, err);
    if (r == 0)
        r = meta_put(txn, (struct bytes){ .data = key, .len = sizeof(key) }, superblock, err);
    if (r == 0)
        r = meta_commit(txn, err);
    int closed = meta_close(engine, err);
    return r < 0 ? r : closed;
}

static int format(const struct worker_start *start, struct object_store *store, struct error *err)
{
    struct superblock superblock = { .uuid = start->uuid,
                                     .generation = key_set_newest(&start->keys),
                                     .block_size = start->block_size,
                                     .created_ns = (uint64_t)clock_wall_ns(),
                                     .owner = start->owner,
                                     .owner_count = 1,
                                     .is_clean = true };
    uint8_t encoded[SUPERBLOCK_MAX];
    size_t len = 0;

    if (secret_new(&superblock.name_key, 32) < 0 || secret_new(&superblock.chunk_key, 32) < 0)
        return error_set(err, -ENOMEM, "out of secret memory");
    random_bytes(superblock.name_key.data, 32);
    random_bytes(superblock.chunk_key.data, 32);
    int r = superblock_encode(&superblock, key_set_find(&start->keys, superblock.generation),
                              encoded, &len, err);
    struct bytes bytes = { .data = encoded, .len = len };
    if (r == 0)
        r = put_in_metadata(start->meta_url, bytes, err);
    if (r == 0)
        r = object_store_put(store, SUPERBLOCK_OBJECT, bytes, err);
    superblock_release(&superblock);
    return r;
}

static FILE *open_word(const struct fake *fake, const char *name)
{
    char path[WORKER_URL_SIZE + 8];

    (void)snprintf(path, sizeof(path), "%s/%s", fake->store, name);
    return fopen(path, "re");
}

static bool has_word(const struct fake *fake, const char *name)
{
    FILE *file = fake->is_started ? open_word(fake, name) : NULL;

    if (file)
        (void)fclose(file);
    return file;
}

/* With a file "~old" in the store it is one of before: it says nothing of versions, and orders that
 * it does not know end the connection. */
static bool is_old(const struct fake *fake)
{
    return has_word(fake, "~old");
}

/* With a file "~later" in the store it is of a later version: it tells of what is not known here,
 * and its answers are longer. */
static bool is_later(const struct fake *fake)
{
    return has_word(fake, "~later");
}

static void note_foreign(struct fake *fake, const struct key_set *keys)
{
    for (uint32_t i = 0; i < keys->foreign_count; i++)
        (void)foreign_key_ids_add(&fake->foreign, &keys->foreign[i].origin,
                                  keys->foreign[i].generation);
}

/* With a file "~uses" in the store it needs all keys that it was given, else none. */
static void answer_uses(const struct fake *fake, struct worker_message *reply)
{
    reply->type = WORKER_KEY_USES_REPLY;
    reply->key_uses =
        has_word(fake, "~uses") ? fake->foreign : (struct foreign_key_ids){ .count = 0 };
}

/* For the test to read; a place that was only made is left as it was found. */
static void write_flags(const struct fake *fake, uint32_t flags)
{
    char path[WORKER_URL_SIZE + 8], text[16];
    int len = snprintf(text, sizeof(text), "%u", flags);

    (void)snprintf(path, sizeof(path), "%s/~flags", fake->store);
    (void)file_replace(path, (struct bytes){ (const uint8_t *)text, (size_t)len }, 0644, NULL);
}

static int on_start(struct fake *fake, const struct worker_start *start, struct error *err)
{
    CLEANUP(object_store_closep) struct object_store *store = NULL;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;
    struct superblock superblock = { .generation = 0 };
    int r = object_store_open(start->store_url, &store, err);

    if (r == 0 && (start->flags & WORKER_FLAG_FORMAT))
        r = format(start, store, err);
    if (r == 0)
        r = object_store_get(store, SUPERBLOCK_OBJECT, SUPERBLOCK_MAX, &encoded, err);
    if (r == 0)
        r = superblock_decode(buf_bytes(&encoded), &start->keys, &superblock, err);
    superblock_release(&superblock);
    fake->uuid = start->uuid;
    (void)snprintf(fake->store, sizeof(fake->store), "%s", start->store_url + strlen("dir:"));
    fake->is_started = r == 0;
    fake->salvages = start->flags & WORKER_FLAG_SALVAGE;
    if (r == 0 && (start->flags & WORKER_FLAG_FORMAT) == 0)
        write_flags(fake, start->flags);
    return r;
}

static void remove_word(const struct fake *fake, const char *name)
{
    char path[WORKER_URL_SIZE + 8];

    (void)snprintf(path, sizeof(path), "%s/%s", fake->store, name);
    (void)unlink(path);
}

/* A FIFO "~start" in the store holds the start until a test has opened and closed it, "~end" what
 * stops it. */
static void wait_at(const struct fake *fake, const char *name)
{
    FILE *file = open_word(fake, name);

    if (!file)
        return;
    (void)fgetc(file);
    (void)fclose(file);
}

/* With a file "~stop" in the store it will not. */
static int on_stop(struct fake *fake, struct error *err)
{
    FILE *file = open_word(fake, "~stop");

    fake->must_end = !file;
    if (!file)
        return 0;
    (void)fclose(file);
    return error_set(err, -EBUSY, "it is in use");
}

/* What becomes of a task that has begun stands in the file "~task" in the store: "done", "away"
 * (a failure that passes), "broken" (one that does not); without it, it runs until it is stopped.
 * "dies": it knows of it only when it is told to stop once more, and then the worker takes the
 * file away and ends without another word. "keyless": done if keys came since the last one, else
 * one is missing; "locked": one is, whatever comes. */
static void read_task_word(const struct fake *fake, char ret[static 16])
{
    FILE *file = open_word(fake, "~task");

    ret[0] = '\0';
    if (!file)
        return;
    (void)!fgets(ret, 16, file);
    (void)fclose(file);
}

static int stop_task(struct fake *fake, const struct worker_task_stop *stop, struct error *err)
{
    char word[16];

    read_task_word(fake, word);
    bool dies = strcmp(word, "dies") == 0;
    fake->must_end = dies && fake->stops++ > 0;
    if (fake->must_end)
        remove_word(fake, "~task");
    return fake->task == stop->task && dies == fake->must_end
               ? 0
               : error_set(err, -ENOENT, "it does not run");
}

static const struct worker_snapshot snapshots[] = {
    { .id = 5, .name = "one", .access_point = "one" },
    { .id = 7, .name = "two", .access_point = "two" },
};

/* For the test to see that all were asked for: a file "~listed" in the store. */
static void list_snapshots(const struct fake *fake, const struct worker_snapshot_list *list,
                           struct worker_snapshots_reply *ret)
{
    char path[WORKER_URL_SIZE + 8];

    (void)snprintf(path, sizeof(path), "%s/~listed", fake->store);
    (void)file_replace(path, (struct bytes){ .len = 0 }, 0644, NULL);
    memset(ret, 0, sizeof(*ret));
    if (list->behind == 0) {
        ret->count = 2;
        memcpy(ret->items, snapshots, sizeof(snapshots));
    }
}

static void find_snapshot(const struct worker_snapshot_find *find,
                          struct worker_snapshots_reply *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < 2; i++)
        if (find->id != 0 ? find->id == snapshots[i].id
                          : strcmp(find->name, snapshots[i].name) == 0)
            ret->items[ret->count++] = snapshots[i];
}

static void answer(struct fake *fake, struct worker_message *message, int fuse_fd,
                   struct worker_message *reply)
{
    struct error err = { .code = 0 };
    int r = 0;

    *reply = (struct worker_message){ .type = WORKER_DONE, .request = message->request };
    switch ((unsigned)message->type) {
    case WORKER_START:
        r = on_start(fake, &message->start, &err);
        note_foreign(fake, &message->start.keys);
        wait_at(fake, "~start");
        break;
    case WORKER_MOUNT:
        fake->fuse_fd = dup(fuse_fd);
        fake->is_mounted = true;
        break;
    case WORKER_STATUS:
        reply->type = WORKER_STATUS_REPLY;
        reply->status = (struct worker_status_reply){ .is_started = fake->is_started,
                                                      .is_mounted = fake->is_mounted,
                                                      .is_read_only = fake->salvages,
                                                      .salvages = fake->salvages,
                                                      .pid = getpid(),
                                                      .uuid = fake->uuid,
                                                      .used = 4096,
                                                      .speaks = is_old(fake) ? 0 : WORKER_SPEAKS };
        return;
    case WORKER_CHECK:
        reply->type = WORKER_CHECK_REPLY;
        reply->check_reply.faults = 1;
        (void)snprintf(reply->check_reply.report, WORKER_REPORT_SIZE, "a fault for the test\n");
        return;
    case WORKER_SNAPSHOT_LIST:
        reply->type = WORKER_SNAPSHOTS_REPLY;
        list_snapshots(fake, &message->snapshot_list, &reply->snapshots);
        return;
    case WORKER_SNAPSHOT_FIND:
        reply->type = WORKER_SNAPSHOTS_REPLY;
        find_snapshot(&message->snapshot_find, &reply->snapshots);
        return;
    case WORKER_SNAPSHOT_REMOVE:
        break;
    case WORKER_ADD_KEYS:
        fake->has_new_keys = message->add_keys.keys.foreign_count > 0;
        note_foreign(fake, &message->add_keys.keys);
        break;
    case WORKER_KEY_USES:
        answer_uses(fake, reply);
        return;
    case WORKER_TASK_START:
        fake->task = message->task_start.task;
        fake->run = message->task_start.run;
        break;
    case WORKER_TASK_STOP:
        r = stop_task(fake, &message->task_stop, &err);
        break;
    case WORKER_STOP:
        wait_at(fake, "~end");
        r = on_stop(fake, &err);
        break;
    default:
        r = error_set(&err, -EOPNOTSUPP, "not in the fake");
    }
    reply->done.code = r;
    (void)snprintf(reply->done.text, sizeof(reply->done.text), "%s", err.text);
}

static void end_task(struct fake *fake, int fd, bool is_stopped)
{
    static struct worker_message message;
    struct worker_task_done *done = &message.task_done;
    char word[16];

    read_task_word(fake, word);
    if (!is_stopped && (word[0] == '\0' || strcmp(word, "dies") == 0))
        return;
    memset(&message, 0, sizeof(message));
    message.type = WORKER_TASK_DONE;
    done->task = fake->task;
    done->run = fake->run;
    if (is_stopped)
        done->code = -ECANCELED;
    else if (strcmp(word, "locked") == 0 || (strcmp(word, "keyless") == 0 && !fake->has_new_keys))
        done->code = -ENOKEY;
    else if (strcmp(word, "done") != 0 && strcmp(word, "keyless") != 0)
        done->code = -EIO;
    done->is_final = strcmp(word, "broken") == 0;
    if (done->code < 0)
        (void)snprintf(done->text, sizeof(done->text), "the store is %s", word);
    else
        (void)snprintf(done->result, sizeof(done->result), "a result");
    fake->task = 0;
    fake->has_new_keys = false;
    (void)worker_message_send(fd, &message, -1, 5000, NULL);
}

static void tell_progress(const struct fake *fake, int fd)
{
    static struct worker_message message;

    memset(&message, 0, sizeof(message));
    message.type = WORKER_TASK_PROGRESS;
    message.task_progress = (struct worker_task_progress){
        .task = fake->task, .run = fake->run, .total = 20, .done = 10, .moved = 5, .phase = "data"
    };
    (void)worker_message_send(fd, &message, -1, 5000, NULL);
}

static void tell_unknown(int fd)
{
    static uint8_t packet[WORKER_PACKET_MAX];
    struct worker_message message = { .type = WORKER_EVENT, .event.text = "the moon is full" };
    size_t len = 0;

    if (worker_message_encode(&message, packet, &len, NULL) < 0)
        return;
    packet[8] = UINT8_MAX; /* the kind of event, behind the head */
    (void)send(fd, packet, len, MSG_NOSIGNAL);
}

#define LATER_LEN 5u /* what a later version has behind each answer */

static int send_longer(struct worker_message *reply, int fd)
{
    static uint8_t packet[WORKER_PACKET_MAX];
    size_t len = 0;

    if (reply->type == WORKER_STATUS_REPLY)
        reply->status.speaks = WORKER_SPEAKS + 1;
    int r = worker_message_encode(reply, packet, &len, NULL);
    if (r < 0 || len + LATER_LEN > sizeof(packet))
        return r < 0 ? r : -ENOSPC;
    memset(packet + len, UINT8_MAX, LATER_LEN);
    return unix_socket_send(fd, (struct bytes){ packet, len + LATER_LEN }, -1, 5000, NULL);
}

static int send_reply(const struct fake *fake, int fd, struct worker_message *reply)
{
    if (!is_later(fake))
        return worker_message_send(fd, reply, -1, 5000, NULL);
    tell_unknown(fd);
    return send_longer(reply, fd);
}

/* Until the peer goes. */
static void serve(struct fake *fake, int fd, struct worker_message *message,
                  struct worker_message *reply)
{
    while (!fake->must_end) {
        CLEANUP(close_fd) int fuse_fd = -1;
        int r = worker_message_receive(fd, WORKER_SIDE_COFFERD, message, &fuse_fd, -1, NULL);
        enum worker_message_type type = message->type;
        if (r == 0 && worker_message_info(type)->since > 1 && is_old(fake))
            r = -EPROTO;
        if (r == 0)
            answer(fake, message, fuse_fd, reply);
        worker_message_release(message);
        if (r < 0 || send_reply(fake, fd, reply) < 0)
            return;
        if (type == WORKER_TASK_START)
            tell_progress(fake, fd);
        bool is_stopped = type == WORKER_TASK_STOP && reply->done.code == 0;
        if (type == WORKER_TASK_START || (is_stopped && !fake->must_end))
            end_task(fake, fd, is_stopped);
    }
}

int main(void)
{
    struct fake fake = { .fuse_fd = -1 };
    struct worker_message *messages = calloc(2, sizeof(*messages));
    struct error err = { .code = 0 };

    log_init("fake-worker", LOG_LEVEL_INFO);
    if (!messages || secret_heap_init(&err) < 0)
        return 1;
    while (!fake.must_end) {
        CLEANUP(close_fd) int fd = -1;
        if (unix_socket_accept(3, -1, &fd, &err) < 0)
            return 1;
        serve(&fake, fd, &messages[0], &messages[1]);
    }
    free(messages);
    return 0;
}
