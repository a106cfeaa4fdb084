"""Muon: an optimizer that makes every direction of a weight matrix learn equally fast."""

import torch
from torch import nn

from minidiff.tools.checks import check_number

COEFFICIENTS = (3.4445, -4.7750, 2.0315)                         # of the quintic, tuned for speed [Jordan 2024]
THIN = 8                                                         # a smaller side than this has no directions to level


def orthogonalize(matrices, iterations=4):
    """The nearest matrices whose singular values are all about one (0.7 to 1.2), by Newton-Schulz iterations:
    X = X / |X|;  X <- P X  with  P = a I + b A + c A A,  A = X X^T.               [Jordan et al. 2024, Muon]

    matrices: a list of (rows, columns), each treated alone -> as many, of the same shapes.  It touches no singular
    vectors: a gradient in which a few directions shout becomes one in which all speak.

    All P are polynomials of the first A, so they may change places: their product grows on the small square side of X
    (A <- P A P), for all matrices of one such side at once, and X itself is read twice instead of twice an iteration.
    """
    a, b, c = COEFFICIENTS
    results, by_side = [None] * len(matrices), {}
    for place, matrix in enumerate(matrices):
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        by_side.setdefault(len(wide), []).append((place, wide))
    for group in by_side.values():
        gram = torch.stack([x @ x.mT for _, x in group])         # (N, side, side)
        square = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + 1e-14          # |X|^2
        gram, product = gram / square, None
        for i in range(iterations):
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            product = factor if product is None else factor @ product
            if i + 1 < iterations:
                gram = factor @ gram @ factor
        for (place, x), left in zip(group, product / square.sqrt()):
            result = left @ x
            results[place] = result if matrices[place].shape == result.shape else result.mT
    return results


def lying(tensor, weight):
    """A tensor shaped like a weight, its axes in the order in which the weight lies in memory; nothing is copied.
    Columns change places by that, which singular values do not feel."""
    return tensor if weight.is_contiguous() else tensor.movedim(1, -1)


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalized, for weight matrices alone.

    Convolutions count as matrices (C_out, C_in * 3 * 3).  The update is scaled by 0.2 sqrt(max(rows, columns)), so
    that its typical size is AdamW's and one learning rate serves both.  [Liu et al. 2025, eq. 4]
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95):
        check_number("the learning rate", lr)
        check_number("weight_decay", weight_decay)
        check_number("momentum", momentum, 0, 1)
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in params]
            grads = [p.grad for p in params]
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
            ahead = torch._foreach_lerp(grads, momenta, group["momentum"])            # Nesterov
            for p, update in zip(params, orthogonalize([lying(g, p).flatten(1) for g, p in zip(ahead, params)])):
                place = lying(p, p)
                place.sub_(update.view_as(place), alpha=0.2 * max(update.shape) ** 0.5 * group["lr"])


def parameter_groups(model):
    """The weights of a model by how they learn -> matrices, thin matrices, and all else: biases, norms, embeddings and
    positions, which are no maps from direction to direction, and are not pulled towards zero."""
    matrices, thin, others = [], [], []
    owned = {id(m.weight): m.weight for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))}
    for p in model.parameters():
        if p.requires_grad:
            group = others if id(p) not in owned else matrices if min(len(p), p[0].numel()) >= THIN else thin
            group.append(p)
    return matrices, thin, others


class MuonAdamW:
    """Muon for the weight matrices of a model, torch's AdamW for everything else.

    AdamW: m / (sqrt(v) + 1e-8), both bias-corrected, decay decoupled.  [Loshchilov & Hutter 2019, algorithm 2]
    """

    def __init__(self, model, lr, weight_decay=0.0, muon=True):
        matrices, thin, others = parameter_groups(model)
        matrices, thin = (matrices, thin) if muon else ([], matrices + thin)
        groups = [dict(params=thin, weight_decay=weight_decay), dict(params=others, weight_decay=0.0)]
        groups = [group for group in groups if group["params"]]
        self.parts = [Muon(matrices, lr, weight_decay)] if matrices else []
        self.parts += [torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), fused=True)] if groups else []

    def zero_grad(self):
        """Forget the gradients of the step before."""
        for part in self.parts:
            part.zero_grad()

    def step(self, lr):
        """Move all weights, with this learning rate."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()

    def tensors(self):
        """All that it remembers, by name: (place of the part).(number of the weight).(what)."""
        return {f"{place}.{index}.{name}": t for place, part in enumerate(self.parts)
                for index, state in part.state_dict()["state"].items() for name, t in state.items()}

    def load(self, tensors):
        """Go on from what `tensors` gave."""
        for place, part in enumerate(self.parts):
            kept, weights = part.state_dict(), [p for group in part.param_groups for p in group["params"]]
            for name, t in tensors.items():
                at, index, key = name.split(".")
                if int(at) == place:                             # lying in memory as the weight does: the fused step of
                    t = torch.empty_like(weights[int(index)]).copy_(t) if t.ndim else t         # AdamW relies on it
                    kept["state"].setdefault(int(index), {})[key] = t
            part.load_state_dict(kept)
