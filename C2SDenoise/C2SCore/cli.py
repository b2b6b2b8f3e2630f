"""The `c2s` command: its arguments, its exit codes, and how errors are shown. What it does is in `commands`.

Exit codes: 0 all done; 1 some scans failed, and standard error says which; 2 wrong usage or input that cannot work.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Sequence

from C2SCore import __version__
from C2SCore.errors import Cancelled, UserError
from C2SCore.stopping import terminated_in_order
from C2SCore.terminal import told
from C2SCore.threads import share_cores

EPILOG = """A scan is a NIfTI, NRRD, MetaImage or DICOM file, a folder with a DICOM series, or M4Raw or fastMRI HDF5
(FILE.h5::DATASET names one of several). Errors go to standard error; --debug adds where they arose. Exit codes: 0 all
done, 1 some scans failed, 2 wrong usage."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    share_cores()
    if sys.stderr is None:  # closed, as a daemon's may be
        sys.stderr = open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the console cannot show must not stop the work
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["worker"]:  # before anything that costs time: Slicer waits for it
        from C2SCore import worker

        return worker.main()
    if any(map(_is_empty, arguments)):
        return _failed(
            "An argument has no name or value (an empty variable?). Give one, or leave the option off.", False, 2
        )
    options = build_parser().parse_args(arguments)
    from C2SCore import commands

    try:
        with terminated_in_order():
            return int(getattr(commands, options.command)(options))
    except UserError as error:
        return _failed(str(error), options.debug, 2)
    except Cancelled as stopped:
        return _failed(str(stopped) or "Stopped; nothing was written.", options.debug, 1)
    except KeyboardInterrupt:
        return _failed("Stopped.", options.debug, 1)
    except BrokenPipeError:  # the reader of our output has gone, as in `c2s ... | head`
        sys.stderr.close()
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return _failed(f"The name {error.filename} is longer than the system takes. Shorten it.", options.debug, 2)
        hint = "" if options.debug else " (a fault of the program; --debug shows where)"
        return _failed(f"{told(error)}{hint}", options.debug, 1)


def _is_empty(word: str) -> bool:
    """Taken for none, or for the folder here, it would do something else than was meant."""
    option, mark, value = word.partition("=")
    return not word or (option.startswith("-") and mark == "=" and not value)


def _failed(message: str, debug: bool, code: int) -> int:
    if debug:
        traceback.print_exc()
    print(f"c2s: {message}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="c2s", description="Removes noise from MR images; learns to do so from noisy images alone.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=f"C2SDenoise {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
        added.add_argument("--debug", action="store_true", help="show where an error arose")
        added.add_argument("--quiet", action="store_true", help="no progress")
        return added

    denoise = command("denoise", "Denoise scans.")
    denoise.add_argument("scans", nargs="+", metavar="SCAN")
    denoise.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="a file (.nii.gz, .nii, .nrrd, .mha); a folder for several"
    )
    denoise.add_argument("--residual", metavar="OUT", default="", help="what was removed; a file, or a folder")
    denoise.add_argument(
        "--uncertainty",
        metavar="OUT",
        default="",
        help="expected error (standard deviation), takes some ten times as long; a file, or a folder",
    )
    denoise.add_argument("--report", metavar="OUT.json", default="", help="numbers; a file, or a folder")
    denoise.add_argument(
        "--picture",
        metavar="OUT.png",
        default="",
        help="the middle slice: source, result, what was removed; a file, or a folder",
    )
    _denoising_arguments(denoise)
    denoise.add_argument("--json", action="store_true", help="print the reports as JSON")

    batch = command("batch", "Denoise many scans; what fails is recorded and does not stop the rest.")
    batch.add_argument("inputs", nargs="+", metavar="INPUT", help="a scan, or a folder that is searched for scans")
    batch.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="for the results, in the tree of the inputs, and the record",
    )
    place = batch.add_mutually_exclusive_group()
    place.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    place.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster, as in tcp://host:8786")
    batch.add_argument(
        "--resume", action="store_true", help="pass over what an earlier batch has done with the same settings"
    )
    batch.add_argument("--residual", action="store_true", help="write what was removed, too, beside each result")
    batch.add_argument(
        "--uncertainty",
        action="store_true",
        help="write the expected error (standard deviation), too, beside it; takes some ten times as long",
    )
    batch.add_argument(
        "--pictures",
        action="store_true",
        help="draw the middle slice of each scan (source, result, what was removed) for batch.html",
    )
    _denoising_arguments(batch)
    batch.add_argument("--json", action="store_true", help="print the record as JSON")

    train = command("train", "Learn a denoiser from noisy scans.")
    train.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="PATH",
        help="scans, and folders that are searched; with --resume only if they were moved",
    )
    train.add_argument("--out", required=True, metavar="MODEL", help="a .safetensors file, or a name of your own")
    train.add_argument(
        "--aux",
        nargs="+",
        action="append",
        default=[],
        metavar="SCAN",
        help="a further contrast of the same anatomy, one scan for each of --data, paired by their names, files in "
        "order; repeat for each contrast",
    )
    recipe = train.add_mutually_exclusive_group()
    recipe.add_argument(
        "--preset",
        default="",
        help="quick (from the bundled model, minutes), standard (from nothing, longer; default) or paper; "
        "not with --resume",
    )
    recipe.add_argument("--config", default="", metavar="FILE.yaml", help="a recipe of your own")
    train.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="time budget, instead of the recipe's; with --resume, what was used before counts",
    )
    train.add_argument(
        "--initial",
        default="",
        metavar="MODEL",
        help="the model to start from; 'none' starts from random weights (default: as the recipe says)",
    )
    train.add_argument(
        "--card", default="", metavar="FILE.yaml", help="what to write on the model card: description, licence ..."
    )
    train.add_argument(
        "--report",
        default="",
        metavar="OUT.html",
        help="a page with the curves, held-back slices, and a comparison with the bundled model and BM3D",
    )
    train.add_argument("--resume", action="store_true", help="go on with the training that --out, or C2S Train, began")
    train.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    train.add_argument("--json", action="store_true", help="print the model's card as JSON")

    evaluate = command("evaluate", "Compare an image with a reference: PSNR, SSIM, NRMSE.")
    evaluate.add_argument("--image", required=True, metavar="SCAN", help="what is to be judged, such as a result")
    evaluate.add_argument("--reference", required=True, metavar="SCAN", help="the same without noise, or with less")
    evaluate.add_argument("--mask", default="", metavar="SCAN", help="where to compare: its voxels that are not 0")
    evaluate.add_argument("--json", action="store_true", help="print the numbers as JSON")

    noise = command("noise", "Measure the noise of scans.")
    noise.add_argument("scans", nargs="+", metavar="SCAN")
    noise.add_argument(
        "--repetitions",
        action="store_true",
        help="the scans (or the frames of one) repeat each other without motion: measure by their difference",
    )
    noise.add_argument("--map", metavar="OUT", help="write sigma at every voxel of one scan, for `denoise --sigma`")
    noise.add_argument("--json", action="store_true", help="print the numbers as JSON")

    models = command("models", "List, show, edit, import, export and remove models.")
    action = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = action.add_parser("list", help="all models")
    show = action.add_parser("show", help="a model's card")
    show.add_argument("model", metavar="MODEL")
    edit = action.add_parser("edit", help="write other words on a model's card")
    edit.add_argument("model", metavar="MODEL")
    edit.add_argument(
        "--card", required=True, metavar="FILE.yaml", help="description, contrasts, anatomy, licence, trained_on ..."
    )
    add = action.add_parser("import", help="copy a model file to your own models")
    add.add_argument("file", metavar="FILE")
    add.add_argument("--name", default=None, help="its name (default: that of the file)")
    export = action.add_parser("export", help="copy a model to a file")
    export.add_argument("model", metavar="MODEL")
    export.add_argument("file", metavar="FILE")
    remove = action.add_parser("remove", help="delete one of your own models")
    remove.add_argument("model", metavar="MODEL")
    for one in (listed, show, edit):
        one.add_argument("--json", action="store_true", help="print it as JSON")

    commands.add_parser("worker", help="Serve jobs as JSON lines, for programs.")
    return parser


def _denoising_arguments(parser: argparse.ArgumentParser) -> None:
    """What `denoise` and `batch` share."""
    parser.add_argument(
        "--model", default="default", metavar="NAME|FILE", help="see `c2s models list` (default: the bundled one)"
    )
    parser.add_argument(
        "--aux", nargs="+", default=[], metavar="SCAN", help="the model's further contrasts of one scan, in order"
    )
    parser.add_argument(
        "--sigma", default="auto", metavar="auto|NUMBER|MAP", help="noise level in the scan's unit (default: measured)"
    )
    parser.add_argument(
        "--noise",
        default="auto",
        choices=["auto", "gaussian", "rician"],
        help="its kind: rician in magnitude images (default: as the scan shows)",
    )
    parser.add_argument("--detail", type=float, default=0.0, metavar="0..1", help="0: all noise removed; 1: the source")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    parser.add_argument("--adapt", type=float, default=0.0, metavar="MINUTES", help="train on the scan itself first")
    parser.add_argument(
        "--dtype",
        default="float",
        choices=["float", "source"],
        help="of the output: 32-bit float (default), or the source's integers, rounded and clipped",
    )
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="write scans that are DICOM series as such, in the same study; outputs are folders, and each series gets "
        "one there, named after the scan",
    )
