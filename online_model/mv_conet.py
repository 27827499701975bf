"""One user vector a domain, each helped by the others: towers with dual maps between them.

Elkahky et al., "Multi-View Deep Learning", WWW 2015 (a shared user side, towers by domain); Hu et al., "CoNet", 1804.06769 (cross
connections); Li & Tuzhilin, "DDTCDR", 1910.05189 (dual, near-orthogonal maps). Own rows a domain beat one shared row in every domain
(MODEL.md section 5). Orders are "from, to"; maps act on column vectors: y = M h.
Shapes: B examples, S users (B, 1, or as many as `owner` tells apart), N domains, I inputs, H width, E item inputs, O output.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, OUT = 32, 16
MAP_INIT = 0.1  # of the identity: a start at zero was no different, a full one swamps the own part


class MVCoNet(nn.Module):
    """h1_d = tanh(W_d x_d + sum over d' of r_d' M_d'->d tanh(W_d' x_d')), h2_d = W'_d h1_d, score = h2_d . item tower of d."""

    def __init__(self, domains: int, inputs: int, item: int, width: int = WIDTH, out: int = OUT) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.empty(domains, inputs, width))
        self.maps = nn.Parameter(MAP_INIT * torch.eye(width).repeat(domains, domains, 1, 1))  # [from, to, H, H]
        self.user = nn.Parameter(torch.empty(domains, width, out))
        self.item = nn.Parameter(torch.empty(domains, item, out))
        for weight in (*self.own, *self.user, *self.item):
            nn.init.xavier_uniform_(weight)
        self.others: Tensor
        self.register_buffer("others", (1 - torch.eye(domains))[:, :, None, None], persistent=False)

    def forward(self, x: Tensor, there: Tensor, target: Tensor, item: Tensor, owner: Tensor | None = None) -> Tensor:
        """Inputs [S, N, I], which domains the user has been to [S, N], candidates' domains [B] and inputs [B, E], whose user [B] (None:
        each its own, or the only one) -> [B, O + 1].
        """
        own = torch.einsum("sni,nih->snh", x, self.own)
        user = torch.tanh(exchange(own, torch.tanh(own) * there[..., None], self.maps * self.others))
        vectors = torch.einsum("snh,nho->sno", user, self.user)
        towers = torch.einsum("be,neo->bno", item, self.item)
        each = torch.arange(len(target), device=target.device)
        whose = (each if len(x) > 1 else 0) if owner is None else owner
        vector, tower = vectors[whose, target], towers[each, target]
        return torch.cat([vector, (vector * tower).sum(1, keepdim=True)], 1)

    def penalty(self, domains: int) -> Tensor:
        """Sum over ordered pairs of the first so many domains of ||M_b->a M_a->b - I||^2 / H: maps there and back should undo each other.
        """
        maps, width = self.maps[:domains, :domains], self.maps.shape[2]
        back = torch.matmul(maps.transpose(0, 1), maps) - torch.eye(width, device=maps.device)
        return (back.square() * self.others[:domains, :domains]).sum() / width


def exchange(own: Tensor, sent: Tensor, maps: Tensor) -> Tensor:
    """Own parts [S, N, H] with what the others send [S, N, H] through maps [from, to, H, H]."""
    return own + torch.einsum("sfh,ftkh->stk", sent, maps)
