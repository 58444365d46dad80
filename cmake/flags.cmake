# SPDX-License-Identifier: BSD-2-Clause
#
# zcache_build_flags: how this project's own translation units are compiled. It is linked PRIVATE
# only, so nothing of it reaches a user of the library.

# zc_existing(<list>) - drop the files of <list> that do not exist; zc_report_missing() names them.
function(zc_existing list)
    set(found)
    foreach(file IN LISTS ${list})
        if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
            list(APPEND found ${file})
        else()
            set_property(GLOBAL APPEND PROPERTY ZCACHE_MISSING_FILES ${file})
        endif()
    endforeach()
    set(${list} ${found} PARENT_SCOPE)
endfunction()

function(zc_report_missing)
    get_property(missing GLOBAL PROPERTY ZCACHE_MISSING_FILES)
    if(missing)
        list(JOIN missing " " missing)
        message(FATAL_ERROR "Listed, but missing: ${missing}")
    endif()
endfunction()

if(NOT ZCACHE_SANITIZE MATCHES "^(off|address|thread)$")
    message(FATAL_ERROR "ZCACHE_SANITIZE is '${ZCACHE_SANITIZE}': use off, address or thread")
endif()

set(ZCACHE_SANITIZE_FLAGS)
if(ZCACHE_SANITIZE STREQUAL "address")
    set(ZCACHE_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(ZCACHE_SANITIZE STREQUAL "thread")
    set(ZCACHE_SANITIZE_FLAGS -fsanitize=thread)
endif()

set(ZCACHE_COVERAGE_FLAGS)
if(ZCACHE_COVERAGE)
    set(ZCACHE_COVERAGE_FLAGS --coverage -fprofile-update=atomic) # threads count together
endif()

add_library(zcache_build_flags INTERFACE)
target_compile_definitions(zcache_build_flags INTERFACE
    _GNU_SOURCE
    $<$<BOOL:${ZCACHE_DEBUG}>:ZCACHE_DEBUG=1>)
target_compile_options(zcache_build_flags INTERFACE
    -Wall
    -Wextra
    -Wpedantic
    -Wshadow
    -Wstrict-prototypes
    -Wmissing-prototypes
    -Wvla
    -Wcast-qual
    -Wpointer-arith
    -Wundef
    $<$<C_COMPILER_ID:Clang>:-Wthread-safety>
    $<$<BOOL:${ZCACHE_WERROR}>:-Werror>
    $<$<NOT:$<STREQUAL:${ZCACHE_SANITIZE},off>>:-fno-omit-frame-pointer>
    $<$<BOOL:${ZCACHE_BUILD_FUZZ}>:-fsanitize=fuzzer-no-link>
    ${ZCACHE_SANITIZE_FLAGS}
    ${ZCACHE_COVERAGE_FLAGS})
target_link_options(zcache_build_flags INTERFACE
    ${ZCACHE_SANITIZE_FLAGS}
    ${ZCACHE_COVERAGE_FLAGS})
if(ZCACHE_SANITIZE STREQUAL "thread")
    # ThreadSanitizer understands ck's primitives only in this form, and it needs all of them.
    target_compile_options(zcache_build_flags INTERFACE
        "SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/ck_tsan.h"
        # It does not model fences; what they order here is atomic, so that nothing is misreported.
        $<$<C_COMPILER_ID:GNU>:-Wno-tsan>)
endif()
