"""What is in no paper: the machine, checks at the doors, files, figures."""

from minidiff.tools import show, show_attention, show_plane, show_sound, study
from minidiff.tools.files import FileError, atomic_write, read_json, write_json
from minidiff.tools.runtime import (
    DeviceError,
    autocast,
    budget,
    budget_name,
    fast_bf16,
    generator_for,
    noise_for,
    peak_memory_mb,
    pick_device,
    runs_folder,
    seed_all,
    trained_folder,
)
