/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Readers of traces (bench/trace.h): every format as it is described, and refused with a reason
 * where it is cut off, damaged, or something else altogether.
 */
#include "../../bench/trace.h"

#include "support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define ZT_BYTES     ((size_t)16)
#define ORACLE_BYTES ((size_t)24)
#define GARBAGE      1500

static char path[64];

static int make_path(void **state)
{
    int fd;

    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/zcache-trace.XXXXXX");
    fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const void *bytes, size_t len)
{
    FILE *to = fopen(path, "wb");

    assert_non_null(to);
    assert_int_equal(fwrite(bytes, 1, len, to), len);
    assert_int_equal(fclose(to), 0);
}

static bool read_as(enum trace_format format, const char *columns, struct trace *out, char *error)
{
    const struct trace_options opts = {.format = format, .columns = columns};

    error[0] = '\0';
    *out = (struct trace){0};
    return trace_read(path, &opts, out, error);
}

/* It must be refused, and the reason must have these words. */
static void refused(enum trace_format format, const char *columns, const char *words)
{
    char error[TRACE_ERROR_BYTES];
    struct trace t;

    if (read_as(format, columns, &t, error) || strstr(error, words) == NULL) {
        fail_msg("'%s' instead of '%s'", error, words);
    }
}

static struct trace accepted(enum trace_format format, const char *columns)
{
    char error[TRACE_ERROR_BYTES];
    struct trace t;

    if (!read_as(format, columns, &t, error)) {
        fail_msg("refused: %s", error);
    }
    return t;
}

static void little(unsigned char *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        to[i] = (unsigned char)(value >> (8 * i));
    }
}

static void zt_record(unsigned char *to, uint64_t page, unsigned op, unsigned tenant)
{
    little(to, page, 8);
    little(to + 8, 1234567, 4);
    to[12] = (unsigned char)op;
    to[13] = 0;
    little(to + 14, tenant, 2);
}

/* Record i is of page i % @pages, and writes if that is odd. */
static unsigned char *zt_records(size_t n, uint64_t pages)
{
    unsigned char *bytes = malloc(n * ZT_BYTES);

    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        zt_record(bytes + i * ZT_BYTES, i % pages, (unsigned)(i % pages % 2), 0);
    }
    return bytes;
}

static size_t compress(unsigned char **out, const void *bytes, size_t len)
{
    const size_t room = ZSTD_compressBound(len);
    size_t n;

    *out = malloc(room);
    assert_non_null(*out);
    n = ZSTD_compress(*out, room, bytes, len, 1);
    assert_false(ZSTD_isError(n));
    return n;
}

/* ---------------------------------------------------------------------------------------------
 * Records.
 */

static void zt_has_pages_operations_and_tenants(void **state)
{
    static const uint64_t big = UINT64_C(0xfedcba9876543210);
    unsigned char bytes[5 * ZT_BYTES];
    struct trace t;

    (void)state;
    zt_record(bytes, big, 0, 0);
    zt_record(bytes + ZT_BYTES, 7, 1, 0);
    zt_record(bytes + 2 * ZT_BYTES, 7, 0, 0xabcd);
    zt_record(bytes + 3 * ZT_BYTES, big, 1, 0);
    zt_record(bytes + 4 * ZT_BYTES, 7, 0, 0xabcd);
    write_file(bytes, sizeof bytes);
    t = accepted(TRACE_FORMAT_ZT, NULL);
    assert_int_equal(t.n, 5);
    assert_int_equal(t.pages, 3); /* 7 of two tenants is two pages */
    assert_int_equal(t.tenants, 0xabcd + 1);
    assert_int_equal(t.writes, 2);
    assert_true(t.id_max == big);
    assert_true(t.id[t.request[0].page] == big);
    assert_int_equal(t.request[3].page, t.request[0].page);
    assert_int_equal(t.request[4].page, t.request[2].page);
    assert_int_not_equal(t.request[1].page, t.request[2].page);
    assert_true(t.request[1].write && !t.request[2].write && t.request[3].write);
    assert_int_equal(t.request[2].tenant, 0xabcd);
    trace_free(&t);
}

static void oracle_has_objects(void **state)
{
    unsigned char bytes[3 * ORACLE_BYTES] = {0};
    struct trace t;

    (void)state;
    little(bytes + 4, UINT64_C(1) << 40, 8);
    little(bytes + 12, 65536, 4);
    little(bytes + 16, 2, 8);
    little(bytes + ORACLE_BYTES + 4, 5, 8);
    little(bytes + 2 * ORACLE_BYTES + 4, UINT64_C(1) << 40, 8);
    write_file(bytes, sizeof bytes);
    t = accepted(TRACE_FORMAT_ORACLE, NULL);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.pages, 2);
    assert_true(t.id[t.request[2].page] == UINT64_C(1) << 40);
    assert_int_equal(t.writes, 0);
    trace_free(&t);
    write_file(bytes, sizeof bytes - 1);
    refused(TRACE_FORMAT_ORACLE, NULL, "it ends 23 bytes into record 2 of 24 bytes");
}

static void a_cut_off_record_is_refused(void **state)
{
    unsigned char *bytes = zt_records(3, 3);

    (void)state;
    for (size_t len = 0; len <= 3 * ZT_BYTES; len++) {
        write_file(bytes, len);
        if (len == 0) {
            refused(TRACE_FORMAT_ZT, NULL, "it has no requests");
        } else if (len % ZT_BYTES != 0) {
            refused(TRACE_FORMAT_ZT, NULL, "bytes into record");
        } else {
            struct trace t = accepted(TRACE_FORMAT_ZT, NULL);

            assert_int_equal(t.n, len / ZT_BYTES);
            trace_free(&t);
        }
    }
    free(bytes);
}

static void an_illegal_operation_is_refused(void **state)
{
    unsigned char bytes[2 * ZT_BYTES];

    (void)state;
    zt_record(bytes, 1, 1, 1);
    zt_record(bytes + ZT_BYTES, 1, 2, 1);
    write_file(bytes, sizeof bytes);
    refused(TRACE_FORMAT_ZT, NULL, "record 1 has operation 2");
    zt_record(bytes + ZT_BYTES, 1, 0, 1);
    bytes[ZT_BYTES + 13] = 9;
    write_file(bytes, sizeof bytes);
    refused(TRACE_FORMAT_ZT, NULL, "and 9 after it");
}

static void the_first_requests_can_be_had_alone(void **state)
{
    unsigned char *bytes = zt_records(5000, 11);
    struct trace_options opts = {.format = TRACE_FORMAT_ZT};
    char error[TRACE_ERROR_BYTES];

    (void)state;
    write_file(bytes, 5000 * ZT_BYTES);
    for (size_t n = 1; n < 6000; n = n * 3 + 1) {
        struct trace t;

        opts.requests = n;
        assert_true(trace_read(path, &opts, &t, error));
        assert_int_equal(t.n, n < 5000 ? n : 5000);
        assert_int_equal(t.pages, n < 11 ? n : 11);
        trace_free(&t);
    }
    free(bytes);
}

/* More than the tables begin with. */
static void many_pages_keep_their_numbers(void **state)
{
    const size_t n = 100000;
    unsigned char *bytes = zt_records(2 * n, n);
    struct trace t;

    (void)state;
    write_file(bytes, 2 * n * ZT_BYTES);
    t = accepted(TRACE_FORMAT_ZT, NULL);
    assert_int_equal(t.pages, n);
    for (size_t i = 0; i < 2 * n; i++) {
        assert_int_equal(t.request[i].page, i % n);
        assert_true(t.id[i % n] == i % n);
    }
    trace_free(&t);
    free(bytes);
}

/* ---------------------------------------------------------------------------------------------
 * zstd.
 */

/* Lengths at which buffers of the reader are just full; one or two frames. */
static void compressed_traces_are_whole(void **state)
{
    static const size_t lengths[] = {1, 4095, 4096, 4097, 8192, 12288, 20000};

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        unsigned char *bytes = zt_records(lengths[i], 1000), *frames;
        size_t n = compress(&frames, bytes, lengths[i] * ZT_BYTES);
        struct trace t;

        write_file(frames, n);
        t = accepted(TRACE_FORMAT_ZT, NULL);
        assert_int_equal(t.n, lengths[i]);
        trace_free(&t);
        frames = realloc(frames, 2 * n);
        assert_non_null(frames);
        memcpy(frames + n, frames, n);
        write_file(frames, 2 * n);
        t = accepted(TRACE_FORMAT_ZT, NULL);
        assert_int_equal(t.n, 2 * lengths[i]);
        assert_int_equal(t.request[2 * lengths[i] - 1].page, t.request[lengths[i] - 1].page);
        trace_free(&t);
        free(frames);
        free(bytes);
    }
}

static void a_cut_off_frame_is_refused(void **state)
{
    unsigned char *bytes = zt_records(300, 97), *frame;
    const size_t n = compress(&frame, bytes, 300 * ZT_BYTES);

    (void)state;
    for (size_t len = 4; len < n; len++) {
        write_file(frame, len);
        refused(TRACE_FORMAT_ZT, NULL, "its zstd frame is cut off");
    }
    free(frame);
    free(bytes);
}

static void a_damaged_frame_is_refused(void **state)
{
    unsigned char *bytes = zt_records(300, 97), *frame;
    const size_t n = compress(&frame, bytes, 300 * ZT_BYTES);

    (void)state;
    frame = realloc(frame, n + 8);
    assert_non_null(frame);
    memset(frame + n, 0x55, 8);
    write_file(frame, n + 8);
    refused(TRACE_FORMAT_ZT, NULL, "zstd: ");
    free(frame);
    free(bytes);
}

/* ---------------------------------------------------------------------------------------------
 * Text.
 */

static struct trace text_accepted(const char *columns, const char *text)
{
    write_file(text, strlen(text));
    return accepted(TRACE_FORMAT_CSV, columns);
}

static void text_refused(const char *columns, const char *text, const char *words)
{
    write_file(text, strlen(text));
    refused(TRACE_FORMAT_CSV, columns, words);
}

static void csv_with_a_header(void **state)
{
    struct trace t = text_accepted(NULL, "time,\"OBJ_ID\",size,op,tenant\r\n"
                                         "1, 10 ,4096,read,3\r\n"
                                         "\r\n"
                                         "2,11,4096,WRITE,3\r\n"
                                         "3,10,4096,get,4\r\n"
                                         "4,10,4096,set,3");

    (void)state;
    assert_int_equal(t.n, 4);
    assert_int_equal(t.pages, 3);
    assert_int_equal(t.tenants, 5);
    assert_int_equal(t.writes, 2);
    assert_true(t.id[t.request[1].page] == 11);
    assert_int_equal(t.request[3].page, t.request[0].page);
    trace_free(&t);
    t = text_accepted(NULL, "key\tlba_time\n5\t1\n6\t1\n");
    assert_int_equal(t.n, 2);
    assert_true(t.id[0] == 5);
    trace_free(&t);
}

static void csv_with_columns(void **state)
{
    struct trace t = text_accepted("time-col=1, obj-id-col=2, obj-size-col=3, delimiter=,",
                                   "1,10,4096\n2,11,4096\n");

    (void)state;
    assert_int_equal(t.n, 2);
    trace_free(&t);
    t = text_accepted("obj-id-col=1,delimiter=;,op-col=3,tenant-col=2", "id;v;o\n9;1;w\n9;1;r\n");
    assert_int_equal(t.n, 2); /* the header was seen to be one */
    assert_int_equal(t.pages, 1);
    assert_int_equal(t.writes, 1);
    trace_free(&t);
    t = text_accepted("delimiter=\\t,obj-id-col=2,has-header=true", "1\t2\n3\t4\n");
    assert_int_equal(t.n, 1);
    assert_true(t.id[0] == 4);
    trace_free(&t);
    t = text_accepted("obj-id-col=1,has-header=false", "alpha\nbeta\nalpha\n");
    assert_int_equal(t.n, 3); /* ids that are no numbers */
    assert_int_equal(t.pages, 2);
    trace_free(&t);
}

static void wrong_text_is_refused(void **state)
{
    static char line[8192];

    (void)state;
    text_refused(NULL, "", "it has no requests");
    text_refused(NULL, "\n\n\n", "it has no requests");
    text_refused(NULL, "id\n", "it has no requests");
    text_refused(NULL, "1,2,3\n", "no column of its first line is called");
    text_refused(NULL, "time,id,op\n1,5,read\n1,5\n", "line 3 has no operation");
    text_refused(NULL, "time,id,op\n1,5,erase\n", "line 2: 'erase' is no operation");
    text_refused(NULL, "id,tenant\n5,70000\n", "'70000' is no tenant");
    text_refused(NULL, "time,id\n7\n", "line 2 has no object id");
    text_refused("obj-id-col=1,obj-id-is-num=true", "5\nx5\n", "line 2: 'x5' is no number");
    text_refused("obj-id-col=0", "5\n", "obj-id-col is the number of a column");
    text_refused("op-col=1", "5\n", "the columns lack obj-id-col");
    text_refused("obj-id-col=1,colour=red", "5\n", "'colour' is none of");
    text_refused("obj-id-col", "5\n", "not of the form name=value");
    text_refused("obj-id-col=1,delimiter=", "5\n", "delimiter is one character");
    text_refused("obj-id-col=1,has-header=perhaps", "5\n", "has-header is true or false");
    memset(line, '7', sizeof line - 1);
    text_refused("obj-id-col=1", line, "line 1 is longer than");
}

/* ---------------------------------------------------------------------------------------------
 * Anything else.
 */

static void names_tell_the_format(void **state)
{
    char error[TRACE_ERROR_BYTES];
    struct trace t;

    (void)state;
    assert_false(read_as(TRACE_FORMAT_BY_NAME, NULL, &t, error));
    assert_non_null(strstr(error, "--format"));
    (void)unlink(path);
    refused(TRACE_FORMAT_ZT, NULL, "No such file");
    assert_int_equal(make_path(NULL), 0);
}

static uint64_t random_next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* No input makes a reader do anything but read it or say why not. */
static void garbage_is_read_or_refused(void **state)
{
    static const enum trace_format formats[] = {TRACE_FORMAT_ZT, TRACE_FORMAT_ORACLE,
                                                TRACE_FORMAT_CSV};

    static const char text[] = "0123456789,,,;\n\n\r\tridwop-=\"";
    static const unsigned char magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    unsigned char bytes[300];
    uint64_t x = 88172645463325252u;
    unsigned taken = 0;

    (void)state;
    for (unsigned i = 0; i < GARBAGE; i++) {
        const size_t len = random_next(&x) % sizeof bytes;
        char error[TRACE_ERROR_BYTES];
        struct trace t;

        for (size_t k = 0; k < len; k++) {
            const uint64_t r = random_next(&x);

            bytes[k] = i % 3 == 0 ? (unsigned char)text[r % (sizeof text - 1)] : (unsigned char)r;
        }
        if (i % 3 == 1 && len >= sizeof magic) {
            memcpy(bytes, magic, sizeof magic);
        }
        write_file(bytes, len);
        for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
            if (read_as(formats[f], i % 2 == 0 ? "obj-id-col=1" : NULL, &t, error)) {
                assert_true(t.n > 0 && t.pages > 0 && t.pages <= t.n);
                for (size_t k = 0; k < t.n; k++) {
                    assert_true(t.request[k].page < t.pages && t.request[k].tenant < t.tenants);
                }
                trace_free(&t);
                taken++;
            } else {
                assert_true(error[0] != '\0' && memchr(error, 0, sizeof error) != NULL);
            }
        }
    }
    assert_true(taken > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zt_has_pages_operations_and_tenants),
        cmocka_unit_test(oracle_has_objects),
        cmocka_unit_test(a_cut_off_record_is_refused),
        cmocka_unit_test(an_illegal_operation_is_refused),
        cmocka_unit_test(the_first_requests_can_be_had_alone),
        cmocka_unit_test(many_pages_keep_their_numbers),
        cmocka_unit_test(compressed_traces_are_whole),
        cmocka_unit_test(a_cut_off_frame_is_refused),
        cmocka_unit_test(a_damaged_frame_is_refused),
        cmocka_unit_test(csv_with_a_header),
        cmocka_unit_test(csv_with_columns),
        cmocka_unit_test(wrong_text_is_refused),
        cmocka_unit_test(names_tell_the_format),
        cmocka_unit_test(garbage_is_read_or_refused),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
