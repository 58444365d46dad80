#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""usage: rocksdb_bench.py ZCACHE-ROCKSDB-BENCH SOURCE WORK

The test examples.rocksdb_bench: the benchmark for a moment, over rows made of the sources below
SOURCE, where reads are quick and where they take a millisecond. The benchmark compares every value
that it reads and fails if one is wrong. Checked here is that each cache comes with each time, that
the numbers are possible and agree with each other, and that slow reads take their time. It says
nothing about which cache is better.
"""

import json
import math
import pathlib
import shutil
import subprocess
import sys

BENCH, SOURCE, WORK = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
SUBJECTS = ["none", "compressed", "compressed-zstd", "zcache"]
READ_US = [0, 1000]
SLOW_US = READ_US[1]
READS = 2000
NUMBERS = ["reads_per_s", "x_compressed", "block_read_percent", "cpu_us"]

errors = []


def check(true, text):
    if not true:
        errors.append(text)


def run(*more):
    return subprocess.run(
        [BENCH, "--corpus", WORK / "corpus", "--db", WORK / "db", "--primary", "192K", "--secondary", "2M",
         "--options", "page_max=16K", "--reads", str(READS), "--warm-up", "2", "--rounds", "1",
         "--read-us", ",".join(map(str, READ_US)), *more], capture_output=True, text=True, timeout=100, check=False)


def check_result(one):
    name = f"{one['secondary']} with reads of {one['read_us']} us"
    for key in NUMBERS:
        check(math.isfinite(one[key]) and one[key] >= 0, f"{name}: {key} is {one[key]}")
    check(one["reads_per_s"] > 0, f"{name}: nothing was read")
    if one["secondary"] == "compressed":
        check(one["x_compressed"] == 1, f"{name}: it is {one['x_compressed']} times itself")
    blocks = one["block_read_percent"] / 100 * READS
    if one["read_us"] == SLOW_US:
        seconds = READS / one["reads_per_s"]
        check(seconds >= blocks * SLOW_US / 1e6, f"{name}: {blocks} of them took {seconds} s")
    check(blocks <= 3 * READS, f"{name}: {blocks} blocks were read for {READS} rows")
    check(one["secondary"] != "none" or blocks > 0, f"{name}: the caches are larger than the database")


shutil.rmtree(WORK, ignore_errors=True)
WORK.mkdir(parents=True)
with open(WORK / "corpus", "wb") as corpus:
    for path in sorted([*SOURCE.glob("src/*.[ch]"), *SOURCE.glob("tests/*/*.c")]):
        corpus.write(path.read_bytes())

done = run("--json")
check(done.returncode == 0, f"it fails: {done.stderr}")
if done.returncode == 0:
    report = json.loads(done.stdout)
    check([(r["read_us"], r["secondary"]) for r in report["results"]] ==
          [(us, s) for us in READ_US for s in SUBJECTS], "each cache, with each time, in this order")
    for result in report["results"]:
        check_result(result)
    check(report["row_bytes"] * report["rows"] > 1 << 20, "there are few rows")
    check(sorted(report["grown_mib"]) == sorted(SUBJECTS), "the memory that each took")
    check(report["held_mib"] > 0, "zcache held nothing")

done = run()
lines = done.stdout.splitlines()
check(done.returncode == 0 and len(lines) == 3 + len(READ_US) * len(SUBJECTS), f"no table: {done.stdout}{done.stderr}")
check(run("--corpus", WORK / "missing").returncode == 1, "a corpus that is missing is an error")
shutil.rmtree(WORK / "db", ignore_errors=True)

print("\n".join(errors) if errors else "ok")
sys.exit(1 if errors else 0)
