/* kms_settings.h - the key server that tests are to use, from the environment:
 *
 *   COFFER_TEST_KMS_ADDRESS, _KEY, _NAMESPACE, _MOUNT_PATH, _INSECURE_HTTP ("1"),
 *   _AUTH_PATH, _ROLE_ID, _KUBERNETES_ROLE, _KUBERNETES_TOKEN (a path), _NO_TOKEN_RENEWAL ("1"),
 *   _USERNAME, _CIPHER_MODE ("gcm"), and the files _TOKEN_FILE, _SECRET_ID_FILE, _CLIENT_CERT,
 *   _CLIENT_KEY, _CA_CERT, _PASSWORD_FILE
 */
#pragma once

#include "base/error.h"
#include "keys/key_provider.h"

/* "" if it is not set. */
const char *kms_setting(const char *name);

int kms_settings_read(const char *type, struct key_provider_config *ret, struct error *err);
