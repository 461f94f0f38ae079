"""Masks of images: which file belongs to which image, and what is in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from haskd_ros.errors import InputError
from haskd_training.data.caches.rows import ImageRow
from haskd_training.image_labels.class_sets import ImageClasses, load_image_classes
from haskd_training.image_labels.mask_files import Mask, read_mask, write_mask
from haskd_training.image_labels.masks import MaskFolder, mask_path

STAMPS = (1_557_539_962_200_041_984, 1_557_539_962_300_069_120, 1_557_539_962_400_100_096)
SIZE = (4, 2)
CLASSES = ImageClasses(
    ("road", "car", "sky"), (0, 3, 10), (("road",), ("car", "large_vehicle"), ()), "three.yaml"
)
PIXELS = np.array([[0, 0, 3, 3], [10, 255, 3, 0]], np.uint8)
SURE = np.array([[255, 255, 255, 255], [255, 0, 255, 255]], np.uint8)


def image(camera="front", stamp_ns=STAMPS[0], recording="drive"):
    return ImageRow(recording, camera, stamp_ns, *SIZE, np.eye(3).tolist(), "pinhole", [])


IMAGES = [image(stamp_ns=stamp) for stamp in STAMPS]


def save(path, pixels=PIXELS, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).convert(mode).save(path)
    return path


def mask_of(folder, images=IMAGES, row=0, size=SIZE):
    chosen = images[row]
    return MaskFolder(folder, images, CLASSES).mask(
        chosen.recording, chosen.camera, chosen.stamp_ns, size
    )


def by_code(masks):
    return {finding.code: finding.message for finding in masks.findings()}


def test_a_mask_that_is_written_is_read_with_its_confidence_in_steps(tmp_path):
    confidence = np.array([[0, 8, 9, 120], [127, 200, 250, 255]], np.uint8)
    path = mask_path(tmp_path, "drive", "front", STAMPS[0])
    path.parent.mkdir(parents=True)
    write_mask(path, Mask(PIXELS, confidence))
    assert path == tmp_path / "drive" / "front" / f"{STAMPS[0]}.png"
    mask = mask_of(tmp_path)
    assert np.array_equal(mask.classes, PIXELS)
    # Multiples of 17: 8 is nearer to 0, 9 to 17; 120 to 119; 127 = 7.5 steps is 119; 200 is of
    # the pixel that says nothing; 250 is nearer to 255 than to 238.
    assert mask.confidence.tolist() == [[0, 0, 17, 119], [119, 0, 255, 255]]


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_without_confidence_is_sure(mode, tmp_path):
    path = save(tmp_path / "drive" / "front" / f"{STAMPS[0]}.png")
    if mode == "P":
        picture = Image.fromarray(PIXELS, "P")
        # Colours as those of Cityscapes: what counts are the indices.
        picture.putpalette([(7 * i) % 256 for i in range(768)])
        picture.save(path)
    mask = mask_of(tmp_path)
    assert np.array_equal(mask.classes, PIXELS)
    assert np.array_equal(mask.confidence, SURE)


NAMES = {
    "stamp in ns": "1557539962300069120.png",
    "stamp in us": "1557539962300069.png",
    "stamp in ms": "frame_1557539962300.png",
    "stamp in s": "1557539962.300069.png",
}


@pytest.mark.parametrize("naming", NAMES)
def test_a_file_belongs_to_an_image_by_its_stamp(naming, tmp_path):
    save(tmp_path / "front" / NAMES[naming])
    masks = MaskFolder(tmp_path, IMAGES, CLASSES)
    found = [masks.mask("drive", "front", stamp, SIZE) for stamp in STAMPS]
    assert [mask is not None for mask in found] == [False, True, False]
    assert by_code(masks)["masks"] == f"1 of 3 images have a mask, named by {naming}"


def test_each_recording_and_each_camera_has_its_own_folder(tmp_path):
    images = [
        image(camera, recording=recording)
        for recording in ("a", "b")
        for camera in ("front", "back")
    ]
    for value, row in zip((0, 3, 10), images):
        path = mask_path(tmp_path, row.recording, row.camera, row.stamp_ns)
        save(path, np.full((2, 4), value, np.uint8))
    masks = MaskFolder(tmp_path, images, CLASSES)
    found = [masks.mask(row.recording, row.camera, row.stamp_ns, SIZE) for row in images]
    assert [None if mask is None else mask.classes[0, 0] for mask in found] == [0, 3, 10, None]


def test_names_of_recordings_and_cameras_lead_to_no_other_folder(tmp_path):
    row = image("/cameras/front", recording="../drive")
    path = mask_path(tmp_path / "masks", row.recording, row.camera, row.stamp_ns)
    assert path.resolve().parents[2] == (tmp_path / "masks").resolve()
    save(path)
    masks = MaskFolder(tmp_path / "masks", [row], CLASSES)
    assert masks.mask(row.recording, row.camera, row.stamp_ns, SIZE) is not None


def test_what_has_no_mask_or_no_image_is_counted_and_named(tmp_path):
    save(tmp_path / "front" / f"{STAMPS[0]}.png")
    save(tmp_path / "front" / f"{STAMPS[0] + 10**10}.png")
    save(tmp_path / "front" / "notes.png")
    save(tmp_path / "CAM_BACK" / f"{STAMPS[0]}.png")
    masks = MaskFolder(tmp_path, [*IMAGES, image("back")], CLASSES)
    assert masks.count == 1
    found = by_code(masks)
    assert found["images-without-mask"].startswith("3 of 4 images have no mask")
    assert f"drive/front at {STAMPS[1]} ns" in found["images-without-mask"]
    assert found["masks-without-image"].startswith("2 masks belong to no image")
    assert "CAM_BACK belong to no camera; cameras are back, front" in found["masks-without-camera"]


def test_a_folder_without_any_mask_of_the_images_is_refused_with_what_is_wanted(tmp_path):
    save(tmp_path / "front" / "1234567.png")
    with pytest.raises(InputError, match=rf"none of the 3 images.*drive/front/{STAMPS[0]}.png"):
        MaskFolder(tmp_path, IMAGES, CLASSES)
    with pytest.raises(InputError, match="does not exist"):
        MaskFolder(tmp_path / "none", IMAGES, CLASSES)


def test_masks_that_are_numbered_are_refused_since_a_cache_may_lack_images(tmp_path):
    for index in range(3):
        save(tmp_path / "front" / f"{index:06}.png")
    with pytest.raises(InputError, match=rf"named by index, as 000000.png.*as {STAMPS[0]}.png"):
        MaskFolder(tmp_path, IMAGES, CLASSES)


def test_a_mask_of_half_the_size_is_repeated(tmp_path):
    save(tmp_path / "front" / f"{STAMPS[0]}.png", np.array([[0, 3]], np.uint8))
    mask = mask_of(tmp_path)
    assert mask.classes.tolist() == [[0, 0, 3, 3], [0, 0, 3, 3]]
    assert mask.confidence.shape == (2, 4)


@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (4, 8), (2, 5)])
def test_a_mask_of_any_other_size_is_refused_with_both_sizes(shape, tmp_path):
    save(tmp_path / "front" / f"{STAMPS[0]}.png", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=rf"has {shape[1]} x {shape[0]} px, its image 4 x 2"):
        mask_of(tmp_path)


def test_ids_that_the_image_classes_lack_are_listed(tmp_path):
    pixels = np.where(PIXELS == 3, 7, np.where(PIXELS == 10, 200, PIXELS)).astype(np.uint8)
    save(tmp_path / "front" / f"{STAMPS[0]}.png", pixels)
    wanted = r"holds 7, 200, which the image classes three.yaml don't name; they name 0, 3, 10"
    with pytest.raises(InputError, match=wanted):
        mask_of(tmp_path)


WRONG = {
    "RGB": (
        lambda path: save(path, mode="RGB"),
        "of mode RGB with 8 bits a channel; masks are of mode L or P or LA",
    ),
    "RGBA": (lambda path: save(path, mode="RGBA"), "of mode RGBA with 8 bits"),
    "deep": (lambda path: save(path, PIXELS.astype(np.uint16), "I;16"), "with 16 bits a channel"),
    "bits": (lambda path: save(path, mode="1"), "of mode 1 with 1 bits"),
    "cut": (lambda path: path.write_bytes(save(path).read_bytes()[:-20]), "cut off or damaged"),
    "foreign": (
        lambda path: path.write_bytes(save(path).read_bytes().replace(b"IDAT", b"IDAU")),
        "cut off or damaged",
    ),
    "text": (lambda path: path.write_text("mask"), "is no PNG file"),
    "bomb": (
        lambda path: save(path, np.zeros((8000, 9000), np.uint8)),
        "of 9000 x 8000 px, larger than 64 megapixels",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_is_no_mask_is_refused_with_what_it_is(kind, tmp_path):
    write, message = WRONG[kind]
    path = tmp_path / "mask.png"
    write(path)
    with pytest.raises(InputError, match=message):
        read_mask(path)


@settings(max_examples=30)
@given(at=st.integers(0, 400), octet=st.integers(0, 255), cut=st.integers(0, 400))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(at, octet, cut, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    write_mask(path, Mask(PIXELS, SURE))
    octets = bytearray(path.read_bytes())
    octets[at % len(octets)] = octet
    path.write_bytes(octets[: len(octets) - cut % 30])
    try:
        mask = read_mask(path)
    except InputError:
        return
    assert mask.classes.dtype == mask.confidence.dtype == np.uint8
    assert mask.classes.shape == mask.confidence.shape


def panoptic(folder, colours, segments, categories, name=f"{STAMPS[0]}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(colours, np.uint8)).save(folder / name)
    infos = [{"id": key, "category_id": value} for key, value in segments.items()]
    document = {
        "images": [{"id": 1, "file_name": name}],
        "annotations": [{"image_id": 1, "file_name": name, "segments_info": infos}],
        "categories": [{"id": key, "name": value} for key, value in categories.items()],
    }
    (folder / "panoptic.json").write_text(json.dumps(document))


# Ids of segments: (1, 0, 0) is 1, (2, 1, 0) 258 and (0, 0, 1) 65536; black is no segment.
COLOURS = [[(1, 0, 0), (2, 1, 0), (0, 0, 1), (0, 0, 0)]] * 2
SEGMENTS = {1: 149, 258: 3, 65536: 3}
CATEGORIES = {3: "car", 149: "road"}


def test_cocos_panoptic_format_is_read(tmp_path):
    panoptic(tmp_path / "drive" / "front", COLOURS, SEGMENTS, CATEGORIES)
    masks = MaskFolder(tmp_path, IMAGES, load_image_classes("coco"))
    mask = masks.mask("drive", "front", STAMPS[0], SIZE)
    assert mask.classes.tolist() == [[149, 3, 3, 255]] * 2
    assert mask.confidence.tolist() == [[255, 255, 255, 0]] * 2


def test_panoptic_categories_that_mean_something_else_are_refused(tmp_path):
    panoptic(tmp_path / "front", COLOURS, SEGMENTS, {3: "auto", 149: "road"})
    with pytest.raises(InputError, match="category 3 is 'auto', in the image classes it is 'car'"):
        MaskFolder(tmp_path, IMAGES, load_image_classes("coco"))


def test_panoptic_categories_without_a_class_are_refused(tmp_path):
    panoptic(tmp_path / "front", COLOURS, {**SEGMENTS, 5: 183}, CATEGORIES)
    with pytest.raises(InputError, match="categories 183, which the image classes don't name"):
        MaskFolder(tmp_path, IMAGES, load_image_classes("coco"))


def test_panoptic_segments_that_the_json_lacks_are_refused(tmp_path):
    panoptic(tmp_path / "front", COLOURS, {1: 149, 258: 3}, CATEGORIES)
    masks = MaskFolder(tmp_path, IMAGES, load_image_classes("coco"))
    with pytest.raises(InputError, match=r"segments 65536 are not in panoptic\.json"):
        masks.mask("drive", "front", STAMPS[0], SIZE)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "panoptic.json: no JSON"), ("[]", "are needed"), ("{}", "KeyError.*categories")],
)
def test_a_panoptic_file_that_is_none_is_refused(text, message, tmp_path):
    panoptic(tmp_path / "front", COLOURS, SEGMENTS, CATEGORIES)
    (tmp_path / "front" / "panoptic.json").write_text(text)
    with pytest.raises(InputError, match=message):
        MaskFolder(tmp_path, IMAGES, load_image_classes("coco"))


def test_panoptic_names_lead_to_no_other_folder(tmp_path):
    panoptic(tmp_path / "front", COLOURS, SEGMENTS, CATEGORIES)
    document = tmp_path / "front" / "panoptic.json"
    document.write_text(document.read_text().replace('"file_name": "', '"file_name": "../'))
    with pytest.raises(InputError, match="annotations"):
        MaskFolder(tmp_path, IMAGES, load_image_classes("coco"))
