"""One trained model as if it had been trained to predict something else, exactly and without training."""

import copy
from dataclasses import replace

from torch import nn

from ldm.diffusion.denoiser import from_x0, to_x0
from ldm.diffusion.schedule import build_schedule


class Converted(nn.Module):
    """A network that answers as another would: its x0, said in another way, at another schedule's times."""

    def __init__(self, inner, schedule, kind, told, says):
        super().__init__()
        self.inner, self.schedule, self.kind, self.told, self.says = inner, schedule, kind, told, says
        self.config, self.dtype = inner.config, inner.dtype

    def forward(self, x, t, context=None, y=None, record=False, heard=None):
        sigma = float(self.told.sigmas[int(t[0])])
        output = self.inner(x, t * 0 + self.schedule.timestep(sigma), context, y)
        sigma = min(sigma, float(self.schedule.sigmas[-1]))
        noisy = x.double() * (1 + sigma**2) ** 0.5
        return from_x0(noisy, sigma, to_x0(noisy, sigma, output.double(), self.kind), self.says).to(x)


def converted(model, says, ends_in_noise):
    """`model` predicting `says` on a schedule that ends in pure noise or not; its label says the same."""
    made, wrapper = copy.copy(model), copy.copy(model.model)
    made._modules, wrapper._modules = dict(model._modules), dict(model.model._modules)
    schedule = replace(model.config.schedule, zero_terminal_snr=ends_in_noise)
    made.schedule = build_schedule(**vars(schedule))
    network = model.model.diffusion_model
    wrapper.diffusion_model = Converted(network, model.schedule, model.prediction_type, made.schedule, says)
    made.model, made.config = wrapper, replace(model.config, prediction_type=says, schedule=schedule)
    return made


def labelled(model, **label):
    """The same model with another label: fields of its config, or `zero_terminal_snr`."""
    made, config = copy.copy(model), model.config
    if "zero_terminal_snr" in label:
        schedule = replace(config.schedule, zero_terminal_snr=label.pop("zero_terminal_snr"))
        config, made.schedule = replace(config, schedule=schedule), build_schedule(**vars(schedule))
    made.config = replace(config, **label)
    return made
