# SPDX-License-Identifier: BSD-2-Clause
#
# cmake -D LAYERS=<table> -D SOURCE=<root> -P layers.cmake
#
# Checks the #include lines below SOURCE/src and SOURCE/include against the table of layers.

cmake_minimum_required(VERSION 3.25)

# 1. Read the table: rank_<file> is the place of the file's module, place_<rank> how to name it.
set(rank 0)
file(STRINGS ${LAYERS} lines REGEX "^[a-z]+:")
foreach(line IN LISTS lines)
    string(REGEX MATCH "^([a-z]+):(.*)$" line "${line}")
    set(layer ${CMAKE_MATCH_1})
    string(REGEX MATCHALL "[a-z0-9_]+(\\([a-z0-9_ ]*\\))?" modules "${CMAKE_MATCH_2}")
    foreach(module IN LISTS modules)
        math(EXPR rank "${rank} + 1")
        string(REGEX MATCHALL "[a-z0-9_]+" files "${module}")
        list(GET files 0 name)
        set(place_${rank} "${layer}/${name}")
        foreach(file IN LISTS files)
            if(DEFINED rank_${file})
                message(SEND_ERROR "${LAYERS}: ${file} is in two modules")
            endif()
            set(rank_${file} ${rank})
        endforeach()
    endforeach()
endforeach()
if(rank EQUAL 0)
    message(FATAL_ERROR "${LAYERS}: no modules found")
endif()

# 2. The sources include no module after their own.
file(GLOB_RECURSE files RELATIVE ${SOURCE}/src ${SOURCE}/src/*.c ${SOURCE}/src/*.h ${SOURCE}/src/*.def)
set(checked 0)
foreach(file IN LISTS files)
    get_filename_component(name ${file} NAME_WE)
    if(NOT DEFINED rank_${name})
        message(SEND_ERROR "src/${file}: in no module of ${LAYERS}")
        continue()
    endif()
    set(own ${rank_${name}})

    file(STRINGS ${SOURCE}/src/${file} includes REGEX "^[ \t]*#[ \t]*include[ \t]*\"")
    foreach(include IN LISTS includes)
        string(REGEX MATCH "\"([^\"]*)\"" include "${include}")
        set(include ${CMAKE_MATCH_1})
        if(include MATCHES "^zcache/")
            continue()
        endif()
        get_filename_component(name ${include} NAME_WE)
        if(NOT include MATCHES "^[a-z0-9_]+\\.(h|def)$" OR NOT DEFINED rank_${name})
            message(SEND_ERROR "src/${file} includes \"${include}\", which is no module's file")
        elseif(rank_${name} GREATER own)
            message(SEND_ERROR "src/${file} (${place_${own}}) must not include \"${include}\" "
                "(${place_${rank_${name}}}), which comes later")
        endif()
        math(EXPR checked "${checked} + 1")
    endforeach()
endforeach()

# 3. The public headers include system headers and each other, in angle brackets.
file(GLOB headers RELATIVE ${SOURCE}/include ${SOURCE}/include/zcache/*.h)
foreach(file IN LISTS headers)
    file(STRINGS ${SOURCE}/include/${file} includes REGEX "^[ \t]*#[ \t]*include")
    foreach(include IN LISTS includes)
        string(REGEX MATCH "[<\"][^>\"]*[>\"]" include "${include}")
        if(NOT include MATCHES "^<(zcache/[a-z0-9_]+|std[a-z]+|sys/types)\\.h>$")
            message(SEND_ERROR "include/${file} includes ${include}")
        endif()
    endforeach()
endforeach()

list(LENGTH files count)
message(STATUS "${count} files, ${checked} includes of modules, ${rank} modules")
