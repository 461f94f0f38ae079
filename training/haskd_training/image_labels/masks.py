"""Masks of a recording's images, from a folder of files.

FOLDER/RECORDING/CAMERA/STAMP_NS.png   class and confidence of each pixel, see `mask_files`
FOLDER/CAMERA/STAMP_NS.png             the same, where there is one recording
FOLDER/.../CAMERA/ANY.json             and the pictures beside it: COCO's panoptic format
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import file_name, listed, shown
from haskd_training.data.caches.rows import ImageRow
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.mask_files import SUFFIX, Mask, PanopticFiles, PngFiles
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.label_names import CloudTime, match, name_number


def mask_path(folder: Path, recording: str, camera: str, stamp_ns: int) -> Path:
    """Where the mask of an image is written."""
    return folder / file_name(recording) / file_name(camera) / f"{stamp_ns}{SUFFIX}"


@dataclass(frozen=True)
class _CameraMasks:
    """The masks of one camera of one recording.

    Attributes:
        source: of the masks, by their files' names.
        names: of the images' files, by their stamps.
        unused: names of the files that belong to no image.
        naming: how they are named.
    """

    source: PngFiles | PanopticFiles
    names: Mapping[int, str]
    unused: Sequence[str]
    naming: str


class MaskFolder:
    """Masks from files; a file belongs to an image by the stamp in its name, in ns, us, ms or s,
    see `label_names.match`.

    Args:
        folder: of the masks.
        images: that are asked for, those of all caches.
        classes: whose ids are in the masks.

    Raises:
        InputError: there is no such folder, no image has a mask, files are named by index, or as of
            `PanopticFiles`.
    """

    def __init__(self, folder: Path, images: Sequence[ImageRow], classes: ImageClasses) -> None:
        self._folder = folder
        self._named = classes.named()
        self._classes = classes
        self._images = [(row.recording, row.camera, row.stamp_ns) for row in images]
        if not folder.is_dir():
            raise InputError(f"mask folder {folder} does not exist")
        stamps: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for recording, camera, stamp_ns in self._images:
            stamps[recording, camera].add(stamp_ns)
        recordings = {recording for recording, _ in stamps}
        self._of_recording = {
            recording: self._recording_folder(recording, len(recordings))
            for recording in recordings
        }
        self._cameras = {
            (recording, camera): found
            for (recording, camera), of_images in stamps.items()
            if (found := self._camera_masks(recording, camera, sorted(of_images))) is not None
        }
        if not any(masks.names for masks in self._cameras.values()):
            example = mask_path(folder, *self._images[0]) if images else "none is asked for"
            raise InputError(
                f"mask folder {folder}: none of the {len(images)} images has a mask in it; the "
                f"first is looked for as {example}, or by its stamp in us, ms or s"
            )

    def of(self, image: ImageRow) -> Mask | None:
        """`mask` of an image of a cache."""
        size = image.width, image.height
        return self.mask(image.recording, image.camera, image.stamp_ns, size)

    def mask(
        self, recording: str, camera: str, stamp_ns: int, size: tuple[int, int]
    ) -> Mask | None:
        """The mask of an image; None where there is none.

        A mask that is smaller by a whole factor, as networks give it before it is enlarged, is
        repeated to the image's size.

        Args:
            size: width and height of the image, px.

        Raises:
            InputError: the file can't be read, is of another size, or holds ids that the classes
                don't name.
        """
        masks = self._cameras.get((recording, camera))
        name = None if masks is None else masks.names.get(stamp_ns)
        if masks is None or name is None:
            return None
        mask = masks.source.read(name)
        where = f"mask {masks.source.files[name]}"
        present = np.bincount(mask.classes.reshape(-1), minlength=256) > 0
        if unnamed := np.flatnonzero(present & ~self._named).tolist():
            raise InputError(
                f"{where} holds {listed(unnamed)}, which the image classes "
                f"{self._classes.origin} don't name; they name {listed(sorted(self._classes.ids))}"
            )
        width, height = size
        rows, columns = mask.classes.shape
        factor = height // rows
        if (rows * factor, columns * factor) != (height, width):
            raise InputError(
                f"{where} has {columns} x {rows} px, its image {width} x {height}; masks are as "
                "large as the image, or smaller by a whole factor"
            )
        if factor == 1:
            return mask
        return Mask(*(channel.repeat(factor, 0).repeat(factor, 1) for channel in mask))

    @property
    def count(self) -> int:
        """Images that have a mask."""
        return sum(len(masks.names) for masks in self._cameras.values())

    def findings(self) -> list[Finding]:
        """How the files are named, and what has no mask or no image."""
        subject = f"masks {self._folder}"
        naming = listed(sorted({masks.naming for masks in self._cameras.values() if masks.names}))
        total = len(set(self._images))
        message = f"{self.count} of {total} images have a mask, named by {naming}"
        found = [Finding("masks", subject, "noted", message)]
        if without := [one for one in self._images if not self.has(*one)]:
            recording, camera, stamp_ns = without[0]
            message = (
                f"{total - self.count} of {total} images have no mask and say nothing, the first "
                f"is {shown(recording)}/{shown(camera)} at {stamp_ns} ns"
            )
            found.append(Finding("images-without-mask", subject, "left out", message))
        unused = [
            masks.source.files[name].relative_to(self._folder)
            for masks in self._cameras.values()
            for name in masks.unused
        ]
        if unused:
            message = (
                f"{len(unused)} masks belong to no image of the recordings, the first is "
                f"{shown(unused[0])}"
            )
            found.append(Finding("masks-without-image", subject, "noted", message))
        if foreign := self._foreign_folders():
            cameras = sorted({camera for _, camera, _ in self._images})
            message = (
                f"the folders {listed(foreign)} belong to no camera; cameras are {listed(cameras)}"
            )
            remedy = "name the folders like the cameras"
            found.append(Finding("masks-without-camera", subject, "left out", message, remedy))
        return found

    def has(self, recording: str, camera: str, stamp_ns: int) -> bool:
        """Whether an image has a mask."""
        masks = self._cameras.get((recording, camera))
        return masks is not None and stamp_ns in masks.names

    def _recording_folder(self, recording: str, recordings: int) -> Path:
        own = self._folder / file_name(recording)
        return self._folder if recordings == 1 and not own.is_dir() else own

    def _camera_folder(self, recording: str, camera: str) -> Path:
        return self._of_recording[recording] / file_name(camera)

    def _foreign_folders(self) -> list[str]:
        known = {self._camera_folder(*key) for key in self._cameras}
        return sorted(
            str(entry.relative_to(self._folder))
            for folder in set(self._of_recording.values())
            if folder.is_dir()
            for entry in folder.iterdir()
            if entry.is_dir() and entry not in known
        )

    def _camera_masks(
        self, recording: str, camera: str, stamps: Sequence[int]
    ) -> _CameraMasks | None:
        folder = self._camera_folder(recording, camera)
        if not folder.is_dir():
            return None
        documents = sorted(folder.glob("*.json"))
        if len(documents) > 1:
            raise InputError(f"{folder} holds several JSON files; COCO's panoptic format has one")
        source = PanopticFiles(documents[0], self._classes) if documents else PngFiles(folder)
        numbers = {name: name_number(Path(name).stem) for name in source.files}
        named = {name: number for name, number in numbers.items() if number is not None}
        matching = match(named, [CloudTime(stamp, stamp) for stamp in stamps])
        if matching is None:
            return _CameraMasks(source, {}, list(source.files), "")
        if matching.by_index:
            raise InputError(
                f"{folder}: the masks are named by index, as "
                f"{next(iter(matching.files.values()))}; name them by the image's stamp, as "
                f"{stamps[0]}{SUFFIX} in ns, or in us, ms or s"
            )
        files = {stamps[index]: name for index, name in matching.files.items()}
        unused = sorted(source.files.keys() - set(files.values()))
        return _CameraMasks(source, files, unused, matching.naming)
