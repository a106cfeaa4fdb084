"""Muon: an optimizer that makes every direction of a weight matrix learn equally fast."""

import torch

from minidiff.inputs import check_number, check_shape, check_share

COEFFICIENTS = (3.4445, -4.7750, 2.0315)                         # of the quintic, tuned for speed [Jordan 2024]


def orthogonalize(matrices, iterations=5):
    """The nearest matrices whose singular values are all about one (0.7 to 1.2), by Newton-Schulz iterations:
    X = X / |X|;  X <- a X + (b A + c A A) X  with A = X X^T.                      [Jordan et al. 2024, Muon]

    matrices (N, rows, columns), each treated alone.  It touches no singular vectors: a gradient in which a few
    directions shout becomes one in which all speak.
    """
    check_shape("matrices", matrices, "N", "rows", "columns")
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalized for weight matrices, AdamW for everything else.

    Convolutions count as matrices (C_out, C_in * 3 * 3).  The update is scaled by 0.2 sqrt(max(rows, columns)), so
    that its typical size is AdamW's and one learning rate serves both.  [Liu et al. 2025, eq. 4]
    AdamW: m / (sqrt(v) + 1e-8), both bias-corrected, decay decoupled.  [Loshchilov & Hutter 2019, algorithm 2]
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95, betas=(0.9, 0.99)):
        check_number("the learning rate", lr)
        check_number("weight_decay", weight_decay)
        for name, share in (("momentum", momentum), *zip(("betas[0]", "betas[1]"), betas)):
            check_share(name, share)
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum, betas=betas))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            by_shape, others = {}, []
            for p in params:
                if p.ndim >= 2 and min(len(p), p[0].numel()) >= 8:                    # a weight matrix
                    by_shape.setdefault((len(p), p[0].numel()), []).append(p)
                else:
                    others.append(p)
            if others:
                torch._foreach_sub_(others, self._adam(others, group), alpha=group["lr"])
            for same in by_shape.values():                       # matrices of one shape in one product
                for p, update in zip(same, self._muon(same, group)):
                    p.sub_(update.view_as(p), alpha=group["lr"])

    def _muon(self, params, group):
        updates = []
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            ahead = torch.lerp(p.grad, state["momentum"], group["momentum"])          # Nesterov: look ahead
            updates.append(ahead.flatten(1))
        updates = orthogonalize(torch.stack(updates))
        return 0.2 * max(updates.shape[1:]) ** 0.5 * updates

    def _adam(self, params, group):
        beta1, beta2 = group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p] |= {"step": torch.tensor(0.0), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
            self.state[p]["step"] += 1
        grads, steps = [p.grad for p in params], [self.state[p]["step"].item() for p in params]
        means, squares = ([self.state[p][name] for p in params] for name in ("mean", "square"))
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_lerp_(squares, torch._foreach_mul(grads, grads), 1 - beta2)
        roots = torch._foreach_sqrt(torch._foreach_div(squares, [1 - beta2**n for n in steps]))
        return torch._foreach_div(torch._foreach_div(means, [1 - beta1**n for n in steps]),
                                  torch._foreach_add(roots, 1e-8))
