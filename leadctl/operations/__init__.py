"""One file or folder per verb: plain functions that take a target and return a frozen dataclass."""
