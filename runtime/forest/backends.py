"""What can evaluate a forest, by the names of `--backend`; imports nothing, for the sake of `--help`."""

from __future__ import annotations

from typing import Literal, get_args

# native and table give the same bits; auto is native where the library is, else table
Backend = Literal["auto", "native", "table", "compiled"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
