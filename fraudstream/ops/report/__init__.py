"""Reports as one self-contained HTML file, to be read on a screen or on A4 paper.

A report is composed of frozen values; nothing here knows a record, a topic or where a figure comes from:

    ReportPage                         title, verdict, sections, what the figures rest on      document.py
    ├── VerdictBanner                  one word, the gate that decided, and why
    └── ReportSection                  a heading and its parts
        ├── Prose, Points, KeyFigures  text, and the figures to see first                      parts.py
        ├── DataTable                  rows of texts and quantities                            tables.py
        ├── DecisionMatrix             two models' decisions, in events and money              decisions.py
        └── LineChart, IntervalChart, BarChart, ReliabilityChart, HistogramChart               charts/

`ReportPage(...).html()` is the file's text. Figures of tables are `Count`, `Money`, `Percentage`, `Measure`, `Moment`
and `WithInterval` of quantities.py, so that each is written with its unit; None is a figure that is undefined or not
known yet. Charts take plain numbers: shares as 0 to 1, money in minor units, times in milliseconds, as their
`ChartAxis` says. Each needs a `ChartFrame` with a summary for readers who do not see it; the figures of small charts
are added to it. A chart without data says so, thus a report needs no case of its own for it.

`tests/support/report_pages.py` composes the pages of a verdict and of a split from made-up figures.
"""
