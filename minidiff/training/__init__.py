"""How anything here is trained: one visible loop, an average of the weights, an optimizer, files that survive."""

from minidiff.training.checkpoint import CheckpointError, load_checkpoint, load_model, save_checkpoint
from minidiff.training.ema import EMA
from minidiff.training.loop import Progress, Recipe, lr_at, run, train
from minidiff.training.muon import Muon, MuonAdamW, orthogonalize
