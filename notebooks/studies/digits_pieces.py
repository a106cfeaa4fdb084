"""What is each piece of the UNet for?  Take one away, train the same number of steps on the same batches, and look at
the loss on unseen digits, at the same noise levels for all.  Three seeds.
"""

from dataclasses import replace

import torch
from torch import nn

from minidiff.data import load_digits
from minidiff.diffusion import denoising_loss, sample_levels
from minidiff.models import DIGIT_PICTURES, ResBlock, Stage
from minidiff.pipelines import digits
from minidiff.tools import budget, generator_for, pick_device, seed_all, study
from minidiff.training import train

SEEDS = budget([0, 1, 2], [0, 1, 2], [0])
STEPS = budget(120, 120, 3)
LOOKS = budget([30, 60, 90, 120], [30, 60, 90, 120], [1, 3])
DEVICE = pick_device()


def blocks_of(model):
    return [m for m in model.modules() if isinstance(m, ResBlock)]


def no_residual(model):
    """Two convolutions in a row, without x +; they start as convolutions do, or nothing would come through."""
    for block in blocks_of(model):
        block.conv2.reset_parameters()
        block.skip = Nothing()


class Nothing(nn.Module):
    """Gives zeros of the shape that would be added."""

    def forward(self, x):
        return torch.zeros((), device=x.device)


def no_norm(model):
    for block in blocks_of(model):
        block.norm1 = block.norm2 = nn.Identity()
    model.last[0] = nn.Identity()


def no_time(model):
    """The blocks hear the class, and the time not at all."""
    model.time = Silence(model.time[0].in_features, model.time[2].out_features)


class Silence(nn.Module):
    def __init__(self, wide, out):
        super().__init__()
        self.out = out

    def forward(self, x):
        return x.new_zeros(len(x), self.out)


def no_wires(model):
    """What comes over the wires is zero: the way up sees only what came through the bottom."""
    def cut(stage, inputs):
        x, time, cond = inputs
        below = x.shape[1] - stage.across
        return torch.cat([x[:, :below], torch.zeros_like(x[:, below:])], 1), time, cond

    across = [model.config.widths[0]]                                         # channels of each wire, in the order of the way down
    for layer in model.down:
        across.append(layer.res.conv2.out_channels if isinstance(layer, Stage) else layer.conv.out_channels)
    for layer in model.up:
        if isinstance(layer, Stage):
            layer.across = across.pop()
            layer.register_forward_pre_hook(cut)


def no_zeros(model):
    """Every layer starts as any other: nothing is silent at first."""
    for block in blocks_of(model):
        block.conv2.reset_parameters()
        block.time.reset_parameters()
    model.last[2].reset_parameters()


WITHOUT = {"all pieces": lambda model: None, "no wires across": no_wires, "no x + in the blocks": no_residual,
           "no norm": no_norm, "no time": no_time, "no zeros at the start": no_zeros,
           "attention added": lambda model: None}


@torch.no_grad()
def loss_on(model, digits):
    """The loss (v) on the unseen digits, with the same noise and the same levels every time."""
    generator, n = generator_for(7), budget(500, 500, 20)
    t, eps = sample_levels(n, model.schedule, generator, 0.0, 1.5), torch.randn(n, 1, 32, 32, generator=generator)
    order = torch.randperm(500, generator=generator)[:n]         # the digits are sorted, and so are the levels
    x0, cond = digits.val[order].to(DEVICE), digits.digit_states(digits.val_labels[order]).to(DEVICE)
    return denoising_loss(model, x0, t.to(DEVICE), eps.to(DEVICE), model.schedule, cond).mean().item()


def main():
    digits, results = load_digits(), {name: [] for name in WITHOUT}
    for seed in SEEDS:
        for name, take_away in WITHOUT.items():
            looks = name == "attention added"
            config = replace(DIGIT_PICTURES, attention=(False, looks), middle=looks)
            training = digits.recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed, config,
                                          steps=STEPS, batch=budget(64, 64, 32), levels=(0.0, 1.5))
            training.ema = None
            seed_all(seed)
            take_away(training.model.to("cpu"))
            training.model.to(DEVICE)
            losses, times = [], [0.0]
            for state in train(training):
                times.append(state.seconds)
                if state.step in LOOKS:
                    losses.append(loss_on(training.model, digits))
            gaps = torch.tensor(times).diff()
            results[name].append({"seed": seed, "losses": losses, "seconds a step": gaps.median().item(),
                                  "parameters": sum(p.numel() for p in training.model.parameters())})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "looks": LOOKS, "batch": 64}, results)


if __name__ == "__main__":
    main()
