"""What is recorded of a model beside its labels: which file it is, and whom to credit. No ROS."""

from __future__ import annotations

from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.reports.statuses import OK, Status


def model_record(model: LoadedModel, *, labels: bool) -> Status:
    """
    Args:
        labels: whether it has labelled a cloud.
    """
    segmenter, metadata = model.segmenter, model.metadata
    origin = metadata.provenance
    values = {
        "path": str(model.path),
        "sha256": model.sha256,
        "architecture": metadata.architecture,
        "classes": ", ".join(model.taxonomy.names),
        "device": str(segmenter.device),
        "engine": segmenter.engine,
        "precision": segmenter.precision,
        "trained": origin.trained,
        "haskd_ros": origin.haskd_ros,
        "recordings": ", ".join(origin.recordings),
        "attribution": origin.attribution,
    }
    message = "labels from this cloud on" if labels else "loaded, no cloud labelled yet"
    known = {name: value for name, value in values.items() if value}
    return Status("model", OK, message, known)
