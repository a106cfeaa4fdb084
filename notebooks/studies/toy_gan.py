"""Why not a GAN?  Ring and grid, three seeds: a diffusion and two GANs with equal parameters and equal seconds.

The plain GAN has the non-saturating loss of Goodfellow et al. (2014); the modern one adds the R1 penalty on the
discriminator's gradient at real points (Mescheder, Geiger & Nowozin 2018, eq. 9), without which GANs need not converge.
To be fair, each GAN takes the best (least W2) of several settings, found on a seed that is not counted; its generator
alone has as many parameters as the diffusion, and it keeps a moving average of its weights too.  By hand we found
that it likes leaky units (with smooth ones two thirds of its points were bad), small batches, and no momentum.
"""

import sys
import time
from itertools import product

import torch
from common import SEEDS, parameters
from torch import nn
from torch.nn.functional import softplus

from minidiff.data import cloud, named_mixture
from minidiff.diffusion import heun_step, last, sample
from minidiff.evaluation import coverage, wasserstein
from minidiff.pipelines import toy
from minidiff.tools import budget, generator_for, seed_all, study
from minidiff.training import EMA, run

SEARCH_SEED, LATENT, BATCH = 10, 2, 256
N, PAIRS, POINTS = budget(2_000, 2_000, 50), budget(10, 10, 2), 50_000
RATES, PENALTIES = (1e-4, 3e-4, 1e-3), (0.03, 0.3)               # plain: 3 settings, with R1: 6


def mlp(inputs, width, outputs):
    layers = [nn.Linear(inputs, width), nn.LeakyReLU(0.2)]
    for _ in range(3):
        layers += [nn.Linear(width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def move(player, loss):
    player.zero_grad()
    loss.backward()
    player.step()


def train_gan(points, seed, seconds, rate, penalty):
    """Play for so many seconds; penalty is R1's gamma (0: the plain GAN) -> the averaged generator, steps played."""
    seed_all(seed)
    generator, critic = mlp(LATENT, 148, 2), mlp(2, 148, 1)
    players = [torch.optim.Adam(net.parameters(), rate, betas=(0.0, 0.99), fused=True) for net in (generator, critic)]
    average, random, start, steps = EMA(generator, 0.999), generator_for(seed), time.perf_counter(), 0

    def fake():
        return generator(torch.randn(BATCH, LATENT, generator=random))

    while (passed := (time.perf_counter() - start) / seconds) < 1:
        for player in players:
            player.param_groups[0]["lr"] = rate * min(1, 2 * (1 - passed))            # falls in the second half
        real = points[torch.randint(len(points), (BATCH,), generator=random)].requires_grad_()
        says = critic(real)
        loss = softplus(-says).mean() + softplus(critic(fake().detach())).mean()
        if penalty:
            slope, = torch.autograd.grad(says.sum(), real, create_graph=True)
            loss = loss + penalty / 2 * slope.square().sum(1).mean()
        move(players[1], loss)
        move(players[0], softplus(-critic(fake())).mean())                             # non-saturating
        average.update(generator)
        steps += 1
    generator.load_state_dict(average.shadow)
    return generator, steps


@torch.no_grad()
def measure(drawn, name, pairs=PAIRS):
    mixture = named_mixture(name)
    modes, good = coverage(drawn, mixture)
    real = [cloud(name, N, seed=1_000 + pair) for pair in range(pairs)]
    w2 = sum(wasserstein(a, b) for a, b in zip(drawn.split(N), real)) / pairs
    return {"modes": modes, "good": good, "w2": w2}


def some(points):
    """A few points to look at, all x and all y, in as few digits as a figure needs."""
    return [[round(number, 2) for number in row] for row in points[:400].T.tolist()]


def draw_gan(generator, seed, pairs=PAIRS):
    with torch.no_grad():
        return generator(torch.randn(N * pairs, LATENT, generator=generator_for(seed, 7)))


def draw_diffusion(name, seed):
    """Train and draw -> points, seconds of training, number of parameters."""
    recipe, start = toy.recipe(cloud(name, POINTS, seed=100 + seed), seed=seed), time.perf_counter()
    model = run(recipe)
    seconds = time.perf_counter() - start
    noise = torch.randn(N * PAIRS, 2, generator=generator_for(seed, 7))
    drawn = last(sample(model, noise, model.schedule, budget(50, 50, 5), heun_step))
    return drawn, seconds, parameters(model)


def best_setting(name, seconds, penalties):
    """The learning rate and penalty with the least W2 on the seed kept for the search."""
    points, tried = cloud(name, POINTS, seed=100 + SEARCH_SEED), []
    for rate, penalty in list(product(RATES, penalties))[:budget(None, None, 1)]:
        generator, _ = train_gan(points, SEARCH_SEED, seconds, rate, penalty)
        tried.append((measure(draw_gan(generator, SEARCH_SEED, 3), name, 3)["w2"], rate, penalty))
        print(f"  search {name} rate {rate:g} penalty {penalty:g}: W2 {tried[-1][0]:.3f}", flush=True)
    return min(tried)[1:]


def main(path=None):
    results = {}
    for name in ("ring", "grid"):
        diffusion = [draw_diffusion(name, seed) for seed in SEEDS]
        seconds = sum(run[1] for run in diffusion) / len(diffusion)
        ways = {"GAN": best_setting(name, seconds, (0.0,)), "GAN with R1": best_setting(name, seconds, PENALTIES)}
        real = torch.cat([cloud(name, N, seed=2_000 + pair) for pair in range(PAIRS)])
        results[name] = {"real": [measure(real, name)], "diffusion": [], **{way: [] for way in ways}}
        for seed, (drawn, took, count) in zip(SEEDS, diffusion):
            about = {"seconds": took, "parameters": count, "points": some(drawn)}
            results[name]["diffusion"].append(measure(drawn, name) | about)
            for way, (rate, penalty) in ways.items():
                points = cloud(name, POINTS, seed=100 + seed)
                generator, steps = train_gan(points, seed, seconds, rate, penalty)
                drawn = draw_gan(generator, seed)
                results[name][way].append(measure(drawn, name) | {
                    "seconds": seconds, "steps": steps, "rate": rate, "penalty": penalty,
                    "parameters": parameters(generator), "points": some(drawn)})
        for way, runs in results[name].items():
            print(f"{name:5} {way:12}", [(run["modes"], round(run["good"], 3), round(run["w2"], 3)) for run in runs],
                  flush=True)
    study.keep(__file__, {"seeds": SEEDS, "n": N, "pairs": PAIRS, "batch": BATCH, "latent": LATENT, "rates": RATES,
                          "penalties": PENALTIES}, results, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
