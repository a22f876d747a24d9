/* cli.h - the commands of coffer: one table (commands.c), one file for each group.
 *
 * A command is found by its words ("fs add", or by an alias, "filesystem create"), its options
 * and words are checked against its tables, and its function does the work through the REST
 * interface of cofferd (client.h). Results go to standard output; every change tells its success
 * in one line. A failure is one sentence on standard error that ends in what to do.
 *
 * Errors     exit code 0 for success only, 1 for a failure, 2 for a command line that cannot be
 *            understood; a command may tell kinds of failures apart by codes of its own from 3 on.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cli/options.h"
#include "cli/table.h"
#include "host/instance.h"

struct argument_spec {
    const char *name; /* NULL ends the table */
    const char *help;
    bool optional;
};

struct cli;

struct command {
    const char *path;    /* the words that call it: "fs add"; "" is coffer itself */
    const char *aliases; /* other words for the last one, separated by blanks; or NULL */
    const char *summary; /* one line */
    const char *details; /* what a person needs to know before he calls it, or NULL */
    const struct argument_spec *arguments;          /* or NULL */
    const struct option_spec *options;              /* or NULL */
    bool lists;                                     /* takes the options of lists */
    bool prints_json;                               /* takes --json */
    int (*run)(struct cli *cli, struct error *err); /* NULL: only a group, shows its help */
};

struct cli {
    const struct command *command;
    struct arguments arguments;
    struct table_request list;
    struct instance instance;
    bool json;
    int exit_code; /* that the command wants; 0: the usual one */
};

/* The table; *ret_count entries. A command stands behind its group. */
const struct command *cli_commands(size_t *ret_count);
const struct command *cli_command_find(const char *path);

/* The options that every command has, and those of lists. */
extern const struct option_spec cli_common_options[];
extern const struct option_spec cli_json_options[];
extern const struct option_spec cli_list_options[];
void cli_option_tables(const struct command *command, struct option_tables *ret);

/* NULL: the command has no such child. Aliases count. */
const struct command *cli_child(const struct command *parent, const char *word);
/* The children of a command, one after the other: start with NULL. */
const struct command *cli_next_child(const struct command *parent, const struct command *before);
const char *cli_last_word(const struct command *command);

/* The word at this place, or NULL. */
const char *cli_word(const struct cli *cli, size_t index);

/* The instance that the options, the environment or the defaults name. */
int cli_instance(const struct arguments *arguments, struct instance *ret, struct error *err);

/* Prints for people. Control characters that came from elsewhere, a key server's message for
 * example, could command the terminal: they become '?'. */
void cli_print(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Others of this host can read our arguments for as long as we run: those that are secret, and were
 * read, are overwritten. */
void cli_hide_secrets(struct cli *cli);

int cli_print_json(const json_t *value, struct error *err);
void cli_print_help(const struct command *command, FILE *out);

/* "Its key is wrapped by ...", of a filesystem as the API describes it. */
void cli_print_wrapped_by(const json_t *filesystem);

/* The keys in a recovery copy (file, or "-": standard input), opened here with --recipient-key, and
 * what goes with them. */
int cli_put_recovery_copy(const struct cli *cli, const char *file, json_t *body, struct error *err);

/* Which keys nothing known needs any more, as the API tells it; NULL: it does not. */
void cli_print_unneeded(const json_t *unneeded);
/* Keys of other filesystems that stay wrapped by a KMS that was left: here, and not in an event
 * alone, as who reads this may be about to take that KMS away. */
void cli_print_keys_left(const json_t *left);

/* Another KMS than the configured one, with the options of "security kms set" that log in to it. */
int cli_put_kms(struct cli *cli, const char *type, const char *address, const char *key,
                json_t *body, struct error *err);

/* cmd_tier.c: which object store is meant, as --object-store or --site says, or nothing. */
int cli_put_store(const struct cli *cli, json_t *body, struct error *err);

/* Asks on the terminal whether to go on. True without asking if there is no terminal. */
bool cli_confirm(const char *question);

/* What bash calls for completion: coffer __complete WORD..., the last one to be completed.
 * Prints one candidate a line; filesystems are asked of the instance. */
#define CLI_COMPLETE_WORD "__complete"
int cli_complete(int n_words, char **words);

/* Runs one command line and returns the exit code. */
int cli_main(int argc, char **argv);

/* mount.coffer: the helper that mount(8) calls. */
int mount_helper_main(int argc, char **argv);

/* What the commands of object stores take; cmd_tier.c. */
extern const struct option_spec tier_s3_options[];
extern const struct option_spec tier_dir_options[];
extern const struct option_spec tier_remove_options[];
extern const struct argument_spec tier_add_arguments[];
extern const struct argument_spec tier_store_arguments[];
extern const struct argument_spec tier_s3_add_arguments[];
extern const struct argument_spec tier_s3_arguments[];
/* cmd_tier_snapshot.c */
extern const struct argument_spec tier_snapshot_arguments[];
extern const struct option_spec tier_snapshot_list_options[];
extern const struct option_spec tier_ops_options[];
extern const struct option_spec tier_snapshot_remove_options[];
extern const struct option_spec tier_clean_options[];

/* The commands, by file. */
int cmd_status(struct cli *cli, struct error *err);
int cmd_help(struct cli *cli, struct error *err);
int cmd_fs_update(struct cli *cli, struct error *err);
int cmd_fs_key_repair(struct cli *cli, struct error *err);
int cmd_fs_key_drop_unused(struct cli *cli, struct error *err);
int cmd_fs_key_export(struct cli *cli, struct error *err);
int cmd_fs_key_import(struct cli *cli, struct error *err);
int cmd_kms_show(struct cli *cli, struct error *err);
int cmd_kms_set(struct cli *cli, struct error *err);
int cmd_tier_list(struct cli *cli, struct error *err);
int cmd_tier_s3_list(struct cli *cli, struct error *err);
int cmd_tier_s3_add(struct cli *cli, struct error *err);
int cmd_tier_s3_update(struct cli *cli, struct error *err);
int cmd_tier_dir_list(struct cli *cli, struct error *err);
int cmd_tier_dir_add(struct cli *cli, struct error *err);
int cmd_tier_dir_update(struct cli *cli, struct error *err);
int cmd_tier_remove(struct cli *cli, struct error *err);
int cmd_tier_check(struct cli *cli, struct error *err);
int cmd_tier_snapshot_list(struct cli *cli, struct error *err);
int cmd_tier_snapshot_remove(struct cli *cli, struct error *err);
int cmd_upload_verify(struct cli *cli, struct error *err);
int cmd_uploads_rewrap(struct cli *cli, struct error *err);
int cmd_tier_ops(struct cli *cli, struct error *err);
int cmd_tier_clean(struct cli *cli, struct error *err);
int cmd_ca_cert_set(struct cli *cli, struct error *err);
int cmd_ca_cert_status(struct cli *cli, struct error *err);
int cmd_ca_cert_download(struct cli *cli, struct error *err);
int cmd_ca_cert_reset(struct cli *cli, struct error *err);
int cmd_kms_check(struct cli *cli, struct error *err);
int cmd_events(struct cli *cli, struct error *err);
int cmd_alerts(struct cli *cli, struct error *err);
int cmd_alert_types(struct cli *cli, struct error *err);
int cmd_alert_mute(struct cli *cli, struct error *err);
int cmd_alert_unmute(struct cli *cli, struct error *err);
int cmd_user_list(struct cli *cli, struct error *err);
int cmd_user_add(struct cli *cli, struct error *err);
int cmd_user_remove(struct cli *cli, struct error *err);
int cmd_user_passwd(struct cli *cli, struct error *err);
int cmd_user_update(struct cli *cli, struct error *err);
int cmd_audit(struct cli *cli, struct error *err);
int cmd_audit_verify(struct cli *cli, struct error *err);
int cmd_audit_archive(struct cli *cli, struct error *err);
int cmd_kms_rewrap(struct cli *cli, struct error *err);
int cmd_kms_unset(struct cli *cli, struct error *err);
int cmd_fs_list(struct cli *cli, struct error *err);
int cmd_fs_add(struct cli *cli, struct error *err);
int cmd_fs_download(struct cli *cli, struct error *err);
int cmd_fs_remove(struct cli *cli, struct error *err);
int cmd_fs_adopt(struct cli *cli, struct error *err);
int cmd_fs_check(struct cli *cli, struct error *err);
int cmd_fs_kms_rewrap(struct cli *cli, struct error *err);
int cmd_fs_mount(struct cli *cli, struct error *err);
int cmd_fs_umount(struct cli *cli, struct error *err);
int cmd_fs_snapshot_list(struct cli *cli, struct error *err);
int cmd_fs_snapshot_add(struct cli *cli, struct error *err);
int cmd_fs_snapshot_update(struct cli *cli, struct error *err);
int cmd_fs_snapshot_remove(struct cli *cli, struct error *err);
int cmd_fs_snapshot_diff(struct cli *cli, struct error *err);
int cmd_fs_restore(struct cli *cli, struct error *err);
int cmd_snapshot_policy_list(struct cli *cli, struct error *err);
int cmd_snapshot_policy_show(struct cli *cli, struct error *err);
int cmd_snapshot_policy_add(struct cli *cli, struct error *err);
int cmd_snapshot_policy_update(struct cli *cli, struct error *err);
int cmd_snapshot_policy_remove(struct cli *cli, struct error *err);
int cmd_snapshot_policy_attach(struct cli *cli, struct error *err);
int cmd_snapshot_policy_detach(struct cli *cli, struct error *err);
int cmd_snapshot_policy_run_once(struct cli *cli, struct error *err);
int cmd_fs_snapshot_upload(struct cli *cli, struct error *err);
int cmd_fs_snapshot_download(struct cli *cli, struct error *err);
int cmd_task_list(struct cli *cli, struct error *err);
int cmd_task_show(struct cli *cli, struct error *err);
int cmd_task_pause(struct cli *cli, struct error *err);
int cmd_task_resume(struct cli *cli, struct error *err);
int cmd_task_abort(struct cli *cli, struct error *err);
int cmd_task_wait(struct cli *cli, struct error *err);
