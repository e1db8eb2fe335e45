"""Objects in label arrays: 0 is no object, every other value is the id of one.

Numpy, scipy, OpenCV and scikit-image only: training makes targets with this room, the viewer corrects objects with it.
The modules: `watershed` (distance maps to objects and back, touching objects apart), `objects` (a table of them),
`editing` (merge, split, add, drop), `by_class` (objects and classes of one image), `finding` (those of a prediction).
"""

from __future__ import annotations
