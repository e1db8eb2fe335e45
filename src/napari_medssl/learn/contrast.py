"""Losses between vectors of pixels: contrastive and redundancy-reducing, in bounded memory.

All run in full precision, also where the network runs in half. Where all similarities at once would not fit,
they are computed in blocks of rows and computed again in the backward pass; the result is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = [
    "barlow_twins",
    "contrast",
    "cross_correlation",
    "info_nce_pairs",
    "log_sum_of_negatives",
    "similarity_of_pairs",
]

BLOCK = 2**24
"""Similarities that are held at once: 64 MiB of float32."""
VARIANCE_FLOOR = 1e-8

Function = TypeVar("Function", bound=Callable[..., Any])


def _in_full_precision(function: Function) -> Function:
    """Run a loss outside autocast: products of bfloat16 have three digits, too few for a logsumexp."""

    @functools.wraps(function)
    def wrapped(first: Tensor, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(first.device.type, enabled=False):
            return function(first, *args, **kwargs)

    return cast("Function", wrapped)


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _blocks(part: Callable[[int, int], Tensor], count: int, block: int) -> list[Tensor]:
    """Compute ``part(start, stop)`` for all blocks, keeping only the results where there are several."""
    if count <= block:
        return [part(0, count)]
    return [
        checkpoint(
            part, start, min(start + block, count), use_reentrant=False, preserve_rng_state=False
        )
        for start in range(0, count, block)
    ]


@_in_full_precision
def info_nce_pairs(
    first: Tensor, second: Tensor, *, temperature: float, block: int | None = None
) -> Tensor:
    """InfoNCE over pairs, each against both members of all other pairs.

    Parameters
    ----------
    first, second : Tensor
        ``(N, D)``; row n of both is a positive pair. Cosine similarities are taken.
    temperature : float
        Divides the similarities.
    block : int, optional
        Rows of similarities held at once; by default what fits into 64 MiB.

    Returns
    -------
    Tensor
        Scalar: mean over the 2 N members.

    References
    ----------
    Pix2Rep, equations 1 and 2 (the NT-Xent loss of SimCLR).
    """
    pairs = len(first)
    vectors = F.normalize(torch.cat([_full(first), _full(second)]), dim=1)  # (2N, D)

    def part(start: int, stop: int) -> Tensor:
        logits = vectors[start:stop] @ vectors.T / temperature
        logits.diagonal(start).fill_(-torch.inf)  # a vector is not its own negative
        partner = (torch.arange(start, stop, device=vectors.device) + pairs) % (2 * pairs)
        return F.cross_entropy(logits, partner, reduction="sum")

    rows = block or max(1, BLOCK // (2 * pairs))
    return torch.stack(_blocks(part, 2 * pairs, rows)).sum() / (2 * pairs)


@_in_full_precision
def similarity_of_pairs(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Say how alike pairs are, how alike everything else is, and how far vectors spread.

    Parameters
    ----------
    first, second : Tensor
        ``(N, D)``, row n of both a positive pair.

    Returns
    -------
    dict of Tensor
        Scalars without gradient: ``positive_similarity`` and ``negative_similarity`` (means of cosines), and
        ``feature_std``, the standard deviation of the normalised vectors, averaged over their D entries:
        near ``1 / sqrt(D)`` where they fill their sphere, 0 where they have collapsed to one point.
    """
    a, b = (F.normalize(_full(v.detach()), dim=1) for v in (first, second))
    pairs, positive = len(a), (a * b).sum(1)
    both = torch.cat([a, b])
    # The sum over all ordered pairs is the square of the sum; without each with itself and its partner.
    others = both.sum(0).square().sum() - 2 * pairs - 2 * positive.sum()
    return {
        "positive_similarity": positive.mean(),
        "negative_similarity": others / max(1, 2 * pairs * (2 * pairs - 2)),
        "feature_std": both.std(0).mean(),
    }


@_in_full_precision
def log_sum_of_negatives(
    queries: Tensor,
    keys: Tensor,
    allowed: Callable[[int, int], Tensor],
    *,
    temperature: float,
    keep: int | None = None,
    block: int | None = None,
) -> Tensor:
    """Give the logarithm of the sum over negatives in the denominator of an InfoNCE loss.

    With it, `contrast` gives the loss of any number of positives of one query.

    Parameters
    ----------
    queries : Tensor
        ``(N, D)``, normalised.
    keys : Tensor
        ``(K, D)``, normalised.
    allowed : callable
        Given a range of queries, which keys are negatives of each: ``(stop - start, K)`` bool. Every query
        needs at least one.
    temperature : float
        Divides the similarities.
    keep : int, optional
        Only so many keys count, the most similar ones of each query.
    block : int, optional
        Queries whose similarities are held at once; by default what fits into 64 MiB.

    Returns
    -------
    Tensor
        ``(N,)``.

    References
    ----------
    DiCoH, denominators of equations 2, 4 and 5.
    """
    queries, keys = _full(queries), _full(keys)

    def part(start: int, stop: int) -> Tensor:
        logits = queries[start:stop] @ keys.T / temperature
        logits = logits.masked_fill(~allowed(start, stop), -torch.inf)
        if keep is not None and keep < len(keys):
            logits = logits.topk(keep, dim=1, sorted=False).values
        return logits.logsumexp(1)

    rows = block or max(1, BLOCK // len(keys))
    return torch.cat(_blocks(part, len(queries), rows))


def contrast(positive: Tensor, log_sum: Tensor, *, temperature: float) -> Tensor:
    """Give the InfoNCE loss of each positive similarity, from what `log_sum_of_negatives` says of its query.

    ``-log(exp(p) / (exp(p) + sum of exp(negatives)))`` is ``log(1 + exp(log_sum - p))``.
    """
    return F.softplus(log_sum - _full(positive) / temperature)


@_in_full_precision
def cross_correlation(
    first: Tensor,
    second: Tensor,
    *,
    head: Callable[[Tensor, int], Tensor] | None = None,
    weight: Tensor | None = None,
    block: int | None = None,
) -> Tensor:
    """Correlate every output of one branch with every output of the other, over all rows.

    Parameters
    ----------
    first, second : Tensor
        ``(N, F)``; with means that are not far larger than their spread, since squares of all rows are summed.
    head : callable, optional
        ``head(rows, branch)`` gives the outputs ``(n, H)`` of some rows of a branch (0 or 1). It is applied
        block by block, so that the outputs of all rows need not exist at once.
    weight : Tensor, optional
        ``(D, H)``: a last linear layer after `head`. Covariances pass through it, so that it is never applied
        to the rows; its bias changes no correlation.
    block : int, optional
        Rows in a block; by default as many as keep 128 MiB.

    Returns
    -------
    Tensor
        ``(D, D)``, the cross-correlation matrix of Barlow Twins.
    """
    first, second = _full(first), _full(second)
    apply = head or (lambda rows, branch: rows)
    count = len(first)

    def part(start: int, stop: int) -> Tensor:
        a, b = apply(first[start:stop], 0), apply(second[start:stop], 1)
        return torch.cat([a.T @ a, a.T @ b, b.T @ b, a.sum(0)[None], b.sum(0)[None]])

    width = apply(first[:1], 0).shape[1]  # sums below: (3 H + 2, H)
    sums = torch.stack(_blocks(part, count, block or max(1, BLOCK // width))).sum(0) / count
    products, (mean_a, mean_b) = sums[:-2].view(3, width, width), sums[-2:]
    pairs = ((mean_a, mean_a), (mean_a, mean_b), (mean_b, mean_b))
    covariances = products - torch.stack([torch.outer(x, y) for x, y in pairs])
    if weight is not None:
        covariances = weight @ covariances @ weight.T
    own_a, shared, own_b = covariances
    scale_a, scale_b = (
        own.diagonal().clamp_min(0).add(VARIANCE_FLOOR).rsqrt() for own in (own_a, own_b)
    )
    correlation: Tensor = shared * torch.outer(scale_a, scale_b)
    return correlation


@_in_full_precision
def barlow_twins(correlation: Tensor, *, off_diagonal: float) -> Tensor:
    """Barlow Twins loss of a cross-correlation matrix C.

    ``sum_i (1 - C_ii)^2 + off_diagonal * sum_(i != j) C_ij^2``.

    References
    ----------
    Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021, equation 1;
    the loss of Pix2Rep-v2.
    """
    diagonal = correlation.diagonal()
    on = (1 - diagonal).square().sum()
    off = correlation.square().sum() - diagonal.square().sum()
    return on + off_diagonal * off
