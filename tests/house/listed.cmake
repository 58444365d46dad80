# SPDX-License-Identifier: BSD-2-Clause
#
# cmake -D LISTED=<file with one path per line> -D SOURCE=<root> -P listed.cmake
#
# No source file of the library and no test program is forgotten in the CMake lists: a test that is not
# listed is not run, and nobody would notice.

cmake_minimum_required(VERSION 3.25)

file(STRINGS ${LISTED} listed)
file(GLOB sources ${SOURCE}/src/*.c)
file(GLOB programs ${SOURCE}/tests/*/*.c ${SOURCE}/tests/*/*.cc)
list(FILTER programs EXCLUDE REGEX "/tests/(house|package)/")

foreach(file IN LISTS sources programs)
    if(NOT file IN_LIST listed)
        file(STRINGS ${file} entry REGEX "^(int main|int LLVMFuzzerTestOneInput)\\(" LIMIT_COUNT 1)
        if(file IN_LIST sources OR entry)
            message(SEND_ERROR "${file} is in no list of CMakeLists.txt")
        endif()
    endif()
endforeach()
