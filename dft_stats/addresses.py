"""Where a text has addresses: of e-mail, of the Web and other networks, of files. By rules, which miss some: see `docs/privacy.md`."""

import re
from collections.abc import Iterator

_NO_ADDRESS = '\\s<>"“”«»'
_INSIDE = rf"[^{_NO_ADDRESS}]"  # an address
_LAST = rf"[^{_NO_ADDRESS}.,;:!?')\]}}—]"  # marks at its end are the sentence's
_REST = rf"{_INSIDE}*{_LAST}"
_DOTS = ".。．｡"
_LOWER = "a-zß-öø-ÿά-ώа-џ"
_ENDINGS = "com|org|net|edu|gov|mil|info|biz|io|ai|co|tv|uk|de|fr|eu|ca|au|nl|se|ch|es|ru|cn|jp|br"  # none that is an English word
_SHORT = "vs|al|etc|cf|mr|mrs|ms|dr|st|prof|inc|ltd|co|fig|eq|no|vol"  # abbreviations that lack the space behind them
_BEFORE, _BEHIND = r"(?<![^\W_])(?<![@.-])", r"(?![^\W_]|-)"  # a domain
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"  # bounded like all that may be tried from every underscore
_LOW = f"[{_LOWER}0-9_-]"
_LOW_LABEL = f"[{_LOWER}0-9]{_LOW}{{0,62}}"

# "://" or "www."; a domain with a known ending, a path, or in lower case throughout.
_URL = re.compile(
    rf"(?:[a-z][a-z0-9+.-]*://|\bwww[{_DOTS}]){_REST}"
    rf"|{_BEFORE}(?:"
    rf"(?:[a-z0-9](?:[\w-]{{0,61}}[^\W_])?\.){{1,9}}(?:{_ENDINGS}){_BEHIND}(?:[/?#:]{_REST})?"
    rf"|(?<!/)(?:{_LABEL}\.){{1,9}}(?-i:[{_LOWER}]{{2,63}})(?::\d+)?/{_REST}"
    rf"|(?<!/)(?!(?:{_SHORT})\.)(?-i:(?:{_LOW_LABEL}\.){{0,9}}(?={_LOW}{{2}}){_LOW_LABEL}\.[{_LOWER}]{{2,63}}){_BEHIND}(?:[?#:]{_REST})?"
    rf"|[a-z0-9][a-z0-9-]{{0,62}}(?:[{_DOTS}][a-z0-9][a-z0-9-]{{0,62}}){{0,9}}[。．｡][a-z]{{2,63}}(?![a-z0-9-])(?:[/?#:]{_REST})?"
    rf")",
    re.IGNORECASE,
)
# Each of these holds one of these, and no white space. A literal that comes first makes for a fast search.
_DOT, _SIGNS = re.compile(r"\.[^\W\d_]{2}"), {sign: re.compile(sign) for sign in ("://", "。", "．", "｡")}
_WWW = re.compile(rf"www[{_DOTS}]", re.IGNORECASE)
_SPACE = re.compile(r"\s")
# HOST:PORT/PATH and NUMBERS/PATH, where a path begins with a letter: "10:30/11:00" and "3.5/4" are none.
_SERVED = re.compile(
    rf"(?<![\w@./-])(?:[a-z][\w-]*(?:\.[\w-]+)*:\d{{2,5}}|\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?::\d+)?)/(?=[^\W\d]){_REST}",
    re.IGNORECASE,
)
_PORT = re.compile(r":\d{2,5}/|\.\d{1,3}[:/]")
# \\SERVER\SHARE, C:\FOLDERS (of some words each), ~/FOLDER, /home/USER
_FILE = re.compile(
    rf"\\\\(?=[^\W_]){_REST}"
    rf"|(?<!\w)[a-z]:\\(?:[^\\{_NO_ADDRESS}]+(?: [^\\{_NO_ADDRESS}]+){{0,3}}\\)*(?:{_REST})?"
    rf"|(?<!\w)[a-z]:/{_LAST}(?:{_REST})?"
    rf"|(?<![\w/.])(?:~|/(?:home|users))/{_REST}",
    re.IGNORECASE,
)
_FOLDERS = ("\\", ":/", "~/", "/home/", "/users/", "/Users/")

_AT_SIGNS = "@＠﹫&"
_AT = re.compile(r"[@＠﹫]|&#0*64;|&#[xX]0*40;|&commat;")
_NOT_LOCAL = frozenset('@＠﹫<>()[]{},;:"“”«»')
_SPACED_LOCAL = re.compile(r"[\w.+-]+[ >\n]{1,4}\Z")
_HOST = re.compile(r"(?:[\w@＠.-]|[。．｡](?=[A-Za-z0-9]))*\w[\u0300-\u036f]*|\[[^\]\s]{1,64}\]")
_SPACED_HOST = re.compile(rf"[\s>]{{1,8}}(?:{_LABEL}[{_DOTS}])+[^\W\d_]{{2,}}")
_FOLDER = re.compile(rf":(?=[\w~/.]){_REST}")  # git@host:owner/repository


def urls(text: str) -> Iterator[tuple[int, int]]:
    """(begin, end) of what leads to a place in a network or on a disk. May overlap each other and those of `emails`."""
    for begin, end in _where_urls_may_be(text):
        yield from (match.span() for match in _URL.finditer(text, begin, end))
    if "/" in text and _PORT.search(text):
        yield from (match.span() for match in _SERVED.finditer(text))
    if any(folder in text for folder in _FOLDERS):
        yield from (match.span() for match in _FILE.finditer(text))


def _where_urls_may_be(text: str) -> Iterator[tuple[int, int]]:
    """Runs without white space, in order, that hold a sign of an address."""
    signs = [_DOT, *(pattern for sign, pattern in _SIGNS.items() if sign in text), *([_WWW] if "www" in text.lower() else ())]
    behind = 0
    for sign in sorted(match.start() for pattern in signs for match in pattern.finditer(text)):
        if sign >= behind:
            begin = sign
            while begin > behind and not text[begin - 1].isspace():
                begin -= 1
            space = _SPACE.search(text, sign)
            behind = len(text) if space is None else space.start()
            yield begin, behind


def emails(text: str) -> Iterator[tuple[int, int]]:
    """(begin, end) of e-mail addresses, in order.

    Found from the @, so that a long text without spaces takes no longer. With space behind the @ the host has to have a dot, and only then
    may there be space before it.
    """
    if not any(sign in text for sign in _AT_SIGNS):
        return
    least = 0
    for sign in _AT.finditer(text):
        at, behind = sign.span()
        if at < least:
            continue
        begin, spaced = _local(text, at, least), None
        host = _HOST.match(text, behind) if begin < at else None
        if host is None:
            host = spaced = _SPACED_HOST.match(text, behind)
        if host is None:
            continue
        if begin == at and spaced is not None:
            before = _SPACED_LOCAL.search(text, max(least, at - 80), at)
            begin = at if before is None else before.start()
        if begin == at:
            continue
        folder = _FOLDER.match(text, host.end())
        least = host.end() if folder is None else folder.end()
        yield begin, least


def _local(text: str, at: int, least: int) -> int:
    """Where what stands before an @ begins."""
    if at > least and text[at - 1] in '"”':
        begin = max(text.rfind(mark, max(least, at - 66), at - 1) for mark in '"“')
        return at if begin < 0 or "\n" in text[begin:at] else begin
    begin = at
    while begin > least and text[begin - 1] not in _NOT_LOCAL and not text[begin - 1].isspace():
        begin -= 1
    return begin
