"""What is each piece of the UNet for?  Take one away, train the same number of steps on the same batches, and look at
the loss on unseen digits, at the same noise levels for all.  Three seeds.
"""

import sys
from dataclasses import replace

import torch
from common import DEVICE, SEEDS, loss_on, parameters
from torch import nn

from minidiff.data import load_digits
from minidiff.models import DIGIT_PICTURES, ResBlock, Stage, UNet
from minidiff.pipelines.digits import recipe as digits_recipe
from minidiff.tools import budget, study
from minidiff.training import train

STEPS = budget(120, 120, 3)
LOOKS = budget([30, 60, 90, 120], [30, 60, 90, 120], [1, 3])


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


def no_skips(model):
    """What comes over the skip connections is zero: the way up sees only what came through the bottom."""
    def cut(stage, inputs):
        x, time, cond = inputs
        below = x.shape[1] - stage.across
        return torch.cat([x[:, :below], torch.zeros_like(x[:, below:])], 1), time, cond

    across = [model.config.widths[0]]                            # channels of each skip, in the order of the way down
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


WITHOUT = {"all pieces": lambda model: None, "no skip connections": no_skips, "no x + in the blocks": no_residual,
           "no norm": no_norm, "no time": no_time, "no zeros at the start": no_zeros,
           "attention added": lambda model: None}


def main(path=None):
    digits, results = load_digits(), {name: [] for name in WITHOUT}
    for seed in SEEDS:
        for name, take_away in WITHOUT.items():
            def net(config):
                model = UNet(config)
                take_away(model)
                return model

            looks = name == "attention added"
            config = replace(DIGIT_PICTURES, attention=(False, looks), middle=looks)
            recipe = digits_recipe(digits.train.to(DEVICE), digits.train_labels.to(DEVICE), seed, config, steps=STEPS,
                                   batch=budget(64, 64, 32), levels=(0.0, 1.5), net=net)
            recipe.ema = None
            losses, times = [], [0.0]
            for state in train(recipe):
                times.append(state.seconds)
                if state.step in LOOKS:
                    losses.append(loss_on(recipe.model, digits))
            gaps = torch.tensor(times).diff()
            results[name].append({"seed": seed, "losses": losses, "seconds a step": gaps.median().item(),
                                  "parameters": parameters(recipe.model)})
            print(name, results[name][-1], flush=True)
    study.keep(__file__, {"steps": STEPS, "looks": LOOKS, "batch": 64}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
