"""`python -m trkx.export` is `export-models`."""

from __future__ import annotations

from trkx.cli import export_models

if __name__ == "__main__":
    export_models()
