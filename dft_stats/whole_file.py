"""Files that come into being whole: nobody sees one half written, and an error leaves what was there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends well."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")  # not of `tempfile`, which nobody else may read
    try:
        with draft.open("xb") as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
