"""Objects and classes of the same image."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.instances.by_class import classes_of, separate_classes


def test_objects_of_different_classes_that_touch_are_two() -> None:
    labels = np.ones((12, 30), np.uint16)
    labels[2:10, 2:12] = 2
    labels[2:10, 12:20] = 4  # touches; the value 3 is no class
    labels[2:10, 24:28] = 2
    labels[0] = 0
    objects = separate_classes(labels)
    np.testing.assert_array_equal(objects > 0, labels >= 2)
    assert classes_of(objects, labels) == {1: 2, 2: 2, 3: 4}
    assert separate_classes(np.ones((4, 4), np.uint16)).max() == 0


def test_an_object_is_what_most_of_it_is() -> None:
    objects = np.zeros((4, 10), np.int32)
    objects[:, :5], objects[:, 6:] = 7, 9
    labels = np.ones((4, 10), np.uint16)  # mostly background, which no object is
    labels[0, :5] = 3
    labels[1, :2] = 2
    assert classes_of(objects, labels) == {7: 3}
    with pytest.raises(MedsslError, match=r"\(4, 10\), the labels have \(3, 3\)"):
        classes_of(objects, np.ones((3, 3), np.uint16))
