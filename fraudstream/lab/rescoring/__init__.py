"""Rescoring: decisions computed again in batch by the functions of the worker, over a file or a range of the topics.

The way of the data: `file_run` reads a file, and `topic_run` a range of the topics (`range_loader` reads them through
`topic_reader` into `topic_tables`, `log_order` gives every record its sort key in each log). `shards` splits
transactions and labels by a hash of their entity. `stages` runs `tasks` on a pool of processes, one shard each: a
`history_pass` in the order of the log, first over cards (fates, features, forwarded labels), then over merchants and
devices; `shard_output` keeps what each row saw. `blocks` joins the vectors of a range of rows, scores them with
`rescore`, and joins the parts to the output file. For a comparison, `compare` sets each recorded decision beside the
rescored one, `verdicts` and `explain` give the reasons for differences, and `displaced_search` tries what a repair may
have displaced. `replay` and `log_replay` do this for one decision. All files of a run are in its `workdir`.
"""
