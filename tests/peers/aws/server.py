"""A server that verifies AWS signatures: moto, which does it by botocore. Prints one line of JSON: its port, and two keys."""

import json
import os
import sys
import threading

# Whatever the machine says of AWS is none of this test's.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]

import boto3
from moto import settings
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
ANYONE = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
)

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()


def client(service):
    url = f"http://127.0.0.1:{server.server_port}"
    return boto3.client(
        service, endpoint_url=url, region_name="eu-central-1", aws_access_key_id="setup", aws_secret_access_key="setup"
    )


# Until there are keys nothing is verified.
iam = client("iam")
iam.create_user(UserName="attache")
iam.put_user_policy(UserName="attache", PolicyName="all", PolicyDocument=ALL)
key = iam.create_access_key(UserName="attache")["AccessKey"]
role = iam.create_role(RoleName="attache", AssumeRolePolicyDocument=ANYONE)["Role"]
iam.put_role_policy(RoleName="attache", PolicyName="all", PolicyDocument=ALL)
temporary = client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="attache")["Credentials"]
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0

print(
    json.dumps(
        {
            "port": server.server_port,
            "key": [key["AccessKeyId"], key["SecretAccessKey"], ""],
            "temporary": [temporary["AccessKeyId"], temporary["SecretAccessKey"], temporary["SessionToken"]],
        }
    ),
    flush=True,
)
# Ends with the test.
sys.stdin.read()
