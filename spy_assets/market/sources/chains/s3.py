"""Objects of an S3-compatible store, through the layer of `sources.http`.

Requests are signed with AWS Signature Version 4
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html): the secret itself is
never sent. A download that breaks off goes on where it stopped, as long as the object's ETag is
still the same; what has arrived is checked against the ETag (an MD5, unless the object was uploaded
in parts) and the size before it gets its name.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
from filelock import FileLock

from spy_assets.clock import utc_now
from spy_assets.errors import NotProvided, SourceUnavailable, WrongContent
from spy_assets.market.sources.chains.client import VendorClient
from spy_assets.market.sources.http import Answer, Gate

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
_NEXT = re.compile(r"<NextContinuationToken>(.*?)</NextContinuationToken>", re.DOTALL)


@dataclass(frozen=True)
class Credentials:
    """A key pair; the secret does not show in `repr`."""

    key_id: str
    secret: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"Credentials(key_id={self.key_id[:4]!r}..., secret=***)"


@dataclass(frozen=True)
class Stored:
    """What a store says of an object."""

    etag: str
    size: int


def signed_headers(
    url: str,
    query: Mapping[str, str],
    credentials: Credentials,
    moment: datetime,
    *,
    method: str = "GET",
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Headers of a request without a body, with its Signature Version 4.

    Parameters
    ----------
    url
        Without the query; the path is as it will be sent.
    query
        Query parameters, not yet escaped.
    credentials
        Key pair and region.
    moment
        Now, UTC.
    method
        HTTP verb.
    extra
        Further headers to sign, such as `range`.
    """
    parts = urlsplit(url)
    stamp = f"{moment:%Y%m%dT%H%M%SZ}"
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": _EMPTY_SHA256,
        "x-amz-date": stamp,
        **{name.lower(): value.strip() for name, value in (extra or {}).items()},
    }
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            method,
            parts.path or "/",
            "&".join(f"{_escaped(name)}={_escaped(query[name])}" for name in sorted(query)),
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            _EMPTY_SHA256,
        ]
    )
    scope = f"{stamp[:8]}/{credentials.region}/s3/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope},"
        f"SignedHeaders={names},Signature={signature}"
    )
    return {**headers, "authorization": authorization}


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")


class S3Bucket(VendorClient):
    """A bucket of an S3-compatible store, addressed by path.

    Parameters
    ----------
    endpoint
        Scheme and host of the store.
    bucket
        Name of the bucket.
    credentials
        Key pair and region.
    gate
        The gate of the run.
    """

    def __init__(self, endpoint: str, bucket: str, credentials: Credentials, gate: Gate) -> None:
        secrets = [credentials.secret, credentials.key_id]
        super().__init__(endpoint, gate, headers={"accept": "*/*"}, secrets=secrets)
        self.bucket = bucket
        self._credentials = credentials

    def _request(
        self, method: str, key: str, query: Mapping[str, str], extra: Mapping[str, str]
    ) -> httpx.Request:
        path = quote(f"/{self.bucket}/{key}" if key else f"/{self.bucket}", safe="/-_.~")
        url = f"{self.base_url}{path}"
        headers = signed_headers(
            url, query, self._credentials, utc_now(), method=method, extra=extra
        )
        spelled = "&".join(f"{_escaped(n)}={_escaped(v)}" for n, v in sorted(query.items()))
        # As spelled here, so that what is signed is what is sent.
        target = httpx.URL(f"{url}?{spelled}" if spelled else url)
        return self._client.build_request(method, target, headers=headers)

    def _once(
        self, method: str, key: str, query: Mapping[str, str] | None = None
    ) -> httpx.Response:
        def send() -> httpx.Response:
            return self._direct(self._client.send(self._request(method, key, query or {}, {})))

        what = f"{self.base_url}/{self.bucket}/{key or '?' + (query or {}).get('prefix', '')}"
        response, _ = self.guarded(
            lambda: self._gate.call(
                send, _view, expect="any", what=what, transient=(httpx.TransportError,)
            )
        )
        return response

    def _direct(self, response: httpx.Response) -> httpx.Response:
        """Refuse redirects: a signature is for one address."""
        if response.has_redirect_location:
            target = str(response.url.join(response.headers["location"]))
            self.check_target(target)
            raise SourceUnavailable(
                f"{self.base_url}/{self.bucket} redirects to {target}",
                hint="give the address of the bucket's own region",
            )
        return response

    def head(self, key: str) -> Stored:
        """What the store says of an object.

        Raises
        ------
        NotProvided
            If there is no such object.
        """
        response = self._once("HEAD", key)
        if response.status_code == 404:
            raise NotProvided(
                f"no object {key} in {self.bucket}",
                hint="the vendor has no file of that day, or not yet",
            )
        etag = response.headers.get("etag", "").strip('"')
        if not etag:
            raise WrongContent(
                f"{self.bucket}/{key}: an answer without an ETag", hint="check the endpoint"
            )
        return Stored(etag, int(response.headers["content-length"]))

    def keys(self, prefix: str) -> list[str]:
        """Names of all objects under a prefix, in order, page by page."""
        found: list[str] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            body = self._once("GET", "", query).text
            if "<ListBucketResult" not in body:
                raise WrongContent(
                    f"{self.bucket}/{prefix}: not a listing: {body[:80]!r}",
                    hint="check the endpoint and the name of the bucket",
                )
            found += [html.unescape(key) for key in _KEY.findall(body)]
            following = _NEXT.search(body)
            if following is None:
                return found
            query["continuation-token"] = html.unescape(following[1])

    def download(self, key: str, to: Path) -> Path:
        """Fetch an object, or keep the copy that is there if it is still the store's, and whole.

        Parameters
        ----------
        key
            Name of the object.
        to
            Where it shall be. While it arrives, it is beside it under the name of its ETag.

        Raises
        ------
        WrongContent
            If the bytes do not have the size or the MD5 that the store named.
        SourceUnavailable
            If the object changes for the second time while it arrives.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(to.with_name(f"{to.name}.lock")):
            for _ in range(2):
                stored = self.head(key)
                noted = to.with_name(f"{to.name}.etag")
                same = to.is_file() and noted.is_file() and noted.read_text() == stored.etag
                if same and _damage(to, stored) is None:
                    return to
                part = to.with_name(f"{to.name}.{stored.etag}.part")
                if self._fetch(key, stored, part):
                    _verify(part, stored, key)
                    noted.unlink(missing_ok=True)
                    part.replace(to)
                    noted.write_text(stored.etag)
                    return to
                part.unlink(missing_ok=True)
        raise SourceUnavailable(
            f"{self.bucket}/{key} changes while it is downloaded", hint="try again later"
        )

    def _fetch(self, key: str, stored: Stored, part: Path) -> bool:
        """Fetch what `part` still lacks; False if the object is another one by now."""

        def send() -> tuple[int, httpx.Headers]:
            have = part.stat().st_size if part.is_file() else 0
            if have >= stored.size:
                return 200, httpx.Headers()
            wanted = {"if-match": f'"{stored.etag}"'} | (
                {"range": f"bytes={have}-"} if have else {}
            )
            request = self._request("GET", key, {}, wanted)
            response = self._client.send(request, stream=True)
            try:
                self._direct(response)
                if response.status_code in {200, 206}:
                    mode = "ab" if response.status_code == 206 else "wb"
                    with part.open(mode) as file:
                        # As it comes: a chunk of a fixed size would lose its part at a break.
                        for chunk in response.iter_raw():
                            file.write(chunk)
                return response.status_code, response.headers
            finally:
                response.close()

        def view(result: tuple[int, httpx.Headers]) -> Answer:
            status, headers = result
            return Answer(200 if status == 412 else status, headers, b"", key)

        (status, _), _ = self.guarded(
            lambda: self._gate.call(
                send,
                view,
                expect="any",
                what=f"{self.base_url}/{self.bucket}/{key}",
                transient=(httpx.TransportError,),
            )
        )
        return status != 412


def _verify(part: Path, stored: Stored, key: str) -> None:
    damage = _damage(part, stored)
    if damage is not None:
        part.unlink()
        raise WrongContent(f"{key}: {damage}", hint="download it again")


def _damage(path: Path, stored: Stored) -> str | None:
    """How a file differs from what the store says of it."""
    size = path.stat().st_size
    if size != stored.size:
        return f"{size} bytes where the store names {stored.size}"
    if "-" in stored.etag:  # uploaded in parts: the ETag is no MD5 of the whole
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return None if digest == stored.etag else f"MD5 {digest} where the store names {stored.etag}"


def _view(response: httpx.Response) -> Answer:
    status = 200 if response.status_code == 404 else response.status_code
    return Answer(status, response.headers, response.content, str(response.url))
