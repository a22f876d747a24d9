/* What a Vault server may send: the first byte chooses a status, the rest is the body. */
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "keys/vault/answers.h"
#include "keys/vault/inspect.h"
#include "keys/vault/token_answers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return secret_heap_init(NULL);
}

static void read_secrets(const struct vault_question *question, struct bytes body)
{
    struct secret plain[2] = { 0 };
    size_t failed;

    if (vault_read_batch(question, body, 2, plain, &failed, NULL) < 0 &&
        (plain[0].data || plain[1].data))
        abort();
    secret_release(&plain[0]);
    secret_release(&plain[1]);
    (void)vault_read_plaintext(body, &plain[0], NULL);
    secret_release(&plain[0]);
}

static void inspect(struct bytes body)
{
    struct vault_key_settings settings;
    struct vault_health health;
    struct vault_token token;
    unsigned rights = 0;

    (void)vault_read_health(body, &health, NULL);
    (void)vault_read_token(body, &token, NULL);
    (void)vault_is_token_refused(body);
    (void)vault_read_key_settings(body, &settings, NULL);
    (void)vault_read_capabilities(body, "transit/keys/k", &rights, NULL);
    if (rights > VAULT_MAY_ALL)
        abort();
}

static void read_tokens(struct bytes body)
{
    struct secret token = SECRET_INIT;
    struct vault_token_facts facts;
    struct vault_secret_id_facts life;

    if (vault_read_auth(body, &facts, &token, NULL) == 0 &&
        (token.len == 0 || token.len > VAULT_TOKEN_MAX || facts.left_s < 0))
        abort();
    secret_release(&token);
    if (vault_read_secret_id(body, &life, NULL) == 0 && (life.ends_s < 0 || life.life_s < 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = { 200, 400, 403, 404, 500, 503, 307, 429 };
    const struct vault_question question = {
        .address = "https://vault", .path = "transit/x/k", .key_name = "k", .kms_namespace = ""
    };
    struct wrapped_key wrapped;
    struct vault_key key;
    struct error err = { 0 };
    char shown[VAULT_TEXT_SIZE], server[96];
    bool is_futile = false;

    if (size == 0)
        return 0;
    const struct bytes body = { data + 1, size - 1 };
    int r = vault_read_status(&question, statuses[data[0] % 8], body, &is_futile, &err);
    if (r < 0 && (err.code != r || !err.text[0]))
        abort();
    vault_read_errors(body, shown);
    for (const char *at = shown; *at; at++)
        if (*at < 0x20 || *at >= 0x7f)
            abort();
    (void)vault_read_key(body, &key, NULL);
    memset(&wrapped, 0, sizeof(wrapped));
    if (vault_read_ciphertext(body, &wrapped, NULL) == 0 &&
        (wrapped.blob_len == 0 || wrapped.blob_len > WRAPPED_BLOB_MAX))
        abort();
    (void)vault_is_batch(body);
    read_tokens(body);
    vault_read_server(body, server, sizeof(server));
    read_secrets(&question, body);
    inspect(body);
    return 0;
}
