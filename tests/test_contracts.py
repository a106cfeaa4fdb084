"""What the formulas and the training steps promise: few guards, and no wait for the device but one."""

import ast
from pathlib import Path

import pytest
import torch

import minidiff
from minidiff.data import grammar
from minidiff.pipelines import autoencoder, classifier, clip, language, text2image, toy
from minidiff.training import train

PACKAGE = Path(minidiff.__file__).parent
WAITS = ("item", "tolist", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")       # for a value


@pytest.fixture(scope="module")
def recipe_of(captioned):
    """A function from a name to a small recipe of that stage."""
    def recipe_of(name):
        if name == "toy":
            return toy.recipe(torch.randn(11, 2), steps=3, batch=7)
        if name == "gpt":
            return language.recipe(*grammar(0.3), steps=3, batch=7)
        if name != "unet":
            module = {"classifier": classifier, "clip": clip, "autoencoder": autoencoder}[name]
            return module.recipe(captioned, steps=3, batch=7)
        tower, model = (module.recipe(captioned).model.eval() for module in (clip, autoencoder))
        encoded = text2image.latents_of(captioned, model, 100)
        return text2image.unet_recipe(captioned, tower, model, encoded=encoded, steps=3, batch=7, levels=(0.25, 1.25))

    return recipe_of


@pytest.mark.parametrize("name", [*text2image.STAGES, "toy", "gpt"])
def test_a_training_step_waits_for_the_device_once_at_most(recipe_of, monkeypatch, name):
    """A GPU computes ahead of Python, unless Python asks for a value; in a step only the loop does, for the loss."""
    waits, training = [], train(recipe_of(name))
    next(training)

    def counted(wait):
        plain = getattr(torch.Tensor, wait)
        return lambda *given, **named: waits.append(wait) or plain(*given, **named)

    for wait in WAITS:
        monkeypatch.setattr(torch.Tensor, wait, counted(wait))
    assert bool(torch.ones(1)) and waits == ["__bool__"]         # it counts
    waits.clear()
    next(training)
    monkeypatch.undo()
    assert len(waits) <= 1, waits


def test_few_lines_of_the_formulas_are_guards():
    """At most 20 in 1,000 lines of `diffusion` and `models` refuse something."""
    guards, lines = 0, 0
    for path in [*PACKAGE.glob("diffusion/*.py"), *PACKAGE.glob("models/*.py")]:
        text = path.read_text(encoding="utf-8")
        lines += len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            guards += isinstance(node, (ast.Raise, ast.Assert))
            guards += isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("check")
    assert lines > 1_000 and guards <= 0.020 * lines, (guards, lines)
