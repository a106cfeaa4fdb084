"""The autoencoder, trained on captioned digits."""

from minidiff.models.autoencoder import Autoencoder, AutoencoderConfig
from minidiff.tools.checks import check_dataset
from minidiff.tools.runtime import budget, generator_for
from minidiff.training.checkpoint import load_model
from minidiff.training.loop import Recipe


def recipe(captioned, seed=0, config=AutoencoderConfig(), steps=None, batch=None, lr=4e-3):
    """Train the autoencoder on random captioned digits; in the end the latents' mean and std are measured."""
    check_dataset(captioned, config.channels, columns=0)
    device, batch = captioned.labels.device, budget(full=128, small=64, fast=32, given=batch)

    def loss_of(model, generator):
        pictures, _ = captioned.sample(batch, generator)
        return model.loss(pictures, generator)

    def finish(model):
        pictures, _ = captioned.sample(4_000, generator_for(seed, 1, device=device))
        model.measure_latents(pictures)

    return Recipe("autoencoder", lambda: Autoencoder(config), config, loss_of,
                  budget(full=3_000, small=1_440, fast=30, given=steps), batch, lr, seed, decay="linear", finish=finish,
                  objective={"data": captioned.checksum}, device=device)


def load(path):
    """The trained autoencoder in a checkpoint."""
    return load_model(path, Autoencoder, AutoencoderConfig)[0]
