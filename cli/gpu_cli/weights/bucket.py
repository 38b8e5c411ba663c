"""A volume as a bucket: files of any size go up in pieces, and what an earlier attempt left behind is used.

What RunPod's S3 API cannot do (presigned URLs, DeleteObjects) or is slow at (listing many files) is not asked of it:
https://docs.runpod.io/storage/s3-api
"""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gpu_cli.errors import UserError
from gpu_cli.exits import Exit
from gpu_cli.weights.meter import Meter
from gpu_providers.base import Bucket

if TYPE_CHECKING:  # boto3 takes as long to import as most commands take to run
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

MIB = 2**20
PIECE_BYTES = 64 * MIB
"""What is sent at once, and held in memory; far below the 500 MB that RunPod takes."""
MAX_PARTS = 10_000
"""Of one upload, as S3 has it."""
AT_ONCE = 4
ATTEMPTS = 10
"""Of one request: RunPod's documentation advises so many against its 502s."""
ANSWER_S = 300.0
COMPLETE_S = 7200.0
"""RunPod puts a file's parts together before it answers, which its documentation gives two hours."""

Read = Callable[[int, int], bytes]
"""So many bytes of a file, from an offset on."""


@dataclass(frozen=True)
class Part:
    """A piece of a file, numbered from 1."""

    number: int
    offset: int
    size: int


def parts_of(size: int) -> tuple[Part, ...]:
    """The pieces that a file of this size goes up in: as few as `PIECE_BYTES` allows, at most `MAX_PARTS`."""
    each = max(PIECE_BYTES, math.ceil(size / MAX_PARTS / MIB) * MIB)
    return tuple(
        Part(number, offset, min(each, size - offset)) for number, offset in enumerate(range(0, size, each), start=1)
    )


class _Missing(UserError):
    """There is no such file, upload or volume."""


@dataclass(frozen=True)
class Files:
    """The files of a volume. Every method raises UserError."""

    bucket: Bucket

    def size(self, key: str) -> int | None:
        """Bytes of the file, or None when there is none."""
        with suppress(_Missing), self._told():
            return self._client.head_object(Bucket=self.bucket.bucket, Key=key)["ContentLength"]
        return None

    def put(self, key: str, content: bytes) -> None:
        """Write a small file, whatever was there."""
        with self._told():
            self._client.put_object(Bucket=self.bucket.bucket, Key=key, Body=content)

    def unfinished(self, prefix: str) -> Mapping[str, Sequence[str]]:
        """The uploads that were begun below the prefix and never ended: the ids by key."""
        found: dict[str, list[str]] = defaultdict(list)
        with self._told():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket.bucket, Prefix=prefix
            )
            for upload in (upload for page in pages for upload in page.get("Uploads", ())):
                if upload["Key"].startswith(prefix):
                    found[upload["Key"]].append(upload["UploadId"])
        return found

    def abandon(self, key: str, upload_id: str) -> None:
        """Give up an upload, so that its parts take no space any more. One that is gone already is fine."""
        with suppress(_Missing), self._told():
            self._client.abort_multipart_upload(Bucket=self.bucket.bucket, Key=key, UploadId=upload_id)

    def upload(self, key: str, size: int, read: Read, meter: Meter, begun: Sequence[str] = ()) -> None:
        """Write a file of this size; `begun` are its unfinished uploads.

        The best of `begun` is continued, its parts judged by their size alone: the key has to stand for the content.
        """
        parts = parts_of(size)
        if len(parts) <= 1:
            self.put(key, read(0, size))
            meter.count(size)
            return
        upload_id, tags = self._continued(key, parts, begun)
        meter.skip(sum(part.size for part in parts if part.number in tags))
        missing = [part for part in parts if part.number not in tags]
        for part, tag in self._send(key, upload_id, missing, read):
            tags[part.number] = tag
            meter.count(part.size)
        self._complete(key, size, upload_id, tags)

    def _continued(self, key: str, parts: Sequence[Part], begun: Sequence[str]) -> tuple[str, dict[int, str]]:
        """The upload to go on with, and the tags of its parts that are there."""
        found = {upload_id: self._tags(key, upload_id, parts) for upload_id in begun}
        best = max(filter(found.get, found), key=lambda upload_id: len(found[upload_id]), default=None)
        for upload_id in found.keys() - {best}:
            self.abandon(key, upload_id)
        if best is not None:
            return best, found[best]
        with self._told():
            return self._client.create_multipart_upload(Bucket=self.bucket.bucket, Key=key)["UploadId"], {}

    def _tags(self, key: str, upload_id: str, parts: Sequence[Part]) -> dict[int, str]:
        """Of the parts that are there in their size; none of an upload that is gone after all."""
        expected = {part.number: part.size for part in parts}
        with suppress(_Missing), self._told():
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self.bucket.bucket, Key=key, UploadId=upload_id
            )
            there = [part for page in pages for part in page.get("Parts", ())]
            return {
                part["PartNumber"]: part["ETag"] for part in there if expected.get(part["PartNumber"]) == part["Size"]
            }
        return {}

    def _send(self, key: str, upload_id: str, parts: Sequence[Part], read: Read) -> Iterator[tuple[Part, str]]:
        def send(part: Part) -> str:
            return self._client.upload_part(
                Bucket=self.bucket.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=part.number,
                Body=read(part.offset, part.size),
            )["ETag"]

        threads = ThreadPoolExecutor(AT_ONCE)
        try:
            with self._told():
                yield from zip(parts, threads.map(send, parts), strict=True)
        finally:
            threads.shutdown(cancel_futures=True)

    def _complete(self, key: str, size: int, upload_id: str, tags: Mapping[int, str]) -> None:
        """An answer that is lost, or says that the upload is gone, may be that of a success: the file itself tells."""
        parts: list[CompletedPartTypeDef] = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
        try:
            with self._told():
                self._patient_client.complete_multipart_upload(
                    Bucket=self.bucket.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
        except UserError:
            if self.size(key) != size:
                raise

    @cached_property
    def _client(self) -> "S3Client":
        return _connected(self.bucket, ANSWER_S)

    @cached_property
    def _patient_client(self) -> "S3Client":
        return _connected(self.bucket, COMPLETE_S)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Failures of the S3 API as the user hears of them."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise _refused(error, self.bucket) from error
        except BotoCoreError as error:
            raise UserError(
                Exit.LAUNCH_FAILED,
                "volume-unreachable",
                f"{self.bucket.endpoint_url} was not reached: {error}",
                hint="run it again: what has arrived is kept",
            ) from error


_NOTHING_OF_AMAZON = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
"""The user's AWS_PROFILE and ~/.aws are about another cloud: botocore's variables without their places."""


def _connected(bucket: Bucket, answer_s: float) -> "S3Client":
    import boto3
    from botocore.config import Config
    from botocore.session import Session

    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        connect_timeout=10,
        read_timeout=answer_s,
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        max_pool_connections=AT_ONCE,
        # Newer than what others than Amazon understand.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.Session(botocore_session=Session(_NOTHING_OF_AMAZON)).client(
        "s3",
        endpoint_url=bucket.endpoint_url,
        region_name=bucket.region,
        aws_access_key_id=bucket.access_key_id.reveal(),
        aws_secret_access_key=bucket.secret_access_key.reveal(),
        config=config,
    )


def _status(error: "ClientError") -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _refused(error: "ClientError", bucket: Bucket) -> UserError:
    said = error.response.get("Error", {})
    reason = f"{said.get('Code', _status(error))}: {said.get('Message', 'no reason given')}"
    if said.get("Code") == "RequestTimeTooSkewed":
        message = f"{bucket.endpoint_url} says that this machine's clock is wrong ({reason})"
        return UserError(Exit.LAUNCH_FAILED, "clock-skew", message, hint="set the clock, and run it again")
    if _status(error) in (401, 403):
        message = f"{bucket.endpoint_url} refuses the S3 key ({reason})"
        return UserError(Exit.CREDENTIALS, "refused", message, hint="make another S3 key at the cloud, and set it")
    if _status(error) == 404:
        return _Missing(Exit.BAD_INPUT, "no-such-volume", f"the volume {bucket.bucket} does not have that ({reason})")
    message = f"the volume did not take a file ({reason})"
    return UserError(Exit.LAUNCH_FAILED, "not-written", message, hint="run it again: what has arrived is kept")
