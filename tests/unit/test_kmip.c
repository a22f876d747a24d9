/* TTLV against the specification's own examples (KMIP 1.4, 9.1.2), messages against exchanges
 * recorded with a real server, and both against bytes that are neither. */
#include "tests/support/cmocka_all.h"

#include <errno.h>
#include <string.h>

#include "base/encoding.h"
#include "keys/kmip/message.h"
#include "keys/kmip/ttlv.h"

#define EXAMPLE_TAG 0x420020u

static const struct kmip_header v12 = { .version = { 1, 2 } };
static const struct kmip_header v14 = { .version = { 1, 4 } };

/* Of "..." in hexadecimal. */
struct sample {
    uint8_t data[512];
    size_t len;
};

static struct sample from_hex(const char *hex)
{
    struct sample sample = { .len = strlen(hex) / 2 };

    assert_true(sample.len <= sizeof(sample.data));
    assert_int_equal(hex_decode(hex, sample.data, sample.len), 0);
    return sample;
}

static struct bytes sample_bytes(const struct sample *sample)
{
    return (struct bytes){ sample->data, sample->len };
}

static int read_one(const struct sample *sample, struct ttlv_item *ret)
{
    struct reader reader = reader_init(sample_bytes(sample));
    int r = ttlv_next(&reader, ret);

    return r == 1 && reader.len > 0 ? -EBADMSG : r;
}

static void ttlv_reads_the_examples_of_the_specification(void **state)
{
    static const struct {
        const char *hex;
        enum ttlv_type type;
        size_t len;
        uint64_t value; /* of those with 4 or 8 bytes */
    } examples[] = {
        { "42002002000000040000000800000000", TTLV_INTEGER, 4, 8 },
        { "420020030000000801B69B4BA5749200", TTLV_LONG_INTEGER, 8, 123456789000000000 },
        { "42002004000000100000000003FD35EB6BC2DF4618080000", TTLV_BIG_INTEGER, 16, 0 },
        { "4200200500000004000000FF00000000", TTLV_ENUMERATION, 4, 255 },
        { "42002006000000080000000000000001", TTLV_BOOLEAN, 8, 1 },
        { "420020070000000B48656C6C6F20576F726C640000000000", TTLV_TEXT, 11, 0 },
        { "42002008000000030102030000000000", TTLV_BYTES, 3, 0 },
        { "42002009000000080000000047DA67F8", TTLV_DATE_TIME, 8, 1205495800 },
        { "4200200A00000004000D2F0000000000", TTLV_INTERVAL, 4, 864000 },
        { "42002001000000204200040500000004000000FE000000004200050200000004000000FF00000000",
          TTLV_STRUCTURE, 32, 0 },
    };
    (void)state;

    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        struct sample sample = from_hex(examples[i].hex);
        struct ttlv_item item;
        assert_int_equal(read_one(&sample, &item), 1);
        assert_int_equal(item.tag, EXAMPLE_TAG);
        assert_int_equal(item.type, examples[i].type);
        assert_int_equal(item.value.len, examples[i].len);
        if (item.value.len == 4)
            assert_int_equal(ttlv_u32(&item), examples[i].value);
        if (item.value.len == 8)
            assert_int_equal(ttlv_u64(&item), examples[i].value);
    }
}

static void assert_written(const struct writer *writer, const char *hex)
{
    struct sample expected = from_hex(hex);

    assert_int_equal(writer_done(writer), 0);
    assert_int_equal(writer->len, expected.len);
    assert_memory_equal(writer->data, expected.data, expected.len);
}

static void ttlv_writes_the_examples_of_the_specification(void **state)
{
    uint8_t room[128];
    struct writer writer = writer_init(room, sizeof(room));
    (void)state;

    ttlv_put_integer(&writer, EXAMPLE_TAG, 8);
    assert_written(&writer, "42002002000000040000000800000000");
    writer.len = 0;
    ttlv_put_boolean(&writer, EXAMPLE_TAG, true);
    assert_written(&writer, "42002006000000080000000000000001");
    writer.len = 0;
    ttlv_put_text(&writer, EXAMPLE_TAG, "Hello World");
    assert_written(&writer, "420020070000000B48656C6C6F20576F726C640000000000");
    writer.len = 0;
    ttlv_put_bytes(&writer, EXAMPLE_TAG, (struct bytes){ (const uint8_t *)"\1\2\3", 3 });
    assert_written(&writer, "42002008000000030102030000000000");
    writer.len = 0;
    size_t begun = ttlv_begin(&writer, EXAMPLE_TAG);
    ttlv_put_enumeration(&writer, 0x420004, 254);
    ttlv_put_integer(&writer, 0x420005, 255);
    ttlv_end(&writer, begun);
    assert_written(&writer, "42002001000000204200040500000004000000FE000000004200050200000004"
                            "000000FF00000000");
}

static void ttlv_refuses_what_is_not_well_formed(void **state)
{
    static const char *const malformed[] = {
        "42002002000000",                   /* cut in the header */
        "4200200200000004000000080000",     /* cut in the padding */
        "42002002000000050000000800000000", /* an integer of 5 bytes */
        "42002002000000040000000800000001", /* padding that is not zero */
        "42002006000000080000000000000002", /* neither true nor false */
        "42002000000000040000000800000000", /* no type */
        "4200200C000000080000000000000000", /* a type not known */
        "42002004000000040000000800000000", /* a big integer of 4 bytes */
        "420020040000000000000000",         /* a big integer of none */
        "42002001000000040000000800000000", /* a structure of 4 bytes */
        "42002008FFFFFFFF0102030405060708", /* longer than there is */
        "420020087FFFFFFF0102030405060708",
    };
    (void)state;

    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        struct sample sample = from_hex(malformed[i]);
        struct ttlv_item item;
        assert_int_equal(read_one(&sample, &item), -EBADMSG);
    }
}

static void ttlv_find_passes_over_what_it_does_not_know_and_checks_the_type(void **state)
{
    struct sample sample =
        from_hex("4200040500000004000000FE000000004200050200000004000000FF00000000");
    struct ttlv_item item;
    (void)state;

    assert_int_equal(ttlv_find(sample_bytes(&sample), 0x420005, TTLV_INTEGER, &item), 0);
    assert_int_equal(ttlv_u32(&item), 255);
    assert_int_equal(ttlv_find(sample_bytes(&sample), 0x420005, TTLV_TEXT, &item), -EBADMSG);
    assert_int_equal(ttlv_find(sample_bytes(&sample), 0x420006, TTLV_INTEGER, &item), -ENOENT);
}

static void text_from_outside_is_made_fit_to_be_shown(void **state)
{
    char shown[8];
    (void)state;

    ttlv_show_text((struct bytes){ (const uint8_t *)"a\n\x1b[2Jbcdef", 11 }, shown, sizeof(shown));
    assert_string_equal(shown, "a??[2Jb");
}

static void requests_are_byte_for_byte_what_a_server_accepted(void **state)
{
    uint8_t room[KMIP_REQUEST_MAX], data[32], iv[16];
    struct writer writer = writer_init(room, sizeof(room));
    const struct kmip_crypto crypto = {
        .uid = "12", .mode = WRAP_MODE_CBC_PKCS5, .data = { data, 32 }, .iv = { iv, 16 }
    };
    (void)state;

    for (uint8_t i = 0; i < 32; i++)
        data[i] = i;
    memset(iv, 1, sizeof(iv));
    assert_int_equal(kmip_write_discover_versions(&writer, &v12, NULL, 0), 0);
    assert_written(&writer,
                   "42007801000000604200770100000038420069010000002042006a0200000004000000010000"
                   "000042006b0200000004000000020000000042000d0200000004000000010000000042000f01"
                   "0000001842005c05000000040000001e000000004200790100000000");
    writer.len = 0;
    assert_int_equal(kmip_write_crypto(&writer, &v12, KMIP_ENCRYPT, &crypto), 0);
    assert_written(&writer,
                   "42007801000000e84200770100000038420069010000002042006a0200000004000000010000"
                   "000042006b0200000004000000020000000042000d0200000004000000010000000042000f01"
                   "000000a042005c05000000040000001f00000000420079010000008842009407000000023132"
                   "00000000000042002b01000000304200110500000004000000010000000042005f0500000004"
                   "000000030000000042002805000000040000000300000000"
                   "4200c20800000020000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d"
                   "1e1f42003d080000001001010101010101010101010101010101");
    writer.len = 0;
    assert_int_equal(kmip_write_get_attributes(&writer, &v12, "218"), 0);
    assert_written(&writer,
                   "42007801000000704200770100000038420069010000002042006a0200000004000000010000"
                   "000042006b0200000004000000020000000042000d0200000004000000010000000042000f01"
                   "0000002842005c05000000040000000b00000000420079010000001042009407000000033231"
                   "380000000000");
}

static void who_asks_stands_between_version_and_batch_count(void **state)
{
    uint8_t room[KMIP_REQUEST_MAX];
    struct writer writer = writer_init(room, sizeof(room));
    const struct kmip_header header = {
        .version = { 1, 4 },
        .credential = { .username = "alice", .password = { (const uint8_t *)"secret word", 11 } },
    };
    (void)state;

    assert_int_equal(kmip_write_get_attributes(&writer, &header, "218"), 0);
    assert_written(&writer,
                   "42007801000000c042007701000000884200690100000020"
                   "42006a0200000004000000010000000042006b02000000040000000400000000"
                   "42000c01000000484200230100000040"
                   "4200240500000004000000010000000042002501000000284200990700000005"
                   "616c6963650000004200a1070000000b73656372657420776f72640000000000"
                   "42000d02000000040000000100000000"
                   "42000f010000002842005c05000000040000000b00000000420079010000001042009407000000"
                   "033231380000000000");
}

static void only_versions_from_1_4_on_have_gcm(void **state)
{
    static const struct kmip_version with[] = { { 1, 4 }, { 2, 0 }, { 2, 1 } };
    static const struct kmip_version without[] = { { 1, 0 }, { 1, 2 }, { 1, 3 } };
    (void)state;

    for (size_t i = 0; i < 3; i++) {
        assert_true(kmip_version_has_gcm(with[i]));
        assert_false(kmip_version_has_gcm(without[i]));
    }
}

static void a_request_that_does_not_fit_is_refused(void **state)
{
    uint8_t room[60];
    struct writer writer = writer_init(room, sizeof(room));
    (void)state;

    assert_int_equal(kmip_write_get_attributes(&writer, &v12, "218"), -ENOSPC);
}

static const char encrypt_answer[] =
    "42007b01000000c842007a0100000048420069010000002042006a0200000004000000010000000042006b0200000"
    "00400000002000000004200920900000008000000006b029b1a42000d0200000004000000010000000042000f0100"
    "00007042005c05000000040000001f0000000042007f0500000004000000000000000042007c01000000484200940"
    "70000000231320000000000004200c20800000030b09e17aaec4715e294ff852e1899072f133ce7ef8a4087d143ca"
    "32a76d9867ba7040318cb2a699313237f2f683102761";

static void the_answer_to_encrypt_is_read(void **state)
{
    struct sample sample = from_hex(encrypt_answer);
    struct kmip_response response;
    struct bytes data, tag;
    (void)state;

    assert_int_equal(kmip_read_response(sample_bytes(&sample), KMIP_ENCRYPT, &response), 0);
    assert_true(response.is_success);
    assert_int_equal(kmip_read_crypto(response.payload, &data, &tag), 0);
    assert_int_equal(data.len, 48);
    assert_memory_equal(data.data, "\xb0\x9e\x17\xaa", 4);
    assert_int_equal(tag.len, 0);
}

static void an_answer_to_another_operation_is_refused(void **state)
{
    struct sample sample = from_hex(encrypt_answer);
    struct kmip_response response;
    (void)state;

    assert_int_equal(kmip_read_response(sample_bytes(&sample), KMIP_DECRYPT, &response), -EBADMSG);
}

static void an_answer_cut_anywhere_is_refused(void **state)
{
    struct sample sample = from_hex(encrypt_answer);
    struct kmip_response response;
    (void)state;

    for (size_t len = 0; len < sample.len; len++)
        assert_int_equal(
            kmip_read_response((struct bytes){ sample.data, len }, KMIP_ENCRYPT, &response),
            -EBADMSG);
}

/* A refusal as servers send it when they could not read the request: version 1.0 in the header,
 * no operation in the item. */
static void a_refusal_without_operation_in_another_version_is_read(void **state)
{
    uint8_t room[512];
    struct writer writer = writer_init(room, sizeof(room));
    struct kmip_response response;
    (void)state;

    size_t message = ttlv_begin(&writer, 0x42007b);
    size_t header = ttlv_begin(&writer, 0x42007a);
    size_t version = ttlv_begin(&writer, 0x420069);
    ttlv_put_integer(&writer, 0x42006a, 1);
    ttlv_put_integer(&writer, 0x42006b, 0);
    ttlv_end(&writer, version);
    ttlv_put_integer(&writer, 0x42000d, 1);
    ttlv_end(&writer, header);
    size_t item = ttlv_begin(&writer, 0x42000f);
    ttlv_put_enumeration(&writer, 0x42007f, 1);
    ttlv_put_enumeration(&writer, 0x42007e, KMIP_INVALID_MESSAGE);
    ttlv_put_text(&writer, 0x42007d, "cannot\nparse");
    ttlv_end(&writer, item);
    ttlv_end(&writer, message);

    assert_int_equal(kmip_read_response(writer_written(&writer), KMIP_DECRYPT, &response), 0);
    assert_false(response.is_success);
    assert_int_equal(response.reason, KMIP_INVALID_MESSAGE);
    assert_string_equal(response.text, "cannot?parse");
}

static void put_named(struct writer *writer, const char *name, bool is_mask, uint32_t value)
{
    size_t begun = ttlv_begin(writer, 0x420008);

    ttlv_put_text(writer, 0x42000a, name);
    ttlv_put_integer(writer, 0x420009, 0);
    if (is_mask)
        ttlv_put_integer(writer, 0x42000b, (int32_t)value);
    else
        ttlv_put_enumeration(writer, 0x42000b, value);
    ttlv_end(writer, begun);
}

static void attributes_are_read_in_the_forms_of_1_x_and_2_x(void **state)
{
    uint8_t room[512];
    struct writer writer = writer_init(room, sizeof(room));
    struct kmip_attributes attributes;
    (void)state;

    put_named(&writer, "Cryptographic Usage Mask", true, 12);
    put_named(&writer, "x-Vendor", false, 99);
    put_named(&writer, "State", false, KMIP_ACTIVE);
    assert_int_equal(kmip_read_attributes(writer_written(&writer), &attributes), 0);
    assert_int_equal(attributes.usage_mask, 12);
    assert_int_equal(attributes.state, KMIP_ACTIVE);
    assert_int_equal(attributes.algorithm, 0);

    writer.len = 0;
    size_t begun = ttlv_begin(&writer, 0x420125);
    ttlv_put_text(&writer, 0x420094, "12");
    ttlv_put_enumeration(&writer, 0x420028, KMIP_ALGORITHM_AES);
    ttlv_put_integer(&writer, 0x42002a, 256);
    ttlv_put_enumeration(&writer, 0x42008d, KMIP_DEACTIVATED);
    ttlv_end(&writer, begun);
    assert_int_equal(kmip_read_attributes(writer_written(&writer), &attributes), 0);
    assert_int_equal(attributes.algorithm, KMIP_ALGORITHM_AES);
    assert_int_equal(attributes.length, 256);
    assert_int_equal(attributes.state, KMIP_DEACTIVATED);
    assert_int_equal(attributes.usage_mask, 0);
}

static void what_a_server_says_of_itself_is_read(void **state)
{
    uint8_t room[512];
    struct writer writer = writer_init(room, sizeof(room));
    struct kmip_server server;
    (void)state;

    ttlv_put_enumeration(&writer, 0x42005c, KMIP_DECRYPT);
    ttlv_put_enumeration(&writer, 0x42005c, 0x80000001);
    ttlv_put_text(&writer, 0x420057, "of a type that it does not have");
    ttlv_put_text(&writer, 0x42009d, "A\nserver");
    assert_int_equal(kmip_read_query(writer_written(&writer), &server), 0);
    assert_true(server.decrypts && !server.encrypts && !server.gets_attributes);
    assert_string_equal(server.vendor, "A?server");
    assert_int_equal(kmip_read_query((struct bytes){ .data = NULL }, &server), 0);
    assert_string_equal(server.vendor, "");
    writer.len -= 8;
    assert_int_equal(kmip_read_query(writer_written(&writer), &server), -EBADMSG);
}

static void more_versions_than_there_is_room_for_are_left_out(void **state)
{
    uint8_t room[512];
    struct writer writer = writer_init(room, sizeof(room));
    struct kmip_version versions[2];
    size_t count;
    (void)state;

    for (int32_t i = 0; i < 3; i++) {
        size_t begun = ttlv_begin(&writer, 0x420069);
        ttlv_put_integer(&writer, 0x42006a, 1);
        ttlv_put_integer(&writer, 0x42006b, i);
        ttlv_end(&writer, begun);
    }
    assert_int_equal(kmip_read_versions(writer_written(&writer), versions, 2, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(versions[1].minor, 1);
}

static void gcm_sends_the_tag_length_and_with_decrypt_the_tag(void **state)
{
    uint8_t room[512], tag[16];
    struct writer writer = writer_init(room, sizeof(room));
    const struct kmip_crypto crypto = { .uid = "1",
                                        .mode = WRAP_MODE_GCM,
                                        .data = { room, 0 },
                                        .iv = { tag, 12 },
                                        .tag = { tag, 16 } };
    const uint8_t tag_length[] = { 0x42, 0x00, 0xce, 0x02, 0, 0, 0, 4, 0, 0, 0, 16 };
    const uint8_t tag_header[] = { 0x42, 0x00, 0xff, 0x08, 0, 0, 0, 16 };
    (void)state;

    memset(tag, 7, sizeof(tag));
    assert_int_equal(kmip_write_crypto(&writer, &v14, KMIP_ENCRYPT, &crypto), 0);
    assert_non_null(memmem(room, writer.len, tag_length, sizeof(tag_length)));
    assert_null(memmem(room, writer.len, tag_header, sizeof(tag_header)));
    writer.len = 0;
    assert_int_equal(kmip_write_crypto(&writer, &v14, KMIP_DECRYPT, &crypto), 0);
    assert_non_null(memmem(room, writer.len, tag_header, sizeof(tag_header)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ttlv_reads_the_examples_of_the_specification),
        cmocka_unit_test(ttlv_writes_the_examples_of_the_specification),
        cmocka_unit_test(ttlv_refuses_what_is_not_well_formed),
        cmocka_unit_test(ttlv_find_passes_over_what_it_does_not_know_and_checks_the_type),
        cmocka_unit_test(text_from_outside_is_made_fit_to_be_shown),
        cmocka_unit_test(requests_are_byte_for_byte_what_a_server_accepted),
        cmocka_unit_test(who_asks_stands_between_version_and_batch_count),
        cmocka_unit_test(only_versions_from_1_4_on_have_gcm),
        cmocka_unit_test(a_request_that_does_not_fit_is_refused),
        cmocka_unit_test(the_answer_to_encrypt_is_read),
        cmocka_unit_test(an_answer_to_another_operation_is_refused),
        cmocka_unit_test(an_answer_cut_anywhere_is_refused),
        cmocka_unit_test(a_refusal_without_operation_in_another_version_is_read),
        cmocka_unit_test(attributes_are_read_in_the_forms_of_1_x_and_2_x),
        cmocka_unit_test(what_a_server_says_of_itself_is_read),
        cmocka_unit_test(more_versions_than_there_is_room_for_are_left_out),
        cmocka_unit_test(gcm_sends_the_tag_length_and_with_decrypt_the_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
