"""A verification report as JUnit XML."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from dcops.core.verification import CheckResult, SuiteReport

if TYPE_CHECKING:
    from dcops.core.verification import VerificationReport

_TAGS = {"failed": "failure", "error": "error", "skipped": "skipped"}


def to_junit(report: VerificationReport) -> bytes:
    """JUnit XML; an incomplete run has one more test case, an error that says why.

    It is made from the report and not by pytest, so that a run that crashed leaves a file, too.
    """
    root = ET.Element("testsuites", name=f"dcops verify {report.environment}")
    suites = list(report.suites)
    if report.incomplete:
        lost = CheckResult("run.complete", "run", "error", 0.0, report.incomplete)
        suites.append(SuiteReport("run", (lost,)))
    for suite in suites:
        _add_suite(root, suite)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _add_suite(root: ET.Element, suite: SuiteReport) -> None:
    counts = suite.counts
    element = ET.SubElement(
        root,
        "testsuite",
        name=suite.suite,
        tests=str(len(suite.checks)),
        failures=str(counts["failed"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{suite.seconds:.3f}",
    )
    for check in suite.checks:
        case = ET.SubElement(
            element,
            "testcase",
            classname=suite.suite,
            name=check.id.removeprefix(f"{suite.suite}."),
            time=f"{check.seconds:.3f}",
        )
        if tag := _TAGS.get(check.outcome):
            ET.SubElement(case, tag, message=_printable(check.message)).text = _printable(check.details)


def _printable(text: str) -> str:
    # XML 1.0 has no way to write control characters, and the output of programs is full of them.
    return "".join(
        char if char in "\t\n" or (char >= " " and char.isprintable()) else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
