"""DynamoDB: a table in memory, and a client of it with boto3's shape and the network's manners.

`Table` is the service: tests/test_simulator_dynamodb.py compares what it answers to random
operations with another implementation of DynamoDB. `Client` is the SDK and the way there.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/Welcome.html
"""

import bisect
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from tests.simulator.expressions import Item, MissingAttribute, parsed
from tests.simulator.faults import Dice
from tests.simulator.scheduler import Scheduler

Request = Mapping[str, Any]
Key = tuple[str, str]

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_BYTES = 400 * 1024
TRANSACTION_ITEMS = 100
TRANSACTION_BYTES = 4 * 1024 * 1024
BATCH_GET_KEYS = 100
PAGE_BYTES = 1024 * 1024
TOKEN_LASTS = 600.0  # seconds for which a transaction's ClientRequestToken is remembered


class Refusal(Exception):
    """What the service refuses, before the SDK makes a ClientError of it."""

    def __init__(self, code: str, message: str = "", **more: Any) -> None:
        super().__init__(code, *more.get("CancellationReasons", ()))
        self.response = {"Error": {"Code": code, "Message": message}, "Message": message, **more}


def _invalid(message: str) -> Refusal:
    return Refusal("ValidationException", message)


class _ConditionFailed(Exception):
    def __init__(self, item: Item | None) -> None:
        self.item = item


# --- the service --------------------------------------------------------------------------------


@dataclass
class _Partition:
    """The items of one partition key, by their sort key, in order."""

    items: dict[str, Item] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def put(self, sk: str, item: Item) -> None:
        if sk not in self.items:
            bisect.insort(self.order, sk)
        self.items[sk] = item

    def delete(self, sk: str) -> None:
        if self.items.pop(sk, None) is not None:
            self.order.remove(sk)


@dataclass
class Table:
    """A table with the keys `pk`, `sk` and the sparse, KEYS_ONLY index `due` on (`due`, `due_at`).

    `now` gives seconds; `lag` how many of them the index is behind a write, drawn for each write.
    `changed` hears of every write: the key, the item before and after.
    """

    name: str = "ecs-watch"
    now: Callable[[], float] = lambda: 0.0
    lag: Callable[[], float] = lambda: 0.0
    page_bytes: int = PAGE_BYTES
    changed: Callable[[Key, Item | None, Item | None], None] = lambda *_: None
    _partitions: dict[str, _Partition] = field(default_factory=dict)
    _index: dict[Key, Item] = field(default_factory=dict)
    _behind: list[tuple[float, int, Key, Item | None]] = field(default_factory=list)
    _indexed: dict[Key, int] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _tokens: dict[str, tuple[float, str]] = field(default_factory=dict)

    # --- reading ------------------------------------------------------------------------------

    def rows(self, pk_prefix: str = "") -> Iterator[Item]:
        """Every item whose partition key begins so: for the checker, not for the program."""
        for pk in sorted(self._partitions):
            if pk.startswith(pk_prefix):
                partition = self._partitions[pk]
                yield from (partition.items[sk] for sk in partition.order)

    def get(self, request: Request) -> dict[str, Any]:
        _only(request, "TableName", "Key", "ConsistentRead")
        item = self._item(self._key(request["Key"]))
        return {"Item": dict(item)} if item is not None else {}

    def _item(self, key: Key) -> Item | None:
        partition = self._partitions.get(key[0])
        return partition.items.get(key[1]) if partition else None

    def query(self, request: Request) -> dict[str, Any]:
        """One page."""
        known = "TableName IndexName KeyConditionExpression ExpressionAttributeNames"
        known += " ExpressionAttributeValues ConsistentRead ExclusiveStartKey Limit"
        _only(request, *known.split())
        if "IndexName" in request and request.get("ConsistentRead"):
            raise _invalid("Consistent reads are not supported on global secondary indexes")
        condition, _ = _conditions(request, "KeyConditionExpression")
        start = request.get("ExclusiveStartKey")
        found = self._indexed_rows() if "IndexName" in request else self._partition_rows(request)
        page: list[Item] = []
        size, limit = 0, request.get("Limit", 10**9)
        for item in (item for item in found if condition(item)):
            if start is not None and _position(item, request) <= _position(start, request):
                continue
            if page and (size >= self.page_bytes or len(page) >= limit):
                return {"Items": page, "LastEvaluatedKey": _last_key(page[-1], request)}
            size += _size(item)
            page.append(dict(item))
        return {"Items": page}

    def _partition_rows(self, request: Request) -> Iterator[Item]:
        text = request["KeyConditionExpression"]
        match = re.match(r"\s*pk\s*=\s*(:\w+)(\s+AND\s+sk\b|\s+AND\s+begins_with|\s*$)", text)
        assert match, f"a query names its partition first: {text}"
        partition = self._partitions.get(request["ExpressionAttributeValues"][match[1]]["S"])
        return (partition.items[sk] for sk in partition.order) if partition else iter(())

    def _indexed_rows(self) -> Iterator[Item]:
        self._catch_up()
        key = lambda item: (item["due_at"]["S"], item["pk"]["S"], item["sk"]["S"])  # noqa: E731
        return iter(sorted(self._index.values(), key=key))

    def _catch_up(self) -> None:
        """Bring the index to where it is by now. Two writes of one item never change places."""
        waiting = []
        for entry in self._behind:
            visible_at, number, key, item = entry
            if visible_at > self.now():
                waiting.append(entry)
            elif self._indexed.get(key, -1) < number:
                self._indexed[key] = number
                self._index.pop(key, None)
                if item is not None:
                    self._index[key] = item
        self._behind = waiting

    # --- writing ------------------------------------------------------------------------------

    def update(self, request: Request) -> dict[str, Any]:
        _only(request, *_WRITE, "UpdateExpression", "ReturnValues")
        return self._alone(request, self._updated(request))

    def put(self, request: Request) -> dict[str, Any]:
        _only(request, *_WRITE_ITEM, "ReturnValues")
        return self._alone(request, self._put(request))

    def delete(self, request: Request) -> dict[str, Any]:
        _only(request, *_WRITE, "ReturnValues")
        return self._alone(request, self._deleted(request))

    def _alone(self, request: Request, write: "_Write") -> dict[str, Any]:
        before = self._item(write.key)
        try:
            after = write.outcome(before)
        except _ConditionFailed as failed:
            shown = {"Item": failed.item} if _shows_old(request) and failed.item else {}
            message = "The conditional request failed"
            raise Refusal("ConditionalCheckFailedException", message, **shown) from None
        self._keep(write.key, after)
        match request.get("ReturnValues", "NONE"):
            case "ALL_OLD":
                return {"Attributes": dict(before)} if before else {}
            case "ALL_NEW":
                return {"Attributes": dict(after or {})}
            case "NONE":
                return {}
            case other:
                raise AssertionError(f"ReturnValues {other} is not known here")

    def transact(self, request: Request) -> dict[str, Any]:
        """All writes or none. https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""
        _only(request, "TransactItems", "ClientRequestToken")
        if self._was_done(request):
            return {}
        writes = [self._write(entry) for entry in request["TransactItems"]]
        self._check_limits(writes)
        outcomes = [_attempted(write, self._item(write.key)) for write in writes]
        reasons = [reason for _, reason in outcomes]
        if any(reason["Code"] != "None" for reason in reasons):
            raise _cancelled(reasons)
        if sum(_size(after) for after, _ in outcomes if after) > TRANSACTION_BYTES:
            raise _invalid("Transaction request size cannot exceed 4 MB")
        for write, (after, _) in zip(writes, outcomes, strict=True):
            self._keep(write.key, after)
        if token := request.get("ClientRequestToken"):
            self._tokens[token] = (self.now(), _fingerprint(request))
        return {}

    def _was_done(self, request: Request) -> bool:
        token = request.get("ClientRequestToken")
        if token not in self._tokens or self._tokens[token][0] + TOKEN_LASTS < self.now():
            return False
        if self._tokens[token][1] != _fingerprint(request):
            raise Refusal("IdempotentParameterMismatchException", "same token, another request")
        return True

    def _check_limits(self, writes: Sequence["_Write"]) -> None:
        if not 1 <= len(writes) <= TRANSACTION_ITEMS:
            raise _invalid("Member must have length less than or equal to 100")
        if len({write.key for write in writes}) < len(writes):
            raise _invalid("Transaction request cannot include multiple operations on one item")

    def _write(self, entry: Request) -> "_Write":
        ((kind, request),) = entry.items()
        match kind:
            case "Update":
                _only(request, *_WRITE, "UpdateExpression")
                return self._updated(request)
            case "Put":
                _only(request, *_WRITE_ITEM)
                return self._put(request)
            case "Delete":
                _only(request, *_WRITE)
                return self._deleted(request)
            case "ConditionCheck":
                _only(request, *_WRITE)
                assert request["ConditionExpression"]
                return _Write(request, self._key(request["Key"]), lambda before: before)
        raise AssertionError(f"{kind} is not known here")

    def _updated(self, request: Request) -> "_Write":
        key = self._key(request["Key"])
        _, changes = _conditions(request, "ConditionExpression")

        def update(before: Item | None) -> Item:
            after = {**(before or {}), "pk": {"S": key[0]}, "sk": {"S": key[1]}}
            for name, value in changes(before or {}):
                assert name not in ("pk", "sk"), "a key cannot be changed"
                if value is None:
                    after.pop(name, None)
                else:
                    after[name] = value
            return after

        return _Write(request, key, update)

    def _put(self, request: Request) -> "_Write":
        item = dict(request["Item"])
        key = self._key({name: item[name] for name in ("pk", "sk")})
        return _Write(request, key, lambda _before: item)

    def _deleted(self, request: Request) -> "_Write":
        return _Write(request, self._key(request["Key"]), lambda _before: None)

    def _key(self, key: Request) -> Key:
        assert set(key) == {"pk", "sk"}, f"{key} is no key of this table"
        pk, sk = key["pk"]["S"], key["sk"]["S"]
        if not pk or not sk:
            raise _invalid("One or more parameter values are not valid. An empty string value")
        return pk, sk

    def _keep(self, key: Key, after: Item | None) -> None:
        self.changed(key, self._item(key), after)
        if after is None:
            if key[0] in self._partitions:
                self._partitions[key[0]].delete(key[1])
        else:
            self._partitions.setdefault(key[0], _Partition()).put(key[1], after)
        shown = after if after and "due" in after and "due_at" in after else None
        if shown or key in self._indexed or any(key == entry[2] for entry in self._behind):
            projected = (
                {name: shown[name] for name in ("pk", "sk", "due", "due_at")} if shown else None
            )
            self._behind.append((self.now() + self.lag(), next(self._numbers), key, projected))


_EXPRESSIONS = ("ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues")
_WRITE = ("TableName", "Key", *_EXPRESSIONS, "ReturnValuesOnConditionCheckFailure")
_WRITE_ITEM = ("TableName", "Item", *_EXPRESSIONS, "ReturnValuesOnConditionCheckFailure")


@dataclass(frozen=True)
class _Write:
    """One write of a request: which item, under which condition, and what becomes of it."""

    request: Request
    key: Key
    change: Callable[[Item | None], Item | None]

    def outcome(self, before: Item | None) -> Item | None:
        condition, _ = _conditions(self.request, "ConditionExpression")
        if not condition(before or {}):
            raise _ConditionFailed(before)
        try:
            after = self.change(before)
        except MissingAttribute:
            message = (
                "The provided expression refers to an attribute that does not exist in the item"
            )
            raise _invalid(message) from None
        if after is not None and _size(after) > ITEM_BYTES:
            raise _invalid("Item size to update has exceeded the maximum allowed size")
        return after


def _attempted(write: _Write, before: Item | None) -> tuple[Item | None, dict[str, Any]]:
    """What a write of a transaction would leave, and why it is refused if it is."""
    try:
        return write.outcome(before), {"Code": "None"}
    except _ConditionFailed as failed:
        shown = {"Item": failed.item} if _shows_old(write.request) and failed.item else {}
        message = "The conditional request failed"
        return None, {"Code": "ConditionalCheckFailed", "Message": message, **shown}
    except Refusal as refusal:
        return None, {"Code": "ValidationError", "Message": refusal.response["Message"]}


def _cancelled(reasons: Sequence[Mapping[str, Any]]) -> Refusal:
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = (
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    )
    return Refusal("TransactionCanceledException", message, CancellationReasons=list(reasons))


def _conditions(request: Request, condition: str) -> tuple[Callable[[Item], bool], Any]:
    """The request's condition and changes; every placeholder must be known, and used."""
    names = request.get("ExpressionAttributeNames", {})
    values = request.get("ExpressionAttributeValues", {})
    used: set[str] = set()
    under: Callable[[Item], bool] = lambda _item: True  # noqa: E731
    changes: Callable[[Item], Any] = lambda _item: ()  # noqa: E731
    if text := request.get(condition):
        asked = parsed(text)
        used |= asked.used
        under = lambda item: asked.condition(item, names, values)  # noqa: E731
    if text := request.get("UpdateExpression"):
        update = parsed(text, update=True)
        used |= update.used
        changes = lambda item: [change(item, names, values) for change in update.changes]  # noqa: E731
    given = {*names, *values}
    if given != used:
        raise _invalid(f"placeholders unused or undefined in expressions: {given ^ used}")
    return under, changes


def _only(request: Request, *known: str) -> None:
    more = set(request) - set(known)
    assert not more, f"{more} is not known here"


def _shows_old(request: Request) -> bool:
    return request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"


def _fingerprint(request: Request) -> str:
    return json.dumps(request["TransactItems"], sort_keys=True)


def _size(item: Item) -> int:
    return sum(len(name) + len(next(iter(value.values())).encode()) for name, value in item.items())


def _position(item: Item, request: Request) -> tuple[str, ...]:
    keys = ("due_at", "pk", "sk") if "IndexName" in request else ("sk",)
    return tuple(item[name]["S"] for name in keys)


def _last_key(item: Item, request: Request) -> Item:
    keys = ("pk", "sk", "due", "due_at") if "IndexName" in request else ("pk", "sk")
    return {name: item[name] for name in keys}


# --- the SDK and the way there ------------------------------------------------------------------

ATTEMPTS = 3  # as `wiring` asks of the SDK
READ_TIMEOUT = 5.0  # seconds
CONNECT_TIMEOUT = 2.0
TYPICAL = 0.008  # seconds of one way, so that about one in four calls overlaps another's


@dataclass
class Client:
    """A boto3 client of the table, with the faults that fall."""

    table: Table
    scheduler: Scheduler
    dice: Dice
    one_way: float = TYPICAL
    calls: dict[str, int] = field(default_factory=dict)
    doubts: list[float] = field(default_factory=list)
    _tokens: Iterator[int] = field(default_factory=itertools.count)

    def get_item(self, **request: Any) -> dict[str, Any]:
        assert request["ConsistentRead"], "a read that may be stale is not known here"
        return self._send("get", request, self.table.get, _named(request["Key"]))

    def update_item(self, **request: Any) -> dict[str, Any]:
        return self._write("update", request, self.table.update, _named(request["Key"]))

    def put_item(self, **request: Any) -> dict[str, Any]:
        return self._write("put", request, self.table.put, _named(request["Item"]))

    def delete_item(self, **request: Any) -> dict[str, Any]:
        return self._write("delete", request, self.table.delete, _named(request["Key"]))

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """The SDK gives every call a token, so that its own second attempt changes nothing."""
        tokened = {"ClientRequestToken": f"token-{next(self._tokens)}", **request}
        label = ", ".join(map(_label, request["TransactItems"][:6]))
        return self._write("transact", tokened, self.table.transact, label)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Read each key by itself: a batch is not one moment, and may come back in part."""
        _only(request, "RequestItems")
        ((name, asked),) = request["RequestItems"].items()
        _only(asked, "Keys", "ConsistentRead")
        assert asked["ConsistentRead"], "a read that may be stale is not known here"
        keys = list(asked["Keys"])
        _check_batch(keys)
        some = keys[: self.dice.rng.randrange(len(keys))] if self._is_cut() else keys
        left = {name: {**asked, "Keys": keys[len(some) :]}} if len(some) < len(keys) else {}
        if not some:
            raise ClientError(_THROTTLED, "BatchGetItem")
        found = []
        for part in self._torn(some):
            found += self._send("batch get", {"Keys": part}, self._got, f"{len(part)} rows")[
                "Items"
            ]
        return {"Responses": {name: found}, "UnprocessedKeys": left}

    def _got(self, request: Request) -> dict[str, Any]:
        answers = [self.table.get({"Key": key}) for key in request["Keys"]]
        return {"Items": [answer["Item"] for answer in answers if "Item" in answer]}

    def _is_cut(self) -> bool:
        return self.dice.falls("table_throttled")

    def _torn(self, keys: list[Any]) -> Iterator[list[Any]]:
        """A batch in one or two moments. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html"""
        cut = self.dice.rng.randrange(len(keys)) if self.dice.rng.random() < 0.3 else 0
        yield from (part for part in (keys[:cut], keys[cut:]) if part)

    def query(self, **request: Any) -> dict[str, Any]:
        label = str(next(iter(request["ExpressionAttributeValues"].values())).get("S"))
        return self._send("query", request, self.table.query, _short(label))

    def get_paginator(self, operation: str) -> "_Paginator":
        assert operation == "query", f"no paginator of {operation} is known here"
        return _Paginator(self)

    # --- the way there ------------------------------------------------------------------------

    def _write(
        self, operation: str, request: Request, serve: Callable[[Request], Any], label: str
    ) -> dict[str, Any]:
        if self.dice.falls("table_conflict"):
            serve = _conflicted(request)
        return self._send(operation, request, serve, label, writes=True)

    def _send(
        self,
        operation: str,
        request: Request,
        serve: Callable[[Request], dict[str, Any]],
        label: str,
        *,
        writes: bool = False,
    ) -> dict[str, Any]:
        """One call of the SDK: at most three requests."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        name = f"{operation} {label}"
        if self.dice.falls("table_unreachable"):
            self._hang(f"{name} (unreachable)", lambda: None, ATTEMPTS * CONNECT_TIMEOUT)
            self._doubt(writes)
            raise ConnectTimeoutError(endpoint_url="dynamodb")
        if self.dice.falls("table_given_up"):
            self._hang(f"{name} (answers lost)", lambda: serve(request), ATTEMPTS * READ_TIMEOUT)
            self._doubt(writes)
            raise ReadTimeoutError(endpoint_url="dynamodb")
        error: Exception
        for attempt in range(ATTEMPTS):
            if self.dice.falls("table_throttled"):
                self._hang(f"{name} (throttled)", lambda: None, 0.05 * 2**attempt)
                error = ClientError(_THROTTLED, operation)
            elif self.dice.falls("table_answer_lost"):
                self._hang(f"{name} (answer lost)", lambda: serve(request), READ_TIMEOUT)
                error = ReadTimeoutError(endpoint_url="dynamodb")
            else:
                return self._answered(name, request, serve)
        self._doubt(writes)
        raise error

    def _doubt(self, writes: bool) -> None:
        """What was to be recorded was not, or nobody knows: what was posted may come again."""
        if writes:
            self.doubts.append(self.scheduler.clock)

    def _answered(
        self, name: str, request: Request, serve: Callable[[Request], dict[str, Any]]
    ) -> dict[str, Any]:
        slow = self.dice.rng.uniform(0.5, 4.0) if self.dice.falls("table_slow") else 0.0
        answer: dict[str, Any] = {}

        def happens() -> None:
            answer.update(serve(request))

        try:
            latency = self.dice.latency(self.one_way)
            self.scheduler.effect(name, happens, latency + slow, latency)
        except Refusal as refusal:
            raise ClientError(refusal.response, name) from None  # type: ignore[arg-type]
        return answer

    def _hang(self, name: str, happens: Callable[[], Any], seconds: float) -> None:
        """Something happens, or not, and no answer comes."""

        def unanswered() -> None:
            try:
                happens()
            except Refusal:
                return  # it was refused, and nobody hears of it

        self.scheduler.effect(name, unanswered, self.dice.latency(TYPICAL), seconds)


_THROTTLED: Any = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}


def _conflicted(request: Request) -> Callable[[Request], dict[str, Any]]:
    """Another transaction is at one of these items: a transaction is cancelled, a write refused."""
    reasons = [{"Code": "None"} for _ in request.get("TransactItems", ())]
    conflict = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}

    def refuse(_request: Request) -> dict[str, Any]:
        if not reasons:
            raise Refusal("TransactionConflictException", conflict["Message"])
        raise _cancelled([*reasons[:-1], conflict])

    return refuse


def _check_batch(keys: Sequence[Request]) -> None:
    if not 1 <= len(keys) <= BATCH_GET_KEYS:
        raise ClientError(
            {"Error": {"Code": "ValidationException", "Message": "1 to 100 keys"}}, "BatchGetItem"
        )
    if len({tuple(value["S"] for value in key.values()) for key in keys}) < len(keys):
        message = "Provided list of item keys contains duplicates"
        error: Any = {"Error": {"Code": "ValidationException", "Message": message}}
        raise ClientError(error, "BatchGetItem")


@dataclass(frozen=True)
class _Paginator:
    client: Client

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            page = self.client.query(**request, **start)
            yield page
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _label(entry: Request) -> str:
    ((kind, request),) = entry.items()
    named = _named(request.get("Key") or request["Item"])
    return f"check {named}" if kind == "ConditionCheck" else named


def _named(key: Request) -> str:
    return f"{_short(key['pk']['S'])}/{_short(key['sk']['S'])}"


def _short(text: str) -> str:
    return re.sub(r"arn:\S*/", "", text)
