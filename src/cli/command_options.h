/* command_options.h - the options and words that the commands of commands.c take. Those of object
 * stores stand beside their functions, in cmd_tier.c.
 */
#pragma once

#include "cli/cli.h"

extern const struct option_spec kms_set_options[];
extern const struct option_spec user_add_options[];
extern const struct option_spec user_passwd_options[];
extern const struct option_spec user_update_options[];
extern const struct argument_spec user_arguments[];
extern const struct argument_spec user_password_arguments[];
extern const struct option_spec ca_cert_set_options[];
extern const struct option_spec ca_cert_download_options[];
extern const struct argument_spec kms_set_arguments[];
extern const struct option_spec kms_rewrap_options[];
extern const struct option_spec fs_kms_rewrap_options[];
extern const struct argument_spec fs_key_repair_arguments[];
extern const struct option_spec fs_key_repair_options[];
extern const struct option_spec fs_key_drop_unused_options[];
extern const struct argument_spec upload_verify_arguments[];
extern const struct option_spec upload_verify_options[];
extern const struct option_spec uploads_rewrap_options[];
extern const struct argument_spec uploads_rewrap_arguments[];
extern const struct option_spec kms_unset_options[];
extern const struct option_spec fs_add_options[];
extern const struct option_spec fs_update_options[];
extern const struct argument_spec fs_add_arguments[];
extern const struct argument_spec fs_download_arguments[];
extern const struct option_spec fs_download_options[];
extern const struct option_spec fs_mount_options[];
extern const struct argument_spec fs_mount_arguments[];
extern const struct argument_spec fs_umount_arguments[];
extern const struct option_spec fs_umount_options[];
extern const struct option_spec fs_remove_options[];
extern const struct argument_spec fs_name_arguments[];
extern const struct argument_spec fs_adopt_arguments[];
extern const struct option_spec fs_adopt_options[];
extern const struct option_spec fs_key_export_options[];
extern const struct argument_spec fs_key_import_arguments[];
extern const struct option_spec fs_key_import_options[];
extern const struct option_spec fs_check_options[];
extern const struct option_spec events_options[];
extern const struct option_spec audit_options[];
extern const struct argument_spec audit_verify_arguments[];
extern const struct option_spec audit_verify_options[];
extern const struct option_spec audit_archive_options[];
extern const struct option_spec alerts_options[];
extern const struct argument_spec alert_mute_arguments[];
extern const struct option_spec alert_mute_options[];
extern const struct argument_spec alert_unmute_arguments[];
extern const struct argument_spec help_arguments[];
extern const struct argument_spec snapshot_arguments[];
extern const struct option_spec snapshot_list_options[];
extern const struct option_spec snapshot_add_options[];
extern const struct option_spec snapshot_update_options[];
extern const struct option_spec snapshot_remove_options[];
extern const struct argument_spec snapshot_diff_arguments[];
extern const struct argument_spec restore_arguments[];
extern const struct option_spec restore_options[];
extern const struct argument_spec policy_arguments[];
extern const struct argument_spec policy_attach_arguments[];
extern const struct option_spec policy_schedule_options[];
extern const struct option_spec snapshot_upload_options[];
extern const struct argument_spec snapshot_download_arguments[];
extern const struct option_spec snapshot_download_options[];
extern const struct argument_spec task_arguments[];
extern const struct option_spec task_abort_options[];
