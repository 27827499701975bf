"""ID-Cross: each candidate brings its own little network, which a user's behaviours are fed through.

Bian et al., "CAN: Feature Co-Action", 2011.05625, as Segue's model description has it: orders 1 and 2 of the fed embeddings through
the same weights, outputs of both layers kept, no bias, the sum scaled by the root of how many behaviours there are.
Shapes: B examples, L behaviours, E feed embedding (8), U hidden (4), V of the last layer (4).
"""
from __future__ import annotations

import torch
from torch import Tensor

FEED, UNITS = 8, 4
WIDTH = FEED * UNITS + UNITS * UNITS  # of a candidate's own row: W1 [E, U], then W2 [U, U]
ORDERS = 2
OUT = ORDERS * 2 * UNITS
SPREAD = (FEED**-0.5,) * (FEED * UNITS) + (0.5,) * (UNITS * UNITS)  # of a new row; zeros would be dead products
CLIP = 2.0  # of fed embeddings: squares of what is larger blow up


def id_cross(rows: Tensor, feeds: Tensor, there: Tensor, units: int = UNITS) -> Tensor:
    """Candidate rows [B, E U + U V], fed behaviours [B or 1, L, E], mask [B or 1, L] -> [B, 2 (U + V)]. A row of zeros gives zeros."""
    n, feed = len(rows), feeds.shape[2]
    last = rows.shape[1] // units - feed
    first, second = rows[:, : feed * units].view(n, feed, units), rows[:, feed * units :].view(n, units, last)
    feeds = feeds.clamp(-CLIP, CLIP)
    fed = torch.cat([feeds**order for order in range(1, ORDERS + 1)], 1)  # [B or 1, orders * L, E]
    mask = there[:, None, None].to(rows.dtype)  # [B or 1, 1, 1, L]
    if len(feeds) == 1:  # all candidates' weights side by side
        h1 = torch.tanh(torch.matmul(fed[0], first.transpose(0, 1).reshape(feed, n * units)))  # [orders * L, B * U]
        pooled = torch.matmul(mask[0], h1.view(ORDERS, -1, n * units)).view(ORDERS, n, units).transpose(0, 1)
    else:
        h1 = torch.tanh(torch.bmm(fed, first))  # [B, orders * L, U]
        pooled = torch.matmul(mask, h1.view(n, ORDERS, -1, units)).squeeze(2)
    out = torch.cat([pooled, torch.bmm(pooled, second)], 2)  # the second layer is linear: what it makes of the sum is the sum
    return out.reshape(n, -1) / (1 + mask.sum(3)).view(-1, 1).sqrt()
