"""Who shipped a deployment: by tags, by the name of a role's session, by the caller's identity.

Tags `ecs-watch:actor` and `ecs-watch:url` on the task definition or the service say it best. Else
the record of the call that began the deployment does: a pipeline can write its actor and its run
into the name of its session, and the patterns for that are settings. `Actors` maps names to Slack
ids; whoever is not certain has none, so that nobody is rung for what somebody else has done.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit

from notifier.arns import revision_label
from notifier.errors import SettingsError
from notifier.facts import Actor, Facts, Shipment
from notifier.model import ApiCall, Caller

ACTOR_TAG = "ecs-watch:actor"
URL_TAG = "ecs-watch:url"

# "the length … 2 to 64": what is as long may have been cut to fit.
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
LONGEST_SESSION_NAME = 64

# The forms are told to the reader of the settings: a session's name has none of `/ : ; < >` and no
# space, so `=` stands for the slash of a path. `GitHubActions` and `GitLabRunner-…` are the names
# that the tools' own documentation gives.
# https://github.com/aws-actions/configure-aws-credentials
# https://docs.gitlab.com/ci/cloud_services/aws/
SHIPPED = (
    "GitHub Actions: GitHubActions;"
    r"GitHub Actions: gh-(?P<run>\d+)-(?P<actor>[\w.-]+)(@(?P<repository>[\w.-]+=[\w.-]+))?"
    " -> https://github.com/{repository}/actions/runs/{run};"
    r"GitLab CI: GitLabRunner(-\d+)+;"
    r"GitLab CI: gl-(?P<pipeline>\d+)-(?P<actor>[\w.-]+)(@(?P<project>[\w.-]+(=[\w.-]+)+))?"
    " -> https://gitlab.com/{project}/-/pipelines/{pipeline};"
    "CodeBuild: AWSCodeBuild-.+;"
    "CloudFormation: AWSCloudFormation"
)
EXAMPLE = r"Jenkins: jenkins-(?P<run>\d+)-(?P<actor>.+) -> https://ci.example.com/run/{run}"

# Names that a program made up for want of one, or that are ids: the role says more.
_MADE_UP = re.compile(
    r"botocore-session-\d+|aws-go-sdk-\d+|aws-sdk-[a-z0-9]+-\d+|\d+|i-[0-9a-f]{8,17}|[0-9a-f-]{32,36}"
)
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create-service-linked-role.html
_SERVICE_LINKED_ROLE = "AWSServiceRoleFor"
_IDENTITY_CENTER = "IAM Identity Center"
_UNKNOWN = "unknown"
_SERVICES = {
    "application-autoscaling.amazonaws.com": "Application Auto Scaling",
    "cloudformation.amazonaws.com": "CloudFormation",
    "codebuild.amazonaws.com": "CodeBuild",
    "codedeploy.amazonaws.com": "CodeDeploy",
    "codepipeline.amazonaws.com": "CodePipeline",
    "ecs.amazonaws.com": "Amazon ECS",
    "ecs.application-autoscaling.amazonaws.com": "Application Auto Scaling",
}
_PROVIDERS = {"token.actions.githubusercontent.com": "GitHub Actions", "gitlab.com": "GitLab CI"}

# A deployment is created while its call is answered; the two times come from two clocks.
_WHILE_IT_IS_CALLED = timedelta(minutes=2)
# Without the deployment's own time, the call that is looked for is not older than this.
_NOT_LONG_AGO = timedelta(days=1)


# --- settings -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionName:
    """How a tool names its sessions; the `url` of its run has the pattern's groups in braces."""

    tool: str
    pattern: re.Pattern[str]
    url: str = ""


@dataclass(frozen=True, slots=True)
class People:
    """Whom the settings know: Slack ids by actors' names, and how tools name their sessions."""

    slack_ids: Mapping[str, str] = field(default_factory=dict)
    session_names: tuple[SessionName, ...] = ()


NOBODY = People()


def parse_actors(text: str) -> Mapping[str, str]:
    """Read the `Actors` setting, names in lower case; raise SettingsError that says what is wrong.

    It is `NAME=SLACK-ID`, separated by semicolons; of one name the last counts.
    """
    return dict(_slack_id(entry.strip()) for entry in text.split(";") if entry.strip())


def _slack_id(entry: str) -> tuple[str, str]:
    name, _, slack_id = (part.strip() for part in entry.rpartition("="))
    if not name or not re.fullmatch(r"[SUW][A-Z0-9]+", slack_id):
        raise SettingsError(
            f"Actors: '{entry}' is not a name, '=' and a Slack id of a user (U…) or a user group "
            "(S…); for example: mika=U0123456789; octo-cat=U0456789012"
        )
    return name.casefold(), slack_id


def parse_session_names(text: str = "") -> tuple[SessionName, ...]:
    """Read the `SessionNames` setting, and behind it what is shipped: the first that fits counts.

    It is `TOOL: PATTERN -> URL`, separated by semicolons, of which the URL may be left out. The
    pattern is a regular expression that the session's whole name has to match; its group `actor`
    is who it was, each group may stand in the URL. Raises SettingsError that says what is wrong.
    """
    return tuple(_session_name(rule.strip()) for rule in _rules(text) + _rules(SHIPPED))


def _rules(text: str) -> list[str]:
    return [rule for rule in text.split(";") if rule.strip()]


def _session_name(rule: str) -> SessionName:
    named, _, url = (part.strip() for part in rule.partition(" -> "))
    tool, _, pattern = (part.strip() for part in named.partition(": "))
    if not tool or not pattern:
        raise SettingsError(f"SessionNames: '{rule}' has no 'TOOL: PATTERN'; for example {EXAMPLE}")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise SettingsError(
            f"SessionNames: '{pattern}' is not a regular expression: {error}"
        ) from None
    if url and not _is_url(url):
        raise SettingsError(f"SessionNames: '{url}' in '{rule}' is not an http or https address")
    if unknown := [name for name in _names_in(url) if name not in compiled.groupindex]:
        raise SettingsError(
            f"SessionNames: '{{{unknown[0]}}}' in '{rule}' is no group of its pattern; for example "
            f"{EXAMPLE}"
        )
    return SessionName(tool, compiled, url)


def _names_in(url: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", url)


# --- who it was ---------------------------------------------------------------------------------


def actor(
    facts: Facts,
    shipments: Iterable[Shipment],
    slack_ids: Mapping[str, str],
    *,
    began_at: datetime | None = None,
) -> Actor | None:
    """Who shipped the deployment that `facts` is about; None when nothing says it.

    `shipments` are calls for this service, `began_at` is when the deployment did if that is known
    from elsewhere. Certain is who is in a record that names the deployment. A tag goes before the
    record, but anybody can write it and it outlives what it was written for: it is certain only
    where it names whom the record names.
    """
    known = tuple(shipments)
    named = _named(facts, known)
    shipment = named or _probable(facts, known, began_at)
    tagged = _tagged(facts)
    if not tagged:
        return _told(shipment.actor, named is not None, slack_ids) if shipment else None
    is_certain = named is not None and _agree(tagged, named)
    return _told(_merged(tagged, shipment), is_certain, slack_ids)


def shipment(
    call: ApiCall,
    session_names: Iterable[SessionName],
    slack_ids: Mapping[str, str] | None = None,
) -> Shipment | None:
    """What the record of a call says of who shipped; None for a call that began no deployment.

    A record that names its deployment may come when that has been told already: then it is rung for
    by what stands here, so it has the Slack id with it.
    """
    if not call.begins_deployment:
        return None
    who, is_person = _recorded(call, tuple(session_names))
    known = (slack_ids or {}).get(who.name.casefold(), "") if call.deployment_id else ""
    return Shipment(
        at=call.occurred_at,
        actor=replace(who, slack_id=known),
        deployment_id=call.deployment_id,
        task_definition=call.task_definition,
        is_person=is_person,
    )


def _told(who: Actor, is_certain: bool, slack_ids: Mapping[str, str]) -> Actor:
    slack_id = slack_ids.get(who.name.casefold(), "") if is_certain else ""
    return replace(who, is_certain=is_certain, slack_id=slack_id)


def _named(facts: Facts, shipments: tuple[Shipment, ...]) -> Shipment | None:
    """The call that began the deployment: of those whose records name it, the first.

    A later call that changes nothing is answered with the deployment that is there already.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
    """
    if facts.deployment_id is None:
        return None
    named = [one for one in shipments if one.deployment_id == facts.deployment_id]
    return min(named, key=lambda one: one.at, default=None)


def _probable(
    facts: Facts, shipments: tuple[Shipment, ...], began_at: datetime | None
) -> Shipment | None:
    """The newest call that may have begun it: of its task definition, and at the right time."""
    created_at = facts.service_deployment.created_at if facts.service_deployment else None
    fitting = [one for one in shipments if _fits(facts, one, created_at or began_at)]
    return max(fitting, key=lambda one: one.at, default=None)


def _fits(facts: Facts, shipment: Shipment, began_at: datetime | None) -> bool:
    if facts.deployment_id and shipment.deployment_id:
        return False  # it is another one's
    is_in_time = (
        abs(shipment.at - began_at) <= _WHILE_IT_IS_CALLED
        if began_at
        else timedelta() <= facts.read_at - shipment.at <= _NOT_LONG_AGO
    )
    return is_in_time and _is_of(facts.failing_revision, shipment.task_definition)


def _is_of(revision: str, task_definition: str) -> bool:
    """Whether what a call names can be this revision; it may name the family alone, or nothing."""
    label, named = revision_label(revision), revision_label(task_definition)
    return not label or not named or named in (label, label.rpartition(":")[0])


# --- tags ---------------------------------------------------------------------------------------


def _tagged(facts: Facts) -> Actor | None:
    """What tags say: those of the revision itself, else those of the service."""
    return _of_tags(facts.failing.tags if facts.failing else {}) or _of_tags(facts.tags)


def _of_tags(tags: Mapping[str, str]) -> Actor | None:
    name, url = tags.get(ACTOR_TAG, "").strip(), tags.get(URL_TAG, "").strip()
    url = url if _is_url(url) else ""
    return Actor(name=name, url=url) if name or url else None


def _agree(tagged: Actor, named: Shipment) -> bool:
    return tagged.name.casefold() in ("", named.actor.name.casefold())


def _merged(tagged: Actor, shipment: Shipment | None) -> Actor:
    """The tags, and from the record what they leave open."""
    if shipment is None:
        return replace(tagged, name=tagged.name or urlsplit(tagged.url).hostname or tagged.url)
    recorded, url = shipment.actor, tagged.url or shipment.actor.url
    if not tagged.name or tagged.name.casefold() == recorded.name.casefold():
        return replace(recorded, url=url)
    tool = recorded.via if shipment.is_person else recorded.name
    return Actor(name=tagged.name, via=tool, url=url)


def _is_url(text: str) -> bool:
    return re.fullmatch(r"https?://[^\s/?#@<>|\"]+([/?#][^\s<>|\"]*)?", text) is not None


# --- records ------------------------------------------------------------------------------------


def _recorded(call: ApiCall, rules: tuple[SessionName, ...]) -> tuple[Actor, bool]:
    """Who the record says it was, and whether that is a person's name."""
    caller = call.caller
    for rule in rules:
        if found := rule.pattern.fullmatch(caller.session_name):
            return _of_session(caller, rule, found)
    tool = _tool(caller)
    if caller.type == "AWSService" or caller.role.startswith(_SERVICE_LINKED_ROLE):
        return Actor(name=tool or _role(caller) or call.caller_name or _UNKNOWN), False
    if caller.role:
        return _of_role(caller, tool)
    if caller.type == "Root":
        return Actor(name="root", via=tool), True
    if caller.type == "IdentityCenterUser":
        return Actor(name=f"user {caller.user_name}".strip(), via=tool or _IDENTITY_CENTER), True
    return Actor(name=caller.user_name or call.caller_name or _UNKNOWN, via=tool), True


def _of_session(caller: Caller, rule: SessionName, found: re.Match[str]) -> tuple[Actor, bool]:
    groups = _whole_groups(found)
    url = _filled(rule.url, groups)
    if name := groups.get("actor"):
        return Actor(name=name, via=rule.tool, url=url), True
    return Actor(name=rule.tool, via=_role(caller), url=url), False


def _of_role(caller: Caller, tool: str) -> tuple[Actor, bool]:
    name = caller.session_name
    if not name or _MADE_UP.fullmatch(name):
        return (Actor(name=tool, via=_role(caller)) if tool else Actor(name=_role(caller))), False
    if caller.is_of_identity_center:
        return Actor(name=name, via=tool or _IDENTITY_CENTER), True
    return Actor(name=name, via=tool or _role(caller)), not tool


def _role(caller: Caller) -> str:
    return f"role {caller.role}" if caller.role else ""


def _tool(caller: Caller) -> str:
    """The AWS service that made or passed on the call, or the tool whose credentials it had."""
    if caller.invoked_by:
        return _SERVICES.get(caller.invoked_by, caller.invoked_by)
    host = caller.identity_provider.partition(":oidc-provider/")[2] or caller.identity_provider
    return _PROVIDERS.get(host.partition("/")[0], "")


def _whole_groups(found: re.Match[str]) -> dict[str, str]:
    """The groups, without one that ends where a name that was too long would have been cut."""
    return {
        name: text
        for name, text in found.groupdict(default="").items()
        if text and found.end(name) < LONGEST_SESSION_NAME
    }


def _filled(url: str, groups: Mapping[str, str]) -> str:
    """The address with the groups in their places; empty when one is missing or no path's part."""
    parts = {name: groups.get(name, "").replace("=", "/") for name in _names_in(url)}
    if any(_is_step(step) for part in parts.values() for step in part.split("/")):
        return ""
    return re.sub(r"\{(\w+)\}", lambda name: quote(parts[name[1]]), url)


def _is_step(step: str) -> bool:
    """Whether a browser would take it for a step up, or to nowhere."""
    return step in ("", ".", "..")
