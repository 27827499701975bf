"""Customized Gate Control: own and shared experts, mixed for each task by its own gate, then a tower a task.

Tang et al., "Progressive Layered Extraction", RecSys 2020 (section 4.1, one level). Departs: LayerNorm and SiLU in the experts
(2408.05430: ReLU experts die online), one own expert a task. Without MODEL.md's gate dropout: at .1 AUC moved by .0002 at most (KuaiRand
before 28 April), for a second mixture a step. Without rows of their own for rare tasks: the linear path has a weight a task for every id.
Shapes: B examples, W of them whole, T tasks, S shared experts, I inputs, H units of an expert, K of a tower.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(slots=True)
class GateUse:
    """How a batch's gates spread over the experts: an expert whose share is near 0 is dead, a gate whose entropy is, has polarised."""

    share: Tensor  # [T, 1 + S], mean weights; own, then shared
    entropy: Tensor  # [T], mean over examples, nats; at most log(1 + S)


class CGC(nn.Module):
    """Experts in the order: own ones by task, then the shared ones. A gate's columns: own, then shared."""

    def __init__(self, inputs: int, tasks: int, shared: int, expert: int, tower: int, gated: bool = True) -> None:
        """`gated`: off, every gate stands still at the mean of the shared experts (a shared bottom), and own ones are not heard."""
        super().__init__()
        self.tasks, self.shared, self.expert, self.gated = tasks, shared, expert, gated
        self.experts = nn.Parameter(torch.empty(inputs, (tasks + shared) * expert))
        self.experts_bias = nn.Parameter(torch.zeros((tasks + shared) * expert))
        self.scale = nn.Parameter(torch.ones(tasks + shared, expert))
        self.shift = nn.Parameter(torch.zeros(tasks + shared, expert))
        self.gates = nn.Parameter(torch.zeros(inputs, tasks * (1 + shared)))
        self.tower = nn.Parameter(torch.empty(tasks, expert, tower))
        self.tower_bias = nn.Parameter(torch.zeros(tasks, 1, tower))
        self.out = nn.Parameter(torch.empty(tasks, tower, 1))
        self.out_bias = nn.Parameter(torch.zeros(tasks))
        for weight in (*self.experts.view(inputs, tasks + shared, expert).unbind(1), *self.tower, *self.out):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, I] -> logits [B, T]."""
        experts = self._experts(x, self.experts, self.experts_bias, self.scale, self.shift)
        return _towers(mix(experts, self.weigh(x)), self.tower, self.tower_bias, self.out, self.out_bias)

    def heads(self, x: Tensor, whole: int) -> tuple[Tensor, Tensor]:
        """[B, I] -> logits of all tasks but the last [W, T - 1] of the first W examples, and of the last task [B] of all."""
        last = self.tasks - 1
        if whole == len(x):
            out = self(x)
            return out[:, :last], out[:, last]
        each, units = [last, 1 + self.shared], [last * self.expert, (1 + self.shared) * self.expert]
        parts = (self.experts.split(units, 1), self.experts_bias.split(units), self.scale.split(each), self.shift.split(each))
        own, common = zip(*parts, strict=True)  # the last task's own expert stands before those that all share
        shared = self._experts(x, *common)
        gates, gate = self.weigh(x).split([last, 1], 1)
        mixed = mix(torch.cat([self._experts(x[:whole], *own), shared[:whole, 1:]], 1), gates[:whole])
        towers, tower = zip(*(part.split([last, 1]) for part in (self.tower, self.tower_bias, self.out, self.out_bias)), strict=True)
        return _towers(mixed, *towers), _towers(mix(shared, gate), *tower).squeeze(1)

    def common(self, x: Tensor) -> Tensor:
        """[B, I] -> what the shared experts say, their mean [B, H]."""
        own = self.tasks * self.expert
        weights, bias = self.experts[:, own:], self.experts_bias[own:]
        return self._experts(x, weights, bias, self.scale[self.tasks :], self.shift[self.tasks :]).mean(1)

    def _experts(self, x: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        experts = torch.addmm(bias, x, weights).view(len(x), len(scale), self.expert)
        return functional.silu(functional.layer_norm(experts, (self.expert,)) * scale + shift)

    def weigh(self, x: Tensor) -> Tensor:
        """[B, I] -> gates [B, T, 1 + S], each summing to 1."""
        if not self.gated:
            return functional.pad(x.new_full((len(x), self.tasks, self.shared), 1 / self.shared), (1, 0))
        return torch.softmax((x @ self.gates).view(len(x), self.tasks, -1), -1)

    def use(self, x: Tensor) -> GateUse:
        """What the gates of a batch [B, I] rest on (MODEL.md section 3, to be watched); no gradient."""
        with torch.no_grad():
            gates = self.weigh(x)
            return GateUse(gates.mean(0), torch.special.entr(gates).sum(2).mean(0))


def mix(experts: Tensor, gates: Tensor) -> Tensor:
    """Experts [B, T + S, H] and gates [B, T, 1 + S] -> each task's mixture [T, B, H]."""
    tasks = gates.shape[1]
    own = experts[:, :tasks] * gates[:, :, :1]
    return torch.baddbmm(own, gates[:, :, 1:], experts[:, tasks:]).transpose(0, 1)


def _towers(mixed: Tensor, tower: Tensor, bias: Tensor, out: Tensor, out_bias: Tensor) -> Tensor:
    """[T, B, H] -> logits [B, T]."""
    hidden = functional.silu(torch.baddbmm(bias, mixed, tower))
    return torch.bmm(hidden, out).squeeze(2).t() + out_bias
