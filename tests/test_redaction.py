"""What of a program's words may be told, and what must not."""

import json
import re
import runpy
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier import redaction
from notifier.errors import SettingsError
from notifier.redaction import names_a_secret, parse_patterns, redacted, redacted_lines
from tests.secrets_corpus import (
    LINES,
    LOOK_ALIKES,
    SECRETS,
    TOKENS,
    Secret,
    figures,
    leaked,
    leaks,
)

EVENTS = Path(__file__).parent.parent / "events"
BEGIN, END = "-----BEGIN PRIV" + "ATE KEY-----", "-----END PRIV" + "ATE KEY-----"
KEY_LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
# What says that these are secrets, or how far they go, stands behind them and may be cut away.
KNOWN_BY_WHAT_FOLLOWS = (
    "dial app", 'dsn="app', "connecting to app", '{"value"', "mysql://app:p@ss/", "ValueError",
)  # fmt: skip


# --- the corpus -----------------------------------------------------------------------------------


def test_no_secret_of_the_corpus_is_told_and_no_look_alike_is_destroyed() -> None:
    secrets_leaked, secrets, destroyed, look_alikes = figures()

    assert (secrets_leaked, destroyed) == (0, 0)
    assert secrets >= 150
    assert look_alikes >= 150


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.text[:60])
def test_only_the_secret_is_replaced_and_what_is_around_it_stays(secret: Secret) -> None:
    mark = r"\[redacted[\w ]*\]"

    assert re.fullmatch(mark.join(map(re.escape, secret.kept)), redacted(secret.text))


@pytest.mark.parametrize("text", LOOK_ALIKES, ids=lambda text: text[:60])
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_nothing_of_the_recorded_events_is_taken_for_a_secret_but_key_ids() -> None:
    changed = {text for text in _texts_of_events() if redacted(text) != text}

    assert {re.sub(r"^A[KS]IA[A-Z0-9]{15,16}$", "an id", text) for text in changed} <= {"an id"}


def _texts_of_events() -> Iterator[str]:
    for path in EVENTS.rglob("*.json"):
        yield from _texts(json.loads(path.read_text()))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else ():
        yield from _texts(item)
    for item in value if isinstance(value, list) else ():
        yield from _texts(item)


@pytest.mark.parametrize("position", range(len(redaction.RULES)))
def test_each_rule_hides_something_that_no_other_hides(
    position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = redaction.RULES[:position] + redaction.RULES[position + 1 :]

    monkeypatch.setattr(redaction, "RULES", without)

    assert leaked()


def test_each_rule_says_where_its_secret_is_described() -> None:
    assert all(rule.source.startswith("https://") for rule in redaction.RULES)


# --- what is shown instead ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "mark"),
    [
        ("aws", "[redacted AWS access key]"),
        ("slack-bot", "[redacted Slack token]"),
        ("github-fine", "[redacted GitHub token]"),
        ("gitlab", "[redacted GitLab token]"),
        ("npm", "[redacted npm token]"),
        ("pypi", "[redacted PyPI token]"),
        ("stripe", "[redacted Stripe key]"),
        ("google", "[redacted Google API key]"),
        ("vault", "[redacted Vault token]"),
        ("jwt", "[redacted JWT]"),
    ],
)
def test_the_mark_says_what_was_there(kind: str, mark: str) -> None:
    assert redacted(f"sent {TOKENS[kind]}.") == f"sent {mark}."


def test_the_name_of_a_value_and_the_host_of_a_url_stay() -> None:
    assert redacted("DB_PASSWORD=hunter2") == "DB_PASSWORD=[redacted]"
    assert redacted("postgres://app:hunter2@db:5432/x") == "postgres://[redacted]@db:5432/x"


def test_a_mark_that_names_a_token_is_no_name_of_a_value() -> None:
    assert redacted(f"{TOKENS['slack-bot']}: refused") == "[redacted Slack token]: refused"


def test_a_token_under_a_telling_name_is_one_mark_that_says_which() -> None:
    assert redacted(f"TOKEN={TOKENS['github']}\n") == "TOKEN=[redacted GitHub token]\n"


@pytest.mark.parametrize(
    "name",
    ["DB_PASSWORD", "dbPassword", "db.password", "X-Api-Key", "SecretString", "PGPASSWORD"],
)
def test_the_value_of_a_telling_name_is_secret(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name",
    ["monkey", "tokenizer", "max_tokens", "SECRET_ARN", "token_count", "PasswordEncoder", "pass"],
)
def test_the_value_of_another_name_is_not(name: str) -> None:
    assert not names_a_secret(name)


# --- lines of a log -------------------------------------------------------------------------------


def test_a_private_key_printed_over_many_lines_is_one_mark() -> None:
    lines = ["loading", BEGIN, KEY_LINE, KEY_LINE[::-1], "q7Rk2vTz9LmX", END, "exit 1"]

    assert redacted_lines(lines) == ("loading", "[redacted private key]", "exit 1")


def test_a_private_key_whose_first_lines_are_not_among_the_last_twenty_is_hidden() -> None:
    lines = [KEY_LINE, KEY_LINE[::-1], "q7Rk2vTz9LmX", END, "exit 1"]

    assert redacted_lines(lines) == ("[redacted private key]", "exit 1")


def test_lines_without_secrets_stay_one_by_one_also_empty_ones() -> None:
    assert redacted_lines(["a", "", "b\nc", ""]) == ("a", "", "b\nc", "")
    assert redacted_lines([]) == ()


def test_a_password_is_hidden_in_its_own_line_only() -> None:
    lines = ["user=app", "password=hunter2", "host=db"]

    assert redacted_lines(lines) == ("user=app", "password=[redacted]", "host=db")


# --- cuts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_that_aws_cut_short_at_the_end_is_hidden(kind: str) -> None:
    token = TOKENS[kind]
    public = re.match(
        r"A[KS]IA|eyJ\w+\.|gh[ps]_\d+_\w+\.|xoxe\.xoxp-1-|[a-z]+[_-](?:pat_|live_|AgE)?", token
    )
    known = public.end() if public else 0

    for cut in range(known + 8, len(token)):
        assert token[known : known + 8] not in redacted(f"refused: {token[:cut]}")
        assert token[known : known + 8] not in redacted(f'refused: "{token[:cut]}...')


@pytest.mark.parametrize(
    "secret",
    [secret for secret in LINES if not secret.text.startswith(KNOWN_BY_WHAT_FOLLOWS)],
    ids=lambda secret: secret.text[:60],
)
def test_a_line_cut_anywhere_tells_no_secret(secret: Secret) -> None:
    # The user's name before a colon is no secret as long as no password follows.
    passwords = replace(secret, hidden=tuple(part.rpartition(":")[2] for part in secret.hidden))
    for cut in range(len(secret.text)):
        assert not leaks(passwords, redacted(secret.text[:cut]), window=10)


@given(st.sampled_from(SECRETS), st.integers(0, 200))
def test_a_cut_after_redaction_tells_no_secret(secret: Secret, cut: int) -> None:
    assert not leaks(secret, redacted(secret.text)[:cut])


# --- any text -------------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [secret.text for secret in SECRETS]
    + list(LOOK_ALIKES)
    + ["password", "token", "://", "=", ":", '"', "'", "\\", "@", "[redacted]", "[redacted JWT]"]
    + [BEGIN, END, KEY_LINE, "eyJ", "Bearer ", "\n", " ", ",", "{", "--", "%3D", "<", ">", "\0"]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(FRAGMENTS, st.text(max_size=5))).map("".join))


@given(TEXTS)
@example(f'Authorization: AWS4 Credential={TOKENS["aws"]}input("Password: ")')
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redacted(text)

    assert redacted(once) == once


@given(TEXTS)
def test_a_text_grows_by_a_bound_only(text: str) -> None:
    assert len(redacted(text)) <= 3 * len(text) + 40


@given(st.text(alphabet="abcdefghij klmnoprstuvxyz,\n", max_size=300))
def test_words_stay_as_they_are(text: str) -> None:
    assert redacted(text) == text


@given(st.text(max_size=60), st.sampled_from(sorted(TOKENS)), st.text(max_size=60))
def test_a_token_is_found_at_any_place(before: str, kind: str, after: str) -> None:
    token = TOKENS[kind]

    assert token not in redacted(f"{before} {token} {after}")


@given(st.lists(TEXTS))
def test_lines_never_fail_and_are_never_more(lines: list[str]) -> None:
    assert len(redacted_lines(lines)) <= len(lines)


# --- time -----------------------------------------------------------------------------------------

# What makes careless patterns slow: many beginnings without their ends.
HOSTILE = (
    "a", "a ", "a=", "a:", "password=", "password:", 'password="', "password='\\",
    '\\"password\\":\\"', "password=,", "password=a,a", "--password ", "eyJ", "eyJa-", "eyJa.",
    "xoxb-", "ghp_", "gh", "AKIA", "glpat-", "npm_", "://", "://a:", "://a:b@", "http://a:b",
    "@tcp(", "a:b@", "a:$", BEGIN, END, BEGIN + "\n", KEY_LINE, KEY_LINE + "\n", "authorization:",
    "bearer ", "basic ", "cookie:a=b; ", "name=", "name:a value:", '"value":"', "<a>",
    "<password>", "<password ", "curl -u a", "jdbc:oracle:thin:a/", "password '", "&sig=",
    "[redacted]", "arn:token:", "key:", "\\", '"', "\\\\\\\"", "hooks.slack.com/services/",
    '"auth":"', "sk_live_", "{", "%3D", "token:1 ",
)  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_grows_with_the_text_and_not_with_its_square(unit: str) -> None:
    short, long = (unit * (size // len(unit)) for size in (8_000, 64_000))

    # 8 when it grows in proportion, 64 when with the square; the least of some tries, in CPU time.
    assert min(_cost(long) / _cost(short) for _ in range(4)) < 24


def _cost(text: str) -> float:
    start = time.process_time_ns()
    redacted(text)
    return max(time.process_time_ns() - start, 200_000)


def test_no_repetition_without_a_bound_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns: list[str] = []
    compile_pattern = re.compile

    def spy(pattern: Any, flags: int = 0) -> Any:
        patterns.append(pattern)
        return compile_pattern(pattern, flags)

    monkeypatch.setattr(re, "compile", spy)
    runpy.run_path(redaction.__file__)

    assert len(patterns) > 30
    assert {pattern for pattern in patterns if _gives_back(pattern)} == set()


def _gives_back(pattern: str) -> bool:
    atoms = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\\\]])*\]|\(\?", "x", pattern, flags=re.DOTALL)
    repetitions = re.findall(r"(?:[*+?]|\{\d*,?\d*\})[?+]?", atoms)
    return any(re.fullmatch(r"[*+]\??|\{\d*,\}\??", repetition) for repetition in repetitions)


# --- patterns of one's own ------------------------------------------------------------------------


def test_a_pattern_of_ones_own_hides_what_it_matches() -> None:
    own = parse_patterns(r"acme-[0-9a-f]{8};;(?i)customer \d+")

    assert redacted("acme-0123abcd for Customer 4711", own) == (
        "[redacted by own pattern] for [redacted by own pattern]"
    )
    assert redacted_lines(["acme-0123abcd"], own) == ("[redacted by own pattern]",)


def test_patterns_stand_on_lines_or_between_two_semicolons_and_none_is_fine() -> None:
    assert [pattern.pattern for pattern in parse_patterns("a1\n\n b2 ;;c{3}")] == [
        "a1",
        "b2",
        "c{3}",
    ]
    assert parse_patterns(" \n") == ()


def test_a_pattern_of_ones_own_does_not_save_part_of_a_token() -> None:
    own = parse_patterns("[0-9]{2}")

    assert redacted(TOKENS["github"], own) == "[redacted GitHub token]"


def test_patterns_of_ones_own_leave_marks_alone() -> None:
    own = parse_patterns(r"redacted;;[a-z]{8};;[\[\]]")
    once = redacted(f"password=hunter2 harmless {TOKENS['jwt']} [a]", own)

    assert once == (
        "[redacted by own pattern]=[redacted] [redacted by own pattern] [redacted JWT] "
        "[redacted by own pattern]a[redacted by own pattern]"
    )
    assert redacted(once, own) == once
    assert redacted("[redacted JWT] x", parse_patterns(r"JWT\] x")) == "[redacted JWT]"


def test_a_pattern_that_matches_nothing_of_a_text_leaves_no_mark() -> None:
    assert redacted("abc", parse_patterns("(?=b)")) == "abc"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "'(' is not a regular expression"),
        ("a{5}(", "'a{5}(' is not a regular expression"),
        ("a*", "matches the empty string"),
        (r"\b", "matches the empty string"),
        ("a|", "matches the empty string"),
        (r"(\w+)+", r"'(\w+)+' repeats without a bound before its end: write {1,100}, not +"),
        (r"(\w+\s)+x", "repeats without a bound"),
        (r"\w+@acme", "repeats without a bound"),
        (r"a.*b", "repeats without a bound"),
        (r"a{2,}b", "repeats without a bound"),
        (r"x(?:a|b)+", "repeats without a bound"),
        (r"a(?=\w+)", "repeats without a bound"),
        (r"(?:\w+|x)y", "repeats without a bound"),
        (r"(?:a{1,50}){1,50}b", "could take very long"),
        (r"(?:a|a){1,50}b", "could take very long"),
        (r"\w{1,100}-\w{1,100}-\w{1,100}", "could take very long"),
        (r"a{1,99999}b", "could take very long"),
        ("(?x)a b", "uses the flag x"),
    ],
)
def test_a_bad_or_dangerous_pattern_is_refused_by_name(pattern: str, why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_patterns(f"fine-[0-9]{{4}}\n{pattern}")

    assert why in str(refused.value)
    assert "fine" not in str(refused.value)


def test_all_bad_patterns_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"^patterns to redact: 'a\*' .*; '\(' "):
        parse_patterns("a*;;(")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"acme_\w+", "acme_q7Rk2"),
        (r"(acme_\w+)", "acme_q7Rk2"),
        (r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", "10.0.3.7"),
        (r"(?:foo|bar)?-\d{6}", "foo-123456"),
        (r"(?P<id>ID)\d+|KEY\d+", "KEY12"),
        (r"[^\]\[]{4}\*\+", "abcd*+"),
        (r"a{b}", "a{b}"),
        (r"(?<=pin )\d{4}", "1234"),
        (r"a{,3}b", "aab"),
    ],
)
def test_a_bounded_pattern_is_taken(pattern: str, text: str) -> None:
    assert redacted(f"pin {text}", parse_patterns(pattern)) == "pin [redacted by own pattern]"


@given(st.text(alphabet="ab(|)*+?{}1,2[]\\.:=!<^$x", max_size=12))
def test_any_setting_is_taken_or_refused_with_an_error_of_ours(text: str) -> None:
    try:
        patterns = parse_patterns(text)
    except SettingsError:
        return
    for pattern in patterns:
        pattern.sub("", "ab" * 500)
