"""A sweep or a run as one HTML file to look at, without a network and without a server."""

from tinv.report.write_report import write_report

__all__ = ["write_report"]
