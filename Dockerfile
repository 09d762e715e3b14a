# attache and nothing else: no shell, no package manager, not root.
#
#   docker build -t attache .
#   docker run --read-only --cap-drop=ALL -p 8443:8443 -v ./proxy.toml:/etc/attache/proxy.toml:ro \
#       -v ./secrets:/run/secrets:ro attache
#
# The configuration's listeners have to say an address that is reached from outside of the container, such as 0.0.0.0:8443;
# give them TLS. Secrets come as files, which the process's user (65532) must be able to read, or as variables.
# The version is that of rust-toolchain.toml, which stays outside: it also asks for what only development needs.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY proxy.toml ./
# The manifest names these targets; the program needs none of them.
COPY benches ./benches
COPY tests/soak ./tests/soak
RUN cargo build --locked --release

# glibc, the system's roots for TLS, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/attache /usr/bin/attache
USER 65532:65532
ENTRYPOINT ["/usr/bin/attache"]
CMD ["run", "--config", "/etc/attache/proxy.toml"]
