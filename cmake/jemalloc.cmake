# SPDX-License-Identifier: BSD-2-Clause
#
# jemalloc inside the library, invisible from outside: one object file, zcje.o, whose only global
# symbols are zcje_mallocx and its sisters, so that the application keeps its own malloc.
#
#   static  from the distribution's libjemalloc_pic.a. That archive keeps its thread state in static
#           thread-local storage, of which a process has little to spare after its start: programs
#           that link zcache work, dlopen() of zcache fails unless the process was started with
#           GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384.
#   source  from the distribution's source package, built without that. Plug-ins need it.
#   off     none; the pools map their memory themselves. Sanitizers see every byte only so.

set(ZCACHE_JEMALLOC_USED ${ZCACHE_JEMALLOC})
if(NOT ZCACHE_SANITIZE STREQUAL "off" OR ZCACHE_BUILD_FUZZ)
    set(ZCACHE_JEMALLOC_USED off)
endif()
set(ZCACHE_JEMALLOC_OBJECT)

if(ZCACHE_JEMALLOC_USED STREQUAL "off")
    return()
elseif(NOT ZCACHE_JEMALLOC_USED MATCHES "^(static|source)$")
    message(FATAL_ERROR "ZCACHE_JEMALLOC is '${ZCACHE_JEMALLOC}': use static, source or off")
endif()

pkg_check_modules(ZCACHE_jemalloc REQUIRED jemalloc>=5.3)
target_include_directories(zcache_dependency_headers SYSTEM INTERFACE
    ${ZCACHE_jemalloc_INCLUDE_DIRS})

set(work ${PROJECT_BINARY_DIR}/jemalloc)
set(ZCACHE_JEMALLOC_OBJECT ${work}/zcje.o)

if(ZCACHE_JEMALLOC_USED STREQUAL "static")
    find_library(ZCACHE_JEMALLOC_ARCHIVE libjemalloc_pic.a
        HINTS ${ZCACHE_jemalloc_LIBDIR} REQUIRED)
    set(archive ${ZCACHE_JEMALLOC_ARCHIVE})
else()
    zc_fetch_source(jemalloc libjemalloc-dev jemalloc_source)
    set(archive ${work}/libjemalloc_pic.a)
    add_custom_command(OUTPUT ${archive}
        COMMAND ${CMAKE_COMMAND} -E env CC=${CMAKE_C_COMPILER}
            ${PROJECT_SOURCE_DIR}/cmake/build-jemalloc ${jemalloc_source} ${work} ${archive}
        DEPENDS ${PROJECT_SOURCE_DIR}/cmake/build-jemalloc
        COMMENT "Building jemalloc from source"
        VERBATIM)
endif()

add_custom_command(OUTPUT ${ZCACHE_JEMALLOC_OBJECT}
    COMMAND ${CMAKE_COMMAND} -E env
        AR=${CMAKE_AR} NM=${CMAKE_NM} LD=${CMAKE_LINKER} OBJCOPY=${CMAKE_OBJCOPY}
        ${PROJECT_SOURCE_DIR}/cmake/hide-jemalloc ${archive} ${work} ${ZCACHE_JEMALLOC_OBJECT}
    DEPENDS ${archive} ${PROJECT_SOURCE_DIR}/cmake/hide-jemalloc
    COMMENT "Renaming and hiding jemalloc's symbols"
    VERBATIM)
set_source_files_properties(${ZCACHE_JEMALLOC_OBJECT} PROPERTIES
    EXTERNAL_OBJECT ON
    GENERATED ON)
add_custom_target(zcache_jemalloc DEPENDS ${ZCACHE_JEMALLOC_OBJECT})
