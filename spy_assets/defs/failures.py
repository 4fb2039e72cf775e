"""Failures of a step that trying again cannot mend."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def without_retry(*errors: type[Exception]) -> Iterator[None]:
    """Fail the step at once for these errors, in their own words."""
    try:
        yield
    except errors as error:
        raise dg.Failure(str(error), allow_retries=False) from error
