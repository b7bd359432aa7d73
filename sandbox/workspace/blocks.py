"""Which blocks Slack accepts in a message. The limits are a table; `problems` reads it.

https://docs.slack.dev/reference/block-kit/blocks. Problems are worded and pointed at as Slack does:
`must be less than 3001 characters [json-pointer:/blocks/0/text/text]`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_BLOCKS = 50
MOST_ATTACHMENTS = 100
# Undocumented; refusals were seen from about 13,200 characters (slackapi/bolt-js#2509).
MOST_CHARACTERS = 13_000
LONGEST_BLOCK_ID = 255

ANY_TEXT = ("mrkdwn", "plain_text")
PLAIN_TEXT = ("plain_text",)

# type → (keys it must have, further keys it may have)
BLOCK_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "actions": ({"elements"}, set()),
    "context": ({"elements"}, set()),
    "divider": (set(), set()),
    "header": ({"text"}, {"level"}),
    "image": ({"alt_text"}, {"image_url", "slack_file", "title"}),
    "markdown": ({"text"}, set()),
    "rich_text": ({"elements"}, set()),
    "section": (set(), {"text", "fields", "accessory", "expand"}),
    "table": ({"rows"}, {"column_settings"}),
}
ELEMENT_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "button": (
        {"text"},
        {"action_id", "url", "value", "style", "confirm", "accessibility_label"},
    ),
    "image": ({"alt_text"}, {"image_url", "slack_file"}),
}
RICH_PARTS: Mapping[str, set[str]] = {
    "rich_text_section": set(),
    "rich_text_list": {"style", "indent", "offset", "border"},
    "rich_text_preformatted": {"border", "language"},
    "rich_text_quote": {"border"},
}
RICH_ELEMENTS: Mapping[str, tuple[set[str], set[str]]] = {
    "broadcast": ({"range"}, {"style"}),
    "channel": ({"channel_id"}, {"style"}),
    "color": ({"value"}, {"style"}),
    "date": ({"timestamp", "format"}, {"url", "fallback", "style"}),
    "emoji": ({"name"}, {"unicode", "skin_tone", "style", "url"}),
    "link": ({"url"}, {"text", "unsafe", "style"}),
    "text": ({"text"}, {"style"}),
    "user": ({"user_id"}, {"style"}),
    "usergroup": ({"usergroup_id"}, {"style"}),
}
STYLES = {"bold", "italic", "strike", "code", "underline"}

Problems = Iterator[str]


def problems(blocks: object, at: str = "/blocks") -> list[str]:
    """What Slack would say against these blocks; nothing when it would take them."""
    return list(_blocks(blocks, at))


def characters(item: object) -> int:
    """The characters of all texts and addresses in blocks, which Slack bounds as a sum."""
    if isinstance(item, Mapping):
        texts = (item.get(key) for key in ("text", "url", "alt_text", "value", "fallback"))
        own = sum(len(text) for text in texts if isinstance(text, str))
        return own + sum(characters(value) for value in item.values())
    return sum(characters(value) for value in item) if isinstance(item, list) else 0


def has_rich_text(blocks: list[dict[str, Any]]) -> bool:
    """Whether any of the blocks is rich text, which an update may not take away."""
    return any(block.get("type") == "rich_text" for block in blocks)


def _problem(text: str, at: str) -> str:
    return f"{text} [json-pointer:{at}]"


def _blocks(blocks: object, at: str) -> Problems:
    if not isinstance(blocks, list):
        yield _problem("must be an array", at)
        return
    if len(blocks) > MOST_BLOCKS:
        yield _problem(f"no more than {MOST_BLOCKS} items allowed", at)
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        yield from _block(block, f"{at}/{index}", seen)
    if sum(isinstance(block, dict) and block.get("type") == "table" for block in blocks) > 1:
        yield _problem("only one table is allowed", at)


def _block(block: object, at: str, seen: set[str]) -> Problems:
    if not isinstance(block, dict):
        yield _problem("must be an object", at)
        return
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in BLOCK_KEYS:
        yield _problem(f"unsupported type: {kind}", f"{at}/type")
        return
    yield from _keys(block, *BLOCK_KEYS[kind], at, common={"type", "block_id"})
    yield from _block_id(block.get("block_id"), at, seen)
    yield from _CHECKS[kind](block, at)


def _keys(
    item: Mapping[str, Any], must: set[str], may: set[str], at: str, *, common: set[str]
) -> Problems:
    for key in sorted(must - item.keys()):
        yield _problem(f"missing required field: {key}", at)
    for key in sorted(item.keys() - must - may - common):
        yield _problem(f"invalid additional property: {key}", at)


def _block_id(block_id: object, at: str, seen: set[str]) -> Problems:
    if block_id is None:
        return
    if not isinstance(block_id, str) or not 0 < len(block_id) <= LONGEST_BLOCK_ID:
        yield _problem(f"must be less than {LONGEST_BLOCK_ID + 1} characters", f"{at}/block_id")
    elif block_id in seen:
        yield _problem(f"block_id already exists: {block_id}", f"{at}/block_id")
    seen.add(str(block_id))


def _text(item: object, at: str, most: int, kinds: tuple[str, ...] = ANY_TEXT) -> Problems:
    if not isinstance(item, dict):
        yield _problem("must be an object", at)
        return
    if item.get("type") not in kinds:
        yield _problem(f"must be one of: {', '.join(kinds)}", f"{at}/type")
    own = {"verbatim"} if item.get("type") == "mrkdwn" else {"emoji"}
    yield from _keys(item, {"text"}, own, at, common={"type"})
    for flag in own & item.keys():
        if not isinstance(item[flag], bool):
            yield _problem("must be a boolean", f"{at}/{flag}")
    yield from _string(item.get("text", "."), f"{at}/text", most)


def _string(text: object, at: str, most: int) -> Problems:
    if not isinstance(text, str):
        yield _problem("must be a string", at)
    elif not text:
        yield _problem("must be more than 0 characters", at)
    elif len(text) > most:
        yield _problem(f"must be less than {most + 1} characters", at)


def _items(items: object, at: str) -> Iterator[tuple[object, str]]:
    for index, item in enumerate(items if isinstance(items, list) else []):
        yield item, f"{at}/{index}"


def _count(items: object, at: str, most: int) -> Problems:
    if not isinstance(items, list):
        yield _problem("must be an array", at)
    elif not items:
        yield _problem("must be more than 0 items", at)
    elif len(items) > most:
        yield _problem(f"no more than {most} items allowed", at)


def _header(block: Mapping[str, Any], at: str) -> Problems:
    if "text" in block:
        yield from _text(block["text"], f"{at}/text", 150, PLAIN_TEXT)


def _section(block: Mapping[str, Any], at: str) -> Problems:
    if "text" not in block and "fields" not in block:
        yield _problem("must define either `text` or `fields`", at)
    if "text" in block:
        yield from _text(block["text"], f"{at}/text", 3000)
    if "fields" in block:
        yield from _count(block["fields"], f"{at}/fields", 10)
        for field, where in _items(block["fields"], f"{at}/fields"):
            yield from _text(field, where, 2000)
    if "accessory" in block:
        yield from _element(block["accessory"], f"{at}/accessory")


def _context(block: Mapping[str, Any], at: str) -> Problems:
    yield from _count(block.get("elements", ["."]), f"{at}/elements", 10)
    for element, where in _items(block.get("elements"), f"{at}/elements"):
        if isinstance(element, dict) and element.get("type") == "image":
            yield from _element(element, where)
        else:
            yield from _text(element, where, 3000)


def _actions(block: Mapping[str, Any], at: str) -> Problems:
    yield from _count(block.get("elements", ["."]), f"{at}/elements", 25)
    for element, where in _items(block.get("elements"), f"{at}/elements"):
        yield from _element(element, where)


def _element(element: object, at: str) -> Problems:
    yield from _known(element, ELEMENT_KEYS, at)
    if isinstance(element, dict) and element.get("type") == "button":
        yield from _button(element, at)


def _known(element: object, kinds: Mapping[str, tuple[set[str], set[str]]], at: str) -> Problems:
    """An object of one of these kinds, with the keys that its kind must or may have."""
    kind = str(element.get("type")) if isinstance(element, dict) else ""
    if isinstance(element, dict) and kind in kinds:
        yield from _keys(element, *kinds[kind], at, common={"type"})
    else:
        yield _problem(f"unsupported type: {kind}", f"{at}/type")


def _button(button: Mapping[str, Any], at: str) -> Problems:
    if "text" in button:
        yield from _text(button["text"], f"{at}/text", 75, PLAIN_TEXT)
    for key, most in (("url", 3000), ("value", 2000), ("action_id", 255)):
        if key in button:
            yield from _string(button[key], f"{at}/{key}", most)
    if button.get("style", "primary") not in ("primary", "danger"):
        yield _problem("must be one of: primary, danger", f"{at}/style")


def _image(block: Mapping[str, Any], at: str) -> Problems:
    if "alt_text" in block:
        yield from _string(block["alt_text"], f"{at}/alt_text", 2000)
    if "image_url" not in block and "slack_file" not in block:
        yield _problem("must define either `image_url` or `slack_file`", at)


def _markdown(block: Mapping[str, Any], at: str) -> Problems:
    yield from _string(block.get("text", "."), f"{at}/text", 12_000)


def _table(block: Mapping[str, Any], at: str) -> Problems:
    yield from _count(block.get("rows", ["."]), f"{at}/rows", 100)
    for row, where in _items(block.get("rows"), f"{at}/rows"):
        yield from _count(row, where, 20)
    if characters(block) > 10_000:
        yield _problem("must be less than 10001 characters", f"{at}/rows")


def _rich_text(block: Mapping[str, Any], at: str) -> Problems:
    if not isinstance(block.get("elements", []), list):
        yield _problem("must be an array", f"{at}/elements")
    for part, where in _items(block.get("elements"), f"{at}/elements"):
        yield from _rich_part(part, where)


def _rich_part(part: object, at: str) -> Problems:
    kind = str(part.get("type")) if isinstance(part, dict) else ""
    if not isinstance(part, dict) or kind not in RICH_PARTS:
        yield _problem(f"unsupported type: {kind}", f"{at}/type")
        return
    yield from _keys(part, {"elements"}, RICH_PARTS[kind], at, common={"type"})
    if kind == "rich_text_list" and part.get("style") not in ("bullet", "ordered"):
        yield _problem("must be one of: bullet, ordered", f"{at}/style")
    for element, where in _items(part.get("elements"), f"{at}/elements"):
        if kind == "rich_text_list":
            yield from _rich_item(element, where)
        else:
            yield from _rich_element(element, where)


def _rich_item(item: object, at: str) -> Problems:
    if not isinstance(item, dict) or item.get("type") != "rich_text_section":
        yield _problem("must be a rich_text_section", at)
    else:
        yield from _rich_part(item, at)


def _rich_element(element: object, at: str) -> Problems:
    yield from _known(element, RICH_ELEMENTS, at)
    if not isinstance(element, dict) or str(element.get("type")) not in RICH_ELEMENTS:
        return
    if element["type"] == "text":
        yield from _string(element.get("text", "."), f"{at}/text", MOST_CHARACTERS)
    style = element.get("style", {})
    if not isinstance(style, dict) or style.keys() - STYLES:
        yield _problem("invalid style", f"{at}/style")


def _divider(_block: Mapping[str, Any], _at: str) -> Problems:
    return iter(())


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], Problems]] = {
    "actions": _actions,
    "context": _context,
    "divider": _divider,
    "header": _header,
    "image": _image,
    "markdown": _markdown,
    "rich_text": _rich_text,
    "section": _section,
    "table": _table,
}
