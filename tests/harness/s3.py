# SPDX-License-Identifier: Apache-2.0
"""An S3 server on loopback: moto's, in a process of its own, which checks signatures and policies."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

from harness.wait import poll

ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class S3:
    def __init__(self, folder):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        program = Path(sys.executable).parent / "moto_server"
        with open(Path(folder) / "moto.log", "wb") as log:
            clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
            self.process = subprocess.Popen(
                [str(program), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log, env=clean
            )
        poll(self.answers, 30, "moto's server")
        self.s3 = self.client("s3")
        # Who may do what: made before signatures are checked.
        iam, sts = self.client("iam"), self.client("sts")
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(ALLOW))
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        self.key = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]
        self.powerless = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        role = iam.create_role(RoleName="puller", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
        iam.put_role_policy(RoleName="puller", PolicyName="all", PolicyDocument=json.dumps(ALLOW))
        session = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="test")["Credentials"]
        self.session = {
            "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
            "AWS_SESSION_TOKEN": session["SessionToken"],
        }

    def client(self, name):
        return boto3.client(
            name, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="set-up",
            aws_secret_access_key="set-up", config=Config(proxies={}, s3={"addressing_style": "path"}),
        )  # fmt: skip

    def answers(self):
        assert self.process.poll() is None, "moto's server ended"
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/moto-api/", timeout=5):
                return True
        except OSError:
            return False

    def check_signatures(self):
        """From now on each request must be signed, rightly, by somebody who may."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", data=b"0", method="POST", headers={"Content-Type": "text/plain"}
        )
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    def put(self, bucket, files):
        self.s3.create_bucket(Bucket=bucket)
        for key, content in files.items():
            self.s3.put_object(Bucket=bucket, Key=key, Body=content)

    def put_in_parts(self, bucket, key, content, part):
        upload = self.s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        parts = []
        for number, at in enumerate(range(0, len(content), part), 1):
            answer = self.s3.upload_part(
                Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=content[at : at + part]
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.s3.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
