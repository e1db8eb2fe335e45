"""Learn from annotations: a linear probe, a decoder on a frozen encoder, or the whole network."""

from napari_medssl.learn.finetune.config import FinetuneConfig, Mode, Part
from napari_medssl.learn.finetune.probe import ProbeTask
from napari_medssl.learn.finetune.split import hold_out
from napari_medssl.learn.finetune.task import FinetuneTask

__all__ = ["FinetuneConfig", "FinetuneTask", "Mode", "Part", "ProbeTask", "hold_out"]
