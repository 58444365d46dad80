/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace_source.h"
#include "fail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char zstd_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

static bool refuse(struct trace_source *s, const char *text)
{
    (void)snprintf(s->error, TRACE_ERROR_BYTES, "%s", text);
    return false;
}

static bool begin_zstd(struct trace_source *s)
{
    s->zstd = ZSTD_createDStream();
    s->buf = malloc(ZSTD_DStreamInSize());
    return (s->zstd != NULL && s->buf != NULL) || refuse(s, "no memory");
}

bool trace_source_open(struct trace_source *s, const char *path, char *error)
{
    unsigned char head[sizeof zstd_magic];
    bool zstd;

    *s = (struct trace_source){.error = error, .drained = true};
    error[0] = '\0';
    s->file = fopen(path, "rbe");
    if (s->file == NULL) {
        return refuse(s, error_text(-errno));
    }
    zstd = fread(head, 1, sizeof head, s->file) == sizeof head &&
           memcmp(head, zstd_magic, sizeof head) == 0;
    if (ferror(s->file) != 0 || fseek(s->file, 0, SEEK_SET) != 0) {
        (void)refuse(s, error_text(-errno));
    } else if (!zstd || begin_zstd(s)) {
        return true;
    }
    trace_source_close(s);
    return false;
}

void trace_source_close(struct trace_source *s)
{
    (void)ZSTD_freeDStream(s->zstd);
    free(s->buf);
    (void)fclose(s->file);
}

static size_t read_file(struct trace_source *s, void *out, size_t len)
{
    const size_t n = fread(out, 1, len, s->file);

    if (ferror(s->file) != 0) {
        (void)refuse(s, error_text(-errno));
    }
    return n;
}

/* False at the end, or after an error. */
static bool more_input(struct trace_source *s)
{
    if (s->in.pos < s->in.size || !s->drained) {
        return true;
    }
    s->in = (ZSTD_inBuffer){.src = s->buf, .size = read_file(s, s->buf, ZSTD_DStreamInSize())};
    if (s->in.size == 0 && s->pending != 0 && s->error[0] == '\0') {
        (void)refuse(s, "its zstd frame is cut off");
    }
    return s->in.size != 0;
}

static size_t read_zstd(struct trace_source *s, void *out, size_t len)
{
    ZSTD_outBuffer to = {.dst = out, .size = len};

    while (to.pos < to.size && s->error[0] == '\0' && more_input(s)) {
        s->pending = ZSTD_decompressStream(s->zstd, &to, &s->in);
        s->drained = to.pos < to.size || s->pending == 0;
        if (ZSTD_isError(s->pending) != 0) {
            (void)snprintf(s->error, TRACE_ERROR_BYTES, "zstd: %s", ZSTD_getErrorName(s->pending));
        }
    }
    return to.pos;
}

size_t trace_source_read(struct trace_source *s, void *out, size_t len)
{
    return s->zstd != NULL ? read_zstd(s, out, len) : read_file(s, out, len);
}
