"""What became of deployments, for who reads it: lines, JSON, marks for a CI system, exit code."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from notifier.arns import revision_label
from notifier.causes import Cause
from notifier.cli.progress import Progress, foreign
from notifier.confirmation import clock
from notifier.confirming import Confirmation
from notifier.deployments import Kind

EXIT_CODE = {
    Kind.LIVE: 0,
    Kind.FAILED: 1,
    Kind.ROLLED_BACK: 1,
    Kind.STOPPED: 1,
    Kind.SUPERSEDED: 3,
    Kind.UNDECIDED: 4,
    Kind.NOT_FOUND: 5,
}
_WORST_FIRST = (1, 2, 5, 3, 4, 0)
_SIGN = {Kind.LIVE: "✅", Kind.SUPERSEDED: "⚪", Kind.UNDECIDED: "⚪", Kind.NOT_FOUND: "⚪"}


def worst(codes: Collection[int]) -> int:
    """The exit code for several outcomes: what failed says more than what is not known."""
    return next(code for code in _WORST_FIRST if code in codes)


@dataclass(slots=True)
class Report(Progress):
    """How it goes on, and what became of each service as soon as that is known."""

    found: list[Confirmation] = field(default_factory=list)

    def ended(self, found: Confirmation) -> None:
        """Show it, and keep it."""
        self.found.append(found)
        self.shows(found.service, marked(found, list(lines_of(found))))


def lines_of(one: Confirmation) -> Iterator[str]:
    """What happened, and why, in the first line; then all else. None begins with foreign text."""
    yield _headline(one)
    for line in one.verdict.evidence:
        yield f"  {foreign(line)}"
    for label, text in _reasons(one):
        yield f"  {label:9}{foreign(text)}"
    for label, url in one.pages:
        yield f"  {label}: {url}"


def _headline(one: Confirmation) -> str:
    sign = _SIGN.get(one.verdict.kind, "⛔")
    label = revision_label(one.mine.task_definition) if one.mine else ""
    deployment = (one.mine.deployment_id or one.mine.service_deployment) if one.mine else ""
    which = " · ".join(foreign(part) for part in (label, deployment) if part)
    named = f" ({which})" if which else ""
    why = f", {foreign(_why(one.cause))}" if one.cause and one.cause.why else ""
    return f"{sign} {foreign(one.service)}: {one.verdict.kind}{why}{named}"


def _why(cause: Cause) -> str:
    return f"{'' if cause.is_sure else 'probably '}{cause.why}"


def _reasons(one: Confirmation) -> Iterator[tuple[str, str]]:
    cause, reason = one.cause or Cause(), one.verdict.reason
    said = dict.fromkeys(filter(None, (*cause.quotes, reason)))
    rows = (
        *(("ECS", text) for text in said),
        ("Try", " ".join(filter(None, (cause.remedy, cause.page)))),
        *(("Changed", text) for text in cause.changed),
        ("Tasks", cause.tasks),
        *(("", text) for text in cause.containers),
        ("Shipped", cause.shipped),
        ("", one.missing),
    )
    yield from ((label, text) for label, text in rows if text)


# --- CI systems ---------------------------------------------------------------------------------


def marked(one: Confirmation, lines: list[str]) -> list[str]:
    """The lines as the CI system that runs us shows them best, where it is one we know."""
    if EXIT_CODE[one.verdict.kind] == 0:
        return lines
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return [*lines, _annotation(one, lines)]
    if os.environ.get("GITLAB_CI") == "true":
        return _section(one, lines)
    return lines


def _annotation(one: Confirmation, lines: Sequence[str]) -> str:
    """A workflow command that puts the failure on the run's page.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    level = "error" if EXIT_CODE[one.verdict.kind] in (1, 5) else "warning"
    title = _escaped(f"{one.service}: {one.verdict.kind}").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_escaped(chr(10).join(lines))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _section(one: Confirmation, lines: Sequence[str]) -> list[str]:
    """A section of the job's log, open, that can be folded.

    https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
    """
    name, now = f"ecs_watch_{one.service}", round(clock()().timestamp())
    begin = f"\x1b[0Ksection_start:{now}:{name}\r\x1b[0K{lines[0]}"
    return [begin, *lines[1:], f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K"]


# --- JSON ---------------------------------------------------------------------------------------


def as_json(
    found: Sequence[Confirmation], cluster: str, code: int, error: str
) -> Mapping[str, object]:
    """The outcome for a program. Foreign texts are as in the lines."""
    shown = {"cluster": cluster, "exitCode": code, "services": [_as_json(one) for one in found]}
    return {**shown, "error": foreign(error)} if error else shown


def _as_json(one: Confirmation) -> Mapping[str, object]:
    mine, cause = one.mine, one.cause or Cause()
    return {
        "service": one.service,
        "verdict": str(one.verdict.kind),
        "seconds": one.seconds,
        "deploymentId": mine.deployment_id if mine else "",
        "serviceDeploymentArn": mine.service_deployment if mine else "",
        "taskDefinition": mine.task_definition if mine else "",
        "evidence": [foreign(line) for line in one.verdict.evidence],
        "reason": foreign(one.verdict.reason),
        "cause": foreign(cause.why),
        "causeIsCertain": cause.is_sure and bool(cause.why),
        "remedy": foreign(cause.remedy),
        "page": cause.page,
        "changed": [foreign(line) for line in cause.changed],
        "tasks": foreign(cause.tasks),
        "containers": [foreign(line) for line in cause.containers],
        "missing": foreign(one.missing),
        "links": dict(one.pages),
    }
