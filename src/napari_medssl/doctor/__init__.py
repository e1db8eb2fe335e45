"""`medssl doctor`: what this installation can do, what it cannot, why, and the command that mends it."""

from napari_medssl.doctor.diagnosis import Diagnosis, Finding, diagnose

__all__ = ["Diagnosis", "Finding", "diagnose"]
