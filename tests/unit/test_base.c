/* Encodings, identifiers and bounded readers: round trips and refusals; work on several threads. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/encoding.h"
#include "base/parallel.h"
#include "base/thread.h"
#include "base/thread_group.h"
#include "base/uuid.h"
#include "base/wire.h"

/* RFC 4648, section 10. */
static void base64_follows_the_published_vectors(void **state)
{
    static const char *const vectors[][2] = {
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" },
    };
    char encoded[16];
    uint8_t decoded[8];
    size_t len;
    (void)state;

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct bytes plain = { (const uint8_t *)vectors[i][0], strlen(vectors[i][0]) };
        base64_encode(plain, encoded);
        assert_string_equal(encoded, vectors[i][1]);
        assert_int_equal(base64_decode(encoded, strlen(encoded), decoded, 8, &len), 0);
        assert_int_equal(len, plain.len);
        assert_memory_equal(decoded, plain.data, len);
    }
}

static void base64_refuses_what_is_not_base64(void **state)
{
    uint8_t decoded[8];
    size_t len;
    (void)state;

    assert_int_equal(base64_decode("Zg=", 3, decoded, 8, &len), -EINVAL);
    assert_int_equal(base64_decode("Z g=", 4, decoded, 8, &len), -EINVAL);
    assert_int_equal(base64_decode("=Zg=", 4, decoded, 8, &len), -EINVAL);
    assert_int_equal(base64_decode("Zm9vYmFy", 8, decoded, 5, &len), -ENOSPC);
}

/* RFC 3720, B.4. */
static void crc32c_follows_the_published_vectors(void **state)
{
    uint8_t zeros[32] = { 0 }, ones[32], rising[32];
    const struct {
        struct bytes data;
        uint32_t crc;
    } vectors[] = {
        { { NULL, 0 }, 0 },
        { { (const uint8_t *)"123456789", 9 }, 0xe3069283 },
        { { zeros, 32 }, 0x8a9136aa },
        { { ones, 32 }, 0x62a8ab43 },
        { { rising, 32 }, 0x46dd794e },
    };
    (void)state;

    memset(ones, 0xff, sizeof(ones));
    for (uint8_t i = 0; i < 32; i++)
        rising[i] = i;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        assert_int_equal(crc32c(vectors[i].data), vectors[i].crc);
        assert_int_equal(crc32c_by_table(vectors[i].data), vectors[i].crc);
    }
    for (size_t from = 0; from < 9; from++) {
        const struct bytes part = { rising + from, 32 - from };
        assert_int_equal(crc32c(part), crc32c_by_table(part));
    }
}

static void uuid_text_comes_back(void **state)
{
    static const char text[] = "f283c99b-f173-4371-babc-572961161234";
    char again[UUID_TEXT_SIZE];
    struct uuid uuid;
    (void)state;

    assert_int_equal(uuid_parse(text, &uuid), 0);
    uuid_format(&uuid, again);
    assert_string_equal(again, text);
    assert_int_equal(uuid_parse("f283c99b-f173-4371-babc-57296116123", &uuid), -EINVAL);
    assert_int_equal(uuid_parse("f283c99bxf173-4371-babc-572961161234", &uuid), -EINVAL);
    assert_int_equal(uuid_parse("g283c99b-f173-4371-babc-572961161234", &uuid), -EINVAL);
}

static void reader_stays_failed_after_its_end(void **state)
{
    const uint8_t data[] = { 1, 0, 2 };
    struct reader reader = reader_init((struct bytes){ data, sizeof(data) });
    (void)state;

    assert_int_equal(reader_u16(&reader), 1);
    assert_int_equal(reader_u32(&reader), 0);
    assert_int_equal(reader_u8(&reader), 0); /* a byte is left, but it has failed */
    assert_int_equal(reader_done(&reader), -EBADMSG);
}

static void reader_refuses_a_string_above_its_bound_or_with_nul(void **state)
{
    const uint8_t data[] = { 3, 0, 'a', 0, 'c' };
    char to[8];
    (void)state;

    struct reader reader = reader_init((struct bytes){ data, sizeof(data) });
    assert_null(reader_string(&reader, 2).data);
    assert_int_equal(reader_done(&reader), -EBADMSG);

    reader = reader_init((struct bytes){ data, sizeof(data) });
    reader_text(&reader, to, sizeof(to));
    assert_string_equal(to, "");
    assert_int_equal(reader_done(&reader), -EBADMSG);
}

static void what_a_writer_wrote_a_reader_reads(void **state)
{
    uint8_t room[64];
    char to[8];
    struct writer writer = writer_init(room, sizeof(room));
    (void)state;

    writer_u8(&writer, 7);
    writer_u16(&writer, 0x1234);
    writer_u64be(&writer, 1);
    writer_text(&writer, "abc");
    assert_int_equal(writer_done(&writer), 0);
    assert_int_equal(room[1], 0x34);

    struct reader reader = reader_init(writer_written(&writer));
    assert_int_equal(reader_u8(&reader), 7);
    assert_int_equal(reader_u16(&reader), 0x1234);
    assert_int_equal(reader_u64be(&reader), 1);
    reader_text(&reader, to, sizeof(to));
    assert_string_equal(to, "abc");
    assert_int_equal(reader_done(&reader), 0);
}

static void writer_says_when_it_did_not_fit(void **state)
{
    uint8_t room[3];
    struct writer writer = writer_init(room, sizeof(room));
    (void)state;

    writer_u32(&writer, 1);
    assert_int_equal(writer_done(&writer), -ENOSPC);
    assert_int_equal(writer.len, 0);
}

#define PARTS 1000u

static void count_part(void *arg, size_t index)
{
    atomic_uint *counts = arg;

    atomic_fetch_add(&counts[index], 1);
}

static void parallel_work_is_done_once_for_each(void **state)
{
    static const unsigned threads[] = { 0, 1, 2, 16, 1000 };
    (void)state;

    for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        atomic_uint counts[PARTS + 1] = { 0 };
        parallel_each(PARTS, threads[i], count_part, counts);
        for (size_t k = 0; k < PARTS; k++)
            assert_int_equal(counts[k], 1);
        assert_int_equal(counts[PARTS], 0);
        parallel_each(0, threads[i], count_part, counts);
        assert_int_equal(counts[0], 1);
    }
}

static void *note_mask(void *arg)
{
    (void)pthread_sigmask(SIG_SETMASK, NULL, arg);
    return NULL;
}

static void a_started_thread_gets_no_signals_and_the_one_that_started_it_as_before(void **state)
{
    sigset_t before;
    sigset_t within;
    sigset_t after;
    pthread_t thread;
    (void)state;

    (void)sigemptyset(&before);
    (void)sigaddset(&before, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    (void)sigemptyset(&within);
    assert_int_equal(thread_start(&thread, note_mask, &within), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (int number = 1; number < 32; number++) {
        assert_int_equal(sigismember(&after, number), number == SIGUSR1);
        if (number != SIGKILL && number != SIGSTOP)
            assert_int_equal(sigismember(&within, number), 1);
    }
}

#define MEMBERS 50u

static pthread_key_t of_each_thread;
static atomic_uint left_behind;

/* What a library keeps for a thread and gives back when it ends, which takes a moment. */
static void give_back(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 20; i++)
        (void)sched_yield();
    atomic_fetch_sub(&left_behind, 1);
}

static void keep_something(void *arg)
{
    atomic_fetch_add(&left_behind, 1);
    (void)pthread_setspecific(of_each_thread, arg);
}

static void who_waits_for_a_group_waits_until_its_threads_are_gone(void **state)
{
    struct thread_group group;
    (void)state;

    assert_int_equal(pthread_key_create(&of_each_thread, give_back), 0);
    thread_group_init(&group);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MEMBERS; i++)
            assert_int_equal(thread_group_start(&group, 0, keep_something, &group), 0);
        thread_group_wait(&group);
        assert_int_equal(left_behind, 0);
    }
    thread_group_destroy(&group);
    assert_int_equal(pthread_key_delete(of_each_thread), 0);
}

static void keep_nothing(void *arg)
{
    (void)arg;
}

static void wait_at_barrier(void *arg)
{
    (void)pthread_barrier_wait(arg);
}

static void a_group_with_a_bound_takes_no_more(void **state)
{
    struct thread_group group;
    pthread_barrier_t barrier;
    (void)state;

    assert_int_equal(pthread_barrier_init(&barrier, NULL, 3), 0);
    thread_group_init(&group);
    assert_int_equal(thread_group_start(&group, 2, wait_at_barrier, &barrier), 0);
    assert_int_equal(thread_group_start(&group, 2, wait_at_barrier, &barrier), 0);
    assert_int_equal(thread_group_start(&group, 2, wait_at_barrier, &barrier), -EBUSY);
    (void)pthread_barrier_wait(&barrier);
    thread_group_wait(&group);
    assert_int_equal(thread_group_start(&group, 1, keep_nothing, NULL), 0);
    thread_group_wait(&group);
    thread_group_destroy(&group);
    assert_int_equal(pthread_barrier_destroy(&barrier), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_follows_the_published_vectors),
        cmocka_unit_test(base64_refuses_what_is_not_base64),
        cmocka_unit_test(crc32c_follows_the_published_vectors),
        cmocka_unit_test(uuid_text_comes_back),
        cmocka_unit_test(reader_stays_failed_after_its_end),
        cmocka_unit_test(reader_refuses_a_string_above_its_bound_or_with_nul),
        cmocka_unit_test(what_a_writer_wrote_a_reader_reads),
        cmocka_unit_test(writer_says_when_it_did_not_fit),
        cmocka_unit_test(who_waits_for_a_group_waits_until_its_threads_are_gone),
        cmocka_unit_test(a_group_with_a_bound_takes_no_more),
        cmocka_unit_test(parallel_work_is_done_once_for_each),
        cmocka_unit_test(a_started_thread_gets_no_signals_and_the_one_that_started_it_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
