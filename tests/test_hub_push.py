"""Publishing: one commit and one tag, private, and a version that says how much changed. The real client against a server process."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from dft_stats.card import END
from dft_stats.errors import (
    AccessDenied,
    HubError,
    HubUnreachable,
    PublishConflict,
    PublishError,
    VersionExists,
    VersionTooSmall,
)
from dft_stats.hub import push as pushing
from dft_stats.hub.connection import Hub
from dft_stats.hub.push import Pushed, push
from dft_stats.profile import Profile
from dft_stats.registry import find
from dft_stats.tables import FLOOR_SCHEMA
from dft_stats.verify import problems
from tests.hub_control import ALICE, BOB, READER, HubServer
from tests.profiles import profile_of
from tests.prose import documents as prose

REPO = "alice/contracts"
TEXTS = prose(12)


def made(folder: Path, version: str = "1.0.0", texts: list[str] | None = None, **more: object) -> Profile:
    return profile_of(texts or TEXTS, folder / f"contracts-{version}", name="contracts", version=version, **more)  # type: ignore[arg-type]


def exists(server: HubServer, repo: str) -> bool:
    return "head" in server.state(repo)


def test_a_version_is_one_commit_and_its_tag(server: HubServer, tmp_path: Path) -> None:
    profile = made(tmp_path)
    done = push(profile, REPO, hub=server.as_user())
    state = server.state(REPO)
    assert [commit["title"] for commit in state["commits"]] == ["initial commit", "contracts 1.0.0"]
    assert state["tags"] == {"v1.0.0": state["head"]} == {done.tag: done.commit}
    assert set(state["commits"][-1]["files"]) == {".gitattributes", *done.files}
    assert (done.version, done.previous, done.changes, done.is_new_repo) == ("1.0.0", None, (), True)
    assert state["private"]
    assert done.is_private


def test_a_dry_run_changes_nothing_and_finds_the_same_faults(server: HubServer, tmp_path: Path) -> None:
    profile = made(tmp_path)
    done = push(profile, REPO, hub=server.as_user(), dry_run=True)
    assert done.commit is None
    assert done.is_private
    assert not exists(server, REPO)
    push(profile, REPO, hub=server.as_user())
    before = server.state(REPO)
    with pytest.raises(VersionExists):
        push(profile, REPO, hub=server.as_user(), dry_run=True)
    with pytest.raises(VersionTooSmall):
        push(made(tmp_path, "1.0.1", TEXTS[:6]), REPO, hub=server.as_user(), dry_run=True)
    assert server.state(REPO) == before


def test_a_version_does_not_change(server: HubServer, tmp_path: Path) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    before = server.state(REPO)
    with pytest.raises(VersionExists, match="these very files"):
        push(made(tmp_path), REPO, hub=server.as_user())
    with pytest.raises(VersionExists, match="other files"):
        push(made(tmp_path, texts=TEXTS[1:]), REPO, hub=server.as_user())
    assert server.state(REPO) == before


@pytest.mark.parametrize(
    ("version", "texts", "least"),
    [("1.0.1", TEXTS, None), ("1.0.1", TEXTS[:-1], "minor"), ("1.1.0", TEXTS[:-1], None), ("2.0.0", TEXTS[:-1], None)],
)
def test_the_step_of_a_version_says_what_changed(
    server: HubServer, tmp_path: Path, version: str, texts: list[str], least: str | None
) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    if least is None:
        assert push(made(tmp_path, version, texts), REPO, hub=server.as_user()).previous == "1.0.0"
        return
    with pytest.raises(VersionTooSmall, match=rf"needs a {least} one: build it as 1\.1\.0") as caught:
        push(made(tmp_path, version, texts), REPO, hub=server.as_user())
    assert "rows of token_frequency" in str(caught.value)


def test_other_rules_and_another_kind_of_writing_are_a_major_step(server: HubServer, tmp_path: Path) -> None:
    floor = pa.Table.from_pylist([{"statistic": "sentence_length", "words": 100, "mean": 0.5, "sd": 0.1}], schema=FLOOR_SCHEMA)
    push(made(tmp_path, floor=floor), REPO, hub=server.as_user())
    with pytest.raises(VersionTooSmall, match=r"major  typography: fold -> keep"):
        push(made(tmp_path, "1.1.0", facts={"typography": "keep"}, floor=floor), REPO, hub=server.as_user())
    other = [" ".join(["word"] * 60) + "." for _ in TEXTS]
    with pytest.raises(VersionTooSmall, match=r"major  kind of writing: sentence_length.*2\.0\.0|2\.0\.0(.|\n)*major  kind of writing"):
        push(made(tmp_path, "1.2.0", other, floor=floor), REPO, hub=server.as_user())
    assert push(made(tmp_path, "2.0.0", other, floor=floor), REPO, hub=server.as_user()).previous == "1.0.0"


def test_an_older_line_may_go_on(server: HubServer, tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0"):
        push(made(tmp_path, version), REPO, hub=server.as_user())
    assert push(made(tmp_path, "1.0.1"), REPO, hub=server.as_user()).previous == "1.0.0"


def test_one_repository_has_one_profile(server: HubServer, tmp_path: Path) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    with pytest.raises(PublishError, match="holds the profile 'contracts', this one is 'letters'"):
        push(profile_of(TEXTS, tmp_path / "letters", name="letters", version="1.1.0"), REPO, hub=server.as_user())


def test_private_unless_said_and_never_by_accident(server: HubServer, tmp_path: Path) -> None:
    profile = made(tmp_path)
    with pytest.raises(PublishError, match="privacy 'none'"):
        push(profile, REPO, hub=server.as_user(), public=True)
    assert not exists(server, REPO)
    open_to_all = made(tmp_path, facts={"privacy": {"mode": "public-corpus"}})
    assert not push(open_to_all, "alice/open", hub=server.as_user(), public=True).is_private
    assert not server.state("alice/open")["private"]
    with pytest.raises(PublishError, match="is public; say so"):
        push(made(tmp_path, "1.0.1", facts={"privacy": {"mode": "public-corpus"}}), "alice/open", hub=server.as_user())
    with pytest.raises(PublishError, match="everybody could read it"):
        push(made(tmp_path, "1.0.2"), "alice/open", hub=server.as_user(), public=True)


def test_a_repository_that_turns_out_public_gets_nothing(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an organisation makes every new repository public: what was asked for is not what there is."""
    real = pushing.state_of
    monkeypatch.setattr(pushing, "state_of", lambda *given: (False, real(*given)[1]))
    with pytest.raises(PublishError, match="is not private; nothing was sent"):
        push(made(tmp_path), REPO, hub=server.as_user())
    assert len(server.state(REPO)["commits"]) == 1


def test_what_the_owner_wrote_below_the_card_stays(server: HubServer, tmp_path: Path) -> None:
    push(made(tmp_path, card=f"# one\n{END}\n"), REPO, hub=server.as_user())
    server.control("touch", repo=REPO, path="README.md", text=f"# one\n{END}\n\nAsk Anna.\n")
    push(made(tmp_path, "1.0.1", card=f"# two\n{END}\n"), REPO, hub=server.as_user())
    found = locate_as(server, f"{REPO}@1.0.1")
    assert (found / "README.md").read_text() == f"# two\n{END}\n\nAsk Anna.\n"
    assert problems(found) == []


def locate_as(server: HubServer, name: str) -> Path:
    return find(name, hub=server.as_user()).folder


def test_an_interrupted_push_is_finished_by_the_next(server: HubServer, tmp_path: Path) -> None:
    profile = made(tmp_path)
    server.fault("status", method="POST", path="/tag/", status=503, times=99)
    with pytest.raises(HubError, match="503"):
        push(profile, REPO, hub=server.as_user())
    assert server.state(REPO)["tags"] == {}
    assert len(server.state(REPO)["commits"]) == 2
    server.control("clear")
    done = push(profile, REPO, hub=server.as_user())
    state = server.state(REPO)
    assert len(state["commits"]) == 2
    assert state["tags"] == {"v1.0.0": done.commit}


def in_threads(jobs: list[tuple[Profile, Hub]]) -> list[Pushed | Exception]:
    found: list[Pushed | Exception] = []

    def job(profile: Profile, hub: Hub) -> None:
        try:
            found.append(push(profile, REPO, hub=hub))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=job, args=given) for given in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_six_publishers_at_once_lose_nothing(server: HubServer, tmp_path: Path) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    profiles = [made(tmp_path, f"1.{number}.0", TEXTS[: 4 + number]) for number in range(1, 7)]
    found = in_threads([(profile, server.as_user(cache=Path(profile.version))) for profile in profiles])
    assert [error for error in found if isinstance(error, Exception)] == []
    state = server.state(REPO)
    assert sorted(state["tags"]) == ["v1.0.0", *(f"v1.{number}.0" for number in range(1, 7))]
    by_sha = {commit["sha"]: commit for commit in state["commits"]}
    line, at = [], state["head"]
    while at:
        line.append(at)
        at = by_sha[at]["parent"]
    assert len(line) == len(by_sha) == 8  # one line, in which every commit stands
    for profile in profiles:
        assert problems(locate_as(server, f"{REPO}@{profile.version}")) == []


def test_of_four_publishers_of_one_version_one_wins(server: HubServer, tmp_path: Path) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    profiles = [made(tmp_path / str(number), "2.0.0", TEXTS[: 4 + number]) for number in range(4)]
    found = in_threads([(profile, server.as_user(cache=Path(str(number)))) for number, profile in enumerate(profiles)])
    winners = [done for done in found if isinstance(done, Pushed)]
    assert len(winners) == 1
    assert server.state(REPO)["tags"]["v2.0.0"] == winners[0].commit
    assert all(isinstance(done, Pushed | VersionExists) for done in found), found


def test_who_never_gets_in_between_is_told(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "_WAIT", 0.001)
    server.fault("status", method="POST", path="/commit/", status=412, times=99)
    with pytest.raises(PublishConflict, match="push it again"):
        push(made(tmp_path), REPO, hub=server.as_user())


@pytest.mark.parametrize(
    ("token", "what"),
    [(BOB, "has no dataset|does not allow"), (READER, "does not allow this to this token"), ("hf_wrong_token", "refuses the token")],
)
def test_who_may_not_write_is_told_why(server: HubServer, tmp_path: Path, token: str, what: str) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    with pytest.raises(AccessDenied, match=what):
        push(made(tmp_path, "1.0.1"), REPO, hub=server.as_user(token))


def test_nobody_publishes_without_a_token_or_a_hub(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="needs a token"):
        push(made(tmp_path), REPO, hub=server.as_user(False))
    with pytest.raises(HubUnreachable, match="offline"):
        push(made(tmp_path), REPO, hub=server.as_user(ALICE, offline=True))


def test_what_is_not_sound_is_not_sent(server: HubServer, tmp_path: Path) -> None:
    profile = made(tmp_path)
    (profile.path / "notes.txt").write_text("mine")
    with pytest.raises(PublishError, match=r"not sound, nothing was sent: notes\.txt is no part"):
        push(profile, REPO, hub=server.as_user())
    for wrong in ("contracts", "a/b/c", "alice/contracts@1.0.0", "../x"):
        with pytest.raises(PublishError, match="is no repository"):
            push(profile, wrong, hub=server.as_user())
    assert server.log() == []


def test_a_store_that_refuses_a_file_leaves_nothing_half_published(server: HubServer, tmp_path: Path) -> None:
    server.fault("status", store=True, method="PUT", status=400, times=99)
    with pytest.raises(HubError, match="answered 400"):
        push(made(tmp_path), REPO, hub=server.as_user())
    assert server.state(REPO)["tags"] == {}


@pytest.mark.parametrize("manifest", [None, '{"files": []}', "[]", "{"])
def test_a_repository_of_something_else_is_left_alone(server: HubServer, tmp_path: Path, manifest: str | None) -> None:
    server.as_user().api().create_repo(REPO, repo_type="dataset", private=True)
    server.control("touch", repo=REPO, path="data/train.parquet", text="mine")
    if manifest is not None:
        server.control("touch", repo=REPO, path="manifest.json", text=manifest)
    before = server.state(REPO)
    for dry_run in (True, False):
        with pytest.raises(PublishError, match=r"is no profile \(data/train\.parquet"):
            push(made(tmp_path), REPO, hub=server.as_user(), dry_run=dry_run)
    assert server.state(REPO) == before


def test_what_the_owner_laid_beside_the_tables_stays(server: HubServer, tmp_path: Path) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    server.control("touch", repo=REPO, path="data/my-notes.csv", text="mine")
    server.control("touch", repo=REPO, path="data/token_ids.parquet", text="a table of a profile with tokens")
    done = push(made(tmp_path, "2.0.0", prose(11)), REPO, hub=server.as_user())
    assert done.gone == ("data/token_ids.parquet",)
    assert set(server.state(REPO)["commits"][-1]["files"]) == {".gitattributes", "data/my-notes.csv", *done.files}


def test_a_card_that_was_there_before_the_profile_stays_below_it(server: HubServer, tmp_path: Path) -> None:
    server.as_user().api().create_repo(REPO, repo_type="dataset", private=True)
    server.control("touch", repo=REPO, path="README.md", text="---\nlicense: other\n---\n# Ours\n")
    push(made(tmp_path, card=f"# one\n{END}\n"), REPO, hub=server.as_user())
    assert (locate_as(server, REPO) / "README.md").read_text() == f"# one\n{END}\n# Ours\n"


def test_a_version_in_between_fits_both_its_neighbours(server: HubServer, tmp_path: Path) -> None:
    for version, texts in (("1.0.0", TEXTS), ("1.1.1", TEXTS[1:])):
        push(made(tmp_path, version, texts), REPO, hub=server.as_user())
    with pytest.raises(VersionTooSmall, match=r"1\.1\.1 after 1\.1\.0 is a patch step"):
        push(made(tmp_path, "1.1.0", TEXTS[2:]), REPO, hub=server.as_user())
    assert push(made(tmp_path / "x", "1.1.0", TEXTS[1:]), REPO, hub=server.as_user()).previous == "1.0.0"
    with pytest.raises(PublishError, match="holds the profile 'contracts', this one is 'cooking'"):
        push(profile_of(TEXTS, tmp_path / "cooking", name="cooking", version="0.5.0"), REPO, hub=server.as_user())


def test_a_repository_that_becomes_public_on_the_way_gets_nothing(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(made(tmp_path), REPO, hub=server.as_user())
    real = pushing.check_step

    def opened(*given: object) -> object:
        server.control("set", repo=REPO, private=False)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing, "check_step", opened)
    with pytest.raises(PublishError, match="is public; say so"):
        push(made(tmp_path, "1.0.1"), REPO, hub=server.as_user())
    assert len(server.state(REPO)["tags"]) == 1


def test_a_public_repository_with_a_version_that_tells_everything_is_refused(server: HubServer, tmp_path: Path) -> None:
    """Everybody reads it already, and to go on there would be to leave it so."""
    for version in ("0.8.0", "0.9.0"):
        push(made(tmp_path, version), REPO, hub=server.as_user())
    opened = made(tmp_path, facts={"privacy": {"mode": "public-corpus"}})
    for dry_run in (True, False):
        server.control("set", repo=REPO, private=False)
        with pytest.raises(PublishError, match=r"not built for publication: 0\.8\.0 \(none\), 0\.9\.0 \(none\)\. .*in another one"):
            push(opened, REPO, hub=server.as_user(), public=True, dry_run=dry_run)
    assert set(server.state(REPO)["tags"]) == {"v0.8.0", "v0.9.0"}
    server.control("set", repo=REPO, private=True)
    assert push(opened, REPO, hub=server.as_user(), public=True).is_private


def test_a_repository_that_becomes_public_with_older_versions_gets_nothing(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(made(tmp_path, "0.9.0"), REPO, hub=server.as_user())
    real = pushing.check_step

    def opened(*given: object) -> object:
        server.control("set", repo=REPO, private=False)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing, "check_step", opened)
    with pytest.raises(PublishError, match=r"not built for publication: 0\.9\.0 \(none\)"):
        push(made(tmp_path, facts={"privacy": {"mode": "public-corpus"}}), REPO, hub=server.as_user(), public=True)
    assert len(server.state(REPO)["tags"]) == 1


def test_an_older_version_that_cannot_be_read_is_named_as_well(server: HubServer, tmp_path: Path) -> None:
    facts = {"privacy": {"mode": "public-corpus"}}
    first = push(made(tmp_path, facts=facts), REPO, hub=server.as_user(), public=True)
    commit = server.control("touch", repo=REPO, path="manifest.json", text="{}")["commit"]
    server.control("tag", repo=REPO, tag="v0.1.0", commit=commit)
    assert not first.is_private
    with pytest.raises(PublishError, match=r"not built for publication: 0\.1\.0 \(unknown\)"):
        push(made(tmp_path, "1.0.1", facts=facts), REPO, hub=server.as_user(), public=True)


@pytest.mark.parametrize("wrong", ["alice/a--b", "alice/a..b", "alice/a.", "alice/a.git", "alice/" + "x" * 92, "-alice/a"])
def test_a_name_that_no_repository_can_have_is_refused_by_a_dry_run_too(server: HubServer, tmp_path: Path, wrong: str) -> None:
    profile = made(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(PublishError, match=r"cannot be the name of a repository|is no repository"):
            push(profile, wrong, hub=server.as_user(), dry_run=dry_run)
    assert server.log() == []
