"""A token of the Hub, held so that it does not get out by accident."""

import re
from typing import NoReturn

_TOKENS = re.compile(r"hf_[A-Za-z0-9]{6,}")
_PASSWORDS = re.compile(r"(?<=://)[^/@\s]*@")  # of a proxy, say


class Token:
    """A token, or none. It is in no repr, no pickle and no copy."""

    __slots__ = ("_value",)

    def __init__(self, value: str | None) -> None:
        self._value = value

    def reveal(self) -> str | bool:
        """For a call of the client: the token, or False, which sends none, not even one that the client would find."""
        return self._value or False

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "<a token>" if self._value else "<no token>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not pickled: connect again where it is needed")

    def scrub(self, text: str) -> str:
        """A text without this token, or any other that looks like one, or a password in an address."""
        text = _PASSWORDS.sub("***@", text)
        return _TOKENS.sub("hf_***", text.replace(self._value, "***") if self._value else text)
