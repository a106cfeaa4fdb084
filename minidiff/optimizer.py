"""Muon: an optimizer that makes every direction of a weight matrix learn equally fast."""

import torch

from minidiff.inputs import check_number, check_shape, check_share

COEFFICIENTS = (3.4445, -4.7750, 2.0315)                         # of the quintic, tuned for speed [Jordan 2024]


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
        check_shape("each of the matrices", matrix, "rows", "columns")
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
            matrices, others = [], []
            for p in params:
                (matrices if p.ndim >= 2 and min(len(p), p[0].numel()) >= 8 else others).append(p)
            if others:
                torch._foreach_sub_(others, self._adam(others, group), alpha=group["lr"])
            for p, update in zip(matrices, self._muon(matrices, group)):
                place = lying(p, p)
                place.sub_(update.view_as(place), alpha=0.2 * max(update.shape) ** 0.5 * group["lr"])

    def _muon(self, params, group):
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        grads, momenta = [p.grad for p in params], [self.state[p]["momentum"] for p in params]
        if params:
            torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
            grads = torch._foreach_lerp(grads, momenta, group["momentum"])            # Nesterov: look ahead
        return orthogonalize([lying(grad, p).flatten(1) for grad, p in zip(grads, params)])

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
