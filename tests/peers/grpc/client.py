"""A gRPC application without a credential: `client.py ADDRESS` calls every method and prints what came of it as JSON.
`client.py ADDRESS CA` speaks TLS, and trusts this certificate only."""

import json
import sys

import grpc


def outcome(call, metadata):
    return {
        "code": call.code().name,
        "details": call.details(),
        "trailers": {key: value for key, value in metadata or () if isinstance(value, str)},
    }


def unary(channel, method, request):
    try:
        answer, call = channel.unary_unary(f"/attache.Test/{method}").with_call(request, timeout=20)
        return {"answer": answer.decode(), **outcome(call, call.trailing_metadata())}
    except grpc.RpcError as error:
        return outcome(error, error.trailing_metadata())


def streamed(channel, method, request):
    call = channel.unary_stream(f"/attache.Test/{method}")(request, timeout=20)
    messages = []
    try:
        messages.extend(message.decode() for message in call)
    except grpc.RpcError:
        pass  # The code says it.
    return {"messages": messages, **outcome(call, call.trailing_metadata())}


def connect(address, ca=None):
    options = [("grpc.enable_http_proxy", 0)]
    if ca is None:
        return grpc.insecure_channel(address, options=options)
    with open(ca, "rb") as file:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()), options=options)


def main():
    with connect(*sys.argv[1:]) as channel:
        results = {
            "unary": unary(channel, "Unary", b"abcdef"),
            "large": len(unary(channel, "Unary", b"x" * 3_000_000).get("answer", "")),
            "stream": streamed(channel, "Stream", b"100"),
            "late failure": streamed(channel, "LateFailure", b""),
            "fail": unary(channel, "Fail", b""),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
