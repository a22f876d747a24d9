/* command_options.c - what each command takes: its options and words, with the texts of its help.
 */
#include "cli/command_options.h"

#include <stddef.h>

#define END_OF_OPTIONS                                                                             \
    {                                                                                              \
        .name = NULL                                                                               \
    }
#define END_OF_ARGUMENTS                                                                           \
    {                                                                                              \
        .name = NULL                                                                               \
    }

#define CONVERT_OPTION                                                                             \
    {                                                                                              \
        0, "convert-to-cluster-key-on-fs", NULL, "those with a key of their own, too, to this one" \
    }

#define KMS_LOGIN_OPTIONS                                                                          \
    { 0, "token", "token", "vault: the token; - reads it from standard input" },                   \
        { 0, "token-file", "file", "vault: a file that holds the token; - is standard input" },    \
        { 0, "no-token-renewal", NULL, "vault: leave renewing the token to the administrator" },   \
        { 0, "role-id", "id", "vault: log in as this AppRole, with a secret ID" },                 \
        { 0, "secret-id", "id",                                                                    \
          "vault: the AppRole's secret ID; - reads it from standard input" },                      \
        { 0, "secret-id-file", "file", "vault: a file that holds it; - is standard input" },       \
        { 0, "kubernetes-role", "role", "vault: log in as this pod's service account" },           \
        { 0, "kubernetes-token-path", "file", "vault: where the service account's token is" },     \
        { 0, "auth-path", "path", "vault: where the auth method is [approle, kubernetes]" },       \
        { 0, "namespace", "namespace", "vault: the namespace" },                                   \
        { 0, "transit-path", "path", "vault: where the transit engine is mounted [transit]" },     \
        { 0, "insecure-http", NULL, "vault: allow http:// to another host; raises an alert" },     \
        { 0, "client-cert", "pem", "kmip: file with the client certificate (mandatory)" },         \
        { 0, "client-key", "pem", "kmip: file with the client's private key (mandatory)" },        \
        { 0, "ca-cert", "pem", "kmip: file with the CA of the server [the system's CAs]" },        \
        { 0, "username", "name", "kmip: where the server wants one besides the certificate" },     \
        { 0, "password-file", "file",                                                              \
          "kmip: a file that holds its password; - is standard input" },                           \
    {                                                                                              \
        0, "cipher-mode", "mode", "kmip: wrap with AES-CBC (cbc) or AES-GCM (gcm) [cbc]"           \
    }

const struct option_spec kms_set_options[] = {
    KMS_LOGIN_OPTIONS,
    CONVERT_OPTION,
    END_OF_OPTIONS,
};

#define ROLE_HELP "ClusterAdmin, KeyAdmin, Regular or ReadOnly (mandatory)"
#define PASSWORD_FILE_HELP "a file that holds the password; - is standard input"

const struct option_spec user_add_options[] = {
    { 0, "role", "role", ROLE_HELP },
    { 0, "password-file", "file", PASSWORD_FILE_HELP },
    END_OF_OPTIONS,
};

const struct option_spec user_passwd_options[] = {
    { 0, "password-file", "file", PASSWORD_FILE_HELP },
    END_OF_OPTIONS,
};

const struct option_spec user_update_options[] = {
    { 0, "role", "role", ROLE_HELP },
    END_OF_OPTIONS,
};

const struct argument_spec user_arguments[] = {
    { "user", "the name that he logs in with", false },
    END_OF_ARGUMENTS,
};

const struct argument_spec user_password_arguments[] = {
    { "user", "the name that he logs in with", false },
    { "-", "read the password from standard input", true },
    END_OF_ARGUMENTS,
};

const struct option_spec ca_cert_set_options[] = {
    { 0, "cert-file", "pem", "file with the CA's certificate, or several (mandatory)" },
    END_OF_OPTIONS,
};

const struct option_spec ca_cert_download_options[] = {
    { 0, "path", "file", "write it there [standard output]" },
    END_OF_OPTIONS,
};

const struct argument_spec kms_set_arguments[] = {
    { "type", "vault or kmip", false },
    { "address", "a URL for vault, hostname:port for kmip; several with commas", false },
    { "key-identifier", "the name of the transit key, or the UID of the KMIP key", false },
    { "-", "read the token, secret ID or password from standard input", true },
    END_OF_ARGUMENTS,
};

#define DROP_PREVIOUS_OPTIONS                                                                      \
    { 0, "drop-previous", NULL, "the former key is in wrong hands: destroy what it wrapped" },     \
        { 0, "dry-run", NULL, "open every key and tell what would be done; change nothing" },      \
    {                                                                                              \
        'f', "force", NULL, "do not ask"                                                           \
    }

const struct option_spec kms_rewrap_options[] = {
    { 0, "new-key-uid", "uid", "kmip: the key that wraps from now on (mandatory)" },
    { 0, "all", NULL, "also filesystems that have a key of their own, each by that one" },
    CONVERT_OPTION,
    DROP_PREVIOUS_OPTIONS,
    END_OF_OPTIONS,
};

const struct option_spec fs_kms_rewrap_options[] = {
    DROP_PREVIOUS_OPTIONS,
    END_OF_OPTIONS,
};

const struct option_spec kms_unset_options[] = {
    { 0, "allow-downgrade", NULL, "wrap the keys of all filesystems with local keys; not secure" },
    { 'f', "force", NULL, "do not ask" },
    END_OF_OPTIONS,
};

const struct option_spec uploads_rewrap_options[] = {
    { 0, "object-store", "name", "where they are (mandatory)" },
    { 0, "all", NULL, "all uploaded snapshots in it" },
    { 0, "background", NULL, "as a task, which goes on by itself; coffer task wait waits for it" },
    { 0, "to-kms", "type", "vault or kmip: for another KMS than the configured one" },
    { 0, "to-address", "address", "of that KMS: URL of Vault, or host:port of KMIP" },
    { 0, "to-key", "key", "of that KMS: name of the key, or its UID" },
    DROP_PREVIOUS_OPTIONS,
    KMS_LOGIN_OPTIONS,
    END_OF_OPTIONS,
};

const struct argument_spec fs_key_repair_arguments[] = {
    { "name", "the filesystem", false },
    { "locator", "this uploaded snapshot [the newest that fits]", true },
    END_OF_ARGUMENTS,
};

const struct option_spec fs_key_repair_options[] = {
    { 0, "object-store", "name", "where snapshots of it are (mandatory)" },
    END_OF_OPTIONS,
};

const struct option_spec fs_key_drop_unused_options[] = {
    { 0, "dry-run", NULL, "show which are used, and change nothing" },
    { 'f', "force", NULL, "do not ask" },
    END_OF_OPTIONS,
};

const struct argument_spec upload_verify_arguments[] = {
    { "locator", "the uploaded snapshot", false },
    END_OF_ARGUMENTS,
};

const struct option_spec upload_verify_options[] = {
    { 0, "object-store", "name", "where it is (mandatory)" },
    { 0, "sample", "n", "about one object in n, by chance [all]" },
    { 0, "background", NULL, "as a task, which goes on by itself; coffer task wait waits for it" },
    END_OF_OPTIONS,
};

const struct argument_spec uploads_rewrap_arguments[] = {
    { "locator", "one uploaded snapshot", true },
    END_OF_ARGUMENTS,
};

#define OWN_KEY_OPTIONS                                                                            \
    { 0, "kms-key-identifier", "key", "a key of its own: Vault key name, or KMIP UID" },           \
        { 0, "kms-namespace", "namespace", "Vault namespace of that key [that of the KMS]" },      \
        { 0, "kms-role-id", "id", "ask Vault for it as this AppRole [the login of the KMS]" },     \
        { 0, "kms-secret-id", "id", "that AppRole's secret ID; - reads it from standard input" },  \
    {                                                                                              \
        0, "kms-secret-id-file", "file", "a file that holds it; - is standard input"               \
    }

const struct option_spec fs_add_options[] = {
    { 0, "store", "url", "where the data goes: dir:/path or s3:NAME [below the state folder]" },
    { 0, "meta", "url", "where the metadata goes: lmdb:/path [below the state folder]" },
    { 0, "cache", "size",
      "of a store s3:NAME: keep so much of it on a local disk; 0: none [1GiB]" },
    { 0, "cache-folder", "dir", "where that lies [below the state folder]" },
    { 0, "allow-no-kms", NULL, "without a KMS, keep the key in a local file; not secure" },
    OWN_KEY_OPTIONS,
    END_OF_OPTIONS,
};

const struct option_spec fs_update_options[] = {
    { 0, "capacity", "size", "another limit, for example 10GB or 1TiB, or unlimited" },
    OWN_KEY_OPTIONS,
    { 0, "use-cluster-kms-key-identifier", NULL, "the key of 'coffer security kms set' wraps it" },
    { 0, "cache", "size", "of a store in a bucket: keep so much of it on a local disk; 0: none" },
    { 0, "object-store", "name", "which has the snapshot that a downloaded one still needs" },
    END_OF_OPTIONS,
};

const struct argument_spec fs_add_arguments[] = {
    { "name", "at most 32 letters, digits, '.', '_' and '-'", false },
    { "capacity", "the limit, for example 10GB or 1TiB [unlimited]", true },
    END_OF_ARGUMENTS,
};

const struct argument_spec fs_download_arguments[] = {
    { "name", "of the new filesystem: at most 32 letters, digits, '.', '_' and '-'", false },
    { "locator", "of the snapshot: coffer1- and 56 letters", false },
    { "capacity", "the limit, for example 10GB or 1TiB [unlimited]", true },
    END_OF_ARGUMENTS,
};

const struct option_spec fs_download_options[] = {
    { 0, "object-store", "name", "which holds the snapshot (coffer fs tier); needed, or" },
    { 0, "site", "site", "local or remote: the only object store of that site" },
    { 0, "read-only-store", NULL, "write nothing there; it must not be cleaned until all is here" },
    { 0, "store", "url", "where the data goes: dir:/path or s3:NAME [below the state folder]" },
    { 0, "meta", "url", "where the metadata goes: lmdb:/path [below the state folder]" },
    { 0, "cache", "size",
      "of a store s3:NAME: keep so much of it on a local disk; 0: none [1GiB]" },
    { 0, "cache-folder", "dir", "where that lies [below the state folder]" },
    { 0, "allow-no-kms", NULL, "without a KMS, keep the key in a local file; not secure" },
    OWN_KEY_OPTIONS,
    END_OF_OPTIONS,
};

const struct option_spec fs_mount_options[] = {
    { 0, "read-only", NULL, "the kernel refuses every change" },
    { 0, "snapshot", "name", "only this snapshot, read-only, beside the filesystem and others" },
    { 0, "take-over", NULL, "write although the store was last written from elsewhere" },
    { 0, "salvage", NULL, "read-only, although records are altered: to copy files out of it" },
    END_OF_OPTIONS,
};

const struct argument_spec fs_mount_arguments[] = {
    { "name", "the filesystem", false },
    { "dir", "the folder to mount it on", false },
    END_OF_ARGUMENTS,
};

const struct argument_spec fs_umount_arguments[] = {
    { "name", "the filesystem, or the folder it or a snapshot of it is mounted on", false },
    END_OF_ARGUMENTS,
};

const struct option_spec fs_umount_options[] = {
    { 0, "snapshot", "name", "only this snapshot, which is mounted by itself" },
    END_OF_OPTIONS,
};

const struct option_spec fs_remove_options[] = {
    { 0, "shred", NULL, "destroy every copy of its keys first, and say what remains in the KMS" },
    { 0, "uploaded", NULL, "with --shred: its uploaded snapshots too, in all object stores" },
    { 'f', "force", NULL, "do not ask" },
    END_OF_OPTIONS,
};

const struct argument_spec fs_name_arguments[] = {
    { "name", "the filesystem", false },
    END_OF_ARGUMENTS,
};

const struct argument_spec fs_adopt_arguments[] = {
    { "metadata", "its metadata: lmdb:/path", false },
    { "store", "its data: dir:/path, or s3:NAME/UUID", false },
    END_OF_ARGUMENTS,
};

const struct option_spec fs_adopt_options[] = {
    { 0, "name", "name", "the name that it gets [adopted]" },
    { 0, "recovery-copy", "file", "open it with this recovery copy of its keys, not with the KMS" },
    { 0, "recipient-key", "pem", "the private key that opens the copy" },
    { 0, "allow-no-kms", NULL, "with a copy and without a KMS, keep the key in a local file" },
    END_OF_OPTIONS,
};

const struct option_spec fs_key_export_options[] = {
    { 0, "recipient-cert", "pem", "the certificate, or several, whose private key opens the copy" },
    { 0, "output-file", "file", "a new file for the copy [standard output]" },
    END_OF_OPTIONS,
};

const struct argument_spec fs_key_import_arguments[] = {
    { "name", "the filesystem", false },
    { "file", "the copy, or -: standard input", false },
    END_OF_ARGUMENTS,
};

const struct option_spec fs_key_import_options[] = {
    { 0, "recipient-key", "pem", "the private key of a certificate that it was made for" },
    { 0, "allow-no-kms", NULL, "without a KMS, keep the key in a local file; not secure" },
    END_OF_OPTIONS,
};

const struct option_spec fs_check_options[] = {
    { 0, "read-data", NULL, "also read and verify every block of data" },
    END_OF_OPTIONS,
};

#define LOG_OPTIONS                                                                                \
    { 0, "num-results", "n", "how many of the newest to show, 0 for all [50]" },                   \
        { 0, "start-time", "time", "only those since: 2h (ago), 14:30, '2026-11-27 14:30'" },      \
        { 0, "end-time", "time", "only those until" },                                             \
    {                                                                                              \
        0, "filesystem", "name", "only those about this filesystem"                                \
    }

const struct option_spec events_options[] = {
    LOG_OPTIONS,
    { 0, "severity", "severity", "only those so grave or graver: info, warning, critical" },
    { 0, "type", "type", "only those of this type" },
    END_OF_OPTIONS,
};

const struct option_spec audit_options[] = {
    LOG_OPTIONS,
    { 0, "operation", "operation",
      "only these: create, unwrap, rewrap, remove, shred, adopt, kms-set ..." },
    END_OF_OPTIONS,
};

const struct argument_spec audit_verify_arguments[] = {
    { "number:hash", "an entry that was kept elsewhere, as this command printed it", true },
    END_OF_ARGUMENTS,
};

const struct option_spec audit_verify_options[] = {
    { 0, "archive", "file", "also an archive of earlier entries" },
    { 0, "offline", NULL, "only the archive; cofferd is not asked" },
    END_OF_OPTIONS,
};

const struct option_spec audit_archive_options[] = {
    { 0, "before", "time", "entries older than this: 90d, 2026-11-01 ... (mandatory)" },
    { 0, "output-file", "file", "a new file for them (mandatory)" },
    { 'f', "force", NULL, "do not ask" },
    END_OF_OPTIONS,
};

const struct option_spec alerts_options[] = {
    { 0, "muted", NULL, "also those that are muted" },
    END_OF_OPTIONS,
};

const struct argument_spec alert_mute_arguments[] = {
    { "type", "a type of alert; coffer alerts types lists them", false },
    { "duration", "30s, 4m, 2h, 1d5h, 1w or infinite", false },
    END_OF_ARGUMENTS,
};

const struct option_spec alert_mute_options[] = {
    { 0, "comment", "text", "why, for others" },
    END_OF_OPTIONS,
};

const struct argument_spec alert_unmute_arguments[] = {
    { "type", "a type of alert", false },
    END_OF_ARGUMENTS,
};

const struct argument_spec help_arguments[] = {
    { "command", "the words of the command", true },
    { "command", NULL, true },
    { "command", NULL, true },
    END_OF_ARGUMENTS,
};

const struct argument_spec snapshot_arguments[] = {
    { "filesystem", "a started filesystem", false },
    { "snapshot", "its name; at most 255 bytes, without '/'", false },
    END_OF_ARGUMENTS,
};

const struct option_spec snapshot_list_options[] = {
    { 0, "filesystem", "name", "only those of this filesystem, which may be stopped" },
    { 0, "name", "name", "only the snapshot of this name" },
    END_OF_OPTIONS,
};

const struct option_spec snapshot_add_options[] = {
    { 0, "access-point", "name", "its folder in .snapshots [@GMT_ and the time]" },
    END_OF_OPTIONS,
};

const struct option_spec snapshot_update_options[] = {
    { 0, "new-name", "name", "what it is called from now on" },
    { 0, "access-point", "name", "its folder in .snapshots from now on" },
    END_OF_OPTIONS,
};

const struct argument_spec snapshot_diff_arguments[] = {
    { "filesystem", "a started filesystem", false },
    { "older", "the name of a snapshot", false },
    { "newer", "that of a later one [what the filesystem is now]", true },
    END_OF_ARGUMENTS,
};

const struct argument_spec restore_arguments[] = {
    { "filesystem", "a filesystem that is not mounted", false },
    { "snapshot", "the name of one of its snapshots", false },
    END_OF_ARGUMENTS,
};

const struct option_spec restore_options[] = {
    { 'f', "force", NULL, "do not ask" },
    { 0, "keep-as", "name", "a name for a snapshot of what is overwritten" },
    { 0, "keep-access-point", "name", "its folder in .snapshots [@GMT_ and the time]" },
    END_OF_OPTIONS,
};

const struct option_spec snapshot_remove_options[] = {
    { 'f', "force", NULL, "do not ask" },
    END_OF_OPTIONS,
};

const struct argument_spec policy_arguments[] = {
    { "policy", "its name; at most 32 letters, digits, '.', '_' and '-'", false },
    END_OF_ARGUMENTS,
};

const struct argument_spec policy_attach_arguments[] = {
    { "policy", "a snapshot policy", false },
    { "filesystem", "a filesystem, which need not be started", false },
    END_OF_ARGUMENTS,
};

const struct option_spec policy_schedule_options[] = {
    { 0, "hourly", "minute", "each hour at this minute, or off" },
    { 0, "hourly-retention", "number", "how many of them are kept [24]" },
    { 0, "hourly-upload", "store",
      "upload each to this object store, site local or remote, or none" },
    { 0, "daily", "time", "each day at this time (UTC): 23:00, or off" },
    { 0, "daily-retention", "number", "how many of them are kept [7]" },
    { 0, "daily-upload", "store",
      "upload each to this object store, site local or remote, or none" },
    { 0, "weekly", "days time", "each week (UTC): 'sunday,wednesday 23:00', or off" },
    { 0, "weekly-retention", "number", "how many of them are kept [4]" },
    { 0, "weekly-upload", "store",
      "upload each to this object store, site local or remote, or none" },
    { 0, "monthly", "day time",
      "each month (UTC): '1 23:00', or off; a short month: its last day" },
    { 0, "monthly-retention", "number", "how many of them are kept [12]" },
    { 0, "monthly-upload", "store",
      "upload each to this object store, site local or remote, or none" },
    END_OF_OPTIONS,
};

const struct option_spec snapshot_upload_options[] = {
    { 0, "object-store", "name", "where to [the only one that coffer fs tier lists]" },
    { 0, "site", "site", "local or remote: to the only one of that site" },
    { 0, "hide-names", NULL, "do not show who has the bucket what they are called" },
    { 0, "allow-no-kms", NULL, "also if its key is wrapped by a local file" },
    { 0, "wait", NULL, "return when it is done, and print the locator" },
    END_OF_OPTIONS,
};

const struct argument_spec snapshot_download_arguments[] = {
    { "filesystem", "into which", false },
    { "locator", "the uploaded snapshot", false },
    END_OF_ARGUMENTS,
};

const struct option_spec snapshot_download_options[] = {
    { 0, "object-store", "name", "where it is [the only one that coffer fs tier lists]" },
    { 0, "site", "site", "local or remote: in the only one of that site" },
    { 0, "name", "name", "that it gets, and its access point [those that it has there]" },
    { 0, "wait", NULL, "return when it is done" },
    END_OF_OPTIONS,
};

const struct argument_spec task_arguments[] = {
    { "task", "its number", false },
    END_OF_ARGUMENTS,
};

const struct option_spec task_abort_options[] = {
    { 'f', "force", NULL, "do not ask" },
    { 0, "leave", NULL, "end it also if what it left cannot be taken away" },
    END_OF_OPTIONS,
};
