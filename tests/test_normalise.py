"""The compiled normaliser is `dft_stats.text.normalise`."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.build import normalise as compiled
from dft_stats.text import normalise

SIGNS = " \n\r\t.…-–—‐‑''’“”``a1é\u0301\u00a0\u2028\x0b\x00(•*A9\u200d\ud800\u1100\u1161가İ"
LINES = ["a", "word.", "- x", "(ab) c", "12. x", "lo--ng", "* y", ". . .", "longerword", "of", "some", "•", "10–12", "end —", "abcd. x"]
signs = st.text(st.sampled_from(SIGNS), max_size=40)
wrapped = st.lists(st.lists(st.sampled_from(LINES), max_size=14).map(" ".join), max_size=8).map("\n".join)


@pytest.mark.parametrize("typography", ["fold", "keep"])
@given(texts=st.lists(st.one_of(signs, wrapped, st.text(st.characters(), max_size=20)), max_size=6))
def test_it_is_the_reference(texts: list[str], typography: str) -> None:
    expected = [normalise(text, typography=typography) for text in texts]
    assert compiled.normalised_texts(texts, typography=typography) == expected
    codes, begins = compiled.normalised(texts, typography=typography)
    assert codes.tobytes().decode("utf-32-le") == "".join(expected)
    assert begins.tolist() == np.cumsum([0, *map(len, expected)]).tolist()


def test_nfc_leaves_what_is_taken_for_plain() -> None:
    plain = [chr(code) for code in range(0x110000) if not compiled._traits(chr(code)) & compiled._HARD]
    assert len(plain) > 1_000_000  # with what is not assigned
    assert unicodedata.is_normalized("NFC", "".join(plain))
    assert unicodedata.is_normalized("NFC", "".join(reversed(plain)))
    assert unicodedata.is_normalized("NFC", "a".join(plain))
