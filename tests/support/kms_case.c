#include "tests/support/kms_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file_io.h"
#include "tests/support/cmocka_all.h"

int kms_case_setup(void **state)
{
    struct servers *servers = calloc(1, sizeof(*servers));
    void *fixture = NULL;

    (void)control_case_setup(&fixture);
    servers->fixture = fixture;
    servers->a = fake_transit_start();
    servers->b = fake_transit_start();
    *state = servers;
    return 0;
}

int kms_case_teardown(void **state)
{
    struct servers *servers = *state;
    void *fixture = servers->fixture;

    (void)control_case_teardown(&fixture);
    fake_transit_stop(servers->a);
    fake_transit_stop(servers->b);
    free(servers);
    return 0;
}

static int set_reported(struct servers *servers, const struct fake_transit *server, bool converts,
                        struct kms_set_report *ret, struct error *err)
{
    static const char token[] = "token";
    CLEANUP(key_provider_config_release)
    struct key_provider_config config = { .type = "vault", .key_name = FAKE_KEY };
    const struct kms_set_options options = { .config = &config, .converts = converts };
    struct kms_status status;

    (void)snprintf(config.addresses, sizeof(config.addresses), "%s", fake_transit_url(server));
    assert_int_equal(secret_assign(&config.token, (struct bytes){ .data = (const uint8_t *)token,
                                                                  .len = strlen(token) }),
                     0);
    return control_kms_set(servers->fixture->control, &options, &status, ret, err);
}

int set_as(struct servers *servers, const struct fake_transit *server, bool converts,
           struct error *err)
{
    CLEANUP(kms_set_report_release) struct kms_set_report report;

    return set_reported(servers, server, converts, &report, err);
}

void must_set_with(struct servers *servers, const struct fake_transit *server,
                   struct kms_set_report *ret)
{
    struct error err = { .code = 0 };

    must(set_reported(servers, server, false, ret, &err), &err);
}

int set(struct servers *servers, const struct fake_transit *server, struct error *err)
{
    return set_as(servers, server, false, err);
}

void must_set(struct servers *servers, const struct fake_transit *server)
{
    struct error err = { .code = 0 };

    must(set(servers, server, &err), &err);
}

int rewrap(struct servers *servers, struct rewrap_report *ret, struct error *err)
{
    struct rewrap_options options = { .is_rotation = true };

    return control_kms_rewrap(servers->fixture->control, &options, ret, err);
}

/* 0 only if none failed. */
int rewrap_all(struct servers *servers, struct error *err)
{
    CLEANUP(rewrap_report_release) struct rewrap_report report = { .count = 0 };
    int r = rewrap(servers, &report, err);

    return r == 0 && report.failed > 0 ? error_set(err, -EIO, "%s", report.rows[0].text) : r;
}

void must_rewrap(struct servers *servers)
{
    struct error err = { .code = 0 };

    must(rewrap_all(servers, &err), &err);
}

const char *const names[N_NAMES] = { "one", "two", "three" };

void add_all(struct servers *servers)
{
    for (size_t i = 0; i < N_NAMES; i++)
        must_add(servers->fixture, names[i]);
}

/* Each is started by what wraps its key now, and stopped again. */
void all_open(struct servers *servers)
{
    for (size_t i = 0; i < N_NAMES; i++) {
        must_start(servers->fixture, names[i]);
        must_stop(servers->fixture, names[i]);
    }
}

void all_wrapped(struct servers *servers, const char *type, uint32_t version)
{
    for (size_t i = 0; i < N_NAMES; i++) {
        struct fs_view view = view_of(servers->fixture, names[i]);
        assert_string_equal(view.kms_type, type);
        assert_int_equal(view.kms_key_version, version);
    }
}

size_t count_events(struct fixture *fixture, const char *type)
{
    struct events_query query = { .journal = { .limit = 1, .type = type },
                                  .level = LOG_LEVEL_INFO };
    CLEANUP(free_ptr) struct event *events = NULL;
    size_t count = 0;

    assert_int_equal(events_list(control_events(fixture->control), &query, &events, &count, NULL),
                     0);
    return count;
}

void wait_event(struct fixture *fixture, const char *type)
{
    int64_t until = clock_monotonic_ms() + PATIENCE_MS;

    while (count_events(fixture, type) == 0) {
        assert_true(clock_monotonic_ms() < until);
        clock_sleep_ms(10);
    }
}

bool has_previous(struct servers *servers, const char *name)
{
    struct fs_view view = view_of(servers->fixture, name);
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf encoded = BUF_INIT;

    assert_int_equal(
        registry_get_ring(servers->fixture->control->registry, &view.uuid, &encoded, NULL), 0);
    assert_int_equal(key_ring_peek(buf_bytes(&encoded), &ring, NULL), 0);
    return ring.generations[0].has_previous;
}

void must_have_ring(struct servers *servers, const char *name, struct buf *ret)
{
    struct fs_view view = view_of(servers->fixture, name);
    struct error err = { .code = 0 };

    must(registry_get_ring(servers->fixture->control->registry, &view.uuid, ret, &err), &err);
}

/* Whether what wraps the first generation of that ring is in the registry's file, or what is left
 * of an earlier one. */
bool registry_file_holds(struct servers *servers, const struct buf *encoded)
{
    CLEANUP(key_ring_release) struct key_ring ring = KEY_RING_INIT;
    CLEANUP(buf_release) struct buf file = BUF_INIT;
    struct error err = { .code = 0 };
    char path[128];

    must(key_ring_peek(buf_bytes(encoded), &ring, &err), &err);
    const struct wrapped_key *wrapped = &ring.generations[0].current.key;
    (void)snprintf(path, sizeof(path), "%s/registry/metadata.mdb", servers->fixture->state_dir);
    must(file_read(path, 256u << 20, &file, &err), &err);
    return memmem(file.data, file.len, wrapped->blob, wrapped->blob_len) != NULL;
}
