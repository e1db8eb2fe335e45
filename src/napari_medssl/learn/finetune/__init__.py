"""Learn from annotations: a linear probe, a decoder on a frozen encoder, or the whole network."""

from napari_medssl.learn.finetune.config import PRESETS, FinetuneConfig, Mode, Part, Preset
from napari_medssl.learn.finetune.probe import ProbeTask
from napari_medssl.learn.finetune.task import FinetuneTask

__all__ = ["PRESETS", "FinetuneConfig", "FinetuneTask", "Mode", "Part", "Preset", "ProbeTask"]
