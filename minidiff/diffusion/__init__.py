"""The mathematics of diffusion, on (xt, t, eps).  It knows no network: a denoiser is any function."""

from minidiff.diffusion.distillation import (
    clean_guess,
    consistency_step,
    consistency_target,
    guess_loss,
    jump,
    pair_loss,
    progressive_target,
)
from minidiff.diffusion.exact import component_logits, exact_denoiser, log_density
from minidiff.diffusion.flow import (
    angle_step,
    denoiser_on_the_chord,
    inverted,
    on_the_chord,
    quantile_map,
    straightness,
)
from minidiff.diffusion.guidance import (
    clipped,
    doubly_guided,
    guidance_target,
    guided,
    guided_away,
    in_windows,
    inpainting,
)
from minidiff.diffusion.levels import karras_levels, sample_levels, spaced_by_snr, spaced_levels
from minidiff.diffusion.losses import WEIGHTS, denoising_loss, drop_condition
from minidiff.diffusion.samplers import annealed_langevin, ddim_step, ddpm_step, heun_step, langevin_step, last, sample
from minidiff.diffusion.schedule import FLOOR, KINDS, SCHEDULES, Schedule, add_noise, from_eps, to_eps
