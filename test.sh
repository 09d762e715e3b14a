#!/bin/sh
# Installs what the tests need and runs all of them. For Debian 12 or later with Rust (https://rustup.rs); as root it
# installs system packages, otherwise it says which are missing. It asks nothing and leaves nothing running.
#
#   ./test.sh              everything
#   ./test.sh quick        without what takes minutes: soak and instruction count
#
# ATTACHE_SOAK_SECONDS sets how long the soak's first run takes (90).
set -eu
cd "$(dirname "$0")"

quick=
case "${1-}" in
    "") ;;
    quick) quick=yes ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

target=${CARGO_TARGET_DIR:-target}
began=$(date +%s)
step() {
    printf '\n== %s (after %s s)\n' "$*" "$(($(date +%s) - began))"
}

# --- What the tests need ----------------------------------------------------------------------------------------------

missing=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
echo 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null || missing="$missing gcc libc6-dev"
need curl curl
need openssl openssl
need h2load nghttp2-client
need systemd-analyze systemd
need python3 python3
need node nodejs
need npm npm
[ -n "$quick" ] || need valgrind valgrind
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        step "installing by apt-get:$missing"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        # shellcheck disable=SC2086 # A list of packages.
        apt-get install -q -y --no-install-recommends $missing
    else
        echo "these Debian packages are missing:$missing" >&2
        exit 1
    fi
fi
command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 1; }

stamp=$target/tmp/oidc.stamp
mkdir -p "$target/tmp"
if ! cmp -s tests/peers/oidc/package-lock.json "$stamp" || [ ! -d tests/peers/oidc/node_modules ]; then
    step "installing oidc-provider into tests/peers/oidc/node_modules by npm ci"
    (cd tests/peers/oidc && npm ci --no-audit --no-fund --ignore-scripts)
    cp tests/peers/oidc/package-lock.json "$stamp"
fi

stamp=$target/tmp/json-server.stamp
if ! cmp -s tests/peers/json-server/package-lock.json "$stamp" || [ ! -d tests/peers/json-server/node_modules ]; then
    step "installing json-server into tests/peers/json-server/node_modules by npm ci"
    (cd tests/peers/json-server && npm ci --no-audit --no-fund --ignore-scripts)
    cp tests/peers/json-server/package-lock.json "$stamp"
fi

stamp=$target/tmp/grpc.stamp
if ! cmp -s tests/peers/grpc/requirements.txt "$stamp" || [ ! -x "$target/tmp/grpc/bin/python" ]; then
    step "installing grpcio into a virtual environment, $target/tmp/grpc, by pip"
    python3 -m venv --clear "$target/tmp/grpc"
    "$target/tmp/grpc/bin/pip" install -q --disable-pip-version-check -r tests/peers/grpc/requirements.txt
    cp tests/peers/grpc/requirements.txt "$stamp"
fi

stamp=$target/tmp/aws.stamp
if ! cmp -s tests/peers/aws/requirements.txt "$stamp" || [ ! -x "$target/tmp/aws/bin/python" ]; then
    step "installing moto into a virtual environment, $target/tmp/aws, by pip"
    python3 -m venv --clear "$target/tmp/aws"
    "$target/tmp/aws/bin/pip" install -q --disable-pip-version-check -r tests/peers/aws/requirements.txt
    cp tests/peers/aws/requirements.txt "$stamp"
fi

stamp=$target/tmp/openapi.stamp
if ! cmp -s tests/peers/openapi/requirements.txt "$stamp" || [ ! -x "$target/tmp/openapi/bin/python" ]; then
    step "installing openapi-spec-validator into a virtual environment, $target/tmp/openapi, by pip"
    python3 -m venv --clear "$target/tmp/openapi"
    "$target/tmp/openapi/bin/pip" install -q --disable-pip-version-check -r tests/peers/openapi/requirements.txt
    cp tests/peers/openapi/requirements.txt "$stamp"
fi

# --- The tests --------------------------------------------------------------------------------------------------------

step "format and lints"
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings

step "licenses, bans and sources (deny.toml, offline)"
python3 tests/deny.py

step "the judgement on instruction counts"
python3 -B tests/test_instructions.py

step "unit tests, and integration tests: real peers, scripted peers, attacks, the demo's lines"
cargo test --locked

if [ -z "$quick" ]; then
    step "the program as it ships"
    cargo build --locked --release

    step "instructions per request (tests/instructions.toml)"
    python3 tests/instructions.py --attache "$target/release/attache"

    step "soak"
    ATTACHE=$(realpath "$target/release/attache") \
        cargo test --locked --test soak -- --seconds "${ATTACHE_SOAK_SECONDS:-90}"
fi

step "all passed"
