"""Few steps: a student of the text-to-image machine that draws in one call what its teacher draws in many."""


import torch

from minidiff.data.captions import caption_index, every_caption, sentence
from minidiff.diffusion.distillation import pair_loss
from minidiff.diffusion.samplers import heun_step, last
from minidiff.models.unet import UNet
from minidiff.pipelines.text2image import GUIDANCE, STEPS, denoising, tersely
from minidiff.tools.checks import check, check_alike, check_examples
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget, generator_for
from minidiff.training.loop import Recipe


@torch.no_grad()
def teacher_pairs(parts, captioned, n, seed=0, guidance=GUIDANCE, steps=STEPS, step=heun_step):
    """Where the teacher carries noise: n trained captions, some of them terse, each with one noise and the latent that
    the guided teacher makes of it -> noise (n, 4, 4, 4), latents (n, 4, 4, 4), said (n, 4)."""
    generator = generator_for(seed, 4, device=parts.device)
    rows = torch.randint(len(captioned.allowed), (n,), generator=generator, device=parts.device)
    said = tersely(captioned.allowed[rows], generator)
    noise, latents = [], []
    for part in torch.arange(n).split(500):
        captions = [sentence(row) for row in said[part].tolist()]
        walk = denoising(captions, [2**40 + seed * n + i for i in part.tolist()], parts, guidance, steps, step)
        _, first = next(walk)
        noise.append(first)
        latents.append(last(walk))
    return torch.cat(noise), torch.cat(latents), said


def student_recipe(parts, pairs, seed=0, steps=None, batch=256, lr=4e-3):
    """Train a student, which begins as its teacher, to guess from the noise of each pair the latent of that pair."""
    noise, latents, said = pairs
    check_examples("latents", latents, "N", "C", "H", "W", say="latents of std 1")
    check_alike(noise=noise, latents=latents)
    check(len(said) == len(noise), f"as many captions as pairs, got {len(said)} and {len(noise)}")
    teacher = parts.unet
    states = parts.clip.text_states([sentence(row) for row in every_caption()])      # (1408, L, D)
    conds = states[caption_index(said)]

    def make_model():
        student = UNet(teacher.config)
        student.load_state_dict(teacher.state_dict())
        return student

    def loss_of(model, generator):
        rows = torch.randint(len(noise), (batch,), generator=generator, device=noise.device)
        return pair_loss(model, noise[rows], latents[rows], model.schedule, conds[rows]).mean()

    return Recipe("student", make_model, teacher.config, loss_of, budget(full=1_000, small=600, fast=20, given=steps),
                  batch, lr, seed, decay="linear", ema=0.98, device=noise.device,
                  objective={"data": checksum(noise, latents, said)[:16], "loss": "pairs"})
