"""The view of a schedule: the files as they are, to be redirected."""

from leadctl.schedule import Schedule


def schedule(result: Schedule) -> str:
    """The text of each file; with several, each after a comment that names it."""
    if len(result.files) == 1:
        return "\n".join(result.files.values())
    return "\n\n".join(f"# {name}\n{text}" for name, text in result.files.items())
