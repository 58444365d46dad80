/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace_csv.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_BYTES  4096
#define BUF_BYTES   65536
#define COLUMNS_MAX 1024u

enum answer {
    UNSAID,
    NO,
    YES
};

struct layout {
    unsigned id; /* columns count from 1; 0: there is none */
    unsigned op;
    unsigned tenant;
    char delimiter;
    enum answer header;
    enum answer numeric;
};

struct csv {
    struct trace_source *from;
    char *error;
    struct layout layout;
    char buf[BUF_BYTES];
    size_t pos;
    size_t len;
    char line[LINE_BYTES];
    unsigned long number; /* of the line */
};

struct field {
    const char *at;
    size_t len;
};

__attribute__((format(printf, 2, 3))) static bool refuse(char *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(error, TRACE_ERROR_BYTES, format, args);
    va_end(args);
    return false;
}

static bool field_is(struct field f, const char *text)
{
    return strlen(text) == f.len && strncasecmp(f.at, text, f.len) == 0;
}

static bool field_in(struct field f, const char *const *names)
{
    while (*names != NULL && !field_is(f, *names)) {
        names++;
    }
    return *names != NULL;
}

static struct field trimmed(struct field f)
{
    while (f.len > 0 && (isspace((unsigned char)*f.at) || *f.at == '"')) {
        f.at++;
        f.len--;
    }
    while (f.len > 0 && (isspace((unsigned char)f.at[f.len - 1]) || f.at[f.len - 1] == '"')) {
        f.len--;
    }
    return f;
}

static bool to_number(struct field f, uint64_t *out)
{
    uint64_t value = 0;

    if (f.len == 0) {
        return false;
    }
    for (size_t i = 0; i < f.len; i++) {
        const unsigned digit = (unsigned)(f.at[i] - '0');

        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* FNV-1a: of an id that is no number. */
static uint64_t to_hash(struct field f)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < f.len; i++) {
        h = (h ^ (unsigned char)f.at[i]) * UINT64_C(1099511628211);
    }
    return h;
}

/* ---------------------------------------------------------------------------------------------
 * Lines and fields.
 */

/* The next line that is not empty, without its end.  False: there is none, or an error. */
static bool next_line(struct csv *c)
{
    size_t n = 0;

    for (;;) {
        if (c->pos == c->len) {
            c->pos = 0;
            c->len = trace_source_read(c->from, c->buf, sizeof c->buf);
            if (c->len == 0) {
                break;
            }
        }
        if (c->buf[c->pos] == '\n') {
            c->pos++;
            c->number++;
            if (n != 0) {
                break;
            }
            continue;
        }
        if (n == sizeof c->line - 1) {
            return refuse(c->error, "line %lu is longer than %d bytes", c->number + 1, LINE_BYTES);
        }
        if (c->buf[c->pos] != '\r') {
            c->line[n++] = c->buf[c->pos];
        }
        c->pos++;
    }
    c->line[n] = '\0';
    return n != 0;
}

static bool find_field(const struct csv *c, unsigned column, struct field *out)
{
    const char *p = c->line;

    for (; column > 1 && p != NULL; column--) {
        p = strchr(p, c->layout.delimiter);
        p = p != NULL ? p + 1 : NULL;
    }
    if (p == NULL) {
        return false;
    }
    *out = trimmed((struct field){.at = p, .len = strcspn(p, (char[]){c->layout.delimiter, 0})});
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Which column is what.
 */

static bool read_answer(const char *name, struct field value, enum answer *out, char *error)
{
    if (field_is(value, "true") || field_is(value, "1")) {
        *out = YES;
    } else if (field_is(value, "false") || field_is(value, "0")) {
        *out = NO;
    } else {
        return refuse(error, "%s is true or false", name);
    }
    return true;
}

static bool read_column(const char *name, struct field value, unsigned *out, char *error)
{
    uint64_t number;

    if (!to_number(value, &number) || number < 1 || number > COLUMNS_MAX) {
        return refuse(error, "%s is the number of a column, from 1 to %u", name, COLUMNS_MAX);
    }
    *out = (unsigned)number;
    return true;
}

static bool read_item(struct layout *l, struct field name, struct field value, char *error)
{
    unsigned unused;

    if (field_is(name, "obj-id-col")) {
        return read_column("obj-id-col", value, &l->id, error);
    }
    if (field_is(name, "op-col")) {
        return read_column("op-col", value, &l->op, error);
    }
    if (field_is(name, "tenant-col")) {
        return read_column("tenant-col", value, &l->tenant, error);
    }
    if (field_is(name, "time-col") || field_is(name, "obj-size-col")) {
        return read_column("a column", value, &unused, error);
    }
    if (field_is(name, "has-header")) {
        return read_answer("has-header", value, &l->header, error);
    }
    if (field_is(name, "obj-id-is-num")) {
        return read_answer("obj-id-is-num", value, &l->numeric, error);
    }
    return refuse(error,
                  "'%.*s' is none of obj-id-col, op-col, tenant-col, time-col, obj-size-col, "
                  "delimiter, has-header, obj-id-is-num",
                  (int)(name.len > 40 ? 40 : name.len), name.at);
}

/* The value of delimiter= begins at @p: the comma may be one.  Where the next item is; NULL. */
static const char *read_delimiter(struct layout *l, const char *p, char *error)
{
    if (strncmp(p, "\\t", 2) == 0) {
        l->delimiter = '\t';
        p += 2;
    } else if (*p != '\0' && *p != '"' && *p != '\n') {
        l->delimiter = *p++;
    }
    p += strspn(p, " ");
    if (l->delimiter == '\0' || (*p != ',' && *p != '\0')) {
        (void)refuse(error, "delimiter is one character, or \\t");
        return NULL;
    }
    return *p == ',' ? p + 1 : p;
}

static bool read_layout(struct layout *l, const char *text, char *error)
{
    const char *p = text;

    l->delimiter = '\0';
    while (*(p += strspn(p, " ")) != '\0') {
        const size_t len = strcspn(p, ",");
        const size_t name = strcspn(p, "=,");

        if (name == len) {
            return refuse(error, "'%.*s' is not of the form name=value", (int)(len > 40 ? 40 : len),
                          p);
        }
        if (field_is(trimmed((struct field){p, name}), "delimiter")) {
            p = read_delimiter(l, p + name + 1, error);
            if (p == NULL) {
                return false;
            }
            continue;
        }
        if (!read_item(l, trimmed((struct field){p, name}),
                       trimmed((struct field){p + name + 1, len - name - 1}), error)) {
            return false;
        }
        p += len + (p[len] == ',' ? 1 : 0);
    }
    l->delimiter = l->delimiter == '\0' ? ',' : l->delimiter;
    return l->id != 0 || refuse(error, "the columns lack obj-id-col");
}

static bool layout_of_header(struct csv *c)
{
    static const char *const ids[] = {"obj_id", "obj-id", "objid", "object", "obj",   "id",
                                      "key",    "page",   "block", "lba",    "blkno", NULL};
    static const char *const ops[] = {"op", "operation", "type", "rw", NULL};
    static const char *const tenants[] = {"tenant", "volume", "vol", "ns", NULL};
    struct layout *l = &c->layout;
    struct field f;

    l->delimiter = strchr(c->line, ',') == NULL && strchr(c->line, '\t') != NULL ? '\t' : ',';
    for (unsigned column = 1; column <= COLUMNS_MAX && find_field(c, column, &f); column++) {
        l->id = l->id == 0 && field_in(f, ids) ? column : l->id;
        l->op = l->op == 0 && field_in(f, ops) ? column : l->op;
        l->tenant = l->tenant == 0 && field_in(f, tenants) ? column : l->tenant;
    }
    return l->id != 0 ||
           refuse(c->error,
                  "no column of its first line is called obj_id, id, key, page or block; say which "
                  "is the id with --columns obj-id-col=N");
}

/* ---------------------------------------------------------------------------------------------
 * Requests.
 */

static bool wrong_field(const struct csv *c, const char *what, const struct field *f)
{
    return f == NULL ? refuse(c->error, "line %lu has no %s", c->number, what)
                     : refuse(c->error, "line %lu: '%.*s' is no %s", c->number,
                              (int)(f->len > 40 ? 40 : f->len), f->at, what);
}

static bool read_id(const struct csv *c, uint64_t *id)
{
    struct field f;

    if (!find_field(c, c->layout.id, &f) || f.len == 0) {
        return wrong_field(c, "object id", NULL);
    }
    if (c->layout.numeric != NO && to_number(f, id)) {
        return true;
    }
    *id = to_hash(f);
    return c->layout.numeric != YES || wrong_field(c, "number", &f);
}

static bool read_op(const struct csv *c, bool *write)
{
    static const char *const reads[] = {"0", "r", "read", "get", "gets", NULL};
    static const char *const writes[] = {"1", "w", "write", "put", "set", "add", "replace", NULL};
    struct field f;

    *write = false;
    if (c->layout.op == 0) {
        return true;
    }
    if (!find_field(c, c->layout.op, &f)) {
        return wrong_field(c, "operation", NULL);
    }
    *write = field_in(f, writes);
    return *write || field_in(f, reads) || wrong_field(c, "operation", &f);
}

static bool read_tenant(const struct csv *c, uint16_t *tenant)
{
    uint64_t number = 0;
    struct field f;

    if (c->layout.tenant != 0) {
        if (!find_field(c, c->layout.tenant, &f)) {
            return wrong_field(c, "tenant", NULL);
        }
        if (!to_number(f, &number) || number > UINT16_MAX) {
            return wrong_field(c, "tenant from 0 to 65535", &f);
        }
    }
    *tenant = (uint16_t)number;
    return true;
}

static bool add_line(const struct csv *c, struct trace_build *b)
{
    uint16_t tenant = 0;
    uint64_t id = 0;
    bool write = false;

    return read_id(c, &id) && read_op(c, &write) && read_tenant(c, &tenant) &&
           (trace_build_add(b, id, tenant, write) || refuse(c->error, "too many pages"));
}

/* With columns given: whether the first line is a header, by what is said or by its id. */
static bool first_is_header(const struct csv *c)
{
    uint64_t id;
    struct field f;

    if (c->layout.header != UNSAID) {
        return c->layout.header == YES;
    }
    return c->layout.numeric != NO && find_field(c, c->layout.id, &f) && !to_number(f, &id) &&
           f.len > 0 && strspn(f.at, "0123456789") == 0;
}

static bool read_lines(struct csv *c, const char *columns, struct trace_build *b)
{
    bool header;

    if (columns != NULL && !read_layout(&c->layout, columns, c->error)) {
        return false;
    }
    if (!next_line(c)) {
        return c->error[0] == '\0'; /* empty: for the caller to say */
    }
    if (columns == NULL && !layout_of_header(c)) {
        return false;
    }
    header = columns == NULL || first_is_header(c);
    if (!header && !add_line(c, b)) {
        return false;
    }
    while (!trace_build_full(b) && next_line(c)) {
        if (!add_line(c, b)) {
            return false;
        }
    }
    return c->error[0] == '\0';
}

bool trace_csv_read(struct trace_source *from,
                    const char *columns,
                    struct trace_build *b,
                    char *error)
{
    struct csv *c = calloc(1, sizeof *c);
    bool done;

    if (c == NULL) {
        return refuse(error, "no memory");
    }
    c->from = from;
    c->error = error;
    done = read_lines(c, columns, b);
    free(c);
    return done;
}
