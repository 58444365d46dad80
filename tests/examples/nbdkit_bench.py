#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""usage: nbdkit_bench.py BENCH.PY PLUGIN SOURCE WORK

The test examples.nbdkit_bench: examples/nbdkit/bench.py for a moment, over disks made of the sources
below SOURCE. The benchmark reads back what it filled the disks with, and what it wrote, and fails if
a block is wrong. Checked here is that both servers are reported with numbers that are possible.
It says nothing about which is better.
"""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

BENCH, PLUGIN, SOURCE, WORK = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
NUMBERS = ["iops", "x", "cpu_us", "resident_mib"]

for tool in ["nbdkit", "nbdcopy", "fio"]:
    if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        print(f"skipped: there is no {tool} (scripts/setup examples)")
        sys.exit(77)

shutil.rmtree(WORK, ignore_errors=True)
WORK.mkdir(parents=True)
with open(WORK / "corpus", "wb") as corpus:
    for path in sorted(SOURCE.glob("src/*.[ch]")):
        corpus.write(path.read_bytes())

done = subprocess.run(
    [sys.executable, BENCH, "--plugin", PLUGIN, "--corpus", WORK / "corpus", "--size", "8",
     "--cache", "capacity=16M", "--jobs", "2", "--seconds", "1", "--rounds", "1", "--json"],
    capture_output=True, text=True, timeout=100, check=False)
if done.returncode != 0:
    sys.exit(f"it fails: {done.stdout}{done.stderr}")
report = json.loads(done.stdout)
errors = []
if [s["server"] for s in report["servers"]] != ["memory-zstd", "zcache"]:
    errors.append(f"not both servers: {report}")
for server in report["servers"]:
    for key in NUMBERS:
        if not (math.isfinite(server[key]) and server[key] > 0):
            errors.append(f"{server['server']}: {key} is {server[key]}")
    if server["blocks_verified"] < 8 << 20 >> 12:
        errors.append(f"{server['server']}: {server['blocks_verified']} blocks were verified")
print("\n".join(errors) if errors else "ok")
sys.exit(1 if errors else 0)
