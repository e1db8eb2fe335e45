"""Everything that trains or runs a network. The only room that imports torch."""

from __future__ import annotations

import os

# OpenMP reads this when torch loads it. By default its threads spin while they wait for each other,
# which is quick on an idle machine and dreadful on a busy one: on two busy cores a training step
# with two spinning threads took three to four times as long as with two that sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
