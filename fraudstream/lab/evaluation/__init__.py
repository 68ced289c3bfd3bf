"""How good a model is on a transactions file, as a fraud team asks it; two models on the same payments are paired.

`run` is the page to read first. `payments` computes the vectors of the file in the order of time, `scope` says which
payments count, `figures` measures both models on them by `draws` of their cards (`whole`), `slices` does so by week and
by segment, `importance` and `drift` look at the `features`, and `report` has the result as values. Of these `page`
makes one HTML file, and `tables` what a terminal shows.
"""
