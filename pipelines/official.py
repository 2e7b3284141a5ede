"""Build the official profiles from their corpora.

python -m pipelines.official CORPORA [--only news] [--out registry] [--recipes registry/recipes]
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from dft_stats.build import build
from dft_stats.profile import Profile
from pipelines.recipe import Mixture, Share, plan, read_recipe

REGISTRY = Path(__file__).parents[1] / "registry"
RECIPES = REGISTRY / "recipes"
OF_RECORD = RECIPES / "of-record"
MAX_ROWS = {
    "token_frequency": 38_000,
    "ngram_frequency/2": 18_000,
    "ngram_frequency/3": 9_000,
    "ngram_frequency/4": 2_500,
    "ngram_frequency/5": 1_500,
}
"""So that the four together stay below 6 MB."""
SETTINGS = ("title", "licence", "max_order", "min_documents", "surface_documents", "spelling_documents")
"""Entries of a recipe that are arguments of `build`; the others are facts for the manifest."""


def main() -> int:
    """Build each recipe's profile into OUT/NAME/VERSION."""
    parser = argparse.ArgumentParser(description="Build the official profiles from their corpora.")
    parser.add_argument("corpora", help="folder laid out as the recipes say, or an address for fsspec, such as hf://datasets")
    parser.add_argument("--out", type=Path, default=REGISTRY)
    parser.add_argument("--recipes", type=Path, default=RECIPES, help="folder of recipes")
    parser.add_argument("--only", action="append", help="name of a recipe; may be given again")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    for path in sorted(given.recipes.glob("*.toml")):
        if given.only and path.stem not in given.only:
            continue
        print(f"== {path.stem}", file=sys.stderr)
        profile = build_recipe(path, given.corpora, given.out, workers=given.workers)
        size = sum(file.stat().st_size for file in profile.path.rglob("*") if file.is_file())
        print(f"{profile!r}, {size / 1e6:.2f} MB in {profile.path}")
    return 0


def build_recipe(path: Path, corpora: str | Path, out: Path, *, workers: int = 1) -> Profile:
    """Build one recipe."""
    return build_mixture(plan(read_recipe(path), corpora), out, workers=workers)


def build_mixture(mixture: Mixture, out: Path, *, workers: int = 1) -> Profile:
    """Build the profile of a planned mixture into OUT/NAME/VERSION; its texts are streamed."""
    facts = dict(mixture.recipe.facts)
    facts.pop("has_been_run", None)
    name, version = facts.pop("name"), facts.pop("version")
    settings = {key: facts.pop(key) for key in SETTINGS if key in facts}
    return build(
        ({"text": text} for text in mixture.texts()),
        privacy="public-corpus",
        out=out / name / version,
        name=name,
        version=version,
        max_rows=facts.pop("max_rows", MAX_ROWS),
        workers=workers,
        facts={**facts, "sources": [source_facts(share) for share in mixture.shares]},
        overwrite=True,
        progress=lambda line: print(line, file=sys.stderr),
        **settings,
    )


def source_facts(share: Share) -> dict[str, Any]:
    """The entry of a source in the manifest."""
    source, found = share.source, share.survey
    removed = found.removed
    note = [
        *source.clean,
        *([f"a share of {source.sample:g} sampled by hash"] if source.sample < 1 else []),
        f"of {found.documents:,} documents removed: {removed.near_duplicates:,} near-duplicates, {removed.copies:,} copies, "
        f"{removed.paragraphs:,} paragraphs of boilerplate",
    ]
    return {
        "name": source.name,
        "documents": share.documents,
        "words_share": round(share.words_share, 4),
        "licence": source.licence,
        "origin": source.origin,
        "note": "; ".join(note),
        "read": {"documents": found.documents, "words": found.words},
        "removed": removed.to_dict(),
    }


if __name__ == "__main__":
    sys.exit(main())
