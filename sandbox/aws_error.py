"""An error as AWS answers it."""


class AwsError(Exception):
    """An answer that is an error, with AWS's code and HTTP status; `more` stands beside them."""

    def __init__(
        self, code: str, message: str = "", status: int = 400, more: dict[str, object] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.more = more or {}
