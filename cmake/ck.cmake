# SPDX-License-Identifier: BSD-2-Clause
#
# zcache_ck: Concurrency Kit built for ThreadSanitizer, see ck_tsan.h.

zc_fetch_source(ck libck-dev ck_source)

add_library(zcache_ck STATIC
    ${ck_source}/src/ck_array.c
    ${ck_source}/src/ck_epoch.c
    ${ck_source}/src/ck_hp.c
    ${ck_source}/src/ck_hs.c
    ${ck_source}/src/ck_ht.c
    ${ck_source}/src/ck_rhs.c)
target_compile_definitions(zcache_ck PRIVATE _GNU_SOURCE)
target_compile_options(zcache_ck PRIVATE
    -w
    ${ZCACHE_SANITIZE_FLAGS}
    "SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/ck_tsan.h")
set_target_properties(zcache_ck PROPERTIES
    C_STANDARD 11
    C_EXTENSIONS ON
    POSITION_INDEPENDENT_CODE ON)
