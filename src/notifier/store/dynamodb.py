"""DynamoDB's JSON, its expressions and its errors."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from notifier.errors import Busy, Conflict, LeaseLost, NoTable, StoreUnavailable, WatchError

Row = dict[str, Any]


def key(pk: str, sk: str) -> Row:
    """A row's key."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def typed(value: str | int) -> Row:
    """A value with its type."""
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def plain(item: Row) -> Row:
    """A row's values without their types."""
    return {
        name: int(value["N"]) if "N" in value else value.get("S") for name, value in item.items()
    }


def update(
    table: str,
    pk: str,
    sk: str,
    changes: Row,
    *,
    keep: Row | None = None,
    remove: Sequence[str] = (),
    condition: str = "",
    values: Row | None = None,
) -> Row:
    """One UpdateItem: sets `changes`, and `keep` where there is nothing, under `condition`."""
    keep = keep or {}
    sets = [f"{place(name)} = :{_safe(name)}" for name in changes]
    sets += [f"{place(n)} = if_not_exists({place(n)}, :{_safe(n)})" for n in keep]
    parts = [f"SET {', '.join(sets)}"] if sets else []
    parts += [f"REMOVE {', '.join(map(place, remove))}"] if remove else []
    names = (*changes, *keep, *remove, *_names_in(condition))
    given = {_safe(name): value for name, value in (changes | keep).items()} | (values or {})
    typed_values = {f":{name}": typed(value) for name, value in given.items()}
    return {
        "TableName": table,
        "Key": key(pk, sk),
        "UpdateExpression": " ".join(parts),
        "ExpressionAttributeNames": {place(name): name for name in names},
        **({"ExpressionAttributeValues": typed_values} if typed_values else {}),
        **({"ConditionExpression": condition} if condition else {}),
    }


def under(condition: str, values: Row | None = None) -> Row:
    """What a Delete or ConditionCheck needs for its condition."""
    names = {place(name): name for name in _names_in(condition)}
    typed_values = {f":{name}": typed(value) for name, value in (values or {}).items()}
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names,
        **({"ExpressionAttributeValues": typed_values} if typed_values else {}),
    }


def place(name: str) -> str:
    """Every name goes in as a placeholder: many are reserved words, or have a `#` in them.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
    """
    return f"#{_safe(name)}"


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _names_in(condition: str) -> Sequence[str]:
    return re.findall(r"#(\w+)", condition)


@contextmanager
def errors(*, leased: bool = False) -> Iterator[None]:
    """Say what a refusal means to us: somebody was first, the lease is lost, or try later."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _meaning(error.response, leased=leased) from error
    except BotoCoreError as error:
        raise StoreUnavailable(str(error)) from error


def _meaning(response: Mapping[str, Any], *, leased: bool) -> WatchError:
    """Sort a refusal by DynamoDB's codes.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
    """
    code = response["Error"]["Code"]
    causes = [cause.get("Code") for cause in response.get("CancellationReasons", [])]
    if leased and causes[:1] == ["ConditionalCheckFailed"]:
        return LeaseLost(code)
    if "ConditionalCheckFailed" in causes:
        return Conflict(f"{code} {causes}")
    if "TransactionConflict" in causes or code == "TransactionInProgressException":
        return Busy(f"{code} {causes}")
    said = f"{code}: {response['Error'].get('Message', '')}"
    return NoTable(said) if code == "ResourceNotFoundException" else StoreUnavailable(said)
