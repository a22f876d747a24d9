#include "net/json.h"

#include <errno.h>
#include <string.h>

#include "net/wiping_alloc.h"

/* Before main(), so that nothing is allocated one way and freed the other. */
__attribute__((constructor)) static void have_jansson_wipe(void)
{
    json_set_alloc_funcs(wiping_malloc, wiping_free);
}

int json_parse(struct bytes text, json_t **ret, struct error *err)
{
    json_error_t fault;

    if (text.len > JSON_TEXT_MAX)
        return error_set(err, -EFBIG, "JSON of %zu bytes is too long", text.len);
    json_t *value = json_loadb((const char *)text.data, text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
    /* jansson's own sentence may quote the text, which may be secret. */
    if (!value && json_error_code(&fault) == json_error_out_of_memory)
        return error_set(err, -ENOMEM, "not enough memory to read JSON");
    if (!value)
        return error_set(err, -EINVAL, "not JSON: line %d, column %d", fault.line, fault.column);
    *ret = value;
    return 0;
}

int json_parse_object(struct bytes text, json_t **ret, struct error *err)
{
    json_t *value = NULL;
    int r = json_parse(text, &value, err);

    if (r < 0)
        return r;
    if (!json_is_object(value)) {
        json_decref(value);
        return error_set(err, -EINVAL, "a JSON object was expected");
    }
    *ret = value;
    return 0;
}

int json_write(const json_t *value, struct buf *ret)
{
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    size_t len = json_dumpb(value, NULL, 0, flags);

    if (len == 0)
        return -ENOMEM;
    struct buf text = { .data = malloc(len + 1), .len = len };
    if (!text.data)
        return -ENOMEM;
    if (json_dumpb(value, (char *)text.data, len, flags) != len) {
        buf_wipe(&text);
        return -ENOMEM;
    }
    text.data[len] = '\0';
    buf_release(ret);
    buf_move(ret, &text);
    return 0;
}

/* 1: it is there and of the type; 0: it may be and is missing. */
static int find(const json_t *object, const char *name, enum json_need need, json_type type,
                json_t **ret, struct error *err)
{
    static const char *const type_names[] = {
        [JSON_OBJECT] = "an object",    [JSON_ARRAY] = "a list",  [JSON_STRING] = "a text",
        [JSON_INTEGER] = "an integer",  [JSON_REAL] = "a number", [JSON_TRUE] = "true or false",
        [JSON_FALSE] = "true or false", [JSON_NULL] = "null",
    };
    json_t *member = json_object_get(object, name);

    if (!member || json_is_null(member))
        return need == JSON_OPTIONAL ? 0 : error_set(err, -EINVAL, "\"%s\" is missing", name);
    json_type found = json_typeof(member);
    if (found != type && !(type == JSON_TRUE && found == JSON_FALSE))
        return error_set(err, -EINVAL, "\"%s\" must be %s", name, type_names[type]);
    *ret = member;
    return 1;
}

int json_get_text(const json_t *object, const char *name, enum json_need need, const char **ret,
                  struct error *err)
{
    json_t *member = NULL;
    int r = find(object, name, need, JSON_STRING, &member, err);

    if (r > 0)
        *ret = json_string_value(member);
    return r < 0 ? r : 0;
}

int json_get_line(const json_t *object, const char *name, enum json_need need, char *ret,
                  size_t size, struct error *err)
{
    json_t *member = NULL;
    int r = find(object, name, need, JSON_STRING, &member, err);

    if (r <= 0)
        return r;
    const char *text = json_string_value(member);
    size_t len = json_string_length(member);
    if (len >= size)
        return error_set(err, -EINVAL, "\"%s\" is longer than %zu bytes", name, size - 1);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return error_set(err, -EINVAL, "\"%s\" holds control characters", name);
    memcpy(ret, text, len + 1);
    return 0;
}

int json_get_secret(const json_t *object, const char *name, enum json_need need, struct secret *ret,
                    struct error *err)
{
    json_t *member = NULL;
    int r = find(object, name, need, JSON_STRING, &member, err);

    if (r <= 0)
        return r;
    r = secret_assign(ret, (struct bytes){ .data = (const uint8_t *)json_string_value(member),
                                           .len = json_string_length(member) });
    return r < 0 ? error_set(err, r, "no room for a secret in locked memory") : 0;
}

int json_get_integer(const json_t *object, const char *name, enum json_need need, int64_t *ret,
                     struct error *err)
{
    json_t *member = NULL;
    int r = find(object, name, need, JSON_INTEGER, &member, err);

    if (r > 0)
        *ret = json_integer_value(member);
    return r < 0 ? r : 0;
}

int json_get_bool(const json_t *object, const char *name, enum json_need need, bool *ret,
                  struct error *err)
{
    json_t *member = NULL;
    int r = find(object, name, need, JSON_TRUE, &member, err);

    if (r > 0)
        *ret = json_is_true(member);
    return r < 0 ? r : 0;
}

int json_get_object(const json_t *object, const char *name, enum json_need need, json_t **ret,
                    struct error *err)
{
    int r = find(object, name, need, JSON_OBJECT, ret, err);

    return r < 0 ? r : 0;
}

int json_get_array(const json_t *object, const char *name, enum json_need need, json_t **ret,
                   struct error *err)
{
    int r = find(object, name, need, JSON_ARRAY, ret, err);

    return r < 0 ? r : 0;
}
