"""What the page on a run shows of a thousand recordings."""

from __future__ import annotations

from pathlib import Path

from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.recordings.findings import Finding, Outcome
from haskd_training.recordings.labels import load_label_map
from haskd_training.reports.stage_sections import (
    FINDINGS_SHOWN,
    RECORDINGS_SHOWN,
    data_section,
    findings_section,
)


def report(number: int, *findings: Finding, skipped: int = 0) -> PrepareReport:
    """Of a recording whose cameras see `number` per mille of the points."""
    return PrepareReport(
        cache="cache",
        recordings=[f"drive-{number}"],
        sweeps=20,
        sweeps_skipped={"no points": skipped} if skipped else {},
        sweeps_without_pose=0,
        images=40,
        images_skipped={},
        points_per_sweep={"min": 1.0, "median": 2.0, "max": 3.0},
        classes=[],
        ignored_share=0.0,
        camera_offsets_ms={},
        camera_coverage={},
        seen_share=number / 1000,
        intensity_scale=1.0,
        findings=list(findings),
    )


def finding(code: str, outcome: Outcome) -> Finding:
    return Finding(code, "/points", outcome, "something")


def split() -> Split:
    taxonomy = load_label_map("simulation").taxonomy
    rows = [SweepRow("drive", 0, 10, [5] * len(taxonomy))]
    cache = Cache(Path("cache"), taxonomy, 1.0, {}, rows, [], "fingerprint")
    return Split([cache], [SweepRef(0, 0)], [], [], [], [])


def test_of_a_thousand_recordings_those_that_cameras_see_least_of_are_shown() -> None:
    section = data_section(split(), [report(number) for number in reversed(range(1000))])
    table = section.tables[0]
    assert [row[0] for row in table.rows] == [f"drive-{n}" for n in range(RECORDINGS_SHOWN)]
    assert table.caption == (
        "40 of 1,000 recordings, those whose points the cameras see least of; all have 20,000 "
        "sweeps and 40,000 images"
    )


def test_few_recordings_are_all_shown_in_their_order() -> None:
    table = data_section(split(), [report(7), report(3)]).tables[0]
    assert [row[0] for row in table.rows] == ["drive-7", "drive-3"] and not table.caption


def test_what_was_left_out_is_counted_over_all_recordings() -> None:
    given = [report(number, skipped=number) for number in range(4)]
    assert "6 sweeps left out: no points" in data_section(split(), given).text


def test_of_a_thousand_findings_rare_warnings_come_first_and_all_are_counted() -> None:
    common, noted = finding("clock-jumps", "doubtful"), finding("no-labels", "noted")
    reports = [report(number, noted, common) for number in range(500)]
    reports[321] = report(321, noted, finding("stamps-go-back", "left out"))
    section = findings_section(reports)
    (table,) = section.tables
    assert len(table.rows) == FINDINGS_SHOWN
    assert table.rows[0][:2] == ["drive-321", "left out"] and table.rows[1][1] == "doubtful"
    assert "500 no-labels, 499 clock-jumps, 1 stamps-go-back" in section.text
    assert "100 of 1,000 findings are shown" in section.text
