"""Sequences in the published form of PandaSet, a few small sweeps each, and tables as pandas
pickles them."""

from __future__ import annotations

import gzip
import json
import pickle
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

Sweep = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Points [N, 4] x y z i in the vehicle's frame (x to the right, y forward), d [N], classes [N]."""

START = (400_000.0, 300_000.0, 50.0)
"""Of the vehicle in the world: float32 knows such a place to 3 cm."""

YAW = 90.0
"""Of the vehicle, degrees: what is to its right lies in the world's y, what is ahead in its -x."""


def by_hand(number: int) -> Sweep:
    """A car 20 m ahead on the ground, a road marking, a point of the PandarGT, and one without a
    label."""
    points = [[0, 20, 0, 255], [-3, 8, 0, 51], [1, 30, 1, 17], [2, -5, 1, 0]]
    return np.array(points, float), np.array([0, 0, 1, 0]), np.array([13, 8, 41, 0])


def write_sequence(
    root: Path,
    name: str,
    sweeps: int = 2,
    sweep: Callable[[int], Sweep] = by_hand,
    *,
    labelled: bool = True,
    images: bool = False,
    latitude: float = 37.77,
    suffix: str = ".pkl.gz",
) -> Path:
    """`ROOT/NAME`: 0.1 s and 2 m forward from each sweep to the next, an image 1 m before each."""
    folder = root / name
    turn = Rotation.from_euler("z", YAW, degrees=True)
    ahead = turn.apply([0, 1, 0])
    places = [np.array(START) + 2 * number * ahead for number in range(sweeps)]
    times = [1557539956.5 + 0.1 * number for number in range(sweeps)]
    write_poses(folder / "lidar", times, places, turn)
    for number in range(sweeps):
        points, sensors, classes = sweep(number)
        world = turn.apply(points[:, :3]) + places[number]
        floats = np.column_stack([world, points[:, 3], np.full(len(points), times[number] - 0.05)])
        table = pickled({**dict(zip("xyzit", floats.T)), "d": sensors.astype(np.int64)})
        write(folder / f"lidar/{number:02d}{suffix}", table)
        if labelled:
            table = pickled({"class": classes.astype(np.int64)})
            write(folder / f"annotations/semseg/{number:02d}{suffix}", table)
    if images:
        camera = folder / "camera/front_camera"
        # 1 m before the vehicle's origin and 1.5 m above it; camera z ahead, y down
        axes = turn * Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
        offset = turn.apply([0, 1, 1.5])
        halfway = [place + offset - ahead for place in places]
        write_poses(camera, [time - 0.05 for time in times], halfway, axes)
        (camera / "intrinsics.json").write_text('{"fx": 1000, "fy": 1000, "cx": 960, "cy": 540}')
        for number in range(sweeps):
            picture = np.full((1080, 1920, 3), 40 * number, np.uint8)
            cv2.imwrite(str(camera / f"{number:02d}.jpg"), picture)
    write(folder / "meta/gps.json", json.dumps([{"lat": latitude, "long": -122.4}]).encode())
    return folder


def write_poses(folder: Path, times: list[float], places: list[Any], turn: Rotation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    heading = dict(zip("xyzw", turn.as_quat().tolist()))
    poses = [{"position": dict(zip("xyz", map(float, p))), "heading": heading} for p in places]
    (folder / "poses.json").write_text(json.dumps(poses))
    (folder / "timestamps.json").write_text(json.dumps(times))


def write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def pickled(columns: dict[str, np.ndarray]) -> bytes:
    """A table as pandas 1.0 and numpy 1 pickle it, protocol 3, which wrote PandaSet's files: the
    columns of a type are one block."""
    count = len(next(iter(columns.values())))
    with _pandas() as (frame, manager, new_index, index, range_index):
        kinds = list(dict.fromkeys(column.dtype for column in columns.values()))
        blocks, first = [], 0
        for kind in kinds:
            values = np.array([column for column in columns.values() if column.dtype == kind])
            place = slice(first, first + len(values), 1)
            blocks.append({"values": values, "mgr_locs": place})
            first += len(values)
        axes = [
            _Call(new_index, index, {"data": np.array([*columns], object), "name": None}),
            _Call(new_index, range_index, {"name": "index", "start": 0, "stop": count, "step": 1}),
        ]
        whole = frame()
        whole.__dict__["_data"] = manager()
        content = {"0.14.1": {"axes": axes, "blocks": blocks}}
        whole.__dict__["_data"].state = (axes, [b["values"] for b in blocks], [], content)
        whole.__dict__.update(_typ="dataframe", _metadata=[], attrs={})
        data = pickle.dumps(whole, protocol=3)
    return data.replace(b"cnumpy._core.", b"cnumpy.core.")


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@contextmanager
def _pandas() -> Iterator[tuple[Any, ...]]:
    """Stand-ins by the names of pandas, for as long as something is pickled."""
    frame = type("DataFrame", (), {"__module__": "pandas.core.frame"})
    manager = type(
        "BlockManager",
        (),
        {
            "__module__": "pandas.core.internals.managers",
            "__getstate__": lambda self: self.state,
        },
    )
    index = type("Index", (), {"__module__": "pandas.core.indexes.base"})
    range_index = type("RangeIndex", (), {"__module__": "pandas.core.indexes.range"})

    def new_index(kind: type, state: dict[str, Any]) -> None:
        raise AssertionError("of pandas")

    new_index.__module__, new_index.__qualname__ = "pandas.core.indexes.base", "_new_Index"
    new_index.__name__ = "_new_Index"
    known = (frame, manager, new_index, index, range_index)
    modules = {thing.__module__: ModuleType(thing.__module__) for thing in known}
    for thing in known:
        setattr(modules[thing.__module__], thing.__name__, thing)
    for name in ("pandas", "pandas.core", "pandas.core.indexes", "pandas.core.internals"):
        modules[name] = ModuleType(name)
    with patch.dict(sys.modules, modules):
        yield known


BY_PANDAS = {
    "1.5.3, 1.26.4, 4": (
        "78da6d92dd6b143110c077ef43eb079622ea09e283f8d0be2c3e082a082d56045d5da1ef2564777397a5d9ec"
        "9264690f2ce843cf16f2d6f17ff54d67727778573bb0c9243b33f9cdc7f7c1af9d7e14c46fb55c97dc264563"
        "443236bc16e06fbde78e7f08fa25ecfc8053d8f603564f0cf8a7abe69576c268ae6c5273cd27c258f077dfa9"
        "a638fa323fa3bb7fb8f060aacaed3f17f09bacd36d551c29c172f221e307baabdbe93c7add29577163f814a3"
        "32238a465b67bac291e1301882bf89b183c925a4d119ecc739fc8403d84ee3b497f6672037fdb074d39632f1"
        "bdf16bb8389fffeffbf82d6459f6e90f4a58d2c8417eb1ff225a93dfbbf37d636ffdfef9e2fc720fd0cd6fe4"
        "5d85b81af31a5a5515220021434ccfa53d5ae51d794f6e11a6bcbf848c03e4c8f7aa1534f9e43ab0517445e2"
        "c54e00f219e5bbfada0c0eb16da3f57e95e244d824e716bb7c9b6971cc3ed21dc2ca577eb8d443bf4b9c01f8"
        "1fb87f1670bfae55f2db954aee12303d1f9f808f2bfc4a1054a681a6a1caba1995e38d7f7c1d9de17a427807"
        "b4af20c9cf19d6d671e3b0b27e605dd3023e8e8a40250e31052d38abd8711c634a6139d2ac168e879c0eb145"
        "dc391cd653f037d858f149501f71a59a63cbcaaec506722798e2b9c0493db75d9efc05d3fe2f5f"
    ),
    "2.2.3, 2.2.6, 2": (
        "78da75935b5313311886b72d20c4f31114cfa2160f5514b52a0a22a2b052349ef686c964b781dd61bbedbbc9"
        "0e306367f48216fe91f7fe304dd2320ea8b948f2ed77c8f366bf7ccb070d9e54b92c05f5549496535e136486"
        "2b3e6b777046bf23d744bee8f5388ec36a2b290abb32a2448934e1b12cd578c257442ac9745c0f56173a1641"
        "cf4e388b235ffe89272c4b1a51b01a0be69b0482de20c96a8d8d12b3856b59ac229ea67c83b05404f544aa34"
        "0b14415f278ce8a2d68b7daeb389fe40a75545208948cc8660c0cb69641fc4ebd36bcc55948c617f0b07280e"
        "b67188e270d1cdb979b7d0c2916ec9aada68e8cca35e5e672c97716c7bab8de314278a6ec1569bc0c94aa532"
        "ff4b0f3bb98ec2297f3b1cf0c69cbde3e78fc9cea67f6ab763a46b8f4f6130d4404314a715cef801637e1669"
        "d5096344c651a051865d4723e6da384b71cecdb7719ee242d81bf68556f5c5504bb94471d948c9192957c20e"
        "7d54c688a1bf4a714dd3877f735fb7dc43cedf23d75d513478a31437146efae1b0b92cc3728be2b6612951dc"
        "69e1ee12c68a7b7aa22ad6852cf95c0ac212b1c6e6cc17827bff0feb46dc6f62bcd36b55dd8478b023f4a111"
        "fa88a26c841636f1b82b73b18c2746e6538a899d9ff415cf768b9d5478ee6f2f61b268fdeb98b26b841776ad"
        "625a28bcf4edb1896e7bcc54b2165e51cc86ff264e79b22208357397fb75136f8ae14cc5ebd535a4e2a9c29c"
        "ebd88a52d51b98d76c1d4334e0ba395dff2dc58268a142b1d8795cbaf9f0ce1be86ab74f11efadcd6a42717b"
        "2174091fec195ca954e263139f6c7bb3e598af487c6ee28b3768dc715c5f93ac9a35741f712558cc7d114b78"
        "5b32f34bbf01052e34d1"
    ),
    "2.2.3, 2.2.6, 5": (
        "78da6d52cd6bd540104fde87565bfc84da5e7af2f0bc04c51e3c082d560a1a8dd07b5936c9e62574b309bb1b"
        "da82053df4d9c2dc1cfbb77ad3d97daf98276f203bb39bf9facd6fbe8d7f1d0e032ff0b8e52ae726ca1a2da2"
        "42f35a20dc7bcf2d3ff4f64f7cf11d2f700223564f35c24edfbd525668c5a5896aaef8546883b0f14e36d9c9"
        "e7f99dc2617311c164959a7f21080f59a7da2a3b9182a52ec6393f555ddd9e47cca7275be82a435867856eea"
        "b42b0a9f7272f3325825bff7e67a6d7ff9fdf9e2bebb8f30f60548e7f6bc75f06050bcc1ebab1f7884937808"
        "e15b4c92e4e31f127fc481c5341ec4c31942788096dc602ded2a692b4518c64656994b1307e414ba2cf1c09d"
        "e57af96072b315ac9670a1b17c0283aa57bfdc5c513d74d5cb6d57bbdc71bdf40bcdf098d8d95aa6251767c2"
        "44293744e67da6c429fbe0dea8cff2158c6f6d4f6b4e541349fdb9d71da1e35a739ad306d3226b94b1bacbac"
        "8b7f0477a992ffe9505fe24198e2bc7beaf3d223fab234d1afff4d748f305dbba6c3339a69455f8e82de60a4"
        "dcc625ddcc017d0ddbab3069aea60ed491d33d20e5a784c8b05c5b6a0a46c6362d5271320419a1cf29dc418b"
        "4cccd38e3be0b7fbce6a61b99fc43171caada54dbe40b8c30ac9a7de7cc6a56c4e0dcbbb9618e75630c95341"
        "6b7c65ba34fa0bf71d381f"
    ),
    "3.1.1, 2.4.6, 5": (
        "78da6d53cf6fd330144edab46c2bbf045219121a170ee512218d0307a48dad02b188208d1bd2643989d3444d"
        "9cc871b45662020e2b9be41b8ffd17fc71dc76836737d55a544b899fedf7dee7f77dcfdf3abf7eb72d3354b7"
        "a43ca215a8cd2195f4ada039839ff0fc3b9cc14039241f09503b731f372c0473532e99e034abdc9c723a6202"
        "636f1f644538fe305f63b8ea3711244b83ea2604d43d52f3320dc71923818ed1ce0f799d97539798f4683391"
        "86a07a2416451ed4716c520eae5e58ebc6f5de7cded85fdd7fd6ac5fee83ea18009c23392d7579aa15bf82cb"
        "8b1f700c03afadecd7e0fbfed15f1ce6e7591202afe5b567a0ec4390e8a636823acd64cab1864e95a5a14ee3"
        "59e864eb2c5e4bff935e727770b56dad1f763343f240b5d225fca4bf06ddd6e8c9638d9dece8bb2c03cde004"
        "d5d95e9525621356b901ad18a82dc2d92979aff7f09e89a53a0bdbc81aa1d4c8fb8a4854083ac5ea9e10524e"
        "273732f9c337fae48086631669eeee34618b80de2729523e325e787ef4b4fbc7f10d1dd6e26cb8e0bd5b4e65"
        "527078f7f57a4ec64c73db5f6e80bc469a4d6eec2b225858f04a8a3a94ba90fbea166237489e750e87760073"
        "1a91b07343edc71569bffc27ed1e927ba9d9b327286e8a5f040cf766102887ebeef76b7da96417afbf754cf9"
        "882d51977cf6517e49854474e554b2280151d06068d82692999a1c8235e3abd254c7e655a94d9233490df727"
        "d845544a7c3b67480a89333a32e6239a65c56945a2bac41ea392918c060c1fce455507ee3fbf3160ef"
    ),
}
"""A table of x 0.0 1.5 3.0, i 0.0 10.0 20.0, d 0 0 1 that pandas itself pickled: version of pandas,
version of numpy, protocol."""


def by_pandas(version: str) -> bytes:
    return zlib.decompress(bytes.fromhex(BY_PANDAS[version]))
