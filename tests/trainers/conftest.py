"""What the trainers that are started as programs are given. Their environments differ: nothing is imported before it is asked for."""

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its tokenizer and a profile."""
    from transformers import PreTrainedTokenizerFast

    from tests.causal_models import model
    from tests.profiles import profile_of
    from tests.prose import documents
    from tests.tokenizers_for_tests import gpt2_like

    monkeypatch.setenv("DFT_STATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model().save_pretrained(tmp_path / "model")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=gpt2_like(), eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.save_pretrained(tmp_path / "model")
    profile_of(documents(60), tmp_path / "profile")
    return tmp_path
