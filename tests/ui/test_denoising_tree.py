"""The runs of a browser as a tree, their names, and two of them side by side."""

import threading
from dataclasses import replace

import pytest

from ldm.engine import Run
from ldm.errors import LdmError, SettingsError
from ldm.latent_diffusion import FULL_DECODER
from ldm.settings import Settings
from ldm.ui.scrubber import Shown
from ldm.ui.tabs.denoising import branch, compare, family, pair
from ldm.ui.tabs.denoising.compare import Compare
from ldm.ui.tabs.denoising.progress import Background, report
from ldm.ui.tabs.denoising.tree import Tree

from ..traces import make_trace
from .benches import bench_of, event
from .test_denoising_run import whole

S = Settings("a red apple", steps=4, width=64, height=64, seed=3)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture(scope="module")
def tree(engine):
    return Tree(bench_of(engine, branch, "Branch").bench)


@pytest.fixture
def owner(request):
    return f"{request.node.name:-<20}"[:60]


def made(engine, owner, settings=S, **fork):
    run_id = engine.fork(settings=settings, owner=owner, **fork) if fork else engine.start(settings, owner)
    return list(engine.follow(run_id))[-1]


def test_branches_hang_on_their_parents_and_say_what_changed():
    tiles = [
        Run("d", replace(S, prompt="a blue dog"), parent=("b", 3)),
        Run("c", S, parent=("a", 2)),
        Run("b", replace(S, cfg_scale=7.0, eta=0.5), parent=("a", 1)),
        Run("new", S, "paused", step=2),
        Run("lost", S, parent=("nobody", 0)),
        Run("a", S, name="first"),
    ]
    told = family.tree(tiles, "b", None)
    assert [each["run"] for each in told["roots"]] == ["new", "lost", "a"]
    a = told["roots"][2]
    assert [each["run"] for each in a["branches"]] == ["b", "c"]
    assert a["title"] == "first"
    assert a["branches"][0]["said"] == "from step 2: cfg_scale 3 → 7, eta its own → 0.5"
    assert a["branches"][1]["said"] == "from step 3: nothing changed"
    assert a["branches"][0]["branches"][0]["said"].startswith("from step 4: prompt red apple → blue dog")
    assert told["roots"][0]["state"] == "paused after step 2 of 4"
    assert told["roots"][1]["said"] == "from step 1 of a run that is gone"


def test_a_branch_off_a_step_that_its_parent_shares_says_what_changed_since_that_step_was_made():
    strong = replace(S, cfg_scale=7.0)
    first = Run("a", S)
    later = Run("b", strong, parent=("a", 3))  # steps 1 to 3 are those of a
    runs = {run.id: run for run in (first, later)}
    assert family.said(Run("c", strong, parent=("b", 1)), runs) == "from step 2: cfg_scale 3 → 7"
    assert family.said(Run("c", strong, parent=("b", 3)), runs) == "from step 4: nothing changed"
    del runs["a"]
    assert family.said(Run("c", strong, parent=("b", 1)), runs) == "from step 2 of a run that is gone"


def test_words_that_are_muted_are_named():
    tokens = ("<start>", "a</w>", "red</w>", "apple</w>")
    muted = replace(S, muted_tokens=(2, 3), mute_start=0.1)
    assert family.changes(S, muted, tokens) == ["without “red apple” for a while"]
    assert family.changes(S, muted) == ["other words muted"]


def test_no_two_runs_are_called_the_same():
    names = family.names([Run("b", S), Run("a", S), Run("c", replace(S, seed=4))])
    assert [key for _, key in names] == ["b", "a", "c"]
    assert len({name for name, _ in names}) == 3


def test_a_run_is_named_and_deleted_by_its_owner_alone(tree, engine, owner):
    run = made(engine, owner)
    told = tree.rename(owner, None, None, event(run=run.id, name=" the  first\n"))
    assert told["roots"][0]["title"] == "the first"
    with pytest.raises(LdmError, match="somebody else's"):
        tree.rename("x" * 20, None, None, event(run=run.id, name="mine"))
    with pytest.raises(LdmError, match="somebody else's"):
        list(tree.delete("x" * 20, None, None, None, event(run=run.id)))
    with pytest.raises(SettingsError, match="at most 80 letters"):
        tree.rename(owner, None, None, event(run=run.id, name="x" * 81))
    shown = Shown(run.id, 4)
    [told] = tree.delete(owner, run.id, shown, None, event(run=run.id))
    bench = tree.bench
    assert told[bench.tree]["roots"] == []
    assert (told[bench.player], told[bench.shown], told[bench.app.run]) == (None, None, None)
    with pytest.raises(LdmError, match="not kept"):
        engine.trace(run.id)


def test_a_run_of_the_tree_is_looked_at(tree, engine, owner):
    run = made(engine, owner)
    told = list(tree.bench.look(owner, None, None, 0, False, event(run=run.id)))
    assert whole(told[-1][tree.bench.player]["run"])["steps"] == 4
    with pytest.raises(LdmError, match="not kept"):
        list(tree.bench.look(owner, None, None, 0, False, event(run="nobody's")))


def test_two_runs_side_by_side_and_alone_again(tree, engine, owner):
    bench = tree.bench
    first, second = made(engine, owner), made(engine, owner, replace(S, seed=9))
    shown = Shown(second.id, 4)
    told = list(tree.beside(owner, shown, None, 0, False, event(run=first.id)))[-1]
    other = whole(told[bench.player]["other"])
    assert (other["title"], told[bench.other].run_id) == ("The other run", first.id)
    assert other["parts_at"].startswith("They part at step 1: the latents that go in differ by up to")
    assert other["moved"]["mean"] > 0
    told = list(tree.beside(owner, shown, told[bench.other], 0, False, event(run=first.id)))[-1]
    assert (told[bench.player]["other"], told[bench.other]) == (None, None)


def test_what_cannot_be_compared_is_a_sentence(tree, engine, owner):
    first, wide = made(engine, owner), made(engine, owner, replace(S, width=128))
    with pytest.raises(SettingsError, match="one size can be compared: 64 x 64 and 128 x 64"):
        list(compare.comparison(tree.bench, wide.id, Shown(first.id, 4), 0, False))
    with pytest.raises(SettingsError, match="no run in the player"):
        list(compare.comparison(tree.bench, wide.id, None, 0, False))
    # another run in the player gives up what it cannot be compared with
    found = tree.bench.look(owner, Shown(first.id, 4), Shown(first.id, 4), 0, False, event(run=wide.id))
    told = list(found)[-1]
    assert (told[tree.bench.player]["other"], told[tree.bench.other]) == (None, None)


def test_the_choice_offers_the_other_runs(tree, engine, owner):
    first, second = made(engine, owner), made(engine, owner)
    choice, off = Compare(tree.bench).offer(owner, Shown(second.id, 4), Shown(first.id, 4))
    assert [key for _, key in choice["choices"]] == [first.id]
    assert (choice["value"], off["interactive"]) == (first.id, True)


def test_where_two_runs_part_in_words():
    a = make_trace()
    assert pair.parts_at(a, a) == f"They never part: all {len(a.steps)} steps are the same, bit for bit."
    shorter = replace(a, steps=a.steps[:1])
    assert pair.parts_at(a, shorter) == "The first step is the same, bit for bit. This run has more."
    later = replace(a, steps=(a.steps[0], *(replace(s, x_next=s.x_next + 1) for s in a.steps[1:])))
    said = pair.parts_at(a, later)
    assert said.startswith("They part at step 2: the latents that come out differ by up to ")
    assert said.endswith("Before it they are the same, bit for bit.")


def test_every_step_is_decoded_with_progress(tree, engine, owner):
    bench, run = tree.bench, made(engine, owner)
    told = list(bench.show(run.id, None, None, 0, True))
    lines = [each[bench.player]["live"]["line"] for each in told if (each[bench.player] or {}).get("live")]
    assert lines[0].startswith("Decoded 0 of 16 pictures")
    assert lines[-1] == "Decoded 16 of 16 pictures with the autoencoder."
    assert whole(told[-1][bench.player]["run"])["lanes"][0]["how"].endswith(f"decoded by {FULL_DECODER}")
    assert told[-1][bench.shown].exact is True


def test_decoding_ends_when_another_run_is_looked_at(tree, engine, owner):
    bench, run = tree.bench, made(engine, owner)
    showing = bench.show(run.id, None, None, 0, True)
    while "live" not in (next(showing).get(bench.player) or {}):
        pass
    list(bench.show(made(engine, owner).id, None, None, 0, False))
    assert [each for each in showing if bench.shown in each] == []


def test_work_that_nobody_waits_for_ends():
    ended = threading.Event()

    def work():
        try:
            while True:
                report.get()(1)
                yield "a piece"
        finally:
            ended.set()

    following = Background(work).follow()
    next(following)
    following.close()
    assert ended.wait(10)


def test_what_breaks_in_the_work_is_raised_where_it_is_waited_for():
    def work():
        yield 1
        raise SettingsError("broken")

    following = Background(work).follow()
    assert next(following) == 1
    with pytest.raises(SettingsError, match="broken"):
        next(following)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("a red apple on a table", "a green pear on a table", "prompt red apple → green pear"),
        ("an apple", "an apple on a table", "prompt none → on a table"),
        ("an apple an apple", "an apple", "prompt an apple → none"),
        ("apple", "x" * 60, f"prompt apple → {'x' * 39}…"),
    ],
)
def test_of_a_prompt_only_the_words_that_differ_are_told(before, after, said):
    assert family.changes(replace(S, prompt=before), replace(S, prompt=after)) == [said]
