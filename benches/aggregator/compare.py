#!/usr/bin/env python3
"""attache's aggregates beside one that a team would write by hand (axum, reqwest, serde_json), on the same work.

    cargo build --release && cargo build --release --manifest-path benches/aggregator/Cargo.toml
    benches/aggregator/compare.py [--rounds 10] [--seconds 1]

Three parts are asked at once and one document is made of them; the rounds of both are paired. Says, for each kind of
work: processor time per request (attache's divided by the other's: median, least and most), the median latency that is
added over that of one part asked directly, and the resident memory at the end. Needs h2load (nghttp2-client).
Nothing but the loopback address is used.
"""

import argparse
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = [  # (name, path, bytes of a part, milliseconds that each takes, connections)
    ("3 x 1 KiB spliced", "/overview", 1024, 0, 32),
    ("3 x 16 KiB spliced", "/overview", 16384, 0, 32),
    ("3 x 256 KiB spliced", "/overview", 262144, 0, 8),
    ("3 x 16 KiB picked", "/picked", 16384, 0, 32),
    ("3 x 1 KiB after 20 ms", "/overview", 1024, 20, 64),
]
PART = """
[routes.aggregate.parts.{name}]
upstream = "api"
path = "/part?bytes={{query.bytes}}&ms={{query.ms}}"
{more}"""
CONFIG = """
[[listeners]]
address = "127.0.0.1:{port}"
[server]
workers = 1
[log]
access = "off"
[credentials.api.bearer]
token = {{ env = "TOKEN" }}
[upstreams.api]
url = "http://127.0.0.1:{upstream}"
credential = "api"
"""


def route(path, more):
    parts = "".join(PART.format(name=name, more=more) for name in ("profile", "orders", "invoices"))
    return f'[[routes]]\npath = "{path}"\nclients = "anyone"\n{parts}\n'


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on port {port}")


def processor_ns(pid):
    threads = os.listdir(f"/proc/{pid}/task")
    return sum(int(open(f"/proc/{pid}/task/{thread}/schedstat").read().split()[0]) for thread in threads)


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def load(url, connections, seconds, cpu):
    command = ["taskset", "-c", cpu, "h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said)
    if done is None or int(done[2]) or int(done[3]) or not int(done[1]):
        sys.exit(f"{url} did not answer well:\n{said}")
    return int(done[1])


def latency_ms(url, times=60):
    """The median of requests one after the other."""
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        urllib.request.urlopen(url, timeout=10).read()
        took.append((time.perf_counter() - begin) * 1000)
    return statistics.median(took)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--attache", default=str(ROOT / "target/release/attache"))
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--seconds", type=int, default=1)
    wish = arguments.parse_args()
    built = ROOT / "benches/aggregator/target/release"
    cpus = sorted(os.sched_getaffinity(0))
    ours, others = str(cpus[0]), str(cpus[-1])
    upstream, attache, byhand = free_port(), free_port(), free_port()
    children = []

    def start(cpu, *command):
        child = subprocess.Popen(["taskset", "-c", cpu, *command], stdout=subprocess.DEVNULL, env={**os.environ, "TOKEN": "TOKEN"})
        children.append(child)
        return child.pid

    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "proxy.toml")
        picked = 'pick = ["id", "lines.sku", "lines.qty"]'
        config.write_text(CONFIG.format(port=attache, upstream=upstream) + route("/overview", "") + route("/picked", picked))
        try:
            start(others, built / "upstreams", f"127.0.0.1:{upstream}")
            pids = [
                start(ours, wish.attache, "run", "--config", config),
                start(ours, built / "aggregator", f"127.0.0.1:{byhand}", f"http://127.0.0.1:{upstream}"),
            ]
            ports = [attache, byhand]
            for port in [upstream, *ports]:
                wait_for(port)
            print(f"{'work':24} {'cpu, attache / by hand':28} {'us':>12} {'added ms':>14} {'rss MiB':>12}")
            for name, path, size, ms, connections in WORK:
                query = f"?bytes={size}&ms={ms}"
                urls = [f"http://127.0.0.1:{port}{path}{query}" for port in ports]
                ratios, spent = [], [[], []]
                for turn in range(wish.rounds + 1):
                    took = [0.0, 0.0]
                    for index in (0, 1) if turn % 2 else (1, 0):
                        begin = processor_ns(pids[index])
                        requests = load(urls[index], connections, wish.seconds, others)
                        took[index] = (processor_ns(pids[index]) - begin) / requests / 1000
                    if turn:  # The first round warms up.
                        ratios.append(took[0] / took[1])
                        [spent[index].append(took[index]) for index in (0, 1)]
                alone = latency_ms(f"http://127.0.0.1:{upstream}/part{query}")
                added = [latency_ms(url) - alone for url in urls]
                rss = [resident_kib(pid) / 1024 for pid in pids]
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
                us = "/".join(f"{statistics.median(times):.0f}" for times in spent)
                print(f"{name:24} {spread:28} {us:>12} {added[0]:6.2f}/{added[1]:.2f} {rss[0]:6.1f}/{rss[1]:.1f}", flush=True)
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()


if __name__ == "__main__":
    main()
