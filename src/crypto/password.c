#include "crypto/password.h"

#include <argon2.h>
#include <errno.h>

#include "crypto/random.h"
#include "crypto/secret.h"

bool password_cost_is_valid(const struct password_hash *hash)
{
    return hash->memory_kib >= PASSWORD_MEMORY_KIB_MIN &&
           hash->memory_kib <= PASSWORD_MEMORY_KIB_MAX && hash->passes >= 1 &&
           hash->passes <= PASSWORD_PASSES_MAX;
}

/* With salt and cost of hash. */
static int compute(struct bytes password, const struct password_hash *hash,
                   uint8_t ret[static PASSWORD_HASH_LEN])
{
    int r = argon2id_hash_raw(hash->passes, hash->memory_kib, 1, password.data, password.len,
                              hash->salt, PASSWORD_SALT_LEN, ret, PASSWORD_HASH_LEN);

    if (r == ARGON2_OK)
        return 0;
    return r == ARGON2_MEMORY_ALLOCATION_ERROR ? -ENOMEM : -EINVAL;
}

int password_hash(struct bytes password, struct password_hash *hash)
{
    random_bytes(hash->salt, sizeof(hash->salt));
    return password_cost_is_valid(hash) ? compute(password, hash, hash->hash) : -EINVAL;
}

int password_verify(struct bytes password, const struct password_hash *hash)
{
    uint8_t computed[PASSWORD_HASH_LEN];
    int r = password_cost_is_valid(hash) ? compute(password, hash, computed) : -EINVAL;

    if (r < 0)
        return r;
    bool is_equal = secret_equal((struct bytes){ .data = computed, .len = sizeof(computed) },
                                 (struct bytes){ .data = hash->hash, .len = sizeof(hash->hash) });
    return is_equal ? 0 : -EKEYREJECTED;
}
