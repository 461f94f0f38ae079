"""The parameters' values, and how a node follows them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import DEFAULTS, PARAMETERS, Parameters


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"precision": "fp8"},
            "parameter precision is 'fp8', must be one of auto, fp32, bf16, fp16",
        ),
        ({"crop_min": (0.0, 0.0)}, "parameter crop.min has 2 values, must have 3"),
        (
            {"crop_max": (math.inf, math.nan, math.inf)},
            "parameter crop.min is [-inf, -inf, -inf], must be less than crop.max, "
            "[inf, nan, inf], in each of x, y, z",
        ),
        (
            {"range_min": 5.0, "range_max": 5.0},
            "parameter range.min is 5.0 m, must be less than range.max, 5.0 m",
        ),
        (
            {"filter_classes": ("car",), "filter_exclude": ("road",)},
            "parameter filter.exclude is ['road'], must be empty while filter.classes is ['car']",
        ),
        ({"min_probability": 1.5}, "parameter min_probability is 1.5, must be 0.0 to 1.0"),
        ({"max_rate": math.nan}, "parameter max_rate is nan, must be 0.0 to 1000.0"),
        (
            {"filter_voxel_size": 0.005},
            "parameter filter.voxel_size is 0.005 m, must be 0 or at least 0.01",
        ),
        ({"min_points": -1}, "parameter min_points is -1, must be 0 to 10000000"),
    ],
)
def test_values_that_are_not_allowed_are_refused(values, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Parameters(**values)


def test_values_are_changed_by_their_names_in_ros():
    changed = DEFAULTS.changed({"range.max": 50.0, "filter.classes": ("car",), "use_sim_time": 1})
    assert changed == Parameters(range_max=50.0, filter_classes=("car",))
    assert DEFAULTS.range_max == math.inf


def test_a_dot_in_the_name_is_an_underscore_in_the_attribute():
    assert [info.attribute for info in PARAMETERS] == [
        info.name.replace(".", "_") for info in PARAMETERS
    ]


BY_NAME = {info.name: info for info in PARAMETERS}


@pytest.mark.parametrize(
    ("name", "sent", "meant"),
    [
        ("filter.classes", [], []),  # of whatever type
        ("filter.classes", ["inf"], ["inf"]),
        ("range.max", "inf", math.inf),  # ros2 param load
        ("range.max", ".inf", math.inf),
        ("range.max", 60, 60.0),
        ("range.max", "far", "far"),
        ("range.max", True, True),
        ("crop.min", ["-inf", "-inf", "-inf"], [-math.inf] * 3),
        ("crop.min", [0, 1, 2], [0.0, 1.0, 2.0]),
        ("crop.min", "[-.inf, 0, 1.5]", [-math.inf, 0.0, 1.5]),  # no list of one type
        ("crop.frame", "inf", "inf"),
        ("min_points", "inf", "inf"),
    ],
)
def test_a_value_of_the_type_that_ros_guesses_gets_the_type_that_is_meant(name, sent, meant):
    fitted = BY_NAME[name].fitted(sent)
    assert (fitted, type(fitted)) == (meant, type(meant))


@given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3))
def test_any_corner_of_the_box_survives_being_sent_as_text(corner):
    assert BY_NAME["crop.max"].fitted(str(corner)) == corner
    assert BY_NAME["crop.max"].fitted([str(value) for value in corner]) == corner


@pytest.fixture
def spinning_node(ros_environment, request):
    """A node and its executor; the parameters that it is given at start are the fixture's own."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context)
    given = [part for each in getattr(request, "param", ()) for part in ("-p", each)]
    node = rclpy.create_node("parameters", context=context, cli_args=["--ros-args", *given])
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    "spinning_node",
    [("max_rate:=5", "crop.min:=[-1, -2, -3]", "crop.max:=[1.0, .inf, 2.5]", "min_points:=7")],
    indirect=True,
)
def test_whole_numbers_given_at_start_are_taken_for_floats(spinning_node):
    from rclpy.parameter import Parameter

    from haskd_ros.node.parameters.declared import DeclaredParameters

    node, _ = spinning_node
    found = DeclaredParameters(node, lambda _: None, lambda _: None).current
    assert (found.max_rate, type(found.max_rate)) == (5.0, float)
    assert (found.crop_min, found.crop_max) == ((-1.0, -2.0, -3.0), (1.0, math.inf, 2.5))
    assert (found.min_points, type(found.min_points)) == (7, int)
    assert node.describe_parameter("max_rate").type == 3  # double
    assert not node.set_parameters([Parameter("max_rate", value=5000.0)])[0].successful


@pytest.mark.parametrize("spinning_node", [("max_rate:=fast",), ("max_rate:=5000",)], indirect=True)
def test_what_is_no_number_or_out_of_bounds_is_refused_at_start(spinning_node):
    from rclpy.exceptions import ParameterException

    from haskd_ros.node.parameters.declared import DeclaredParameters

    with pytest.raises(ParameterException, match="max_rate"):
        DeclaredParameters(spinning_node[0], lambda _: None, lambda _: None)


@pytest.mark.parametrize("rclpy_has_a_post_set_callback", [True, False])
def test_only_a_change_that_took_effect_counts(
    spinning_node, monkeypatch, rclpy_has_a_post_set_callback
):
    from rcl_interfaces.msg import SetParametersResult
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    from haskd_ros.node.parameters.declared import DeclaredParameters

    node, executor = spinning_node
    if not rclpy_has_a_post_set_callback:  # as in Humble
        monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    checked, changes = [], []
    declared = DeclaredParameters(node, checked.append, changes.append)
    assert declared.current == DEFAULTS

    def change(value: float) -> bool:
        (result,) = node.set_parameters([Parameter("range.max", value=value)])
        executor.spin_once(timeout_sec=0.1)
        return result.successful

    assert change(20.0)
    assert checked == changes == [declared.current] == [Parameters(range_max=20.0)]
    assert not change(0.0)
    # Another callback, called before or after ours, says no
    node.add_on_set_parameters_callback(lambda _: SetParametersResult(successful=False))
    assert not change(30.0)
    assert declared.current == Parameters(range_max=20.0)
    assert node.get_parameter("range.max").value == 20.0
