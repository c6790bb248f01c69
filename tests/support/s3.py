"""A server of S3's protocol on this machine, with one bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BUCKET = "films"
_NO_KEYS = {"AWS_SHARED_CREDENTIALS_FILE": "/", "BOTO_CONFIG": "/"}  # of the user


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for a while, without the user's own S3 and proxies; forget clients made before."""
    from vopcli.files import s3

    before = _drop()
    os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/", **_NO_KEYS, **values})
    s3.s3_client.cache_clear()
    try:
        yield
    finally:
        _drop()
        os.environ.update(before)
        s3.s3_client.cache_clear()


def _drop() -> dict[str, str]:
    names = [
        name for name in os.environ if name.startswith(("AWS_", "BOTO_")) or name.lower().endswith("_proxy")
    ]
    return {name: os.environ.pop(name) for name in names}


@contextmanager
def s3_server() -> Iterator[Any]:
    """Start a server with an empty bucket, set the variables that lead to it, and return a client."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        with environment(AWS_ENDPOINT_URL=f"http://{host}:{port}", **keys):
            client = boto3.client("s3")
            client.create_bucket(Bucket=BUCKET)
            yield client
    finally:
        server.stop()


def upload(client: Any, folder: Path, prefix: str = "") -> str:
    """Put the files below a folder into the bucket; return the name of the prefix."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder)}".lstrip("/"))
    return f"s3://{BUCKET}/{prefix}".rstrip("/")
