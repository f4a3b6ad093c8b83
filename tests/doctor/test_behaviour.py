"""What a network predicts is found by asking it, whatever its label says."""

import re

import pytest
import torch

from ldm.behaviour import SURE, check_label, decide
from ldm.behaviour.cards import cards
from ldm.checkpoints import load, weights_folder
from ldm.diffusion.denoiser import PREDICTION_TYPES, from_x0
from ldm.images import to_tensor
from ldm.models.config import RecommendedSettings
from tests.conftest import tiny_model
from tests.ui.twins import KINDS, twin

from .converted import converted, labelled

# every way that a trained model can be; an eps network cannot begin from pure noise
WAYS = [(kind, ends) for kind in PREDICTION_TYPES for ends in (True, False) if not (kind == "eps" and ends)]
MODELS = ("default", "default-draft")
BRIEF = [*(("default", *way) for way in WAYS), ("default-draft", "eps", False), ("default-draft", "v", True)]


def seldom(*cases):
    """These only among the long tests."""
    return [pytest.param(*case, marks=pytest.mark.long) for case in cases]


@pytest.fixture(scope="module", params=MODELS)
def trained(request):
    return load(weights_folder() / f"{request.param}.safetensors", device="cpu", dtype=torch.float32)


def ask(trained, kind, ends, label, says_ends):
    """A model made to predict `kind`, under a label, is what it is, and the label is contradicted or not."""
    asked = labelled(converted(trained, kind, ends), prediction_type=label, zero_terminal_snr=says_ends)
    verdict = decide(asked)
    assert (verdict.prediction_type, verdict.is_sure) == (kind, True), verdict
    assert verdict.confidence > 0.7
    assert verdict.latent_scaling_factor_ok
    assert set(verdict.scores) == set(PREDICTION_TYPES)
    assert verdict.scores[kind] < 0.6 < 0.9 < min(v for k, v in verdict.scores.items() if k != kind)
    # of eps, and of a draft that looks at any noise, it cannot be told
    distilled = trained.config.recommended.steps <= 8
    assert verdict.zero_terminal_snr == (None if kind == "eps" or distilled else ends), verdict
    said = check_label(asked, verdict)
    assert (said is None) == (label == kind and verdict.zero_terminal_snr in (None, says_ends)), said
    if label != kind:
        assert re.search(rf"predicts .*\({kind}\), not .*\({label}\)", said)
    return verdict


@pytest.mark.parametrize(
    ("trained", "kind", "ends"),
    [*BRIEF, *seldom(*(("default-draft", *way) for way in WAYS if ("default-draft", *way) not in BRIEF))],
    indirect=["trained"],
)
def test_every_way_is_told_from_the_others_and_a_wrong_label_is_flagged(trained, kind, ends):
    other = PREDICTION_TYPES[(PREDICTION_TYPES.index(kind) + 1) % 3]
    verdict = ask(trained, kind, ends, other, not ends)
    # under its own label the same would be found, which the long tests ask for
    honest = labelled(converted(trained, kind, ends), prediction_type=kind, zero_terminal_snr=ends)
    assert check_label(honest, verdict) is None


@pytest.mark.long
@pytest.mark.parametrize("says_ends", [True, False])
@pytest.mark.parametrize("label", PREDICTION_TYPES)
@pytest.mark.parametrize(("kind", "ends"), WAYS)
def test_every_way_under_every_label(trained, kind, ends, label, says_ends):
    ask(trained, kind, ends, label, says_ends)


def test_the_model_that_ships_is_what_its_label_says(trained):
    assert check_label(trained) is None


@pytest.mark.parametrize(
    ("trained", "factor"),
    [("default", 10.0), ("default-draft", 0.1), *seldom(("default", 0.1), ("default-draft", 10.0))],
    indirect=["trained"],
)
def test_a_wrong_scaling_factor_is_found(trained, factor):
    verdict = decide(labelled(trained, latent_scaling_factor=factor))
    assert verdict.prediction_type == "v" and verdict.is_sure
    assert not verdict.latent_scaling_factor_ok
    assert verdict.latent_scaling_factor == pytest.approx(1, rel=0.3)
    said = check_label(labelled(trained, latent_scaling_factor=factor), verdict)
    assert f"not times {factor:g}" in said


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("label", PREDICTION_TYPES)
def test_what_was_never_trained_cannot_be_told(seed, label):
    model = tiny_model(seed=seed, prediction_type=label)
    verdict = decide(model)
    assert verdict.confidence < SURE and not verdict.is_sure
    assert "cannot be told" in verdict.evidence[-1]
    assert check_label(model, verdict) is None


def test_a_network_that_always_says_zero_cannot_be_told():
    model = tiny_model()
    torch.nn.init.zeros_(model.model.diffusion_model.out[-1].weight)
    torch.nn.init.zeros_(model.model.diffusion_model.out[-1].bias)
    assert decide(model).confidence == 0


@pytest.mark.parametrize("kind", [kind for kind, made in KINDS.items() if "picture" in made])
def test_networks_that_read_a_picture_can_be_asked_too(kind):
    assert not decide(twin(kind)).is_sure  # it was never trained


@pytest.mark.parametrize("trained", ["default-draft"], indirect=True)
def test_asking_again_gives_the_same(trained):
    assert decide(trained) == decide(trained)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "steps"), [("eps", 600), ("v", 200), ("x0", 250)])
def test_a_small_model_trained_to_each_type_is_told(kind, steps):
    """Half a minute of training on drawn pictures that `decide` does not show."""
    model = tiny_model(recommended=RecommendedSettings(width=32, height=32), prediction_type=kind)
    with torch.no_grad():
        z = model.first_stage_model.posterior(to_tensor(cards(64, 32, 32, first=100))).mode()
        context = model.get_conditioning([""]).context.expand(16, -1, -1)
    model = labelled(model, latent_scaling_factor=float(1 / z.std()))
    z, net = z * model.latent_scaling_factor, model.model.diffusion_model.requires_grad_(True)
    optimiser, generator = (
        torch.optim.AdamW(net.parameters(), weight_decay=0),
        torch.Generator().manual_seed(0),
    )
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, step / 20) * (1 - step / steps)
        x0 = z[torch.randint(64, (16,), generator=generator)]
        t = torch.randint(1000, (16,), generator=generator)
        sigma = model.schedule.sigmas[t].float()[:, None, None, None]
        x = x0 + sigma * torch.randn(x0.shape, generator=generator)
        output = model.model(x / (1 + sigma**2) ** 0.5, t.float(), context)
        loss = (output - from_x0(x, sigma, x0, kind)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.requires_grad_(False)
    for label in PREDICTION_TYPES:
        asked = labelled(model, prediction_type=label)
        verdict = decide(asked)
        assert (verdict.prediction_type, verdict.is_sure) == (kind, True), verdict
        assert (check_label(asked, verdict) is None) == (label == kind)
