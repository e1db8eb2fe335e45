"""Scores of segmentations, features and methods: small functions on arrays. Never torch."""

from napari_medssl.evaluate.metrics import ClassScore, Evaluation, ImageScore, dice, iou

__all__ = ["ClassScore", "Evaluation", "ImageScore", "dice", "iou"]
