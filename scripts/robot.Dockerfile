# The node on a robot's CPU, x86-64 or aarch64. docs/deployment.md says how to build and start it.
#
# Linted (hadolint), never built.

ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# Before the sources, so that a change to them does not install anything anew. RViz belongs on another
# machine.
WORKDIR /opt/workspace
COPY package.xml src/haskd_ros/
# Debian's and Ubuntu's versions are those that fit the image.
# hadolint ignore=DL3008
RUN apt-get update \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install --from-paths src --ignore-src --default-yes --skip-keys rviz2 \
    && apt-get install --yes --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*

# Beside the distribution's packages, of which pip can remove none. Not torch: the node's sparse
# U-Net does without it on a CPU.
# hadolint ignore=DL3013
RUN PIP_BREAK_SYSTEM_PACKAGES=1 pip install --no-cache-dir --ignore-installed 'pydantic>=2'

# With the kernels, so that no container has to compile them at its start.
COPY . src/haskd_ros
RUN . "/opt/ros/$ROS_DISTRO/setup.bash" \
    && colcon build --packages-select haskd_ros \
    && useradd --create-home --uid 1500 robot
USER 1500

# What follows the image's name are arguments of the launch file.
ENTRYPOINT ["/bin/bash", "-c", "source install/setup.bash && exec ros2 launch haskd_ros segment.launch.py \"$@\"", "segment"]
