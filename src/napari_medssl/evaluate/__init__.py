"""Scores of segmentations against truth. Numpy only."""

from napari_medssl.evaluate.metrics import ClassScore, Evaluation, ImageScore, dice, iou

__all__ = ["ClassScore", "Evaluation", "ImageScore", "dice", "iou"]
