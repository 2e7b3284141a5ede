"""How far compiled token distributions are from tokenised text.

python benchmarks/compile_error.py PROFILE TEXTS TOKENIZER...

PROFILE is a name or folder, TEXTS the corpus that it was built from (files that `dft-stats build` reads, or a recipe's name with
--corpora), TOKENIZER paths of tokenizer.json. For each tokenizer: Jensen-Shannon divergence (bits) and total variation between the
compiled distribution and the one counted on the tokenised text; the same for two random halves of the text, which is the noise.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from dft_stats import load
from dft_stats.build.corpus import read
from dft_stats.compiling import compile_profile
from dft_stats.measures import jensen_shannon_bits
from dft_stats.text import normalise
from dft_stats.tokenizer import resolve
from pipelines.recipe import mix, read_recipe


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("profile")
    parser.add_argument("texts", help="files, or with --corpora the name of a recipe")
    parser.add_argument("tokenizers", nargs="+", type=Path)
    parser.add_argument("--corpora", type=Path)
    given = parser.parse_args()
    if given.corpora:
        recipe = read_recipe(Path(__file__).parents[1] / "registry" / "recipes" / f"{given.texts}.toml")
        texts = mix(recipe, given.corpora)[0]
    else:
        texts = [text for batch in read(given.texts) for text in batch]
    texts = [normalise(text) for text in texts]
    profile = load(given.profile)
    print(f"{profile!r}\n")
    print("| tokenizer | compile, s | JS, bits | total variation | JS of two halves of the text | tokens a word |")
    print("|---|---|---|---|---|---|")
    for path in given.tokenizers:
        began = time.perf_counter()
        compiled = compile_profile(profile, path, cache=False)
        seconds = time.perf_counter() - began
        halves = np.zeros((2, compiled.vocab_size))
        for begin in range(0, len(texts), 1000):
            for i, encoding in enumerate(resolve(path).encode_batch(texts[begin : begin + 1000], add_special_tokens=False)):
                halves[i % 2] += np.bincount(compiled.tokens.fold[encoding.ids], minlength=compiled.vocab_size)
        halves[:, compiled.tokens.special] = 0
        direct = halves.sum(0) / halves.sum()
        variation = float(np.abs(direct - compiled.token_frequency).sum() / 2)
        name = path.parent.name if path.name == "tokenizer.json" else path.name
        print(
            f"| {name} | {seconds:.1f} | {jensen_shannon_bits(direct, compiled.token_frequency):.5f} | {variation:.4f} "
            f"| {jensen_shannon_bits(halves[0], halves[1]):.5f} | {compiled.tokens_per_word:.3f} |"
        )


if __name__ == "__main__":
    main()
