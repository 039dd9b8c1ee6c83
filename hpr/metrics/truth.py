"""Ground truth that is read once: what every metric has in common, and which frame is which."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpr.errors import UserError, counted
from hpr.formats import Format
from hpr.metrics.scores import Scores
from hpr.poses import Frame, FrameKey, PoseSequence, image_stem, match_frames

NamedSequences = Mapping[str, Sequence[PoseSequence]]
"""File name → the sequences in the file."""

Progress = Callable[[int], Any]
"""Called with the number of files that were done since the last call."""

SILENT: Progress = lambda files: None  # noqa: E731

_KeyedFrame = tuple[str, FrameKey, Frame]


class FramePair(NamedTuple):
    """An annotated frame and the estimate for it.

    Attributes:
        truth: The annotated frame.
        estimate: The predicted people; nobody where the image has no prediction.
        file: Name of the predicted file; None where the image has no prediction, as is `key`.
        key: Indices of the predicted sequence in its file and of the frame in it.
    """

    truth: Frame
    estimate: Frame
    file: str | None = None
    key: FrameKey | None = None


class Truth(ABC):
    """Ground truth to score poses against, as often as needed: before and after refining, or during a training.

    Attributes:
        origin: What messages call it, such as its folder.
    """

    origin: str

    @abstractmethod
    def score(self, predicted: NamedSequences, progress: Progress = SILENT, mota_threshold: float = 0.0) -> Scores:
        """Scores predictions.

        Args:
            predicted: Predicted files.
            progress: Called with the number of files done.
            mota_threshold: Refined keypoints whose confidence is not above it do not count for MOTA (0: all count), so
                that poses with all keypoints are scored for both published objectives at once. Other metrics ignore it.

        Raises:
            UserError: A file is broken, or nothing can be scored.
        """

    @abstractmethod
    def pairs(self, predicted: NamedSequences, progress: Progress = SILENT) -> tuple[list[FramePair], list[str]]:
        """Pairs the annotated frames with predictions, by the same rules and for the same arguments as `score`.

        Returns:
            The annotated frames with their predictions, and warnings.

        Raises:
            UserError: A file is broken, or nothing can be paired.
        """


class ImageTruth(Truth):
    """Ground truth of single images, which are found by their names in whatever file they are predicted.

    Attributes:
        frames: The annotated images, in the order of the files.
        all_images_annotated: Whether nobody is in an image without annotated people; else it is not annotated.
    """

    all_images_annotated = True

    def __init__(self, frames: Sequence[Frame], origin: str = "the annotations", whole: bool = True) -> None:
        """Prepares for scoring; with `whole`, all annotated images count, also those without a prediction."""
        self.frames, self.origin, self.whole = frames, origin, whole

    def pairs(self, predicted: NamedSequences, progress: Progress = SILENT) -> tuple[list[FramePair], list[str]]:
        """See `Truth`. Of two predictions of one image the first counts."""
        estimates = list(keyed_frames(predicted, progress))
        indices, warnings = self.match([frame for _, _, frame in estimates])
        pairs = _join(self.frames, estimates, indices)
        return [pair for pair in pairs if len(pair.truth) or self.all_images_annotated], warnings

    def match(self, predicted: Sequence[Frame]) -> tuple[list[int | None], list[str]]:
        """Finds the annotated images of predicted frames.

        Returns:
            For each predicted frame the index of its image in `frames`, None if there is none; and warnings.

        Raises:
            UserError: There are predicted frames, and not one of them is annotated.
        """
        names = [frame.image for frame in predicted]
        indices = match_predicted([frame.image for frame in self.frames], names)
        known = set(indices) - {None}
        if names and not known:
            raise UserError(f"{self.origin}: expected an image named like {names[0]}, found none")

        warnings = []
        if unknown := [name for name, index in zip(names, indices, strict=True) if index is None]:
            warnings.append(f"left out: {counted(len(unknown), 'image')} not in {self.origin}, such as {unknown[0]}")
        annotated = {i: frame.image for i, frame in enumerate(self.frames) if len(frame) or self.all_images_annotated}
        if self.whole and (absent := [name for index, name in annotated.items() if index not in known]):
            many = f"{len(absent)} of {len(annotated)} images of {self.origin}"
            warnings.append(f"{many} have no prediction and count as without a person, such as {absent[0]}")
        return indices, warnings


def match_predicted(truth: Sequence[str], predicted: Sequence[str]) -> list[int | None]:
    """Returns for each predicted image the index of the truth's image of the same name, or None.

    Two lists of the same names in the same order pair index by index, even if a name comes twice.
    """
    found = match_frames(predicted, truth)
    is_told_apart = None not in found and len(set(found)) == len(found)
    if not is_told_apart and [image_stem(name) for name in truth] == [image_stem(name) for name in predicted]:
        return list(range(len(truth)))
    return found


def pair_frames(
    truth: PoseSequence, predicted: PoseSequence, file: str, sequence: int
) -> tuple[list[FramePair], list[str]]:
    """Pairs the frames of a clip by the names of their images; by position where the names say nothing.

    The public PoseTrack tool pairs by position and does not look at the names. Frames without an annotated person are
    not annotated and left out.

    Returns:
        The annotated frames with their predictions, in which `file` and `sequence` say where these are; and warnings.

    Raises:
        UserError: The names say nothing, and the clips have different numbers of frames.
    """
    names, others = ([frame.image for frame in clip.frames] for clip in (truth, predicted))
    indices = match_predicted(names, others)
    known = [index for index in indices if index is not None]
    warnings = []

    if indices != list(range(len(names))):
        is_unique = all(len(set(some)) == len(some) for some in (names, others, known))
        if known and is_unique:
            odd = "its frames are in another order than the truth's; they are paired by name"
            missing, extra = len(names) - len(known), len(others) - len(known)
            if missing or extra:
                odd = f"{missing} of the truth's {counted(len(names), 'frame')} missing, taken as empty"
                odd = f"{odd}; {counted(extra, 'frame')} not in the truth, left out"
        elif len(names) == len(others):
            indices = list(range(len(names)))
            odd = "its images have other names than the truth's; frames are paired by position"
        else:
            expected = f"expected {len(names)} frames or the truth's image names, found {len(others)}"
            raise UserError(f"{predicted.name}: {expected}")
        warnings.append(f"{predicted.name}: {odd}")

    estimates = [(file, FrameKey(sequence, index), frame) for index, frame in enumerate(predicted.frames)]
    return [pair for pair in _join(truth.frames, estimates, indices) if len(pair.truth)], warnings


def _join(truth: Sequence[Frame], estimates: Sequence[_KeyedFrame], indices: Sequence[int | None]) -> list[FramePair]:
    """Returns annotated frames with the estimates that have their index; the first of two counts."""
    by_index = dict(zip(reversed(indices), reversed(estimates), strict=True))
    pairs = []
    for index, frame in enumerate(truth):
        file, key, estimate = by_index.get(index, (None, None, Frame.empty(frame.image, frame.skeleton)))
        pairs.append(FramePair(frame, estimate, file, key))
    return pairs


def keyed_frames(files: NamedSequences, progress: Progress = SILENT) -> Iterator[_KeyedFrame]:
    """Yields all frames of some files, each with the name of its file and its indices in the file."""
    for name in files:
        for number, sequence in enumerate(files[name]):
            for index, frame in enumerate(sequence.frames):
                yield name, FrameKey(number, index), frame
        progress(1)


class FilesByName(Mapping[str, Sequence[PoseSequence]]):
    """The pose files of a folder by their names. A file is read whenever it is looked up, and not kept."""

    def __init__(self, file_format: Format, location: Path) -> None:
        """Lists the files of a folder, or one file.

        Raises:
            UserError: There is no file.
        """
        self._format = file_format
        self._paths = {path.name: path for path in file_format.sources(location)}

    def __getitem__(self, name: str) -> list[PoseSequence]:
        """Reads a file; raises `UserError` if it is broken."""
        return self._format.read(self._paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
