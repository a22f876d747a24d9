#include "tests/support/download_case.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crypto/random.h"
#include "tests/support/cmocka_all.h"

static int look_again(const struct removing_mark *mark, void *arg)
{
    (void)mark;
    (void)arg;
    return sched_yield();
}

/* Its own key, and all of the origin's as foreign ones. */
static void join_keys(struct key_set *to, const struct volume_case *origin)
{
    const struct key_set *keys = &origin->keys;

    for (uint32_t i = 0; i < keys->count; i++)
        assert_int_equal(
            key_set_add_foreign(to, &origin->uuid, keys->generations[i], &keys->keys[i]), 0);
    for (uint32_t i = 0; i < keys->foreign_count; i++)
        assert_int_equal(key_set_add_foreign(to, &keys->foreign[i].origin,
                                             keys->foreign[i].generation, &keys->foreign[i].key),
                         0);
}

void download_case_use(struct download_case *d, struct object_store *store)
{
    assert_int_equal(bucket_init(&d->bucket, store, "", NULL), 0);
    d->place = (struct download_place){ .bucket = &d->bucket, .patience_ms = 300 };
    d->volume.open_origin = download_open;
    d->volume.origin_arg = &d->place;
}

int download_case_try(struct download_case *ret, const struct volume_case *origin,
                      struct object_store *store, const struct locator *locator, struct error *err)
{
    struct volume_config config;
    struct download download;

    volume_case_prepare(&ret->volume, origin->block_size, NULL);
    join_keys(&ret->volume.keys, origin);
    random_uuid(&ret->reference);
    download_case_use(ret, store);
    const struct download_config prepare = { .bucket = &ret->bucket,
                                             .locator = *locator,
                                             .keys = &origin->keys,
                                             .fs = ret->volume.uuid,
                                             .instance = ret->volume.owner,
                                             .reference = ret->reference,
                                             .now_ns = 99,
                                             .wait = { look_again, NULL } };
    int r = download_prepare(&prepare, &download, err);
    if (r < 0)
        return r;
    volume_case_config(&ret->volume, &config);
    const struct volume_inheritance inheritance = download_inheritance(&download);
    r = volume_format_inherited(&config, &inheritance, err);
    download_release(&download);
    return r;
}

void download_case_new(struct download_case *ret, struct transfer_case *from,
                       const struct locator *locator, struct object_store *store)
{
    struct error err = { .code = 0 };

    if (download_case_try(ret, &from->volume, store ? store : from->store, locator, &err) != 0)
        fail_msg("%s", err.text);
    download_case_open(ret);
}

void download_case_open(struct download_case *d)
{
    d->place.starts_paused = true;
    volume_case_open(&d->volume);
}

void download_case_reopen(struct download_case *d)
{
    volume_case_close(&d->volume);
    download_case_open(d);
}

void download_case_go(struct download_case *d)
{
    volume_origin_pause(d->volume.volume, false);
}

void download_case_pause(struct download_case *d)
{
    volume_origin_pause(d->volume.volume, true);
}

static void wait_a_little(void)
{
    const struct timespec moment = { .tv_nsec = 1000000 };

    (void)nanosleep(&moment, NULL);
}

void download_case_finish(struct download_case *d)
{
    struct origin_progress progress;

    download_case_go(d);
    while (volume_origin_progress(d->volume.volume, &progress))
        wait_a_little();
}

void download_case_wait_records(struct download_case *d)
{
    struct origin_progress progress;

    download_case_go(d);
    while (volume_origin_progress(d->volume.volume, &progress) &&
           progress.chunks_done < progress.chunks)
        wait_a_little();
}

void download_case_end(struct download_case *d)
{
    volume_case_end(&d->volume);
}
