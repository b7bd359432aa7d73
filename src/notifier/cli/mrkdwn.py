"""Slack's mrkdwn → HTML, and → the plain text of a notification. Pure; standard library only.

Live is only what Slack would make live: `<url|label>` (http, https, mailto), `<@U…>`, `<#C…>`,
`<!subteam^S…>`, `<!here>`, `<!channel>`, `<!everyone>`, `<!date^…>`. Of entities Slack decodes
`&amp;`, `&lt;` and `&gt;` alone, so an escaped `&lt;!channel&gt;` is text and stays text.
https://docs.slack.dev/messaging/formatting-message-text/
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from html import escape

EMOJI: Mapping[str, str] = {
    "+1": "👍", "-1": "👎", "arrows_counterclockwise": "🔄", "ballot_box_with_check": "☑️",
    "bell": "🔔", "boom": "💥", "chart_with_downwards_trend": "📉", "clock3": "🕒", "eyes": "👀",
    "fire": "🔥", "heavy_check_mark": "✔️", "hourglass": "⌛", "hourglass_flowing_sand": "⏳",
    "information_source": "ℹ️", "large_blue_circle": "🔵", "large_green_circle": "🟢",  # noqa: RUF001
    "large_orange_circle": "🟠", "large_yellow_circle": "🟡", "link": "🔗", "mag": "🔍",
    "mega": "📣", "mute": "🔇", "no_entry": "⛔", "package": "📦", "pause_button": "⏸️",
    "question": "❓", "red_circle": "🔴", "rewind": "⏪", "robot_face": "🤖", "rocket": "🚀",
    "rotating_light": "🚨", "skull": "💀", "speech_balloon": "💬", "stopwatch": "⏱️", "tada": "🎉",
    "thumbsup": "👍", "warning": "⚠️", "whale": "🐳", "white_check_mark": "✅", "wrench": "🔧",
    "x": "❌", "zap": "⚡",
}  # fmt: skip
BROADCASTS = ("here", "channel", "everyone")

_TOKEN = re.compile(r"<([^<>\n]*)>")
_BARE_URL = re.compile(r"https?://[^\s<>|\x00]*[^\s<>|\x00.,;:!?)\]}'\"*_~`]")
_BARE_MENTION = re.compile(r"(?<![\w@])@(here|channel|everyone)\b")
_BARE_CHANNEL = re.compile(r"(?<![\w#&])#([\w-]+)")
_DATE = re.compile(r"!date\^(\d+)\^([^|^]*)(?:\^([^|]*))?\|(.*)", re.DOTALL)
_PRE = re.compile(r"```\n?(.+?)```", re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PAIRS = (
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])"), "strong"),
    (re.compile(r"(?<![\w_])_(?=[^\s_])([^\n]*?[^\s_])_(?![\w_])"), "em"),
    (re.compile(r"(?<![\w~])~(?=[^\s~])([^~\n]*[^\s~])~(?![\w~])"), "s"),
)
_EMOJI = re.compile(r":([a-z0-9_+-]+):")
_KEPT = re.compile(r"\x00(\d+)\x00")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks: the names they know, their time zone, and the time it is for them.

    `users`, `channels` and `groups` map an id to a name. Without `now`, no date is "Today".
    """

    users: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    timezone: tzinfo = UTC
    now: datetime | None = None


def decode(text: str) -> str:
    """Undo Slack's three entities and no other."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def plain_html(text: str, *, emoji: bool = True) -> str:
    """A `plain_text` object: nothing is live in it but line breaks and emoji names."""
    shown = escape(decode(text))
    return (with_emoji(shown) if emoji else shown).replace("\n", "<br>")


def with_emoji(text: str) -> str:
    """`:name:` → the character, where the name is known."""
    return _EMOJI.sub(lambda found: EMOJI.get(found[1], found[0]), text)


def mrkdwn_html(text: str, reader: Reader, *, verbatim: bool = False, names: bool = True) -> str:
    """A `mrkdwn` text as HTML.

    `verbatim` leaves bare addresses and names as they are, everything else stays live;
    `names` says whether bare `@here` and `#channel` are read (not in a message's `text`).
    https://docs.slack.dev/reference/block-kit/composition-objects/text-object/
    """
    kept: list[str] = []

    def keep(html: str) -> str:
        kept.append(html)
        return f"\x00{len(kept) - 1}\x00"

    text = _TOKEN.sub(lambda found: keep(token_html(found[1], reader)), text.replace("\x00", ""))
    text = _PRE.sub(lambda found: keep(f"<pre>{_literal(found[1])}</pre>"), text)
    text = _CODE.sub(lambda found: keep(f"<code>{_literal(found[1])}</code>"), text)
    if not verbatim:
        text = _linkified(text, reader, keep, names=names)
    return _restored(_formatted(_literal(text)), kept)


def _literal(text: str) -> str:
    return escape(decode(text), quote=False)


def _linkified(text: str, reader: Reader, keep: Callable[[str], str], *, names: bool) -> str:
    text = _BARE_URL.sub(lambda found: keep(link_html(decode(found[0]), decode(found[0]))), text)
    if not names:
        return text
    text = _BARE_MENTION.sub(lambda found: keep(mention_html(f"@{found[1]}")), text)
    known = set(reader.channels.values())
    return _BARE_CHANNEL.sub(
        lambda found: keep(mention_html(found[0], "channel")) if found[1] in known else found[0],
        text,
    )


def _formatted(escaped: str) -> str:
    for pattern, tag in _PAIRS:
        escaped = pattern.sub(rf"<{tag}>\1</{tag}>", escaped)
    lines = with_emoji(escaped).split("\n")
    return _with_quotes(lines)


def _with_quotes(lines: list[str]) -> str:
    """Lines that begin with `>` become one block quote; the others end with a line break."""
    out: list[str] = []
    for line in lines:
        quoted = re.fullmatch(r"&gt;\s?(.*)", line)
        if quoted and out and out[-1].endswith("</blockquote>"):
            out[-1] = f"{out[-1].removesuffix('</blockquote>')}<br>{quoted[1]}</blockquote>"
        elif quoted:
            out.append(f"<blockquote>{quoted[1]}</blockquote>")
        else:
            out.append(line)
    return re.sub(r"</blockquote><br>|<br>(?=<blockquote>)", _without_break, "<br>".join(out))


def _without_break(found: re.Match[str]) -> str:
    return found[0].replace("<br>", "")


def _restored(html: str, kept: list[str]) -> str:
    while _KEPT.search(html):
        html = _KEPT.sub(lambda found: kept[int(found[1])], html)
    return re.sub(r"(?:<br>)?(<pre>.*?</pre>)(?:<br>)?", r"\1", html, flags=re.DOTALL)


def token_html(token: str, reader: Reader) -> str:
    """What stands between `<` and `>`: a mention, a date, a link, or else nothing special."""
    if date := _DATE.fullmatch(token):
        return _date_html(date, reader)
    target, _, label = token.partition("|")
    if mention := _mention(target, label, reader):
        return mention_html(*mention)
    if re.match(r"https?://\S|mailto:\S", target):
        return link_html(decode(target), decode(label) or decode(target).removeprefix("mailto:"))
    return escape(f"<{decode(token)}>", quote=False)


def _mention(target: str, label: str, reader: Reader) -> tuple[str, str] | None:
    """(what is shown, which kind), or None where `target` mentions nobody."""
    kind, rest, named = target[:1], target[1:], decode(label)
    if kind == "@" and re.fullmatch(r"[UWB]\w+", rest):
        return "@" + (reader.users.get(rest) or named or rest), "user"
    if kind == "#" and re.fullmatch(r"[CG]\w+", rest):
        return "#" + (reader.channels.get(rest) or named or rest), "channel"
    if kind == "!" and rest in BROADCASTS:
        return f"@{rest}", "broadcast"
    if group := re.fullmatch(r"!subteam\^(S\w+)", target):
        shown = reader.groups.get(group[1]) or named.removeprefix("@") or group[1]
        return f"@{shown}", "group"
    return None


def mention_html(shown: str, kind: str = "broadcast") -> str:
    """A mention, highlighted; `kind` is user, group, broadcast or channel."""
    return f'<span class="mention {kind}">{escape(shown)}</span>'


def link_html(url: str, label: str) -> str:
    """A link; anything but http, https and mailto is only its label."""
    if not re.match(r"(https?://|mailto:)", url):
        return escape(label)
    return f'<a href="{escape(url)}" target="_blank" rel="noreferrer noopener">{escape(label)}</a>'


def _date_html(date: re.Match[str], reader: Reader) -> str:
    timestamp, form, link, fallback = date.groups()
    shown = date_text(int(timestamp), decode(form), decode(fallback), reader)
    inner = link_html(decode(link), shown) if link else escape(shown)
    return f'<time title="{escape(decode(fallback))}">{inner}</time>'


def date_text(timestamp: int, form: str, fallback: str, reader: Reader) -> str:
    """`{date_short_pretty} at {time}` and the like, in the reader's time zone.

    https://docs.slack.dev/messaging/formatting-message-text/#date-formatting
    """
    try:
        when = datetime.fromtimestamp(timestamp, reader.timezone)
    except (OverflowError, ValueError, OSError):
        return fallback
    words = _date_words(when, reader.now)
    if unknown := set(re.findall(r"\{(\w+)\}", form)) - set(words):
        return fallback or " ".join(sorted(unknown))
    shown = re.sub(r"\{(\w+)\}", lambda found: words[found[1]], form)
    return shown[:1].upper() + shown[1:]


def _date_words(when: datetime, now: datetime | None) -> dict[str, str]:
    short = f"{when:%b} {when.day}, {when.year}"
    date = f"{when:%B} {ordinal(when.day)}, {when.year}"
    near = _near_day(when, now)
    return {
        "date_num": f"{when:%Y-%m-%d}",
        "date": date,
        "date_short": short,
        "date_long": f"{when:%A}, {date}",
        "date_pretty": near or date,
        "date_short_pretty": near or short,
        "date_long_pretty": near or f"{when:%A}, {date}",
        "time": f"{when:%H:%M}",
        "time_secs": f"{when:%H:%M:%S}",
        "ago": ago(now - when) if now else short,
    }


def _near_day(when: datetime, now: datetime | None) -> str:
    if now is None:
        return ""
    days = (now.astimezone(when.tzinfo).date() - when.date()).days
    return {-1: "tomorrow", 0: "today", 1: "yesterday"}.get(days, "")


def ordinal(number: int) -> str:
    """1 → 1st, 12 → 12th, 23 → 23rd."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def ago(gone: timedelta) -> str:
    """A duration as Slack's `{ago}` says it; "in 3 minutes" for one that is still to come."""
    seconds = abs(int(gone.total_seconds()))
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= size:
            amount = f"{seconds // size} {unit}{'s' if seconds // size > 1 else ''}"
            return f"{amount} ago" if gone >= timedelta() else f"in {amount}"
    return "now"


def mrkdwn_plain(text: str, reader: Reader) -> str:
    """The text as a phone's notification shows it: labels for links, names, no formatting."""
    kept: list[str] = []

    def keep(token: re.Match[str]) -> str:
        kept.append(_token_plain(token[1], reader))
        return f"\x00{len(kept) - 1}\x00"

    text = _TOKEN.sub(keep, text.replace("\x00", ""))
    text = _CODE.sub(r"\1", _PRE.sub(r"\1", text))
    for pattern, _ in _PAIRS:
        text = pattern.sub(r"\1", text)
    return _KEPT.sub(lambda found: kept[int(found[1])], with_emoji(decode(text)))


def _token_plain(token: str, reader: Reader) -> str:
    if date := _DATE.fullmatch(token):
        return date_text(int(date[1]), decode(date[2]), decode(date[4]), reader)
    target, _, label = token.partition("|")
    if mention := _mention(target, label, reader):
        return mention[0]
    return decode(label or target)
