#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""usage: replay.py ZCACHE-BENCH SOURCE WORK

The test bench.replay: zcache-bench replay over small traces in all formats, made here, with pages
made of the sources below SOURCE. What is simulated must agree with a simulation here; what zcache
does must be possible: never more pages than fit, hits that add up by tier, every page found again
where all fit. Wrong options and broken traces get a message that helps.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree

BENCH, SOURCE, WORK = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
PAGES, REQUESTS, PAGE_BYTES = 1500, 12000, 4096
MEMBERS = {"bench": str, "case": str, "trace": str, "policy": str, "subject": str, "size": str,
           "version": str, "requests": int, "hits": int, "hit_ratio": float, "misses": int,
           "distinct_pages": int, "ns_per_request": float, "seconds": float}
GNUPLOT = shutil.which("gnuplot") is not None

errors = []


def check(true, text):
    if not true:
        errors.append(text)


def run(*arguments, env=None):
    return subprocess.run([BENCH, "replay", *map(str, arguments)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False, env=env)


# ---- what is replayed ----------------------------------------------------------------------------

def make_requests():
    """(page, write, tenant): some pages often, and scans."""
    rng = random.Random(2)
    requests = []
    while len(requests) < REQUESTS:
        if rng.random() < 0.005:
            start = rng.randrange(PAGES - 200)
            requests += [(page, False, 1) for page in range(start, start + 200)]
        else:
            page = int(PAGES * rng.random() ** 3)
            requests.append((page, rng.random() < 0.2, page % 2))
    return requests[:REQUESTS]


def write_zt(path, requests):
    path.write_bytes(b"".join(struct.pack("<QIBBH", page, 1, write, 0, tenant)
                              for page, write, tenant in requests))


def write_oracle(path, requests):
    path.write_bytes(b"".join(struct.pack("<IQIq", 1, page, 512, -1) for page, _, _ in requests))


def write_csv(path, requests):
    path.write_text("time,id,op\n" + "".join(f"1,{page},{'rw'[write]}\n"
                                             for page, write, _ in requests))


def make_corpus(path, pages):
    """Pages of words of the sources: they compress, no two are the same."""
    rng = random.Random(1)
    words = [word for file in sorted((SOURCE / "src").glob("*.c"))
             for word in file.read_bytes().split()]
    with path.open("wb") as out:
        for _ in range(pages):
            start = rng.randrange(len(words) - 4096)
            text = b"%16d " % rng.getrandbits(50) + b" ".join(words[start:start + 4096])
            out.write(text[:PAGE_BYTES])


def lru_hits(requests, capacity):
    cached, hits = collections.OrderedDict(), 0
    for page, _, tenant in requests:
        if (page, tenant) in cached:
            hits += 1
            cached.move_to_end((page, tenant))
        else:
            if len(cached) == capacity:
                cached.popitem(last=False)
            cached[page, tenant] = True
    return hits


# ---- results -------------------------------------------------------------------------------------

def check_row(row):
    name = "{trace} {case} {size} {subject}".format(**row)
    if "missing" in row:
        check(row["subject"].startswith("rocksdb") and row["missing"], f"{name}: missing")
        return
    for key, kind in MEMBERS.items():
        check(isinstance(row.get(key), kind), f"{name}: {key} is {row.get(key)}")
    check(("cache_pages" if row["case"] == "pages" else "cache_bytes") in row, f"{name}: no size")
    check(row["hits"] + row["misses"] == row["requests"], f"{name}: {row}")
    check(abs(row["hit_ratio"] - row["hits"] / row["requests"]) < 1e-6, f"{name}: {row}")
    check(row["hits"] <= row["requests"] - row["distinct_pages"], f"{name}: too many hits")
    if row["subject"] == "zcache":
        check_zcache(name, row)


def check_zcache(name, row):
    hits = sum(row[f"hits_{form}"] for form in ["raw", "fast", "dense", "same", "put"])
    check(hits == row["hits"], f"{name}: {row['hits']} hits, {hits} by tier")
    check(0 < row["mean_pages"] <= row["peak_pages"] <= row["distinct_pages"], f"{name}: {row}")
    check(row["rejects"] == row["errors"] == 0, f"{name}: puts or gets failed")
    check(0 < row["mean_bytes"] <= row["limit_bytes"], f"{name}: charged {row['mean_bytes']}")
    if row["case"] == "pages":
        check(row["peak_pages"] <= row["cache_pages"], f"{name}: {row['peak_pages']} pages")
        check(row["mean_pages"] >= min(0.85 * row["cache_pages"], row["cache_pages"] - 6),
              f"{name}: on average only {row['mean_pages']} pages")
        check(row["hits_fast"] == row["hits_dense"] == 0, f"{name}: something was compressed")


def rows_of(done, lines):
    check(done.returncode == 0, f"exit status {done.returncode}: {done.stderr}")
    check(done.stderr == "", f"it wrote to a stderr that is no terminal: {done.stderr}")
    print(done.stdout)
    rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    lines.unlink(missing_ok=True)
    for row in rows:
        check_row(row)
    return rows


def hits(rows, subject, size):
    found = [row["hits"] for row in rows if row["subject"] == subject and row["size"] == size]
    check(len(found) == 1, f"{subject} {size}: {len(found)} results")
    return found[0] if found else -1


# ---- the checks ----------------------------------------------------------------------------------

def check_formats(traces, requests, lines):
    """The same requests are the same in all formats, and as here."""
    plain = [(page, write, 0) for page, write, _ in requests]
    distinct = len(set(plain_page for plain_page, _, _ in plain))
    for trace in traces:
        rows = rows_of(run(trace, "--pages", "40,10%,100%", "--json", lines), lines)
        check({row["subject"] for row in rows} == {"zcache", "sim-lru", "sim-s3fifo"},
              f"{trace}: {rows}")
        check(all(row["distinct_pages"] == distinct for row in rows), f"{trace}: not {distinct}")
        for size, pages in [("40", 40), ("10%", distinct // 10), ("100%", distinct)]:
            check(hits(rows, "sim-lru", size) == lru_hits(plain, pages), f"{trace} {size}: LRU")
        check(hits(rows, "sim-s3fifo", "100%") == REQUESTS - distinct, f"{trace}: S3-FIFO")
        if trace.name.startswith("trace.oracle"):  # nothing is put again, which takes room
            check(hits(rows, "zcache", "100%") == REQUESTS - distinct, f"{trace}: a page left")


def check_tenants(trace, requests, lines):
    rows = rows_of(run(trace, "--pages", "20%", "--tenants", "--writes", "dirty", "--policy",
                       "default", "--json", lines), lines)
    distinct = len(set((page, tenant) for page, _, tenant in requests))
    check(hits(rows, "sim-lru", "20%") == lru_hits(requests, distinct // 5), "tenants: LRU")
    rows = rows_of(run(trace, "--pages", "20%", "--writes", "get", "--requests", 3000,
                       "--json", lines), lines)
    check(hits(rows, "sim-lru", "20%") == lru_hits(
        requests[:3000], len(set((page, tenant) for page, _, tenant in requests[:3000])) // 5),
          "the first requests: LRU")
    check(all(row["requests"] == 3000 and row.get("hits_put", 0) == 0 for row in rows), "requests")


def check_bytes(traces, corpus, lines):
    """Compressed pages of a corpus: more of them than uncompressed ones, in as many bytes."""
    done = run(*traces, "--corpus", corpus, "--bytes", "40%", "--splits", "10,60",
               "--requests", 4000, "--options", "fast_percent=40", "--json", lines)
    rows = rows_of(done, lines)
    subjects = {row["subject"] for row in rows}
    check(subjects == {"zcache", "raw-lru", "rocksdb-lz4", "rocksdb-zstd"}, f"{subjects}")
    for row in rows:
        if row["subject"] == "zcache" and row["size"] == "40%":
            check(row["hits_fast"] + row["hits_dense"] > 0, f"nothing was compressed: {row}")
            check(row["mean_pages"] > row["cache_bytes"] / PAGE_BYTES, f"few pages: {row}")
        if row["subject"].startswith("rocksdb") and "missing" not in row:
            tried = row["misses_tried"]
            check(set(tried) == {"10% raw", "60% raw"} and row["misses"] == min(tried.values()) ==
                  tried[row["detail"]], f"not the best split: {row}")
    check("means over the traces" in done.stdout and "misses x" in done.stdout, "no summary")
    rows = rows_of(run(f"{traces[0]}@{corpus}", "--bytes", "2M", "--limit", "tenant", "--peer",
                       "none", "--requests", 2000, "--json", lines), lines)
    check({row["subject"] for row in rows} == {"zcache", "raw-lru"}, f"--peer none: {rows}")
    check(all(row["cache_bytes"] == 2 << 20 for row in rows), f"2M: {rows}")


def check_plot(trace, plot):
    done = run(trace, "--cache", "2%,5%,20%", "--plot", plot)
    check(done.returncode == (0 if GNUPLOT else 2), f"--plot: {done.returncode} {done.stderr}")
    if GNUPLOT:
        text = plot.read_text()
        xml.etree.ElementTree.fromstring(text)
        for word in ["zcache default", "sim-lru lru", "sim-s3fifo s3fifo", "hit ratio", "plain"]:
            check(word in text, f"{plot}: no '{word}'")
    done = run(trace, "--plot", plot, env={**os.environ, "PATH": str(WORK / "nothing")})
    check(done.returncode == 2 and "gnuplot-nox" in done.stderr, f"no gnuplot: {done.stderr}")


def check_report(trace, corpus, lines):
    """The page of plots of other commands bears lines of replay in their file."""
    run(trace, "--pages", "10%", "--json", lines)
    done = subprocess.run([BENCH, "hit", "-f", corpus, "--pages", "64", "--repeats", "1", "--seconds",
                           "0", "--peer", "none", "--json", lines, "--report", WORK / "report"],
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"--report: {done.stderr}")
    text = (WORK / "report" / "index.html").read_text()
    check("<h2>replay</h2>" in text and "<h2>hit</h2>" in text and "nan" not in text.lower(),
          "--report with lines of replay")


def check_wrong(trace, corpus):
    for arguments, text in [
            ([], "TRACE is missing"),
            ([trace, "--bytes", "10%"], "--bytes needs real pages"),
            ([trace, "--pages", "0"], "--pages has '0'"),
            ([trace, "--pages", "200%"], "--pages has '200%'"),
            ([trace, "--pages", "1.5"], "numbers of pages"),
            ([f"{trace}@{corpus}", "--bytes", "10%,4X"], "--bytes has '4X'"),
            ([trace, "--pages", "1,2,3,4,5,6,7,8,9"], "more than 8 sizes"),
            ([trace, "--cache", "10%", "--pages", "10"], "goes with neither"),
            ([f"{trace}@{corpus}", "--cache", "64"], "takes parts of the distinct pages"),
            ([trace, "--policy", "clairvoyant"], "does not take policy=clairvoyant"),
            ([trace, "--polcy", "lru"], "perhaps --policy"),
            ([trace, "--options", "raw_percent=200"], "raw_percent"),
            ([trace, "--writes", "dirt"], "perhaps 'dirty'"),
            ([trace, "--format", "parquet"], "zt, oracle, csv"),
            ([trace, "--limit", "none"], "capacity, tenant"),
            ([trace, "--splits", "0"], "it goes from 1 to 100"),
            ([trace, "--requests", "-1"], "--requests is -1"),
            ([trace, "--page-size", "100"], "it goes from 512")]:
        done = run(*arguments)
        check(done.returncode == 2 and text in done.stderr,
              f"{arguments}: exit status {done.returncode}, not 2 with '{text}': {done.stderr}")
    strange, short, text = WORK / "strange", WORK / "short.zt", WORK / "columns.csv"
    strange.write_bytes(b"?")
    short.write_bytes(trace.read_bytes()[:-3])
    text.write_text("1,2,3\n")
    for path, words in [(strange, "--format"), (short, "13 bytes into record"),
                        (text, "--columns obj-id-col=N"), (WORK / "nothing.zt", "No such file")]:
        done = run(path)
        check(done.returncode == 1 and words in done.stderr and str(path) in done.stderr,
              f"{path}: exit status {done.returncode}, not 1 with '{words}': {done.stderr}")
    done = run(f"{trace}@{WORK / 'nothing'}", "--bytes", "1M")
    check(done.returncode == 1 and "nothing" in done.stderr, f"a missing corpus: {done.stderr}")
    done = run("--help")
    check(done.returncode == 0 and "--policy" in done.stdout, f"--help: {done.stdout}")


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    requests, lines, corpus = make_requests(), WORK / "lines.json", WORK / "corpus"
    make_corpus(corpus, 400)
    traces = [WORK / "plain.zt", WORK / "trace.oracleGeneral.bin", WORK / "trace.csv"]
    write_zt(traces[0], [(page, write, 0) for page, write, _ in requests])
    write_oracle(traces[1], requests)
    write_csv(traces[2], requests)
    write_zt(WORK / "tenants.zt", requests)
    if shutil.which("zstd") is not None:
        subprocess.run(["zstd", "-q", traces[2]], check=True)
        traces.append(WORK / "trace.csv.zst")
    check_formats(traces, requests, lines)
    check_tenants(WORK / "tenants.zt", requests, lines)
    check_bytes([traces[0], traces[2]], corpus, lines)
    check_plot(traces[0], WORK / "plot.svg")
    check_report(traces[0], corpus, lines)
    check_wrong(traces[0], corpus)
    for text in errors:
        print(f"replay: {text}", file=sys.stderr)
    sys.exit(1 if errors else 0)


main()
