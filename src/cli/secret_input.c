#include "cli/secret_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "base/cleanup.h"
#include "base/file_io.h"

#define TOKEN_MAX 8192u
#define PEM_MAX (64UL * 1024)
#define INTERRUPT 3 /* what Ctrl-C sends while the terminal makes no signals of it */

static bool is_part(uint8_t c, bool is_free_text)
{
    return is_free_text ? c >= ' ' && c != 0x7f : c > ' ' && c < 0x7f;
}

static int take_line(struct bytes text, const char *place, const struct secret_source *source,
                     struct secret *ret, struct error *err)
{
    const char *what = source->what;

    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.len--;
    if (text.len == 0)
        return error_set(err, -EINVAL, "%s holds no %s; put the %s there", place, what, what);
    if (text.len > TOKEN_MAX)
        return error_set(err, -EINVAL, "%s is too long for a %s; check that it is the right one",
                         place, what);
    for (size_t i = 0; i < text.len; i++) {
        if (!is_part(text.data[i], source->is_free_text))
            return error_set(err, -EINVAL,
                             "%s does not hold just a %s: there are blanks, several lines or "
                             "other characters in it; put the %s alone there",
                             place, what, what);
    }
    if (secret_assign(ret, text) < 0)
        return error_set(err, -ENOMEM,
                         "there is not enough locked memory for the %s; raise ulimit -l", what);
    return 0;
}

static int read_text(const char *text, const char *place, const struct secret_source *source,
                     struct secret *ret, struct error *err)
{
    return take_line((struct bytes){ (const uint8_t *)text, strlen(text) }, place, source, ret,
                     err);
}

static int read_file(const char *path, const struct secret_source *source, struct secret *ret,
                     struct error *err)
{
    const char *what = source->what;
    bool is_stdin = strcmp(path, "-") == 0;
    CLEANUP(buf_wipe) struct buf text = BUF_INIT;
    int r = file_read(is_stdin ? "/dev/stdin" : path, TOKEN_MAX + 2, &text, err);

    if (r == -EFBIG)
        return error_set(err, r, "%s is too long for a %s; check that it is the right file", path,
                         what);
    if (r < 0)
        return error_prefix(err, r, "the %s cannot be read; check the path of its file", what);
    return take_line(buf_bytes(&text), is_stdin ? "standard input" : path, source, ret, err);
}

/* One line, however the terminal delivers it. */
static int read_line(int fd, char *room, size_t size, size_t *ret_len)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, room + len, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0 || room[len] == '\n')
            break;
        if (room[len] == INTERRUPT)
            return -EINTR;
        len++;
    }
    *ret_len = len;
    return 0;
}

/* -ENOTTY: there is no terminal. */
static int ask_for(const char *question, const struct secret_source *source, struct secret *ret,
                   struct error *err)
{
    CLEANUP(close_fd) int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios before;
    struct secret line = SECRET_INIT;

    if (fd < 0 || tcgetattr(fd, &before) < 0)
        return error_set(err, -ENOTTY, "there is no terminal to ask on");
    if (secret_new(&line, TOKEN_MAX) < 0)
        return error_set(err, -ENOMEM, "there is not enough locked memory; raise ulimit -l");

    /* No signals either, so that the echo always comes back. */
    struct termios silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    size_t len = 0;
    int r = tcsetattr(fd, TCSAFLUSH, &silent) < 0 ? -errno : 0;
    if (r == 0) {
        (void)dprintf(fd, "%s: ", question);
        r = read_line(fd, (char *)line.data, TOKEN_MAX, &len);
        (void)dprintf(fd, "\n");
        (void)tcsetattr(fd, TCSAFLUSH, &before); /* nothing better to do if it fails */
    }
    if (r == 0)
        r = take_line((struct bytes){ line.data, len }, "the answer", source, ret, err);
    else
        (void)error_set(err, r, "the question was not answered; nothing was changed");
    secret_release(&line);
    return r;
}

/* A new one is asked for twice, since nobody sees what he types. */
static int ask(const struct secret_source *source, struct secret *ret, struct error *err)
{
    CLEANUP(secret_release) struct secret again = SECRET_INIT;
    int r = ask_for(source->question, source, ret, err);

    if (r < 0 || !source->asks_twice)
        return r;
    r = ask_for("Once more", source, &again, err);
    if (r == 0 && !secret_equal(secret_bytes(ret), secret_bytes(&again)))
        r = error_set(err, -EINVAL, "the two answers differ; nothing was changed");
    return r;
}

/* *ret is NULL if neither is set. */
static int find_variable(const struct secret_source *source, const char **ret, struct error *err)
{
    const char *value = secure_getenv(source->variable);
    const char *other = source->alias ? secure_getenv(source->alias) : NULL;

    if (value && other && strcmp(value, other) != 0)
        return error_set(err, -EINVAL, "%s and %s are set to different values; unset one of them",
                         source->variable, source->alias);
    *ret = value ? value : other;
    return 0;
}

int secret_input_read(const struct secret_source *source, struct secret *ret, struct error *err)
{
    const char *variable = NULL;

    if (source->from_stdin || (source->text && strcmp(source->text, "-") == 0))
        return read_file("-", source, ret, err);
    if (source->text)
        return read_text(source->text, source->option, source, ret, err);
    if (source->file)
        return read_file(source->file, source, ret, err);
    int r = find_variable(source, &variable, err);
    if (r < 0)
        return r;
    if (variable)
        return read_text(variable, source->variable, source, ret, err);
    r = ask(source, ret, err);
    if (r == -ENOTTY && source->is_free_text)
        return error_set(err, -EINVAL, "%s needs a %s; give %s-file or -, or set %s",
                         source->needed_by, source->what, source->option, source->variable);
    if (r == -ENOTTY)
        return error_set(err, -EINVAL, "%s needs a %s; give %s-file, %s or -, or set %s",
                         source->needed_by, source->what, source->option, source->option,
                         source->variable);
    return r;
}

struct secret_source secret_source_of_role(const char *option, const char *text, const char *file,
                                           bool from_stdin)
{
    return (struct secret_source){ .what = "secret ID",
                                   .needed_by = "vault",
                                   .option = option,
                                   .variable = "COFFER_KMS_SECRET_ID",
                                   .alias = "WEKA_KMS_SECRET_ID",
                                   .question = "Secret ID of the AppRole",
                                   .text = text,
                                   .file = file,
                                   .from_stdin = from_stdin };
}

static bool contains(struct bytes text, const char *part)
{
    return memmem(text.data, text.len, part, strlen(part)) != NULL;
}

int secret_input_pem(const char *path, const char *what, bool is_key, struct secret *ret,
                     struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT;
    int r = file_read(path, PEM_MAX, &text, err);
    struct bytes pem = buf_bytes(&text);

    if (r < 0)
        return error_prefix(err, r, "the %s cannot be read; check its path", what);
    if (is_key && contains(pem, "ENCRYPTED"))
        return error_set(err, -EINVAL,
                         "the %s in %s is protected by a passphrase; give one without "
                         "(openssl pkey -in %s -out new.pem)",
                         what, path, path);
    if (!contains(pem, is_key ? "PRIVATE KEY-----" : "-----BEGIN CERTIFICATE-----"))
        return error_set(err, -EINVAL, "there is no %s in PEM form in %s; check the file", what,
                         path);
    for (size_t i = 0; i < pem.len; i++) {
        if (pem.data[i] == '\0' || pem.data[i] >= 0x80)
            return error_set(err, -EINVAL,
                             "%s is not a PEM file; convert it (openssl x509 -inform der, openssl "
                             "pkey -inform der)",
                             path);
    }
    if (secret_assign(ret, pem) < 0)
        return error_set(err, -ENOMEM,
                         "there is not enough locked memory for the %s; raise "
                         "ulimit -l",
                         what);
    return 0;
}
