/* alert_kinds.c - every kind of alert: what it means, and what to do. */
#include <string.h>

#include "control/alert_book.h"

#define LINGER_MS 30000u

static const struct alert_kind kinds[] = {
    {
        .type = "kms-unreachable",
        .is_critical = true,
        .title = "The KMS does not answer",
        .cause = "The key server cannot be reached, is sealed or overloaded. Filesystems that run "
                 "go on; none can be started or added.",
        .action = "Repair the key server or the way to it; 'coffer security kms check' finds out "
                  "which step of it fails",
        .linger_ms = LINGER_MS,
    },
    {
        .type = "kms-error",
        .is_critical = true,
        .title = "The KMS refuses",
        .cause = "The key server answers, but not as it must: the credentials are not accepted, a "
                 "permission is missing, or the key is not there or not active.",
        .action =
            "'coffer security kms check' says which step fails and what to do; new credentials "
            "are given with 'coffer security kms set'",
        .linger_ms = LINGER_MS,
    },
    {
        .type = "filesystem-kms-error",
        .is_critical = true,
        .title = "The KMS refuses a filesystem its own key",
        .cause =
            "A filesystem has a key of its own in the key server, perhaps with a login of its "
            "own, and the login is not accepted, may not use the key, or the key is not there. "
            "It is looked at every ten minutes.",
        .action = "Do what the text says; another secret ID is given with 'coffer fs update NAME "
                  "--kms-secret-id-file FILE', and nothing needs to be restarted",
        .linger_ms = LINGER_MS,
    },
    {
        .type = "kms-insecure-http",
        .title = "The KMS is used without TLS",
        .cause = "It was configured with --insecure-http.",
        .action = "Give the key server a certificate, and set its https:// address",
    },
    {
        .type = "kms-token-expiry",
        .title = "The token of the KMS ends",
        .cause = "It cannot be renewed, or the login that would replace it is refused: from a "
                 "quarter of its life on, at most 30 days before. On the last day it is critical.",
        .action =
            "Give another token or secret ID with 'coffer security kms set'; of a filesystem's "
            "own login with 'coffer fs update NAME --kms-secret-id-file FILE'",
    },
    {
        .type = "kms-secret-id-expiry",
        .title = "The secret ID for the KMS ends",
        .cause =
            "Its life comes to an end: from a quarter of it on, at most 30 days before. On the "
            "last day it is critical. It is known only if the role's policy lets coffer look "
            "it up.",
        .action = "Make another secret ID, and give it with 'coffer security kms set', or, for a "
                  "filesystem's own login, with 'coffer fs update NAME --kms-secret-id-file FILE'",
    },
    {
        .type = "kms-change-unfinished",
        .title = "A change of the KMS is half done",
        .cause =
            "cofferd or a key server ended while keys were being wrapped by another key server. "
            "Some are wrapped by the one, some by the other.",
        .action =
            "Keep both; it goes on by itself when both answer. 'coffer security kms set' with "
            "the one that is to stay does it at once",
    },
    {
        .type = "kms-certificate-expiry",
        .title = "The client's certificate for the KMS ends",
        .cause = "Its life comes to an end: from 30 days before on. In the last 7 days it is "
                 "critical.",
        .action = "Have it renewed, and give it with 'coffer security kms set'",
    },
    {
        .type = "https-certificate-expiry",
        .title = "The certificate of the web page ends",
        .cause = "That of the HTTPS server of cofferd: from 30 days before its end on. In the last "
                 "7 days it is critical.",
        .action =
            "Replace the file of --tls-cert and restart cofferd; if cofferd made it itself, a "
            "restart is enough. Filesystems go on",
    },
    {
        .type = "local-key",
        .title = "A key is wrapped by a local file",
        .cause = "The filesystem was added with --allow-no-kms, or the KMS was removed with "
                 "--allow-downgrade: whoever has the state folder's disk "
                 "can read it.",
        .action = "Configure a KMS with 'coffer security kms set'; the file is destroyed when the "
                  "KMS has opened the key once more",
    },
    {
        .type = "waiting-for-kms",
        .is_critical = true,
        .title = "A filesystem waits for its key",
        .cause = "The key server does not unwrap its key.",
        .action = "Do what the text says; the filesystem then comes up by itself",
    },
    {
        .type = "foreign-key-missing",
        .is_critical = true,
        .title = "Data from elsewhere cannot be read",
        .cause = "A filesystem has data that came from another one, with a download or as a "
                 "snapshot, and the key server refuses that one's key. Reading such data gives "
                 "EIO; all else works.",
        .action = "Restore what wraps that key, or allow it again, as the text says; nothing needs "
                  "to be restarted. If no data needs it any more, 'coffer fs key drop-unused' "
                  "ends this",
    },
    {
        .type = "filesystem-failed",
        .is_critical = true,
        .title = "A filesystem is down",
        .cause = "Its worker ended, or could not be started. It is tried again.",
        .action = "Do what the text says; 'coffer events' and cofferd's log tell what came before",
        .linger_ms = LINGER_MS,
    },
    {
        .type = "corruption",
        .is_critical = true,
        .title = "Altered data was found",
        .cause = "A block or record of the store or the metadata is not as it was written.",
        .action = "Run 'coffer fs check NAME --read-data', and copy store and metadata away before "
                  "anything else",
    },
    {
        .type = "write-lost",
        .is_critical = true,
        .title = "The store failed while writing",
        .cause = "Programs got an error; what they had not synced may be lost.",
        .action = "Repair the store, and have the programs write again what they could not",
    },
    {
        .type = "store-full",
        .is_critical = true,
        .title = "There is no room",
        .cause = "The capacity is used up, or the disk under the store or the metadata is full.",
        .action = "Make room; writing goes on then, nothing that was synced is lost",
        .linger_ms = LINGER_MS,
    },
    {
        .type = "read-only",
        .title = "A filesystem is read-only",
        .cause =
            "Its store knows a later state or another owner, or it was mounted with --salvage.",
        .action = "Find out which copy is right; 'coffer fs mount NAME DIR --take-over' writes on. "
                  "Of one that is mounted with --salvage, copy the files into another filesystem",
    },
    {
        .type = "worker-outdated",
        .title = "A filesystem runs on an older version",
        .cause = "coffer was updated while it was mounted: its worker goes on with the program "
                 "that it was started with. What that does not know is refused.",
        .action = "When it suits, 'coffer fs umount NAME', and mount it again",
    },
    {
        .type = "snapshot-policy-failed",
        .title = "A snapshot policy does not work",
        .cause = "A snapshot that was due could not be taken, uploaded, or removed when its time "
                 "was over. It is tried again, at least every quarter of an hour.",
        .action = "Do what the text says; what was missed is then made up once",
        .linger_ms = LINGER_MS,
    },
    {
        .type = "task-waits",
        .title = "A task cannot go on",
        .cause = "What it needs has been away for five minutes or longer: the object store, the "
                 "network, or its filesystem, which is not started.",
        .action =
            "Do what the text says; the task then goes on by itself. 'coffer task' lists all, "
            "'coffer task resume ID' has it try at once, 'coffer task abort ID' ends it",
    },
    {
        .type = "audit-damaged",
        .is_critical = true,
        .title = "The audit log was damaged",
        .cause =
            "It is not what cofferd wrote: entries were altered, deleted, exchanged or cut off. "
            "It is walked at the start and once a day.",
        .action = "'coffer audit verify' tells what is wrong; find out who had access to the state "
                  "folder",
    },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

const struct alert_kind *alert_kinds(size_t *ret_count)
{
    *ret_count = N_KINDS;
    return kinds;
}

const struct alert_kind *alert_kind_find(const char *type)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].type, type) == 0)
            return &kinds[i];
    return NULL;
}
