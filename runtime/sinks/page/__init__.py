"""The run page: one self-contained HTML file that shows what was looked at, what was found and what was not seen."""
