/* coffer audit verify and archive: the audit log, whole and unaltered, here and in archives. An
 * archive is verified without cofferd, by whoever has it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/file_io.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/moments.h"
#include "host/audit_archive.h"

#define VERIFY_TIMEOUT_MS (3600LL * 1000)
#define HEX_SIZE (2 * HASH_LEN + 1)
#define PAGE_QUERY "500"

static void head_text(const struct audit_head *head, char *ret, size_t size)
{
    char hash[HEX_SIZE];

    hex_encode((struct bytes){ .data = head->hash, .len = HASH_LEN }, hash);
    (void)snprintf(ret, size, "%" PRIu64 ":%s", head->number, hash);
}

/* NUMBER:HASH as an earlier verification printed it. */
static int read_kept(const char *kept, struct audit_head *ret, struct error *err)
{
    char *end = NULL;

    errno = 0;
    ret->number = strtoull(kept, &end, 10);
    if (errno != 0 || kept[0] < '0' || kept[0] > '9' || *end != ':' || ret->number == 0 ||
        hex_decode(end + 1, ret->hash, HASH_LEN) < 0)
        return error_set(err, -EINVAL,
                         "'%s' is not of the form NUMBER:HASH; give it as 'coffer audit verify' "
                         "printed it",
                         kept);
    return 0;
}

/* ------------------------------------------------------------------ verify */

static void print_fault(uint64_t number, const char *text, void *arg)
{
    (void)number;
    (void)arg;
    cli_print(stdout, "%s\n", text);
}

static int faults_found(const char *what, long long faults, struct error *err)
{
    return error_set(err, -EUCLEAN,
                     "%s has %lld fault%s: it is not what cofferd wrote; keep a copy, and find out "
                     "who had access to it",
                     what, faults, faults == 1 ? "" : "s");
}

static int read_archive(const char *path, const struct audit_head *kept, struct audit_archive *ret,
                        struct error *err)
{
    CLEANUP(buf_release) struct buf file = BUF_INIT;
    int r = file_read(path, AUDIT_ARCHIVE_MAX, &file, err);

    if (r < 0)
        return r;
    r = audit_archive_verify(buf_bytes(&file), kept, print_fault, NULL, ret, err);
    return r < 0 ? error_prefix(err, r, "%s", path) : 0;
}

static int verify_archive(const char *path, const struct audit_head *kept, bool is_quiet,
                          struct audit_archive *ret, struct error *err)
{
    char instance[UUID_TEXT_SIZE];
    char end[HEX_SIZE + 24];
    int r = read_archive(path, kept, ret, err);

    if (r < 0)
        return r;
    if (ret->faults > 0)
        return faults_found("the archive", (long long)ret->faults, err);
    if (is_quiet)
        return 0;
    uuid_format(&ret->instance, instance);
    head_text(&ret->end, end, sizeof(end));
    cli_print(stdout,
              "The archive holds entries %" PRIu64 " to %" PRIu64 " of instance %s, whole and "
              "unaltered%s.\nIts last entry: %s\n",
              ret->begin.number + 1, ret->end.number, instance, kept ? ", and what was kept" : "",
              end);
    return 0;
}

static void print_verdict(const json_t *answer, bool has_kept)
{
    const json_t *report = json_object_get(answer, "report");
    long long number = (long long)json_integer_value(json_object_get(answer, "number"));
    long long archived = (long long)json_integer_value(json_object_get(answer, "archived_number"));

    for (size_t i = 0; i < json_array_size(report); i++)
        cli_print(stdout, "%s\n", client_text(json_array_get(report, i), "text"));
    if (!json_is_true(json_object_get(answer, "intact")))
        return;
    long long entries = (long long)json_integer_value(json_object_get(answer, "entries"));
    cli_print(stdout, "The audit log is whole and unaltered, with %lld entr%s%s.\n", entries,
              entries == 1 ? "y" : "ies", has_kept ? ", and holds what was kept" : "");
    if (archived > 0)
        cli_print(stdout, "It goes on behind what was archived: %lld:%s\n", archived,
                  client_text(answer, "archived_hash"));
    if (number > 0)
        cli_print(stdout,
                  "Newest entry: %lld:%s\n"
                  "Keep this on another host: given to 'coffer audit verify' later, it proves that "
                  "nothing up to it was replaced or cut off.\n",
                  number, client_text(answer, "hash"));
}

/* Whether the log begins where the archive ends, or behind a later archive. */
static int compare_archive(const struct audit_archive *archive, const json_t *answer, bool is_quiet,
                           struct error *err)
{
    char end[HEX_SIZE + 24];
    char base[HEX_SIZE + 24];
    long long number = (long long)json_integer_value(json_object_get(answer, "archived_number"));

    head_text(&archive->end, end, sizeof(end));
    (void)snprintf(base, sizeof(base), "%lld:%s", number, client_text(answer, "archived_hash"));
    bool is_next = strcmp(end, base) == 0;
    if (is_next || (long long)archive->end.number < number) {
        if (!is_quiet)
            (void)puts(is_next ? "The archive ends where the audit log begins."
                               : "Another archive is between this one and the audit log.");
        return 0;
    }
    return error_set(err, -EUCLEAN,
                     "the archive does not end where the audit log begins: one of them is not what "
                     "cofferd wrote, or the archive is that of another instance");
}

/* What was kept is looked for in the archive if it is not behind it. */
static int verify_log(struct cli *cli, const char *kept, const struct audit_archive *archive,
                      struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    char path[CLIENT_PATH_SIZE] = "/api/v1/audit/verify";
    char number[24] = "";
    struct client_request request = {
        .method = "GET",
        .path = path,
        .timeout_ms = VERIFY_TIMEOUT_MS,
    };
    int r = 0;

    if (kept) {
        (void)snprintf(number, sizeof(number), "%.*s", (int)strcspn(kept, ":"), kept);
        r = client_add_query(path, "number", number, err);
        if (r == 0)
            r = client_add_query(path, "hash", strchr(kept, ':') + 1, err);
    }
    if (r == 0)
        r = client_call(&cli->instance, &request, &answer, err);
    if (r < 0)
        return r;
    if (cli->json)
        r = cli_print_json(answer, err);
    else
        print_verdict(answer, kept != NULL);
    long long faults = (long long)json_integer_value(json_object_get(answer, "faults"));
    if (r == 0 && faults > 0)
        return faults_found("the audit log", faults, err);
    return r == 0 && archive ? compare_archive(archive, answer, cli->json, err) : r;
}

int cmd_audit_verify(struct cli *cli, struct error *err)
{
    const char *file = arguments_value(&cli->arguments, "archive");
    const char *kept = cli_word(cli, 0);
    struct audit_archive archive = { .entries = 0 };
    struct audit_head head = { .number = 0 };
    int r = kept ? read_kept(kept, &head, err) : 0;

    if (r == 0 && !file && arguments_has(&cli->arguments, "offline"))
        r = error_set(err, -EINVAL, "--offline is for an archive; give that with --archive");
    if (r == 0 && file) {
        /* One that is behind its end is in the log. */
        r = read_archive(file, NULL, &archive, err);
        bool is_in_it = kept && head.number <= archive.end.number;
        if (r == 0)
            r = verify_archive(file, is_in_it ? &head : NULL, cli->json, &archive, err);
        if (is_in_it)
            kept = NULL;
    }
    if (r < 0 || arguments_has(&cli->arguments, "offline"))
        return r;
    return verify_log(cli, kept, file ? &archive : NULL, err);
}

/* ------------------------------------------------------------------ archive */

struct archiving {
    struct cli *cli;
    const char *path;
    int fd;
    char until[MOMENT_TEXT_SIZE];
    struct audit_archive archive;
    struct audit_chain chain;
};

static void keep_fault(uint64_t number, const char *text, void *arg)
{
    (void)number;
    cli_print(stderr, "%s\n", text);
    (void)arg;
}

static int write_failed(const struct archiving *archiving, int r, struct error *err)
{
    return error_set(err, r, "cannot write %s: %s", archiving->path, strerrordesc_np(-r));
}

static int begin(struct archiving *archiving, const json_t *page, struct error *err)
{
    struct audit_archive *archive = &archiving->archive;
    uint8_t bytes[AUDIT_ARCHIVE_BEGIN_LEN];

    archive->begin.number = (uint64_t)json_integer_value(json_object_get(page, "archived_number"));
    if (uuid_parse(client_text(page, "instance"), &archive->instance) < 0 ||
        hex_decode(client_text(page, "archived_hash"), archive->begin.hash, HASH_LEN) < 0)
        return error_set(err, -EPROTO,
                         "cofferd's answer is not understood; is it of this version?");
    archiving->chain.number = archive->begin.number;
    memcpy(archiving->chain.hash, archive->begin.hash, HASH_LEN);
    audit_archive_begin(archive, bytes);
    archiving->fd = open(archiving->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = archiving->fd < 0 ? -errno
                              : fd_write_all(archiving->fd, (struct bytes){ bytes, sizeof(bytes) });
    return r < 0 ? write_failed(archiving, r, err) : 0;
}

static int write_entry(struct archiving *archiving, const json_t *item, struct error *err)
{
    const char *text = client_text(item, "data");
    uint8_t bytes[4 + AUDIT_ENTRY_MAX];
    size_t len = 0;

    if (base64_decode(text, strlen(text), bytes + 4, AUDIT_ENTRY_MAX, &len) < 0 || len == 0)
        return error_set(err, -EPROTO,
                         "cofferd's answer is not understood; is it of this version?");
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(len >> 8 * i);
    audit_chain_step(&archiving->chain,
                     (uint64_t)json_integer_value(json_object_get(item, "number")),
                     (struct bytes){ bytes + 4, len }, keep_fault, NULL);
    if (archiving->chain.faults > 0)
        return error_set(
            err, -EUCLEAN,
            "the audit log has faults, which coffer audit verify tells; it stays as it "
            "is, as evidence");
    archiving->archive.entries++;
    int r = fd_write_all(archiving->fd, (struct bytes){ bytes, 4 + len });
    return r < 0 ? write_failed(archiving, r, err) : 0;
}

/* *ret_count 0: there is no more. */
static int take_page(struct archiving *archiving, size_t *ret_count, struct error *err)
{
    CLEANUP(json_freep) json_t *page = NULL;
    char path[CLIENT_PATH_SIZE] = "/api/v1/audit/stored";
    char after[24];
    struct client_request request = { .method = "GET", .path = path };

    (void)snprintf(after, sizeof(after), "%" PRIu64, archiving->chain.number);
    int r = client_add_query(path, "after", after, err);
    if (r == 0)
        r = client_add_query(path, "until", archiving->until, err);
    if (r == 0)
        r = client_add_query(path, "limit", PAGE_QUERY, err);
    if (r == 0)
        r = client_call(&archiving->cli->instance, &request, &page, err);
    if (r < 0)
        return r;
    const json_t *entries = json_object_get(page, "entries");
    *ret_count = json_array_size(entries);
    if (*ret_count > 0 && archiving->fd < 0)
        r = begin(archiving, page, err);
    for (size_t i = 0; r == 0 && i < *ret_count; i++)
        r = write_entry(archiving, json_array_get(entries, i), err);
    return r;
}

/* Durable, and read back, before anything is removed. */
static int finish(struct archiving *archiving, struct error *err)
{
    CLEANUP(free_ptr) char *folder = strdup(archiving->path);
    struct audit_archive *archive = &archiving->archive;
    struct audit_archive back = { .entries = 0 };
    uint8_t bytes[AUDIT_ARCHIVE_END_LEN];

    if (!folder)
        return error_set(err, -ENOMEM, "out of memory");
    archive->end.number = archiving->chain.number;
    memcpy(archive->end.hash, archiving->chain.hash, HASH_LEN);
    audit_archive_end(archive, bytes);
    int r = fd_write_all(archiving->fd, (struct bytes){ bytes, sizeof(bytes) });
    if (r == 0 && fsync(archiving->fd) < 0)
        r = -errno;
    if (r < 0)
        return write_failed(archiving, r, err);
    r = folder_sync(dirname(folder), err);
    if (r == 0)
        r = read_archive(archiving->path, &archive->end, &back, err);
    return r == 0 && (back.faults > 0 || back.entries != archive->entries)
               ? error_set(err, -EIO, "%s does not give back what was written", archiving->path)
               : r;
}

static int write_archive(struct archiving *archiving, struct error *err)
{
    size_t count = 1;
    int r = 0;

    while (r == 0 && count > 0)
        r = take_page(archiving, &count, err);
    if (r == 0 && archiving->fd >= 0)
        r = finish(archiving, err);
    if (archiving->fd >= 0)
        (void)close(archiving->fd); /* it was synced */
    if (r < 0 && archiving->fd >= 0)
        (void)unlink(archiving->path);
    return r;
}

static int forget(struct archiving *archiving, struct error *err)
{
    CLEANUP(json_freep) json_t *answer = NULL;
    char hash[HEX_SIZE];

    hex_encode((struct bytes){ .data = archiving->archive.end.hash, .len = HASH_LEN }, hash);
    struct client_request request = {
        .method = "POST",
        .path = "/api/v1/audit/archived",
        .body = json_pack("{s:I,s:s}", "number", (json_int_t)archiving->archive.end.number, "hash",
                          hash),
        .timeout_ms = VERIFY_TIMEOUT_MS,
    };
    int r = client_call(&archiving->cli->instance, &request, &answer, err);
    return r < 0
               ? error_prefix(err, r, "the archive %s is written, but the entries are still there",
                              archiving->path)
               : 0;
}

int cmd_audit_archive(struct cli *cli, struct error *err)
{
    const char *before = arguments_value(&cli->arguments, "before");
    struct archiving archiving = { .cli = cli,
                                   .path = arguments_value(&cli->arguments, "output-file"),
                                   .fd = -1 };
    char end[HEX_SIZE + 24];

    if (!before || !archiving.path)
        return error_set(err, -EINVAL,
                         "give with --before up to when, and with --output-file where to");
    int r = moment_parse(before, clock_wall_ns() / 1000000000, archiving.until, err);
    if (r == 0)
        r = write_archive(&archiving, err);
    if (r < 0)
        return r;
    if (archiving.archive.entries == 0) {
        cli_print(stdout, "No entry is older than %s: nothing was archived.\n", archiving.until);
        return 0;
    }
    if (!arguments_has(&cli->arguments, "force") &&
        !cli_confirm("The archive is written. Remove these entries from the audit log?"))
        return error_set(err, -ECANCELED, "nothing was removed; the archive is in %s",
                         archiving.path);
    r = forget(&archiving, err);
    if (r < 0)
        return r;
    head_text(&archiving.archive.end, end, sizeof(end));
    cli_print(stdout,
              "Entries %" PRIu64 " to %" PRIu64 " are in %s, and no longer in the audit log.\n"
              "The last of them: %s\n",
              archiving.archive.begin.number + 1, archiving.archive.end.number, archiving.path,
              end);
    return 0;
}
