"""How good is a denoised scan? With a reference: PSNR, SSIM, NRMSE. Without one: what the residual holds.

What tells removed anatomy from removed noise in the residual, source - denoised [measured on head scans with simulated
Gaussian, Rician and spatially varying noise]:

* Noise has the same energy beside an edge as elsewhere. An estimator that blurs takes more away there; a careful one
  less (at the optimum E[residual^2] = sigma^2 - posterior variance, which is largest there). The correlation of its
  energy with edges is `residual_edge_correlation`: 0 for noise, negative for caution, above 0.1 for blur. It is taken
  among voxels of similar intensity, since Rician noise and coil profiles tie the noise to the signal.
* A blurred image lacks what a sharpening filter would add to it. `residual_detail_correlation` correlates the residual
  with that: 0 for noise, up to 0.25 for good estimators at low SNR, above for blur.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np

from C2SCore import noise
from C2SCore.errors import UserError
from C2SCore.spectrum import estimate_spectrum
from C2SCore.tissue import foreground, signal_level, thickest
from C2SCore.zeropoint import lifted, zero_point

EDGE_LIMIT = 0.1
DETAIL_LIMIT = 0.25
_BANDS = 8  # of intensity, equally filled
_TAIL = 0.98  # quantile at which heavy tails are cut, so that few voxels do not decide
_FLOOR = 0.1  # of the noise: what remains below cannot be told from anatomy
_SLICES, _VOXELS = 8, 2**21  # of a larger volume, some slices are looked at: so many, or as many as have these voxels
_MANY = 48  # slices: of more, half as many voxels tell as much, as the ends, mostly empty, are left out
_FEW = 200  # voxels of foreground below which nothing can be said


@dataclass(frozen=True)
class ResidualChecks:
    """Numbers in the scan's own unit, and what they mean in one sentence.

    `noise_before` and `noise_after` are standard deviations in the foreground, SNR is its median over them. `removed`
    is the residual's standard deviation over that of the noise: just below 1 for a good estimator, above for one that
    takes more than noise. `noise_after` is the larger of two: what is left at the high frequencies of flat places, and
    the error sigma sqrt(1 - removed^2) of an optimal estimator (E[residual^2] = sigma^2 - error^2); never below a tenth
    of `noise_before`. A blurred image passes both, so read it with the verdict. The autocorrelations are of neighbours
    along (J, I): in the residual, and in noise with the spectrum of this scan. None where there is nothing to measure.
    """

    noise_before: float
    noise_after: float
    snr_before: float | None
    snr_after: float | None
    snr_gain_db: float
    removed: float
    residual_autocorrelation: tuple[float, float]
    noise_autocorrelation: tuple[float, float]
    residual_edge_correlation: float
    residual_detail_correlation: float
    verdict: str
    sentence: str


def psnr(reference: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB inside `mask`; infinite for identical images.

    The peak is the reference's maximum - minimum inside the mask. Arrays of one shape, (K, J, I).
    """
    inside = _inside(reference, image, mask)
    peak = _data_range(reference, inside)
    with np.errstate(divide="ignore"):
        return float(_metrics().peak_signal_noise_ratio(reference[inside], image[inside], data_range=peak))


def nrmse(reference: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean square error over root mean square of the reference, inside `mask`. Arrays of one shape, (K, J, I)."""
    inside = _inside(reference, image, mask)
    return float(_metrics().normalized_root_mse(reference[inside], image[inside]))


def ssim(reference: np.ndarray, image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (7 x 7 window), slice by slice, averaged inside `mask`; peak and arrays as for `psnr`."""
    inside = _inside(reference, image, mask)
    peak = _data_range(reference, inside)
    side = min(7, *reference.shape[1:])
    side -= 1 - side % 2
    if side < 3:
        raise UserError(f"SSIM needs slices of at least 3 x 3 pixels; these have {reference.shape[1:]}.")
    total = 0.0
    for a, b, m in zip(reference, image, inside, strict=True):
        if m.any():
            similar = _metrics().structural_similarity(a, b, data_range=peak, win_size=side, full=True)[1]
            total += float(similar[m].sum())
    return total / int(inside.sum())


def nothing_removed(volume: np.ndarray) -> dict[str, Any]:
    """The numbers of a volume (K, J, I) that is returned as it is, without a run."""
    return {**residual_checks(volume, volume, 0.0), "noise": "clean", "sigma": 0.0, "seconds": 0.0, "device": "cpu"}


def residual_checks(
    source: np.ndarray, denoised: np.ndarray, sigma: float | np.ndarray, kept: float = 0.0
) -> dict[str, Any]:
    """`ResidualChecks` as a dict, for a scan (K, J, I), its denoised version, and its noise (a number or a map).

    With `kept`, the numbers are those of denoised + kept (source - denoised), the detail line; the verdict is that of
    `denoised`, whose residual is the same but for its scale, and which has no noise that would pass for detail. Of a
    large volume, all numbers are those of some slices, evenly spread.
    """
    if source.shape != denoised.shape or np.shape(sigma) not in ((), source.shape):
        raise UserError(f"Scan {source.shape}, result {denoised.shape} and noise map must be of the same shape.")
    many = len(source) > _MANY
    count = max(_SLICES, _VOXELS // (2 if many else 1) // source[0].size)
    if len(source) > count:  # enough to know; time and memory stay bounded
        margin = (len(source) / count - 1) / 2 if many else 0
        chosen = np.linspace(margin, len(source) - 1 - margin, count).round().astype(int)
        source, denoised = source[chosen], denoised[chosen]
        sigma = sigma[chosen] if isinstance(sigma, np.ndarray) and sigma.ndim else sigma
    source, denoised = np.asarray(source, np.float32), np.asarray(denoised, np.float32)
    if zero := zero_point(source):
        source, denoised = lifted(source, zero), lifted(denoised, zero)
    mask = foreground(source)
    residual = source - denoised
    level = signal_level(source, mask)
    typical = float(np.median(sigma[mask])) if isinstance(sigma, np.ndarray) and mask.any() else float(np.mean(sigma))
    spectrum = estimate_spectrum(source, mask)
    expected = (_spectrum_correlation(spectrum.rows), _spectrum_correlation(spectrum.columns))
    left = 1 - kept
    unchanged = typical <= 0 or left * max(float(residual.max()), -float(residual.min())) <= 1e-3 * typical
    if unchanged or mask.sum() < _FEW:
        snr = level / typical if typical > 0 else None
        nothing = _CLEAN_SENTENCE if left else _KEPT_SENTENCE
        verdict, sentence = ("clean", nothing) if unchanged else ("unknown", _UNKNOWN_SENTENCE)
        return asdict(
            ResidualChecks(typical, typical, snr, snr, 0.0, 0.0, (0.0, 0.0), expected, 0.0, 0.0, verdict, sentence)
        )
    scaled = residual / np.maximum(sigma, 1e-3 * typical) if isinstance(sigma, np.ndarray) else residual
    edges, detail = _anatomy_correlations(scaled, denoised, mask)
    removed = float(np.std(scaled[mask])) / (1.0 if isinstance(sigma, np.ndarray) else typical)
    # Both by the same measure, so that anatomy that it mistakes for noise does not pass for noise that was left.
    rows = thickest(mask)
    before = noise.HighPassed(source[rows], mask[rows], spectrum)
    after = before.of(denoised[rows] + np.float32(kept) * residual[rows])
    expected_error = np.sqrt(max(1 - removed**2, 0.0) + (kept * removed) ** 2)  # the two are not correlated
    seen = after.sigma() / max(before.sigma(), 1e-30)
    remaining = typical * float(np.clip(max(seen, expected_error), _FLOOR, 1))
    verdict = "anatomy" if edges > EDGE_LIMIT or detail > DETAIL_LIMIT else "noise"
    checks = ResidualChecks(
        noise_before=typical,
        noise_after=remaining,
        snr_before=level / typical,
        snr_after=level / remaining,
        snr_gain_db=20 * float(np.log10(typical / remaining)),
        removed=left * removed,
        residual_autocorrelation=(_lag_one(residual, mask, 1), _lag_one(residual, mask, 2)),
        noise_autocorrelation=expected,
        residual_edge_correlation=edges,
        residual_detail_correlation=detail,
        verdict=verdict,
        sentence=_NOISE_SENTENCE if verdict == "noise" else _ANATOMY_SENTENCE.format(edges=edges, detail=detail),
    )
    return asdict(checks)


_CLEAN_SENTENCE = "Nothing was removed: there was no noise to be seen, or nothing but background."
_KEPT_SENTENCE = "Nothing was removed: with a detail of 1 the result is the source."
_UNKNOWN_SENTENCE = "There is too little tissue to say whether noise or anatomy was removed: look at both yourself."
_NOISE_SENTENCE = "The residual looks like noise: it does not follow the anatomy."
_ANATOMY_SENTENCE = (
    "The residual follows the anatomy (edges {edges:.2f}, detail {detail:.2f}; noise alone gives about 0): fine "
    "structure went with the noise. Keep more detail, lower sigma, or adapt the model to this scan."
)


def _anatomy_correlations(residual: np.ndarray, denoised: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """`residual_edge_correlation` and `residual_detail_correlation`, both pooled over bands of similar intensity."""
    edge, energy, lacking, removed, intensity = map(
        np.concatenate, zip(*(_anatomy(*planes) for planes in zip(residual, denoised, mask)))
    )
    sums = np.zeros((2, 3))
    limits = np.arange(1, _BANDS) * (len(intensity) - 1) // _BANDS + 1
    for here in np.split(np.argsort(intensity), limits):
        sums[0] += _moments(_without_tail(edge[here]), _without_tail(energy[here]))
        sums[1] += _moments(_without_tail(lacking[here], both=True), removed[here])
    product, first, second = sums.T
    edges, detail = product / np.sqrt(np.maximum(first * second, 1e-300))
    return float(edges), float(detail)


def _anatomy(residual: np.ndarray, denoised: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of one slice, in the pixels of its mask: height of the edges, energy of the residual, what sharpening would add,
    the residual, intensity.
    """
    shown = _smooth(denoised, 2)
    rows = np.diff(shown, axis=0, append=shown[-1:])
    columns = np.diff(shown, axis=1, append=shown[:, -1:])
    wide = _smooth(shown, 3)
    found = np.sqrt(rows * rows + columns * columns), _smooth(residual * residual, 2), shown - wide, residual, wide
    return tuple(values[mask] for values in found)


def _moments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of products, first squares and second squares about the means."""
    a, b = a.astype(np.float64) - a.mean(), b.astype(np.float64) - b.mean()
    return np.array([a @ b, a @ a, b @ b])


def _without_tail(values: np.ndarray, both: bool = False) -> np.ndarray:
    limit = np.quantile(np.abs(values), _TAIL)
    return np.clip(values, -limit if both else 0, limit)


def _smooth(plane: np.ndarray, times: int) -> np.ndarray:
    """Binomial smoothing (1 2 1) / 4 of (J, I) along both axes, repeated; edges are continued."""
    plane = np.pad(plane, times, mode="symmetric")
    for _ in range(2 * times):
        plane = plane[1:] + plane[:-1]
        plane = plane[:, 1:] + plane[:, :-1]
    return plane / np.float32(16**times)


def _lag_one(residual: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Correlation of in-plane neighbours along `axis` where both lie in the mask."""
    ahead, behind = ((*[slice(None)] * axis, part) for part in (slice(1, None), slice(-1)))
    both = mask[ahead] & mask[behind]
    if both.sum() < _FEW:
        return 0.0
    product, first, second = _moments(residual[ahead][both], residual[behind][both])
    return float(product / np.sqrt(max(first * second, 1e-300)))


def _spectrum_correlation(profile: np.ndarray) -> float:
    """Lag-one autocorrelation of noise with this power from frequency 0 to 0.5 (Wiener-Khinchin)."""
    frequency = np.linspace(0, 0.5, len(profile))
    weight = np.ones(len(profile))
    weight[[0, -1]] = 0.5  # trapezoids
    value = (weight * profile * np.cos(2 * np.pi * frequency)).sum() / (weight * profile).sum()
    return round(float(value), 6)


def _inside(reference: np.ndarray, image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if reference.shape != image.shape or reference.ndim != 3:
        raise UserError(f"Image {image.shape} and reference {reference.shape} must be of one shape, (K, J, I).")
    if mask is None:
        return np.ones(reference.shape, dtype=bool)
    if mask.shape != reference.shape:
        raise UserError(f"Mask {mask.shape} and reference {reference.shape} must be of the same shape.")
    inside = np.asarray(mask) != 0
    if not inside.any():
        raise UserError("The mask is empty; at least one voxel must be in it. Choose another mask.")
    return inside


def _data_range(reference: np.ndarray, inside: np.ndarray) -> float:
    found = float(np.ptp(reference[inside]))
    if not found > 0:
        raise UserError(f"The data range is {found:g}; it must be above 0. Choose a reference that is not constant.")
    return found


def _metrics() -> ModuleType:
    try:
        from skimage import metrics
    except ImportError as error:
        raise UserError(
            "PSNR, SSIM and NRMSE need scikit-image, which is missing. Install it: pip install scikit-image"
        ) from error
    return metrics
