#!/bin/sh
# Makes development certificates: a private authority and, signed by it, one certificate for localhost, 127.0.0.1 and
# ::1. `certs/make.sh [FOLDER]` writes to this folder unless told otherwise, and does nothing where they exist. Private
# keys are never committed (.gitignore). For tests on one's own machine only: in production take certificates from
# whoever issues yours.
set -eu

folder=${1:-$(dirname "$0")}
mkdir -p "$folder"
cd "$folder"

if [ -s proxy.crt ] && [ -s proxy.key ]; then
    exit 0
fi
command -v openssl >/dev/null || { echo "certs/make.sh needs openssl (apt-get install openssl)" >&2; exit 1; }

umask 077
: >make.log
trap '[ $? -eq 0 ] || cat make.log >&2' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
    -subj "/CN=attache development authority" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt 2>>make.log
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=localhost" -keyout proxy.key -out proxy.csr 2>>make.log
cat >extensions <<'END'
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
END
openssl x509 -req -in proxy.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile extensions \
    -out proxy.crt 2>>make.log
chmod 644 ca.crt proxy.crt
# The authority's key signs nothing more: whoever trusts ca.crt need not fear a second certificate.
rm -f ca.key ca.srl proxy.csr extensions
trap - EXIT
rm -f make.log
