# SPDX-License-Identifier: BSD-2-Clause
#
# usage: plugin_host.py EXTENSION
#
# Loads a shared object that links zcache into Python and calls its consumer_main(), without the look
# at malloc: in some builds of Python that symbol resolves to a stub of the interpreter. Exit status
# 3: it cannot be loaded.

import ctypes
import sys

try:
    extension = ctypes.CDLL(sys.argv[1])
except OSError as error:
    print("plugin_host.py:", error)
    sys.exit(3)
arguments = (ctypes.c_char_p * 3)(b"consumer", b"own", None)
sys.exit(extension.consumer_main(2, arguments))
