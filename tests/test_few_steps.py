"""Students of few steps: what they learn from, that they learn it, and the commands that train and ask them."""

from dataclasses import replace

import pytest
import torch

from minidiff.__main__ import main
from minidiff.data import UNSAID, Mixture, sentence
from minidiff.diffusion import Schedule, consistency_step, ddim_step, exact_denoiser, guided, last, sample
from minidiff.models import PointConfig, PointDenoiser
from minidiff.pipelines import few_steps, text2image
from minidiff.tools import generator_for
from minidiff.training import CheckpointError, run

COSINE, BLOB = Schedule.cosine(1000), Mixture(torch.tensor([[0.7, -0.4]]), 0.3)


@pytest.fixture(scope="module")
def parts(trained):
    return text2image.load(trained)


def test_pairs_are_where_the_guided_teacher_carries_a_noise_of_its_temperature(parts, captioned):
    noise, latents, said = few_steps.teacher_pairs(parts, captioned, 3, steps=2, step=ddim_step, guidance=3,
                                                   temperature=1.3)
    text, null = parts.clip.text_states([sentence(row) for row in said.tolist()]), parts.clip.text_states([""])
    denoise = guided(parts.unet, null, 3, text2image.BELOW)
    ends = last(sample(denoise, 1.3 * noise, parts.unet.schedule, 2, cond=text))
    torch.testing.assert_close(latents, ends, atol=1e-5, rtol=1e-5)
    many, _, words = few_steps.teacher_pairs(parts, captioned, 400, steps=1, step=ddim_step)
    assert many.std().item() == pytest.approx(1, abs=0.02) and 0.05 < (words == UNSAID).float().mean() < 0.15
    assert not torch.equal(many[:3], few_steps.teacher_pairs(parts, captioned, 3, seed=1, steps=1, step=ddim_step)[0])


def test_conditions_are_the_states_of_what_is_said_of_each_row(parts):
    said = torch.tensor([[7, 0, 2, 0], [3, UNSAID, UNSAID, 1]])
    torch.testing.assert_close(few_steps.told(parts, said)(torch.tensor([1, 0]), None),
                               parts.clip.text_states(["a three upright", "a thick red seven leaning left"]))


def ends_of(loss, step=ddim_step, steps=200):
    """Where a student of a blob carries 500 noises in one call, and where the exact flow does."""
    torch.manual_seed(0)
    student = run(few_steps.recipe(PointDenoiser(PointConfig(width=32, depth=2)), loss, {}, steps=steps))
    z = torch.randn(500, 2, generator=generator_for(3))
    signal, noise = COSINE.curves[-1]
    std = (signal**2 * BLOB.std**2 + noise**2) ** 0.5
    return last(sample(student, z, COSINE, 1, step)), BLOB.means + BLOB.std * (z - signal * BLOB.means) / std


def test_each_way_of_distillation_finds_the_map_of_the_flow_and_training_on_data_the_mean():
    exact, points = exact_denoiser(BLOB, COSINE), BLOB.sample(5_000, generator_for(1))
    noise = torch.randn(5_000, 2, generator=generator_for(2))
    ends = last(sample(exact, noise, COSINE, 200))
    for loss in (few_steps.on_pairs(noise, ends), few_steps.on_pairs(noise, ends, anywhere=0.5),
                 few_steps.with_half_the_steps(exact, points, 1)):
        drawn, wanted = ends_of(loss)
        if loss.__qualname__.startswith("on_pairs"):
            assert (drawn - wanted).abs().mean() < 0.03
        else:                                                    # two DDIM steps of the teacher in one
            z = torch.randn(500, 2, generator=generator_for(3))
            assert (drawn - last(sample(exact, z, COSINE, 2))).abs().mean() < 0.03
    drawn, wanted = ends_of(few_steps.consistently(exact, points, 8), consistency_step)
    assert (drawn - wanted).abs().mean() < 0.1 and drawn.std(0).min() > 0.2
    drawn, _ = ends_of(few_steps.on_pairs(noise, points))
    assert (drawn - BLOB.means).abs().mean() < 0.05 and drawn.std() < 1


def test_the_student_is_trained_beside_its_machine_and_asked_by_command(trained, tmp_path, capsys, parts):
    folder = ["--folder", str(trained)]
    assert main(["draw", "a red seven", "--calls", "1", *folder]) == 1
    assert "train --few" in capsys.readouterr().err
    assert main(["train", "--few", *folder]) == 0 and (trained / "student.safetensors").exists()
    student = few_steps.load(trained / "student.safetensors", parts)
    assert not all(torch.equal(p, q) for p, q in zip(student.unet.parameters(), parts.unet.parameters(), strict=True))
    assert main(["draw", "a red seven", "--calls", "1", "--n", "2", "-o", str(tmp_path / "x.png"), *folder]) == 0
    assert main(["score", "--calls", "2", "--n", "20", *folder]) == 0
    assert "guidance 1, 2 steps" in capsys.readouterr().out and (trained / "report_few.json").exists()
    other = replace(parts, unet=student.unet)
    with pytest.raises(CheckpointError, match="another machine"):
        few_steps.load(trained / "student.safetensors", other)
    (trained / "student.safetensors").unlink()                   # the folder is shared
    (trained / "report_few.json").unlink()
