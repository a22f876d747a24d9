#include "keys/vault/client.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "keys/vault/answers.h"

#define CONNECT_TIMEOUT_MS 3000
#define MAX_ANSWER (1024u * 1024u)
#define MAX_REDIRECTS 2u
#define URL_SIZE (WRAPPED_ADDRESSES_SIZE + VAULT_PATH_SIZE + 8)

/* ------------------------------------------------------------------ names and addresses */

bool vault_is_name(const char *text, bool allows_parts)
{
    for (;;) {
        size_t len = 0;
        while (isalnum((unsigned char)text[len]) || (text[len] && strchr("._-", text[len])))
            len++;
        if (len == 0 || (len <= 2 && strspn(text, ".") == len))
            return false;
        text += len;
        if (*text == '\0')
            return true;
        if (*text != '/' || !allows_parts)
            return false;
        text++;
    }
}

static bool is_loopback(const char *host, size_t len)
{
    struct in_addr address;
    char text[64];

    if (len >= sizeof(text))
        return false;
    (void)snprintf(text, sizeof(text), "%.*s", (int)len, host);
    if (inet_pton(AF_INET, text, &address) == 1)
        return ntohl(address.s_addr) >> 24 == 127;
    return strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0;
}

/* scheme://host[:port][/prefix], nothing else. */
static int check_address(const char *address, bool allows_insecure_http, struct error *err)
{
    bool is_https = strncmp(address, "https://", 8) == 0;
    bool is_http = strncmp(address, "http://", 7) == 0;

    if (!is_https && !is_http)
        return error_set(err, -EINVAL,
                         "'%s' is not the URL of a Vault server, such as https://vault:8200",
                         address);
    const char *host = address + (is_https ? 8 : 7);
    size_t authority_len = strcspn(host, "/");
    for (const char *at = host; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-:[]/", *at))
            return error_set(err, -EINVAL,
                             "'%s' is not the URL of a Vault server: scheme, host and port only",
                             address);
    size_t host_len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    if (host_len == 0 || host_len > authority_len || strstr(host, "//"))
        return error_set(err, -EINVAL, "'%s' names no host", address);
    if (is_http && !allows_insecure_http && !is_loopback(host, host_len))
        return error_set(err, -EINVAL,
                         "'%s' would send the token and keys in clear: use https://, or allow it "
                         "with --insecure-http",
                         address);
    return 0;
}

void vault_strip_slashes(char *text)
{
    size_t len = strlen(text);

    while (len > 0 && text[len - 1] == '/')
        text[--len] = '\0';
}

/* ------------------------------------------------------------------ one request */

/* A call on its way, for the attempts at each address. */
struct asking {
    struct vault_client *client;
    const struct vault_call *call;
};

static int send_to(const struct asking *asking, const char *base, int64_t deadline_ms,
                   struct error *err)
{
    const struct vault_call *call = asking->call;
    struct http_header headers[3] = { { .name = "X-Vault-Request", .value = "true" } };
    size_t count = 1;
    char url[URL_SIZE];
    int64_t left = deadline_ms - clock_monotonic_ms();

    if (call->token)
        headers[count++] = (struct http_header){ .name = "X-Vault-Token", .secret = call->token };
    if (call->kms_namespace[0])
        headers[count++] =
            (struct http_header){ .name = "X-Vault-Namespace", .value = call->kms_namespace };
    int len = snprintf(url, sizeof(url), "%s/v1/%s", base, call->path);
    if (len < 0 || (size_t)len >= sizeof(url))
        return error_set(err, -EINVAL, "the URL below %s is too long", base);
    const struct http_request request = { .method = call->method,
                                          .url = url,
                                          .headers = headers,
                                          .header_count = count,
                                          .body = call->body,
                                          .total_timeout_ms = left > 0 ? left : 1 };
    return address_result(http_send(asking->client->http, &request, call->response, err), err);
}

/* Where a 307 leads to, if that is the same question at an address of the same scheme that would
 * be accepted as configuration. */
static int redirect_base(const struct asking *asking, const char *base, char ret[static URL_SIZE],
                         struct error *err)
{
    const char *location = asking->call->response->location;
    char tail[VAULT_PATH_SIZE + 8];

    int len = snprintf(tail, sizeof(tail), "/v1/%s", asking->call->path);
    size_t location_len = strlen(location);
    bool fits = len > 0 && location_len > (size_t)len && location_len < URL_SIZE &&
                strcmp(location + location_len - (size_t)len, tail) == 0;
    bool is_same_scheme =
        (strncmp(base, "https:", 6) == 0) == (strncmp(location, "https:", 6) == 0);
    if (!fits || !is_same_scheme)
        return error_set(err, -EPROTO,
                         "%s redirects to another place: configure the address of "
                         "the active server",
                         base);
    (void)snprintf(ret, URL_SIZE, "%.*s", (int)(location_len - (size_t)len), location);
    return check_address(ret, asking->client->allows_insecure_http, err);
}

static int send_following(const struct asking *asking, struct address_attempt *attempt,
                          struct error *err)
{
    char base[URL_SIZE], next[URL_SIZE];

    (void)snprintf(base, sizeof(base), "%s", attempt->address);
    for (unsigned hops = 0;; hops++) {
        int r = send_to(asking, base, attempt->deadline_ms, err);
        if (r < 0 || asking->call->response->status != 307 || hops == MAX_REDIRECTS)
            return r;
        r = redirect_base(asking, base, next, err);
        if (r < 0)
            return r;
        memcpy(base, next, sizeof(base));
    }
}

static int attempt_call(void *arg, struct address_attempt *attempt, struct error *err)
{
    const struct asking *asking = arg;
    const struct vault_call *call = asking->call;
    const struct vault_question question = { .address = attempt->address,
                                             .path = call->path,
                                             .key_name = call->key_name,
                                             .kms_namespace = call->kms_namespace };
    struct http_response *response = call->response;

    if (call->ret_address)
        *call->ret_address = attempt->address;
    int r = send_following(asking, attempt, err);
    if (r < 0)
        return r;
    if (call->accepts_batch && response->status == 400 &&
        vault_is_batch(buf_bytes(&response->body)))
        return 0;
    attempt->retry_after_ms =
        response->retry_after_s < ADDRESS_LIST_LIMIT_MS ? response->retry_after_s * 1000 : 0;
    return vault_read_status(&question, response->status, buf_bytes(&response->body),
                             &attempt->is_futile, err);
}

int vault_client_ask(struct vault_client *client, const struct vault_call *call, struct error *err)
{
    struct asking asking = { .client = client, .call = call };

    return address_list_call(&client->addresses, attempt_call, &asking, err);
}

int vault_client_ask_once(struct vault_client *client, const struct vault_call *call,
                          int64_t limit_ms, struct error *err)
{
    struct asking asking = { .client = client, .call = call };
    int64_t now = clock_monotonic_ms();
    size_t index = 0;

    while (index + 1 < client->addresses.count && client->addresses.rests_until_ms[index] > now)
        index++;
    struct address_attempt attempt = { .index = index,
                                       .address = client->addresses.addresses[index],
                                       .deadline_ms = now + limit_ms };
    return attempt_call(&asking, &attempt, err);
}

/* ------------------------------------------------------------------ init, release */

int vault_client_init(struct vault_client *client, const struct vault_client_options *options,
                      struct error *err)
{
    const struct http_options http = { .ca_cert_pem = options->ca_cert_pem,
                                       .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                       .max_body_len = MAX_ANSWER };

    client->http = NULL;
    client->allows_insecure_http = options->allows_insecure_http;
    int r = address_list_init(&client->addresses, options->addresses, err);
    for (size_t i = 0; r == 0 && i < client->addresses.count; i++) {
        r = check_address(client->addresses.addresses[i], options->allows_insecure_http, err);
        if (r == 0)
            vault_strip_slashes(client->addresses.addresses[i]);
    }
    return r < 0 ? r : http_client_new(&http, &client->http, err);
}

void vault_client_release(struct vault_client *client)
{
    http_client_free(client->http);
    client->http = NULL;
}
