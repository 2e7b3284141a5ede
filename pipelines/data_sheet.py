"""Write the data sheets of the official profiles, with their plots.

python -m pipelines.data_sheet CORPORA [--only news] [--registry registry] [--out docs/data-sheets]

Reads the corpora again, since what a source contributes and how occurrences spread over documents do not follow from counts alone. Needs
matplotlib.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dft_stats.build import build
from dft_stats.profile import Profile, read_profile
from pipelines import sections
from pipelines.dispersion import dispersion
from pipelines.official import RECIPES, REGISTRY
from pipelines.plots import plot_all
from pipelines.recipe import Mixture, plan, read_recipe
from pipelines.sample_size import words_needed
from pipelines.stability import contributions
from pipelines.typography import typography

SHEETS = Path(__file__).parents[1] / "docs" / "data-sheets"


def main() -> int:
    """Write OUT/NAME.md and OUT/NAME/*.svg."""
    parser = argparse.ArgumentParser(description="Write the data sheets of the official profiles.")
    parser.add_argument("corpora", help="folder laid out as the recipes say, or an address for fsspec")
    parser.add_argument("--only", action="append", help="name of a profile; may be given again")
    parser.add_argument("--registry", type=Path, default=REGISTRY, help="folder of the profiles, built from these corpora")
    parser.add_argument("--out", type=Path, default=SHEETS)
    given = parser.parse_args()
    recipes = {path.stem: read_recipe(path) for path in sorted(RECIPES.glob("*.toml"))}
    profiles = {name: read_profile(given.registry / name / recipe.facts["version"]) for name, recipe in recipes.items()}
    mixtures = {name: plan(recipe, given.corpora) for name, recipe in recipes.items()}
    for name, mixture in mixtures.items():
        check_same(profiles[name], mixture)
    with tempfile.TemporaryDirectory() as folder:
        whole = [unpruned(mixture, Path(folder)) for mixture in mixtures.values()]
        for name, mixture in mixtures.items():
            if given.only and name not in given.only:
                continue
            print(f"== {name}", file=sys.stderr)
            plots = plot_all(profiles[name], list(profiles.values()), given.out / name)
            text = data_sheet(profiles[name], whole, mixture)
            (given.out / f"{name}.md").write_text(text, encoding="utf-8")
            print(f"{given.out / name}.md and {len(plots)} plots, {sum(plot.stat().st_size for plot in plots) / 1e3:.0f} kB")
    return 0


def unpruned(mixture: Mixture, folder: Path) -> Profile:
    """The profile of a mixture with all its rows, of n-grams up to three: what a distance to it is measured by."""
    name = str(mixture.recipe.facts["name"])
    return build(({"text": text} for text in mixture.texts()), privacy="none", out=folder / name, name=name, max_order=3)


def check_same(profile: Profile, mixture: Mixture) -> None:
    """Refuse a profile that was built from other documents than those at hand."""
    counted = {source["name"]: source["documents"] for source in profile.manifest.get("sources", ())}
    planned = {share.source.name: share.documents for share in mixture.shares}
    if counted != planned:
        raise ValueError(f"{profile.path} was built from {counted} documents, the corpora give {planned}; build it again first")


def data_sheet(profile: Profile, whole: Sequence[Profile], mixture: Mixture) -> str:
    """The data sheet in Markdown.

    Args:
        profile: built from `mixture`.
        whole: all official ones, unpruned.
        mixture: its documents are read again.
    """
    parts = [
        sections.head(profile),
        sections.sources(profile),
        sections.typesetting([(share.source.name, typography(mixture.texts(i))) for i, share in enumerate(mixture.shares)]),
        sections.numbers(profile),
        sections.floor(profile, words_needed(profile, whole)),
        sections.shape(profile),
        sections.contributed(contributions(mixture, profile)),
        sections.leaning(dispersion(profile, mixture.texts())),
        sections.end(profile),
    ]
    return "\n".join(line for part in parts for line in part)


if __name__ == "__main__":
    sys.exit(main())
