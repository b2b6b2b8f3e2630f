"""Study: can the result be trusted?

Pure noise in: how much structure comes out? Lesions of 2 to 5 mm at contrast-to-noise 2 to 6, laid into tissue: how
much of their contrast is left, against BM3D that knows sigma? (The same noise with and without lesion, so the
difference is the lesion alone.) With how much detail kept do ours keep as much, and what is the PSNR then? The
uncertainty map: does it foretell the error? Over-smoothing, by a blur of the result and by too high a sigma: do the
checks of the residual, which need no truth, flag it before much PSNR is lost?
Writes study_trust.json, study_trust.md and study_trust.png.

    python study_trust.py T1W.nii.gz --spacing 1.44
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import peers
from learning import Simulated, score, simulate
from pictures import draw_curves

from C2SCore import files, model
from C2SCore.denoising import Options, denoise
from C2SCore.quality import residual_checks

BINS = 8  # of the predicted deviation
LESIONS = 12  # of each size and contrast
BLURS = (0.3, 0.4, 0.5, 0.7, 1.0, 1.5)  # pixels, of our result
TOO_HIGH = (1.25, 1.5, 2.0)  # times the true sigma
LITTLE = 0.5  # dB
DETAILS = (0.0, 0.1, 0.2, 0.3)  # shares of the source that are kept
SLICES = 8  # on which their PSNR is compared with BM3D's


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="scan taken for the truth (default: a simulated head)")
    made.add_argument("--spacing", type=float, help="mm per pixel (default: the file's; 1 for the simulated head)")
    made.add_argument("--snr", type=float, default=10.0, help="(default: %(default)s)")
    made.add_argument("--diameters", type=float, nargs="+", default=(2.0, 3.0, 5.0), help="mm (default: 2 3 5)")
    made.add_argument("--contrasts", type=float, nargs="+", default=(2.0, 4.0, 6.0), help="over sigma (default: 2 4 6)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--side", type=int, default=128, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    spacing = options.spacing or (files.read_one(options.scan).spacing[0] if options.scan else 1.0)
    name, clean = common.anatomy(options.scan, (10, options.side, options.side), options.seed)
    scan = simulate(name, clean, options.snr, options.seed)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": name, "model": loaded.card.name}
    values |= {"snr": options.snr, "spacing": spacing, "pure_noise": _pure_noise(scan, loaded), "lesions": []}
    values["uncertainty"] = _calibration(scan, loaded)
    values["smoothing"] = _smoothing(scan, loaded)
    for diameter in options.diameters:
        for contrast in options.contrasts:
            values["lesions"].append(_lesions(scan, loaded, diameter, contrast, spacing, options.seed))
    values["detail"] = _detail(scan, loaded, values["lesions"])
    curve = values["uncertainty"]
    line = {loaded.card.name: (curve["predicted"], curve["found"]), "ideal": (curve["predicted"], curve["predicted"])}
    draw_curves(
        line, options.out / "study_trust.png", "predicted standard deviation / sigma", "root mean square error / sigma"
    )
    common.write_results(options.out, "study_trust", values, _text(values))
    return values


def _pure_noise(scan: Simulated, loaded: model.Model) -> dict[str, float]:
    """Standard deviation of the result over that of the noise; BM3D on one slice."""
    noise = common.add_noise(np.zeros_like(scan.clean), 1.0, "gaussian", 0)
    ours = denoise(noise, loaded, Options(sigma=1.0, noise="gaussian")).estimate
    return {"ours": float(ours.std()), "BM3D": float(peers.bm3d(noise[:1], 1.0).std())}


def _calibration(scan: Simulated, loaded: model.Model) -> dict[str, Any]:
    """Root mean square error in tissue, binned by the predicted deviation (equally filled), both over sigma."""
    result = denoise(scan.noisy, loaded, Options(sigma=scan.sigma, noise="gaussian", uncertainty=True))
    mask = scan.mask
    predicted, error = result.uncertainty[mask] / scan.sigma, (result.estimate - scan.clean)[mask] / scan.sigma
    bands = np.searchsorted(np.quantile(predicted, np.linspace(0, 1, BINS + 1)[1:-1]), predicted)
    pairs = [(predicted[bands == b], error[bands == b]) for b in range(BINS) if (bands == b).any()]
    return {
        "predicted": [float(np.sqrt(np.mean(p**2))) for p, _ in pairs],
        "found": [float(np.sqrt(np.mean(e**2))) for _, e in pairs],
        "rank_correlation": _rank_correlation(predicted, np.abs(error)),
    }


def _smoothing(scan: Simulated, loaded: model.Model) -> list[dict[str, Any]]:
    """PSNR of results that are smoother and smoother; what the checks of the residual say of them, and whether the
    program warned of the level that it was told.
    """
    from scipy.ndimage import gaussian_filter

    def told(factor: float) -> tuple[np.ndarray, bool]:
        result = denoise(scan.noisy, loaded, Options(sigma=factor * scan.sigma, noise="gaussian"))
        return result.estimate, any("was set to" in text for text in result.warnings)

    images = {"as it is": told(1.0)}
    ours, warned = images["as it is"]
    images |= {f"blurred by {width:g} pixels": (gaussian_filter(ours, (0, width, width)), warned) for width in BLURS}
    images |= {f"told {factor:g} sigma": told(factor) for factor in TOO_HIGH}
    found = []
    for title, (image, warned) in images.items():
        checks = residual_checks(scan.noisy, image, scan.sigma)
        psnr = common.mean(score(scan, image, np.arange(len(image)))["psnr"])
        shown = {name: checks[name] for name in ("residual_edge_correlation", "residual_detail_correlation", "verdict")}
        lost = (found[0]["psnr"] if found else psnr) - psnr
        found.append({"title": title, "psnr": psnr, "lost": lost, "warned": warned} | shown)
    return found


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _lesions(
    scan: Simulated, loaded: model.Model, diameter: float, contrast: float, spacing: float, seed: int
) -> dict[str, Any]:
    """Share of the lesions' contrast that is left: result with them less result without, over the truth."""
    rng = np.random.default_rng(seed)
    k = int(np.argmax(scan.mask.sum(axis=(1, 2))))
    shape, reach = scan.clean.shape[1:], int(np.ceil(diameter / spacing)) + 2
    profile = np.zeros(shape, dtype=np.float32)
    middles: list[tuple[int, int]] = []
    y, x = np.ogrid[: shape[0], : shape[1]]
    places = rng.permutation(np.argwhere(scan.mask[k]))
    for j, i in places:
        far = all(max(abs(j - a), abs(i - b)) > 3 * reach for a, b in middles)
        inside = scan.mask[k, max(j - reach, 0) : j + reach + 1, max(i - reach, 0) : i + reach + 1]
        if not far or inside.size < (2 * reach + 1) ** 2 or not inside.all():
            continue
        middles.append((int(j), int(i)))
        # A disc whose rim falls over one pixel, as partial volume makes it.
        profile += np.clip(diameter / 2 / spacing + 0.5 - np.hypot(y - j, x - i), 0, 1).astype(np.float32)
        if len(middles) == LESIONS:
            break
    added = contrast * scan.sigma * profile
    lesioned = scan.noisy.copy()
    lesioned[k] += added
    # Ours sees the lesion in its own slice alone: the neighbours speak against it.
    options = Options(sigma=scan.sigma, noise="gaussian")
    ours = [denoise(v[max(k - 1, 0) : k + 2], loaded, options).estimate[min(k, 1)] for v in (lesioned, scan.noisy)]
    bm3d = [peers.bm3d(v[k : k + 1], scan.sigma)[0] for v in (lesioned, scan.noisy)]
    inside = profile > 0.99 * profile.max() if middles else np.zeros(shape, dtype=bool)
    kept = {
        n: float((a - b)[inside].mean() / added[inside].mean()) if middles else float("nan")
        for n, (a, b) in (("ours", ours), ("BM3D", bm3d))
    }
    return {"diameter_mm": diameter, "contrast_to_noise": contrast, "count": len(middles), "kept": kept}


def _detail(scan: Simulated, loaded: model.Model, lesions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean contrast left of the lesions, and PSNR, along the detail line, at the place where ours keep as much as BM3D,
    and of BM3D. The line is linear, so the contrast need not be measured again.
    """
    known = [v["kept"] for v in lesions if v["count"]]
    if not known:
        return []
    kept, theirs = (common.mean([v[who] for v in known]) for who in ("ours", "BM3D"))
    equal = float(np.clip((theirs - kept) / max(1 - kept, 1e-9), 0, 1))
    rows = np.unique(np.linspace(0, len(scan.clean) - 1, SLICES).round().astype(int))
    noisy = scan.noisy[rows]
    ours = denoise(scan.noisy, loaded, Options(sigma=scan.sigma, noise="gaussian")).estimate[rows]
    found = []
    for detail in sorted({*DETAILS, equal}):
        psnr = common.mean(score(scan, ours + detail * (noisy - ours), rows)["psnr"])
        found.append({"title": f"ours, detail {detail:.2f}", "kept": kept + detail * (1 - kept), "psnr": psnr})
    bm3d = common.mean(score(scan, peers.bm3d(noisy, scan.sigma), rows)["psnr"])
    return [*found, {"title": "BM3D", "kept": theirs, "psnr": bm3d}]


def _text(values: dict[str, Any]) -> str:
    noise, calibration = values["pure_noise"], values["uncertainty"]
    pairs = zip(calibration["predicted"], calibration["found"])
    errors = [(f"{predicted:.3f}", f"{found:.3f}") for predicted, found in pairs]
    lesions = [
        (
            f"{v['diameter_mm']:g} mm, {v['contrast_to_noise']:g}",
            v["count"],
            f"{v['kept']['ours']:.0%}",
            f"{v['kept']['BM3D']:.0%}",
        )
        for v in values["lesions"]
    ]
    return "\n\n".join(
        [
            f"# Trust\n\n{values['scan']}, SNR {values['snr']:g}, Gaussian noise, model {values['model']}, true sigma.",
            f"Pure noise of standard deviation 1 in: {noise['ours']:.3f} out, BM3D {noise['BM3D']:.3f}.",
            "## Contrast left of lesions\n\nDiscs in one slice, at most twelve; share that is left in the middle.",
            common.table(("diameter, contrast to noise", "lesions", "ours", "BM3D"), lesions),
            "Along the detail line (`--detail`), of which one place keeps as much as BM3D:",
            common.table(
                ("", "contrast left, mean", "PSNR dB"),
                [(v["title"], f"{v['kept']:.0%}", f"{v['psnr']:.2f}") for v in values["detail"]],
            ),
            f"## Uncertainty\n\nRank correlation with the error's size: {calibration['rank_correlation']:.2f}.",
            common.table(("predicted deviation / sigma", "error / sigma"), errors),
            "## Over-smoothing",
            common.table(
                ("our result", "PSNR dB", "residual: edges", "detail", "verdict", "warned of the level"),
                [
                    (
                        v["title"],
                        f"{v['psnr']:.2f}",
                        f"{v['residual_edge_correlation']:+.3f}",
                        f"{v['residual_detail_correlation']:+.3f}",
                        v["verdict"],
                        "yes" if v["warned"] else "-",
                    )
                    for v in values["smoothing"]
                ],
            ),
            f"## What it shows\n\n{_shows(values)}",
        ]
    )


def _shows(values: dict[str, Any]) -> str:
    noise, curve = values["pure_noise"], values["uncertainty"]
    known = [v for v in values["lesions"] if v["count"]]
    parts = [f"Of pure noise, {noise['ours']:.1%} is left by ours and {noise['BM3D']:.1%} by BM3D."]
    if known:
        ours, bm3d = (np.array([v["kept"][who] for v in known]) for who in ("ours", "BM3D"))
        faint = known[int(np.argmin(ours))]
        parts.append(
            f"Ours keeps more of a lesion's contrast than BM3D in {int((ours > bm3d).sum())} of {len(known)} cases, "
            f"{ours.mean():.0%} against {bm3d.mean():.0%} on average; least, {ours.min():.0%}, of "
            f"{faint['diameter_mm']:g} mm at contrast-to-noise {faint['contrast_to_noise']:g}."
        )
        *along, other = values["detail"]
        first, same = along[0], next((v for v in along if v["kept"] >= other["kept"] - 1e-9), along[-1])
        parts.append(
            f"With as much contrast left as BM3D ({same['title']}), the PSNR is {same['psnr'] - other['psnr']:+.2f} dB "
            f"over BM3D's ({first['psnr'] - other['psnr']:+.2f} dB without)."
        )
    ratio = np.array(curve["found"]) / np.maximum(curve["predicted"], 1e-9)
    parts.append(
        f"The error is {ratio.min():.2f} to {ratio.max():.2f} times the deviation that is foretold, bin by bin; rank "
        f"correlation {curve['rank_correlation']:.2f}."
    )
    best = values["smoothing"][0]
    flagged = [v for v in values["smoothing"] if v["verdict"] != best["verdict"] or v["warned"]]
    missed = [v["title"] for v in values["smoothing"] if v not in flagged and v["lost"] > LITTLE]
    first = min(flagged, key=lambda v: v["lost"], default=None)
    least = (
        f"the least loss that was flagged is {first['lost']:.2f} dB ({first['title']})" if first else "none was flagged"
    )
    parts.append(
        f"Over-smoothing: the residual of the best result holds {best['verdict']}, as the checks say; those that lost "
        f"more than {LITTLE} dB, got the same verdict and no warning: {', '.join(missed) or 'none'}; {least}."
    )
    return " ".join(parts)


if __name__ == "__main__":
    main()
