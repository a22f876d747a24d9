/* /api/v1/filesystems/{name}/snapshots/diff: a page of what differs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/routes.h"
#include "base/cleanup.h"
#include "net/json.h"

static int add_row(const struct control_difference *difference, void *arg)
{
    json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:I}", "change", difference->kind, "type",
                            difference->type, "path", difference->path, "old_path",
                            difference->old_path, "content", (int)difference->content, "attributes",
                            (int)difference->attributes, "inode", (json_int_t)difference->ino);

    return row && json_array_append_new(arg, row) == 0 ? 0 : -ENOMEM;
}

/* "inode.number", as an earlier page gave it. */
static int read_position(const char *text, struct control_diff *diff, struct error *err)
{
    char *end = NULL;

    errno = 0;
    diff->ino = strtoull(text, &end, 10);
    if (*end == '.' && end != text) {
        text = end + 1;
        unsigned long count = strtoul(text, &end, 10);
        diff->count = (uint32_t)count;
        if (errno == 0 && end != text && *end == '\0' && count <= UINT32_MAX)
            return 0;
    }
    return error_set(err, -EINVAL, "'behind' must be what an earlier answer gave as 'behind'");
}

int api_diff_snapshots(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(json_freep) json_t *rows = json_array();
    struct control_diff diff = { .older = NULL };
    const char *behind = NULL;
    char next[48] = "";
    int r = json_get_text(request->body, "older", JSON_REQUIRED, &diff.older, err);

    if (!rows)
        return api_no_memory(err);
    if (r == 0)
        r = json_get_text(request->body, "newer", JSON_OPTIONAL, &diff.newer, err);
    if (r == 0)
        r = json_get_text(request->body, "behind", JSON_OPTIONAL, &behind, err);
    if (r == 0 && behind)
        r = read_position(behind, &diff, err);
    if (r == 0)
        r = control_snapshot_diff(request->context->control, request->name, &diff, add_row, rows,
                                  err);
    if (r < 0)
        return r;
    if (diff.has_more)
        (void)snprintf(next, sizeof(next), "%" PRIu64 ".%" PRIu32, diff.ino, diff.count);
    ret->body = json_pack("{s:O,s:s}", "differences", rows, "behind", next);
    return api_reply_end(ret, err);
}
