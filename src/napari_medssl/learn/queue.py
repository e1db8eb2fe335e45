"""A queue of vectors from earlier batches, which later ones are contrasted with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KeyQueue"]

NO_IMAGE = -1


class KeyQueue(nn.Module):
    """The newest keys of whole views and of single pixels, and the images (or units of images) they come from.

    Its content is part of the state, so that a resumed training goes on with it.

    Parameters
    ----------
    length : int
        Number of keys of each kind.
    dimension : int
        Length of a key.
    """

    keys: Tensor  # (K, D), normalised
    pixels: Tensor  # (K, D), normalised; one pixel of each view
    images: Tensor  # (K,) number of the image or unit; NO_IMAGE where there is no key yet
    end: Tensor  # () where the next key goes

    def __init__(self, length: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(length, dimension))
        self.register_buffer("pixels", torch.zeros(length, dimension))
        self.register_buffer("images", torch.full((length,), NO_IMAGE))
        self.register_buffer("end", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def held(self) -> int:
        """Number of keys of each kind that are there; waits for the device."""
        return int((self.images != NO_IMAGE).sum())

    @torch.no_grad()
    def put(self, keys: Tensor, pixels: Tensor, images: Tensor) -> None:
        """Put keys and pixels (B, D) over the oldest ones; of more than the queue holds, the last."""
        count, length = len(images), len(self)
        places = (self.end + torch.arange(count, device=images.device)) % length
        last = slice(max(0, count - length), count)
        self.keys[places[last]] = keys[last]
        self.pixels[places[last]] = pixels[last]
        self.images[places[last]] = images[last]
        self.end.copy_((self.end + count) % length)

    def from_others(self, images: Tensor) -> Callable[[int, int], Tensor]:
        """Say which keys come from other images than each of some queries, for a range of these."""

        def allowed(start: int, stop: int) -> Tensor:
            own = self.images == images[start:stop, None]  # (queries, K)
            return ~own & (self.images != NO_IMAGE)

        return allowed

    def mean_of_others(self, images: Tensor, *, of_pixels: bool) -> Tensor:
        """Give the mean (B, D) of the keys from other images than each of some; 0 where there is none.

        Its product with a vector is their mean similarity.
        """
        others = self.from_others(images)(0, len(images)).float()  # (B, K)
        vectors = self.pixels if of_pixels else self.keys
        return (others @ vectors) / others.sum(1, keepdim=True).clamp(min=1)
