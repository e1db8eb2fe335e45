from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medssl.errors import MedsslError
from napari_medssl.instances.editing import add_objects, keep_areas, merge, new_id, renumber, split
from napari_medssl.instances.objects import areas


def field() -> np.ndarray:
    labels = np.zeros((20, 30), np.uint16)
    labels[2:12, 2:12] = 4
    labels[2:12, 12:20] = 9
    labels[15:17, 25:27] = 6
    return labels


def test_merged_objects_keep_the_lowest_id() -> None:
    labels = field()
    merged = merge(labels, [9, 4])
    assert areas(merged) == {4: 180, 6: 4}
    assert areas(labels) == {4: 100, 6: 4, 9: 80}  # what was given is not changed
    assert merged.dtype == np.uint16
    with pytest.raises(MedsslError, match="no object 5"):
        merge(labels, [4, 5])
    with pytest.raises(MedsslError, match="two objects or more"):
        merge(labels, [4, 4])


def test_a_line_cuts_an_object_and_no_pixel_is_lost() -> None:
    labels = field()
    cut = split(labels, 4, [(-3, 5.2), (25, 5.2)])
    assert areas(cut)[4] + areas(cut)[10] == 100
    assert (cut == 4)[:, 7:].sum() == 50  # the larger piece keeps the id
    assert ((cut > 0) == (labels > 0)).all()
    assert (cut[labels != 4] == labels[labels != 4]).all()
    three = split(labels, 4, [(0, 0), (14, 14), (14, 0), (0, 14)])  # a cross
    assert sorted(areas(three)) == [4, 6, 9, 10, 11, 12]
    for line in ([(5, 5), (8, 8)], [(0, 25), (19, 25)], [(2, 2), (2, 11)]):
        with pytest.raises(MedsslError, match="does not cut object 4"):
            split(labels, 4, line)
    with pytest.raises(MedsslError, match="two corners"):
        split(labels, 4, [(5, 5)])


def test_parts_that_the_line_does_not_touch_stay() -> None:
    labels = field()
    labels[14:18, 2:6] = 4
    cut = split(labels, 4, [(0, 6), (12.5, 6)])
    assert (cut[14:18, 2:6] == 4).all()
    assert cut.max() == 10


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    line=st.lists(st.tuples(st.floats(-10, 40), st.floats(-10, 40)), min_size=2, max_size=4),
)
def test_no_cut_touches_another_object_or_makes_one_out_of_nothing(
    seed: int, line: list[tuple[float, float]]
) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (6, 6)).repeat(5, 0).repeat(5, 1)
    number = int(labels.max())
    if number == 0:
        return
    try:
        cut = split(labels, number, line)
    except MedsslError:
        return
    assert ((cut > 0) == (labels > 0)).all()
    assert (cut[labels != number] == labels[labels != number]).all()
    assert len(np.unique(cut)) > len(np.unique(labels))
    assert (cut == number).any()


def test_areas_are_kept_within_limits() -> None:
    assert areas(keep_areas(field(), smallest=5)) == {4: 100, 9: 80}
    assert areas(keep_areas(field(), smallest=4, largest=80)) == {6: 4, 9: 80}
    with pytest.raises(MedsslError, match="below the smallest"):
        keep_areas(field(), smallest=5, largest=4)


def test_ids_never_collide() -> None:
    labels = field()
    others = np.zeros_like(labels)
    others[0:4, 0:4] = 4  # the same id, another object, partly over it
    others[18:, :3] = 2
    added = add_objects(labels, others)
    assert areas(added) == areas(labels) | {10: 6, 11: 12}
    over = add_objects(labels, others, overwrite=True)
    assert areas(over)[4] == 96
    assert areas(over)[11] == 16
    assert (add_objects(labels, 0 * others) == labels).all()
    full = labels.copy()
    full[0, 0] = 65535
    for change in (lambda: add_objects(full, others), lambda: split(full, 4, [(0, 6), (14, 6)])):
        with pytest.raises(MedsslError, match="65535 is in use"):
            change()
    assert areas(renumber(full)) == {1: 100, 2: 4, 3: 80, 4: 1}
    assert new_id(renumber(full)) == 5
    with pytest.raises(MedsslError, match=r"\(2, 2\)"):
        add_objects(labels, np.zeros((2, 2), int))
