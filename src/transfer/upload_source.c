#include "transfer/upload_source.h"

static struct volume_export *export_of(struct upload_source *source)
{
    return ((struct volume_source *)source)->export;
}

static int records(struct upload_source *source, export_visit_fn *visit, void *arg,
                   struct error *err)
{
    return volume_export_records(export_of(source), visit, arg, err);
}

static int blocks(struct upload_source *source, struct run_list *ret, struct error *err)
{
    return volume_export_blocks(export_of(source), ret, err);
}

static int locate(struct upload_source *source, const struct block_run *run,
                  struct block_run *ret_front, struct block_identity *ret_identity,
                  struct error *err)
{
    return volume_export_locate(export_of(source), run, ret_front, ret_identity, err);
}

static int read_blocks(struct upload_source *source, const struct block_run *run,
                       const struct block_identity *identity, uint8_t *to, struct error *err)
{
    return volume_export_read(export_of(source), run, identity, to, err);
}

static const struct upload_source_ops volume_ops = { records, blocks, locate, read_blocks };

void volume_source_init(struct volume_source *source, struct volume_export *export)
{
    const struct volume_snapshot *snapshot = volume_export_snapshot(export);

    *source = (struct volume_source){
        .base = { .ops = &volume_ops,
                  .epoch = snapshot->epoch,
                  .created_ns = (uint64_t)snapshot->created_ns,
                  .block_size = volume_export_block_size(export),
                  .snapshot = snapshot->name,
                  .access_point = snapshot->access_point },
        .export = export,
    };
}
