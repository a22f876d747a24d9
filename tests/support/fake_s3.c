#include "tests/support/fake_s3.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/cmocka_all.h"

#define REQUESTS_MAX 32u
#define HEAD_SIZE 4096u
#define NOTES 2u
#define NOTE_SIZE 64u

/* What of a request answers can repeat. */
static const struct {
    const char *header;
    const char *hole;
} notes[NOTES] = {
    { "x-amz-meta-coffer-put: ", "%MARK%" },
    { "x-amz-checksum-crc32c: ", "%SUM%" },
};

struct fake_s3 {
    const struct fake_answer *script;
    size_t count;
    int listening;
    int stop[2]; /* a pipe: closed to end it */
    uint16_t port;
    pthread_t thread;
    size_t requests;
    char noted[NOTES][NOTE_SIZE]; /* of the last request that had it */
    char heads[REQUESTS_MAX][HEAD_SIZE];
};

/* False at its end, or if the server is to end. */
static bool wait_readable(const struct fake_s3 *fake, int fd)
{
    struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
                             { .fd = fake->stop[0], .events = POLLIN } };

    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return fds[1].revents == 0;
}

static bool read_head(const struct fake_s3 *fake, int fd, char head[static HEAD_SIZE],
                      size_t *ret_len)
{
    size_t len = 0;

    head[0] = '\0';
    while (strstr(head, "\r\n\r\n") == NULL) {
        if (!wait_readable(fake, fd))
            return false;
        ssize_t got = read(fd, head + len, HEAD_SIZE - 1 - len);
        if (got <= 0)
            return false;
        len += (size_t)got;
        head[len] = '\0';
    }
    *ret_len = len;
    return true;
}

static const char *find_header(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);

    return found != NULL ? found + strlen(name) : NULL;
}

/* Reads the rest of the body, and ends the head where it ends. */
static bool read_body(const struct fake_s3 *fake, int fd, char *head, size_t len)
{
    const char *length = find_header(head, "\r\ncontent-length: ");
    char *end = strstr(head, "\r\n\r\n") + 4;
    size_t left = length != NULL ? strtoul(length, NULL, 10) : 0;
    static char skipped[65536];

    left -= len - (size_t)(end - head);
    *end = '\0';
    while (left > 0) {
        if (!wait_readable(fake, fd))
            return false;
        ssize_t got = read(fd, skipped, left < sizeof(skipped) ? left : sizeof(skipped));
        if (got <= 0)
            return false;
        left -= (size_t)got;
    }
    return true;
}

static void note(struct fake_s3 *fake, const char *head)
{
    for (unsigned i = 0; i < NOTES; i++) {
        const char *value = find_header(head, notes[i].header);
        if (value != NULL)
            (void)snprintf(fake->noted[i], NOTE_SIZE, "%.*s", (int)strcspn(value, "\r"), value);
    }
}

/* The headers with their first hole filled. */
static void fill_hole(const struct fake_s3 *fake, const char *headers, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s", headers);
    for (unsigned i = 0; i < NOTES; i++) {
        const char *hole = strstr(headers, notes[i].hole);
        if (hole != NULL)
            (void)snprintf(ret, size, "%.*s%s%s", (int)(hole - headers), headers, fake->noted[i],
                           hole + strlen(notes[i].hole));
    }
}

static void send_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        len -= (size_t)sent;
    }
}

static bool answer(const struct fake_s3 *fake, int fd, const struct fake_answer *with)
{
    char headers[1024], head[2048], length[64] = "";
    size_t body_len = with->body != NULL ? strlen(with->body) : 0;

    if (with->status == 0)
        return false;
    fill_hole(fake, with->headers != NULL ? with->headers : "", headers, sizeof(headers));
    if (with->body != NULL || strcasestr(headers, "content-length") == NULL)
        (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", body_len);
    int len = snprintf(head, sizeof(head), "HTTP/1.1 %d As told\r\n%s%s\r\n", with->status, length,
                       headers);
    send_all(fd, head, (size_t)len);
    if (body_len > with->cut)
        send_all(fd, with->body, body_len - with->cut);
    return with->cut == 0;
}

/* One connection, as long as it lasts. */
static void serve_connection(struct fake_s3 *fake, int fd)
{
    size_t len;

    while (fake->requests < REQUESTS_MAX) {
        char *head = fake->heads[fake->requests];
        if (!read_head(fake, fd, head, &len) || !read_body(fake, fd, head, len))
            return;
        note(fake, head);
        size_t number = fake->requests++;
        if (number >= fake->count || !answer(fake, fd, &fake->script[number]))
            return;
    }
}

static void *serve(void *arg)
{
    struct fake_s3 *fake = arg;

    while (wait_readable(fake, fake->listening)) {
        int fd = accept(fake->listening, NULL, NULL);
        if (fd < 0)
            break;
        serve_connection(fake, fd);
        (void)close(fd);
    }
    return NULL;
}

struct fake_s3 *fake_s3_start(const struct fake_answer *script, size_t count)
{
    struct fake_s3 *fake = calloc(1, sizeof(*fake));
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);

    assert_non_null(fake);
    fake->script = script;
    fake->count = count;
    fake->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listening, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fake->listening, 8), 0);
    assert_int_equal(getsockname(fake->listening, (struct sockaddr *)&address, &len), 0);
    fake->port = ntohs(address.sin_port);
    assert_int_equal(pipe(fake->stop), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, serve, fake), 0);
    return fake;
}

uint16_t fake_s3_port(const struct fake_s3 *fake)
{
    return fake->port;
}

void fake_s3_end(struct fake_s3 *fake)
{
    (void)close(fake->stop[1]);
    assert_int_equal(pthread_join(fake->thread, NULL), 0);
    (void)close(fake->stop[0]);
    (void)close(fake->listening);
    assert_int_equal(fake->requests, fake->count);
    free(fake);
}

const char *fake_s3_request(const struct fake_s3 *fake, size_t n)
{
    return n < fake->requests ? fake->heads[n] : "";
}
