"""An application with AWS's own client, boto3, and a key that nobody knows. Arguments: the address of attache, and a bucket.

Prints one line of JSON: what came back of what was uploaded.
"""

import json
import os
import sys

for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]

import boto3
from botocore.config import Config

address, bucket = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=f"http://{address}/api",
    region_name="us-east-1",
    aws_access_key_id="nobody",
    aws_secret_access_key="nothing",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
)
s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
sizes = {}
for key, size in [("small", 10), ("a blank/and others", 100_000), ("large", 3_000_000)]:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x" * size, Metadata={"note": "kept"})
    answer = s3.get_object(Bucket=bucket, Key=key)
    assert answer["Metadata"] == {"note": "kept"}, answer
    sizes[key] = len(answer["Body"].read())
keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
s3.delete_object(Bucket=bucket, Key="small")
print(json.dumps({"sizes": sizes, "keys": sorted(keys)}), flush=True)
