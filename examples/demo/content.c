/* SPDX-License-Identifier: BSD-2-Clause */
#include "content.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOURCE_BYTES_MIN (16u << 20)
#define STAMP_MAGIC      0x64656d6f7374616du
#define VERSION_STRIDE   7919 /* pages between the bases of neighbouring versions */

struct stamp {
    uint64_t magic;
    uint64_t page;
    uint32_t owner;
    uint32_t version;
};

int source_open(const char *path, struct source *out)
{
    struct stat st;
    void *bytes;
    int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st) != 0) {
        rc = -errno;
    } else if (st.st_size < SOURCE_BYTES_MIN || st.st_size % PAGE_BYTES != 0) {
        rc = -EINVAL;
    } else {
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
            rc = -errno;
        } else {
            *out = (struct source){.bytes = bytes, .n_pages = (uint64_t)st.st_size / PAGE_BYTES};
        }
    }
    (void)close(fd);
    return rc;
}

void source_close(struct source *source)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = source->bytes};

    if (bytes.out != NULL) {
        (void)munmap(bytes.out, source->n_pages * PAGE_BYTES);
        source->bytes = NULL;
    }
}

static const unsigned char *base_page(const struct source *source,
                                      const struct page_name *name,
                                      uint32_t version)
{
    uint64_t index =
        (name->first + name->page + (uint64_t)version * VERSION_STRIDE) % source->n_pages;

    return source->bytes + index * PAGE_BYTES;
}

void content_make(const struct source *source,
                  const struct page_name *name,
                  uint32_t version,
                  void *buf)
{
    const struct stamp stamp = {STAMP_MAGIC, name->page, name->owner, version};

    memcpy(buf, base_page(source, name, version), PAGE_BYTES);
    if (version != 0) {
        memcpy(buf, &stamp, sizeof stamp);
    }
}

int content_version(const struct source *source,
                    const struct page_name *name,
                    const void *bytes,
                    size_t len,
                    uint32_t *version_out)
{
    const size_t rest = sizeof(struct stamp);
    struct stamp stamp;

    if (len != PAGE_BYTES) {
        return -EBADMSG;
    }
    if (memcmp(bytes, base_page(source, name, 0), PAGE_BYTES) == 0) {
        *version_out = 0;
        return 0;
    }
    memcpy(&stamp, bytes, sizeof stamp);
    if (stamp.magic != STAMP_MAGIC || stamp.page != name->page || stamp.owner != name->owner ||
        stamp.version == 0 ||
        memcmp((const char *)bytes + rest, base_page(source, name, stamp.version) + rest,
               PAGE_BYTES - rest) != 0) {
        return -EBADMSG;
    }
    *version_out = stamp.version;
    return 0;
}
