"""The S3 client: its signatures against AWS's own, its downloads against moto's real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from spy_assets.errors import (
    ForbiddenRedirect,
    NotProvided,
    SourceUnavailable,
    WrongContent,
)
from spy_assets.market.sources.chains.s3 import Credentials, S3Bucket, signed_headers
from spy_assets.market.sources.http import Gate
from spy_assets_tests.market.sources.chains.servers import FaultyProxy, RecordingServer
from spy_assets_tests.s3_server import s3_client, s3_server
from spy_assets_tests.scripted_server import Reply

#: The pair of Amazon's own example, in pieces, so that no scanner takes it for a leaked key.
PAIR = Credentials(
    "".join(["AKIA", "IOSFODNN7", "EXAMPLE"]),
    "".join(["wJalrXUtnFEMI", "/K7MDENG/", "bPxRfiCYEXAMPLEKEY"]),
)
BUCKET = "flatfiles"
DATA = bytes(range(256)) * 4_000


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def store(moto: str) -> Iterator[object]:
    client = s3_client(moto, PAIR.key_id, PAIR.secret)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="a/b c+d.gz", Body=DATA)
    yield client
    while items := client.list_objects_v2(Bucket=BUCKET).get("Contents"):
        for item in items:
            client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def proxy(moto: str) -> Iterator[FaultyProxy]:
    between = FaultyProxy(moto)
    yield between
    between.close()


@pytest.fixture
def bucket(store: object, proxy: FaultyProxy, gate: Gate) -> Iterator[S3Bucket]:
    with S3Bucket(proxy.url, BUCKET, PAIR, gate) as opened:
        yield opened


def test_the_signature_is_that_of_amazons_example() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    headers = signed_headers(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        {},
        PAIR,
        datetime(2013, 5, 24, tzinfo=UTC),
        extra={"Range": "bytes=0-9"},
    )
    assert headers["authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_signature_is_that_of_botocore(method: str) -> None:
    query = {"list-type": "2", "prefix": "a/b c+d", "continuation-token": "x/y=="}
    url = "https://files.example.com/flatfiles"
    moment = datetime.now(UTC)
    request = AWSRequest(method, f"{url}", params=query)
    request.headers["x-amz-content-sha256"] = signed_headers(url, {}, PAIR, moment)[
        "x-amz-content-sha256"
    ]
    signer = S3SigV4Auth(BotoCredentials(PAIR.key_id, PAIR.secret), "s3", PAIR.region)
    signer.add_auth(request)
    stamp = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    own = signed_headers(url, query, PAIR, stamp, method=method)
    theirs = str(request.headers["Authorization"])
    assert own["authorization"].split("Signature=")[1] == theirs.split("Signature=")[1]


def test_an_object_arrives_whole(bucket: S3Bucket, tmp_path: Path) -> None:
    path = bucket.download("a/b c+d.gz", tmp_path / "x" / "file.gz")
    assert path.read_bytes() == DATA
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "file.gz",
        "file.gz.etag",
        "file.gz.lock",
    ]


def test_the_same_object_is_fetched_once(
    bucket: S3Bucket, proxy: FaultyProxy, tmp_path: Path
) -> None:
    for _ in range(2):
        bucket.download("a/b c+d.gz", tmp_path / "file.gz")
    assert proxy.verbs == ["HEAD", "GET", "HEAD"]


def test_another_object_of_that_name_is_fetched_again(
    bucket: S3Bucket, store: object, tmp_path: Path
) -> None:
    bucket.download("a/b c+d.gz", tmp_path / "file.gz")
    store.put_object(Bucket=BUCKET, Key="a/b c+d.gz", Body=b"new")  # type: ignore[attr-defined]
    assert bucket.download("a/b c+d.gz", tmp_path / "file.gz").read_bytes() == b"new"


@pytest.mark.fault(50)
@pytest.mark.parametrize("kept", [DATA[:1000], b"\xff" + DATA[1:]], ids=["cut", "flipped"])
def test_a_copy_that_is_not_whole_any_more_is_fetched_again(
    bucket: S3Bucket, tmp_path: Path, kept: bytes
) -> None:
    path = bucket.download("a/b c+d.gz", tmp_path / "file.gz")
    path.write_bytes(kept)
    assert bucket.download("a/b c+d.gz", path).read_bytes() == DATA


@pytest.mark.fault(33)
def test_a_download_goes_on_where_it_broke_off(
    bucket: S3Bucket, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.fail(Reply(cut=300_000), Reply(cut=200_000))
    assert bucket.download("a/b c+d.gz", tmp_path / "file.gz").read_bytes() == DATA
    ranges = [sent.get("range") for sent in proxy.headers[1:]]
    assert ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_what_a_broken_run_left_is_used(
    bucket: S3Bucket, proxy: FaultyProxy, tmp_path: Path
) -> None:
    etag = bucket.head("a/b c+d.gz").etag
    (tmp_path / f"file.gz.{etag}.part").write_bytes(DATA[:1000])
    assert bucket.download("a/b c+d.gz", tmp_path / "file.gz").read_bytes() == DATA
    assert proxy.headers[-1]["range"] == "bytes=1000-"


@pytest.mark.fault(50)
def test_a_flipped_bit_is_found_and_thrown_away(bucket: S3Bucket, tmp_path: Path) -> None:
    etag = bucket.head("a/b c+d.gz").etag
    part = tmp_path / f"file.gz.{etag}.part"
    part.write_bytes(b"\xff" + DATA[1:1000])
    with pytest.raises(WrongContent, match="MD5"):
        bucket.download("a/b c+d.gz", tmp_path / "file.gz")
    assert not part.exists()
    assert bucket.download("a/b c+d.gz", tmp_path / "file.gz").read_bytes() == DATA


def test_an_object_that_changes_meanwhile_is_begun_again(
    bucket: S3Bucket, proxy: FaultyProxy, tmp_path: Path
) -> None:
    proxy.fail(Reply(status=412))
    assert bucket.download("a/b c+d.gz", tmp_path / "file.gz").read_bytes() == DATA
    proxy.fail(Reply(status=412), Reply(status=412))
    with pytest.raises(SourceUnavailable, match="changes while it is downloaded"):
        bucket.download("a/b c+d.gz", tmp_path / "other.gz")


@pytest.mark.fault(32)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_stores_are_asked_again(
    bucket: S3Bucket, proxy: FaultyProxy, pauses: list[float], tmp_path: Path, status: int
) -> None:
    proxy.fail(Reply(status=status), Reply(status=status))
    assert bucket.download("a/b c+d.gz", tmp_path / "file.gz").read_bytes() == DATA
    assert pauses == [1.0, 2.0]


def test_an_object_that_is_not_there_is_not_provided(bucket: S3Bucket, tmp_path: Path) -> None:
    with pytest.raises(NotProvided, match="no object a/none"):
        bucket.download("a/none", tmp_path / "file.gz")


def test_refusals_show_no_key(bucket: S3Bucket, proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.fail(Reply(status=403, body=f"<Error>{PAIR.key_id} {PAIR.secret}</Error>"))
    with pytest.raises(SourceUnavailable, match="HTTP 403") as told:
        bucket.keys("a/")
    assert PAIR.secret not in repr(told.value)
    assert PAIR.key_id not in str(told.value)
    assert PAIR.secret not in repr(PAIR)


@pytest.mark.fault(40)
def test_redirects_are_not_followed(server: RecordingServer, gate: Gate) -> None:
    server.on("/", Reply(status=307, headers={"Location": "http://10.0.0.8/flatfiles"}))
    with S3Bucket(server.url, BUCKET, PAIR, gate) as opened, pytest.raises(ForbiddenRedirect):
        opened.keys("a/")


@pytest.mark.fault(35)
def test_a_page_is_no_listing(server: RecordingServer, gate: Gate) -> None:
    server.on("/", Reply("<html>Log in</html>"))
    with (
        S3Bucket(server.url, BUCKET, PAIR, gate) as opened,
        pytest.raises(WrongContent, match="not a listing"),
    ):
        opened.keys("a/")


def test_long_listings_come_in_pages(
    bucket: S3Bucket, store: object, monkeypatch: pytest.MonkeyPatch, proxy: FaultyProxy
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    names = [f"n/{number:04d}&" for number in range(8)]
    for name in names:
        store.put_object(Bucket=BUCKET, Key=name, Body=b"")  # type: ignore[attr-defined]
    assert bucket.keys("n/") == names
    assert len(proxy.verbs) == 3
