"""Who is told, by the Channels setting."""

import pytest

from notifier.errors import SettingsError
from notifier.routing import parse_channels, route_for

CHANNELS = "prod-*=C01,mention=S0SRE; review-*=ignore; dev-*=C02,quiet; *=C03"


@pytest.mark.parametrize(
    ("cluster", "destination"),
    [("prod-web", "C01"), ("review-7", "ignore"), ("dev-a", "C02"), ("else", "C03")],
)
def test_the_first_rule_that_matches_wins(cluster: str, destination: str) -> None:
    assert route_for(cluster, parse_channels(CHANNELS)).destination == destination


def test_a_rule_can_mention_and_be_quiet() -> None:
    prod, _, dev, _ = parse_channels(CHANNELS)

    assert prod.mentions == ("S0SRE",)
    assert (dev.quiet, prod.quiet) == (True, False)


def test_matching_looks_at_upper_and_lower_case() -> None:
    assert route_for("PROD-web", parse_channels(CHANNELS)).destination == "C03"


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ("", "must end with a rule for '*'"),
        ("prod-*=C01", "must end with a rule for '*'"),
        ("*=#general", "'#general' in '*=#general' is not a Slack channel id"),
        ("*", "'*' has no '='; for example"),
        ("=C01; *=C01", "has no cluster name pattern"),
        ("*=C01,loud", "'loud' is neither 'quiet' nor 'mention='"),
        ("*=C01,mention=@mika", "neither 'quiet' nor 'mention='"),
    ],
)
def test_a_rule_that_cannot_be_read_is_an_error_that_says_which(channels: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_channels(channels)

    assert says in str(error.value)
