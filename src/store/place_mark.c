#include "store/place_mark.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "crypto/random.h"

#define WORDS "object store of coffer: "
#define WORDS_LEN (sizeof(WORDS) - 1)
#define MARK_LEN (WORDS_LEN + UUID_TEXT_SIZE) /* a line's end in the place of the NUL */
#define READ_MAX 4096u

static void format(const struct uuid *mark, char ret[static MARK_LEN + 1])
{
    char id[UUID_TEXT_SIZE];

    uuid_format(mark, id);
    (void)snprintf(ret, MARK_LEN + 1, WORDS "%s\n", id);
}

static int parse(struct bytes text, struct uuid *ret)
{
    char id[UUID_TEXT_SIZE];

    if (text.len != MARK_LEN || memcmp(text.data, WORDS, WORDS_LEN) != 0 ||
        text.data[MARK_LEN - 1] != '\n')
        return -EINVAL;
    memcpy(id, text.data + WORDS_LEN, UUID_TEXT_SIZE - 1);
    id[UUID_TEXT_SIZE - 1] = '\0';
    return uuid_parse(id, ret);
}

int place_mark_read(struct object_store *store, struct uuid *ret, struct error *err)
{
    CLEANUP(buf_release) struct buf found = BUF_INIT;

    int r = object_store_get(store, PLACE_MARK_NAME, READ_MAX, &found, err);
    if (r == 0 && parse(buf_bytes(&found), ret) < 0)
        r = error_set(err, -EBADMSG,
                      "the object " PLACE_MARK_NAME " of the store is not what coffer put there; "
                      "put it back from a backup, or remove it and add the store again");
    return r;
}

int place_mark_expect(struct object_store *store, const struct uuid *mark, const char *folder,
                      struct error *err)
{
    struct uuid found;

    int r = place_mark_read(store, &found, err);
    if (r == -ENOENT)
        return error_set(
            err, -ENXIO,
            "the object store is not in folder %.128s, which lacks its file " PLACE_MARK_NAME
            ": mount its disk there; if it was moved, give the folder "
            "anew: coffer fs tier dir update STORE --path FOLDER",
            folder);
    if (r == 0 && !uuid_equal(&found, mark))
        r = error_set(err, -ENXIO,
                      "in folder %.128s is another object store (" PLACE_MARK_NAME " differs): "
                      "mount the right disk there; if this one is meant, say so: coffer fs tier "
                      "dir update STORE --path FOLDER",
                      folder);
    return r;
}

static int make(struct object_store *store, struct uuid *ret, struct error *err)
{
    char text[MARK_LEN + 1];
    struct uuid mark;

    random_uuid(&mark);
    format(&mark, text);
    const struct bytes line = { .data = (const uint8_t *)text, .len = MARK_LEN };
    int r = object_store_put(store, PLACE_MARK_NAME, line, err);
    if (r == 0)
        *ret = mark;
    return r;
}

int place_mark_take(struct object_store *store, struct uuid *ret, struct error *err)
{
    struct error why = { .code = 0 };

    int r = place_mark_read(store, ret, &why);
    if (r == -ENOENT)
        r = make(store, ret, &why);
    if (r == -EEXIST) /* somebody else just made one */
        r = place_mark_read(store, ret, &why);
    if (r < 0 && err)
        *err = why;
    return r;
}
