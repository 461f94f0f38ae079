"""Image networks: what goes in, what is made of what comes out, and the folder of their masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_networks import conv_network

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import ImageRow
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.image_labels.class_sets import ImageClasses, load_image_classes
from haskd_training.image_labels.masks import MaskFolder
from haskd_training.image_labels.networks import (
    ImageNetwork,
    ImageNetworkConfig,
    label_image,
    label_images,
)
from haskd_training.recordings.image_codec import decode_jpeg, jpeg_of
from haskd_training.recordings.readers.bag import open_bag, stamp_ns
from recorded_bags import Scene, write_bag

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)

# Ids that are no positions, so that one taken for the other shows.
CLASSES = ImageClasses(
    ("red", "green", "blue"), (10, 20, 30), (("car",), ("vegetation",), ("sidewalk",))
)

# exp(ln 8) : 1 : 1, so 0.8, 0.1 and 0.1 of a pure colour whose values are 0 to 1.
SURE = np.log(8) * np.eye(3)
UNIT = {"scale": "0.003921568627"}


def mask_of(image, *paths, classes=CLASSES, **settings):
    config = ImageNetworkConfig(**{"size_multiple": 1, **settings})
    networks = [ImageNetwork(path, classes, config) for path in paths]
    return label_image(networks, classes, np.array(image, np.uint8))


def test_a_pixel_has_its_likeliest_class_and_that_ones_probability(tmp_path):
    path = conv_network(tmp_path / "n.onnx", SURE, metadata=UNIT)
    mask = mask_of([[RED, GREEN], [BLUE, (0, 0, 0)]], path)
    assert mask.classes[0].tolist() == [10, 20]
    assert mask.classes[1, 0] == 30
    # 0.8 * 255; of black all three are alike, 255 / 3.
    assert mask.confidence.tolist() == [[204, 204], [204, 85]]


@pytest.mark.parametrize("last", [(), ("Softmax",)], ids=["scores", "probabilities"])
def test_probabilities_are_taken_as_they_are(last, tmp_path):
    path = conv_network(tmp_path / "n.onnx", SURE, last=last, metadata=UNIT)
    assert mask_of([[RED, GREEN]], path).confidence.tolist() == [[204, 204]]


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT])
@pytest.mark.parametrize("channels_last", [False, True])
def test_layout_and_type_are_read_from_the_model(kind, channels_last, tmp_path):
    # Scores of 255 ln 8 / 255 for colours of 0 to 255.
    path = conv_network(tmp_path / "n.onnx", SURE / 255, kind=kind, channels_last=channels_last)
    # Three columns, which are no channels.
    mask = mask_of([[RED, GREEN, BLUE]] * 5, path)
    assert mask.classes.tolist() == [[10, 20, 30]] * 5
    assert (mask.confidence == 204).all()


def test_a_network_that_gives_classes_is_sure_of_them(tmp_path):
    path = conv_network(tmp_path / "n.onnx", SURE, last=["ArgMax"])
    mask = mask_of([[RED, GREEN], [BLUE, BLUE]], path)
    assert mask.classes.tolist() == [[10, 20], [30, 30]]
    assert (mask.confidence == 255).all()


def test_normalisation_is_read_from_the_model_and_settings_override_it(tmp_path):
    metadata = {"mean": "[0.5, 0.25, 0]", "std": "0.5,0.5, 1", "input_format": "BGR", **UNIT}
    path = conv_network(tmp_path / "n.onnx", SURE, metadata=metadata)
    # Blue in BGR is (1, 0, 0): normalised (1, -0.5, 0), scores ln 8 of them: 8, 8^-0.5 and 1, the
    # first one's share is 8 / (8 + 0.35355 + 1) = 0.8553, 218.1 of 255.
    mask = mask_of([[BLUE]], path)
    assert (mask.classes.tolist(), mask.confidence.tolist()) == ([[10]], [[218]])
    # In RGB (0, 0, 1), mean 0, std 1: 0.8 for the third.
    mask = mask_of([[BLUE]], path, channels="rgb", image_mean=(0, 0, 0), image_std=(1, 1, 1))
    assert (mask.classes.tolist(), mask.confidence.tolist()) == ([[30]], [[204]])
    # With colours of 0 to 510 the score is twice ln 8: 64 / 66.
    settings = {"image_scale": 2 / 255, "channels": "rgb"}
    mask = mask_of([[BLUE]], path, image_mean=(0, 0, 0), image_std=(1, 1, 1), **settings)
    assert mask.confidence.tolist() == [[247]]


def halves(height, width, left):
    """Left of the column red, right of it green."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :left], image[:, left:] = RED, GREEN
    return image


def test_an_image_is_padded_to_what_the_network_takes(tmp_path):
    # Blocks of 4 px: 6 x 6 px are padded to 8 x 8 by their edge; without, the network would see one
    # block, all red.
    path = conv_network(tmp_path / "n.onnx", SURE, block=4, metadata=UNIT)
    mask = mask_of(halves(6, 6, 4), path, size_multiple=4)
    assert mask.classes.shape == (6, 6)
    # Scores of blocks are interpolated between their centres, 2 and 6: half-way is 4.
    assert mask.classes.tolist() == [[10, 10, 10, 10, 20, 20]] * 6
    assert mask.confidence[0, [0, 1]].tolist() == [204, 204]


def test_into_a_fixed_size_an_image_is_fitted_with_its_own_proportions(tmp_path):
    path = conv_network(tmp_path / "n.onnx", SURE, size=(8, 32), metadata=UNIT)
    mask = mask_of(halves(16, 16, 4), path)  # 8 x 8 px of 8 x 32
    assert mask.classes.tolist() == [[10] * 4 + [20] * 12] * 16
    with pytest.raises(InputError, match=r"a fixed size; scales must be \[1\]"):
        mask_of(halves(16, 16, 4), path, scales=(1, 2))


def test_mirrored_images_and_scales_are_averaged_over(tmp_path):
    # The class of a pixel is that of its left neighbour; mirrored, of its right one.
    left = np.zeros((3, 3, 1, 3))
    left[:, :, 0, 0] = SURE
    path = conv_network(tmp_path / "n.onnx", left, metadata=UNIT)
    image = [[RED, GREEN, BLUE, BLUE]]
    assert mask_of(image, path).classes[0, 1:].tolist() == [10, 20, 30]
    mask = mask_of(image, path, flip=True)
    # Second pixel: red 0.8 and blue 0.1, red 0.1 and blue 0.8: 0.45. Third: green and blue.
    assert mask.confidence[0, [1, 2]].tolist() == [115, 115]
    # First: nothing left of it, 1/3 each, and green right of it, 0.8: 0.5667, 144.5 of 255.
    assert mask.classes[0, 0] == 20
    assert mask.confidence[0, 0] in (144, 145)
    # A plain wall is the same at all scales.
    path = conv_network(tmp_path / "m.onnx", SURE, metadata=UNIT)
    mask = mask_of([[RED] * 8] * 6, path, scales=(0.5, 1.0, 1.5))
    assert mask.classes.shape == (6, 8)
    assert (mask.confidence == 204).all()


def test_several_networks_are_averaged_by_their_probabilities(tmp_path):
    sure = conv_network(tmp_path / "a.onnx", SURE, metadata=UNIT)
    other = conv_network(tmp_path / "b.onnx", 0.5 * SURE[[1, 0, 2]], metadata=UNIT)
    mask = mask_of([[RED]], sure, other)
    # 0.8, 0.1, 0.1 and, of 1 : sqrt 8 : 1, 0.2071, 0.5858, 0.2071: 0.5036.
    assert (mask.classes.tolist(), mask.confidence.tolist()) == ([[10]], [[128]])


def two_inputs(path):
    image = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in "ab"]
    result = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", image, [result])
    onnx.save(helper.make_model(graph, ir_version=8), path)
    return path


def batch_of_four(path):
    model = onnx.load(conv_network(path, SURE))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)
    return path


WRONG = {
    "text": (lambda path: path.write_text("network") and path, "n.onnx.*cut off or damaged"),
    "folder": (lambda path: path.parent, "it is a folder"),
    "missing": (lambda path: path, "does not exist"),
    "two inputs": (two_inputs, "has the inputs a, b; wanted is one"),
    "batch": (batch_of_four, r"\[4, 3, 'height', 'width'\]; wanted is \[1, 3, height, width\]"),
    "type": (
        lambda path: conv_network(path, SURE, kind=TensorProto.INT64),
        r"is tensor\(int64\) of shape.*wanted is one of tensor\(float\)",
    ),
    "channels": (
        lambda path: conv_network(path, np.ones((4, 3))),
        "has 4 channels.*the image classes  ?are 3",
    ),
    "classes": (
        lambda path: conv_network(path, [*-np.eye(3), [1, 1, 1]], last=["ArgMax"]),
        "gives the classes 3; the image classes  ?are 0 to 2",
    ),
    "numbers": (
        lambda path: conv_network(path, 1e38 * np.eye(3)),
        "gives scores that are no finite numbers",
    ),
    "mean": (
        lambda path: conv_network(path, SURE, metadata={"mean": "0.5"}),
        "has mean '0.5', wanted are 3 numbers; give the setting image_mean",
    ),
    "std": (
        lambda path: conv_network(path, SURE, metadata={"std": "1, 0, 1"}),
        r"std 1.0, 0.0, 1.0 must be above 0",
    ),
    "format": (
        lambda path: conv_network(path, SURE, metadata={"input_format": "YUV"}),
        "input_format 'yuv', known are RGB and BGR",
    ),
    "bytes": (
        lambda path: conv_network(path, SURE, kind=TensorProto.UINT8, metadata=UNIT),
        "takes colours as they are",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_network_for_one_image_is_refused_with_what_it_is(kind, tmp_path):
    make, message = WRONG[kind]
    path = make(tmp_path / "n.onnx")
    with pytest.raises(InputError, match=message):
        mask_of([[RED, GREEN]], path)


def test_a_size_that_the_network_can_not_take_is_told(tmp_path):
    # It sets its 3 x H x W values in rows of 32, which only a multiple of 32 px gives.
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["image", "shape"], ["scores"])],
        "rows",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [helper.make_tensor("shape", TensorProto.INT64, [4], [1, 3, -1, 32])],
    )
    onnx.save(helper.make_model(graph, ir_version=8), tmp_path / "rows.onnx")
    image = np.zeros((2, 5, 3))
    assert mask_of(image, tmp_path / "rows.onnx", size_multiple=32).classes.shape == (2, 5)
    with pytest.raises(InputError, match=r"fails at an image of 5 x 2 px .*size_multiple"):
        mask_of(image, tmp_path / "rows.onnx")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    folder = tmp_path_factory.mktemp("image_labels")
    bag = write_bag(folder, Scene(clouds=6, images=4))
    prepare([bag], "pandaset", folder / "cache", PrepareConfig(overlays=0))
    return Cache.open(folder / "cache")


@pytest.fixture
def network(tmp_path) -> Path:
    return conv_network(tmp_path / "network.onnx", SURE, metadata=UNIT)


def files_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.png"))}


class Stopped(Exception):
    pass


def test_a_job_that_was_stopped_goes_on_and_comes_to_the_same(cache, network, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    masks = label_images([cache], [network], CLASSES, whole)
    assert masks.count == len(cache.images) == 4
    assert {path.parent.relative_to(whole) for path in files_in(whole)} == {Path("drive/front")}

    def stop(done, total, remark=""):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        label_images([cache], [network], CLASSES, stopped, progress=stop)
    before = files_in(stopped)
    assert 1 <= len(before) <= 2
    times = {path: path.stat().st_mtime_ns for path in before}
    seen = []
    label_images([cache], [network], CLASSES, stopped, progress=lambda *call: seen.append(call))
    there = len(before)
    assert seen == [(done, 4, f"{there} were there") for done in range(there + 1, 5)]
    assert {path: path.stat().st_mtime_ns for path in before} == times
    assert list(files_in(stopped).values()) == list(files_in(whole).values())


def test_masks_of_other_networks_or_settings_are_never_mixed(cache, network, tmp_path):
    out = tmp_path / "masks"
    label_images([cache], [network], CLASSES, out)
    with pytest.raises(InputError, match=r"masks of other settings \(see .*give another folder"):
        label_images([cache], [network], CLASSES, out, ImageNetworkConfig(flip=True))
    with pytest.raises(InputError, match="masks of other classes"):
        label_images([cache], [network], replace(CLASSES, ids=(1, 2, 3)), out)
    conv_network(network, 2 * SURE)
    with pytest.raises(InputError, match="masks of other networks"):
        label_images([cache], [network], CLASSES, out)


def test_a_folder_of_something_else_is_left_alone(cache, network, tmp_path):
    out = tmp_path / "masks"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"neither empty nor a folder of masks.*notes\.txt"):
        label_images([cache], [network], CLASSES, out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_recordings_without_images_are_told(cache, network, tmp_path):
    with pytest.raises(InputError, match="have no images"):
        label_images([replace(cache, images=[])], [network], CLASSES, tmp_path / "masks")


def test_real_networks_agree_with_what_four_of_them_say(real_bags):
    topic = "/camera/front/image/compressed"
    with open_bag(real_bags / "pandaset_002_val") as bag:
        message = next(message for _, _, message in bag.timed_messages([topic]))
    image = decode_jpeg(jpeg_of(message, quality=90).data)
    classes = load_image_classes("cityscapes")
    networks = [
        ImageNetwork(real_bags / "image_networks" / name, classes, ImageNetworkConfig())
        for name in ("fddwnet.onnx", "mininetv2.onnx")
    ]
    mask = label_image(networks, classes, image)
    row = ImageRow(
        "pandaset_002_val", "front", stamp_ns(message), 960, 540, np.eye(3).tolist(), "pinhole", []
    )
    shared = MaskFolder(real_bags / "image_labels", [row], classes).mask(
        row.recording, row.camera, row.stamp_ns, (960, 540)
    )
    both_sure = (mask.confidence >= 204) & (shared.confidence >= 204)
    assert both_sure.mean() > 0.2
    assert (mask.classes == shared.classes)[both_sure].mean() > 0.999
