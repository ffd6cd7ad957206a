"""A report as one HTML page that works offline: `page` makes it of the files here and of `vendor`, which is uPlot's."""

from workerpool.report.page.page import MOST, as_html

__all__ = ["MOST", "as_html"]
