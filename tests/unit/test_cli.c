/* What the command line means: capacities, options, the rules of each type of KMS, the words of
 * commands, and how lists are filtered, sorted and printed. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/capacity.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/kms_options.h"
#include "cli/moments.h"
#include "cli/options.h"
#include "cli/table.h"

/* ------------------------------------------------------------------ capacities */

static void capacity_knows_decimal_and_binary_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        { "0", 0 },
        { "512", 512 },
        { "1B", 1 },
        { "10kB", 10000 },
        { "10GB", UINT64_C(10000000000) },
        { "1GiB", UINT64_C(1) << 30 },
        { "1 gib", UINT64_C(1) << 30 },
        { "1.5TiB", (UINT64_C(1) << 40) + (UINT64_C(1) << 39) },
        { "0.1KiB", 102 },
        { "15EiB", UINT64_C(15) << 60 },
        { "1.999999999EiB", (UINT64_C(1) << 60) + UINT64_C(1152921503453925471) },
        { "unlimited", 0 },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t bytes = 1;
        assert_int_equal(capacity_parse(cases[i].text, &bytes, NULL), 0);
        assert_true(bytes == cases[i].bytes);
    }
}

static void capacity_refuses_what_is_not_one(void **state)
{
    static const char *const wrong[] = {
        "",
        "GB",
        "-1GB",
        "1G",
        "1.GB",
        "1.GiB",
        ".5GB",
        "1.0000000001GB",
        "1GBx",
        "16EiB",
        "99999999999999999999B",
        "0x10",
        "1,5GB",
        " 1GB",
        "1 2GB",
    };
    (void)state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error err = { .code = 0 };
        uint64_t bytes = 7;
        assert_int_equal(capacity_parse(wrong[i], &bytes, &err), -EINVAL);
        assert_true(bytes == 7);
        assert_true(strlen(err.text) > 0);
    }
}

static void durations_are_sums_of_numbers_with_units(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds; /* -1: refused */
    } cases[] = {
        { "3s", 3 },         { "4m", 240 },      { "2h", 7200 },
        { "1d", 86400 },     { "1w", 604800 },   { "1d5h", 104400 },
        { "infinite", 0 },   { "Unlimited", 0 }, { "", -1 },
        { "5", -1 },         { "h", -1 },        { "1h5", -1 },
        { "-1h", -1 },       { "1 h", -1 },      { "0s", -1 },
        { "99999999w", -1 }, { "1y", -1 },       { "99999999999999999999s", -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t seconds = -1;
        int r = duration_parse(cases[i].text, &seconds, NULL);
        if (r != (cases[i].seconds < 0 ? -EINVAL : 0) || (r == 0 && seconds != cases[i].seconds))
            fail_msg("%s: %d, %lld", cases[i].text, r, (long long)seconds);
    }
}

static void moments_are_read_in_local_time_or_utc_or_as_so_long_ago(void **state)
{
    /* 2026-11-27T14:00:00Z, which is 15:00 there. */
    const int64_t now_s = 1795788000;
    static const struct {
        const char *text;
        const char *utc; /* NULL: refused */
    } cases[] = {
        { "2h", "2026-11-27T12:00:00Z" },
        { "1d", "2026-11-26T14:00:00Z" },
        { "2026-11-27 14:30", "2026-11-27T13:30:00Z" },
        { "2026-11-27T14:30:05", "2026-11-27T13:30:05Z" },
        { "2026-11-27 14:30Z", "2026-11-27T14:30:00Z" },
        { "2026-11-27T14:30:05Z", "2026-11-27T14:30:05Z" },
        { "2026-11-27", "2026-11-26T23:00:00Z" },
        { "14:30", "2026-11-27T13:30:00Z" },
        { "yesterday", NULL },
        { "2026-13-01", NULL },
        { "14:30 x", NULL },
        { "", NULL },
    };

    (void)state;
    (void)setenv("TZ", "CET-1", 1);
    tzset();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char utc[MOMENT_TEXT_SIZE] = "";
        int r = moment_parse(cases[i].text, now_s, utc, NULL);
        if (r != (cases[i].utc ? 0 : -EINVAL) || (cases[i].utc && strcmp(utc, cases[i].utc) != 0))
            fail_msg("%s: %d, %s", cases[i].text, r, utc);
    }
}

static void capacity_is_shown_rounded_down(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        { 0, "0 B" },
        { 1023, "1023 B" },
        { 1024, "1.00 KiB" },
        { (UINT64_C(1) << 40) - 1, "1023.99 GiB" },
        { UINT64_C(1) << 40, "1.00 TiB" },
        { UINT64_MAX, "15.99 EiB" },
    };
    char text[CAPACITY_TEXT_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        capacity_format(cases[i].bytes, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* ------------------------------------------------------------------ options */

static const struct option_spec some_options[] = {
    { 'f', "force", NULL, "" },
    { 'o', "output", "columns", "" },
    { 0, "token", "token", "" },
    { .name = NULL },
};

static int scan_all(char **argv, struct arguments *ret, struct error *err)
{
    struct option_tables tables = { .tables = { some_options }, .count = 1 };
    struct option_scan scan = { .argv = argv };

    while (argv[scan.argc])
        scan.argc++;
    return arguments_read(&scan, &tables, ret, err);
}

static void options_stand_anywhere_and_take_values_in_every_form(void **state)
{
    char line[][16] = { "a", "-fo", "x,y", "--token=s.1", "b", "-oz", "-", "--", "--force" };
    char *argv[] = { line[0], line[1], line[2], line[3], line[4],
                     line[5], line[6], line[7], line[8], NULL };
    struct arguments arguments = { .n_words = 0 };
    (void)state;

    assert_int_equal(scan_all(argv, &arguments, NULL), 0);
    assert_int_equal(arguments.n_words, 4);
    assert_string_equal(arguments.words[0], "a");
    assert_string_equal(arguments.words[1], "b");
    assert_string_equal(arguments.words[2], "-");
    assert_string_equal(arguments.words[3], "--force");
    assert_int_equal(arguments.n_options, 4);
    assert_true(arguments_has(&arguments, "force"));
    assert_string_equal(arguments_value(&arguments, "token"), "s.1");
    assert_string_equal(arguments_value(&arguments, "output"), "z"); /* the last one counts */
}

static void options_that_do_not_fit_are_named(void **state)
{
    static const struct {
        const char *word;
        const char *sentence;
    } cases[] = {
        { "--tokens=1", "no option --tokens" },
        { "--tok", "no option --tok" },
        { "-x", "no option -x" },
        { "-fx", "no option -x" },
        { "--force=1", "--force takes no value" },
        { "--token", "--token needs a value" },
        { "-o", "--output needs a value" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char word[32];
        char *argv[] = { word, NULL };
        struct arguments arguments = { .n_words = 0 };
        struct error err = { .code = 0 };
        (void)snprintf(word, sizeof(word), "%s", cases[i].word);
        assert_int_equal(scan_all(argv, &arguments, &err), -EINVAL);
        assert_non_null(strstr(err.text, cases[i].sentence));
    }
}

/* ------------------------------------------------------------------ commands */

static void commands_answer_to_their_aliases(void **state)
{
    const struct command *top = cli_command_find("");
    const struct command *fs = cli_child(top, "filesystems");
    (void)state;

    assert_ptr_equal(fs, cli_command_find("fs"));
    assert_ptr_equal(cli_child(fs, "create"), cli_command_find("fs add"));
    assert_ptr_equal(cli_child(fs, "new"), cli_command_find("fs add"));
    assert_ptr_equal(cli_child(fs, "delete"), cli_command_find("fs remove"));
    assert_null(cli_child(fs, "creat"));
    assert_null(cli_child(fs, ""));
    assert_null(cli_child(top, "add"));
    assert_null(cli_child(top, "fs add"));
}

static void every_command_has_a_parent_and_a_summary(void **state)
{
    size_t count;
    const struct command *commands = cli_commands(&count);
    (void)state;

    for (size_t i = 0; i < count; i++) {
        char parent[64];
        (void)snprintf(parent, sizeof(parent), "%s", commands[i].path);
        char *blank = strrchr(parent, ' ');
        *(blank ? blank : parent) = '\0';
        const struct command *found = cli_command_find(parent);
        assert_non_null(found);
        assert_true(found <= &commands[i]);
        assert_true(strlen(commands[i].summary) > 0);
    }
}

/* ------------------------------------------------------------------ rules of the KMS types */

static struct kms_options good_vault(void)
{
    return (struct kms_options){
        .type = "vault", .address = "https://vault:8200", .key = "key", .token_file = "token"
    };
}

static struct kms_options good_kmip(void)
{
    return (struct kms_options){ .type = "kmip",
                                 .address = "kmip.example.org:5696",
                                 .key = "1",
                                 .client_cert = "cert.pem",
                                 .client_key = "key.pem" };
}

static void good_parameters_pass(void **state)
{
    struct kms_options vault = good_vault();
    struct kms_options kmip = good_kmip();
    (void)state;

    assert_int_equal(kms_options_check(&vault, NULL), 0);
    vault.namespace = "team/storage";
    vault.transit_path = "storage-transit";
    assert_int_equal(kms_options_check(&vault, NULL), 0);
    assert_int_equal(kms_options_check(&kmip, NULL), 0);
    kmip.ca_cert = "ca.pem";
    kmip.address = "[::1]:5696";
    kmip.cipher_mode = "gcm";
    assert_int_equal(kms_options_check(&kmip, NULL), 0);
    assert_false(kms_options_needs_password(&kmip));
    kmip.username = "alice";
    kmip.secret_from_stdin = true;
    assert_int_equal(kms_options_check(&kmip, NULL), 0);
    assert_true(kms_options_needs_password(&kmip) && !kms_options_needs_token(&kmip));
}

static void refused(struct kms_options options, const char *sentence)
{
    struct error err = { .code = 0 };

    assert_int_equal(kms_options_check(&options, &err), -EINVAL);
    if (!strstr(err.text, sentence))
        fail_msg("expected \"%s\" in: %s", sentence, err.text);
}

#define REFUSED(good, change, sentence)                                                            \
    do {                                                                                           \
        struct kms_options options = good;                                                         \
        change;                                                                                    \
        refused(options, sentence);                                                                \
    } while (0)

static void vault_refuses_what_belongs_to_kmip_each_in_its_own_sentence(void **state)
{
    (void)state;
    REFUSED(good_vault(), options.client_cert = "c", "--client-cert must not be given for vault");
    REFUSED(good_vault(), options.client_key = "k", "--client-key must not be given for vault");
    REFUSED(good_vault(), options.ca_cert = "c", "coffer security ca-cert set --cert-file");
    REFUSED(good_vault(), options.token = "t", "more than once");
    REFUSED(good_vault(), options.secret_from_stdin = true, "more than once");
    REFUSED(good_vault(), options.address = "vault:8200", "give https://vault:8200");
    REFUSED(good_vault(), options.address = "https://", "names no host");
    REFUSED(good_vault(), options.key = "", "the key is empty");
    REFUSED(good_vault(), options.transit_path = "", "--transit-path is empty");
    REFUSED(good_vault(), options.username = "u", "--username must not be given for vault");
    REFUSED(good_vault(), options.cipher_mode = "gcm", "--cipher-mode must not be given for vault");
}

static void a_user_name_of_kmip_and_its_password_belong_together(void **state)
{
    (void)state;
    REFUSED(good_kmip(), options.secret_from_stdin = true, "give that with --username");
    REFUSED(good_kmip(), options.password_file = "f", "give that with --username");
    REFUSED(good_kmip(), options.username = "", "--username is empty");
    REFUSED(good_kmip(),
            (options.username = "u", options.password_file = "f", options.secret_from_stdin = true),
            "more than once");
    REFUSED(good_kmip(), options.cipher_mode = "ctr", "--cipher-mode is cbc");
}

static struct kms_options good_approle(void)
{
    return (struct kms_options){
        .type = "vault", .address = "https://vault:8200", .key = "key", .role_id = "role"
    };
}

static struct kms_options good_kubernetes(void)
{
    return (struct kms_options){
        .type = "vault", .address = "https://vault:8200", .key = "key", .kubernetes_role = "role"
    };
}

static void each_way_to_log_in_to_vault_stands_alone(void **state)
{
    struct kms_options approle = good_approle();
    struct kms_options kubernetes = good_kubernetes();
    struct kms_options token = good_vault();
    (void)state;

    assert_int_equal(kms_options_check(&approle, NULL), 0);
    assert_true(kms_options_needs_secret_id(&approle) && !kms_options_needs_token(&approle));
    approle.secret_from_stdin = true;
    approle.auth_path = "teams/storage";
    assert_int_equal(kms_options_check(&approle, NULL), 0);
    kubernetes.kubernetes_token_path = "/token";
    kubernetes.auth_path = "cluster-1";
    assert_int_equal(kms_options_check(&kubernetes, NULL), 0);
    assert_true(!kms_options_needs_secret_id(&kubernetes) && !kms_options_needs_token(&kubernetes));
    token.no_token_renewal = true;
    assert_int_equal(kms_options_check(&token, NULL), 0);
    assert_true(kms_options_needs_token(&token) && !kms_options_needs_secret_id(&token));

    REFUSED(good_vault(), options.role_id = "r", "a token and --role-id are two ways");
    REFUSED(good_vault(), options.secret_id = "s", "a token and a secret ID belong to two ways");
    REFUSED(good_vault(), options.kubernetes_role = "r", "a token and --kubernetes-role");
    REFUSED(good_approle(), options.kubernetes_role = "r", "--role-id and --kubernetes-role");
    REFUSED(good_kubernetes(), options.secret_id_file = "s", "give it with --role-id");
    REFUSED(good_approle(), options.role_id = "", "--role-id is empty");
    REFUSED(good_kubernetes(), options.kubernetes_role = "", "--kubernetes-role is empty");
    REFUSED(good_kubernetes(), options.secret_from_stdin = true, "leave - out");
    REFUSED(good_approle(), options.kubernetes_token_path = "p", "needs --kubernetes-role");
    REFUSED(good_vault(), options.auth_path = "p", "--auth-path must not be given for a token");
    REFUSED(good_approle(), options.auth_path = "", "--auth-path is empty");
    REFUSED(good_approle(), options.no_token_renewal = true, "--no-token-renewal is for a token");
    REFUSED(good_kubernetes(), options.no_token_renewal = true, "--no-token-renewal is for");
    REFUSED(good_approle(), (options.secret_id = "s", options.secret_from_stdin = true),
            "the secret ID is given more than once");
}

static void vault_namespaces_follow_vaults_rules(void **state)
{
    (void)state;
    REFUSED(good_vault(), options.namespace = "team/", "must not end with /; give team");
    REFUSED(good_vault(), options.namespace = "my team", "must not contain spaces");
    REFUSED(good_vault(), options.namespace = "root", "must not be root");
    REFUSED(good_vault(), options.namespace = "identity", "must not be identity");
    REFUSED(good_vault(), options.namespace = "", "--namespace is empty");
}

static void kmip_refuses_what_belongs_to_vault_each_in_its_own_sentence(void **state)
{
    (void)state;
    REFUSED(good_kmip(), options.token = "t", "a token must not be given for kmip");
    REFUSED(good_kmip(), options.token_file = "t", "a token must not be given for kmip");
    REFUSED(good_kmip(), options.role_id = "r", "--role-id must not be given for kmip");
    REFUSED(good_kmip(), options.secret_id = "s", "a secret ID must not be given for kmip");
    REFUSED(good_kmip(), options.kubernetes_role = "r", "--kubernetes-role must not be given");
    REFUSED(good_kmip(), options.auth_path = "p", "--auth-path must not be given for kmip");
    REFUSED(good_kmip(), options.no_token_renewal = true, "--no-token-renewal must not be given");
    REFUSED(good_kmip(), options.namespace = "n", "--namespace must not be given for kmip");
    REFUSED(good_kmip(), options.transit_path = "t", "--transit-path must not be given for kmip");
    REFUSED(good_kmip(), options.insecure_http = true, "--insecure-http must not be given");
    REFUSED(good_kmip(), options.client_cert = NULL, "needs a client certificate");
    REFUSED(good_kmip(), options.client_key = NULL, "needs the client's private key");
    REFUSED(good_kmip(), options.address = "https://kmip:5696", "give kmip:5696");
    REFUSED(good_kmip(), options.address = "kmip", "give kmip:5696");
    REFUSED(good_kmip(), options.type = "KMIP", "'KMIP' is no type of KMS");
}

/* ------------------------------------------------------------------ lists */

static const struct column columns[] = {
    { "name", "NAME", COLUMN_TEXT },
    { "status", "STATUS", COLUMN_STATUS },
    { "capacity", "CAPACITY", COLUMN_CAPACITY, .zero_is = "unlimited" },
    { "kms_key", "KMS KEY", COLUMN_TEXT },
    { "read_only", "READ ONLY", COLUMN_FLAG, .hidden = true },
    { NULL, NULL, COLUMN_TEXT },
};

static json_t *some_rows(void)
{
    json_error_t fault;
    json_t *rows = json_loads("[{\"name\":\"beta\",\"status\":\"mounted\",\"capacity\":1073741824,"
                              "\"kms_key\":\"k,1\",\"read_only\":false},"
                              "{\"name\":\"alpha\",\"status\":\"stopped\",\"capacity\":0,"
                              "\"kms_key\":\"a \\\"b\\\"|c\",\"read_only\":true},"
                              "{\"name\":\"gamma\",\"status\":\"stopped\",\"capacity\":536870912,"
                              "\"kms_key\":\"\"}]",
                              0, &fault);

    assert_non_null(rows);
    return rows;
}

static void prints(struct table_request request, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    struct error err = { .code = 0 };
    FILE *out = open_memstream(&text, &len);
    json_t *rows = some_rows();

    assert_non_null(out);
    int r = table_print(out, columns, rows, &request, &err);
    json_decref(rows);
    (void)fclose(out);
    assert_string_equal(err.text, "");
    assert_int_equal(r, 0);
    assert_string_equal(text, expected);
    free(text);
}

static void csv_quotes_as_rfc_4180_says(void **state)
{
    (void)state;
    prints((struct table_request){ .format = TABLE_CSV, .columns = "name,kms_key" },
           "name,kms_key\nbeta,\"k,1\"\nalpha,\"a \"\"b\"\"|c\"\ngamma,\n");
}

static void markdown_escapes_the_bar(void **state)
{
    (void)state;
    prints((struct table_request){ .format = TABLE_MARKDOWN, .columns = "kmsKey,Name" },
           "| KMS KEY | NAME |\n| --- | --- |\n| k,1 | beta |\n| a \"b\"\\|c | alpha |\n"
           "|  | gamma |\n");
}

static void view_aligns_and_knows_units(void **state)
{
    (void)state;
    prints((struct table_request){ .format = TABLE_VIEW, .columns = "name,capacity" },
           "NAME    CAPACITY\nbeta    1.00 GiB\nalpha  unlimited\ngamma 512.00 MiB\n");
    prints(
        (struct table_request){
            .format = TABLE_VIEW, .columns = "capacity", .raw_units = true, .no_header = true },
        "1073741824\n         0\n 536870912\n");
}

static void rows_are_sorted_by_value_in_either_order(void **state)
{
    (void)state;
    prints((struct table_request){ .format = TABLE_CSV, .columns = "name", .sort = "capacity" },
           "name\nalpha\ngamma\nbeta\n");
    prints((struct table_request){ .format = TABLE_CSV, .columns = "name", .sort = "-capacity" },
           "name\nbeta\ngamma\nalpha\n");
    prints(
        (struct table_request){ .format = TABLE_CSV, .columns = "name", .sort = "-status,+name" },
        "name\nalpha\ngamma\nbeta\n");
}

static void filters_keep_or_drop_a_value(void **state)
{
    struct table_request request = { .format = TABLE_CSV, .columns = "name", .no_header = true };
    (void)state;

    request.n_filters = 1;
    request.filters[0] = "status=stopped";
    prints(request, "alpha\ngamma\n");
    request.filters[0] = "status=~stopped";
    prints(request, "beta\n");
    request.filters[0] = "capacity=1GiB";
    prints(request, "beta\n");
    request.filters[0] = "readOnly=True";
    prints(request, "alpha\n");
    request.n_filters = 2;
    request.filters[0] = "status=stopped";
    request.filters[1] = "name=gamma";
    prints(request, "gamma\n");
}

static void json_output_keeps_whole_objects_or_the_named_keys(void **state)
{
    struct table_request request = { .format = TABLE_JSON, .n_filters = 1 };
    (void)state;

    request.filters[0] = "name=gamma";
    prints(request, "[\n  {\n    \"name\": \"gamma\",\n    \"status\": \"stopped\",\n"
                    "    \"capacity\": 536870912,\n    \"kms_key\": \"\"\n  }\n]\n");
    request.columns = "KMSKEY,name";
    prints(request, "[\n  {\n    \"kms_key\": \"\",\n    \"name\": \"gamma\"\n  }\n]\n");
}

static void lists_refuse_unknown_columns_and_formats(void **state)
{
    static const struct table_request wrong[] = {
        { .columns = "name,nam" },
        { .columns = "" },
        { .sort = "size" },
        { .filters = { "name" }, .n_filters = 1 },
        { .filters = { "nam=x" }, .n_filters = 1 },
    };
    json_t *rows = some_rows();
    json_t *none = json_array();
    enum table_format format;
    (void)state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error err = { .code = 0 };
        assert_int_equal(table_print(stderr, columns, rows, &wrong[i], &err), -EINVAL);
        assert_true(strlen(err.text) > 0);
        assert_int_equal(table_print(stderr, columns, none, &wrong[i], NULL), -EINVAL);
    }
    assert_int_equal(table_format_parse("xml", &format, NULL), -EINVAL);
    json_decref(rows);
    json_decref(none);
}

static void names_are_escaped_in_paths(void **state)
{
    char path[CLIENT_PATH_SIZE];
    char long_name[200];
    (void)state;

    assert_int_equal(client_filesystem_path("../x y/%", "/start", path, NULL), 0);
    assert_string_equal(path, "/api/v1/filesystems/%2E.%2Fx%20y%2F%25/start");
    assert_int_equal(client_filesystem_path("a.b-c_1", "", path, NULL), 0);
    assert_string_equal(path, "/api/v1/filesystems/a.b-c_1");
    assert_int_equal(client_filesystem_path("", "", path, NULL), -EINVAL);
    memset(long_name, '/', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(client_filesystem_path(long_name, "", path, NULL), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capacity_knows_decimal_and_binary_units),
        cmocka_unit_test(capacity_refuses_what_is_not_one),
        cmocka_unit_test(durations_are_sums_of_numbers_with_units),
        cmocka_unit_test(moments_are_read_in_local_time_or_utc_or_as_so_long_ago),
        cmocka_unit_test(capacity_is_shown_rounded_down),
        cmocka_unit_test(options_stand_anywhere_and_take_values_in_every_form),
        cmocka_unit_test(options_that_do_not_fit_are_named),
        cmocka_unit_test(commands_answer_to_their_aliases),
        cmocka_unit_test(every_command_has_a_parent_and_a_summary),
        cmocka_unit_test(good_parameters_pass),
        cmocka_unit_test(vault_refuses_what_belongs_to_kmip_each_in_its_own_sentence),
        cmocka_unit_test(a_user_name_of_kmip_and_its_password_belong_together),
        cmocka_unit_test(each_way_to_log_in_to_vault_stands_alone),
        cmocka_unit_test(vault_namespaces_follow_vaults_rules),
        cmocka_unit_test(kmip_refuses_what_belongs_to_vault_each_in_its_own_sentence),
        cmocka_unit_test(csv_quotes_as_rfc_4180_says),
        cmocka_unit_test(markdown_escapes_the_bar),
        cmocka_unit_test(view_aligns_and_knows_units),
        cmocka_unit_test(rows_are_sorted_by_value_in_either_order),
        cmocka_unit_test(filters_keep_or_drop_a_value),
        cmocka_unit_test(json_output_keeps_whole_objects_or_the_named_keys),
        cmocka_unit_test(lists_refuse_unknown_columns_and_formats),
        cmocka_unit_test(names_are_escaped_in_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
