"""Sound and picture together: a look-up that is attention, a frozen base, machines that hear the other and not
themselves, and the pair of numbers for which the answer is known."""

import wave

import pytest
import torch

from minidiff.__main__ import main
from minidiff.data import RATE, SAMPLES, load_captioned_digits, to_waves
from minidiff.diffusion import Schedule, guided_away, last, sample, to_eps
from minidiff.models import LATENTS, Joint, JointConfig, Together, UNet, look_up
from minidiff.models.joint import frozen_features
from minidiff.pipelines import bridge, joint, sound, text2image
from minidiff.tools import generator_for
from minidiff.tools.files import checksum
from minidiff.training import CheckpointError, run


def test_a_look_up_is_the_mean_of_the_states_that_lie_near():
    generator = generator_for(1)
    queries, keys = (torch.nn.functional.normalize(torch.randn(n, 7, generator=generator), dim=1) for n in (3, 5))
    states = torch.randn(5, 2, 11, generator=generator)
    found = look_up(queries, keys, states, 3.0)
    for i in range(3):
        shares = [torch.exp(3.0 * queries[i] @ keys[j]).item() for j in range(5)]
        mean = sum(share * states[j] for j, share in enumerate(shares)) / sum(shares)
        torch.testing.assert_close(found[i], mean)
    torch.testing.assert_close(look_up(keys, keys, states, 1e4), states)               # sharp enough: each finds itself
    torch.testing.assert_close(look_up(keys, keys, states, 0.0), states.mean(0).expand(5, -1, -1))


@pytest.fixture(scope="module")
def unets():
    torch.manual_seed(0)
    made = [UNet(LATENTS).requires_grad_(False).to(memory_format=torch.channels_last) for _ in range(2)]
    for p in (p for unet in made for p in unet.parameters() if p.ndim > 1 and not p.any()):
        torch.nn.init.normal_(p, std=0.05)                       # where a fresh UNet is silent
    return made


NULLS = torch.randn(1, 10, 64, generator=generator_for(8)), torch.randn(1, 11, 64, generator=generator_for(9))


def question():
    generator = generator_for(5)
    return (torch.randn(3, 8, 4, 4, generator=generator), torch.tensor([1000, 500, 7]),
            torch.randn(3, 21, 64, generator=generator))


def that_speaks(unets, **config):
    """Layers that have learned something, or at least are not silent."""
    torch.manual_seed(1)
    made = Joint(*unets, JointConfig(**config))
    for name, p in made.named_parameters():
        if name.endswith(("attention.out.weight", "mlp.2.weight")):
            torch.nn.init.normal_(p, std=0.1)
    return made.requires_grad_(False)


@pytest.mark.parametrize("config", [{}, {"one_token": True}, {"captions": False}])
def test_before_the_first_step_the_machines_are_what_they_were(unets, config):
    (xt, t, cond), before = question(), checksum(*(unet.state_dict() for unet in unets))
    made = Joint(*unets, JointConfig(**config))
    denoise = Together(*unets, made, NULLS)
    alone = torch.cat([unets[0](xt[:, :4], t, cond[:, :10]), unets[1](xt[:, 4:], t, cond[:, 10:])], 1)
    assert torch.equal(denoise(xt, t, cond), alone)
    denoise(xt, t, cond).square().sum().backward()
    moved = [name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()]
    assert moved and all(name.endswith(("out.weight", "out.bias", "mlp.2.weight", "mlp.2.bias")) for name in moved)
    assert any(p.grad is not None and p.grad.any() for p in made.fill.parameters()) == config.get("captions", True)
    assert all(p.grad is None for unet in unets for p in unet.parameters())
    assert checksum(*(unet.state_dict() for unet in unets)) == before
    assert not any(name.startswith("unets") for name in made.state_dict())


def test_thoughts_are_what_the_frozen_denoiser_has_before_its_last_layer(unets):
    xt, t, _ = question()
    seen = frozen_features(unets[0], xt[:, :4], t, NULLS[0])     # (B, 16, 128)
    late = seen[..., 64:].transpose(1, 2).reshape(3, 64, 4, 4)
    eps = to_eps(unets[0].last(late), xt[:, :4], t, unets[0].schedule, "v")
    torch.testing.assert_close(eps, unets[0](xt[:, :4], t, NULLS[0].expand(3, -1, -1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("own", [False, True])
def test_each_hears_the_other_and_by_mistake_only_itself(unets, own):
    xt, t, cond = question()
    denoise = Together(*unets, that_speaks(unets, own=own), NULLS)
    before, changed = denoise(xt, t, cond), xt.clone()
    changed[:, 4:] += 1.0                                        # another sound
    moved = (denoise(changed, t, cond) - before)[:, :4].abs().amax((1, 2, 3))
    assert (moved == 0).all() if own else (moved > 1e-6).all()


def test_without_a_time_axis_nobody_hears_when_a_sound_comes(unets):
    (xt, t, cond), later = question(), question()[0]
    later[:, 4:] = later[:, 4:].roll(1, 3)                       # the same sound, a quarter of its time later
    for timeless in (False, True):
        denoise = Together(*unets, that_speaks(unets, timeless=timeless), NULLS)
        moved = (denoise(later, t, cond) - denoise(xt, t, cond))[:, :4].abs().max()
        assert (moved < 1e-5) == timeless


def test_one_token_is_one_vector_of_length_one(unets):
    xt, t, _ = question()
    for config, places in (({}, 16), ({"one_token": True}, 1)):
        told = Together(*unets, that_speaks(unets, **config), NULLS).tokens(xt.chunk(2, 1), t)
        assert [tokens.shape for tokens in told] == 2 * [(3, places, 64)]
    assert (told[0].norm(dim=-1) - 1).abs().max() < 1e-5


def test_two_numbers_that_are_told_of_each_other_come_out_correlated():
    """The halves of the exact denoiser of a pair of normal numbers, of which the one is told the other's noisy one."""
    rho, schedule = 0.8, Schedule.cosine(1_000)

    def denoise(xt, t, cond=None):
        a, s = schedule.at(t, like=xt)
        c = a**2 * rho
        return (xt - a * a * ((1 - rho * c) * xt + (rho - c) * xt.flip(1)) / (1 - c**2)) / s

    def apart(xt, t, cond=None):
        a, s = schedule.at(t, like=xt)
        return (xt - a * a * xt) / s

    noise = torch.randn(20_000, 2, generator=generator_for(3))
    for machine, wanted in ((denoise, rho), (apart, 0.0)):
        pairs = last(sample(machine, noise, schedule, 100))
        assert abs(torch.corrcoef(pairs.T)[0, 1] - wanted) < 0.02 and (pairs.var(0) - 1).abs().max() < 0.05


def test_guidance_away_leaves_high_levels_alone():
    one, other = (lambda xt, t, cond, k=k: k * xt for k in (2.0, 1.0))
    xt, null = torch.ones(2, 1), torch.zeros(1, 1)
    guided = guided_away(one, other, null, 3.0, below=500)
    assert guided(xt, torch.tensor([500, 500]), null).tolist() == [[2.0], [2.0]]
    assert guided(xt, torch.tensor([499, 499]), null).tolist() == [[4.0], [4.0]]
    assert guided(xt, torch.tensor([499, 500]), null).tolist() == [[4.0], [2.0]]


@pytest.fixture(scope="module")
def machines(trained):
    parts = text2image.load(trained)
    for recipe in sound.recipes(parts):
        run(recipe, trained / f"{recipe.name}.safetensors")
    return parts, sound.load(trained, parts)


def test_pairs_belong_together_and_find_new_partners(machines, captioned):
    pairs = joint.lessons(captioned, *machines, n=300)
    rows = torch.arange(300)
    one, two = (pairs.partners(rows, generator_for(seed)) for seed in (1, 2))
    assert (one != two).any() and (pairs.kinds[one] == pairs.kinds).all()              # sounds lie as the pictures do
    for mates in (one, two):
        assert (pairs.heard[mates, 0] == pairs.seen[:, 0]).all()
        assert (pairs.heard[mates, 1] == 2 - pairs.seen[:, 2]).all()
    heard, late = joint.tied(pairs.seen, generator_for(3))
    assert ((3 * late).long() == pairs.seen[:, 3]).all() and len(heard[:, 2].unique()) == 3
    assert torch.equal(pairs.count, pairs.kinds.bincount(minlength=90)) and pairs.sounds.shape == (300, 4, 4, 4)


def test_conditions_are_mixed_by_weight(machines):
    parts = machines[0]
    one, other = (bridge.told_by_captions(parts, [caption]) for caption in ("a low red seven", "a fast two"))
    for kind in range(2):
        mixed = bridge.mixed([one, other], [0.25, 0.75])[kind]
        torch.testing.assert_close(mixed, 0.25 * one[kind] + 0.75 * other[kind])
    assert one[1][0, -1].nonzero().tolist() == [[0]] and other[1][0, -1].nonzero().tolist() == [[5]]
    torch.testing.assert_close(one[0], parts.clip.text_states(["a red seven"]))
    with pytest.raises(ValueError, match="sum to 1"):
        bridge.mixed([one, other], [1.0, 1.0])


def test_a_pair_is_the_same_alone_or_in_a_batch(machines):
    parts, voice = machines
    agreed = Joint(parts.unet, voice.unet, JointConfig())
    both = joint.draw(joint.unsaid(parts, 2), [3, 4], parts, voice, agreed, steps=2)
    alone = joint.draw(joint.unsaid(parts, 1), [4], parts, voice, agreed, steps=2)
    for one, many in zip(alone, both, strict=True):
        torch.testing.assert_close(one[0], many[1], atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="a seed per condition"):
        joint.draw(joint.unsaid(parts, 2), [3], parts, voice, agreed)


def test_say_speaks_and_both_draws_what_the_kept_parts_draw(trained, machines, tmp_path, capsys):
    folder, (parts, voice) = ["--folder", str(trained)], machines
    assert main(["say", "a red seven", *folder, "-o", str(tmp_path / "s.wav")]) == 1   # before anything is trained
    assert "cannot be heard" in capsys.readouterr().err
    assert main(["say", "a high fast seven", "a two", *folder, "--seed", "5", "-o", str(tmp_path / "s.wav")]) == 0
    with wave.open(str(tmp_path / "s.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (RATE, 2 * SAMPLES)
        read = torch.frombuffer(bytearray(file.readframes(2 * SAMPLES)), dtype=torch.int16).view(2, -1) / 32_767
    meant = sound.say(["a high fast seven", "a two"], [5, 5], parts, voice)
    torch.testing.assert_close(read, meant, atol=1e-3, rtol=0)
    assert main(["both", "a high red sevn", *folder]) == 1 and "unknown word" in capsys.readouterr().err
    run(joint.recipe(parts, voice, joint.lessons(load_captioned_digits()[0], parts, voice)),
        trained / "joint.safetensors")
    assert main(["both", "a high red seven", *folder, "--n", "2", "-o", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "b.png").stat().st_size > 5_000
    cond = torch.cat(bridge.told_by_captions(parts, ["a high red seven"] * 2), 1)
    _, spectrograms = joint.draw(cond, range(2), parts, voice, joint.load(trained / "joint.safetensors", parts, voice))
    with wave.open(str(tmp_path / "b.wav")) as file:
        read = torch.frombuffer(bytearray(file.readframes(2 * SAMPLES)), dtype=torch.int16).view(2, -1) / 32_767
    torch.testing.assert_close(read, to_waves(spectrograms), atol=1e-3, rtol=0)


def test_a_voice_of_another_machine_is_refused(machines, trained, tmp_path):
    parts, _ = machines
    with pytest.raises(ValueError, match="holds no voice, sound_reader.safetensors and sound_auto"):
        sound.load(tmp_path, parts)
    other = text2image.load(trained)
    other.unet.first.weight.data += 1.0
    with pytest.raises(CheckpointError, match="another machine than this one"):
        sound.load(trained, other)
