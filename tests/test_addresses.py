"""Addresses that rules can see are masked, prose is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dft_stats.masking import EMAIL, URL, Masks

OF_PEOPLE = (
    '"zork qq"@zork.com', "zork@[10.0.0.1]", "zork @ zork.com", "zork@\nzork.com", "zork＠zork.com", "zork&#64;zork.com", "zork@zork",
    "zork.zork+z@zork.co.uk", "git@zork:zork/zork.git", "“zork qq”@zork.com", "zork@zork。com",
)  # fmt: skip
OF_PLACES = (
    "zork.internal", "zork.consulting/zork", "zork.xyz", "zork.amsterdam", "зорк.рф/зорк", "зорк.рф", "zork。com", "zork:8080/zork",
    "10.1.2.3/zork", "10.1.2.3:80/zork", r"\\zork\zork", r"C:\Users\zork", r"C:\Users\zork zork\zork", "c:/zork/zork", "~/zork",
    "/home/zork/zork", "/Users/zork", "zork.com", "ZORK.Com/zork", "www.zork", "WwW.zork", "x://zork",
    "Zork.zork/zork?q=zork", "_zork.org_",
)  # fmt: skip
PROSE = (
    "end.Next", "e.g.x", "i.e.the", "and/or", "U.S", "U.S./British", "3.5/4", "Inc.The", "p.m./a.m.", "a.m.the", "vs.the", "et al.show",
    "10:30/11:00", "he/she/they", "24/7", "km/h", "no.one", "Mr.Smith", "3.14", "Luke 5:10/Mark", "vote:52/48", "x = a\\b", "the @ sign",
    "lunch @ noon", "follow @zork. now", "R&D", "St. John", "e.g., that", "...and", "well-known", "Yes.No", "A.B", "1.2.3", "10.1.2.3",
    "C: x",
)  # fmt: skip


@pytest.mark.parametrize("typography", ["fold", "keep"])
@pytest.mark.parametrize("address", OF_PEOPLE + OF_PLACES)
@given(
    before=st.sampled_from(["", "Write to ", "(", "<", '"', "[a](", "— ", "\n"]),
    behind=st.sampled_from(["", " now", ".", ", so", ")", "!"]),
)
def test_addresses_are_masked(typography: str, address: str, before: str, behind: str) -> None:
    (masked,), number = Masks().apply([before + address + behind], typography=typography)
    assert (EMAIL if address in OF_PEOPLE else URL) in masked
    assert "zork" not in masked.lower()
    assert "зорк" not in masked
    assert (number["emails"], number["urls"]) == ((1, 0) if address in OF_PEOPLE else (0, 1))


@given(st.lists(st.sampled_from(PROSE), min_size=1, max_size=6).map(" ".join))
def test_prose_is_not(text: str) -> None:
    (masked,), number = Masks().apply([text])
    assert (number["emails"], number["urls"]) == (0, 0), masked


@pytest.mark.parametrize(
    "text",
    [
        "a" * 300_000 + "@",
        "@" * 100_000,
        "a.b@" * 50_000,
        "a." * 100_000,
        "\\a" * 100_000,
        "a-" * 100_000 + "@ b",
        "a_" * 50_000 + ".B",
        "a_a." * 50_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    Masks(("Ann Lee", "Annabel-Lee")).apply([text])
    assert time.process_time() - begun < 5
