"""Reports: one HTML file each, with everything in it."""

from napari_medssl.evaluate.report.page import Report
from napari_medssl.evaluate.report.telling import write_report

__all__ = ["Report", "write_report"]
