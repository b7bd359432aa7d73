"""Who is told, where, or not at all.

`Channels` is an ordered list of rules `PATTERN=DESTINATION[,mention=ID][,quiet]`, separated by
semicolons; the first whose pattern matches the cluster's name wins, and the last must be `*`, so
that no cluster is left out by accident. A destination is a Slack channel id, the word `webhook`,
or `ignore`.
"""

import re
from fnmatch import fnmatchcase

from notifier.errors import SettingsError
from notifier.model import IGNORE, Route

WEBHOOK = "webhook"
EXAMPLE = "prod-*=C0123456789,mention=S0123456789; review-*=ignore; *=C0123456789"


def parse_channels(text: str) -> tuple[Route, ...]:
    """Read the `Channels` setting; raise SettingsError that says which rule is wrong and why."""
    routes = tuple(_route(rule) for rule in text.split(";") if rule.strip())
    if not routes or routes[-1].pattern != "*":
        raise SettingsError(f"Channels must end with a rule for '*', for example: {EXAMPLE}")
    return routes


def _route(rule: str) -> Route:
    head, *options = (part.strip() for part in rule.split(","))
    pattern, _, destination = (part.strip() for part in head.partition("="))
    if "=" not in head:
        raise SettingsError(f"Channels: '{rule.strip()}' has no '='; for example: {EXAMPLE}")
    if not re.fullmatch(r"[\w*?.-]+", pattern):
        raise SettingsError(f"Channels: '{rule.strip()}' has no cluster name pattern before '='")
    if not re.fullmatch(rf"[CGD][A-Z0-9]{{2,}}|{WEBHOOK}|{IGNORE}", destination):
        raise SettingsError(
            f"Channels: '{destination}' in '{rule.strip()}' is not a Slack channel id "
            f"(C0123456789), '{WEBHOOK}' or '{IGNORE}'"
        )
    return Route(
        pattern=pattern,
        destination=destination,
        mentions=tuple(_mention(option) for option in options if option != "quiet"),
        quiet="quiet" in options,
    )


def _mention(option: str) -> str:
    name, _, who = option.partition("=")
    if name.strip() != "mention" or not re.fullmatch(r"[SUW][A-Z0-9]+|here|channel", who.strip()):
        raise SettingsError(
            f"Channels: '{option}' is neither 'quiet' nor 'mention=' with a Slack id of a user "
            "(U…), a user group (S…), 'here' or 'channel'"
        )
    return who.strip()


def route_for(cluster_name: str, routes: tuple[Route, ...]) -> Route:
    """The first rule that matches the cluster's name; the last is `*`, so one always does."""
    return next(route for route in routes if fnmatchcase(cluster_name, route.pattern))
