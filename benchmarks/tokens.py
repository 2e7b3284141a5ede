"""What tokens counted in the running text add to compiling from stretches, for tokenizers that keep words apart and others.

python benchmarks/tokens.py TEXTS [TOKENIZER...] [--megabytes 8] [--vocabulary 32000]

TEXTS are files that `dft-stats build` reads; every so many-th document of them is taken, up to --megabytes. Beside the TOKENIZERs (paths
of tokenizer.json or their folders) three are trained on these documents: WordPiece without upper case as BERT has it, Unigram over "▁" as
T5 has it, and Unigram without a pre-tokenizer, whose pieces join words. A row a tokenizer:

    compile       what it does without counted tokens: accepts, or refuses
    exactness     bits of Jensen-Shannon divergence that it estimates from the profile alone
    by stretches  true divergence (bits) of the compiled token frequencies from those of the tokenised text (refused ones: inexact=True)
    counted       the same, compiled from a profile that was built with the tokenizer
    pruned        the same with rows of PRUNED documents and more alone
    tokens/word   of the counted profile
    pairs, MB     rows and bytes that the tables of tokens add
    build, s      CPU seconds of building with the tokenizer, and without any
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from dft_stats.build import build
from dft_stats.build.corpus import read
from dft_stats.compiled import CompiledProfile
from dft_stats.compiling import MAX_INEXACT_BITS, compile_profile
from dft_stats.measures import jensen_shannon_bits
from dft_stats.profile import Profile
from dft_stats.text import normalise
from dft_stats.tokenizer import resolve

TRAINED_ON = 4_000_000  # characters
PRUNED = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="What counted tokens add to compiling from stretches.")
    parser.add_argument("texts")
    parser.add_argument("tokenizers", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    given = parser.parse_args()
    texts = [text for batch in read(given.texts) for text in batch]
    texts = texts[:: max(1, round(sum(map(len, texts)) / given.megabytes / 1e6))]
    plain = [normalise(text) for text in texts]
    chosen = [(path.parent.name if path.name == "tokenizer.json" else path.name, resolve(path)) for path in given.tokenizers]
    chosen += trained(plain, given.vocabulary)
    print(f"{len(texts)} documents, {sum(map(len, plain)) / 1e6:.1f} MB\n")
    print("| tokenizer | compile | exactness | by stretches | counted | pruned | tokens/word | pairs | MB | build, s | without |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        build(plain[:1], privacy="none", out=Path(folder) / "first", name="first")  # compiles the kernels
        bare, without = built(plain, Path(folder) / "bare", None)
        for number, (name, tokenizer) in enumerate(chosen):
            counted, seconds = built(plain, Path(folder) / str(number), tokenizer)
            pruned, _ = built(plain, Path(folder) / f"{number}-pruned", tokenizer, PRUNED)
            print(
                f"| {name} | " + " | ".join(row(bare, counted, pruned, tokenizer, plain)) + f" | {seconds:.1f} | {without:.1f} |",
                flush=True,
            )


def built(texts: Sequence[str], out: Path, tokenizer: Tokenizer | None, least: int = 1) -> tuple[Profile, float]:
    """A profile, and the CPU seconds that it took."""
    began = time.process_time()
    profile = build(texts, privacy="none", out=out, name="texts", max_order=3, tokenizer=tokenizer, min_documents=least)
    return profile, time.process_time() - began


def row(bare: Profile, counted: Profile, pruned: Profile, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """What there is to say of one tokenizer but the time."""
    by_stretches = compile_profile(bare, tokenizer, cache=False, inexact=True)
    direct, kept = (compile_profile(profile, tokenizer, cache=False) for profile in (counted, pruned))
    true = tokenised(by_stretches, tokenizer, texts)
    refused = by_stretches.exactness_bits > MAX_INEXACT_BITS
    size = sum(entry["bytes"] for entry in counted.manifest["tables"] if entry["name"].startswith("token_") and "freq" not in entry["name"])
    return [
        "refuses" if refused else "accepts",
        f"{by_stretches.exactness_bits:.4f}",
        f"{jensen_shannon_bits(true, by_stretches.token_frequency):.5f}",
        f"{jensen_shannon_bits(true, direct.token_frequency):.5f}",
        f"{jensen_shannon_bits(true, kept.token_frequency):.5f}",
        f"{direct.tokens_per_word:.3f}",
        f"{len(counted.table('token_pairs')):,}",
        f"{size / 1e6:.1f}",
    ]


def tokenised(compiled: CompiledProfile, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Counts of the ids of the running text, (vocab,)."""
    found = np.zeros(compiled.vocab_size)
    for text in texts:
        ids = compiled.tokens.fold[tokenizer.encode(text, add_special_tokens=False).ids]
        found += np.bincount(ids, minlength=compiled.vocab_size)
    found[compiled.tokens.special] = 0
    return found


def trained(texts: Sequence[str], size: int) -> Iterator[tuple[str, Tokenizer]]:
    """Tokenizers of three kinds, trained on some of the texts."""
    some = "\n\n".join(texts)[:TRAINED_ON]
    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer(lowercase=True)
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    wordpiece.decoder = decoders.WordPiece()
    markers = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=markers, show_progress=False)
    wordpiece.train_from_iterator(some.split("\n\n"), trainer)
    yield "WordPiece, as BERT", resolve(wordpiece)
    for name, split in (("Unigram, as T5", True), ("Unigram over words", False)):
        unigram = Tokenizer(models.Unigram())
        unigram.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=split)
        unigram.decoder = decoders.Metaspace(prepend_scheme="always", split=split)
        pieces = trainers.UnigramTrainer(vocab_size=size, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
        unigram.train_from_iterator(some.split("\n\n"), pieces)
        yield name, resolve(unigram)


if __name__ == "__main__":
    main()
