"""Outlines of objects."""

from __future__ import annotations

import numpy as np

from napari_medssl.instances.outlines import outlines


def test_outlines_run_along_the_outermost_pixels() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:10] = 7
    labels[10:18, 10:20] = 9
    labels[12:15, 13:16] = 0  # a hole
    labels[0, 29] = 7  # another piece, of one pixel
    box, dot = sorted(outlines(labels, [7]), key=len, reverse=True)
    assert box.min(0).tolist() == [2, 3]
    assert box.max(0).tolist() == [5, 9]
    assert (box[0] == box[-1]).all()
    assert dot.tolist() == [[0, 29], [0, 29]]
    assert len(outlines(labels, [9])) == 2
    assert outlines(labels, [1]) == []
