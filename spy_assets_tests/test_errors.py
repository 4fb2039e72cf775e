"""Errors as text, and back."""

from __future__ import annotations

import pytest

from spy_assets import errors


@pytest.mark.parametrize("hint", [None, "look: again\nand again"])
def test_an_error_comes_back_from_its_text(hint: str | None) -> None:
    told = errors.LockTimeout("waited 1 s for x: held\nby process 12", hint=hint)
    again = errors.from_text("LockTimeout", str(told))
    assert type(again) is errors.LockTimeout
    assert (again.message, again.hint, again.exit_code) == (told.message, hint, 4)


@pytest.mark.parametrize("name", ["ZeroDivisionError", "annotations", ""])
def test_errors_of_others_do_not(name: str) -> None:
    assert errors.from_text(name, "division by zero") is None
