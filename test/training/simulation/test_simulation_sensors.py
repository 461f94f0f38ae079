"""The simulated sensors, read back the way a stranger would: from the bag's messages."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from simulated_bag import DRIVE, Recording, as_points, nanoseconds, poses, read, static_transforms

from haskd_training.simulation import SimulationConfig, simulate
from haskd_training.simulation.camera import make_camera, render
from haskd_training.simulation.drive import make_world
from haskd_training.simulation.lidar import BEAM_ELEVATIONS_DEG, make_firings, simulate_sweep
from haskd_training.simulation.materials import CLASS_NAMES
from haskd_training.simulation.messages import START_NS


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    out = tmp_path_factory.mktemp("drive") / "bag"
    simulate(out, DRIVE)
    return read(out)


@pytest.fixture(scope="module")
def world():
    return make_world(DRIVE)


def test_every_class_is_met_in_a_short_drive(drive: Recording):
    counts = sum(np.bincount(cloud["label"], minlength=12) for cloud in drive.clouds())
    assert counts[0] == 0 and len(counts) == len(CLASS_NAMES) + 1
    assert all(counts[1:] > 100), dict(zip(CLASS_NAMES, counts[1:]))


def test_the_cloud_has_the_fields_of_the_real_bags_and_a_ring(drive: Recording):
    _, cloud = drive.messages["/lidar/points"][0]
    fields = {field.name: field.datatype for field in cloud.fields}
    # PointField: UINT8 2, UINT16 4, FLOAT32 7.
    expected = dict.fromkeys(("x", "y", "z", "intensity", "time"), 7)
    assert fields == {**expected, "label": 2, "ring": 4}
    assert cloud.header.frame_id == "lidar"
    assert cloud.height * cloud.width * cloud.point_step == len(cloud.data)


def test_a_stamp_is_the_end_of_its_sweep(drive: Recording):
    stamps = [nanoseconds(m.header.stamp) for _, m in drive.messages["/lidar/points"]]
    # 6 s at 10 Hz; the first turn ends after 0.1 s.
    assert [stamp - START_NS for stamp in stamps] == [k * 100_000_000 for k in range(1, 61)]
    for points in drive.clouds():
        assert -0.1 <= points["time"].min() < -0.09
        assert -0.01 < points["time"].max() <= 0.0
        assert (np.diff(points["time"]) > 0).all()
        assert points["intensity"].min() >= 0 and points["intensity"].max() <= 255


def test_beams_lie_at_the_elevations_of_the_named_sensor(drive: Recording):
    points = np.concatenate(drive.clouds())
    elevation = np.rad2deg(np.arctan2(points["z"], np.hypot(points["x"], points["y"])))
    for ring, expected in enumerate(BEAM_ELEVATIONS_DEG["beams_32"]):
        # Range noise moves a point along its ray: it can't change the elevation.
        np.testing.assert_allclose(elevation[points["ring"] == ring], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("lidar", "beams", "lowest", "highest"),
    [("beams_16", 16, -15, 15), ("beams_32", 32, -25, 15), ("beams_64", 64, -24.8, 2),
     ("pandar64", 64, -25, 15), ("beams_128", 128, -25, 15)],
)  # fmt: skip
def test_every_named_sensor_sees_with_all_its_beams(lidar, beams, lowest, highest, world):
    config = SimulationConfig(lidar=lidar, azimuth_steps=300)
    firings = make_firings(config)
    points = simulate_sweep(
        world.scene, world.ego, firings, stamp=3.0, config=config, rng=np.random.default_rng(0)
    )
    table = BEAM_ELEVATIONS_DEG[lidar]
    assert (len(table), table[0], table[-1]) == (beams, lowest, highest)
    assert (np.diff(table) > 0).all()
    elevation = np.rad2deg(np.arctan2(points["z"], np.hypot(points["x"], points["y"])))
    np.testing.assert_allclose(elevation, table[points["ring"]], atol=1e-3)
    assert len(np.unique(points["ring"])) == beams


@pytest.mark.parametrize("height", [0.4, 3.0])
def test_the_road_lies_as_deep_as_the_sensor_is_high(height, world):
    config = SimulationConfig(azimuth_steps=300, lidar_height_m=height)
    points = simulate_sweep(
        world.scene,
        world.ego,
        make_firings(config),
        stamp=1.0,
        config=config,
        rng=np.random.default_rng(0),
    )
    near = np.hypot(points["x"], points["y"]) < 12
    road = points["z"][near & (points["label"] == CLASS_NAMES.index("road") + 1)]
    assert np.median(road) == pytest.approx(-height, abs=0.05)


def test_the_car_waits_and_then_drives(drive: Recording):
    times = START_NS + np.arange(0, 6_000_000_001, 100_000_000)
    place = poses(drive, times)[:, :3, 3]
    speed = np.linalg.norm(np.diff(place, axis=0), axis=1) / 0.1
    assert (speed[:19] == 0).all()
    assert speed[-1] > 4.0
    assert speed.max() < 12.0


def test_poses_and_images_come_at_times_of_their_own(drive: Recording):
    clouds = {nanoseconds(m.header.stamp) for _, m in drive.messages["/lidar/points"]}
    transforms = {nanoseconds(m.transforms[0].header.stamp) for _, m in drive.messages["/tf"]}
    images = [
        nanoseconds(m.header.stamp)
        for _, m in drive.messages["/camera/front_left/image/compressed"]
    ]
    assert not clouds & transforms and not clouds & set(images)
    # Whoever interpolates needs poses before the first and after the last of them.
    assert min(transforms) < START_NS and max(transforms) > max(clouds | set(images))
    assert images[:3] == [START_NS + ns for ns in (37_000_000, 287_000_000, 537_000_000)]


def test_frames_and_calibration_are_complete(drive: Recording):
    static = static_transforms(drive)
    assert set(static) == {
        "lidar", "camera_front_left_optical", "camera_front_right_optical"
    }  # fmt: skip
    assert drive.latched == {"/tf_static"}
    # Optical frames: z forward. front_left looks 35 degrees to the left: (cos 35, sin 35, 0).
    np.testing.assert_allclose(
        static["camera_front_left_optical"][:3, 2], [0.8192, 0.5736, 0.0], atol=1e-4
    )
    # y down
    np.testing.assert_allclose(static["camera_front_left_optical"][:3, 1], [0, 0, -1], atol=1e-9)
    _, info = drive.messages["/camera/front_left/camera_info"][0]
    # 90 degrees across 320 px: f = 160 px.
    assert (info.width, info.height, info.distortion_model) == (320, 180, "plumb_bob")
    np.testing.assert_allclose(info.k, [160, 0, 159.5, 0, 160, 89.5, 0, 0, 1])


def test_the_recorded_distortion_is_the_one_in_the_image(drive: Recording):
    """OpenCV projects the ray that was cast for a pixel back onto that pixel."""
    _, info = drive.messages["/camera/front_left/camera_info"][0]
    camera = make_camera("front_left", 320, 180)
    T_base_camera = static_transforms(drive)["camera_front_left_optical"]
    rays = camera.directions.astype(float) @ T_base_camera[:3, :3]
    pixels, straight = (
        cv2.projectPoints(rays, np.zeros(3), np.zeros(3), info.k.reshape(3, 3), d)[0][:, 0]
        for d in (info.d, np.zeros(5))
    )
    u, v = np.meshgrid(np.arange(320), np.arange(180))
    np.testing.assert_allclose(pixels, np.column_stack([u.ravel(), v.ravel()]), atol=0.01)
    # Without it the corners would be off by more than 10 px.
    assert np.abs(straight - pixels).max() > 10.0


def test_labels_agree_with_what_the_camera_sees(drive: Recording, world):
    """Every sweep's points, each at its own firing time, on the nearest image at its own time."""
    static_classes = [
        CLASS_NAMES.index(name)
        for name in ("road", "road_marking", "sidewalk", "building", "vegetation")
    ]
    T_base_lidar = static_transforms(drive)["lidar"]
    camera = make_camera("front_left", 320, 180)
    T_base_camera = static_transforms(drive)["camera_front_left_optical"]
    _, info = drive.messages["/camera/front_left/camera_info"][0]
    agree, total = np.zeros(11), np.zeros(11)
    for _, image in drive.messages["/camera/front_left/image/compressed"][::3]:
        image_ns = nanoseconds(image.header.stamp)
        time = (image_ns - START_NS) * 1e-9
        rendered = render(
            world.scene,
            world.ego,
            camera,
            time=time,
            sun=world.sun,
            image_noise=0.0,
            rng=np.random.default_rng(0),
        )
        decoded = cv2.imdecode(image.data, cv2.IMREAD_COLOR)[..., ::-1]
        # The recorded image is the one that was rendered, but for noise (2) and JPEG.
        assert np.abs(decoded.astype(float) - rendered.image).mean() < 8.0

        cloud = min(
            (message for _, message in drive.messages["/lidar/points"]),
            key=lambda message: abs(nanoseconds(message.header.stamp) - image_ns),
        )
        points = as_points(cloud)
        fired = nanoseconds(cloud.header.stamp) + (points["time"] * 1e9).astype(np.int64)
        local = np.column_stack([points["x"], points["y"], points["z"], np.ones(len(points))])
        on_map = np.einsum("nij,nj->ni", poses(drive, fired) @ T_base_lidar, local)
        T_map_camera = poses(drive, np.array([image_ns]))[0] @ T_base_camera
        seen = (np.linalg.inv(T_map_camera) @ on_map.T)[:3].T
        # Near enough for a painted line to be wider than a pixel, within the lens's model.
        away = np.linalg.norm(seen, axis=1)
        ahead = (away < 12.0) & (seen[:, 2] > away * np.cos(np.deg2rad(50.0)))
        pixels, _ = cv2.projectPoints(seen[ahead], np.zeros(3), np.zeros(3), info.k.reshape(3, 3),
                                      info.d)  # fmt: skip
        u, v = np.round(pixels[:, 0]).astype(int).T
        label = points["label"][ahead] - 1
        # Away from edges: where all of 3 x 3 pixels are of one class.
        least = cv2.erode(rendered.class_image, np.ones((3, 3)))
        most = cv2.dilate(rendered.class_image, np.ones((3, 3)))
        inside = (u >= 2) & (v >= 2) & (u < 318) & (v < 178)
        u, v, label = u[inside], v[inside], label[inside]
        plain = (least[v, u] == most[v, u]) & np.isin(label, static_classes)
        np.add.at(total, label[plain], 1)
        np.add.at(agree, label[plain], least[v, u][plain] == label[plain])
    assert total.sum() > 2000
    assert (total[static_classes] > 5).all()
    # The LiDAR looks over things that hide the ground from the camera: not all can agree.
    assert agree.sum() / total.sum() > 0.98, dict(zip(CLASS_NAMES, agree / np.maximum(total, 1)))


def test_points_lie_on_the_town_by_the_pose_of_their_own_firing_time(drive: Recording, world):
    """So the clouds are not motion compensated, and time and poses belong together."""
    _, cloud = drive.messages["/lidar/points"][-1]
    points = as_points(cloud)
    solid = [1 + CLASS_NAMES.index(name) for name in ("building", "traffic_object")]
    points = points[np.isin(points["label"], solid)]
    local = np.column_stack([points["x"], points["y"], points["z"], np.ones(len(points))])
    stamp = nanoseconds(cloud.header.stamp)
    fired = stamp + (points["time"] * 1e9).astype(np.int64)
    T_base_lidar = static_transforms(drive)["lidar"]

    def off_surface(times: np.ndarray) -> np.ndarray:
        on_map = np.einsum("nij,nj->ni", poses(drive, times) @ T_base_lidar, local)[:, :3]
        start = poses(drive, times)[:, :3, 3] + T_base_lidar[:3, 3]
        way = on_map - start
        length = np.linalg.norm(way, axis=1)
        hits = world.scene.cast(
            start.astype(np.float32), (way / length[:, None]).astype(np.float32), 6.0
        )
        return np.abs(hits.distance - length)

    # Range noise is 0.02 m, its median 0.67 of that. At about 6.5 m/s the first ray of a sweep
    # leaves 0.65 m behind the last one.
    assert np.median(off_surface(fired)) < 0.02
    assert np.mean(off_surface(fired) < 0.08) > 0.97
    assert np.mean(off_surface(np.full(len(points), stamp)) < 0.08) < 0.7


def test_paint_returns_more_light_than_asphalt(drive: Recording):
    points = np.concatenate(drive.clouds())
    near = np.hypot(points["x"], points["y"]) < 15.0
    road, marking = (
        np.median(points["intensity"][near & (points["label"] == CLASS_NAMES.index(name) + 1)])
        for name in ("road", "road_marking")
    )
    # Reflectivities of 0.13 and 0.55, less what wear and the light's angle do.
    assert 2.5 < marking / road < 6.0


def test_range_noise_and_lost_returns_can_be_turned_off(world):
    config = SimulationConfig(azimuth_steps=300, range_noise_m=0.0, drop_rate=0.0)
    firings = make_firings(config)
    clouds = [
        simulate_sweep(
            world.scene,
            world.ego,
            firings,
            stamp=1.0,
            config=config.model_copy(update=change),
            rng=np.random.default_rng(5),
        )
        for change in ({}, {"range_noise_m": 0.05}, {"drop_rate": 0.5})
    ]
    exact, noisy, sparse = clouds
    ranges = [np.linalg.norm([c["x"], c["y"], c["z"]], axis=0) for c in (exact, noisy)]
    assert np.std(ranges[1] - ranges[0]) == pytest.approx(0.05, rel=0.05)
    assert len(sparse) / len(exact) == pytest.approx(0.5, abs=0.05)
