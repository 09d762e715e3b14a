"""A gRPC upstream that wants a bearer token. It prints its port, then reads tokens from standard input, one a line: the
last one is the only one that it accepts. It ends with its standard input. `server.py CERT KEY` speaks TLS.

Messages are bytes as they are, so that no compiler is needed."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

accepted = None


def authenticate(context):
    metadata = dict(context.invocation_metadata())
    if accepted is None or metadata.get("authorization") != f"Bearer {accepted}":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not accepted")


def unary(request, context):
    authenticate(context)
    context.set_trailing_metadata((("x-seen", str(len(request))),))
    return request[::-1]


def stream(request, context):
    authenticate(context)
    for number in range(int(request)):
        yield f"message {number}".encode()
    context.set_trailing_metadata((("x-sent", request.decode()),))


def late_failure(request, context):
    authenticate(context)
    yield b"before it failed"
    context.abort(grpc.StatusCode.DATA_LOSS, "after the first message")


def fail(_request, context):
    authenticate(context)
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


def main():
    global accepted
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "LateFailure": grpc.unary_stream_rpc_method_handler(late_failure),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("attache.Test", methods),))
    if len(sys.argv) > 1:
        with open(sys.argv[1], "rb") as cert, open(sys.argv[2], "rb") as key:
            credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    for line in sys.stdin:
        accepted = line.strip()
        print(f"accepts {accepted}", flush=True)
    server.stop(None)


if __name__ == "__main__":
    main()
