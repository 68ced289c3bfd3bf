"""Reports: a command states a headline and sections; a page, a terminal and Markdown render them in the same words.

A report is composed of frozen values; nothing here knows a record, a topic or where a figure comes from:

    Report                             title, headline, sections, what the figures rest on     document.py
    ├── Headline                       the answer in a sentence, what was decided, and why
    └── Section                        a heading and its parts
        ├── Note, KeyFigures, Folded   text, figures to see first, what a click opens          parts.py
        ├── DataTable                  rows of texts, quantities and answers (yes or no)       tables.py
        ├── DecisionMatrix             two models' decisions, in events and money              decisions.py
        └── LineChart, IntervalChart, BarChart, ReliabilityChart, HistogramChart, FrontChart   charts/

`Report.html()` is the text of an HTML file, `on_terminal` of terminal.py something that rich prints, and `in_markdown`
of markdown.py a Markdown file. Each part knows whether it has data (`is_empty`): all three leave out what has none,
thus a command needs no case of its own for it. Figures of tables are `Count`, `Money`, `MeanMoney`, `Percentage`,
`Measure`, `Moment` and `WithInterval` of quantities.py, so that each is written with its unit; None is a figure that is
undefined or not known yet. Charts take plain numbers: shares as 0 to 1, money in minor units, times in milliseconds, as
their `ChartAxis` says. Each needs a `ChartFrame` with a summary for readers who do not see it; the figures of small
charts are added to it. What a chart shows must also stand in a table, which a terminal shows in its place.

`tests/support/report_pages.py` composes the pages of a verdict and of a split from made-up figures.
"""
