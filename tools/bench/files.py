"""CPU time and memory of reading and writing large COCO files."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import write_json
from hpr.formats.coco import Coco
from hpr.report.tables import format_table
from hpr.skeleton import COCO17

_ROOT = Path(__file__).resolve().parents[2]
_IMAGE_SIZE = (640, 480)

Result = dict[str, Any]


def benchmark_files(people: int, images: int, folder: Path) -> Result:
    """Measures annotations, and results read beside them, each in a process of its own.

    Args:
        people: Number of people in each file, with 17 keypoints, a score and a box.
        images: Number of images.
        folder: Folder for the files, which have some 450 bytes for each person.

    Returns:
        "annotations" and "results", each with the megabytes of the file, the seconds of CPU, and the peak memory.
    """
    _run(write_large_files.__name__, people, images, folder)
    found = {}
    for kind in ("annotations", "results"):
        figures = _run(measure_file.__name__, kind, folder)
        found[kind] = {"megabytes": (folder / f"{kind}.json").stat().st_size / 1e6, **figures}
    return found


def _run(function: str, *arguments: Any) -> Any:
    """Returns what a function of this module returns in a process of its own."""
    call = f"{function}(*json.loads(sys.argv[1]))"
    script = f"import json, sys; from tools.bench.files import {function}; print(json.dumps({call}))"
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", script, json.dumps(arguments, default=str)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"what=files: {done.stderr.splitlines()[-1]}")
    return json.loads(done.stdout)


def write_large_files(people: int, images: int, folder: str) -> None:
    """Writes random annotations.json, whose people are in no order of images, as COCO's, and results.json."""
    generator = np.random.default_rng(0)
    size = np.array(_IMAGE_SIZE)
    coordinates = (generator.uniform(0, 1, (people, len(COCO17), 2)) * size).round(2)
    scores = generator.uniform(0.01, 1, (people, len(COCO17), 1)).round(4)
    boxes = generator.uniform(0, 300, (people, 4)).round(2).tolist()
    image_ids = generator.integers(1, images + 1, people).tolist()

    flags = generator.integers(0, 3, scores.shape)
    annotated = np.concatenate([np.where(flags > 0, coordinates.astype(int), 0), flags], axis=-1).reshape(people, -1)
    annotations = [
        {**{"id": i, "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": 1000.5}, "keypoints": own, "bbox": b}
        for i, (image_id, own, b) in enumerate(zip(image_ids, annotated.tolist(), boxes, strict=True))
    ]
    width, height = _IMAGE_SIZE
    entries = [{"id": i, "file_name": f"{i:012d}.jpg", "width": width, "height": height} for i in range(1, images + 1)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.names), "skeleton": []}
    document = {"images": entries, "annotations": annotations, "categories": [category]}
    write_json(Path(folder, "annotations.json"), document)

    estimated = np.concatenate([coordinates, scores], axis=-1).reshape(people, -1).tolist()
    by_image = sorted(zip(image_ids, estimated, boxes, strict=True), key=lambda person: person[0])
    results = [
        {"image_id": image_id, "category_id": 1, "keypoints": own, "score": own[2], "bbox": box}
        for image_id, own, box in by_image
    ]
    write_json(Path(folder, "results.json"), results)


def measure_file(kind: str, folder: str) -> Result:
    """Reads a file of `write_large_files`, moves everybody, as refining does, and writes it again."""
    file_format = Coco(str(Path(folder, "annotations.json")) if kind == "results" else None)
    start = time.process_time()
    (sequence,) = file_format.read(Path(folder, f"{kind}.json"))
    read = time.process_time() - start

    moved = replace(sequence, frames=[replace(f, keypoints=f.keypoints + 0.123456789) for f in sequence.frames])
    start = time.process_time()
    file_format.write([moved], Path(folder, "written.json"))
    written = time.process_time() - start
    # Linux's own count: that of getrusage begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e6
    return {"people": moved.people, "read_seconds": read, "write_seconds": written, "peak_memory_gb": peak}


def files_table(result: Result) -> str:
    """Formats the figures."""
    rows = [["file", "MB", "people", "read, s of CPU", "written, s of CPU", "peak memory, GB"]]
    for kind, own in result.items():
        seconds = [f"{own[f'{name}_seconds']:.1f}" for name in ("read", "write")]
        rows.append([kind, f"{own['megabytes']:.0f}", str(own["people"]), *seconds, f"{own['peak_memory_gb']:.2f}"])
    return format_table(rows)
