"""An HTTP client for vendors that are asked with a key: the layer of `sources.http`, and secrets.

A key travels in headers only. It is never sent to another host than the vendor's own, so a redirect
to one is refused even where it is public; errors come without it, also where the vendor echoes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from spy_assets.errors import ForbiddenRedirect, SourceError, WrongContent
from spy_assets.market.sources.http import Gate, HttpClient, gather, one_by_one

T = TypeVar("T")
MASK = "***"


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets.

    >>> masked("no such key: hunter2", ["hunter2"])
    'no such key: ***'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return text


class VendorClient(HttpClient):
    """Asks one vendor, with a key in its headers.

    Parameters
    ----------
    base_url
        Scheme and host.
    gate
        The gate of the run.
    headers
        Sent with every request.
    secrets
        Texts that no error may show, such as the key.
    """

    def __init__(
        self,
        base_url: str,
        gate: Gate,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        super().__init__(base_url, gate, headers={"accept": "application/json", **(headers or {})})
        self._secrets = tuple(secret for secret in secrets if secret)

    @classmethod
    def bearer(cls, base_url: str, gate: Gate, token: str) -> Self:
        """A client that shows a token with every request, and that no error shows."""
        return cls(base_url, gate, headers={"authorization": f"Bearer {token}"}, secrets=[token])

    def check_target(self, target: str) -> None:
        """Refuse a redirect to a private address, and with a key to any other host.

        Raises
        ------
        ForbiddenRedirect
            Naming the host.
        """
        super().check_target(target)
        own, other = urlsplit(self.base_url), urlsplit(target)
        if self._secrets and (own.scheme, own.netloc) != (other.scheme, other.netloc):
            raise ForbiddenRedirect(
                f"{self.base_url} redirects to {other.scheme}://{other.netloc}, another host: "
                "the key is not sent there",
                hint="check the address of the vendor",
            )

    def guarded(self, work: Callable[[], T]) -> T:
        """Run `work`; the secrets are masked in whatever :class:`SourceError` it raises."""
        try:
            return work()
        except SourceError as error:
            error.message = masked(error.message, self._secrets)
            error.args = (error.message,)
            raise

    def get_json(self, path: str, params: Mapping[str, str]) -> Any:
        """The parsed body of a GET; errors as in the table of `sources.http`, secrets masked."""
        return self.guarded(lambda: super(VendorClient, self).get_json(path, params))


def gather_all(keys: Sequence[str], fetch: Callable[[str], T], *, what: str) -> dict[str, T]:
    """`fetch` of every key; after a partial failure only the failed keys are asked again."""
    return gather(list(keys), one_by_one(fetch), what=what)


def pages(
    fetch: Callable[[dict[str, str]], T],
    following: Callable[[T], dict[str, str] | None],
    first: Mapping[str, str],
    *,
    what: str,
) -> list[T]:
    """All pages of an answer, in order; a page that fails is asked again alone.

    Parameters
    ----------
    fetch
        The page of these query parameters.
    following
        The parameters of the page after one, or None after the last.
    first
        The parameters of the first page.
    what
        Names the answer in errors.

    Raises
    ------
    WrongContent
        If a page is named twice: the answer would have no end.
    """
    found: list[T] = []
    asked: list[dict[str, str]] = []
    params: dict[str, str] | None = dict(first)
    while params is not None:
        if params in asked:
            raise WrongContent(
                f"{what}: page {len(asked) + 1} is the same as page {asked.index(params) + 1}",
                hint="the vendor's paging is broken; try again later",
            )
        asked.append(params)
        page = _one_page(fetch, params, f"{what} page {len(asked)}")
        found.append(page)
        params = following(page)
    return found


def _one_page(fetch: Callable[[dict[str, str]], T], params: dict[str, str], what: str) -> T:
    return gather_all(["page"], lambda _: fetch(params), what=what)["page"]


def next_query(next_url: str, path: str, what: str) -> dict[str, str]:
    """The query of a vendor's `next_url`, for the same path on the vendor's own host.

    The host in the address is never asked: only the query is taken.

    Raises
    ------
    ForbiddenRedirect
        If the address leads to another path.
    """
    parts = urlsplit(next_url)
    if parts.path.rstrip("/") != path.rstrip("/"):
        raise ForbiddenRedirect(
            f"{what}: the next page is at {parts.path!r}, not at {path!r}",
            hint="the vendor's paging changed; adapt the source",
        )
    secret = {"apikey", "api_key", "token"}
    return {name: value for name, value in parse_qsl(parts.query) if name.lower() not in secret}
