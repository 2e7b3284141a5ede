"""The demonstration, step by step. What it prints is the result; progress goes to stderr."""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dft_stats.build import build
from dft_stats.build.corpus import read
from dft_stats.compare import nearest
from dft_stats.demo.documents import documentation_texts, licence_texts, passages
from dft_stats.demo.measured import verdict
from dft_stats.demo.prompts import MEASURED, STEERED
from dft_stats.demo.show import heading, say, show_measured, show_samples
from dft_stats.errors import ProfileNotFound
from dft_stats.profile import Profile
from dft_stats.registry import list_profiles, load, registry_path
from dft_stats.report import show_list, show_nearest, teller

HELD_OUT = 5  # every fifth passage of the user's text is kept from training
MOST_PASSAGES = 48  # whose perplexity is taken


def run(given: argparse.Namespace) -> int:
    """`dft-stats demo`; 0 also if the model did not get better, which is then said.

    Args:
        given: profile, model, text, steps and seed, as `dft_stats.cli` parses them.

    Raises:
        ProfileNotFound: there are no embedded profiles, or not the one that was asked for.
        CorpusError: the human text cannot be read, or is too short.
        DftStatsError: the model cannot be had or cannot be steered; the first two parts are done by then.
    """
    found = list_profiles()
    if not found:
        raise ProfileNotFound(
            f"there are no embedded profiles in {registry_path()}, which the demonstration needs; install dft-stats again"
        )
    reference = load(given.profile)
    human = [text for batch in read(given.text) for text in batch] if given.text else []

    heading("1. The embedded profiles")
    show_list(found)
    heading("2. Profiles of your own: the licences, and the documentation, of the Python packages on this machine")
    _own_profiles([load(name) for name in sorted({info.name for info in found})])
    heading(f"3. A language model, and how far its writing is from {reference.name}@{reference.version}")
    _steer(given, reference, human)
    return 0


def _own_profiles(references: Sequence[Profile]) -> None:
    for name, texts in (("licences", licence_texts()), ("documentation", documentation_texts())):
        if not texts:
            say(f"No {name} were found here.")
            continue
        with tempfile.TemporaryDirectory(prefix="dft-stats-") as folder:
            rows = [{"text": text} for text in texts]
            profile = build(rows, privacy="none", out=Path(folder) / name, name=name, max_order=3, progress=teller())
            found = nearest(profile, references)
        say(f"[bold]{name}[/bold]: {profile.exposure.words:,} words of {len(texts)} documents. Nearest to [bold]{found[0][0]}[/bold].")
        show_nearest(found)


def _steer(given: argparse.Namespace, reference: Profile, human: Sequence[str]) -> None:
    # Threads that wait by spinning slow each other down on a busy machine. It is read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    tell = teller()
    tell("loading torch and the model (93 MB to download the first time)")
    from dft_stats.demo.branch import Branch
    from dft_stats.demo.model import load_model
    from dft_stats.demo.steer import ANCHOR, BATCH, LAYERS, STEP_TOKENS, fine_tune, steer
    from dft_stats.demo.subject import Subject, measure
    from dft_stats.demo.writing import SAMPLER, banned, encode

    model, tokenizer, name = load_model(given.model)
    human = passages(human)
    guards = {"documentation on this machine": passages(documentation_texts())[:MOST_PASSAGES]}
    if human:
        guards["your text, held out"] = human[::HELD_OUT][:MOST_PASSAGES]
    subject = Subject(model, tokenizer, reference, reference.compile(tokenizer), guards, given.seed, tell)
    branch = Branch(model, LAYERS, banned(subject.compiled, model))
    branch.check(encode(tokenizer, STEERED[:1])[0])
    say(f"{name} writes on from {len(MEASURED)} openings of news, at temperature {SAMPLER.temperature} and top-p {SAMPLER.top_p}.")
    before = measure(subject, MEASURED)
    show_measured({"before": before})
    show_samples(before, "before")

    heading(f"4. Steering: {given.steps} steps on what the model itself writes")
    say(
        f"Trained are the last {len(branch.before)} of {len(branch.blocks)} blocks, {sum(p.numel() for p in branch.trained) / 1e6:.1f}"
        f" million parameters; a step is {BATCH} continuations of {STEP_TOKENS} tokens, of other openings than the measured ones."
        f" Anchor: {ANCHOR:g} times the divergence from the model as it was. Brake: a learning rate that falls to zero."
    )
    began = time.monotonic()
    steps = steer(subject, branch, STEERED, steps=given.steps)
    say(f"{steps} steps in {time.monotonic() - began:.0f} s.")
    after = measure(subject, MEASURED)
    columns = {"before": before, "after": after}
    if human:
        heading("5. The control: as many steps of plain fine-tuning on your text, from the same start")
        branch.restore()
        fine_tune(subject, branch, [text for i, text in enumerate(human) if i % HELD_OUT], steps=steps)
        columns["fine-tuned"] = measure(subject, MEASURED)
    heading("Before and after")
    show_measured(columns)
    show_samples(after, "after")
    say(verdict(before, after)[1])
    if human:
        say(f"Plain fine-tuning on your text, the control: {verdict(before, columns['fine-tuned'])[1]}")
    say("A direction, not a result: one model, one seed, short texts. Nearer statistics are not better prose; read the samples.")
