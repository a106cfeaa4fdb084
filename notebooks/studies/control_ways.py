"""Ways to steer the frozen machine with a sketch, in the same steps: ControlNet, and what happens when one of its
ingredients is missing.

Kept for each way and machine: IoU of the drawings with the digits that gave the sketches, what is right of the
captions, numbers, seconds; for ControlNet the IoU while it learns; and for three optimizers how far the copy has moved
after few steps.  The settings of ControlNet were chosen on machine 10; three others are reported.
"""

import sys
import time

import torch
from common import DEVICE, SEEDS, machine, parameters
from torch import nn

from minidiff.data import load_captioned_digits, sentence
from minidiff.diffusion import to_eps
from minidiff.evaluation import iou, read
from minidiff.models import Controlled, ControlNet, UNet, zero_conv
from minidiff.models.blocks import Down
from minidiff.pipelines import control, text2image
from minidiff.tools import budget, generator_for, study
from minidiff.training import train
from minidiff.training.muon import MuonAdamW

COUNT, FEW, EVERY = budget(200, 200, 4), budget(60, 60, 2), budget(25, 25, 5)
STEPS = budget(text2image.STEPS, text2image.STEPS, 2)
TRAINED = budget(None, None, 3)
RADII = torch.arange(0, 41) / 10                                 # pixels around a skeleton


class Plain(ControlNet):
    """With a hint encoder of plain convolutions, as in the paper."""

    def __init__(self, unet, widths):
        super().__init__(unet, widths)
        first = unet.first.out_channels
        layers = [nn.Sequential(Down(a, b), nn.SiLU()) for a, b in zip((1, *widths), (*widths, first))]
        self.hint = nn.Sequential(*layers, zero_conv(first))


class Lite(ControlNet):
    """The hint encoder speaks through the zero convolutions, with no copy.  [after ControlNet-lite, section 4.2]"""

    def __init__(self, unet, widths):
        super().__init__(unet, widths)
        del self.copy
        self.hint = self.hint[:-1]

    def forward(self, xt, t, cond, hint):
        seen = self.hint(hint)
        return [zero(seen) for zero in self.zeros]


class Everything(nn.Module):
    """The whole UNet learns, and hears the sketch where it hears the noisy picture."""

    def __init__(self, unet, widths):
        super().__init__()
        self.unet = UNet(unet.config, unet.schedule)
        self.unet.load_state_dict(unet.state_dict())
        self.hint = ControlNet(unet, widths).hint


class Following(nn.Module):
    """A denoiser that is `Everything` with its sketch."""

    def __init__(self, unet, told):
        super().__init__()
        (self.net, self.hint, _), self.config, self.schedule = told, unet.config, unet.schedule

    def forward(self, xt, t, cond=None):
        unet, hint = self.net.unet, self.hint.repeat(len(xt) // len(self.hint), 1, 1, 1)
        time = unet.time_state(t, cond)
        x, skips = unet.encode(xt, time, cond, plus=self.net.hint(hint))
        v = unet.decode(unet.middle(x, time, cond), skips, time, cond)
        return to_eps(v, xt, t, self.schedule, self.config.predicts)


def at_random(parts, config):
    """A ControlNet whose zero convolutions begin as any other convolution."""
    net = ControlNet(parts.unet, config.widths)
    for zero in (*net.zeros, net.hint[-1]):
        zero.reset_parameters()
    return net


WAYS = {                                                         # what is built, its settings, the optimizer
    "ControlNet": ({}, True),
    "ControlNet, AdamW": (dict(lr=3e-3), False),
    "plain hint encoder": (dict(make=lambda parts, config: Plain(parts.unet, config.widths)), True),
    "random instead of zero": (dict(make=at_random), True),
    "captions emptied in half": (dict(drop=0.5), True),
    "lite": (dict(make=lambda parts, config: Lite(parts.unet, config.widths)), True),
    "all weights": (dict(make=lambda parts, config: Everything(parts.unet, config.widths), follow=Following), True),
}


class Judged:
    """Unseen digits with their sketches, and how well a steered machine draws them."""

    def __init__(self, parts, unseen, seed, count=COUNT):
        self.parts, self.seed, self.data = parts, seed, control.sketched(unseen, parts, count, seed + 50)
        self.truth = self.data.ink[:, None].float() / 127.5 - 1
        self.captions = [sentence(row) for row in self.data.said]

    def of(self, pictures):
        """IoU and shares right of pictures, one for each of the first sketches."""
        right = read(self.parts.classifier, pictures) == self.data.said[:len(pictures)]
        return {"iou": iou(pictures, self.truth[:len(pictures)]).mean().item(),
                "digit": right[:, 0].float().mean().item(), "all": right.all(1).float().mean().item()}

    def drawn(self, denoiser, count=None, guidance=2.0, again=0):
        """What the machine draws with a denoiser(hints), with seeds of its own.  It is shown the sketch whether it is
        asked with the caption or without, since not all ways can be asked without a sketch."""
        count = count or len(self.captions)
        first, hints = 1_000_000 * (self.seed + 10 * again), self.data.sketches[:count, None].float()
        self.parts.unet, frozen = denoiser(hints), self.parts.unet
        pictures = text2image.draw(self.captions[:count], range(first, first + count), self.parts, guidance, STEPS)
        self.parts.unet = frozen
        return pictures

    def before(self, captioned):
        """The floors and the ceiling: the caption alone, the best of eight, another digit, a wider line, the
        autoencoder."""
        alone = [self.drawn(lambda hints: self.parts.unet, again=again) for again in range(budget(8, 8, 1))]
        tries = torch.stack([iou(pictures, self.truth) for pictures in alone])         # (8, N)
        others = captioned.render(captioned.rows_for(self.data.said[:, 0], generator_for(9)), self.data.said)
        back = self.parts.autoencoder.decode(self.data.latents).clamp(-1, 1)
        return {"caption alone": self.of(alone[0]), "best of eight": tries.amax(0).mean().item(),
                "another digit": iou(others, self.truth).mean().item(), "autoencoder": self.of(back),
                "wider line": self.wider().item()}

    def wider(self):
        """IoU of the skeletons, made wider by as much as is best for each stroke."""
        places = torch.cartesian_prod(torch.arange(32.0), torch.arange(32.0))          # (1024, 2)
        apart = torch.cdist(places, places)
        lines = self.data.sketches.flatten(1).bool()             # (N, 1024)
        nearest = torch.stack([apart[line].amin(0) for line in lines])                 # (N, 1024)
        ink, found = self.data.ink.flatten(1) > 127, []
        for radius in RADII:
            wide = nearest <= radius
            found.append((wide & ink).sum(1) / (wide | ink).sum(1))
        strokes, found = self.data.said[:, 2], torch.stack(found)                      # (R, N)
        best = [found[:, strokes == stroke].mean(1).argmax() for stroke in range(3)]
        return torch.stack([found[best[stroke], i] for i, stroke in enumerate(strokes.tolist())]).mean()


def moved(parts, data, name, steps=(0, 1, 2, 3, 10, 30, 100)):
    """How far the copy's weights, and what the machine predicts, are from where they began, step by step."""
    recipe = control.recipe(parts, data)
    net, start = recipe.model.train(), [p.detach().clone() for p in recipe.model.copy.parameters()]
    optimizer = {"SGD": lambda: torch.optim.SGD(net.parameters(), lr=0.1),
                 "AdamW": lambda: torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0),
                 "Muon": lambda: MuonAdamW(net, recipe.lr, 0.0)}[name]()
    generator, found = generator_for(3), []
    xt, t = torch.randn(64, 4, 4, 4, generator=generator), torch.full((64,), 800)
    cond, hint = parts.clip.text_states(["a seven"]).expand(64, -1, -1), data.sketches[:64, None].float()
    with torch.no_grad():
        old = parts.unet(xt, t, cond)
    for step in range(budget(max(steps), max(steps), 3) + 1):
        if step in steps:
            with torch.no_grad():
                change = (Controlled(parts.unet, (net, hint, 1.0))(xt, t, cond) - old).norm() / old.norm()
                far = sum((p - q).square().sum() for p, q in zip(net.copy.parameters(), start)).sqrt()
            found.append({"step": step, "prediction": change.item(),
                          "copy": (far / sum(q.square().sum() for q in start).sqrt()).item()})
        optimizer.zero_grad()
        recipe.loss_of(net, generator_for(0, step)).backward()
        optimizer.step(recipe.lr) if name == "Muon" else optimizer.step()
    return found


def main(path=None):
    known, unseen = load_captioned_digits(DEVICE)
    results = {"before": [], "ways": {name: [] for name in WAYS}, "while it learns": [], "moved": {}}
    for seed in SEEDS:
        parts = machine(seed)
        data, judged = control.lessons(known, parts, seed), Judged(parts, unseen, seed)
        results["before"].append({"seed": seed, **judged.before(known)})
        print(results["before"][-1], flush=True)
        for name, (settings, muon) in WAYS.items():
            recipe = control.recipe(parts, data, seed, steps=TRAINED, **settings)
            recipe.muon, start, watching = muon, time.perf_counter(), 0.0
            follow = settings.get("follow", Controlled)

            def denoiser(hints, net=recipe.model, follow=follow):
                return follow(parts.unet, (net, hints, 1.0))

            for state in train(recipe):
                if name == "ControlNet" and (state.step % EVERY == 0 or state.step == 1):
                    pause = time.perf_counter()
                    recipe.model.eval()
                    results["while it learns"].append({"seed": seed, "step": state.step, "loss": state.loss,
                                                       "iou": judged.of(judged.drawn(denoiser, FEW))["iou"]})
                    recipe.model.train()
                    watching += time.perf_counter() - pause
            seconds = time.perf_counter() - start - watching
            kept = {"seed": seed, "numbers": parameters(recipe.model), "seconds": seconds,
                    **judged.of(judged.drawn(denoiser))}
            results["ways"][name].append(kept)
            print(name, kept, flush=True)
        if seed == 0:
            results["moved"] = {name: moved(parts, data, name) for name in ("SGD", "AdamW", "Muon")}
            print(results["moved"], flush=True)
    study.keep(__file__, {"drawings": COUNT, "sketches": len(data.latents), "guidance": 2.0}, results,
               path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
