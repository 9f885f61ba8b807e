"""What lint found, for pull requests: as SARIF, and as annotations of GitHub's workflows.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from leadctl.migrate.plan import LintedRevision, LintFinding, LintResult
from leadctl.version import __version__

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(result: LintResult) -> str:
    """Write what was found as a log of SARIF 2.1.0; what is allowed is there as suppressed."""
    found = list(_found(result))
    rules = sorted({finding.rule for _, finding in found})
    first = {finding.rule: finding for _, finding in reversed(found)}
    run = {
        "tool": {
            "driver": {
                "name": "leadctl",
                "version": __version__,
                "rules": [_rule(first[rule]) for rule in rules],
            }
        },
        "results": [_result(revision, finding, rules) for revision, finding in found],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False)


def _rule(finding: LintFinding) -> dict[str, object]:
    """Describe a rule by a finding of it: GitHub wants texts, and shows those of the results."""
    return {
        "id": finding.rule,
        "shortDescription": {"text": finding.rule.replace("-", " ")},
        "fullDescription": {"text": finding.message},
        "help": {"text": finding.hint or finding.message},
    }


def _result(revision: LintedRevision, finding: LintFinding, rules: list[str]) -> dict[str, object]:
    location = {
        "artifactLocation": {"uri": _uri(revision.path)},
        "region": {"startLine": finding.line or 1},
    }
    result: dict[str, object] = {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": "error",
        "message": {"text": _text(finding)},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"finding/v1": f"{revision.revision}:{finding.statement}"},
    }
    if finding.allowed is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": finding.allowed}]
    return result


def github(result: LintResult) -> str:
    """Write what was found as workflow commands, which GitHub shows in the pull request."""
    return "\n".join(
        f"::error file={_property(_relative_path(revision.path))},line={finding.line or 1},"
        f"title={_property(finding.rule)}::{_data(_text(finding))}"
        for revision, finding in _found(result)
        if finding.allowed is None
    )


def _found(result: LintResult) -> Iterator[tuple[LintedRevision, LintFinding]]:
    for revision in result.revisions:
        for finding in revision.findings:
            yield revision, finding


def _text(finding: LintFinding) -> str:
    return f"{finding.message} {finding.hint}".strip()


def _uri(path: Path) -> str:
    relative = _relative_path(path)
    return Path(relative).as_uri() if Path(relative).is_absolute() else quote(relative)


def _relative_path(path: Path) -> str:
    """Return a file's path as the repository has it, which the command is run in."""
    here = Path.cwd()
    resolved = path.resolve()
    return (resolved.relative_to(here) if resolved.is_relative_to(here) else resolved).as_posix()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
