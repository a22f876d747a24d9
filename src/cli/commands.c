/* Every command that there is, with what it takes. Help, completion and the manual page's test
 * read this table too. */
#include "cli/cli.h"

#include <string.h>

#include "cli/command_options.h"

#define END_OF_OPTIONS                                                                             \
    {                                                                                              \
        .name = NULL                                                                               \
    }

const struct option_spec cli_common_options[] = {
    { 0, "state-dir", "dir", "the instance whose state is there (COFFER_STATE_DIR)" },
    { 0, "socket", "path", "the instance that listens there (COFFER_SOCKET)" },
    { 0, "user", NULL, "as root, the user's own instance (cofferd --user)" },
    { 0, "color", "when", "auto, enabled or disabled (COFFER_CLI_COLOR, NO_COLOR)" },
    { 'h', "help", NULL, "show this text" },
    { 0, "version", NULL, "show the version" },
    END_OF_OPTIONS,
};

const struct option_spec cli_json_options[] = {
    { 'J', "json", NULL, "print JSON, as the REST interface gives it" },
    END_OF_OPTIONS,
};

const struct option_spec cli_list_options[] = {
    { 'f', "format", "format", "view, csv, markdown or json" },
    { 'o', "output", "columns", "the columns to show, separated by commas" },
    { 's', "sort", "columns", "the columns to sort by, -column for descending order" },
    { 'F', "filter", "column=value", "only rows with this value (=~value: without it)" },
    { 'v', "verbose", NULL, "show all columns" },
    { 'R', "raw-units", NULL, "show capacities in bytes" },
    { 0, "no-header", NULL, "leave out the line of names" },
    END_OF_OPTIONS,
};

static const struct command commands[] = {
    {
        .path = "",
        .summary = "Encrypted filesystems whose keys your key server wraps",
    },
    {
        .path = "status",
        .summary = "Shows the instance, its KMS, its filesystems and its alerts",
        .prints_json = true,
        .run = cmd_status,
    },
    {
        .path = "security",
        .summary = "Key management",
    },
    {
        .path = "security kms",
        .summary = "Shows the KMS; its sub-commands check and change it",
        .prints_json = true,
        .run = cmd_kms_show,
    },
    {
        .path = "security kms set",
        .aliases = "add update",
        .summary = "Adds or updates the KMS, after checking that it works",
        .details =
            "The key must be there and the server must be reachable: coffer reads the key and "
            "wraps\nand unwraps a trial value before it stores anything. Filesystems whose keys "
            "it does not\nunwrap, but the KMS in use or a local key does, are wrapped anew by it. "
            "It is refused, and\nchanges nothing, if one that opens today would not open "
            "afterwards.\n\n"
            "With --convert-to-cluster-key-on-fs it also wraps the keys of filesystems that have a "
            "key of\ntheir own, which they have no longer then.\n\n"
            "A vault is logged in to with a token, with --role-id and a secret ID, or with "
            "--kubernetes-role.\nWithout an option that gives the token or the secret ID, and "
            "without -, it comes from\nCOFFER_KMS_TOKEN or COFFER_KMS_SECRET_ID (or "
            "WEKA_KMS_SECRET_ID), or is asked\nfor on the terminal.\n\n"
            "A KMIP server is logged in to with a client certificate and, where it wants that, "
            "with "
            "--username\nand a password, which comes from --password-file, - or "
            "COFFER_KMS_PASSWORD, or is asked for. gcm\nneeds KMIP 1.4 or later; keys that were "
            "wrapped in another mode are wrapped anew.\n\n"
            "Several addresses, separated by commas, are asked in this order until one answers.",
        .arguments = kms_set_arguments,
        .options = kms_set_options,
        .prints_json = true,
        .run = cmd_kms_set,
    },
    {
        .path = "security kms check",
        .summary = "Checks, step by step, all that is needed of the KMS",
        .details =
            "At each configured address: name, connection, TLS and certificates, login, "
            "permissions,\nkind, state and settings of the key, and a trial of it; then whether "
            "the keys of the\nfilesystems that it wrapped open. Nothing is changed on the "
            "server.\n\n"
            "The exit code tells the first failure: 3 unreachable, 4 TLS, 5 not serving (sealed, "
            "for\nexample), 6 login, 7 permission, 8 key or path missing, 9 key not usable, 10 "
            "answer without\nsense; 0 if there is none, also with warnings; 1 if the check could "
            "not be made.",
        .lists = true,
        .prints_json = true,
        .run = cmd_kms_check,
    },
    {
        .path = "security kms rewrap",
        .summary =
            "Wraps the keys of all filesystems with the new version of the key, or a new key",
        .details =
            "vault: after a rotation of the key in the KMS. kmip: make and activate a new key, and "
            "name it\nwith --new-key-uid; it becomes the configured one when all keys are wrapped "
            "by it.\n\n"
            "Each new wrapping is unwrapped and compared before it takes the place of the old one. "
            "What\nis interrupted goes on when the command is run again. Uploaded snapshots keep "
            "their old\nwrapping: the old key, or the old version, must stay.\n\n"
            "With --drop-previous what wrapped before does not wait for a later proof: when the "
            "new wrapping\nwas read back and unwrapped, it is destroyed in registry and store, "
            "with all key rings that were\nkept aside. A filesystem whose new wrapping does not "
            "open keeps what it has, and is named.\n\n"
            "Filesystems with a key of their own are left out, unless --all has each wrapped by "
            "that "
            "one, or\n--convert-to-cluster-key-on-fs all by the key of the KMS.",
        .options = kms_rewrap_options,
        .prints_json = true,
        .run = cmd_kms_rewrap,
    },
    {
        .path = "security kms unset",
        .aliases = "reset",
        .summary = "Removes the KMS, if it wraps no filesystem's key",
        .details = "With --allow-downgrade, local keys wrap the keys of all filesystems from then "
                   "on: files "
                   "below\nthe state folder of this host. Whoever can read them, or a copy of the "
                   "disk, can "
                   "read the\nfilesystems. Setting a KMS has it wrap them again.",
        .options = kms_unset_options,
        .prints_json = true,
        .run = cmd_kms_unset,
    },
    {
        .path = "security ca-cert",
        .summary = "The CA certificates that are trusted for a vault",
        .details = "Without any, a vault's certificate is checked against the system's CAs. That "
                   "of a KMIP\nserver is checked against --ca-cert of 'coffer security kms set'.",
    },
    {
        .path = "security ca-cert set",
        .aliases = "add update",
        .summary = "Sets them, in place of the system's",
        .options = ca_cert_set_options,
        .prints_json = true,
        .run = cmd_ca_cert_set,
    },
    {
        .path = "security ca-cert status",
        .aliases = "show",
        .summary = "Shows which they are and how long they are good for",
        .prints_json = true,
        .run = cmd_ca_cert_status,
    },
    {
        .path = "security ca-cert download",
        .summary = "Writes them as they were set, in PEM form",
        .options = ca_cert_download_options,
        .run = cmd_ca_cert_download,
    },
    {
        .path = "security ca-cert reset",
        .aliases = "unset remove",
        .summary = "Trusts the system's CAs again",
        .prints_json = true,
        .run = cmd_ca_cert_reset,
    },
    {
        .path = "fs",
        .aliases = "filesystem filesystems",
        .summary = "Lists the filesystems; its sub-commands change them",
        .lists = true,
        .prints_json = true,
        .run = cmd_fs_list,
    },
    {
        .path = "fs list",
        .aliases = "ls",
        .summary = "Lists the filesystems",
        .lists = true,
        .prints_json = true,
        .run = cmd_fs_list,
    },
    {
        .path = "fs add",
        .aliases = "create new",
        .summary = "Adds a filesystem with a new key, which the KMS wraps",
        .arguments = fs_add_arguments,
        .options = fs_add_options,
        .prints_json = true,
        .run = cmd_fs_add,
    },
    {
        .path = "fs download",
        .summary = "Makes a filesystem out of a snapshot in an object store",
        .details =
            "It is of use at once: what is not here yet is read from the object store, and "
            "brought in by the\nway, as long as the filesystem is started: by a task, which coffer "
            "task shows and pauses. Until all\nis here the object store is needed, and each start "
            "asks for it; the snapshot may be removed there,\nwhat is needed of it stays.\n\n"
            "The configured KMS must unwrap the snapshot's keys, which it wraps anew for the new "
            "filesystem;\nwhat is written gets a key of its own. No snapshot can be taken until "
            "names and attributes are here.",
        .arguments = fs_download_arguments,
        .options = fs_download_options,
        .prints_json = true,
        .run = cmd_fs_download,
    },
    {
        .path = "fs update",
        .summary = "Changes its capacity, its cache, or the key of the KMS that wraps its keys",
        .details =
            "A capacity counts at once, mounted or not; a filesystem that holds more takes nothing "
            "new until it\nholds less.\n\n"
            "Of its key, what is not given stays as it is; '' is that of the KMS. It works mounted "
            "and "
            "stopped. "
            "What wraps\nthe keys now must be there: they are unwrapped, wrapped anew, and "
            "compared, "
            "before anything is\nreplaced.\n\n"
            "With --kms-role-id the filesystem has a login of its own to a vault; else the login "
            "of "
            "the KMS must\nbe allowed to use its key. Filesystems with the same role and namespace "
            "share the secret ID that\nwas given last. --kms-secret-id or --kms-secret-id-file "
            "alone "
            "replaces it, when a login with the\nnew one went well. With --kms-role-id and neither "
            "of "
            "these, it comes from COFFER_KMS_SECRET_ID (or\nWEKA_KMS_SECRET_ID), or is asked for "
            "on "
            "the terminal.\n\n"
            "--object-store is for a downloaded filesystem that was adopted before all of it was "
            "here, or whose\nobject store has another name now.",
        .arguments = fs_name_arguments,
        .options = fs_update_options,
        .prints_json = true,
        .run = cmd_fs_update,
    },
    {
        .path = "fs mount",
        .summary = "Starts a filesystem and mounts it",
        .details =
            "mount -t coffer <name> <dir> does the same. Programs may write at once, and it comes "
            "back\nby itself after a restart. With --snapshot it mounts that one alone, read-only "
            "(mount "
            "-o\nsnapshot=NAME); up to 16 of a filesystem, whether it is mounted or not.",
        .arguments = fs_mount_arguments,
        .options = fs_mount_options,
        .run = cmd_fs_mount,
    },
    {
        .path = "fs umount",
        .aliases = "unmount",
        .summary = "Unmounts a filesystem and stops it; its key leaves the memory",
        .details = "Refused while a snapshot of it is mounted by itself. With --snapshot, or the "
                   "folder of such a\nmount, it unmounts that one; with the last mount the "
                   "filesystem stops.",
        .arguments = fs_umount_arguments,
        .options = fs_umount_options,
        .run = cmd_fs_umount,
    },
    {
        .path = "fs remove",
        .aliases = "delete destroy rm",
        .summary = "Removes a filesystem, its data and its wrapped key",
        .details = "The filesystem must not be mounted. Nothing brings it back.",
        .arguments = fs_name_arguments,
        .options = fs_remove_options,
        .run = cmd_fs_remove,
    },
    {
        .path = "fs adopt",
        .summary = "Brings a filesystem back whose entry in the registry was lost",
        .details =
            "Its key ring is read from the metadata and the store, and its key is unwrapped "
            "by the\nconfigured KMS. Its capacity was in the registry alone: it has no limit "
            "then. If another\nkey of that KMS wraps it, that stays the filesystem's own.\n\n"
            "When the KMS is lost too, a recovery copy of the keys opens it (coffer fs key "
            "export); the KMS\nthat is configured now wraps them anew.",
        .arguments = fs_adopt_arguments,
        .options = fs_adopt_options,
        .prints_json = true,
        .run = cmd_fs_adopt,
    },
    {
        .path = "fs check",
        .aliases = "fsck",
        .summary = "Compares metadata, data and counts; exit code 0 only without faults",
        .arguments = fs_name_arguments,
        .options = fs_check_options,
        .prints_json = true,
        .run = cmd_fs_check,
    },
#include "cli/commands_snapshots.inc"
    {
        .path = "fs key",
        .summary = "A filesystem's keys: a recovery copy, repair, those that came from others",
    },
    {
        .path = "fs key export",
        .summary = "Writes its keys, encrypted to a certificate whose private key is kept offline",
        .details = "Off unless cofferd runs with --allow-key-export. Whoever has the copy and a "
                   "private key of one\nof the certificates can open the filesystem for ever, "
                   "whatever becomes of the KMS: keep them\napart, and neither on this host. Each "
                   "copy is in the audit log.",
        .arguments = fs_name_arguments,
        .options = fs_key_export_options,
        .run = cmd_fs_key_export,
    },
    {
        .path = "fs key import",
        .summary = "Opens a filesystem with a recovery copy, and has its keys wrapped anew",
        .details = "The copy is opened here; its private key does not leave this command. The keys "
                   "are compared\nwith what is known of the filesystem's, and wrapped by the KMS "
                   "that is configured now, or by a\nlocal key with --allow-no-kms. If the private "
                   "key is in a token, have something else open the\ncopy, and pipe what it gives: "
                   "openssl cms -decrypt ... | coffer fs key import NAME -",
        .arguments = fs_key_import_arguments,
        .options = fs_key_import_options,
        .prints_json = true,
        .run = cmd_fs_key_import,
    },
    {
        .path = "fs key repair",
        .summary = "Gets a lost or damaged key ring back from an uploaded snapshot",
        .details = "For a filesystem whose ring opens neither in the registry nor in its store. It "
                   "must be one of that\nfilesystem, and verify with its superblock; the KMS "
                   "unwraps it.",
        .arguments = fs_key_repair_arguments,
        .options = fs_key_repair_options,
        .prints_json = true,
        .run = cmd_fs_key_repair,
    },
    {
        .path = "fs key drop-unused",
        .summary =
            "Takes keys of other filesystems that no data of it needs any more out of its ring",
        .details =
            "They came with a download, or with snapshots that were brought into it. It must "
            "be started, and\nmakes sure that nothing of it, in no snapshot either, is "
            "sealed under them. Uploaded snapshots\nhave what they need with them; a backup "
            "of its metadata from before may need what it drops.",
        .arguments = fs_name_arguments,
        .options = fs_key_drop_unused_options,
        .prints_json = true,
        .run = cmd_fs_key_drop_unused,
    },
    {
        .path = "fs kms-rewrap",
        .summary = "Wraps the key of one filesystem with the newest version of the configured key",
        .arguments = fs_name_arguments,
        .options = fs_kms_rewrap_options,
        .prints_json = true,
        .run = cmd_fs_kms_rewrap,
    },
    {
        .path = "fs tier",
        .summary = "Lists the object stores for snapshots; its sub-commands change them",
        .lists = true,
        .prints_json = true,
        .run = cmd_tier_list,
    },
    {
        .path = "fs tier check",
        .summary = "Tries an object store, with an object of its own",
        .arguments = tier_store_arguments,
        .prints_json = true,
        .run = cmd_tier_check,
    },
    {
        .path = "fs tier ops",
        .summary = "Lists who uses an object store: uploads, snapshots, downloads, removals",
        .details = "Every instance that shares it says here what it needs. With --expire one is "
                   "forgotten whose\nowner is dead for certain: nobody can tell a dead one from a "
                   "slow one.",
        .arguments = tier_store_arguments,
        .options = tier_ops_options,
        .lists = true,
        .prints_json = true,
        .run = cmd_tier_ops,
    },
    {
        .path = "fs tier clean",
        .summary = "Removes from an object store what nobody needs any more",
        .details = "What uploads left that were aborted or expired. A removal of a snapshot does "
                   "the same.\nA task does it.",
        .arguments = tier_store_arguments,
        .options = tier_clean_options,
        .prints_json = true,
        .run = cmd_tier_clean,
    },
#define UPLOADED "fs tier snapshot"
#include "cli/commands_uploaded.inc"
#undef UPLOADED
    {
        .path = "fs tier s3",
        .summary = "Lists those behind the S3 protocol",
        .lists = true,
        .prints_json = true,
        .run = cmd_tier_s3_list,
    },
    {
        .path = "fs tier s3 add",
        .aliases = "create new",
        .summary = "Adds a bucket, after trying that it works",
        .details = "The bucket must be there. What coffer relies on is tried with an object of its "
                   "own: that a put\n"
                   "never overwrites, that the list shows it at once, that it can be removed. The "
                   "secret key is asked\n"
                   "for, if neither an option nor COFFER_S3_SECRET_KEY gives it; cofferd keeps it "
                   "in a file of its own.",
        .arguments = tier_s3_add_arguments,
        .options = tier_s3_options,
        .prints_json = true,
        .run = cmd_tier_s3_add,
    },
    {
        .path = "fs tier s3 update",
        .summary = "Changes what is given of a bucket, after trying that it works",
        .arguments = tier_s3_arguments,
        .options = tier_s3_options,
        .prints_json = true,
        .run = cmd_tier_s3_update,
    },
    {
        .path = "fs tier s3 remove",
        .aliases = "delete rm",
        .summary = "Forgets a bucket; what lies in it stays",
        .arguments = tier_store_arguments,
        .options = tier_remove_options,
        .run = cmd_tier_remove,
    },
#define UPLOADED "fs tier s3 snapshot"
#include "cli/commands_uploaded.inc"
#undef UPLOADED
    {
        .path = "fs tier dir",
        .summary = "Lists those that are folders",
        .lists = true,
        .prints_json = true,
        .run = cmd_tier_dir_list,
    },
    {
        .path = "fs tier dir add",
        .aliases = "create new",
        .summary = "Adds a folder, after trying that it works",
        .details =
            "A disk, or what is mounted there, as NFS. The path is one of the host of cofferd.",
        .arguments = tier_add_arguments,
        .options = tier_dir_options,
        .prints_json = true,
        .run = cmd_tier_dir_add,
    },
    {
        .path = "fs tier dir update",
        .summary = "Changes what is given of a folder, after trying that it works",
        .arguments = tier_store_arguments,
        .options = tier_dir_options,
        .prints_json = true,
        .run = cmd_tier_dir_update,
    },
    {
        .path = "fs tier dir remove",
        .aliases = "delete rm",
        .summary = "Forgets a folder; what lies in it stays",
        .arguments = tier_store_arguments,
        .options = tier_remove_options,
        .run = cmd_tier_remove,
    },
    {
        .path = "task",
        .aliases = "tasks",
        .summary = "Lists the work that takes long; its sub-commands change it",
        .details = "What goes on and what ended last. One that waits says for what, and goes on by "
                   "itself, also\nafter a restart of cofferd or of the host.",
        .lists = true,
        .prints_json = true,
        .run = cmd_task_list,
    },
    {
        .path = "task show",
        .summary = "Shows a task",
        .arguments = task_arguments,
        .prints_json = true,
        .run = cmd_task_show,
    },
    {
        .path = "task wait",
        .summary = "Waits until a task has ended, and shows its result",
        .details = "Exit code 0 if it is done, 1 if it failed or was aborted.",
        .arguments = task_arguments,
        .prints_json = true,
        .run = cmd_task_wait,
    },
    {
        .path = "task pause",
        .summary = "Stops a task until it is resumed; what it has done is kept",
        .arguments = task_arguments,
        .prints_json = true,
        .run = cmd_task_pause,
    },
    {
        .path = "task resume",
        .summary = "Has a paused task go on, and one that waits try at once",
        .arguments = task_arguments,
        .prints_json = true,
        .run = cmd_task_resume,
    },
    {
        .path = "task abort",
        .summary = "Ends a task, and takes away what it left",
        .details =
            "A download is not aborted, as its filesystem needs the rest: pause it, or remove "
            "the filesystem.",
        .arguments = task_arguments,
        .options = task_abort_options,
        .prints_json = true,
        .run = cmd_task_abort,
    },
    {
        .path = "alerts",
        .aliases = "alert",
        .summary = "Lists what needs attention, and what to do about it",
        .options = alerts_options,
        .lists = true,
        .prints_json = true,
        .run = cmd_alerts,
    },
    {
        .path = "alerts types",
        .summary = "Lists the types of alerts, what each means and what to do",
        .lists = true,
        .prints_json = true,
        .run = cmd_alert_types,
    },
    {
        .path = "alerts mute",
        .summary = "Hides the alerts of a type for a time",
        .details = "They go on to rise and clear, and to be events.",
        .arguments = alert_mute_arguments,
        .options = alert_mute_options,
        .run = cmd_alert_mute,
    },
    {
        .path = "alerts unmute",
        .summary = "Shows the alerts of a type again",
        .arguments = alert_unmute_arguments,
        .run = cmd_alert_unmute,
    },
    {
        .path = "events",
        .aliases = "event",
        .summary = "Shows what happened, the newest last",
        .details = "The newest 10000 events are kept. --filter chooses among those that are shown.",
        .options = events_options,
        .lists = true,
        .prints_json = true,
        .run = cmd_events,
    },
    {
        .path = "audit",
        .summary = "Shows what was done to keys, by whom and with which key, the newest last",
        .details = "--filter chooses among those that are shown. --verbose shows hashes, too.",
        .options = audit_options,
        .lists = true,
        .prints_json = true,
        .run = cmd_audit,
    },
    {
        .path = "audit verify",
        .summary = "Proves that the audit log is whole and unaltered",
        .details = "Exit code 0 only if it is. It prints the newest entry's number and hash: kept "
                   "on another\nhost and given here later, they prove that nothing before was "
                   "replaced or cut off.",
        .arguments = audit_verify_arguments,
        .options = audit_verify_options,
        .prints_json = true,
        .run = cmd_audit_verify,
    },
    {
        .path = "audit archive",
        .summary = "Moves the older entries of the audit log into a file",
        .details =
            "The file is written, read back and verified first; then an entry that names its "
            "last one takes\ntheir place, so that the chain goes on. 'coffer audit verify "
            "--archive' proves the file, also\nwithout cofferd (--offline). Keep it as long "
            "as the log has to be kept.",
        .options = audit_archive_options,
        .run = cmd_audit_archive,
    },
    {
        .path = "user",
        .aliases = "users",
        .summary = "Lists who may log in over HTTPS; its sub-commands change them",
        .details =
            "ClusterAdmin may do everything. KeyAdmin sees everything, and may change which "
            "keys wrap, and the\nKMS. Regular sees everything, and may start, stop and check "
            "filesystems. ReadOnly sees everything.\nOn this host, root and the owner of "
            "the instance need no user.",
        .lists = true,
        .prints_json = true,
        .run = cmd_user_list,
    },
    {
        .path = "user add",
        .aliases = "create new",
        .summary = "Lets somebody log in",
        .details = "The password comes from --password-file, from standard input with -, from "
                   "COFFER_USER_PASSWORD,\nor is asked for. It has 10 to 256 characters.",
        .arguments = user_password_arguments,
        .options = user_add_options,
        .prints_json = true,
        .run = cmd_user_add,
    },
    {
        .path = "user remove",
        .aliases = "delete destroy rm",
        .summary = "Lets somebody log in no more, and ends his sessions",
        .arguments = user_arguments,
        .run = cmd_user_remove,
    },
    {
        .path = "user passwd",
        .summary = "Gives a user a new password, and ends his sessions",
        .details = "The password comes from --password-file, from standard input with -, from "
                   "COFFER_USER_PASSWORD,\nor is asked for. A user who is locked after wrong "
                   "passwords is so no more.",
        .arguments = user_password_arguments,
        .options = user_passwd_options,
        .run = cmd_user_passwd,
    },
    {
        .path = "user update",
        .summary = "Gives a user another role, from his next request on",
        .arguments = user_arguments,
        .options = user_update_options,
        .prints_json = true,
        .run = cmd_user_update,
    },
    {
        .path = "help",
        .summary = "Shows how a command is used",
        .arguments = help_arguments,
        .run = cmd_help,
    },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

const struct command *cli_commands(size_t *ret_count)
{
    *ret_count = N_COMMANDS;
    return commands;
}

const struct command *cli_command_find(const char *path)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].path, path) == 0)
            return &commands[i];
    }
    return NULL;
}

void cli_option_tables(const struct command *command, struct option_tables *ret)
{
    *ret = (struct option_tables){ .count = 0 };
    if (command->options)
        ret->tables[ret->count++] = command->options;
    if (command->lists)
        ret->tables[ret->count++] = cli_list_options;
    if (command->prints_json)
        ret->tables[ret->count++] = cli_json_options;
    ret->tables[ret->count++] = cli_common_options;
}

const char *cli_last_word(const struct command *command)
{
    const char *blank = strrchr(command->path, ' ');

    return blank ? blank + 1 : command->path;
}

const struct command *cli_next_child(const struct command *parent, const struct command *before)
{
    size_t len = strlen(parent->path);

    for (const struct command *c = before ? before + 1 : commands; c < commands + N_COMMANDS; c++) {
        const char *rest = c->path + len;
        if (c == parent || strncmp(c->path, parent->path, len) != 0)
            continue;
        if (len > 0 && *rest++ != ' ')
            continue;
        if (*rest != '\0' && !strchr(rest, ' '))
            return c;
    }
    return NULL;
}

static bool is_alias(const char *aliases, const char *word)
{
    size_t len = strlen(word);

    while (aliases && *aliases != '\0') {
        size_t alias_len = strcspn(aliases, " ");
        if (alias_len == len && memcmp(aliases, word, len) == 0)
            return true;
        aliases += alias_len + (aliases[alias_len] == ' ');
    }
    return false;
}

const struct command *cli_child(const struct command *parent, const char *word)
{
    for (const struct command *c = cli_next_child(parent, NULL); c; c = cli_next_child(parent, c)) {
        if (strcmp(cli_last_word(c), word) == 0 || is_alias(c->aliases, word))
            return c;
    }
    return NULL;
}
