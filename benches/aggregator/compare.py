#!/usr/bin/env python3
"""attache's aggregates beside some that a team would write by hand (axum, reqwest, serde_json), on the same work.

    cargo build --release && cargo build --release --manifest-path benches/aggregator/Cargo.toml
    benches/aggregator/compare.py [--rounds 10] [--seconds 1]

Three parts are asked at once and one document is made of them. `first` is how one writes it first, with trees of values;
`tuned` passes the bytes of answers on and reads into types what is picked. Each has one thread. Says, for each kind of
work and each of them, paired by round: processor time per request (attache's divided by theirs: median, least and most),
the median latency that is added over that of one part asked directly, and the most resident memory. All processes begin
anew for each kind of work, and that they answer the same is checked first. Needs h2load (nghttp2-client). Nothing but the
loopback address is used.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

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


def most_resident_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024


def load(url, connections, seconds, cpu):
    command = ["taskset", "-c", cpu, "h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said)
    if done is None or int(done[2]) or int(done[3]) or not int(done[1]):
        sys.exit(f"{url} did not answer well:\n{said}")
    return int(done[1])


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"{path} was answered with {answer.status}: {body[:200]}")
    return body


def latencies_ms(places, times=200):
    """The median latency of each place, asked in turn on connections that stay open."""
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for port, _ in places]
    took = [[] for _ in places]
    for _ in range(times):
        for connection, (_, path), mine in zip(connections, places, took):
            begin = time.perf_counter()
            get(connection, path)
            mine.append((time.perf_counter() - begin) * 1000)
    for connection in connections:
        connection.close()
    return [statistics.median(mine) for mine in took]


def check_alike(places):
    """All answer with the same document, whatever its spaces and numbers look like."""
    documents = []
    for port, path in places:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        documents.append(json.loads(get(connection, path)))
        connection.close()
    if any(document != documents[0] for document in documents) or len(documents[0]) != 3:
        sys.exit(f"they do not answer the same: {places}")


def compare(name, path, query, connections, wish, cpus, upstream, attache, start):
    """Prints a line for each hand-written one."""
    ours, others = cpus
    ports = [free_port() for _ in range(3)]
    pids = [start(ours, *attache(ports[0]))]
    aggregator = ROOT / "benches/aggregator/target/release/aggregator"
    pids += [start(ours, aggregator, f"127.0.0.1:{port}", f"http://127.0.0.1:{upstream}") for port in ports[1:]]
    for port in ports:
        wait_for(port)
    places = [(port, f"{under}{path}{query}") for port, under in zip(ports, ("", "/first", "/tuned"))]
    check_alike(places)
    spent = [[], [], []]
    for turn in range(wish.rounds + 1):
        for step in range(3):
            index = (step + turn) % 3
            port, place = places[index]
            begin = processor_ns(pids[index])
            requests = load(f"http://127.0.0.1:{port}{place}", connections, wish.seconds, others)
            if turn:  # The first round warms up.
                spent[index].append((processor_ns(pids[index]) - begin) / requests / 1000)
    alone, *latencies = latencies_ms([(upstream, f"/part{query}"), *places])
    most = [most_resident_mib(pid) for pid in pids]
    for index, other in ((1, "first"), (2, "tuned")):
        ratios = [mine / theirs for mine, theirs in zip(spent[0], spent[index])]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        us = f"{statistics.median(spent[0]):.0f}/{statistics.median(spent[index]):.0f}"
        added = f"{latencies[0] - alone:.2f}/{latencies[index] - alone:.2f}"
        print(f"{name:24} {other:6} {spread:20} {us:>12} {added:>12} {most[0]:8.1f}/{most[index]:.1f}", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--attache", default=str(ROOT / "target/release/attache"))
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--seconds", type=int, default=1)
    wish = arguments.parse_args()
    available = sorted(os.sched_getaffinity(0))
    ours, others = str(available[0]), str(available[-1])
    # What is measured has a processor of its own.
    os.sched_setaffinity(0, {available[-1]})
    children = []

    def start(cpu, *command):
        environment = {**os.environ, "TOKEN": "token-of-the-comparison"}
        child = subprocess.Popen(["taskset", "-c", cpu, *command], env=environment, **quiet)
        children.append(child)
        return child.pid

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as folder:
        picked = 'pick = ["id", "lines.sku", "lines.qty"]'
        upstream = free_port()

        def attache(port):
            config = pathlib.Path(folder, "proxy.toml")
            config.write_text(
                CONFIG.format(port=port, upstream=upstream) + route("/overview", "") + route("/picked", picked)
            )
            return wish.attache, "run", "--config", config

        try:
            start(others, ROOT / "benches/aggregator/target/release/upstreams", f"127.0.0.1:{upstream}")
            wait_for(upstream)
            print(f"{'work':24} {'other':6} {'cpu, attache / other':20} {'us':>12} {'added ms':>12} {'most MiB':>12}")
            for name, path, size, ms, connections in WORK:
                query = f"?bytes={size}&ms={ms}"
                before = len(children)
                compare(name, path, query, connections, wish, (ours, others), upstream, attache, start)
                for child in children[before:]:
                    child.terminate()
                    child.wait()
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()


if __name__ == "__main__":
    main()
