"""Sounds: spectra whose truth is known, the way back, a voice that is read as it was made, and captions."""

import math
import wave

import pytest
import torch

from minidiff.data import (
    HERTZ,
    PITCHES,
    RATE,
    SAMPLES,
    SECONDS,
    SPEEDS,
    CaptionError,
    SpokenDigits,
    all_sounds,
    every_sound,
    griffin_lim,
    is_held_out_sound,
    istft,
    mel,
    mel_bank,
    parse_sound,
    resonance,
    sound_index,
    sound_sentence,
    speak,
    split_voice,
    spread_bands,
    stft,
    to_spectrograms,
    to_waves,
    voice_counts,
)
from minidiff.data.spectrograms import hertz_of
from minidiff.evaluation import autocorrelation, lateness, read_pitch, read_times
from minidiff.tools import generator_for, show_sound


def tone(hertz, seconds=SAMPLES / RATE):
    return torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def spoken_digits():
    return SpokenDigits(90, 7)


def test_the_transform_of_a_tone_has_its_peak_where_it_belongs_and_torch_agrees():
    waves = torch.stack([tone(1000), tone(250) + 0.5 * tone(2500)])
    frames = stft(waves)
    assert frames.shape == (2, 129, 32)
    assert (frames[0].abs().argmax(0) == 32).all()               # 1,000 Hz of 31.25 Hz each
    assert set(frames[1].abs()[:, 9].topk(2).indices.tolist()) <= {7, 8, 9}            # 250 Hz, and its neighbors
    torch.testing.assert_close(frames[0, 32, 3:29].abs(), torch.full((26,), 64.0), atol=0.01, rtol=0)  # 256 / 2 / 2
    padded = torch.nn.functional.pad(waves, (64, 64))
    theirs = torch.stft(padded, 256, 128, window=torch.hann_window(256), center=False, return_complex=True)
    torch.testing.assert_close(frames, theirs)


def test_the_inverse_is_exact_and_otherwise_the_nearest_wave():
    waves = torch.randn(3, SAMPLES, generator=generator_for(1))
    torch.testing.assert_close(istft(stft(waves)), waves, atol=1e-5, rtol=0)
    frames = torch.randn(2, 129, 32, dtype=torch.complex64, generator=generator_for(2))
    frames[:, [0, -1]] = frames[:, [0, -1]].real + 0j            # as a real wave's are
    nearest, step = istft(frames), 0.01 * torch.randn(2, SAMPLES, generator=generator_for(3))

    def miss(waves):                                             # in frames of time, where all frequencies count alike
        return torch.fft.irfft((stft(waves) - frames).transpose(1, 2)).square().sum((1, 2))

    inside = torch.zeros(SAMPLES)
    inside[64:-64] = 1                                           # the rim reaches beyond the sound
    for other in (nearest + step * inside, nearest - step * inside):
        assert (miss(nearest) < miss(other)).all()


def test_mel_is_what_it_is_said_to_be_and_its_triangles_share_every_frequency():
    assert abs(mel(1000) - 1000) < 0.1 and mel(0) == 0 and abs(hertz_of(mel(3210.0)) - 3210) < 1e-9
    bank = mel_bank()
    at = torch.tensor([hertz_of(mel(50.0) + (mel(4000.0) - mel(50.0)) * i / 33) for i in range(34)])
    inside = (torch.arange(129) * 31.25 >= at[1]) & (torch.arange(129) * 31.25 <= at[-2])
    torch.testing.assert_close(bank.sum(0)[inside], torch.ones(int(inside.sum())))     # up and down add up to one
    peaks = bank.argmax(1) * 31.25
    assert ((peaks - at[1:-1]).abs() <= 31.25 / 2 + 1e-3).float().mean() > 0.9 and (bank >= 0).all()


def test_ten_times_the_power_is_ten_decibels_and_loudness_is_no_matter():
    quiet = tone(1000) * torch.where(torch.arange(SAMPLES) < SAMPLES // 2, 1.0, 0.1)   # 20 dB less in the second half
    picture = to_spectrograms(torch.stack([quiet, 0.3 * quiet]))
    assert picture.shape == (2, 1, 32, 32) and picture.max() == 1 and picture.min() >= -1
    torch.testing.assert_close(picture[0], picture[1], atol=1e-4, rtol=0)
    assert (to_spectrograms(torch.zeros(1, SAMPLES)) == -1).all()
    row = picture[0, 0].amax(1).argmax()
    assert abs(picture[0, 0, row, 8] - picture[0, 0, row, 24] - 20 / 30) < 1e-3        # 60 dB are from -1 to 1
    high, low = (to_spectrograms(tone(f)[None])[0, 0].mean(1).argmax() for f in (3000, 300))
    assert high < low                                            # high sounds stand at the top


def test_bands_are_spread_without_a_loss_and_the_phases_are_found():
    waves = torch.stack([tone(500), tone(1250) * torch.hann_window(SAMPLES)])
    bands = mel_bank() @ stft(waves).abs().square()
    power = spread_bands(bands, 300)
    error = (mel_bank() @ power - bands).abs().sum() / bands.sum()
    assert (power >= 0).all() and error < 0.02
    magnitude = stft(waves).abs()

    def miss(rounds, **more):
        return (stft(griffin_lim(magnitude, rounds, **more)).abs() - magnitude).norm() / magnitude.norm()

    misses = [miss(rounds) for rounds in (0, 5, 60)]
    assert misses[0] > 0.3 and misses[0] > 2 * misses[1] and misses[2] < 0.05
    assert misses[2] < miss(60, momentum=0)                                   # Perraudin et al. 2013


def test_a_formant_is_where_it_is_and_lets_low_sounds_pass():
    formants = torch.tensor([500.0, 1500, 2500]).view(3, 1)
    at = resonance(torch.tensor([1.0, 500, 1000, 1500, 2000]), formants.expand(3, 5))
    assert abs(at[0] - 1) < 1e-4 and at[1] > 5 * at[2] and at[3] > 3 * at[2] and at[3] > 3 * at[4]
    alone = 500**2 / (500 * 60) * (1500**2 / (1500**2 - 500**2)) * (2500**2 / (2500**2 - 500**2))
    assert abs(at[1] / alone - 1) < 0.01                         # f / width at the peak, the others nearly 1


def test_a_voice_is_read_as_it_was_made_and_no_two_sounds_are_alike():
    said = all_sounds()
    late = torch.arange(90) % 2 * 0.9
    waves = speak(said, generator_for(5), late)
    assert waves.shape == (90, SAMPLES) and waves.abs().amax(1).sub(0.9).abs().max() < 1e-5
    hertz, (start, seconds) = read_pitch(waves), read_times(waves)
    wanted = torch.tensor(HERTZ)[said[:, 1]]
    assert ((hertz / wanted).log().abs() < 0.18).float().mean() > 0.97
    assert ((seconds / torch.tensor(SECONDS)[said[:, 2]]).log().abs() < 0.15).float().mean() > 0.95
    assert (lateness(waves)[late == 0] < 0.3).all() and (lateness(waves)[late > 0] > 0.6).all()
    assert (start[late == 0] < 0.06).all()
    again, other = speak(said[:3], generator_for(5)), speak(said[:3], generator_for(6))
    torch.testing.assert_close(again, speak(said[:3], generator_for(5)))
    assert (again - other).abs().amax(1).min() > 0.1
    with pytest.raises(ValueError, match="said"):
        speak(torch.tensor([[10, 0, 0]]), generator_for(0))


def test_a_hiss_has_no_pitch_and_a_six_begins_and_ends_with_one():
    six = speak(torch.tensor([[6, 1, 0]]), generator_for(3), torch.tensor([0.5]))
    start, seconds = (part.item() for part in read_times(six))
    picture = to_spectrograms(six)[0, 0]                         # (32, 32), 16 ms a column
    first, last = round((start + 0.03) * RATE / 128), round((start + seconds - 0.06) * RATE / 128)
    middle = round((start + 0.37 * seconds) * RATE / 128)
    for column, hisses in ((first, True), (middle, False), (last, True)):
        assert (picture[:6, column].mean() > picture[22:, column].mean()) == hisses


@pytest.mark.parametrize("hertz", [120.0, 187.5, 310.0])
def test_the_pitch_of_harmonics_is_found_even_without_the_first(hertz):
    voice = sum(tone(k * hertz) / k for k in range(2, 9))
    assert abs(read_pitch(voice[None]).item() / hertz - 1) < 0.02
    frames = torch.randn(4, 512, generator=generator_for(1)) * torch.hann_window(512)
    assert (autocorrelation(frames)[:, 0] - 1).abs().max() < 1e-5
    periodic = (voice[:512] * torch.hann_window(512))[None]
    assert autocorrelation(periodic)[0, round(RATE / hertz)] > 0.9


def test_the_way_there_and_back_keeps_what_was_said(spoken_digits):
    back = to_waves(spoken_digits.pictures)
    again = to_spectrograms(back)
    assert (again - spoken_digits.pictures).square().mean() < 0.01                     # 26 dB
    hertz = torch.tensor(HERTZ)[spoken_digits.said[:, 1]]
    assert ((read_pitch(back) / hertz).log().abs() < 0.2).float().mean() > 0.9
    with pytest.raises(ValueError, match="spectrograms"):
        to_waves(spoken_digits.pictures[:, 0])
    with pytest.raises(ValueError, match="waves"):
        to_spectrograms(back[:, :100])


def test_captions_of_sounds_are_said_and_understood():
    for said in every_sound():
        caption = sound_sentence(said)
        assert parse_sound(caption.upper() + ".") == tuple(said.tolist())
        assert sound_index(said) == (every_sound() == said).all(1).nonzero().item()
        assert voice_counts(said[None]).sum() == sum(word in PITCHES + SPEEDS for word in caption.split())
    assert split_voice("a thick low red seven, slow") == ("a thick red seven", 0, 0)
    for wrong, why in (("a high low seven", "high and low"), ("a red seven", "cannot be heard"),
                       ("a hihg seven", "unknown word"), (7, "a caption is a string")):
        with pytest.raises(CaptionError, match=why):
            parse_sound(wrong)


def test_held_out_sounds_are_one_in_ten_and_never_in_a_sample(spoken_digits):
    every = all_sounds()
    held_out = every[is_held_out_sound(every)]
    assert len(held_out) == 9 and len(set(map(tuple, held_out[:, 1:].tolist()))) == 9
    assert not is_held_out_sound(spoken_digits.said).any()
    assert is_held_out_sound(SpokenDigits(5, 3, held_out=True).said).all()
    pictures, said = spoken_digits.sample(11, generator_for(0))
    assert pictures.shape == (11, 1, 32, 32) and said.shape == (11, 3)


def test_a_file_of_sounds_holds_them(tmp_path, spoken_digits):
    show_sound.save_wav(spoken_digits.waves[:2], tmp_path / "two.wav", RATE)
    with wave.open(str(tmp_path / "two.wav")) as file:
        assert (file.getframerate(), file.getnframes(), file.getsampwidth(), file.getnchannels()) == (RATE, 8192, 2, 1)
        read = torch.frombuffer(bytearray(file.readframes(8192)), dtype=torch.int16).view(2, -1) / 32_767
    assert (read - spoken_digits.waves[:2]).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r"a \.wav file"):
        show_sound.save_wav(spoken_digits.waves[:1], tmp_path / "two.mp3", RATE)
