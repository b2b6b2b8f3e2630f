"""Denoise every volume of a folder in 3D Slicer, without a window.

    Slicer --no-splash --no-main-window --python-script denoise_folder.py INPUT OUTPUT [--model NAME] [--detail 0..1]

Volumes that Slicer can load by their name (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd) are written to OUTPUT under the
same name; what is there already is not done again. `report.csv` in OUTPUT has one line per volume: noise before and
after, or the error. Exit code: 0 all done, 1 some failed (the report says why), 2 wrong usage.
"""

import argparse
import csv
import sys
from pathlib import Path

import slicer

SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
COLUMNS = ("name", "status", "sigma", "snr_before", "snr_after", "verdict", "message")


def denoise_folder(source: Path, target: Path, model: str, detail: float) -> int:
    """Number of volumes that failed."""
    from C2SDenoise import C2SDenoiseLogic

    logic = C2SDenoiseLogic()
    target.mkdir(parents=True, exist_ok=True)
    failed = 0
    with (target / "report.csv").open("w", newline="", encoding="utf-8") as file:
        report = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        report.writeheader()
        for path in sorted(p for p in source.iterdir() if p.name.lower().endswith(SUFFIXES)):
            row = {"name": path.name, "status": "done"}
            if (target / path.name).exists():
                row["status"] = "was there"
            else:
                try:
                    volume = slicer.util.loadVolume(str(path))
                    result = logic.denoise(volume, model=model, detail=detail)
                    if not slicer.util.saveNode(result.volume, str(target / path.name)):
                        raise RuntimeError("The result could not be written.")
                    row.update(result.numbers)
                except Exception as error:  # one bad volume must not stop the others
                    row.update(status="failed", message=str(error).splitlines()[0])
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
    return 1 if denoise_folder(options.input, options.output, options.model, options.detail) else 0


if __name__ == "__main__":
    sys.exit(main())
