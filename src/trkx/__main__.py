"""`python -m trkx` is `trkx`."""

from __future__ import annotations

from trkx.cli import main

if __name__ == "__main__":
    main()
