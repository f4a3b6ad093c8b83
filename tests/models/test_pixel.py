"""labml's DDPM U-Net and NCSN's score network, computed again slowly from their weights."""

import math

import pytest
import torch
import torch.nn.functional as F

from ldm.diffusion.denoiser import to_x0
from ldm.diffusion.schedule import build_schedule
from ldm.models.ddpm import DDPMUNet
from ldm.models.ncsn import ScoreNet
from ldm.models.pixel_config import DDPMUNetConfig, ScoreNetConfig

DDPM = DDPMUNetConfig(n_channels=32, ch_mults=(1, 2), is_attn=(False, True), n_blocks=1)
NCSN = ScoreNetConfig(ngf=8, num_classes=10, image_size=16)


def randomised(net):
    """With weights that no symmetry of the first ones hides."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.3 / math.sqrt(max(1, parameter[0].numel())))
        parameter.data += 0.5 if parameter.ndim == 1 else 0.0
    return net.double().eval().requires_grad_(False)


class Weights:
    """A state dict, and the layers of torch as plain functions of it."""

    def __init__(self, net):
        self.w = net.state_dict()

    def conv(self, name, x, **options):
        return F.conv2d(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"), **options)

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, x, groups):
        parts = x.unflatten(1, (groups, -1))
        mean = parts.mean((2, 3, 4), keepdim=True)
        var = parts.var((2, 3, 4), keepdim=True, unbiased=False)
        flat = ((parts - mean) / (var + 1e-5).sqrt()).flatten(1, 2)
        weight, bias = (self.w[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return flat * weight + bias


def swish(x):
    return x * torch.sigmoid(x)


class SlowDDPM(Weights):
    """One block a level, two levels: every line of the original written out."""

    def time(self, t, channels):
        half = channels // 8
        rates = [math.exp(-math.log(10_000) / (half - 1) * i) for i in range(half)]
        rows = [[f(float(s) * r) for f in (math.sin, math.cos) for r in rates] for s in t]
        waves = torch.tensor(rows, dtype=torch.float32).double()
        return self.linear("time_emb.lin2", swish(self.linear("time_emb.lin1", waves)))

    def res(self, name, x, emb):
        h = self.conv(f"{name}.conv1", swish(self.norm(f"{name}.norm1", x, 32)), padding=1)
        h = h + self.linear(f"{name}.time_emb", swish(emb))[:, :, None, None]
        h = self.conv(f"{name}.conv2", swish(self.norm(f"{name}.norm2", h, 32)), padding=1)
        return h + (self.conv(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in self.w else x)

    def attention(self, name, x):
        b, c, height, width = x.shape
        rows = x.view(b, c, -1).permute(0, 2, 1)
        q, k, v = self.linear(f"{name}.projection", rows).chunk(3, dim=-1)
        weights = torch.einsum("bic,bjc->bij", q, k).mul(c**-0.5).softmax(dim=2)
        rows = self.linear(f"{name}.output", torch.einsum("bij,bjc->bic", weights, v)) + rows
        return rows.permute(0, 2, 1).reshape(b, c, height, width)

    def __call__(self, x, t):
        emb = self.time(t, 4 * DDPM.n_channels)
        a = self.conv("image_proj", x, padding=1)
        b = self.res("down.0.res", a, emb)
        c = self.conv("down.1.conv", b, padding=1, stride=2)
        d = self.attention("down.2.attn", self.res("down.2.res", c, emb))
        h = self.res("middle.res1", d, emb)
        h = self.res("middle.res2", self.attention("middle.attn", h), emb)
        for number, skip in enumerate((d, c)):
            h = self.res(f"up.{number}.res", torch.cat([h, skip], 1), emb)
            h = self.attention(f"up.{number}.attn", h)
        h = F.conv_transpose2d(h, self.w["up.2.conv.weight"], self.w["up.2.conv.bias"], stride=2, padding=1)
        for number, skip in ((3, b), (4, a)):
            h = self.res(f"up.{number}.res", torch.cat([h, skip], 1), emb)
        return self.conv("final", swish(self.norm("norm", h, 8)), padding=1)


def test_the_ddpm_unet_is_labml_s():
    net = randomised(DDPMUNet(DDPM))
    x, t = torch.randn(2, 3, 8, 6, dtype=torch.float64), torch.tensor([3, 977])
    ours = net(x, t)
    torch.testing.assert_close(ours, SlowDDPM(net)(x, t), rtol=1e-6, atol=1e-6)
    again, maps = net(x, t, torch.zeros(2, 0, 0), record=True)
    assert torch.equal(again, ours)
    assert maps == ()
    assert net.cross_attentions() == {}
    assert list(net.heads(x, t, torch.zeros(2, 0, 0))) == []


def test_the_ddpm_unet_s_widths_multiply_from_level_to_level():
    with torch.device("meta"):
        net = DDPMUNet(DDPMUNetConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes["time_emb.lin1.weight"] == (256, 64)
    assert shapes["down.10.res.conv2.weight"] == (1024, 1024, 3, 3)  # 64 * 1 * 2 * 2 * 4
    assert shapes["down.10.attn.projection.weight"] == (3072, 1024)
    assert shapes["up.2.res.conv1.weight"] == (256, 1280, 3, 3)
    assert shapes["up.3.conv.weight"] == (256, 256, 4, 4)
    assert shapes["norm.weight"] == (64,)
    assert len(net.down) == 4 * 2 + 3
    assert len(net.up) == 4 * 3 + 3


class SlowNCSN(Weights):
    """The original's forward, with its names, written out for one picture and one level at a time."""

    def plus(self, name, x, y):
        means = x.mean((2, 3))
        scaled = (means - means.mean(-1, keepdim=True)) / (means.var(-1, keepdim=True) + 1e-5).sqrt()
        centred = x - means[..., None, None]
        h = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        gamma, alpha, beta = self.w[f"{name}.embed.weight"][y].view(3, 1, -1, 1, 1)
        return gamma * (h + scaled[..., None, None] * alpha) + beta

    def wide(self, name, x, dilation=1):
        return self.conv(name, x, padding=dilation, dilation=dilation)

    def pooled(self, x):
        return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4

    def block(self, name, x, y, dilation=1, halves=False):
        h = self.wide(f"{name}.conv1", F.elu(self.plus(f"{name}.normalize1", x, y)), dilation)
        h = F.elu(self.plus(f"{name}.normalize2", h, y))
        if halves:
            around = self.pooled(self.conv(f"{name}.shortcut.conv", x))
            return self.pooled(self.wide(f"{name}.conv2.conv", h)) + around
        around = self.wide(f"{name}.shortcut", x, dilation) if f"{name}.shortcut.weight" in self.w else x
        return self.wide(f"{name}.conv2", h, dilation) + around

    def units(self, name, x, y, count):
        for i in range(1, count + 1):
            h = x
            for j in (1, 2):
                h = F.elu(self.plus(f"{name}.{i}_{j}_norm", h, y))
                h = self.wide(f"{name}.{i}_{j}_conv", h)
            x = h + x
        return x

    def refine(self, name, xs, y, last=1):
        hs = [self.units(f"{name}.adapt_convs.{i}", x, y, 2) for i, x in enumerate(xs)]
        h = hs[0]
        if len(hs) > 1:
            h = 0
            for i, part in enumerate(hs):
                part = self.wide(f"{name}.msf.convs.{i}", self.plus(f"{name}.msf.norms.{i}", part, y))
                h = h + F.interpolate(part, size=xs[0].shape[2:], mode="bilinear", align_corners=True)
        x = path = F.elu(h)
        for i in range(2):
            path = F.avg_pool2d(self.plus(f"{name}.crp.norms.{i}", path, y), 5, 1, 2)
            path = self.wide(f"{name}.crp.convs.{i}", path)
            x = path + x
        return self.units(f"{name}.output_convs", x, y, last)

    def __call__(self, x, y):
        h = self.wide("begin_conv", 2 * x - 1)
        one = self.block("res1.1", self.block("res1.0", h, y), y)
        two = self.block("res2.1", self.block("res2.0", one, y, halves=True), y)
        three = self.block("res3.1", self.block("res3.0", two, y, 2), y, 2)
        four = self.block("res4.1", self.block("res4.0", three, y, 4), y, 4)
        h = self.refine("refine1", [four], y)
        h = self.refine("refine2", [three, h], y)
        h = self.refine("refine3", [two, h], y)
        h = self.refine("refine4", [one, h], y, last=3)
        return self.wide("end_conv", F.elu(self.plus("normalizer", h, y)))


def test_the_score_network_is_the_original_s():
    net = randomised(ScoreNet(NCSN))
    assert net.config.downsamplings == 1  # dilated blocks keep their size
    pictures, labels = torch.rand(2, 3, 12, 10, dtype=torch.float64), torch.tensor([0, 7])
    slow = SlowNCSN(net)
    expected = torch.cat([slow(pictures[i : i + 1], int(labels[i])) for i in range(2)])
    torch.testing.assert_close(net.score(pictures, labels), expected, rtol=1e-9, atol=1e-9)


def test_the_score_network_has_the_original_s_names():
    with torch.device("meta"):
        net = ScoreNet(ScoreNetConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes["res2.0.conv2.conv.weight"] == (256, 128, 3, 3)
    assert shapes["res2.0.shortcut.conv.weight"] == (256, 128, 1, 1)
    assert shapes["res3.0.shortcut.weight"] == (256, 256, 3, 3)
    assert "res3.1.shortcut.weight" not in shapes
    assert shapes["normalizer.embed.weight"] == (10, 384)
    assert shapes["refine3.msf.convs.0.weight"] == (128, 256, 3, 3)
    assert shapes["refine4.output_convs.3_2_conv.weight"] == (128, 128, 3, 3)
    assert not any(name.startswith("refine1.msf") for name in shapes)


class Gaussian(ScoreNet):
    """Its score is a formula: pictures in [0, 1] are one colour, 0.7, but for a spread of 0.1."""

    def score(self, pictures, labels):
        level = (self.config.num_classes - 1 - labels).double()
        sigma = self.sigma(level)[:, None, None, None]
        return -(pictures - 0.7) / (0.1**2 + sigma**2)


@pytest.mark.parametrize("t", [0, 4, 9])
def test_a_known_score_gives_the_right_clean_picture(t):
    net = Gaussian(ScoreNetConfig(ngf=2))
    torch.manual_seed(0)
    sigma = 2 * 0.01 * (1 / 0.01) ** (t / 9)  # of pictures in [-1, 1]
    x0 = 0.4 + 0.2 * torch.randn(1, 3, 4, 4, dtype=torch.float64)
    x = x0 + sigma * torch.randn(1, 3, 4, 4, dtype=torch.float64)
    eps = net(x / math.sqrt(1 + sigma**2), torch.tensor([t]))
    mean, variance = 0.4, 0.2**2  # 2 * 0.7 - 1 and twice the spread
    expected = (mean * sigma**2 + x * variance) / (variance + sigma**2)
    torch.testing.assert_close(to_x0(x, sigma, eps, "eps"), expected, rtol=1e-4, atol=1e-5)


def test_levels_are_counted_from_the_least_noise():
    asked = []

    class Listening(ScoreNet):
        def score(self, pictures, labels):
            asked.append((labels.tolist(), pictures))
            return torch.zeros_like(pictures)

    net = Listening(ScoreNetConfig(ngf=2))
    t = torch.tensor([0.0, 3.4, 9.0, 12.0])
    net(torch.ones(4, 3, 2, 2), t)
    assert asked[0][0] == [9, 6, 0, 0]
    torch.testing.assert_close(net.sigma(t[:3]), torch.tensor([0.01, 0.01 * 100 ** (3.4 / 9), 1.0]))


def test_the_schedule_has_the_network_s_levels():
    config = ScoreNetConfig(ngf=2, num_classes=7, sigma_begin=3.0, sigma_end=0.05)
    start, end = 2 * config.sigma_end, 2 * config.sigma_begin
    schedule = build_schedule(n_steps=7, betas="geometric", linear_start=start, linear_end=end)
    ours = 2 * ScoreNet(config).sigma(torch.arange(7))
    torch.testing.assert_close(ours.double(), schedule.sigmas, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["ddpm", "ncsn"])
def test_heads_are_asked_for_as_of_any_network_and_there_are_none(name):
    from ldm.models.build import build_network
    from ldm.models.pixel_config import DDPMUNetConfig, ScoreNetConfig

    config = DDPMUNetConfig(n_channels=32, ch_mults=(1, 2), is_attn=(False, True), n_blocks=1)
    net = build_network(config if name == "ddpm" else ScoreNetConfig(ngf=8))
    x, t, context = torch.zeros(1, 3, 8, 8), torch.zeros(1), torch.zeros(1, 0, 0)
    assert list(net.heads(x, t, context, None, None)) == [] and net.cross_attentions() == {}
