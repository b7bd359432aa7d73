"""An AWS account on this machine: `with Account() as account: account.deploy({...})`."""

from sandbox.account.account import STACK, Account
from sandbox.account.process import CREDENTIALS, REGION, SandboxError
from sandbox.account.shell import IN_THE_WAY, past_proxies

__all__ = [
    "CREDENTIALS",
    "IN_THE_WAY",
    "REGION",
    "STACK",
    "Account",
    "SandboxError",
    "past_proxies",
]
