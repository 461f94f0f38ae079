"""The readers that there are, by name."""

from __future__ import annotations

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted
from haskd_training.data.readers import s3dis, semantickitti
from haskd_training.data.readers.interface import DatasetReader
from haskd_training.data.readers.nuscenes import reader as nuscenes
from haskd_training.data.readers.pandaset import reader as pandaset
from haskd_training.data.readers.rgbd import reader as rgbd
from haskd_training.data.readers.scannet import reader as scannet
from haskd_training.data.readers.waymo import reader as waymo

READERS = {
    reader.name: reader
    for reader in (
        semantickitti.READER,
        nuscenes.READER,
        pandaset.READER,
        waymo.READER,
        scannet.READER,
        s3dis.READER,
        rgbd.READER,
    )
}


def reader_of(name: str) -> DatasetReader:
    """
    Raises:
        InputError: there is no such reader; the message lists those there are.
    """
    if name not in READERS:
        raise InputError(f"no reader named {quoted(name)}; there are {listed(READERS)}")
    return READERS[name]
