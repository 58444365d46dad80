# SPDX-License-Identifier: BSD-2-Clause
#
# What the library is built on. Sets
#   ZCACHE_LINK_LIBRARIES    for target_link_libraries(), of the build and of the exported targets
#   ZCACHE_LINK_NAMES        the same as plain names, for zcache.pc
#   ZCACHE_LINK_DIRECTORIES  where they are, if the linker does not look there anyway
#   ZCACHE_JEMALLOC_USED     off, static or source
#   ZCACHE_JEMALLOC_OBJECT   object file to add to every form of the library, or empty
# and the target zcache_dependency_headers.
#
# The exported targets carry plain names (lz4, not a path), which is what makes them relocatable.

set(THREADS_PREFER_PTHREAD_FLAG OFF)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

set(ZCACHE_LINK_NAMES lz4 zstd xxhash numa)
set(ZCACHE_LINK_DIRECTORIES)
add_library(zcache_dependency_headers INTERFACE)
include(${CMAKE_CURRENT_LIST_DIR}/source.cmake)

foreach(module liblz4>=1.9 libzstd>=1.4.8 libxxhash>=0.8 numa>=2.0 ck>=0.7)
    string(REGEX REPLACE ">=.*" "" name ${module})
    pkg_check_modules(ZCACHE_${name} REQUIRED ${module})
    list(APPEND ZCACHE_LINK_DIRECTORIES ${ZCACHE_${name}_LIBRARY_DIRS})
    target_include_directories(zcache_dependency_headers SYSTEM INTERFACE
        ${ZCACHE_${name}_INCLUDE_DIRS})
endforeach()

# ck goes into the shared library: its archive is position independent, it is 60 KB, and two of its
# users in one process share nothing. ThreadSanitizer needs a ck of our own making.
if(ZCACHE_SANITIZE STREQUAL "thread")
    include(${CMAKE_CURRENT_LIST_DIR}/ck.cmake)
    set(ZCACHE_CK $<BUILD_INTERFACE:zcache_ck> $<INSTALL_INTERFACE:ck>)
else()
    find_library(ZCACHE_CK_ARCHIVE libck.a HINTS ${ZCACHE_ck_LIBDIR} REQUIRED)
    set(ZCACHE_CK $<BUILD_INTERFACE:${ZCACHE_CK_ARCHIVE}> $<INSTALL_INTERFACE:ck>)
endif()

include(${CMAKE_CURRENT_LIST_DIR}/jemalloc.cmake)

set(ZCACHE_LINK_LIBRARIES ${ZCACHE_LINK_NAMES} ${ZCACHE_CK} Threads::Threads)
list(APPEND ZCACHE_LINK_NAMES ck pthread)
if(ZCACHE_JEMALLOC_OBJECT)
    list(APPEND ZCACHE_LINK_LIBRARIES m)
    list(APPEND ZCACHE_LINK_NAMES m)
endif()
