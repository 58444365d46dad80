# SPDX-License-Identifier: BSD-2-Clause

# zc_fetch_source(<source package> <installed package> <out>) - the source of a distribution package
#
# in the version that is installed here, unpacked below ZCACHE_SOURCE_CACHE. Done while configuring,
# so that a machine without network says so early.
function(zc_fetch_source source installed out)
    execute_process(
        COMMAND dpkg-query --show --showformat=\${source:Version} ${installed}
        OUTPUT_VARIABLE version
        ERROR_QUIET)
    message(STATUS "Source of ${source} ${version} in ${ZCACHE_SOURCE_CACHE}")
    execute_process(
        COMMAND ${PROJECT_SOURCE_DIR}/cmake/fetch-source ${source} "${version}" ${ZCACHE_SOURCE_CACHE}
        OUTPUT_VARIABLE directory
        OUTPUT_STRIP_TRAILING_WHITESPACE
        COMMAND_ERROR_IS_FATAL ANY)
    set(${out} ${directory} PARENT_SCOPE)
endfunction()
