"""One rule a file; `trkx.export.lint.table` lists them."""
