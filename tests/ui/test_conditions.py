"""What the page shows for each kind of model, and that what it asks for is drawn."""

from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ldm.engine import Engine
from ldm.errors import LdmError, SettingsError
from ldm.lora import Adapter, find_loras
from ldm.models.bert import NO_VOCABULARY
from ldm.settings import Settings
from ldm.ui import build_app, controls, names, pictures, unknown
from ldm.ui.api import generate
from ldm.ui.controls import neighbours
from ldm.ui.shared import App
from ldm.ui.tabs import prompt
from ldm.ui.tabs.denoising import branch, forward, race, run

from .benches import bench_of
from .pages import after, holding
from .twins import KINDS, twin

OWNER = "c" * 20
GUIDANCE = {"cfg_scale", "cfg_rescale", "cfg_method", "cfg_schedule"}
MUTING = {"muted_tokens", "mute_start", "mute_stop"}
STARTING = {"strength", "full_strength"}
SIZES = {"original_width", "original_height", "crop_left", "crop_top"}
RARE = {*SIZES, "aesthetic_score", "noise_level", "distilled_scale", "loras"}
NO_WORDS = {"prompt", "negative_prompt"}
GONE = {  # of each kind the fields that are not there, besides the rare ones
    "words": set(),
    "sdxl": set(),
    "bert": set(),
    "class": {"negative_prompt", *MUTING},
    "numbers": {"negative_prompt", *MUTING, *GUIDANCE},
    "boxes": {"negative_prompt", *GUIDANCE},
    "neighbours": set(),
    "nothing": {*NO_WORDS, *MUTING, *GUIDANCE},
    "low_resolution": {*NO_WORDS, *MUTING, *GUIDANCE, *STARTING},
    "upscale": STARTING,
    "palette": {*NO_WORDS, *MUTING, *GUIDANCE, *STARTING},
    "study_mask": {*NO_WORDS, *MUTING, *GUIDANCE, *STARTING},
    "signed": {*NO_WORDS, *MUTING, *GUIDANCE, *STARTING},
    "inpaint": set(),
    "edit": set(),
    "distilled": set(),
}
RARELY = {"sdxl": SIZES, "upscale": {"noise_level"}, "distilled": {"distilled_scale"}}
PROMPTS = {"class": "207", "numbers": "3", "boxes": "3 0 0 1 1", "neighbours": "@photos"}


@pytest.fixture(scope="module", autouse=True)
def own_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


ALIKE = ("sdxl", "distilled", "numbers", "edit", "upscale")
"""Kinds whose pages are put together as another's, which stands for them in all but the long tests."""


def seldom(kinds, among):
    """Kinds to try, those `among` them only in the long tests."""
    return [pytest.param(kind, marks=pytest.mark.long if kind in among else ()) for kind in kinds]


@pytest.fixture(scope="module")
def engine_of():
    """An engine over the twin of a kind, made once."""
    made = {}

    def engine(kind):
        if kind not in made:
            model = twin(kind)
            model.graphs.enabled = False  # tracing takes longer than two steps
            if kind == "neighbours":
                model.conditioner.remember("photos", torch.ones(2, 32))
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("ldm.engine.open_model", lambda *given: model)
                patched.setattr("ldm.engine.find_draft", lambda *given: None)
                made[kind] = Engine(Path("tiny.safetensors"))
        return made[kind]

    yield engine
    for each in made.values():
        each.close()


@pytest.fixture(scope="module")
def page_of(engine_of):
    """The prompt tab for a kind, its events not wired."""
    made = {}

    def page(kind):
        if kind in made:
            return made[kind]
        found = []
        with pytest.MonkeyPatch.context() as patched, gr.Blocks() as blocks:
            patched.setattr(prompt, "wire", lambda page, *more: found.append(page))
            owner, of_run, saver = gr.BrowserState(None), gr.State(None), gr.HTML()
            with gr.Tabs() as tabs:
                prompt.build(App(engine_of(kind), blocks, owner, of_run, saver, tabs))
        made[kind] = found[0]
        return made[kind]

    return page


@pytest.fixture
def given(tmp_path):
    """A picture of each kind of model, as a file."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    numbers = Image.fromarray(rng.integers(0, 4, (40, 48), dtype=np.uint8)).convert("P")
    numbers.putdata(rng.integers(0, 4, 40 * 48).tolist())
    colours.save(tmp_path / "colours.png")
    numbers.save(tmp_path / "numbers.png")
    return lambda kind: str(
        tmp_path / ("numbers.png" if kind in ("palette", "study_mask") else "colours.png")
    )


def hole():
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    return pictures.plate(Image.new("RGB", (32, 32)), mask)


def benched(bench, kind, given):
    """The same of the denoising tab."""
    held = asking(bench.app, kind, given)
    held[bench.row.prompt] = held[bench.app.asks.of["prompt"]]
    nothing = dict.fromkeys((bench.app.run, bench.shown, bench.other))
    return held | nothing | {bench.picture: 0, bench.exact: False, bench.app.owner: OWNER}


def asking(page, kind, given, **more):
    """What the page holds when it asks for something that this kind can draw."""
    app = getattr(page, "app", page)
    best = app.engine.model.config.recommended
    settings = Settings(
        PROMPTS.get(kind, "a dog"), steps=2, cfg_scale=best.cfg_scale, cfg_rescale=0, width=32, height=32
    )
    picture = given(kind) if app.engine.model.config.picture else None
    held = holding(page.asks, settings, picture, **more) | {app.owner: OWNER}
    if picture is not None and not page.asks.start.numbered:
        held[page.asks.start.paint] = hole()
    return held


def drawn(page, held):
    told = list(page.draw(held))
    return page.app.engine.trace(told[0][page.app.run])


@pytest.mark.parametrize("kind", KINDS)
def test_what_means_nothing_is_not_there(page_of, kind):
    page = page_of(kind)
    there = {name for name, widget in page.asks.of.items() if widget.visible}
    assert there.isdisjoint(GONE[kind])
    assert there & RARE == RARELY.get(kind, set())
    assert {*NO_WORDS, "cfg_scale", "muted_tokens"} - GONE[kind] <= there
    assert page.asks.fixed.keys() >= GONE[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_page_asks_for_is_drawn(page_of, given, kind):
    page = page_of(kind)
    if kind == "bert":
        with pytest.raises(SettingsError) as error:
            drawn(page, asking(page, kind, given))
        assert str(error.value) == NO_VOCABULARY
        return
    trace = drawn(page, asking(page, kind, given))
    assert [image.size for image in trace.images] == [(32, 32)]
    fixed = page.asks.fixed
    assert {name: getattr(trace.settings, name) for name in fixed} == fixed
    assert (trace.init_image is None) == (page.app.engine.model.config.picture is None)

    # and asked for once more with the same picture it is the same
    held = after(asking(page, kind, given), page.reuse_settings(told_id(page)))
    assert drawn(page, held).images[0].tobytes() == trace.images[0].tobytes()


def told_id(page):
    return page.app.engine.runs(OWNER)[0].id


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bert"])
def test_a_program_is_given_a_picture_too(engine_of, page_of, given, kind, tmp_path):
    app = page_of(kind).app
    held = generate._defaults(app) | {"prompt": PROMPTS.get(kind, "a dog"), "steps": 2}
    if app.engine.model.config.picture is not None:
        held["init_image"] = given(kind)
    if kind == "signed":
        with pytest.raises(SettingsError, match=r"^tiny signed paints a hole .*; there is no mask\.$"):
            next(generate._generate(app, dict(held)))
        Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
        held["mask"] = str(tmp_path / "mask.png")
    *_, (made, seed, _, said) = generate._generate(app, held)
    assert (len(made), seed, said) == (1, 0, "")


@pytest.mark.parametrize("kind", seldom([kind for kind in KINDS if kind != "bert"], ALIKE))
def test_the_denoising_tab_draws_it_too(engine_of, given, kind):
    running = run.Running(bench_of(engine_of(kind), branch, "Branch").bench)
    bench, page = running.bench, running.app
    held = benched(bench, kind, given)
    told = list(running.run(held))
    run_id = next(each[page.run] for each in told if page.run in each)
    assert engine_of(kind).trace(run_id).finished
    assert running.note(held | {page.asks.of["prompt"]: ""}) == "Everything else as on the first tab."


@pytest.mark.parametrize("kind", seldom(["low_resolution", "palette", "edit", "signed"], ALIKE))
def test_a_race_shows_every_runner_the_picture(engine_of, given, kind):
    tool = bench_of(engine_of(kind), race, "Race")
    held = benched(tool.bench, kind, given)
    held |= {tool.samplers: ["euler"], tool.spacings: ["trailing"], tool.steps: 4, tool.ran: ()}
    *_, last = tool.race(held)
    assert (len(last[tool.board]["runs"]), last[tool.board]["said"]) == (1, "")


@pytest.mark.parametrize("kind", seldom(["class", "boxes", "study_mask", "upscale", "signed"], ALIKE))
def test_the_whole_page_builds(engine_of, kind):
    page = build_app(engine_of(kind))
    ids = [getattr(block, "elem_id", None) for block in page.blocks.values()]
    ids = [each for each in ids if each]
    assert len(ids) == len(set(ids))
    titles = [block.label for block in page.blocks.values() if isinstance(block, gr.Tab)]
    assert (forward.TITLE in titles) == (kind not in ("study_mask", "upscale"))


# words that are not read


def test_the_line_under_the_prompt_says_what_is_cut_off_and_what_cannot_be_read(engine_of):
    def said(kind, text):
        return "".join(piece["text"] for piece in unknown.found(text, engine_of(kind).model))

    assert said("words", "a dog " * 60).startswith('The model does not read the end of the prompt, from "')
    assert said("words", "a dog") == ""
    assert said("bert", "a dog") == NO_VOCABULARY
    assert said("boxes", "3 0 0 1") == (
        "Box 1, '3 0 0 1', must be a class and four numbers: left, top, right, bottom."
    )
    boxes = "; ".join(f"{i} 0 0 1 1" for i in range(5))
    assert said("boxes", boxes) == (
        'The model does not read the end of the prompt, from "3 0 0 1 1; 4 0 0 1 1" on.'
    )
    assert "2000" in said("class", "2000")


def test_a_program_hears_of_what_is_cut_off(page_of):
    app = page_of("words").app
    held = generate._defaults(app) | {"prompt": "a dog " * 60, "negative_prompt": "a cat " * 60, "steps": 1}
    *_, (_, _, _, said) = generate._generate(app, held)
    assert said.count("does not read the end of the") == 2
    assert "negative prompt" in said


# classes


def test_classes_are_found_by_name_and_asked_for_by_number(page_of, engine_of):
    menu = page_of("class").asks.of["prompt"]
    assert isinstance(menu, gr.Dropdown)
    assert (len(menu.choices), menu.value, menu.filterable) == (1000, "golden retriever (207)", True)
    assert menu.choices[1] == ("goldfish (1)", "goldfish (1)")
    assert page_of("numbers").asks.of["prompt"].choices[3] == ("3", "3")


@pytest.mark.parametrize(
    ("asked", "held"), [("1", "goldfish (1)"), ("Goldfish", "goldfish (1)"), ("a dog", None), ("1000", None)]
)
def test_a_class_that_comes_back_is_one_of_the_menu(page_of, asked, held):
    page = page_of("class")
    assert page.asks.write(Settings(asked))[page.asks.of["prompt"]]["value"] == held


def test_names_of_classes_can_be_dropped_in(engine_of, tmp_path):
    (tmp_path / "names.txt").write_text("nothing\nsky\n")
    found = names.read_names(tmp_path / "names.txt", 12)
    model = engine_of("numbers").model
    choices = controls.prompt.classes(model, found)
    assert choices[:3] == [("nothing (0)", "0"), ("sky (1)", "1"), ("2", "2")]


def test_a_class_that_nobody_chose_is_asked_for(page_of, given):
    page = page_of("class")
    with pytest.raises(SettingsError, match="prompt must say what to draw"):
        drawn(page, asking(page, "class", given, prompt=None))


# lists of names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sky\nsea\n\n", {0: "sky", 1: "sea"}),
        ("\ufeffsky\r\n\r\nsea", {0: "sky", 2: "sea"}),
        ("# classes\n3 golden retriever\n1: sky", {1: "sky", 3: "golden retriever"}),
        ('3,"dog"\n0,cat', {0: "cat", 3: "dog"}),
        ('["sky", "sea"]', {0: "sky", 1: "sea"}),
        ('{"2": "sky"}', {2: "sky"}),
        ("x" * 99, {0: "x" * 60}),
    ],
)
def test_a_list_of_names_is_lines_or_numbers_with_names_or_json(tmp_path, text, found):
    (tmp_path / "n.txt").write_bytes(text.encode())
    assert names.read_names(tmp_path / "n.txt", 4) == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "n.txt is no text; a list of names has one on each line."),
        (b" \n\n", "n.txt has no names in it; a list has one on each line."),
        (b"7 sky", "n.txt names class 7; this model has classes 0 to 3."),
        (b"x" * (2**20 + 1), "n.txt is larger than 1 MB, too large for a list of names."),
    ],
)
def test_a_list_that_is_none_is_a_sentence(tmp_path, content, said):
    (tmp_path / "n.txt").write_bytes(content)
    with pytest.raises(LdmError) as error:
        names.read_names(tmp_path / "n.txt", 4)
    assert str(error.value) == said


# pictures of class numbers


def test_a_picture_of_numbers_keeps_them(page_of, given):
    page = page_of("palette")
    start, path = page.asks.start, given("palette")
    plate = start.laid_out(path, 32, 32)
    assert (plate["width"], plate["height"], plate["classes"]) == (32, 32, 6)
    image, mask = start.read({start.file: path, start.paint: plate}, Settings("?", width=32, height=32))
    assert (image.mode, mask) == ("L", None)
    with Image.open(path) as original:
        assert np.array_equal(np.asarray(image), np.asarray(original))


def test_what_was_painted_comes_before_the_file(page_of, given):
    page = page_of("palette")
    start = page.asks.start
    painted = Image.new("L", (32, 32), 5)
    plate = pictures.numbers_plate(painted, 6) | {"own": True}
    settings = Settings("?", width=64, height=32)
    image, _ = start.read({start.file: given("palette"), start.paint: plate}, settings)
    assert (image.size, image.getextrema()) == ((64, 32), (5, 5))
    larger = start.resized(given("palette"), plate, 64, 32)
    assert (larger["width"], larger["own"]) == (64, True)


def test_nothing_painted_and_no_file_is_a_sentence(page_of, given):
    page = page_of("palette")
    held = asking(page, "palette", given) | {page.asks.start.file: None}
    held[page.asks.start.paint] = page.asks.start.empty(32, 32)
    with pytest.raises(SettingsError, match="draws after a picture of class numbers and needs one"):
        drawn(page, held)


def test_colours_are_no_class_numbers(page_of, given):
    start = page_of("study_mask").asks.start
    with pytest.raises(LdmError) as error:
        start.laid_out(given("words"), 32, 32)
    assert str(error.value) == (
        "colours.png holds colours; class numbers are a picture with a palette (P) or in grey (L)."
    )
    assert start.classes == 6


def test_names_stay_beside_a_new_picture(page_of, given):
    page = page_of("palette")
    start, held = page.asks.start, asking(page, "palette", given)
    held[start.paint] = start.empty(32, 32) | {"names": {"1": "sky"}}
    assert page.asks.take(held, given("palette"))[start.paint]["names"] == {"1": "sky"}
    assert page.asks.take(held, None)[start.paint] == {
        "numbers": None, "width": 32, "height": 32, "classes": 6, "names": {"1": "sky"},
    }  # fmt: skip


# pictures that are looked at


def test_a_small_picture_is_shown_as_it_is_read(page_of, given):
    start = page_of("low_resolution").asks.start
    plate = start.laid_out(given("low_resolution"), 64, 32)
    assert (plate["width"], plate["height"]) == (16, 8)
    assert plate["only"] == "The model reads it like this, at 16 x 8 pixels."
    assert start.note.value == "Of any size; it is read at 8 x 8 pixels and drawn 4 times as large."
    assert start.said({"width": "", "height": 32}) == ""


def test_a_picture_to_paint_anew_needs_the_paint(page_of, given):
    page = page_of("signed")
    held = asking(page, "signed", given) | {page.asks.start.paint: None}
    with pytest.raises(SettingsError) as error:
        drawn(page, held)
    assert str(error.value) == (
        "tiny signed paints part of a picture anew: give it a picture, and paint over that part of it."
    )


# neighbours


def test_neighbours_are_remembered_under_a_name_that_nobody_guesses(engine_of, tmp_path):
    model = engine_of("neighbours").model
    np.save(tmp_path / "my cats.npy", np.ones((3, 32), np.float32))
    first, second = (neighbours.remembered(model, tmp_path / "my cats.npy") for _ in range(2))
    assert first != second
    assert first.startswith("my-cats-")
    model.conditioner.check(neighbours.with_name("@old", first))
    assert neighbours.with_name("a cat @old", first) == f"a cat @{first}"


def test_loras_are_listed_where_there_are_some(tmp_path):
    model = twin("words")
    part = "lora_unet_input_blocks_1_1_proj_in"
    tensors = {f"{part}.lora_up.weight": torch.zeros(4, 2), f"{part}.lora_down.weight": torch.zeros(2, 4)}
    save_file(tensors, tmp_path / "ink.safetensors")
    model.adapter = Adapter(model, lambda: find_loras(tmp_path))
    with gr.Blocks():
        asks = controls.settings(model, controls.prompts(model))
    assert asks.of["loras"].visible
    assert asks.notes["loras"].value == "In the folder: `ink`."
    held = holding(asks, Settings("a dog"), loras="ink:0.5")
    assert asks.read(held).loras == (("ink", 0.5),)


def test_only_so_many_neighbours_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_KEPT", 2)
    model = twin("neighbours")
    np.save(tmp_path / "x.npy", np.ones((1, 32), np.float32))
    made = [neighbours.remembered(model, tmp_path / "x.npy") for _ in range(3)]
    assert model.conditioner.remembered == tuple(made[1:])


def test_a_file_that_holds_no_neighbours_is_a_sentence(engine_of, tmp_path):
    model = engine_of("neighbours").model
    (tmp_path / "x.npy").write_bytes(b"no")
    np.save(tmp_path / "wide.npy", np.ones((2, 5), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name, said in (
        ("x.npy", r"x\.npy is damaged, or no file of numbers\."),
        ("objects.npy", r"objects\.npy is damaged, or no file of numbers\."),
        ("wide.npy", "must hold 1 to 4 embeddings of 32 numbers, got 2 x 5"),
    ):
        with pytest.raises(LdmError, match=said):
            neighbours.remembered(model, tmp_path / name)
