"""Attention among the cells of an image, which several of the networks have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Attention", "attended"]


def attended(qkv: Tensor, heads: int) -> Tensor:
    """(n, m, c): what m cells take from each other, by queries, keys and values (n, m, 3 c) side by
    side (Vaswani et al. 2017, scaled dot products of `heads` parts)."""
    n, m, width = qkv.shape
    q, k, v = qkv.reshape(n, m, 3, heads, -1).permute(2, 0, 3, 1, 4)  # each (n, heads, m, c / h)
    a = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    return torch.as_tensor(a.reshape(n, m, width // 3))


class Attention(nn.Module):
    """Adds to every cell what it takes from all of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        tokens = h.flatten(2).transpose(1, 2)  # (n, h w, c)
        tokens = tokens + self.project(attended(self.qkv(self.norm(tokens)), self.heads))
        return tokens.transpose(1, 2).reshape(h.shape)
