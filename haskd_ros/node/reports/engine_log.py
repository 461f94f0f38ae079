"""What the engine says, in the node's log."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger

from haskd_ros.node.reports.faults import MOST_CHARACTERS
from haskd_ros.text import shown

ENGINE = "haskd_ros"


class EngineLog(logging.Handler):
    """Passes on what the package's modules that know nothing of ROS log: that kernels are being
    compiled, say, while the node is silent for seconds.

    Args:
        logger: of the node.
    """

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = shown(record.getMessage(), MOST_CHARACTERS)
        # rclpy allows a line of code one severity.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def pass_on_engine_log(logger: RcutilsLogger) -> None:
    """From now on, for the rest of the process."""
    engine = logging.getLogger(ENGINE)
    engine.setLevel(logging.INFO)
    engine.addHandler(EngineLog(logger))
