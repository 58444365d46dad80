#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""nbdkit over zcache, beside nbdkit's memory plugin with allocator=zstd, under the same fio.

Each server gets a disk full of data, which is read back and compared; then they take turns: jobs of
random reads and writes of 4 KiB for some seconds each. At the end each disk is written once more, at
random, and every block is verified. Reported are medians of the rounds. Needs nbdkit, fio and nbdcopy.

    bench.py --plugin nbdkit-zcache-plugin.so --corpus FILE
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--plugin", required=True, help="nbdkit-zcache-plugin.so")
    p.add_argument("--corpus", required=True, help="a file of real data, with which disks are filled")
    p.add_argument("--size", type=int, default=128, help="MiB of each disk")
    p.add_argument("--cache", default="capacity=128M", help="options of the cache")
    p.add_argument("--jobs", type=int, default=4)
    p.add_argument("--depth", type=int, default=4, help="requests in flight of each job")
    p.add_argument("--seconds", type=int, default=3, help="of one turn")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return p.parse_args()


class Server:
    """nbdkit with one plugin; it ends with us."""

    def __init__(self, name, directory, *plugin):
        self.name = name
        self.socket = os.path.join(directory, name)
        self.iops = []
        self.cpu = []
        # A plugin that is loaded with dlopen() finds little room for thread-local data otherwise.
        env = dict(os.environ, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=16384")
        pidfile = self.socket + ".pid"
        self.process = subprocess.Popen(["nbdkit", "--foreground", "--exit-with-parent", "-U", self.socket,
                                         "-P", pidfile, *plugin], env=env)
        while not os.path.exists(pidfile):
            if self.process.poll() is not None:
                sys.exit(f"{name}: nbdkit does not start")
            time.sleep(0.01)
        self.uri = f"nbd+unix:///?socket={self.socket}"

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self):
        self.process.terminate()
        self.process.wait()


def fill(server, image):
    back = server.socket + ".back"
    subprocess.run(["nbdcopy", image, server.uri], check=True)
    subprocess.run(["nbdcopy", server.uri, back], check=True)
    with open(image, "rb") as expected, open(back, "rb") as found:
        if expected.read() != found.read():
            sys.exit(f"{server.name}: the disk is not what was written")
    os.remove(back)


def run_fio(server, args, name, *options):
    """Random accesses to all of the disk; what fio says about reads and writes."""
    share = args.size // args.jobs
    report = server.socket + ".json"
    subprocess.run(
        ["fio", f"--name={name}", "--ioengine=nbd", f"--uri={server.uri}", "--bs=4k",
         f"--size={share}m", f"--offset_increment={share}m", f"--numjobs={args.jobs}",
         f"--iodepth={args.depth}", "--buffer_compress_percentage=50", "--refill_buffers",
         "--group_reporting", "--output-format=json", f"--output={report}", *options], check=True)
    with open(report, encoding="utf-8") as text:
        return json.loads("{" + text.read().partition("{")[2])["jobs"][0]


def take_turn(server, args, seed):
    before = server.cpu_seconds()
    job = run_fio(server, args, "turn", "--rw=randrw", f"--randseed={seed}", "--time_based",
                  f"--runtime={args.seconds}")
    ops = job["read"]["total_ios"] + job["write"]["total_ios"]
    server.iops.append(job["read"]["iops"] + job["write"]["iops"])
    server.cpu.append((server.cpu_seconds() - before) * 1e6 / ops)


def verify(server, args):
    """How many blocks were written, read and right; fio fails if one is wrong."""
    job = run_fio(server, args, "verify", "--rw=randwrite", "--verify=crc32c", "--do_verify=1",
                  "--verify_fatal=1")
    return job["read"]["total_ios"]


def show(args, servers):
    print(f"{args.jobs} jobs, depth {args.depth}, random reads and writes of 4 KiB, {args.size} MiB")
    print(f"{'server':<12} {'IOPS':>8} {'x':>6} {'CPU us/request':>15} {'resident MiB':>13}")
    for s in servers:
        print(f"{s['server']:<12} {s['iops']:8.0f} {s['x']:6.2f} {s['cpu_us']:15.1f} {s['resident_mib']:13.0f}")


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as directory:
        image = os.path.join(directory, "image")
        with open(args.corpus, "rb") as corpus, open(image, "wb") as out:
            text = corpus.read(args.size << 20)
            while out.tell() < args.size << 20:
                out.write(text[:(args.size << 20) - out.tell()])
        servers = [
            Server("memory-zstd", directory, "memory", f"size={args.size}M", "allocator=zstd"),
            Server("zcache", directory, args.plugin, f"size={args.size}M", f"cache={args.cache}"),
        ]
        for server in servers:
            fill(server, image)
        for r in range(args.rounds):
            for server in servers if r % 2 == 0 else servers[::-1]:
                take_turn(server, args, r + 1)
        ratios = [b / a for a, b in zip(servers[0].iops, servers[1].iops)]
        results = [{"server": server.name, "iops": statistics.median(server.iops), "x": ratio,
                    "cpu_us": statistics.median(server.cpu), "resident_mib": server.memory_mib()}
                   for server, ratio in zip(servers, (1, statistics.median(ratios)))]
        for server, result in zip(servers, results):
            result["blocks_verified"] = verify(server, args)
            server.stop()
        if args.json:
            print(json.dumps({"jobs": args.jobs, "depth": args.depth, "size_mib": args.size, "servers": results}))
        else:
            show(args, results)


main()
