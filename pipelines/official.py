"""Build the official profiles from their corpora.

python -m pipelines.official CORPORA [--only news] [--out registry]
"""

import argparse
import sys
from pathlib import Path

from dft_stats.build import build
from dft_stats.profile import Profile
from pipelines.recipe import mix, read_recipe

REGISTRY = Path(__file__).parents[1] / "registry"
MAX_ROWS = {
    "token_frequency": 38_000,
    "surface": 46_000,
    "ngram_frequency/2": 18_000,
    "ngram_frequency/3": 9_000,
    "ngram_frequency/4": 2_500,
    "ngram_frequency/5": 1_500,
}
"""So that the four together stay below 6 MB."""


def main() -> int:
    """Build each recipe's profile into OUT/NAME/VERSION."""
    parser = argparse.ArgumentParser(description="Build the official profiles from their corpora.")
    parser.add_argument("corpora", type=Path, help="folder laid out as the recipes say")
    parser.add_argument("--out", type=Path, default=REGISTRY)
    parser.add_argument("--only", action="append", help="name of a recipe; may be given again")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    for path in sorted((REGISTRY / "recipes").glob("*.toml")):
        if given.only and path.stem not in given.only:
            continue
        print(f"== {path.stem}", file=sys.stderr)
        profile = build_recipe(path, given.corpora, given.out, workers=given.workers)
        size = sum(file.stat().st_size for file in profile.path.rglob("*") if file.is_file())
        print(f"{profile!r}, {size / 1e6:.2f} MB in {profile.path}")
    return 0


def build_recipe(path: Path, corpora: Path, out: Path, *, workers: int = 1, leave_out: int = 0) -> Profile:
    """Build one recipe. `leave_out`: see `pipelines.recipe.mix`."""
    recipe = read_recipe(path)
    facts = dict(recipe.facts)
    texts, shares, _ = mix(recipe, corpora, leave_out=leave_out)
    sources = [
        {
            "name": share.source.name,
            "documents": share.documents,
            "words_share": round(share.words_share, 4),
            "licence": share.source.licence,
            "origin": share.source.origin,
            "note": ", ".join(share.source.clean),
        }
        for share in shares
    ]
    name, version = facts.pop("name"), facts.pop("version")
    settings = {key: facts.pop(key) for key in ("title", "licence", "max_order", "min_documents")}
    return build(
        texts,
        out=out / name / version,
        name=name,
        version=version,
        max_rows=MAX_ROWS,
        workers=workers,
        facts={**facts, "sources": sources},
        overwrite=True,
        progress=lambda line: print(line, file=sys.stderr),
        **settings,
    )


if __name__ == "__main__":
    sys.exit(main())
