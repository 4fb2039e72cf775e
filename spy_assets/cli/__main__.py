"""``python -m spy_assets.cli`` is ``spy``."""

from __future__ import annotations

from spy_assets.cli.application import main

if __name__ == "__main__":
    main()
