"""Model control: follow the event log, judge commands, load models and answer for candidates."""
