"""Denoise every volume of a folder in 3D Slicer, without a window.

    Slicer --no-splash --no-main-window --python-script denoise_folder.py INPUT OUTPUT [--model NAME] [--detail 0..1]

Volumes that Slicer can load by their name (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd) are written to OUTPUT under the
same name; what is there already is not done again. `report.csv` in OUTPUT has one line per volume: noise before and
after, or the error. Exit code: 0 all done, 1 some failed (the report says why), 2 wrong usage or no volume.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import slicer

SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
COLUMNS = ("name", "status", "sigma", "snr_before", "snr_after", "verdict", "message")


def volumes_in(folder: Path) -> list[Path]:
    """Hidden files, as some systems leave beside others, are none."""
    return sorted(p for p in folder.iterdir() if p.name.lower().endswith(SUFFIXES) and not p.name.startswith("."))


def rows_of(report: Path) -> dict[str, dict[str, str]]:
    """What an earlier run wrote of each volume."""
    if not report.exists():
        return {}
    with report.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def save(volume, path: Path) -> None:
    """In a folder of its own first: what a kill leaves half written is never taken for a result."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        if not slicer.util.saveNode(volume, str(Path(folder) / path.name)):
            raise RuntimeError("The result could not be written.")
        # A header may have its voxels in a file beside it, which must be there first.
        for made in sorted(Path(folder).iterdir(), key=lambda made: made.name == path.name):
            made.replace(path.parent / made.name)


def denoise_folder(paths: list[Path], target: Path, model: str, detail: float) -> int:
    """Number of volumes that failed."""
    from C2SDenoise import C2SDenoiseLogic

    logic = C2SDenoiseLogic()
    target.mkdir(parents=True, exist_ok=True)
    before = rows_of(target / "report.csv")
    failed = 0
    with (target / "report.csv").open("w", newline="", encoding="utf-8") as file:
        report = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        report.writeheader()
        for path in paths:
            row = {"name": path.name, "status": "done"}
            if (target / path.name).exists():
                row = before.get(path.name, {}) | {"name": path.name, "status": "was there"}
            else:
                try:
                    volume = slicer.util.loadVolume(str(path))
                    result = logic.denoise(volume, model=model, detail=detail)
                    save(result.volume, target / path.name)
                    row.update(result.numbers)
                except Exception as error:  # one bad volume must not stop the others
                    row.update(status="failed", message=(str(error) or type(error).__name__).splitlines()[0])
                    failed += 1
            print(f"{row['name']}: {row['status']} {row.get('message', '')}".rstrip(), flush=True)
            report.writerow(row)
            file.flush()
            slicer.mrmlScene.Clear(0)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path, help="folder with the noisy volumes")
    parser.add_argument("output", type=Path, help="folder for the results")
    parser.add_argument("--model", default="default", help="name of a model, or a model file")
    parser.add_argument("--detail", type=float, default=0.0, help="0 removes all noise, 1 is the source")
    options = parser.parse_args()
    if not options.input.is_dir() or options.input.resolve() == options.output.resolve():
        print(f"{options.input} must be a folder, and another one than the output. Give both.", file=sys.stderr)
        return 2
    paths = volumes_in(options.input)
    if not paths:
        print(f"{options.input} has no volume ({', '.join(SUFFIXES)}) directly in it.", file=sys.stderr)
        return 2
    return 1 if denoise_folder(paths, options.output, options.model, options.detail) else 0


if __name__ == "__main__":
    sys.exit(main())
