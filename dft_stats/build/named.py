"""The user's own denied names, looked for in a profile: the part of an audit that needs no secret to be planted."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dft_stats.build.merge import PRUNED
from dft_stats.build.withheld import readable
from dft_stats.denied import canonical, find
from dft_stats.masking import Masks
from dft_stats.profile import Profile
from dft_stats.text import normalise


@dataclass(frozen=True, slots=True)
class Named:
    """A name that is denied: in how many of the documents it is, and which tables tell it."""

    name: str
    documents: int  # 0: perhaps it is misspelt
    tables: tuple[str, ...]
    is_leak: bool  # told although masked


def named(profile: Profile, texts: Sequence[str], given: Sequence[str], *, is_masked: bool) -> tuple[Named, ...]:
    """What becomes of each name that has a letter or digit. Looked for as it is written, and by its letters whatever is between them."""
    given = [name for name in given if canonical(name)]
    masks = Masks(tuple(given))
    number = {name: i for i, name in enumerate(masks.names)}
    have: Counter[str] = Counter()
    for text in texts if given else ():
        have.update({masks.names[which] for _, _, which in find(normalise(text), masks.names)})
    told = {}
    columns = {name: list(profile.counts(name).statistic.keys)[-1] for name in PRUNED} | {"spelling": "spelling"}
    for table, column in columns.items() if given else ():
        rows = profile.table(table)[column].to_pylist()
        told[table] = "\n".join(rows).lower(), {which for names in readable(rows, masks.names).values() for which in names}
    found = []
    for name in given:
        written = re.compile(rf"(?<![^\W_]){re.escape(' '.join(name.lower().split()))}(?![^\W_])")
        tables = tuple(table for table, (text, names) in told.items() if number[canonical(name)] in names or written.search(text))
        found.append(Named(name, have[canonical(name)], tables, is_masked and bool(tables)))
    return tuple(found)
