"""Charts of a page as inline SVG: lines with bands, forest plots, bars, reliability diagrams and histograms."""
