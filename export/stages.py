"""The results of a comparison as a small table to read."""

from __future__ import annotations

from collections.abc import Sequence

from lsd.runtime.parity import StageResult


def table_of(results: Sequence[StageResult]) -> str:
    """Aligned text, one line a stage, with a line that counts those that passed."""
    titles = [f"{result.configuration}: {result.stage}" for result in results]
    width = max(map(len, titles), default=0)
    lines = [f"{'stage':<{width}}  {'values':>9}  {'max error':>9}  {'allowed':>9}  {'NaN':>4}  {'flips':>5}"]
    for title, result in zip(titles, results, strict=True):
        verdict = "" if result.passed else "  FAILED"
        lines.append(
            f"{title:<{width}}  {result.values:>9}  {result.max_error:>9.3g}  {result.tolerance:>9.3g}  "
            f"{result.nan_mismatches:>4}  {result.flips:>5}{_leaving(result)}{verdict}"
        )
    lines.append(f"{sum(result.passed for result in results)} of {len(results)} stages passed")
    return "\n".join(lines)


def _leaving(result: StageResult) -> str:
    """How many leave, of an exit stage."""
    if result.leave is None:
        return ""
    return f"  {result.leave.low} leave low, {result.leave.high} high"
