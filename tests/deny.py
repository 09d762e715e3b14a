#!/usr/bin/env python3
"""Checks what attache is built from against deny.toml, without the network.

deny.toml is written for cargo-deny. Building that takes longer than all our tests, so this reads the same file and does
its offline checks on what `cargo metadata` says: licenses, banned crates, sources. It is no cargo-deny: it knows just the
keys that our file uses, and refuses others."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Every key that is checked here, or that is said here not to be.
KNOWN = {
    "graph": {"all-features", "exclude-dev"},
    "advisories": {"yanked"},
    "licenses": {"allow"},
    "bans": {"multiple-versions", "wildcards", "deny"},
    "sources": {"unknown-registry", "unknown-git", "allow-registry"},
}


def metadata():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def shipped(meta):
    """The ids of the packages in the program: all that is reached without a development dependency."""
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    reached, open_ids = set(), [meta["resolve"]["root"]]
    while open_ids:
        package = open_ids.pop()
        if package in reached:
            continue
        reached.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                open_ids.append(dependency["pkg"])
    return reached


def allows(expression, allowed):
    """Whether an SPDX expression can be satisfied with these licenses. Old manifests write `/` for OR."""
    words = re.findall(r"\(|\)|[\w.+-]+", expression.replace("/", " OR "))

    def alternatives():
        value = conjunction()
        while words and words[0] == "OR":
            words.pop(0)
            value = conjunction() or value
        return value

    def conjunction():
        value = term()
        while words and words[0] == "AND":
            words.pop(0)
            value = term() and value
        return value

    def term():
        word = words.pop(0)
        if word == "(":
            value = alternatives()
            assert words.pop(0) == ")", expression
            return value
        if words and words[0] == "WITH":
            # An exception only ever gives more rights.
            words.pop(0), words.pop(0)
        return word in allowed

    value = alternatives()
    assert not words, expression
    return value


def older(version, bound):
    numbers = [tuple(int(n) for n in re.findall(r"\d+", v.split("-")[0])) for v in (version, bound)]
    width = max(map(len, numbers))
    return tuple(numbers[0] + (0,) * (width - len(numbers[0]))) < numbers[1] + (0,) * (width - len(numbers[1]))


def is_banned(package, rule):
    name, _, requirement = rule.partition("@")
    if package["name"] != name:
        return False
    assert not requirement or requirement.startswith("<"), f"not understood: {rule}"
    return not requirement or older(package["version"], requirement[1:])


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    problems = [
        f"deny.toml: {table}.{key} is not checked by tests/deny.py"
        for table, keys in rules.items()
        for key in keys
        if key not in KNOWN.get(table, ())
    ]
    meta = metadata()
    ours = shipped(meta)
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    for package in meta["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["source"] is not None and package["source"] not in registries:
            problems.append(f"{name} comes from {package['source']}")
        if package["id"] not in ours:
            continue
        license = package["license"]
        if not license or not allows(license, set(rules["licenses"]["allow"])):
            problems.append(f"{name} has the license {license}")
        for rule in rules["bans"]["deny"]:
            if is_banned(package, rule["crate"]):
                problems.append(f"{name} is banned ({rule['crate']}): {rule['reason']}")
    root = next(package for package in meta["packages"] if package["id"] == meta["resolve"]["root"])
    wildcards = [dependency["name"] for dependency in root["dependencies"] if dependency["req"] == "*"]
    problems += [f"{name} is required in any version" for name in wildcards]

    versions = {}
    for package in meta["packages"]:
        if package["id"] in ours:
            versions.setdefault(package["name"], []).append(package["version"])
    for name, several in versions.items():
        if len(several) > 1:
            print(f"warning: {name} is there in several versions: {', '.join(several)}")
    print("\n".join(problems) or f"deny.toml: {len(ours)} packages are as it wants them")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
