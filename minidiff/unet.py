"""The UNet: down to see the whole, up to see the detail, and wires across so that nothing is lost.
[Ronneberger et al. 2015; as a denoiser: DDPM app. B; with captions: Rombach et al. 2022, section 3.3]"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.blocks import Down, ResBlock, Up, norm, time_embedding, zero_init
from minidiff.checkpoint import load_weights
from minidiff.inputs import check_as_many, check_config, check_float, check_given, check_pictures, check_rows
from minidiff.objectives import denoising_loss, draw_levels, drop_condition
from minidiff.runtime import budget, seed_all
from minidiff.schedule import KINDS, Schedule, to_eps
from minidiff.train import Recipe
from minidiff.transformer import Block


@dataclass(frozen=True)
class UNetConfig:
    channels: int = 4                                            # of the picture or latent
    widths: tuple = (64,)                                        # channels at each size, halving from one to the next
    patch: int = 1                                               # side of the squares of pixels that become one place
    blocks: int = 1                                              # residual blocks at each size, on each side
    attention: tuple = (True,)                                   # at which sizes places look at each other and at cond
    middle: bool = True                                          # and whether they do so at the bottom of the U
    heads: int = 4
    cond_width: int | None = 64                                  # width of the caption states, None for no captions
    pooled: bool = False                                         # whether their mean also enters beside the time
    levels: int = 1000                                           # S
    predicts: str = "v"


LATENTS = UNetConfig(attention=(False,), pooled=True)            # 16 places: to look once is enough
LATENTS_LARGE = UNetConfig(widths=(128,), blocks=2, attention=(False,), pooled=True)
DIGITS = UNetConfig(1, (24, 64), patch=2, attention=(False, False), middle=False, cond_width=10, pooled=True)
DIGITS_LARGE = UNetConfig(1, (64, 128), patch=2, attention=(False, True), cond_width=10, pooled=True)


class Stage(nn.Module):
    """A residual block, and where asked for a transformer block on the flattened map."""

    def __init__(self, c_in, c_out, time_width, attention, config):
        super().__init__()
        self.res = ResBlock(c_in, c_out, time_width)
        self.look = Block(c_out, config.heads, config.cond_width) if attention else None

    def forward(self, x, time, cond):
        x = self.res(x, time)
        if self.look is None:
            return x
        flat = self.look(x.flatten(2).transpose(1, 2), cond)     # (B, P, D)
        return flat.transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    """A denoiser: xt (B, C, H, W), t (B,), cond (B, L, D) or None -> eps (B, C, H, W).

    The network itself predicts config.predicts ("v" is stable at both ends); what leaves it is always eps.
    """

    def __init__(self, config=UNetConfig(), schedule=None):
        super().__init__()
        check_config(config, zero=["blocks", "attention"])
        if config.predicts not in KINDS or len(config.widths) != len(config.attention):
            raise ValueError(f"predicts is one of {', '.join(KINDS)}, and attention says yes or no for each width; got "
                             f"{config.predicts!r}, {config.widths} and {config.attention}")
        if config.cond_width and not (config.pooled or config.middle or any(config.attention)):
            raise ValueError("this UNet would not hear its condition: no size has attention, and `pooled` is off")
        self.config, self.schedule = config, schedule or Schedule.cosine(config.levels)
        widths, time_width = config.widths, 4 * config.widths[0]
        self.time = nn.Sequential(nn.Linear(config.widths[0], time_width), nn.SiLU(),
                                  nn.Linear(time_width, time_width), nn.SiLU())
        inner = config.channels * config.patch**2                # a square of pixels, all of them channels
        self.pooled = nn.Linear(config.cond_width, time_width) if config.pooled else None
        self.first = nn.Conv2d(inner, widths[0], 3, padding=1)
        self.down, self.up, wires, width = nn.ModuleList(), nn.ModuleList(), [widths[0]], widths[0]
        for i, (wide, attention) in enumerate(zip(widths, config.attention, strict=True)):
            for _ in range(config.blocks):
                self.down.append(Stage(width, wide, time_width, attention, config))
                wires.append(wide)
                width = wide
            if i + 1 < len(widths):
                self.down.append(Down(wide, wide))
                wires.append(wide)
        self.middle = Stage(width, width, time_width, config.middle, config)
        for i, (wide, attention) in reversed(list(enumerate(zip(widths, config.attention)))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(width + wires.pop(), wide, time_width, attention, config))
                width = wide
            if i:
                self.up.append(Up(wide, width := widths[i - 1]))
        self.last = nn.Sequential(norm(width), nn.SiLU(), zero_init(nn.Conv2d(width, inner, 3, padding=1)))
        self.to(memory_format=torch.channels_last)               # the channels of a place side by side: a CPU reads
                                                                 # small maps a tenth faster, large ones a quarter

    def network(self, xt, t, cond):
        """What the network predicts: xt (B, C, H, W) -> (B, C, H, W)."""
        time = self.time(time_embedding(t, self.config.widths[0]))
        if self.pooled is not None:
            time = time + self.pooled(cond.mean(1))
        x = self.first(F.pixel_unshuffle(xt, self.config.patch))
        wires = [x]
        for layer in self.down:
            x = layer(x, time, cond) if isinstance(layer, Stage) else layer(x)
            wires.append(x)
        x = self.middle(x, time, cond)
        for layer in self.up:
            x = layer(torch.cat([x, wires.pop()], 1), time, cond) if isinstance(layer, Stage) else layer(x)
        return F.pixel_shuffle(self.last(x).float(), self.config.patch)

    def forward(self, xt, t, cond=None):
        self.check(xt, cond)
        return to_eps(self.network(xt, t, cond), xt, t, self.schedule, self.config.predicts)

    def check(self, xt, cond):
        """Refuse what the network was not built for, with the reason."""
        times, wide = self.config.patch * 2 ** (len(self.config.widths) - 1), self.config.cond_width
        if xt.ndim != 4 or xt.shape[1] != self.config.channels or xt.shape[2] % times or xt.shape[3] % times:
            raise ValueError(f"this UNet takes (B, {self.config.channels}, H, W) with H and W multiples of {times} "
                             f"(patches of {self.config.patch}, halved {len(self.config.widths) - 1} times), "
                             f"got {tuple(xt.shape)}")
        if (cond is None) != (wide is None) or (cond is not None and (
                cond.ndim != 3 or len(cond) != len(xt) or cond.shape[-1] != wide)):
            want = f"a condition ({len(xt)}, L, {wide})" if wide else "no condition"
            raise ValueError(f"this UNet takes {want}, got {None if cond is None else tuple(cond.shape)}")


def recipe(latents, conds, null, seed=0, config=None, steps=None, batch=None, lr=8e-3, decay="cosine", drop=0.1,
           levels=(), weight="v", net=UNet):
    """Train a UNet, or another `net` that keeps its contract, on clean pictures or latents (N, C, H, W).

    conds(rows, generator) -> the conditions (B, L, D) of those rows, null (1, L, D) the one that says nothing,
    which replaces a share `drop` of them; both None for a UNet without conditions.  `levels`: middle and width of the
    levels trained on, see `draw_levels`; empty for all alike.  `weight`: see `denoising_loss`.
    """
    config = config or budget(full=UNetConfig(widths=(128,), blocks=2), small=UNetConfig(), fast=UNetConfig())
    batch = budget(full=512, small=256, fast=64, given=batch)
    check_float("pictures or latents (N, C, H, W)", latents)
    if config.cond_width:
        check_given("a UNet with a condition", conds=conds, null=null)
    seed_all(seed)
    model = net(config).to(latents.device)

    def loss_of(model, generator):
        rows = torch.randint(len(latents), (batch,), generator=generator, device=latents.device)
        x0 = latents[rows]
        t = draw_levels(batch, model.schedule, generator, *levels)
        eps = torch.randn(x0.shape, generator=generator, device=latents.device)
        cond = None
        if config.cond_width:
            cond = drop_condition(conds(rows, generator), null, drop, generator)
        return denoising_loss(model, x0, t, eps, model.schedule, cond, weight).mean()

    return Recipe("unet", model, config, loss_of, budget(full=2_500, small=900, fast=30, given=steps),
                  batch, lr, seed, decay=decay, ema=0.995)


def digit_states(digits):
    """Digits (B,) as conditions (B, 1, 10): a row of zeros with a single one.  All zeros says nothing."""
    check_rows("digits", digits[:, None], [10], unsaid=False)
    return F.one_hot(digits, 10).float()[:, None]


def digits_recipe(pictures, labels, seed=0, config=None, **settings):
    """Train a UNet on digits (N, 1, 32, 32), told which one by `digit_states`; mostly at high noise, where it is
    decided what will be drawn."""
    config = config or budget(full=DIGITS_LARGE, small=DIGITS, fast=DIGITS)
    check_pictures(pictures, config.channels, digits=True)
    check_as_many(pictures=pictures, labels=labels)
    states, null = digit_states(labels), torch.zeros(1, 1, 10, device=labels.device)
    settings = dict(steps=budget(full=1_000, small=1_080, fast=20), batch=budget(full=256, small=128, fast=32),
                    drop=0.05, levels=(0.75, 0.75)) | settings
    return recipe(pictures, lambda rows, generator: states[rows], null, seed, config, **settings)


def load(path):
    """The trained UNet in a checkpoint."""
    def build(config):
        return UNet(UNetConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}))

    return load_weights(path, build)[0]
