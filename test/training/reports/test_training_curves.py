"""Curves of a training, as they were logged and as they are drawn."""

from pathlib import Path

import pytest
from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from haskd_ros.errors import InputError
from haskd_training.reports.training_curves import draw_curves, scalars


def curves(folder: Path, **values: list[float]) -> Path:
    """A TensorBoard file with values at steps 1, 2, ... under names with __ for a slash."""
    with SummaryWriter(str(folder)) as writer:
        for name, series in values.items():
            for step, value in enumerate(series, 1):
                writer.add_scalar(name.replace("__", "/"), value, step)
    return folder


def test_logged_values_are_read_back_and_a_resumed_run_counts_once(tmp_path: Path):
    # Killed after step 3, gone on from step 2: steps 2 and 3 are there twice.
    curves(tmp_path, train__lovasz=[3.0, 2.0, 1.0])
    with SummaryWriter(str(tmp_path), filename_suffix=".resumed") as writer:
        for step, value in ((2, 2.5), (3, 1.5), (4, 0.5)):
            writer.add_scalar("train/lovasz", value, step)
    assert scalars(tmp_path) == {"train/lovasz": ([1, 2, 3, 4], [3.0, 2.5, 1.5, 0.5])}


def test_curves_are_drawn_with_and_without_a_score(tmp_path: Path):
    one = curves(tmp_path / "one", train__lovasz=[3.0, 2.0], train__learning_rate=[0.1, 0.2])
    two = curves(tmp_path / "two", train__lovasz=[3.0, 2.0], validation__score=[0.4, 0.5])
    taught = {"distilled_share__teacher": [0.5, 0.6], "distilled_share__snapshots": [1.0, 0.0]}
    three = curves(tmp_path / "three", train__lovasz=[3.0, 2.0], **taught)
    for folder in (one, two, three):
        draw_curves(folder, folder / "curves.png")
        height, width, _ = imread(folder / "curves.png").shape
        assert width > height > 100


def test_a_folder_without_curves_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="holds no TensorBoard file"):
        scalars(tmp_path)
    folder = curves(tmp_path / "other", something__else=[1.0])
    with pytest.raises(InputError, match="hold no loss"):
        draw_curves(folder, folder / "curves.png")
