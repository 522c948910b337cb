"""What the tests of the gridding kernels hold them against: layouts of points, and sums in plain float64."""

import numpy as np

WEST, NORTH, DX, DY = 250_000.0, 2_400_000.0, 13.4, -13.4
LAYOUTS = ["scattered", "cell centres", "twice", "line", "cluster", "far away"]


def reference(points, values, shape, k=12, power=2.0, geometry=(WEST, NORTH, DX, DY), radius=np.inf, min_samples=1):
    """Every distance in float64, neighbours by distance and then by index; also the mean of absolute values."""
    west, north, dx, dy = geometry
    x, y = np.meshgrid(west + dx * (np.arange(shape[1]) + 0.5), north + dy * (np.arange(shape[0]) + 0.5))
    square = (x.ravel()[:, None] - points[:, 0]) ** 2 + (y.ravel()[:, None] - points[:, 1]) ** 2
    mean, size = (np.full((values.shape[1], x.size), np.nan) for _ in range(2))
    for e, column in enumerate(values.T):
        present = np.flatnonzero(~np.isnan(column))
        if not present.size:
            continue
        order = np.argsort(square[:, present], axis=1, kind="stable")[:, :k]
        d2, v = np.take_along_axis(square[:, present], order, axis=1), column[present][order]
        nearest = d2.min(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(d2 == nearest, 1.0, (nearest / d2) ** (power / 2))
            weight[d2 > radius**2] = 0
            weight[(d2 <= radius**2).sum(axis=1) < min_samples] = np.nan
            mean[e] = (weight * v).sum(axis=1) / weight.sum(axis=1)
            size[e] = (weight * abs(v)).sum(axis=1) / weight.sum(axis=1)
    return mean.reshape(-1, *shape), size.reshape(-1, *shape)


def layout(name, n, shape, rng):
    """Points over and about a grid of `shape`."""
    extent = np.array([shape[1] * DX, shape[0] * DY])
    points = (WEST, NORTH) + rng.uniform(-0.3, 1.3, (n, 2)) * extent
    if name == "cell centres":
        points = (WEST, NORTH) + np.array([DX, DY]) * (rng.integers(0, shape[::-1], (n, 2)) + 0.5)
    elif name == "twice":
        points = points[rng.integers(0, n, n)]
    elif name == "line":
        points[:, 1] = points[0, 1]
    elif name == "cluster":
        points = np.r_[points, points[0] + rng.normal(0, DX, (300, 2))]
    elif name == "far away":
        points += 1e6
    return points
