r"""What must not be told: secrets in foreign text become marks such as `[redacted GitHub token]`.

Stop reasons and log lines are written by programs, and programs print their passwords. Every rule
of `RULES` looks at the whole text and says where a secret stands; what overlaps is one mark; all
else stays as it was, the names of secrets and the hosts of URLs above all, because they tell which
secret is missing and where. Text is cleaned of invisible characters before it comes here (they
could split a token in two) and cut after it (a cut token is harder to know, though a token cut
short at the end of a line is known too).

Time grows with the length of the text and not faster, whatever the text: a repetition without a
bound is possessive (it never gives back), so that each character is read a small, fixed number of
times by each rule; every other repetition has a bound.
"""

import re
import warnings
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from notifier.errors import SettingsError

OWN = "by own pattern"
SEPARATOR = ";;"
LOOKS_AT_MOST = 4
WAYS_AT_MOST = 10_000  # in which a pattern of one's own may be tried at one place

Span = tuple[int, int]
_Found = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of secret: what the mark calls it, who says what it looks like, and where it is.

    `what` is empty where the text around the mark says it (`password=[redacted]`).
    """

    what: str
    source: str
    find: Callable[[str], Iterator[Span]]


# --- what rendering calls -------------------------------------------------------------------------


def redacted(text: str, own: Sequence[re.Pattern[str]] = ()) -> str:
    """The text with a mark in place of each secret; `own` are patterns from the settings.

    A mark may stand where it makes its neighbour look like a secret, so it looks until all is well.
    """
    for _ in range(LOOKS_AT_MOST):
        before, text = text, _shown(text, _secrets(text, own), 0, len(text))
        if text == before:
            break
    return text


def redacted_lines(lines: Sequence[str], own: Sequence[re.Pattern[str]] = ()) -> tuple[str, ...]:
    """Lines of one log, redacted together, because a private key stands in many of them.

    The first line of such a secret shows the mark; lines with nothing else in them are left out.
    """
    text = "\n".join(lines)
    secrets = _secrets(text, own)
    shown: list[str] = []
    start = 0
    for line in lines:
        end = start + len(line)
        if not any(first < start and end <= last for first, last, _ in secrets):
            shown.append(_shown(text, secrets, start, end))
        start = end + 1
    return tuple(shown)


def _shown(text: str, secrets: Sequence[_Found], start: int, end: int) -> str:
    pieces: list[str] = []
    for first, last, what in secrets:
        if first < end and last > start:
            pieces += text[start : max(first, start)], _mark(what)
            start = last
    return "".join((*pieces, text[start:end]))


def _mark(what: str) -> str:
    return f"[redacted {what}]" if what else "[redacted]"


def _secrets(text: str, own: Sequence[re.Pattern[str]]) -> list[_Found]:
    """Where the secrets are, in order; what overlaps or touches is one, named by its first name.

    A mark that the text has already counts as a secret, so that redacting again changes nothing.
    """
    marks = [(m.start(), m.end(), m["what"] or "") for m in _marks().finditer(text)]
    merged: list[_Found] = []
    for start, end, what in sorted((*marks, *_outside(marks, _found(text, own)))):
        if not merged or start > merged[-1][1]:
            merged.append((start, end, what))
            continue
        first, last, before = merged[-1]
        merged[-1] = (first, max(last, end), before or what)
    return merged


def _marks() -> re.Pattern[str]:
    names = "|".join(sorted({re.escape(rule.what) for rule in RULES if rule.what} | {OWN}))
    return re.compile(rf"\[redacted(?: (?P<what>{names}))?\]")


def _outside(marks: Sequence[_Found], found: Iterable[_Found]) -> Iterator[_Found]:
    """What was found, without what is a part of a mark."""
    starts = [start for start, _, _ in marks]
    for start, end, what in found:
        nearest = bisect_right(starts, start) - 1
        if nearest < 0 or end > marks[nearest][1]:
            yield start, end, what


def _found(text: str, own: Sequence[re.Pattern[str]]) -> Iterator[_Found]:
    for rule in RULES:
        for start, end in rule.find(text):
            yield start, end, rule.what
    for pattern in own:
        for match in pattern.finditer(text):
            if match.group():
                yield match.start(), match.end(), OWN


# --- tokens that are known by their beginning -----------------------------------------------------

# Where a word may begin: also after `\n` written out, `%20`, or a colour's `[31m`.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\[\d\dm))"
_LINE_ENDS = r"(?=[^\w\n]{0,8}$)"
_LOOKS_RANDOM = r"(?=[a-z_.-]{0,9}[A-Z0-9])"
_WORD = r"(?:\w|[.-](?=\w))"  # dots and hyphens within a token, not the full stop after it


def _every(pattern: str, flags: int = 0) -> Callable[[str], Iterator[Span]]:
    """Finds each match of a pattern: its group `secret` if it has one, else all of it."""
    compiled = re.compile(pattern, re.ASCII | re.MULTILINE | flags)
    group = "secret" if "secret" in compiled.groupindex else 0

    def find(text: str) -> Iterator[Span]:
        return (match.span(group) for match in compiled.finditer(text))

    return find


def _token(prefix: str, body: str, least: int) -> Callable[[str], Iterator[Span]]:
    """Finds a prefix with so many characters of a body, or with fewer where the line is cut."""
    cut = rf"{_LOOKS_RANDOM}{body}{{4,}}+{_LINE_ENDS}"
    return _every(rf"(?:{prefix})(?:{body}{{{least},}}+|{cut})")


# The id and, where it follows at once (a line of credentials.csv), the secret key itself.
_AWS_KEY = (
    r"A(?:KI|SI|BI|CC)A(?:"
    r"[A-Z0-9]{16,124}+(?:[^A-Za-z0-9\n]{1,4}(?:[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"
    r"|(?=[A-Za-z]{0,20}[0-9/+]|[a-z]{1,9}[A-Z])[A-Za-z0-9/+]{6,39}+$))?"
    rf"|(?:(?<=AKIA)|(?=[A-Z]{{0,12}}[0-9]))[A-Z0-9]{{4,15}}+{_LINE_ENDS})"
)
# Three parts when signed, five when encrypted; a second part alone is one that was cut.
_JWT = rf"{_START}(?<![_-])eyJ[\w-]{{6,}}+\.\.?[\w-]{{2,}}+(?:\.[\w-]++){{0,3}}"


# --- private keys ---------------------------------------------------------------------------------

_EDGE = re.compile(
    r"-----(?P<edge>BEGIN|END) [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?(?:-----)?", re.ASCII
)
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=]{24,}+")
_BODY_FOLLOWS = re.compile(r"[A-Za-z0-9+/=]{40}")
_BODY_IS_CUT = re.compile(r"(?:[\r\n]|\\[nr])++[ \t]{0,8}[A-Za-z0-9+/=]{1,64}+[^\w\n]{0,8}\Z")
_KEY_LINES = re.compile(r"^(?:[ \t]{0,8}[A-Za-z0-9+/]{64}[ \t\r]{0,4}(?:\n|\Z)){3,}+", re.MULTILINE)


def _private_keys(text: str) -> Iterator[Span]:
    """From BEGIN to END; where one of both is missing, whatever belongs to the key."""
    begin: re.Match[str] | None = None
    done = 0
    for edge in _EDGE.finditer(text):
        if edge["edge"] == "BEGIN":
            begin = begin or edge
            continue
        yield begin.start() if begin else _body_before(text, done, edge.start()), edge.end()
        begin, done = None, edge.end()
    if begin and (
        _BODY_FOLLOWS.search(text, begin.end(), begin.end() + 300)
        or _BODY_IS_CUT.match(text, begin.end())
    ):
        yield begin.start(), len(text)


def _body_before(text: str, done: int, end: int) -> int:
    """Where a key begins whose BEGIN was cut away: its lines are near to each other."""
    start = end
    for run in reversed(list(_LONG_RUN.finditer(text, done, end))):
        if start - run.end() > 120:
            break
        start = run.start()
    return start


def _key_lines(text: str) -> Iterator[Span]:
    """Lines from the midst of a key: 64 characters each. Those of a certificate are public."""
    for match in _KEY_LINES.finditer(text):
        before = text[max(match.start() - 80, 0) : match.start()].rstrip()
        is_hexadecimal = re.fullmatch(r"[0-9a-f\s]++", match.group())
        if not before.endswith("CERTIFICATE-----") and not is_hexadecimal:
            yield match.start(), match.start() + len(match.group().rstrip())


# --- URLs and DSNs --------------------------------------------------------------------------------

_USER = r"[^\s:/?#@\[\](|\"'<>]*+"
_NO_PORT = r"(?!\d{0,5}(?:[/?#\s,;\"'\\)]|$))"
_OF_A_DATABASE = (
    r"(?:amqps?|clickhouse|cockroachdb|ftps?|https?|ldaps?|mariadb|mongodb|mssql|mysql|nats|"
    r"postgres|postgresql|rediss?|sftp|smtps?|sqlserver)"
)
# A password may hold what RFC 3986 wants encoded, so it ends at the last `@` before a `?`.
_UP_TO_AT = r"(?:(?!://)[^\s\"'<>@{0}])*+(?:@(?:(?!://)[^\s\"'<>@{0}])*+(?=@(?!sha\d)))*+(?=@)"
_URL = re.compile(
    rf"://(?P<secret>{_USER}:{_NO_PORT}"
    rf"(?P<password>{_UP_TO_AT.format('?')}|{_UP_TO_AT.format('')}))@(?!sha\d)",
    re.ASCII | re.MULTILINE,
)
_URL_CUT = re.compile(
    rf"{_OF_A_DATABASE}(?:\+\w{{1,16}})?://"
    rf"(?P<secret>{_USER}:{_NO_PORT}(?P<password>[^\s\"'<>/@\\)]++)){_LINE_ENDS}",
    re.ASCII | re.MULTILINE,
)
_HOST_PORT = (
    r"(?<![\w.:/@-])(?P<secret>[\w.-]{1,64}+:[^\s:/@\"'<>]{1,128}+)"
    r"@(?!sha\d)(?=[\w.-]{1,128}+:\d{2,5}(?![\w.]))"
)
_GO_ADDRESS = re.compile(r"@(?:tcp|unix)\(")
_BLANK_OR_QUOTE = re.compile(r"[\s\"'`]")


def _in_urls(text: str) -> Iterator[Span]:
    for pattern in (_URL, _URL_CUT):
        for match in pattern.finditer(text):
            if not _is_placeholder(match["password"]):
                yield match.span("secret")


def _in_go_dsns(text: str) -> Iterator[Span]:
    """`user:password@tcp(host:3306)/name`, whatever the password holds."""
    for address in _GO_ADDRESS.finditer(text):
        before = text[max(address.start() - 200, 0) : address.start()]
        word = _BLANK_OR_QUOTE.split(before)[-1]
        user = re.split(r"[^\w.-]", word.partition(":")[0], flags=re.ASCII)[-1]
        if ":" in word and user:
            yield address.start() - len(word) + word.index(user + ":"), address.start()


# --- headers --------------------------------------------------------------------------------------

_QUOTE = r"\\{0,4}[\"'`]?"
_AUTHORIZATION = re.compile(
    rf"authorization{_QUOTE}\]?\s{{0,4}}(?:=>|[:=,])\s{{0,4}}\[?{_QUOTE}"
    r"(?:(?P<scheme>bearer|basic|token|negotiate|apikey)[ \t]{1,4}(?P<one>[^\s\"'`,;\\]++)"
    r"|(?P<all>[^\"'`\n\\]++))",
    re.IGNORECASE,
)
_BEARER = r"\bbearer[ \t]{1,4}(?=[^\d\s]{0,40}\d)(?P<secret>[\w.~+/=-]{6,}+)"
_BASIC = re.compile(r"\bbasic[ \t]{1,4}(?P<secret>[A-Za-z0-9+/]{8,}+={0,2})", re.IGNORECASE)
_COOKIE = (
    r"\b(?:set-)?cookie\\{0,4}[\"']?:[ \t]{0,4}\\{0,4}[\"']?"
    r"(?P<secret>[\w.-]++=[^\s\"'\\;]++(?:;[ \t][\w.-]++=[^\s\"'\\;]++)*+)"
)


def _authorizations(text: str) -> Iterator[Span]:
    for match in _AUTHORIZATION.finditer(text):
        group = "one" if match["scheme"] else "all"
        if not _is_placeholder(match[group]) and not (group == "all" and _is_prose(match[group])):
            yield match.span(group)


def _basic_credentials(text: str) -> Iterator[Span]:
    for match in _BASIC.finditer(text):
        if _holds_a_colon(match["secret"]):
            yield match.span("secret")


def _holds_a_colon(encoded: str) -> bool:
    """Whether this is `user:password` in Base64, perhaps cut."""
    start = encoded.rstrip("=")[:256]
    decoded = b64decode(start[: len(start) // 4 * 4])
    return b":" in decoded and decoded.isascii() and decoded.decode().isprintable()


# --- values with a telling name -------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A name, quoted or not, and what leads to its value: `=`, `:`, `=>`, `:=`, also encoded; after an
# option (`--password`) a space is enough.
_NAME = re.compile(
    r"(?<![\w.-])(?P<dashes>--?)?(?P<name>(?!-)[\w.-]++)(?:"
    r"\\{0,4}[\"'`]?\]?[ \t]{0,8}"
    r"(?P<sign>=>|:=|=(?!={1,2}[ \t])|:(?!:|//)|%3[ADad]|\\u003d)[ \t]{0,8}"
    r"|(?(dashes)(?P<gap>[\"'],[ \t]{0,8}|[ \t]{1,8})(?!-)|(?!)))",
    re.ASCII,
)
_HINT = re.compile(r"pass|pwd|secret|token|cred|key|string|^(?:value|is|was)$", re.IGNORECASE)
_REST_OF_LINE = re.compile(r"[^\n]*+")
_WORD_BEFORE = re.compile(r"(?<![\w.\]-])[\w-]{1,30}+[ \t]{1,4}\Z", re.ASCII)
_NEXT_NAME = re.compile(r"[\w.-]{1,64}=[^=\s]", re.ASCII)
_STOP = r"(?=[\s,;.:)\]}>\"'`\\]|$)"
_NEXT_PAIR = r"(?:[\s\"'`\\]|$|[\w.\[\] -]{1,40}[=:])"
# In `"Enter password: ", "next": 1` and `'token=' + x` the quote ends what began before the name.
_CLOSING_QUOTE = (
    r"\\?[\"'](?:,\s{0,4}(?:\\?[\"']|\w{1,40}=)|\)(?:[\s:;,]|$)|[}\]](?:[\s,}\]]|$)"
    r"|\s[+%]\s|$)"
)
_VALUE = re.compile(
    rf"[\[(]{{0,2}}(?!{_CLOSING_QUOTE})"
    r"(?:b?\"(?P<double>(?:[^\"\\\n]|\\.)*+)"
    r"|b?'(?P<single>(?:[^'\\\n]|\\.)*+)"
    r"|\\[\"'](?P<escaped>(?:\\{3}[\"']|(?!\\[\"'])[^\n])*+)"
    r"|\\{2,8}[\"'](?P<deeper>(?:(?!\\{1,8}[\"'])[^\n])*+))"
    r"|(?:(?:bearer|basic|token)[ \t]{1,4})?"
    r"(?P<bare>(?:[^\s\"'`,;&.:)\]}><\\%]"
    rf"|[,;&](?!{_NEXT_PAIR})|[.:)\]}}>](?!{_STOP})|<(?!/)"
    r"|%(?!26)|\\(?![nrt\"']|u0026)|[\"'`](?!\\?(?:[\s,;:)\]}>]|$)))++)",
    re.ASCII | re.MULTILINE | re.IGNORECASE,
)
_CAMEL = re.compile(r"[A-Z]{1,100}(?![a-z])|[A-Z]?[a-z]++")
_SECRET_WORDS = (
    "password", "passwords", "passwd", "passphrase", "passcode", "pwd", "requirepass", "secret",
    "token", "credential", "credentials", "creds", "apikey", "secretkey", "accesskey", "privatekey",
)  # fmt: skip
_KINDS_OF_KEY = {
    "access", "account", "api", "app", "application", "auth", "client", "encryption", "fernet",
    "hmac", "jwt", "license", "master", "private", "rsa", "secret", "signing", "ssh",
    "subscription",
}  # fmt: skip
# What follows the word and says that the value is about the secret, not the secret.
_ABOUT = _words("""
    age alg algorithm arn arns at attempts authenticator bucket budget c cache changed check
    checks cjs class column config configuration controller count counts cpp created cs
    decoder description dir disabled enabled encoder endpoint error errors exception
    expiration expire expired expires expiry factory failed failure field fields file filename
    filter format generator go group h handler header hint host html id ids idx in index
    interceptor invalid issuer java js json jsx kind kt label len length limit limits loader
    manager max method min minutes mismatch missing mjs mode ms name names on optional owner
    param parameter path php placeholder policies policy port prefix present provider
    providers py rb ref region repository request required reset resolver rotated rotation rs
    scope scopes seconds server service size source state status store strategy strength
    suffix test tests title ts tsx ttl txt type types updated uri url usage used user username
    valid validator version versions window xml yaml yml
""")
# What comes before `token` and makes it a word of a language model, a parser or a page.
_OTHER_TOKENS = _words("""
    bos cls continuation eos mask max min next num pad page per sep special stop sync total
    unexpected unk
""")
_FAULTS = {"bad", "expired", "incorrect", "invalid", "missing", "no", "unknown", "wrong"}
_PLACEHOLDER = re.compile(
    r"\*++|x{3,}+|[-_.?…]{1,3}|<[^<>]*+>|\[[A-Z]++\]|\([a-z ]{0,40}\)|\$\{[^{}]*+\}|\$[A-Z_]{2,}+|"
    r"\{\{.{0,100}\}\}|\{\w*+\}|%\w|%\(\w++\)s|null|nil|none|nan|true|false|yes|no|undefined|empty|"
    r"unset|set|missing|expired|invalid|required|revoked|provided|present|absent|ok|valid|changed|"
    r"unchanged|hidden|masked|filtered|\[object object\]?|string|str|int|bool|boolean|bytes|object|"
    r"array|port|eof|secretstr\(.*+|optional\[.*+",
    re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(
    r"(?:self|this|os|process\.env|config|settings|cfg|conf|args|opts|options|env|ENV|System|"
    r"props|req|request|event|ctx|context)[.\[(].*+|(?:os\.)?[gG]etenv\(.*+|"
    r"[A-Za-z_]++(?:[._]\w++)++\(.*+|[A-Za-z_][\w.]*+(?:\[[\"'\[a-z].*+|\[\d{1,2}\]?|\(\)?)|"
    r"[a-z_]++(?:\.[a-z_]++)++|new|await|async|function|lambda|_",
    re.ASCII | re.DOTALL,
)
_PLACE = re.compile(
    r"arn:aws[\w-]*+:.*+|(?:/[a-z][a-z_.-]*+){2,}+/?|[A-Z]++(?:_[A-Z]++)++", re.ASCII
)
_PROSE = _words("""
    a access all an and any are authentication authorization be been but can can't cannot
    check context could couldn't denied deserialize dial did didn didn't do does doesn't eof
    error expected failed failure for from get has have header http i if illegal in incorrect
    is isn't it its key malformed must no not of on only or parse permission please post refer
    rejected rpc see should signature that the there this tls to token too unable unauthorized
    unexpected unknown unsupported use value was we were when with wrong you your
""")
_FIRST_WORD = re.compile(r"\s{0,4}(?P<word>[A-Za-z'\u2019]{1,20})(?=[\s:,;!]|\.(?:\s|\Z)|\Z)")
_OPENS = re.compile(r"[\[{(|>](?:\\{0,4}[\"'{\[]|\w{1,40}[:=]|\Z)", re.ASCII)
_LINK_OF_A_CHAIN = re.compile(r"[A-Za-z][\w./-]{0,40}", re.ASCII)


def _named_values(text: str) -> Iterator[Span]:
    """The values of names like `DB_PASSWORD`, in the many ways in which programs print them."""
    position = 0
    while match := _NAME.search(text, position):
        position = match.end()
        if not _leads_to_a_secret(match):
            continue
        if (value := _VALUE.match(text, position)) and not _is_harmless(match, value):
            start, end = value.span(value.lastgroup or 0)
            if value.lastgroup == "bare" and match["name"].lower().endswith("phrase"):
                end = _REST_OF_LINE.match(text, start).end()  # type: ignore[union-attr]
            yield start, end
            position = end


def _leads_to_a_secret(match: re.Match[str]) -> bool:
    name, start, text = match["name"][-100:], match.start("name"), match.string
    if not _HINT.search(name) or _is_in_a_mark(text, start):
        return False
    before = text[max(start - 120, 0) : start]
    if match["sign"] == ":" and (before.endswith("/") or _is_in_an_arn(before)):
        return False  # an image `registry/NAME:TAG`, or the `secret:` of an ARN
    if match["sign"] == "=" and match.group()[-1] in " \t" and _NEXT_NAME.match(text, match.end()):
        return False  # `password= user=app`: it has no value
    if name.lower() == "pass":  # `pass: 'hunter2'`, but not `pass: 12`
        return text[match.end() : match.end() + 1] in ("'", '"', "\\")
    if name.lower() in ("key", "string", "value", "is", "was"):  # "connection string: …"
        word = _WORD_BEFORE.search(before[-40:])
        return word is not None and names_a_secret(word.group() + name)
    return names_a_secret(name)


def _is_in_a_mark(text: str, position: int) -> bool:
    """Whether this is the `token` of `[redacted Slack token]: …`."""
    start = text.rfind("[redacted ", max(position - 40, 0), position)
    mark = _marks().match(text, start) if start >= 0 else None
    return mark is not None and position < mark.end()


def _is_in_an_arn(before: str) -> bool:
    start = before.rfind("arn:")
    return start >= 0 and not re.search(r"\s", before[start:])


@lru_cache(maxsize=1_024)
def names_a_secret(name: str) -> bool:
    """Whether the value of an attribute or variable of this name is to be kept secret."""
    words = [word.lower() for word in _CAMEL.findall(name[-100:])]
    last = max((i for i in range(len(words)) if _is_secret_word(words, i)), default=None)
    if last is None or any(word in _ABOUT for word in words[last + 1 :]):
        return False
    if words[0] in _FAULTS and name[:1].isupper():
        return False  # AWS's error codes: "ExpiredToken: The security token …"
    return not (words[last].endswith("token") and set(words[:last]) & _OTHER_TOKENS)


def _is_secret_word(words: Sequence[str], i: int) -> bool:
    before = words[i - 1] if i else ""
    return (
        words[i].endswith(_SECRET_WORDS)
        or (words[i] == "key" and before in _KINDS_OF_KEY)
        or (words[i] == "string" and before in ("connection", "conn"))
        or (words[i] == "pass" and bool(before))
    )


def _is_harmless(name: re.Match[str], value: re.Match[str]) -> bool:
    """Whether this says something about a secret instead of being one."""
    said = value[value.lastgroup or 0]
    with_end = said + value.string[value.end() : value.end() + 1]  # the `}` of `${NAME}`
    if not said or _is_placeholder(said) or _is_placeholder(with_end) or _PLACE.fullmatch(said):
        return True
    if value.lastgroup == "bare" and (
        _CODE.fullmatch(said)
        or _OPENS.match(said)
        or said == name["name"].rpartition(".")[2].lstrip("_")
    ):
        return True
    if name["name"].lower() in ("pwd", "oldpwd") and said.startswith("/"):
        return True
    return _is_a_number_of_something(name, said) or _is_said_in_prose(name, value, said)


def _is_a_number_of_something(name: re.Match[str], said: str) -> bool:
    """`token: 5`, and `auth-secret:42`, the revision of a task definition."""
    is_counted = name["name"].lower().endswith(("token", "secret")) or (
        "-" in name["name"] or name["name"].lower() == "pass"
    )
    return said.isdecimal() and len(said) <= 4 and is_counted


def _is_said_in_prose(name: re.Match[str], value: re.Match[str], said: str) -> bool:
    """After a colon there may be a sentence: "token: unexpected end of input"."""
    if name["sign"] != ":":
        return False
    text = value.string
    if value.lastgroup != "bare":
        return " " in said.strip() and _is_prose(said)
    if _is_prose(text[value.start() : value.start() + 40]) or said.endswith(("Exception", "Error")):
        return True
    before = text[max(name.start() - 12, 0) : name.start()].lower()
    is_chain = text[value.end() : value.end() + 2] == ": " and _LINK_OF_A_CHAIN.fullmatch(said)
    is_password = re.search(r"pass|pwd", name["name"].lower())
    return before.endswith(("unexpected ", "illegal ")) or bool(is_chain and not is_password)


def _is_prose(said: str) -> bool:
    """Whether it begins as a sentence does: "is too short", "not found"."""
    first = _FIRST_WORD.match(said)
    return first is not None and first["word"].lower().replace("\u2019", "'") in _PROSE


def _is_placeholder(said: str) -> bool:
    return bool(_PLACEHOLDER.fullmatch(said))


_PAIR = re.compile(
    rf"\bname{_QUOTE}\s{{0,4}}[:=]\s{{0,4}}{_QUOTE}(?P<name>[\w.-]++){_QUOTE}"
    rf"\s{{0,8}},?\s{{0,8}}{_QUOTE}value{_QUOTE}\s{{0,4}}(?P<sign>[:=])\s{{0,4}}(?P<gap>)",
    re.IGNORECASE | re.ASCII,
)
_PAIR_TURNED = re.compile(
    r"\bvalue\\{0,4}\"\s{0,4}:\s{0,4}\\{0,4}\"(?P<secret>[^\"\n]*+)\"\s{0,8},\s{0,8}"
    r"\\{0,4}\"name\\{0,4}\"\s{0,4}:\s{0,4}\\{0,4}\"(?P<name>[\w.-]++)",
    re.IGNORECASE | re.ASCII,
)
_ELEMENT = re.compile(
    r"(?<![\w:])<(?P<name>[A-Za-z][\w.:-]*+)(?:\s[^<>\n]{0,200}+)?>(?P<secret>[^<\s][^<\n]*+)(?=</|<?$)",
    re.MULTILINE,
)


def _in_pairs(text: str) -> Iterator[Span]:
    """`{"name": "DB_PASSWORD", "value": "…"}`, the form in which ECS has variables."""
    for match in _PAIR.finditer(text):
        value = _VALUE.match(text, match.end()) if names_a_secret(match["name"]) else None
        if value and not _is_harmless(match, value):
            yield value.span(value.lastgroup or 0)
    for match in _PAIR_TURNED.finditer(text):
        if names_a_secret(match["name"]) and not _is_placeholder(match["secret"].rstrip("\\")):
            yield match.span("secret")


def _in_elements(text: str) -> Iterator[Span]:
    """`<password>…</password>`."""
    for match in _ELEMENT.finditer(text):
        if names_a_secret(match["name"]) and not _is_placeholder(match["secret"]):
            yield match.span("secret")


# --- the rules ------------------------------------------------------------------------------------

RULES = (
    Rule(
        "AWS access key",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids",
        _every(_AWS_KEY),
    ),
    Rule(
        "Slack token",
        "https://docs.slack.dev/authentication/tokens",
        _token(r"(?:xox[abcdeprs](?:\.xox[abp])?|xapp|xwfp)-", r"[A-Za-z0-9%-]", 10),
    ),
    Rule(
        "Slack webhook",
        "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
        _every(
            r"hooks\.slack(?:-gov)?\.com\\?/(?:services|workflows|triggers)\\?/(?P<secret>[\w/\\-]++)"
        ),
    ),
    Rule(
        "GitHub token",
        "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats",
        _token(r"gh[pousr]_|github_pat_", _WORD, 20),
    ),
    Rule(
        "GitLab token",
        "https://docs.gitlab.com/security/tokens/#token-prefixes",
        _token(rf"glpat-|{_START}gl(?:oas|dt|rtr?|cbt|ptt|ft|imt|agent|wt|soat|ffct)-", _WORD, 16),
    ),
    Rule(
        "npm token",
        "https://github.blog/security/announcing-npms-new-access-token-format",
        _token("npm_", r"[A-Za-z0-9]", 30),
    ),
    Rule("PyPI token", "https://pypi.org/help/#apitoken", _token("pypi-AgE", r"[\w-]", 16)),
    Rule(
        "Stripe key",
        "https://docs.stripe.com/keys",
        _token(rf"{_START}(?:[sr]k_(?:live|test)|whsec)_", r"[A-Za-z0-9]", 16),
    ),
    Rule(
        "Google API key",
        "https://cloud.google.com/docs/authentication/api-keys",
        _token("AIza", r"[\w-]", 30),
    ),
    Rule(
        "Vault token",
        "https://developer.hashicorp.com/vault/docs/concepts/tokens#token-prefixes",
        _token(rf"{_START}hv[sbr]\.", r"[\w-]", 20),
    ),
    Rule("JWT", "https://www.rfc-editor.org/rfc/rfc7519#section-3", _every(_JWT)),
    Rule("private key", "https://www.rfc-editor.org/rfc/rfc7468#section-10", _private_keys),
    Rule("private key", "https://www.rfc-editor.org/rfc/rfc7468#section-2", _key_lines),
    Rule("", "https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1", _in_urls),
    Rule("", "https://www.rfc-editor.org/rfc/rfc3986#section-3.2", _every(_HOST_PORT)),
    Rule("", "https://github.com/go-sql-driver/mysql#dsn-data-source-name", _in_go_dsns),
    Rule(
        "",
        "https://docs.oracle.com/en/database/oracle/oracle-database/23/jjdbc/data-sources-and-URLs.html",
        _every(
            r"jdbc:oracle:\w{1,10}+:(?P<secret>[^\s/@\"']{1,128}+/[^\s\"'@]{1,128}+)(?:@(?=[\w/(\[])|@?$)"
        ),
    ),
    Rule(
        "",
        "https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html",
        _every(
            r"(?:[?&;]|\\u0026|%26)(?:amp;)?(?:X-(?:Amz|Goog)-Signature|Signature|sig)(?:=|%3D)"
            r"(?P<secret>(?:[^&\s\"'<>#\\%]|%(?!26))++)",
            re.IGNORECASE,
        ),
    ),
    Rule("", "https://www.rfc-editor.org/rfc/rfc9110#section-11.6.2", _authorizations),
    Rule("", "https://www.rfc-editor.org/rfc/rfc6750#section-2.1", _every(_BEARER, re.IGNORECASE)),
    Rule("", "https://www.rfc-editor.org/rfc/rfc7617#section-2", _basic_credentials),
    Rule("", "https://www.rfc-editor.org/rfc/rfc6265#section-4", _every(_COOKIE, re.IGNORECASE)),
    Rule(
        "",
        "https://docs.docker.com/reference/cli/docker/login/#credential-stores",
        _every(
            r"\"(?:identity)?auth\\{0,4}\"\s{0,4}:\s{0,4}\\{0,4}\"(?P<secret>[A-Za-z0-9+/=]{8,}+)"
        ),
    ),
    Rule(
        "",
        "https://curl.se/docs/manpage.html#-u",
        _every(
            r"\bcurl\b[^\n]{0,200}?[ \"'](?:-u|--user)[ =,\"']{1,4}"
            r"[^\s:\"']{1,64}+:(?P<secret>[^\s\"']++)"
        ),
    ),
    Rule(
        "",
        "https://dev.mysql.com/doc/refman/8.4/en/password-security-user.html",
        _every(
            r"\b(?:mysql\w{0,9}\b[^\n]{0,100}? -p(?=[^\s-])|sshpass -p[ ]?"
            r"|redis-cli\b[^\n]{0,100}? -a )['\"]?(?P<secret>[^\s\"']++)"
        ),
    ),
    Rule(
        "",
        "https://www.postgresql.org/docs/current/sql-createrole.html",
        _every(
            r"\b(?:password|identified by)\s{1,4}(?P<quote>[\"'])(?![\s,.;:)])"
            r"(?P<secret>(?:(?!(?P=quote))[^\n])++)",
            re.IGNORECASE,
        ),
    ),
    Rule("", "https://cwe.mitre.org/data/definitions/532.html", _named_values),
    Rule(
        "",
        "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_KeyValuePair.html",
        _in_pairs,
    ),
    Rule("", "https://www.w3.org/TR/xml/#sec-starttags", _in_elements),
)


# --- patterns of one's own ------------------------------------------------------------------------


def parse_patterns(text: str) -> tuple[re.Pattern[str], ...]:
    """Read patterns from a setting, one a line or with `;;` between; SettingsError says which not.

    They are Python's regular expressions. Because they run over foreign text, `*`, `+` and `{n,}`
    may stand only at the very end, and the ways to try a pattern at one place are bounded.
    """
    written = [part.strip() for part in text.replace(SEPARATOR, "\n").splitlines()]
    problems = [f"'{part}' {why}" for part in written if part and (why := _problem(part))]
    if problems:
        raise SettingsError("patterns to redact: " + "; ".join(problems))
    return tuple(re.compile(part) for part in written if part)


def _problem(written: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern = re.compile(written)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"is not a regular expression: {error}"
    if any(match.group() == "" for sample in ("", "a 1") for match in pattern.finditer(sample)):
        return "matches the empty string"
    if pattern.flags & re.VERBOSE:
        return "uses the flag x, which is not supported"
    return _danger(written)


_PART = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\\\]])*+\]|\(\?[A-Za-z]++\)"
    r"|(?P<open>\((?:\?(?:P<\w++>|<?[=!]|>|[A-Za-z-]*+:))?)|(?P<close>\))|(?P<either>\|)"
    r"|(?P<repeat>[*+?]|\{(?=[\d,])(?P<least>\d*+)(?P<comma>,?)(?P<most>\d*+)\})[?+]?|.",
    re.DOTALL,
)
_AT_THE_END = re.compile(r"\)*+(?:\Z|\|[^()]*+\Z)")
_LOOKS_AROUND = re.compile(r"\(\?<?[=!]")


@dataclass(slots=True)
class _Group:
    """The ways of the branches before, of the sequence before, and of the newest part."""

    branches: int = 0
    sequence: int = 1
    part: int = 1

    def add(self, ways: int) -> None:
        self.sequence, self.part = self.sequence * self.part, ways

    def next_branch(self) -> None:
        self.branches += self.sequence * self.part
        self.sequence = self.part = 1

    def ways(self) -> int:
        return self.branches + self.sequence * self.part


def _danger(written: str) -> str:
    """Why the pattern could take long, or nothing. Counts the ways in which it can be tried.

    A sequence multiplies the ways of its parts, a choice adds those of its branches, and a
    repetition raises those of what it repeats to the power of its bound.
    """
    groups = [_Group()]
    for token in _PART.finditer(written):
        if token["repeat"]:
            if why := _repeat(groups[-1], token):
                return why
        elif token["open"]:
            groups.append(_Group())
        elif token["close"]:
            ways = groups.pop().ways()
            groups[-1].add(ways)
        elif token["either"]:
            groups[-1].next_branch()
        else:
            groups[-1].add(1)
    return _TOO_MANY if groups[0].ways() > WAYS_AT_MOST else ""


_TOO_MANY = "could take very long: it repeats what itself repeats or chooses, or repeats too often"


def _repeat(group: _Group, token: re.Match[str]) -> str:
    least, most = _bounds(token)
    if most is None:
        is_last = _AT_THE_END.match(token.string, token.end())
        if not is_last or group.part > 1 or _LOOKS_AROUND.search(token.string):
            return f"repeats without a bound before its end: write {{1,100}}, not {token.group()}"
        return ""
    power = min(most, WAYS_AT_MOST.bit_length())  # two ways to this power are too many already
    group.part = min(group.part**power * (most - least + 1), WAYS_AT_MOST + 1)
    return ""


def _bounds(token: re.Match[str]) -> tuple[int, int | None]:
    """How often at least, and at most; None for no bound."""
    if token["repeat"] in ("*", "+"):
        return (0, None) if token["repeat"] == "*" else (1, None)
    if token["repeat"] == "?":
        return 0, 1
    least = int(token["least"] or 0)
    if not token["comma"]:
        return least, least
    return least, int(token["most"]) if token["most"] else None
