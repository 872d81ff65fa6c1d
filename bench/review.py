"""The review of 300 and of 3,000 resources, with the whole pack, permission lint and cost, compared with Checkov
on the same resources in Terraform.

Checkov is looked up on the PATH, or where CHECKOV points; install it into a separate environment: it pins many of our
packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from bench.pairs import compare

# Ten resources a group: a bucket with four of its settings, a role with its policy, a security group, a log group, a
# key.
_PULUMI = """
import json
import pulumi_aws as aws

TAGS = {{"Project": "p", "Environment": "e", "Owner": "o"}}
for index in range({groups}):
    name = f"n{{index}}"
    key = aws.kms.Key(name, enable_key_rotation=True, tags=TAGS)
    bucket = aws.s3.Bucket(name, bucket=name, tags=TAGS)
    default = {{"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn}}
    aws.s3.BucketServerSideEncryptionConfiguration(name, bucket=bucket.bucket, rules=[{{"apply_server_side_encryption_by_default": default}}])
    aws.s3.BucketPublicAccessBlock(
        name, bucket=bucket.bucket, block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
    )
    aws.s3.BucketVersioning(name, bucket=bucket.bucket, versioning_configuration={{"status": "Enabled"}})
    deny = {{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{{name}}/*", "Condition": {{"Bool": {{"aws:SecureTransport": "false"}}}}}}
    aws.s3.BucketPolicy(name, bucket=bucket.bucket, policy=json.dumps({{"Version": "2012-10-17", "Statement": [deny]}}))
    trust = {{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {{"Service": "ec2.amazonaws.com"}}}}
    role = aws.iam.Role(name, assume_role_policy=json.dumps({{"Version": "2012-10-17", "Statement": [trust]}}), tags=TAGS)
    grant = {{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{{name}}/*"}}
    aws.iam.RolePolicy(name, role=role.name, policy=json.dumps({{"Version": "2012-10-17", "Statement": [grant]}}))
    aws.ec2.SecurityGroup(name, ingress=[{{"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["10.0.0.0/8"]}}])
    aws.cloudwatch.LogGroup(name, name=f"/{{name}}", retention_in_days=365, kms_key_id=key.arn)
"""
_TERRAFORM = """
resource "aws_kms_key" "n{i}" {{
  enable_key_rotation = true
  tags = {{ Project = "p", Environment = "e", Owner = "o" }}
}}
resource "aws_s3_bucket" "n{i}" {{
  bucket = "n{i}"
  tags = {{ Project = "p", Environment = "e", Owner = "o" }}
}}
resource "aws_s3_bucket_server_side_encryption_configuration" "n{i}" {{
  bucket = aws_s3_bucket.n{i}.id
  rule {{
    apply_server_side_encryption_by_default {{
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.n{i}.arn
    }}
  }}
}}
resource "aws_s3_bucket_public_access_block" "n{i}" {{
  bucket                  = aws_s3_bucket.n{i}.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}}
resource "aws_s3_bucket_versioning" "n{i}" {{
  bucket = aws_s3_bucket.n{i}.id
  versioning_configuration {{
    status = "Enabled"
  }}
}}
resource "aws_s3_bucket_policy" "n{i}" {{
  bucket = aws_s3_bucket.n{i}.id
  policy = jsonencode({{ Version = "2012-10-17", Statement = [{{ Effect = "Deny", Principal = "*", Action = "s3:*", Resource = "arn:aws:s3:::n{i}/*",
    Condition = {{ Bool = {{ "aws:SecureTransport" = "false" }} }} }}] }})
}}
resource "aws_iam_role" "n{i}" {{
  assume_role_policy = jsonencode({{ Version = "2012-10-17", Statement = [{{ Effect = "Allow", Action = "sts:AssumeRole", Principal = {{ Service = "ec2.amazonaws.com" }} }}] }})
  tags = {{ Project = "p", Environment = "e", Owner = "o" }}
}}
resource "aws_iam_role_policy" "n{i}" {{
  role   = aws_iam_role.n{i}.name
  policy = jsonencode({{ Version = "2012-10-17", Statement = [{{ Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject"], Resource = "arn:aws:s3:::n{i}/*" }}] }})
}}
resource "aws_security_group" "n{i}" {{
  ingress {{
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["10.0.0.0/8"]
  }}
}}
resource "aws_cloudwatch_log_group" "n{i}" {{
  name              = "/n{i}"
  retention_in_days = 365
  kms_key_id        = aws_kms_key.n{i}.arn
}}
"""


_QUIETLY = ("--framework", "terraform", "--compact", "--quiet", "--download-external-modules", "false")


def main() -> None:
    checkov = os.environ.get("CHECKOV") or shutil.which("checkov")
    if not checkov:
        print("Checkov not found: install it into a separate environment, and set CHECKOV=/path/to/checkov")
        return
    for resources, runs, budget in ((300, 7, "no more than 0.33"), (3000, 2, "no more than 0.6")):
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = _write(Path(folder), resources // 10)
            compare(
                f"Reviewing {resources} resources",
                (
                    "groundplan review",
                    partial(
                        _seconds, [sys.executable, "-m", "groundplan", "review", str(ours)], f"{resources} resources"
                    ),
                ),
                ("checkov", partial(_seconds, [checkov, "-d", str(theirs), *_QUIETLY], "Passed checks")),
                runs,
                budget,
            )


def _write(folder: Path, groups: int) -> tuple[Path, Path]:
    ours, theirs = folder / "pulumi", folder / "terraform"
    ours.mkdir()
    theirs.mkdir()
    (ours / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
    (ours / "__main__.py").write_text(_PULUMI.format(groups=groups))
    (theirs / "main.tf").write_text("".join(_TERRAFORM.format(i=index) for index in range(groups)))
    return ours, theirs


def _seconds(command: list[str], expected: str) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    assert done.returncode in (0, 1), done.stderr  # both return 1 for findings
    assert expected in done.stdout, done.stdout + done.stderr
    return seconds
