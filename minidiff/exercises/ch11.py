"""Chapter 11, on `11_sound.ipynb`: tones that fold, a glide, a spectrum by sums, mel, decibels, waves from frames."""

import math

import torch

from minidiff.data.sounds import RATE
from minidiff.exercises.form import Exercise, randn, there_and_back
from minidiff.tools.checks import kind_of


def glides(answer):
    """Is the loudest frequency of 1,024 samples, at five times, on the line from 150 to 300 Hz?"""
    shares = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    for rate, samples in ((RATE, 8009), (5003, 7001)):
        mine = answer(rate, samples)
        if mine is None:
            return None, ""
        if not torch.is_tensor(mine) or mine.shape != (samples,) or not mine.isfinite().all() or not mine.any():
            hint = "" if torch.is_tensor(mine) else "; `torch.tensor` or `torch.from_numpy` makes a tensor"
            return False, (f"expected a wave, a tensor ({samples},) of finite numbers that are not all zero, got "
                           f"{kind_of(mine)}{hint}")
        frames = mine.double().unfold(0, 1024, 1)[(shares * samples).long() - 512] * torch.hann_window(1024)
        hertz, true = torch.fft.rfft(frames, 2**15).abs().argmax(1) * rate / 2**15, 150 + 150 * shares
        reached = (hertz - true).abs().max().item() < 3
        if not reached:
            break
    measured, goal = (", ".join(f"{pitch:.0f}" for pitch in some.tolist()) for some in (hertz, true))
    return reached, (f"at {rate:,} samples a second the pitch is {measured} Hz, measured at five times; on the line it "
                     f"is {goal} Hz (the goal: within 3 Hz)")


def summed(size=lambda c, s: (c**2 + s**2).sqrt(), bins=lambda N: N // 2 + 1, turns=1, seen=lambda frame: frame):
    """Somebody's spectrum: what they make of two sums, for how many frequencies, how often frequency 1 turns."""
    def answer(frame):
        N = len(frame)
        angle = 2 * math.pi * turns * torch.arange(bins(N))[:, None] * torch.arange(N) / N
        return size(angle.cos() @ seen(frame), angle.sin() @ seen(frame))

    return answer


def mels(factor=2595, log=torch.log10, base=10, seven=700, one=1):
    """Somebody's mel scale and the way back from it."""
    return lambda hertz: factor * log(one + hertz / seven), lambda mel: seven * (base ** (mel / factor) - one)


def to_pictures(power):
    """power (B, F, T) of sounds, at frequencies and times -> pictures (B, F, T): the loudest is 1, 60 dB below is -1"""
    decibels = 20 * power.clamp_min(1e-10).log10()
    below = decibels - decibels.max()                            # at most 0
    return (2 * below / 60 + 1).clamp_min(-1)


def drawn(times=10, log=torch.log10, axes=(1, 2), white=2, black=-1, least=1e-10):
    """Somebody's pictures: their decibels, the axes along which one place is the loudest, and their colors."""
    def answer(power):
        level = times * log(power.clamp_min(least))
        return (white * (level - level.amax(axes, keepdim=True)) / 60 + 1).clamp_min(black)

    return answer


def joined(again=lambda w: w, weight=lambda w: w.square(), step=lambda hop, N: hop, keep=1,
           over=lambda total, weight: (total / weight).where(weight >= 1e-8, 0.0)):
    """Somebody's wave: what pieces are multiplied and divided by, how far apart they are, whether they add up."""
    def answer(pieces, window, hop):
        (B, T, N), hop = pieces.shape, step(hop, len(window))
        total, weights = torch.zeros(B, (T - 1) * hop + N), torch.zeros((T - 1) * hop + N)
        for start, piece in zip(range(0, T * hop, hop), pieces.unbind(1)):
            part = slice(start, start + N)
            total[:, part] = keep * total[:, part] + piece * again(window)
            weights[part] = keep * weights[part] + weight(window)
        return over(total, weights)

    return answer


def joining_cases():
    return [(randn(1160 + N, B, T, N), window, hop) for B, T, N, hop, window in (
        (2, 5, 11, 3, torch.hann_window(11)), (3, 5, 7, 2, randn(1160, 7).abs() + 0.2),
        (2, 3, 5, 7, torch.hann_window(5)), (3, 2, 7, 7, torch.hann_window(7).clamp_min(1e-6)))]


def one_round(last=lambda frames, magnitude: (frames / frames.abs()).where(frames != 0, 1),
              first=lambda magnitude, phases: magnitude * phases):
    """Somebody's round of Griffin and Lim: the frames that they begin with, and what they return of the new ones."""
    return lambda magnitude, phases, there, back: last(there(back(first(magnitude, phases))), magnitude)


def rounding_cases():
    """At the beginning, the magnitudes are zero for so long that the first frame stays exactly zero."""
    def case(seed, B, T, size, hop):
        window, shape = torch.hamming_window(size), (B, size // 2 + 1, T)
        magnitude = (randn(seed, *shape).abs() + 0.1) * (torch.arange(T) >= size / hop)
        return (magnitude, torch.polar(torch.ones(shape), 2 * randn(seed + 1, *shape)),
                lambda waves: torch.fft.rfft(waves.unfold(-1, size, hop) * window).mT,
                lambda frames: joined()(torch.fft.irfft(frames.mT, size), window, hop))

    return [case(1171, 2, 7, 8, 2), case(1182, 3, 5, 12, 5)]


def shifted(fit=lambda frame, k: (frame[:len(frame) - k] * frame[k:]).mean(),
            shifts=lambda short, long, N: range(math.ceil(short), math.floor(long) + 1),
            said=lambda rate, k, best: rate / k[best]):
    """Somebody's pitch: how like itself a shifted frame is, which shifts they try, and what they say."""
    def answer(frame, rate, lowest, highest):
        tried = shifts(rate / highest, rate / lowest, len(frame))
        return said(rate, torch.tensor(tried), torch.stack([fit(frame, k) for k in tried]).argmax())

    return answer


def by_whole_hertz(whole):
    """Somebody who tries whole Hz instead of whole shifts, and how they make a period whole."""
    return lambda frame, rate, lowest, highest: float(max(range(lowest, highest + 1), key=lambda hertz: (
        frame[:-whole(rate / hertz)] * frame[whole(rate / hertz):]).mean()))


def voices():
    """Frames of noisy voices, the pitch of the third a little above the limits, and that of the fourth below."""
    def voice(seed, N, rate, hertz):
        turn = 2 * math.pi * hertz * torch.arange(N) / rate
        return sum(loud * torch.sin(k * turn + k) for k, loud in ((1, 1), (2, 1.5), (3, 0.7))) + 0.1 * randn(seed, N)

    return [(voice(1180 + N, N, rate, hertz), rate, low, high) for N, rate, hertz, low, high in (
        (199, 8000, 148.1, 90, 340), (149, 8000, 111.3, 90, 340), (211, 8000, 307.7, 180, 302),
        (223, 5003, 97.8, 99, 290))]


EXERCISES = [
    Exercise(
        "11.1", "A tone that is too high", "number", stars=1, minutes=5, tolerance=1, reference=lambda: float(
            torch.fft.rfft(torch.cos(2 * math.pi * 5000 / RATE * torch.arange(RATE).double())).abs().argmax()),
        prompt="A tone of 5,000 Hz is sampled 8,000 times a second, and no filter comes before the sampling. Then the "
               "samples are played as a sound. Predict the frequency of the tone that is heard, in Hz.",
        reason="From sample to sample the tone makes 5/8 of a turn, and nobody can tell that from 3/8 of a turn "
               "backward. That is why a recorder first filters out all that is above half the sample rate.",
        hints=("What part of a turn does the tone make from one sample to the next?",
               "5/8 of a turn forward ends where 3/8 of a turn backward does.", "3/8 · 8,000 Hz"),
        mistakes={
            "With 8,000 samples a second, only tones up to 4,000 Hz are heard as they are.": 5000,
            "4,000 Hz is the highest tone that can be heard. A higher one does not stop there; it is mirrored.": 4000,
            "That is how far the tone is above 4,000 Hz. It is heard just as far below 4,000 Hz.": 1000,
            "That is where a tone of 10,000 Hz would be heard. Mirror 5,000 Hz at 4,000 Hz.": 2000,
            "The minus sign only says that the tone turns backward. What is heard is the size.": -3000,
            "The samples of this tone are not zero, and nothing filters it out, so something is heard.": 0}),
    Exercise(
        "11.2", "A pitch that rises", "open", stars=2, minutes=20, goal=glides,
        reference=lambda rate, N: (2 * math.pi / rate * torch.linspace(150, 300, N).double()).cumsum(0).sin(),
        prompt="Write a sine wave whose pitch rises along a straight line, from 150 Hz at its first sample to 300 Hz "
               "at its last. The goal is a pitch within 3 Hz of this line, wherever it is measured.",
        signature="my_glide(rate, samples)", shapes="samples in a second, samples in the wave -> a wave (samples,)",
        hints=("How fast does the argument of sin(2π f(t) t) grow? Take its derivative with the product rule.",
               "The phase, which is the angle inside the sine, is the integral of 2π f(t), just as the distance a car "
               "has gone is that of its speed.",
               "If `hertz` is the pitch at every sample, take `(2 * math.pi * hertz / rate).cumsum(0).sin()`.")),
    Exercise(
        "11.3", "One frame, by sums", "code", stars=2, minutes=15, cases=lambda: [(randn(N, N),) for N in (13, 7, 22)],
        reference=lambda frame: torch.fft.rfft(frame).abs(),
        prompt="Find out how much of each frequency is in a frame of N samples, without `torch.fft`. Frequency k makes "
               "k turns in N samples. Multiply sample n by cos(2π k n / N) and sum over n, and do the same with the "
               "sine. The magnitude is the root of the sum of both squares. Find it for each k from 0 to N // 2.",
        signature="my_spectrum(frame)", shapes="frame (N,) -> magnitudes (N // 2 + 1,)",
        hints=("A table of cosines, with a row for each k and a column for each n, times the frame gives all sums.",
               "`angle = 2 * math.pi * torch.arange(N // 2 + 1)[:, None] * torch.arange(N) / N`",
               "`((angle.cos() @ frame) ** 2 + (angle.sin() @ frame) ** 2).sqrt()`"),
        mistakes={
            "You only used cosines. They miss a tone that begins like a sine.": summed(lambda c, s: c.abs()),
            "You only used sines. They miss a tone that begins like a cosine.": summed(lambda c, s: s.abs()),
            "That is the power. The magnitude is its root.": summed(lambda c, s: c**2 + s**2),
            "You added sizes. Add the squares and take the root.": summed(lambda c, s: c.abs() + s.abs()),
            "You squared the sum of both. Square each of them first.": summed(lambda c, s: (c + s).abs()),
            "The factor 2 of 2π is missing, so your frequency k makes only k / 2 turns.": summed(turns=0.5),
            "You took the mean over the samples. Take the sum.": summed(seen=lambda frame: frame / len(frame)),
            "Above N // 2 a real frame has the same magnitudes again, mirrored. Stop there.": summed(bins=lambda N: N),
            "The last frequency is missing, because a range stops before its end.": summed(bins=lambda N: N // 2),
            "You put a window over the frame. Take the frame as it is.":
                summed(seen=lambda frame: frame * torch.hann_window(len(frame)))}),
    Exercise(
        "11.4", "Mel and back", "pair", stars=2, minutes=10, run=there_and_back, reference=mels(),
        cases=lambda: [(50 + 4000 * randn(1141, 5, 3).sigmoid(),), (4000 * randn(1142, 7).sigmoid() ** 3,)],
        prompt="Write `my_mel`, which turns frequencies into mel by 2595 · log10(1 + f / 700), and `my_hertz`, which "
               "turns mel back into frequencies.",
        signature="my_mel(hertz)\nmy_hertz(mels)", shapes="a tensor of any shape, in Hz -> in mel\nin mel -> in Hz",
        hints=("`torch.log10` is the logarithm with base 10, and `10 ** x` undoes it.",
               "Undo the steps from the last to the first: divide by 2595, raise 10 to that power, and so on.",
               "`2595 * torch.log10(1 + hertz / 700)` and `700 * (10 ** (mels / 2595) - 1)`"),
        mistakes={
            "You took the natural logarithm. The factor 2595 goes with base 10.": mels(log=torch.log, base=math.e),
            "The factor 1127 goes with the natural logarithm. With base 10 it is 2595.": mels(1127),
            "The 1 in the logarithm is missing, so low frequencies become negative.": mels(one=0),
            "You divided by 1,000, but it is 700.": mels(seven=1000),
            "A logarithm with base 10 is undone by a power of 10, not of e.": (mels()[0], mels(base=math.e)[1]),
            "On the way back you did not subtract the 1.": (mels()[0], mels(one=0)[1]),
            "On the way back you subtracted 1 after you multiplied by 700. Subtract it before.":
                (mels()[0], lambda mels: 700 * 10 ** (mels / 2595) - 1),
            "A function goes the wrong way. `my_mel` comes first and gives mel, and `my_hertz` gives Hz.": mels()[::-1],
            "Your two functions do nothing, so each undoes the other.": (lambda hertz: hertz, lambda mels: mels)}),
    Exercise(
        "11.5", "Find the bugs: too dark", "bug", stars=2, minutes=15, broken=to_pictures, reference=drawn(),
        cases=lambda: [((6 * randn(seed, *size) + 3 * randn(seed + 1, size[0], 1, 1)).exp()
                        * (torch.arange(size[0]) < heard)[:, None, None],)
                       for seed, size, heard in ((1151, (3, 5, 7), 3), (1153, (2, 11, 3), 2), (1155, (3, 2, 5), 2))],
        prompt="The power of each sound becomes a picture. Its loudest place should be 1, and every place that is 60 "
               "dB or more below that should be −1. In a silent sound every place is the loudest. "
               "This function runs without an error, but the pictures are too dark, because there are two bugs in it. "
               "Fix both.",
        hints=("Power is the square of an amplitude. What does that change in decibels?",
               "What does the picture of a quiet sound look like if there is a loud sound in the batch?",
               "Take `10 * power.clamp_min(1e-10).log10()`, and subtract `decibels.amax((1, 2), keepdim=True)`."),
        mistakes={
            "The loudest place is right now, but 20 log10 is for amplitudes. For power it is 10 log10.": drawn(20),
            "The decibels are right now, but the loudest sound of the batch still decides.": drawn(axes=(0, 1, 2)),
            "You took 5 log10. For power it is 10 log10.": drawn(5),
            "You took the natural logarithm. Decibels have base 10.": drawn(log=torch.log),
            "In your pictures each frequency has a place that is 1. A whole picture has only one.": drawn(axes=2),
            "In your pictures each time has a place that is 1. A whole picture has only one.": drawn(axes=1),
            "Your pictures go from 0 to 1, but black is −1.": drawn(white=1, black=0),
            "What is below −60 dB gets darker than black. Keep the clamp.": drawn(black=-1000),
            "A silent sound has power 0, and you took its logarithm, −∞. Keep `clamp_min(1e-10)`.": drawn(least=0)}),
    Exercise(
        "11.6", "From frames to a wave", "code", stars=3, minutes=25, reference=joined(), cases=joining_cases,
        prompt="Frames were cut out of a sound and multiplied by a window, then somebody changed them. Each is a piece "
               "of N samples, and piece t begins at sample t · hop. Griffin and Lim (1984, eq. 6) found the wave whose "
               "frames are nearest to them: multiply each piece by the window once more, add what overlaps, and divide "
               "every sample by the sum of the squared windows there. These frames are not padded, so that at the very "
               "ends there may be no window at all. Where the sum is below 1e-8, return 0.",
        signature="my_overlap(pieces, window, hop)",
        shapes="pieces (B, T, N), window (N,), hop -> waves (B, (T − 1) hop + N)",
        hints=("Begin with two tensors of zeros, `total` for the pieces and `weight` for the squared windows.",
               "For each t, add `pieces[:, t] * window` to `total[:, t * hop:t * hop + N]`, and `window ** 2` to "
               "`weight[t * hop:t * hop + N]`.", "`torch.where(weight < 1e-8, 0, total / weight)`"),
        mistakes={
            "You did not divide by the sum of the squared windows.": joined(over=lambda total, weight: total),
            "You divided by the sum of the windows. Divide by the sum of their squares.": joined(weight=lambda w: w),
            "You did not multiply by the window again, but you divided by squares.": joined(torch.ones_like),
            "You added pieces as they are and divided by the sum of the windows. That undoes the first window, but "
            "for changed frames it is not the nearest wave.": joined(torch.ones_like, lambda w: w),
            "You took a plain mean where pieces overlap. The window weights them.":
                joined(torch.ones_like, torch.ones_like),
            "Where pieces overlap, the last one won. Add them.": joined(torch.ones_like, torch.ones_like, keep=0),
            "You divided every sample by one number, but near both ends fewer windows overlap.":
                joined(over=lambda total, weight: total / weight.max()),
            "You divided 0 by 0 where no window reaches.": joined(over=lambda total, weight: total / weight),
            "You avoided 0 / 0, but a sum that is not 0 can be below 1e-8, too. Return 0 there.":
                joined(over=lambda total, weight: (total / weight).where(weight > 0, 0.0)),
            "You kept the divisor away from 0, but where the sum is below 1e-8, the result must be 0.":
                joined(over=lambda total, weight: total / weight.clamp_min(1e-8)),
            "You put the pieces end to end. They begin `hop` samples apart.": joined(step=lambda hop, N: N),
            "You moved on by half a window, but `hop` may be another number.": joined(step=lambda hop, N: N // 2)}),
    Exercise(
        "11.7", "One round of Griffin and Lim", "code", stars=2, minutes=15, reference=one_round(),
        cases=rounding_cases,
        prompt="The magnitudes of frames are known, and the phases, complex numbers of length one, are only a guess. A "
               "round of Griffin and Lim improves the guess: `back` turns the frames that have these magnitudes and "
               "phases into waves, and `there` turns the waves into new frames. Return the phases of the new frames. "
               "Where a number in them is exactly zero, return 1, so that its known magnitude is not lost in the next "
               "round.",
        signature="my_round(magnitude, phases, there, back)",
        shapes="magnitude and phases (B, F, T); there: waves -> frames; back: frames -> waves; gives phases (B, F, T)",
        hints=("Magnitudes times phases are frames, and `back` makes waves of them.",
               "The new frames are `there(back(magnitude * phases))`. Divide each number by its length, `.abs()`.",
               "`torch.where(frames == 0, 1, frames / frames.abs())`"),
        mistakes={
            "Those are the new frames. Divide each number by its length.": one_round(lambda new, m: new),
            "Those are the old phases. Go to the waves and back.": lambda magnitude, phases, there, back: phases,
            "You went to the waves without the magnitudes.": one_round(first=lambda magnitude, phases: phases),
            "You multiplied the new phases by the magnitudes. Leave that to the next round.":
                one_round(lambda new, m: torch.polar(m, new.angle())),
            "You multiplied the new phases by the magnitudes, and where a new frame is zero, you divided 0 by 0.":
                one_round(lambda new, m: m * new / new.abs()),
            "You divided by the known magnitudes. Divide each number by its own length.":
                one_round(lambda new, m: new / m),
            "You returned only the real part. A phase is complex.": one_round(lambda new, m: new.angle().cos()),
            "Those are angles φ. Return cos φ + i sin φ.": one_round(lambda new, m: new.angle()),
            "Your phases turn backward. Divide a frame by its length, not its length by the frame.":
                one_round(lambda new, m: new.abs() / new),
            "Where a new frame is zero, you return 0. Return 1 there.": one_round(lambda new, m: new.sgn()),
            "Where a new frame is zero, you divide 0 by 0. Return 1.": one_round(lambda new, m: new / new.abs())}),
    Exercise(
        "11.8", "How high is the voice?", "code", stars=3, minutes=20, reference=shifted(), cases=voices,
        run=lambda answer, *case: 1.0 * pitch if torch.is_tensor(pitch := answer(*case)) else pitch,
        prompt="A voice repeats itself, so a frame of it looks most like itself if it is shifted by one period. To see "
               "how well a shift by k samples fits, take the mean of frame[n] · frame[n + k] over all n for which both "
               "are in the frame. Try every whole k for which the pitch rate / k is between `lowest` and `highest`, "
               "and return the pitch that fits best.",
        signature="my_pitch(frame, rate, lowest, highest)",
        shapes="frame (N,), samples a second, the limits of the pitch in Hz -> the pitch in Hz",
        hints=("The highest pitch has the shortest period: k is at least rate / highest and at most rate / lowest.",
               "k goes from `math.ceil(rate / highest)` to `math.floor(rate / lowest)`, and both ends count. How well "
               "k fits is `(frame[:-k] * frame[k:]).mean()`.",
               "`rate / max(shifts, key=lambda k: (frame[:-k] * frame[k:]).mean())`, where `shifts` is a range."),
        mistakes={
            "You took the sum, which has fewer terms for a long shift. Take the mean.":
                shifted(lambda frame, k: (frame[:len(frame) - k] * frame[k:]).sum()),
            "`roll` wraps around, so the end of your frame meets its beginning. Leave these terms out.":
                shifted(lambda frame, k: (frame * frame.roll(k)).mean()),
            "That is the period in samples. The pitch is rate / k.": shifted(said=lambda rate, k, best: 1.0 * k[best]),
            "That is the period in seconds. Divide 1 by it.": shifted(said=lambda rate, k, best: k[best] / rate),
            "You took 8,000 for the sample rate. It is `rate`, which may be another number.":
                lambda frame, rate, *limits: shifted()(frame, 8000, *limits),
            "You divided 8,000 by k. Divide `rate` by it.": shifted(said=lambda rate, k, best: 8000 / k[best]),
            "You tried every whole Hz and rounded its period. Try every whole shift instead.": by_whole_hertz(round),
            "You tried every whole Hz and rounded its period down. Try every whole shift instead.": by_whole_hertz(int),
            "`argmax` counts from your first shift. Add that shift.": shifted(said=lambda rate, k, best: rate / best),
            "You tried a shift of 0. It always fits.": shifted(shifts=lambda short, long, N: range(int(long) + 1)),
            "You tried shifts below rate / highest.": shifted(shifts=lambda short, long, N: range(1, int(long) + 1)),
            "You tried shifts above rate / lowest.": shifted(shifts=lambda short, long, N: range(math.ceil(short), N)),
            "You rounded rate / highest down, so your first pitch is above `highest`. Round it up.":
                shifted(shifts=lambda short, long, N: range(int(short), int(long) + 1)),
            "You left out the last shift, because `range` stops before its end.":
                shifted(shifts=lambda short, long, N: range(math.ceil(short), int(long))),
            "That is the loudest frequency of the frame. In a voice it can be a harmonic.":
                lambda frame, rate, lowest, highest: rate * torch.fft.rfft(frame).abs().argmax() / len(frame)}),
]
