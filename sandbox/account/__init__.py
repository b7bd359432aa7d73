"""An AWS account on this machine: `with Account() as account: account.deploy({...})`."""

from sandbox.account.account import STACK, Account
from sandbox.account.process import CREDENTIALS, REGION, SandboxError

__all__ = ["CREDENTIALS", "REGION", "STACK", "Account", "SandboxError"]
