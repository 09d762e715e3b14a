#!/usr/bin/env python3
"""Counts the user instructions that a request costs, and holds them to tests/instructions.toml.

    tests/instructions.py [--attache target/release/attache] [--record REASON [--release VERSION]]

Runs under callgrind that differ in the number of their requests: the difference is what requests cost and start-up does
not. Answers are text, which is scanned for the token, or binary, which is not: one figure for each."""

# SEC-13: what scanning costs is the difference between the two figures, with the same 128 bytes.

import argparse
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "tests" / "instructions.toml"
#: Requests of every run, and those of which the cost is counted.
REQUESTS, MORE_REQUESTS = 2_000, 4_000
SECONDS_MAX = 240
MORE_THAN_LAST_MAX = 1.03
MORE_THAN_RELEASE_MAX = 1.10

TOKEN = "instructions-access-token"
BODY = b"x" * 128
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 128\r\n\r\n" + BODY
#: The paths that are asked for, the types of what they answer, which are equally long, and the keys of the figures.
KINDS = {"t": (b"text/plain", "instructions"), "b": (b"image/webp", "binary")}
GRANT = f'{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":86400}}'.encode()
GRANTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(GRANT), GRANT)
REQUEST = b"GET /%s HTTP/1.1\r\nHost: app.test\r\nUser-Agent: instructions\r\nAccept: */*\r\n\r\n"


def heads(connection):
    """The request heads that come on a connection, and what came behind each."""
    buffer = b""
    while data := connection.recv(65536):
        buffer += data
        while b"\r\n\r\n" in buffer:
            head, buffer = buffer.split(b"\r\n\r\n", 1)
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            while length and len(buffer) < int(length[1]):
                buffer += connection.recv(65536)
            buffer = buffer[int(length[1]) if length else 0 :]
            yield head


def serve(answer):
    """A server on a thread; returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run(connection):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for head in heads(connection):
                connection.sendall(answer(head))

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def upstream(head):
    if f"\r\nauthorization: bearer {TOKEN}".encode() not in head.lower():
        return b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    path = head.split(b" ")[1].decode().strip("/")
    return ANSWER % KINDS[path][0]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def proxy_toml(port, token_port, upstream_port):
    return f"""\
[[listeners]]
address = "127.0.0.1:{port}"

[server]
workers = 1

[log]
access = "off"

[credentials.api.client_credentials]
token_url = "http://127.0.0.1:{token_port}/token"
client_id = "instructions"
client_secret = {{ env = "SECRET" }}

[upstreams.api]
url = "http://127.0.0.1:{upstream_port}"
credential = "api"

[[routes]]
path = "/{{*rest}}"
upstream = "api"
clients = "anyone"
"""


def wait_for_start(process, log):
    """attache logs when it listens."""
    for line in process.stdout:
        log.append(line)
        if "listening on" in line:
            # What else it writes must not fill the pipe.
            threading.Thread(target=lambda: log.extend(process.stdout), daemon=True).start()
            return
    sys.exit("attache did not start:\n" + "".join(log))


def ask(port, paths):
    with socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, path in enumerate(paths):
            connection.sendall(REQUEST % path.encode())
            answer = b""
            while not answer.endswith(BODY):
                data = connection.recv(65536)
                if not data or not (answer + data).startswith(b"HTTP/1.1 200"):
                    sys.exit(f"request {number} got {answer + data!r}")
                answer += data


def instructions(binary, paths, folder, ports):
    """What attache executes in user space from its start over requests for these paths to its end."""
    out = folder / "callgrind"
    out.unlink(missing_ok=True)
    port = free_port()
    config = folder / "proxy.toml"
    config.write_text(proxy_toml(port, *ports))
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", binary, "run", "--config", str(config)]
    # The environment's size moves the stack; an empty one is the same everywhere.
    environment = {"SECRET": "secret-of-the-guard", "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    log = []
    try:
        wait_for_start(process, log)
        ask(port, paths)
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS_MAX)
    finally:
        process.kill()
        process.wait()
    total = re.search(r"^(?:summary|totals): (\d+)", out.read_text() if out.exists() else "", re.M)
    if not total:
        sys.exit("callgrind wrote no figures:\n" + "".join(log))
    return int(total[1])


def measure(binary):
    ports = serve(lambda _head: GRANTED), serve(upstream)
    with tempfile.TemporaryDirectory() as folder:
        few = ["t"] * REQUESTS
        start = instructions(binary, few, Path(folder), ports)
        figures = {}
        for path, (_, key) in KINDS.items():
            more = instructions(binary, few + [path] * MORE_REQUESTS, Path(folder), ports)
            figures[key] = round((more - start) / MORE_REQUESTS)
    return figures


def compiler():
    version = subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return version.split()[1]


def judge(figures, entries, rustc):
    """What is wrong with the figures, by those that were recorded."""
    problems = []
    for key, figure in figures.items():
        recorded = [entry for entry in entries if entry["rustc"] == rustc and key in entry]
        if not recorded:
            problems.append(f"no `{key}` is recorded for rustc {rustc}; `tests/instructions.py --record REASON` does it")
            continue
        last = recorded[-1][key]
        print(f"the last recorded `{key}` is {last} ({100 * figure / last - 100:+.1f} %)")
        if figure > last * MORE_THAN_LAST_MAX:
            problems.append(f"`{key}` is more than 3 % above {last}, the last recorded figure")
        released = [entry[key] for entry in recorded if "release" in entry]
        if released and figure > released[-1] * MORE_THAN_RELEASE_MAX:
            problems.append(f"`{key}` is more than 10 % above {released[-1]}, the last release's figure")
    return problems


def record(figures, rustc, reason, release):
    lines = ["", "[[figures]]", f'rustc = "{rustc}"', *(f"{key} = {figure}" for key, figure in figures.items())]
    lines.append(f'reason = "{reason}"')
    if release:
        lines.append(f'release = "{release}"')
    with FIGURES.open("a") as file:
        file.write("\n".join(lines) + "\n")
    print(f"recorded for rustc {rustc}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attache", default=str(ROOT / "target/release/attache"))
    parser.add_argument("--record", metavar="REASON")
    parser.add_argument("--release", metavar="VERSION", help="with --record: hold later figures to this one")
    arguments = parser.parse_args()
    figures, rustc = measure(arguments.attache), compiler()
    scanned, passed = figures["instructions"], figures["binary"]
    print(f"{scanned} instructions a request, {scanned - passed} of them for scanning: {passed} with a binary answer")
    if arguments.record:
        return record(figures, rustc, arguments.record, arguments.release)
    problems = judge(figures, tomllib.loads(FIGURES.read_text()).get("figures", []), rustc)
    print("\n".join(problems) or "good")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
