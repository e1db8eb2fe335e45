from __future__ import annotations

import numpy as np

from napari_medssl.instances.objects import ObjectRow, areas, object_table


def test_the_table_counts_by_hand() -> None:
    labels = np.zeros((6, 8), np.uint16)
    labels[1:3, 2:6] = 7
    labels[5, 0] = 2
    labels[5, 7] = 2  # an object may have parts
    assert areas(labels) == {2: 2, 7: 8}
    assert object_table(labels) == [
        ObjectRow(2, 2, (5.0, 3.5), (5, 0, 6, 8)),
        ObjectRow(7, 8, (1.5, 3.5), (1, 2, 3, 6)),
    ]
    assert object_table(np.zeros((3, 3), int)) == []
