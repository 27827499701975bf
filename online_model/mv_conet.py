"""One user vector a domain, and what the other domains have to say beside it: towers with dual maps between them.

Elkahky et al., "Multi-View Deep Learning", WWW 2015 (a shared user side, towers by domain); Hu et al., "CoNet", 1804.06769 (cross
connections); Li & Tuzhilin, "DDTCDR", 1910.05189 (dual, near-orthogonal maps). Own rows a domain beat one shared row in every domain
(MODEL.md section 5). Orders are "from, to"; maps act on column vectors: y = M h.

Departs from MODEL.md, whose h1_d adds what is sent to the own part: what is transferred has towers of its own and gives logits of its own,
which learn what all the rest leaves over, move nothing else, and count by a share that they earn (`blend.py`). Added to the own part, it
was noise wherever tastes in the domains have nothing in common. And maps are whole however many domains have a place
(`ModelSettings.domain_places`); those that come later share the last, where MODEL.md has maps of rank 8 past six.
Shapes: B examples, S users (B, 1, or as many as `owner` tells apart), N domains, I inputs, H width, E item inputs, O output,
T tasks.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTH, OUT = 32, 16
GAIN = 8.0  # of what is transferred at first, so that it is learned within some hundred examples of a domain
MAP_INIT = 0.1  # of the identity: a start at zero was no different, a full one swamps the own part


class MVCoNet(nn.Module):
    """Own: h_d = W'_d tanh(W_d x_d), score = h_d . item tower of d. Transferred: the same of
    tanh(sum over d' of r_d' M_d'->d tanh(W_d' x_d')), with other W' and item towers, each element of the product weighed by task."""

    def __init__(self, domains: int, inputs: int, item: int, signs: Sequence[float], width: int = WIDTH, out: int = OUT) -> None:
        """`signs`: of what is transferred, at first, for each task: minus where a positive is no liking."""
        super().__init__()
        self.own = nn.Parameter(torch.empty(domains, inputs, width))
        self.maps = nn.Parameter(MAP_INIT * torch.eye(width).repeat(domains, domains, 1, 1))  # [from, to, H, H]
        self.user = nn.Parameter(torch.empty(domains, width, out))
        self.item = nn.Parameter(torch.empty(domains, item, out))
        self.transfer_user = nn.Parameter(torch.empty(domains, width, out))
        self.transfer_item = nn.Parameter(torch.empty(domains, item, out))
        self.transfer_weight = nn.Parameter(GAIN * torch.tensor(signs).expand(out, -1).clone())
        for weight in (*self.own, *self.user, *self.item, *self.transfer_user, *self.transfer_item):
            nn.init.xavier_uniform_(weight)
        self.others: Tensor
        self.register_buffer("others", (1 - torch.eye(domains))[:, :, None, None], persistent=False)

    def forward(self, x: Tensor, there: Tensor, target: Tensor, item: Tensor, owner: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [S, N, I], which domains the user has been to [S, N], candidates' domains [B] and inputs [B, E], whose user [B] (None:
        each its own, or the only one) -> own vector and score [B, O + 1], logits of what is transferred [B, T].
        """
        own = torch.einsum("sni,nih->snh", x, self.own)
        known = torch.tanh(own)
        sent = (known * there[..., None]).detach()
        transfer = torch.tanh(exchange(torch.zeros_like(own), sent, self.maps * self.others))
        each = torch.arange(len(target), device=target.device)
        rows = (each if len(x) > 1 else 0) if owner is None else owner

        def meet(user: Tensor, of_user: Tensor, item: Tensor, of_item: Tensor) -> tuple[Tensor, Tensor]:
            vectors, towers = torch.einsum("snh,nho->sno", user, of_user), torch.einsum("be,neo->bno", item, of_item)
            return vectors[rows, target], towers[each, target]

        vector, tower = meet(known, self.user, item, self.item)
        sent_vector, sent_tower = meet(transfer, self.transfer_user, item.detach(), self.transfer_item)
        return torch.cat([vector, (vector * tower).sum(1, keepdim=True)], 1), (sent_vector * sent_tower) @ self.transfer_weight

    def penalty(self, domains: int) -> Tensor:
        """Sum over ordered pairs of the first `domains` of ||M_b->a M_a->b - I||^2 / H: maps there and back should undo each other."""
        maps, width = self.maps[:domains, :domains], self.maps.shape[2]
        back = torch.matmul(maps.transpose(0, 1), maps) - torch.eye(width, device=maps.device)
        return (back.square() * self.others[:domains, :domains]).sum() / width


def exchange(own: Tensor, sent: Tensor, maps: Tensor) -> Tensor:
    """Own parts [S, N, H] with what the others send [S, N, H] through maps [from, to, H, H]."""
    return own + torch.einsum("sfh,ftkh->stk", sent, maps)
