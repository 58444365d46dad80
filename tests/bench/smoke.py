#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""usage: smoke.py ZCACHE-BENCH SOURCE WORK

The test bench.smoke: every command of zcache-bench for a moment, over pages made of the sources
below SOURCE. Checks that each case comes with zcache and its peers, or a reason why not, that the
rows have what docs/performance.md says, that the numbers are possible, and that wrong options get
a message that helps. It says nothing about speed.
"""

import json
import math
import pathlib
import random
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

BENCH, SOURCE, WORK = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
# zram is left out: a test does not add devices to the machine.
PEERS = "memcpy,bare,rocksdb-csc,rocksdb-lru,rocksdb-hcc,nbdkit-zstd"
SUBJECTS = {"zcache", "zram", *PEERS.split(",")}
TIMES = ["ns_per_op", "ns_per_op_min", "ns_per_op_max", "ops_per_s", "relative"]
QUANTILES = ["p50_ns", "p99_ns", "p999_ns"]

# Command: its cases, each with the subjects that must be there, measured or named as missing.
COMMANDS = {
    "codec": {"lz4-encode": {"bare", "memcpy"}, "lz4-decode": {"bare", "memcpy"},
              "zstd-encode": {"bare", "memcpy"}, "zstd-decode": {"bare", "memcpy"},
              "dense-decode": {"bare", "rocksdb-csc"}},
    "hit": {"get-raw": {"memcpy", "rocksdb-lru", "rocksdb-hcc"},
            "get-fast": {"bare", "rocksdb-csc"},
            "get-dense": {"bare", "rocksdb-csc", "nbdkit-zstd"},
            "pin": {"memcpy", "rocksdb-lru", "rocksdb-hcc"}},
    "put": {"put-raw": {"memcpy", "rocksdb-csc", "rocksdb-lru", "nbdkit-zstd"},
            "put-insert": {"memcpy"},
            "put-stream": {"bare", "rocksdb-csc", "rocksdb-lru"}},
    "scale": {"get-raw": {"memcpy", "rocksdb-lru", "rocksdb-hcc"},
              "get-fast": {"bare", "rocksdb-csc"},
              "put-raw": {"memcpy", "rocksdb-csc", "rocksdb-lru", "nbdkit-zstd"}},
    "tenants": {"get-raw": set(), "put-raw": set(), "fairness": set()},
    "writeback": {"file": {"bare"}, "buffered": {"bare"}, "direct": {"bare"}, "journal": {"bare"}, "slow": {"bare"}},
    "busy": {"shrinker": {"memcpy"}, "neighbour": {"bare"}},
    "grow": {"get-raw": {"bare", "rocksdb-lru", "rocksdb-hcc"}, "put-raw": {"bare", "rocksdb-lru", "rocksdb-hcc"},
             "get-many": set()},
    "churn": {"fresh": {"rocksdb-lru"}, "churned": {"rocksdb-csc", "rocksdb-lru"},
              "shrunk": {"rocksdb-lru"}},
}
MORE = {"scale": ["--threads", "1,2"], "tenants": ["--tenants", "1,20"],
        "codec": ["--page-size", "4096,8192"], "churn": ["--repeats", "1"],
        "grow": ["--tenants", "3", "--keys", "100,5000"]}

errors = []


def check(true, text):
    if not true:
        errors.append(text)


def run(*arguments):
    return subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)


def make_corpus(path, pages):
    """Pages of words of the sources: they compress, no two are the same."""
    rng = random.Random(1)
    words = [word for file in sorted((SOURCE / "src").glob("*.c"))
             for word in file.read_bytes().split()]
    with path.open("wb") as out:
        for _ in range(pages):
            start = rng.randrange(len(words) - 4096)
            text = b"%16d " % rng.getrandbits(50) + b" ".join(words[start:start + 4096])
            out.write(text[:4096])


def check_times(name, row):
    for key in TIMES:
        value = row.get(key)
        check(isinstance(value, float) and math.isfinite(value) and value > 0,
              f"{name}: {key} is {value}")
    check(row["ns_per_op_min"] <= row["ns_per_op"] <= row["ns_per_op_max"],
          f"{name}: the median is not between the extremes")
    check(isinstance(row.get("relative_to"), str), f"{name}: relative to nobody")
    if row["bench"] != "writeback":
        values = [row.get(key, -1) for key in QUANTILES]
        check(0 <= values[0] <= values[1] <= values[2], f"{name}: quantiles are {values}")


def check_churn(name, row):
    for key in ["pages", "stored_bytes", "resident_bytes", "efficiency", "limit_bytes"]:
        check(row.get(key, 0) > 0, f"{name}: {key} is {row.get(key)}")
    check(row.get("peak_over_limit_bytes", -1) >= 0, f"{name}: no peak")
    if row["subject"] == "zcache":
        check(row["peak_charge_over_limit_bytes"] == 0, f"{name}: the charge passed its limit")
        check(row["metadata_bytes_per_page"] > 0, f"{name}: no metadata")


def check_busy(name, row):
    quantiles = [row.get(key, -1) for key in QUANTILES]
    check(0 < quantiles[0] <= quantiles[1] <= quantiles[2], f"{name}: quantiles are {quantiles}")
    check(0 < row["hit_percent"] <= 100 and row["hits"] > 0, f"{name}: hits are {row['hit_percent']} %")
    check(row["p999_relative"] > 0, f"{name}: nothing to compare with")
    if row["detail"] == "rest":
        check(row["load_per_s"] == 0 and row["p99_relative"] == row["p999_relative"] == 1, f"{name}: no rest")
    if row["subject"] == "zcache":
        check(row["hits_raw"] + row["hits_fast"] + row["hits_dense"] == row["hits"], f"{name}: hits by tier")


def check_row(row):
    name = "{bench} {case} {subject}".format(**row)
    check(row["subject"] in SUBJECTS, f"{name}: who is that?")
    check(row["page_bytes"] >= (64 if row["bench"] == "grow" else 4096) and row["corpus"] and row["version"], f"{name}: incomplete")
    if "missing" in row:
        check(row["subject"] != "zcache" and row["missing"], f"{name}: {row['missing']}")
        return
    check(row["threads"] >= 1, f"{name}: no threads")
    if row["bench"] == "churn":
        check_churn(name, row)
    elif row["bench"] == "busy":
        check_busy(name, row)
    elif row["case"] == "fairness":
        check(0 < row["jain"] <= 1.000001, f"{name}: Jain's index is {row['jain']}")
        check(0 < row["lowest_share"] <= 1 <= row["highest_share"], f"{name}: {row}")
    else:
        check_times(name, row)
    if row["bench"] == "grow":
        check(row["pages"] in (100, 5000), f"{name}: {row}")
        if row["subject"] == "zcache":
            check(row["tenants"] == 3 and row["pool_bytes"] > row["huge_bytes"], f"{name}: {row}")
    if row["bench"] == "codec":
        check(row["ratio"] >= 1, f"{name}: ratio is {row['ratio']}")
    if row["bench"] == "writeback" and row["case"] == "slow":
        check(row["ops_per_s"] <= row["theory_ops_per_s"] * 1.001,
              f"{name}: faster than its store: {row['ops_per_s']}")


def check_command(command, corpus, lines, report):
    before = len(lines.read_text().splitlines()) if lines.exists() else 0
    done = run(command, "--corpus", corpus, "--pages", 256, "--repeats", 2, "--seconds", 0,
               "--peer", PEERS, "--json", lines, "--report", report, "--work-dir", WORK,
               *MORE.get(command, []))
    print(done.stdout)
    check(done.returncode == 0, f"{command}: exit status {done.returncode}: {done.stderr}")
    if done.returncode != 0:
        return
    check(done.stderr == "", f"{command}: wrote to a stderr that is no terminal: {done.stderr}")
    rows = [json.loads(line) for line in lines.read_text().splitlines()[before:]]
    for row in rows:
        check(row["bench"] == command, f"{command}: a row of {row['bench']}")
        check_row(row)
    for case, subjects in COMMANDS[command].items():
        have = {row["subject"] for row in rows if row["case"] == case}
        missing = {row["subject"] for row in rows if "missing" in row}
        lacking = ({"zcache"} | subjects) - have - missing
        check(not lacking, f"{command} {case}: no word of {lacking}")
    strange = {row["case"] for row in rows} - set(COMMANDS[command])
    check(not strange, f"{command}: cases {strange} are not in this test")


def check_report(path):
    text = path.read_text()
    for command in COMMANDS:
        check(f"<h2>{command}</h2>" in text, f"{path}: nothing about {command}")
    check(text.count("<svg") == text.count("</svg>") >= 20, f"{path}: few plots")
    for plot in re.findall(r"<svg.*?</svg>", text, re.S):
        xml.etree.ElementTree.fromstring(plot)
    for outside in ["src=", "href=", "url("]:
        check(outside not in text.split("<details>", maxsplit=1)[0], f"{path}: it needs {outside}")


def check_wrong(corpus):
    for arguments, text in [
            ([], "Usage"),
            (["hitt"], "perhaps 'hit'"),
            (["hit"], "--corpus FILE is missing"),
            (["hit", "-f", corpus, "--page-bytes", "4096"], "--page-size"),
            (["hit", "-f", corpus, "--peer", "rocksdb"], "perhaps 'rocksdb-csc'"),
            (["hit", "-f", corpus, "--threads", "1,x"], "--threads is '1,x'"),
            (["hit", "-f", corpus, "--threads", "0"], "it goes from 1"),
            (["hit", "-f", corpus, "--pages", "few"], "--pages few: invalid"),
            (["hit", "-f", corpus, "--repeats", "0"], "it goes from 1"),
            (["hit", "-f", corpus, "--tenants", "2"], "unknown option"),
            (["hit", "-f", corpus, "--case", "pin,get"], "no case 'get'"),
            (["codec", "-f", corpus, "--case", "pin"], "unknown option"),
            (["hit", "-f", corpus, "surplus"], "'surplus' is not an option"),
            (["churn", "-f", corpus, "--threads", "2"], "one thread puts"),
            (["churn", "-f", corpus, "--keys", "100,200"], "--keys is one number"),
            (["grow", "-f", corpus, "--keys", "0"], "it goes from 1"),
            (["grow", "-f", corpus, "--keys", "50", "--tenants", "51"], "less than --tenants"),
            (["grow", "-f", corpus, "--skew", "1"], "equal probability")]:
        done = run(*arguments)
        check(done.returncode == 2 and text in done.stderr,
              f"{arguments}: exit status {done.returncode}, not 2 with '{text}': {done.stderr}")
    done = run("hit", "-f", corpus.with_name("nothing"))
    check(done.returncode == 1 and "nothing" in done.stderr, f"a missing corpus: {done.stderr}")
    done = run("hit", "--help")
    check(done.returncode == 0 and "--corpus" in done.stdout, f"--help: {done.stdout}")


def check_case(corpus):
    done = run("put", "-f", corpus, "--case", "put-insert", "--peer", "none", "--repeats", "1",
               "--seconds", "0")
    cases = set(re.findall(r"^(put-\w+) ", done.stdout, re.MULTILINE))
    check(done.returncode == 0 and cases == {"put-insert"}, f"--case: {cases}: {done.stderr}")


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    corpus = WORK / "corpus"
    make_corpus(corpus, 512)
    for command in COMMANDS:
        check_command(command, corpus, WORK / "lines.json", WORK / "report")
    check_report(WORK / "report" / "index.html")
    check_wrong(corpus)
    check_case(corpus)
    left = [path.name for path in WORK.glob("zcache-bench.*")]
    check(not left, f"left behind: {left}")
    for text in errors:
        print(f"smoke: {text}", file=sys.stderr)
    sys.exit(1 if errors else 0)


main()
