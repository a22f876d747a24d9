/* audit.c - /api/v1/audit: what was done to keys, and whether that record is whole. */
#include <errno.h>
#include <string.h>

#include "api/query.h"
#include "base/cleanup.h"
#include "base/encoding.h"
#include "net/json.h"

#define HEX_SIZE (2 * HASH_LEN + 1)
#define FAULTS_TOLD 100u

static void put_key(json_t *entry, const char *prefix, const struct audit_entry_key *key)
{
    const struct {
        const char *name;
        const char *value;
    } texts[] = {
        { "kms_type", key->provider },
        { "kms_addresses", key->addresses },
        { "kms_namespace", key->kms_namespace },
        { "kms_path", key->mount_path },
        { "kms_key", key->key_name },
    };
    char name[32];

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", prefix, texts[i].name);
        (void)json_object_set_new(entry, name, json_string(texts[i].value));
    }
    (void)snprintf(name, sizeof(name), "%skms_key_version", prefix);
    (void)json_object_set_new(entry, name, json_integer(key->version));
}

static json_t *hash_json(const uint8_t hash[static HASH_LEN])
{
    char text[HEX_SIZE];

    hex_encode((struct bytes){ .data = hash, .len = HASH_LEN }, text);
    return json_string(text);
}

static json_t *entry_json(const struct audit_listed *item)
{
    const struct audit_entry *entry = &item->entry;
    char time[API_TIME_SIZE];
    char uuid[UUID_TEXT_SIZE] = "";
    char by[AUDIT_WHO_SIZE];

    api_time_text(entry->time_ns, time);
    if (!uuid_is_zero(&entry->uuid))
        uuid_format(&entry->uuid, uuid);
    audit_entry_who(entry, by);
    json_t *json =
        json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o}", "number", (json_int_t)entry->number,
                  "time", time, "by", by, "operation", entry->operation, "filesystem",
                  entry->filesystem, "uuid", uuid, "result", entry->result, "text", entry->text,
                  "previous", hash_json(entry->previous), "hash", hash_json(item->hash));
    if (!json) /* somebody else wrote it, and not in UTF-8 */
        return json_pack("{s:I,s:s,s:s}", "number", (json_int_t)entry->number, "result", "EBADMSG",
                         "text", "it is damaged");
    put_key(json, "", &entry->key);
    if (entry->old_key.provider[0] != '\0')
        put_key(json, "old_", &entry->old_key);
    return json;
}

int api_list_audit(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    CLEANUP(free_ptr) struct audit_listed *items = NULL;
    CLEANUP(json_freep) json_t *list = json_array();
    struct journal_query query = { .limit = 0 };
    size_t count = 0;
    int r = api_query_journal(request, "operation", &query, err);

    if (r == 0)
        r = audit_list(control_audit(request->context->control), &query, &items, &count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(list, entry_json(&items[i])) < 0)
            return api_no_memory(err);
    ret->body = TAKE(list);
    return api_reply_end(ret, err);
}

static int get_kept(const struct api_request *request, struct audit_head *ret, struct error *err)
{
    const char *hash = api_query_text(request, "hash");
    int r = api_query_number(request, "number", INT64_MAX, &ret->number, err);

    if (r < 0)
        return r;
    if (!hash != (ret->number == 0) || (hash && hex_decode(hash, ret->hash, HASH_LEN) < 0))
        return error_set(err, -EINVAL,
                         "to compare with what was kept, give a number and its hash of 64 "
                         "hexadecimal digits");
    return 0;
}

static void add_fault(uint64_t number, const char *text, void *arg)
{
    json_t *faults = arg;

    if (json_array_size(faults) < FAULTS_TOLD)
        (void)json_array_append_new(
            faults, json_pack("{s:I,s:s}", "number", (json_int_t)number, "text", text));
}

int api_verify_audit(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct audit_head kept = { .number = 0 };
    struct audit_verdict verdict;
    json_t *faults = json_array();
    int r = faults ? get_kept(request, &kept, err) : error_set(err, -ENOMEM, "out of memory");

    if (r == 0)
        r = audit_verify(control_audit(request->context->control), kept.number ? &kept : NULL,
                         add_fault, faults, &verdict, err);
    if (r < 0) {
        json_decref(faults);
        return r;
    }
    ret->body =
        json_pack("{s:I,s:b,s:I,s:o,s:I,s:o,s:I,s:o}", "entries", (json_int_t)verdict.entries,
                  "intact", (int)(verdict.faults == 0), "faults", (json_int_t)verdict.faults,
                  "report", faults, "number", (json_int_t)verdict.newest.number, "hash",
                  hash_json(verdict.newest.hash), "archived_number",
                  (json_int_t)verdict.base.number, "archived_hash", hash_json(verdict.base.hash));
    return api_reply_end(ret, err);
}

/* ------------------------------------------------------------------ archiving */

static int add_stored(uint64_t number, struct bytes stored, void *arg)
{
    char text[BASE64_SIZE(AUDIT_ENTRY_MAX)];

    if (stored.len > AUDIT_ENTRY_MAX)
        return -EUCLEAN;
    base64_encode(stored, text);
    json_t *item = json_pack("{s:I,s:s}", "number", (json_int_t)number, "data", text);
    return item && json_array_append_new(arg, item) == 0 ? 0 : -ENOMEM;
}

int api_read_audit(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct control *control = request->context->control;
    CLEANUP(json_freep) json_t *entries = json_array();
    char instance_text[UUID_TEXT_SIZE];
    int64_t until_ns = INT64_MAX;
    struct audit_head base;
    struct uuid instance;
    uint64_t after = 0;
    size_t limit = 0;
    int r = api_query_number(request, "after", INT64_MAX - 1, &after, err);

    if (r == 0)
        r = api_query_time(request, "until", &until_ns, err);
    if (r == 0)
        r = api_query_limit(request, &limit, err);
    if (r < 0)
        return r;
    audit_base(control_audit(control), &base);
    r = audit_each_stored(control_audit(control), after, until_ns, limit, add_stored, entries, err);
    if (r == -ENOMEM)
        return api_no_memory(err);
    if (r == -EUCLEAN)
        return error_set(err, r, "the audit log has faults, which coffer audit verify tells");
    if (r < 0)
        return r;
    control_instance(control, &instance);
    uuid_format(&instance, instance_text);
    ret->body = json_pack("{s:s,s:I,s:o,s:O}", "instance", instance_text, "archived_number",
                          (json_int_t)base.number, "archived_hash", hash_json(base.hash), "entries",
                          entries);
    return api_reply_end(ret, err);
}

int api_forget_audit(const struct api_request *request, struct api_reply *ret, struct error *err)
{
    struct audit_head last = { .number = 0 };
    const char *hash = NULL;
    int64_t number = 0;
    int r = json_get_integer(request->body, "number", JSON_REQUIRED, &number, err);

    if (r == 0)
        r = json_get_text(request->body, "hash", JSON_REQUIRED, &hash, err);
    if (r == 0 && (number <= 0 || hex_decode(hash, last.hash, HASH_LEN) < 0))
        r = error_set(err, -EINVAL,
                      "give the number of the last entry in the archive, and its hash of 64 "
                      "hexadecimal digits");
    last.number = (uint64_t)number;
    if (r == 0)
        r = control_audit_forget(request->context->control, &last, err);
    if (r < 0)
        return r;
    ret->body = json_object();
    return api_reply_end(ret, err);
}
