"""Typical wrong answers to the assignments, as what a line of the solution becomes, and their marks of 7."""

from typing import NamedTuple


class Wrong(NamedTuple):
    assignment: str
    cell: str
    right: str
    wrong: str
    marks: int


WRONG = [
    # The gradient of the chosen action's score alone.
    Wrong("policy_gradient", "log_prob_gradients", "chosen - probabilities(theta, states)", "chosen", 5),
    # Labels 0 and 1, as other classifiers have them.
    Wrong("policy_gradient", "surrogate_loss", "np.sign(advantages)", "1.0 * (advantages > 0)", 2),
    # A mean of losses beside a ridge that was meant for their sum.
    Wrong("policy_gradient", "fit", "ridge * ", "ridge / len(gradients) * ", 4),
    Wrong("random_projections", "draw_projection", "1 / np.sqrt(d)", "1.0", 3),
    # The mean error and not its root mean square.
    Wrong(
        "random_projections", "rms_error", "np.sqrt(np.mean(np.square(errors)))", "np.mean(np.abs(errors))", 5
    ),
    # All gradients written out.
    Wrong(
        "random_projections",
        "khatri_rao",
        "(deltas @ U) * (inputs @ V)",
        "np.einsum('noi,od,id->nd', deltas[:, :, None] * inputs[:, None], U, V, optimize=True)",
        5,
    ),
    # The mean over all subsets.
    Wrong("diagonal_trap", "mean_affinity", "(members.T @ members)", "len(subsets)", 5),
    Wrong("diagonal_trap", "difficulties", "-50.0", "-1.0", 4),
    Wrong("diagonal_trap", "continue_diagonal", "2 * a", "0 * a", 4),
    # The affinities in a group without the division by its size.
    Wrong(
        "clustering_program",
        "partition_matrix",
        "together / together.sum(axis=1, keepdims=True)",
        "together",
        5,
    ),
    Wrong("clustering_program", "relax", "X >= 0", "cp.diag(X) >= 0", 5),
    # The eigenvalues of W, not those of QWQ without the one of e.
    Wrong("clustering_program", "upper_bound", "others[len(others)", "np.linalg.eigvalsh(Q @ W @ Q)[n", 4),
    Wrong("sharpness", "hessian_product", ", create_graph=True", "", 5),
    # The standard deviation of one draw.
    Wrong("sharpness", "hutchinson", " / np.sqrt(probes)", "", 4),
    Wrong(
        "sharpness",
        "hutchinson",
        "torch.randint(2, (size,), generator=generator, dtype=torch.float64) * 2 - 1",
        "torch.randn(size, generator=generator, dtype=torch.float64)",
        4,
    ),
    # The variance for the standard deviation.
    Wrong("sharpness", "best_bound", "np.sqrt(distance * np.sqrt(", "(distance * np.sqrt(", 5),
    # First-order MAML.
    Wrong("maml", "adapt", ", create_graph=True", "", 4),
    Wrong("maml", "outer_gradient", " / len(losses)", "", 5),
    # Uphill.
    Wrong("maml", "meta_train", "theta - outer_rate", "theta + outer_rate", 4),
    # All transitions taken for independent.
    Wrong("coverage", "episode_means", "sums / np.bincount(episode)[:, None]", "gradients", 4),
    # On the diagonal each episode meets itself.
    Wrong("coverage", "interactions", "(E**2 * U[i, i] - np.sum(own**2)) / (E * (E - 1))", "U[i, i]", 4),
    # The spread of one episode and not of their mean.
    Wrong(
        "coverage",
        "standard_error",
        "rows.var(ddof=1) / E + columns.var(ddof=1) / F - twice",
        "rows.var(ddof=1) + columns.var(ddof=1)",
        4,
    ),
    # Noise times noise counted twice.
    Wrong("coverage", "standard_error", " - twice", "", 5),
    # The first share that is high enough, whatever comes then.
    Wrong("coverage", "trusted", "min(shares[start:])", "shares[start]", 6),
]
