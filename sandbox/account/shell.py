"""Keeps what the user's shell says about AWS and proxies away from the sandbox.

The sandbox listens on 127.0.0.1, which no proxy reaches, and its account knows none of the user's
profiles, session tokens or endpoints.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

HERE = ("127.0.0.1", "localhost")
# Not taken back by what the sandbox says to export, and in the way of it.
IN_THE_WAY = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """What to set so that no proxy is asked for this machine; both spellings are in use."""
    named = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    known = [host.strip() for host in named.split(",") if host.strip()]
    value = ",".join([*known, *(host for host in HERE if host not in known)])
    # Python takes `*` for every host only where it stands alone.
    value = "*" if "*" in known else value
    return {"NO_PROXY": value, "no_proxy": value}


@contextmanager
def own_environment() -> Iterator[None]:
    """Let this process, which makes the clients, have nothing of AWS in its environment."""
    ours = {name: "" for name in os.environ if name.startswith("AWS_")}
    ours |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    ours |= past_proxies(os.environ)
    before = {name: os.environ.get(name) for name in ours}
    _put(ours)
    try:
        yield
    finally:
        _put(before)


def _put(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)
