"""Whose running rates a state holds: those of one profile, for one tokenizer, with the same tokens left alone or pinned."""

import hashlib
from collections.abc import Mapping, Sequence

from dft_stats.compiled import CompiledProfile
from dft_stats.errors import VocabularyMismatch

DIFFERENCES = {
    "profile_sha256": "of another profile",
    "tokenizer_sha256": "for another tokenizer",
    "token_rates_sha256": "with other tokens pinned",
    "exclude": "with other tokens excluded",
}
"""What an entry of an identity says if it differs."""


def identity_of(compiled: CompiledProfile, excluded: Sequence[int]) -> dict[str, str]:
    """Of a loss for the profile that leaves these ids alone."""
    rates = compiled.token_frequency.tobytes() + compiled.token_tracked.tobytes()
    return {
        "profile_sha256": compiled.profile_sha256,
        "tokenizer_sha256": compiled.tokenizer_sha256,
        "token_rates_sha256": hashlib.sha256(rates).hexdigest(),
        "exclude": ",".join(map(str, excluded)),
    }


def refuse_another(state: Mapping[str, str], identity: Mapping[str, str]) -> None:
    """Check the identity in a state; older ones have fewer entries.

    Raises:
        VocabularyMismatch: it is another, and in what.
    """
    if told := difference(state, identity):
        raise VocabularyMismatch(f"these are the running rates of another loss: {told}; make the loss as it was, or start it anew")


def difference(state: Mapping[str, str], identity: Mapping[str, str]) -> str:
    """In what an identity differs from the one here, "" if in nothing."""
    others = {name: value for name, value in identity.items() if state.get(name, value) != value}
    if "profile_sha256" in others or "tokenizer_sha256" in others:
        others.pop("token_rates_sha256", None)  # which follows
    return "; ".join(f"{DIFFERENCES[name]} ({str(state[name])[:80]}, here {value[:80]})" for name, value in others.items())
