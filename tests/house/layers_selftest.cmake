# SPDX-License-Identifier: BSD-2-Clause
#
# cmake -D WORK=<directory> -P layers_selftest.cmake
#
# layers.cmake must find each of these faults in an otherwise good tree, and none in the good tree.

cmake_minimum_required(VERSION 3.25)

# check(<expected text, or empty> <file> <line>) - the good tree, with <line> added to <file>.
function(check expected file line)
    file(REMOVE_RECURSE ${WORK})
    file(WRITE ${WORK}/layers.txt "# comment\nlow:  one two(two_more table)\nhigh: three four\n")
    file(WRITE ${WORK}/include/zcache/pub.h "#include <stdint.h>\n")
    file(WRITE ${WORK}/src/one.c "#include \"one.h\"\n#include <stdio.h>\n")
    file(WRITE ${WORK}/src/one.h "#include <zcache/pub.h>\n")
    file(WRITE ${WORK}/src/two.h "#include \"one.h\"\n#  include \"table.def\"\n")
    file(WRITE ${WORK}/src/two_more.c "#include \"two.h\"\n")
    file(WRITE ${WORK}/src/table.def "ROW(x)\n")
    file(WRITE ${WORK}/src/three.c "#include \"two.h\"\n")
    file(WRITE ${WORK}/src/four.h "")
    file(WRITE ${WORK}/src/four.c "#include \"four.h\"\n#include \"one.h\"\n")
    file(APPEND ${WORK}/${file} "${line}\n")
    execute_process(
        COMMAND ${CMAKE_COMMAND} -D LAYERS=${WORK}/layers.txt -D SOURCE=${WORK}
            -P ${CMAKE_CURRENT_LIST_DIR}/layers.cmake
        RESULT_VARIABLE status
        OUTPUT_VARIABLE output
        ERROR_VARIABLE output)
    string(REGEX REPLACE "[ \n]+" " " output "${output}")
    if(expected STREQUAL "" AND NOT status EQUAL 0)
        message(SEND_ERROR "found a fault in a good tree, with '${line}' in ${file}: ${output}")
    elseif(NOT expected STREQUAL "" AND (status EQUAL 0 OR NOT output MATCHES "${expected}"))
        message(SEND_ERROR "did not find '${line}' in ${file}: ${status}: ${output}")
    endif()
endfunction()

check("" src/four.c "")
check("" src/four.c "#include \"three.h\"")
check("" src/two_more.c "#include \"two_more.h\"")
check("" include/zcache/pub.h "#include <zcache/pub2.h>")
check("src/one.c .low/one. must not include \"three.h\" .high/three." src/one.c "#include \"three.h\"")
check("must not include \"four.h\"" src/three.c " # include  \"four.h\"")
check("must not include \"two.h\"" src/one.h "#include \"two.h\"")
check("no module's file" src/four.c "#include \"../tests/x.h\"")
check("no module's file" src/four.c "#include \"five.h\"")
check("src/five.c: in no module" src/five.c "int x;")
check("in two modules" layers.txt "last: one")
check("include/zcache/pub.h includes \"one.h\"" include/zcache/pub.h "#include \"one.h\"")
check("include/zcache/pub.h includes <zstd.h>" include/zcache/pub.h "#include <zstd.h>")
file(REMOVE_RECURSE ${WORK})
